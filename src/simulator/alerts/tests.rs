//! The alerts against the decoder and formats that the service uses.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::alert::{Decoder, Formats, Options, Scratch, Select};

fn decoder() -> Decoder {
    let options = Options { member: "risk".into(), max_bytes: 1 << 20, max_depth: 512, max_entities: 100 };
    Decoder::new(Arc::new(Formats::with_user_files(&[]).unwrap()), options)
}

#[test]
fn a_seed_says_every_byte_and_another_one_says_others() {
    let some = |seed| Alerts::new(seed).take(200).collect::<Vec<_>>();
    assert_eq!(some(7), some(7));
    assert_ne!(some(7), some(8));
}

#[test]
fn every_built_in_format_is_there() {
    let made: BTreeSet<_> = Alerts::new(1).take(2000).filter_map(|alert| alert.format).collect();
    let formats = Formats::with_user_files(&[]).unwrap();
    assert_eq!(made, formats.names().collect());
}

#[test]
fn an_alert_is_recognised_as_what_it_is_and_names_entities_and_poison_cannot_be_read() {
    let decoder = decoder();
    let mut scratch = Scratch::default();
    let mut poison = 0;
    for alert in Alerts::new(3).take(3000) {
        let decoded = decoder.decode(&alert.value, Select::Auto, &mut scratch);
        match alert.format {
            None => {
                poison += 1;
                decoded.unwrap_err();
            }
            Some(format) => {
                let decoded = decoded.unwrap();
                assert_eq!(decoded.format.map(|id| decoder.formats().name(id)), Some(format));
                assert!(!decoded.found.is_empty(), "{}", String::from_utf8_lossy(&alert.value));
            }
        }
    }
    assert!((10..60).contains(&poison), "{poison}");
}

#[test]
fn an_alert_is_about_a_kilobyte() {
    let sizes: Vec<usize> = Alerts::new(4).take(2000).map(|alert| alert.value.len()).collect();
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    assert!((700..1400).contains(&mean), "{mean}");
    assert!(sizes.iter().all(|size| *size < 4096));
}

#[test]
fn a_few_entities_are_in_most_alerts_and_most_entities_in_few() {
    let decoder = decoder();
    let mut scratch = Scratch::default();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for alert in Alerts::new(5).take(5000) {
        let Ok(decoded) = decoder.decode(&alert.value, Select::Auto, &mut scratch) else { continue };
        for found in decoded.found.iter() {
            *counts.entry(found.id.to_owned()).or_default() += 1;
        }
    }
    let total: u64 = counts.values().sum();
    let mut ranked: Vec<u64> = counts.into_values().collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    let tenth: u64 = ranked.iter().take(ranked.len() / 10).sum();
    assert!(tenth * 2 > total, "the top tenth has {tenth} of {total}");
    let once = ranked.iter().filter(|count| **count <= 2).count();
    assert!(once * 3 > ranked.len(), "{once} of {} are rare", ranked.len());
}
