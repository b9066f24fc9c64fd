//! The built-in formats on sample alerts, and bytes that no producer should send.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, LazyLock};

use serde_json::json;

use super::*;
use crate::entity::EntityKind;

pub(super) fn options() -> Options {
    Options { member: "risk".into(), max_bytes: 1 << 20, max_depth: 512, max_entities: 100 }
}

/// The decoder of most tests, compiled once.
pub(super) fn decoder() -> Decoder {
    static FORMATS: LazyLock<Arc<Formats>> = LazyLock::new(|| Arc::new(Formats::built_in()));
    Decoder::new(FORMATS.clone(), options())
}

/// A decoder that knows one more format.
pub(super) fn with(yaml: &str) -> Decoder {
    let formats = Formats::with_user_files(&[("user.yaml".into(), yaml.into())]).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>())
    });
    Decoder::new(Arc::new(formats), options())
}

pub(super) fn decode<'a>(decoder: &Decoder, text: &'a str) -> Result<Decoded<'a>, DecodeError> {
    // What is found borrows it, and tests are short.
    decoder.decode(text.as_bytes(), Select::Auto, Box::leak(Box::default()))
}

/// Kind, value and paths of each entity.
pub(super) fn found<'d>(decoded: &Decoded<'d>) -> Vec<(EntityKind, &'d str, Vec<&'d str>)> {
    decoded.found.iter().map(|f| (f.kind, f.value, f.paths.iter().collect())).collect()
}

pub(super) const EXAMPLES: &str = include_str!("../../../config/examples/alerts.ndjson");

#[test]
fn the_built_in_formats_compile() {
    let formats = Formats::with_user_files(&[]).unwrap();
    let mut names: Vec<&str> = formats.names().collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "aws_cloudtrail",
            "aws_guardduty",
            "cloudflare",
            "cortex_xdr",
            "crowdstrike",
            "datadog_signal",
            "ecs",
            "google_secops",
            "microsoft_graph",
            "ocsf",
            "oracle_casb",
            "splunk_notable"
        ]
    );
    for name in names {
        let id = formats.id(name).unwrap();
        assert_eq!(formats.name(id), name);
    }
    assert_eq!(formats.vendor(formats.id("datadog_signal").unwrap()), Some("datadog"));
    assert_eq!(formats.vendor(formats.id("ocsf").unwrap()), None);
}

#[test]
fn every_sample_alert_is_recognised_and_its_entities_are_found() {
    let decoder = decoder();
    let mut scratch = Scratch::default();
    let mut seen = std::collections::BTreeMap::new();
    let mut lines = String::new();
    for line in EXAMPLES.lines() {
        let decoded = decoder.decode(line.as_bytes(), Select::Auto, &mut scratch).unwrap();
        let format = decoded.format.map_or("unknown", |id| decoder.formats().name(id));
        *seen.entry(format.to_owned()).or_insert(0) += 1;
        let entities: Vec<_> = decoded
            .found
            .iter()
            .map(|f| json!({"kind": f.kind.label(), "value": f.value, "paths": f.paths.iter().collect::<Vec<_>>()}))
            .collect();
        lines.push_str(&format!("{}\n", json!({"format": format, "entities": entities})));
        // The same alert with its format named gives the same entities.
        let named = Select::Named(decoded.format.unwrap());
        assert_eq!(decoder.decode(line.as_bytes(), named, &mut Scratch::default()).unwrap(), decoded);
        // Every pointer leads somewhere.
        let tree: serde_json::Value = serde_json::from_str(line).unwrap();
        for path in decoded.found.iter().flat_map(|found| found.paths.iter()) {
            assert!(tree.pointer(path).is_some(), "{path}");
        }
    }
    assert_eq!(seen.len(), decoder.formats().names().count(), "{seen:?}");
    assert!(seen.values().all(|count| *count >= 3), "{seen:?}");
    insta::with_settings!({snapshot_path => "../../../tests/fixtures/alerts", prepend_module_to_snapshot => false, omit_expression => true}, {
        insta::assert_snapshot!("entities_of_the_examples", lines);
    });
}

mod poison;
mod properties;
mod rules;
