//! Holds what came out against what went in.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::kafka::{Record, Stage};

/// What a comparison found; everything but the counts has been asserted already.
#[derive(Debug, Default)]
pub struct Found {
    /// Inputs.
    pub inputs: usize,
    /// Outputs that are the first of their input.
    pub published: usize,
    /// Dead letters that are the first of their input.
    pub dead: usize,
    /// Outputs and dead letters beyond the first of each input.
    pub repeated: usize,
    /// First outputs by status of the alert.
    pub statuses: BTreeMap<String, usize>,
}

/// Asserts: nothing is missing, every input is in exactly one of output and dead letters, first outputs keep the order
/// of each partition and stay in it (`ordered`), keys, timestamps and foreign headers are the input's, and an output
/// without its `risk` member is the input byte for byte.
pub fn compare(stage: &Stage, inputs: &[Record], ordered: bool) -> Found {
    compare_records(stage, inputs, &stage.outputs(), &stage.dead_letters(), ordered)
}

/// The same for several input topics, each a view on one stage: what came out is shared by all.
pub fn compare_all(inputs: &[(Stage, Vec<Record>)], ordered: bool) -> Found {
    let mut all = Found::default();
    let Some((first, _)) = inputs.first() else { return all };
    let (outputs, letters) = (first.outputs(), first.dead_letters());
    let of = |records: &[Record], topic: &str| -> Vec<Record> {
        let from = |record: &&Record| {
            record.header("risk-source").is_some_and(|s| s.split_once('/').unwrap().0 == topic)
        };
        records.iter().filter(from).cloned().collect()
    };
    for (stage, inputs) in inputs {
        let (outputs, letters) = (of(&outputs, &stage.input), of(&letters, &stage.input));
        let found = compare_records(stage, inputs, &outputs, &letters, ordered);
        all.inputs += found.inputs;
        all.published += found.published;
        all.dead += found.dead;
        all.repeated += found.repeated;
        for (status, count) in found.statuses {
            *all.statuses.entry(status).or_default() += count;
        }
    }
    assert_eq!(outputs.len() + letters.len(), all.published + all.dead + all.repeated, "from nowhere");
    all
}

fn compare_records(
    stage: &Stage,
    inputs: &[Record],
    outputs: &[Record],
    letters: &[Record],
    ordered: bool,
) -> Found {
    let by_source: HashMap<(i32, i64), &Record> =
        inputs.iter().map(|r| ((r.partition, r.offset), r)).collect();
    assert_eq!(by_source.len(), inputs.len());
    let mut found = Found { inputs: inputs.len(), ..Found::default() };
    let mut seen: HashMap<(i32, i64), &str> = HashMap::new();
    let mut last: HashMap<i32, i64> = HashMap::new();
    for output in outputs {
        let at = source(stage, output);
        let input = by_source
            .get(&at)
            .unwrap_or_else(|| panic!("an output of an input that was never written: {at:?}"));
        if ordered {
            assert_eq!(output.partition, at.0, "an output left its partition");
        }
        let risk = same(input, output);
        if let Some(before) = seen.insert(at, "output") {
            assert_eq!(before, "output");
            found.repeated += 1;
            continue;
        }
        if ordered {
            let last = last.insert(at.0, at.1).unwrap_or(-1);
            assert!(at.1 > last, "partition {}: offset {} came out after {last}", at.0, at.1);
        }
        let status = output.header("risk-status").unwrap();
        if let Some(risk) = risk {
            assert_eq!(risk["status"], status, "header and member agree");
        }
        *found.statuses.entry(status.to_owned()).or_default() += 1;
        found.published += 1;
    }
    for letter in letters {
        let at = source(stage, letter);
        let input = by_source.get(&at).unwrap_or_else(|| panic!("a dead letter of nothing: {at:?}"));
        assert_eq!(letter.header("__connect.errors.topic"), Some(stage.input.as_str()));
        assert_eq!(letter.header("__connect.errors.partition"), Some(at.0.to_string().as_str()));
        assert_eq!(letter.header("__connect.errors.offset"), Some(at.1.to_string().as_str()));
        match seen.insert(at, "dead letter") {
            None => found.dead += 1,
            Some("dead letter") => found.repeated += 1,
            Some(_) => panic!("{at:?} is both an output and a dead letter"),
        }
        if letter.header("risk-truncated").is_none() {
            assert_eq!(
                (&letter.key, &letter.value),
                (&input.key, &input.value),
                "a dead letter is the original"
            );
            assert_eq!(foreign(letter), foreign(input));
        }
    }
    let mut missing: Vec<_> = by_source.keys().filter(|at| !seen.contains_key(*at)).copied().collect();
    missing.sort_unstable();
    if let Some((partition, first)) = missing.first().copied() {
        // What stands where they should: a gap in offsets would be the broker's.
        let near = outputs.iter().filter(|o| o.partition == partition).filter_map(|o| {
            let (_, source) = source(stage, o);
            ((first - 8)..(first + 24)).contains(&source).then(|| format!("{}<-{source}", o.offset))
        });
        let near: Vec<_> = near.collect();
        let some: Vec<_> = missing.iter().take(20).collect();
        panic!(
            "{} inputs are missing, such as {some:?}; outputs (offset<-source) near the first: {near:?}",
            missing.len()
        );
    }
    assert_eq!(found.published + found.dead, found.inputs);
    found
}

