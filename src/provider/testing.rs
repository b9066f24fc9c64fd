//! What the tests of every vendor need: its simulated pages, its keys from YAML, answers taken apart, hostile JSON.
//!
//! Tests only. Never knows a vendor: names, keys and readers are passed in.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Debug;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::{Answer, Failure, FailureKind, Scored};
use crate::config::{Document, Section};
use crate::http::BaseUrl;
use crate::simulator::{Options, Simulator, World};

/// The simulator, and where `vendor`'s pages are.
pub(crate) async fn simulated(vendor: &str, options: Options) -> (Simulator, BaseUrl) {
    let world = Arc::new(World::new(options));
    let simulator = Simulator::start(([127, 0, 0, 1], 0).into(), world).await.unwrap();
    let base = BaseUrl::parse(&simulator.base_url(vendor)).unwrap();
    (simulator, base)
}

/// Options of a simulator that knows this fraction of all identifiers.
pub(crate) fn knowing(known: f64) -> Options {
    Options { known, ..Options::default() }
}

/// What `read` makes of a vendor's own keys, and the problems, a line each. Literal secrets are allowed; the
/// variables `KEY` and `SECRET` hold `value of KEY` and `value of SECRET`.
pub(crate) fn read_keys<T>(
    yaml: &str,
    read: impl FnOnce(&mut Section<'_>) -> Option<T>,
) -> (Option<T>, String) {
    let variables = ["KEY", "SECRET"].map(|name| (name.to_owned(), format!("value of {name}")));
    let document = Document::parse("test.yaml", yaml, variables).with_literals();
    let mut root = document.root();
    root.know(&["base_url"]);
    let config = read(&mut root);
    root.finish();
    (config, document.problems().to_string())
}

/// The score in an answer that must have one.
#[track_caller]
pub(crate) fn scored(answer: Result<Answer, Failure>) -> Scored {
    match answer {
        Ok(Answer::Scored(scored)) => *scored,
        other => panic!("{other:?}"),
    }
}

/// The kind of a failure that must be one.
#[track_caller]
pub(crate) fn kind<T: Debug>(answer: Result<T, Failure>) -> FailureKind {
    answer.unwrap_err().kind
}

/// JSON without members: `null`, numbers, short texts, and these `words`.
pub(crate) fn leaf(words: &'static [&'static str]) -> impl Strategy<Value = Value> + Clone {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(words).prop_map(Value::from),
    ]
}

/// JSON of any form, with `names` among its keys and `words` among its texts.
pub(crate) fn json(
    names: &'static [&'static str],
    words: &'static [&'static str],
) -> impl Strategy<Value = Value> {
    leaf(words).prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object(prop::sample::select(names), inner, 6),
        ]
    })
}

/// An object of fewer than `most` members.
pub(crate) fn object(
    names: impl Strategy<Value = &'static str>,
    values: impl Strategy<Value = Value>,
    most: usize,
) -> impl Strategy<Value = Value> {
    prop::collection::btree_map(names, values, 0..most).prop_map(|members| {
        Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
}

/// Every row of a vendor's list, and whether the vendor said that there is more.
pub(crate) async fn listed(
    provider: &dyn super::Provider,
) -> Result<(Vec<super::snapshot::Row>, bool), Failure> {
    let bulk = provider.bulk().expect("it has a list");
    let (mut rows, mut cut, mut cursor) = (Vec::new(), false, None::<String>);
    for _ in 0..1000 {
        let page = bulk.page(cursor.as_deref()).await?;
        rows.extend(page.rows);
        cut |= page.cut;
        cursor = page.next;
        if cursor.is_none() {
            return Ok((rows, cut));
        }
    }
    panic!("the list has no end");
}

/// What is said of each name in a list.
pub(crate) fn scores(rows: &[super::snapshot::Row]) -> Vec<(&str, f64)> {
    let score = |answer: &Answer| match answer {
        Answer::Scored(scored) => scored.score.value(),
        Answer::Unknown { .. } => -1.0,
    };
    rows.iter().map(|row| (row.name.as_str(), row.answer.as_ref().map_or(-2.0, score))).collect()
}