/// Asserts that the group has committed everything.
pub fn all_committed(stage: &Stage) {
    assert_eq!(stage.committed(), stage.ends(), "committed offsets are the ends of the input");
}

/// Where an output came from, by its header.
pub fn source(stage: &Stage, record: &Record) -> (i32, i64) {
    let text = record.header("risk-source").expect("risk-source");
    let (topic, rest) = text.split_once('/').unwrap();
    let (partition, offset) = rest.split_once('/').unwrap();
    assert_eq!(topic, stage.input);
    (partition.parse().unwrap(), offset.parse().unwrap())
}

/// Headers that are not ours.
pub fn foreign(record: &Record) -> Vec<&(String, Vec<u8>)> {
    let ours = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("risk-") || name.starts_with("__connect.errors.")
    };
    record.headers.iter().filter(|(name, _)| !ours(name)).collect()
}

/// Asserts that `output` is `input` plus one member, and returns that member.
pub fn same(input: &Record, output: &Record) -> Option<Value> {
    assert_eq!(output.key, input.key, "the key is the input's");
    assert_eq!(output.timestamp, input.timestamp, "the timestamp is the input's");
    assert_eq!(foreign(output), foreign(input), "foreign headers pass");
    let (Some(before), Some(after)) = (&input.value, &output.value) else {
        assert_eq!(input.value, output.value, "a tombstone stays one");
        return None;
    };
    let (rest, risk) = without_risk(after).unwrap_or_else(|| {
        panic!("no risk member at the end of {}", String::from_utf8_lossy(&after[..after.len().min(2000)]))
    });
    assert!(
        rest == *before,
        "{}\nbecame\n{}",
        String::from_utf8_lossy(before),
        String::from_utf8_lossy(after)
    );
    Some(risk)
}

/// Takes the last member off an output: the bytes without it, and its value. Looks for `"risk":{` or `"riskstream":{`.
pub fn without_risk(output: &[u8]) -> Option<(Vec<u8>, Value)> {
    let text = std::str::from_utf8(output).ok()?;
    let (start, key) = [r#""risk":{"schema":"riskstream/"#, r#""riskstream":{"schema":"riskstream/"#]
        .into_iter()
        .filter_map(|key| Some((text.rfind(key)?, key)))
        .max()?;
    let value = start + key.find('{')?;
    let mut stream = serde_json::Deserializer::from_str(&text[value..]).into_iter::<Value>();
    let risk = stream.next()?.ok()?;
    let end = value + stream.byte_offset();
    // The comma before it is ours, unless the alert had no member.
    let head = text[..start].strip_suffix(',').unwrap_or(&text[..start]);
    assert!(text[end..].trim_start().starts_with('}'), "risk is the last member");
    Some((format!("{head}{}", &text[end..]).into_bytes(), risk))
}
