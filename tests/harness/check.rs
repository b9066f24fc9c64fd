//! Holds what came out against what went in, record by record: neither the outputs nor, of a [`Load`], the inputs are
//! ever held in memory.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use rdkafka::message::{BorrowedMessage, Message};
use riskstream::sink::input_headers;
use serde_json::Value;

use super::kafka::{Record, Stage};
use super::load::Load;
use super::reader::Next;

/// What must have kept its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each partition.
    Partition,
    /// Each key.
    Key,
    /// Nothing.
    None,
}

/// What was written, numbered from zero.
pub trait Inputs {
    /// How many.
    fn len(&self) -> usize;
    /// The number of what stands at a partition and offset.
    fn number(&self, at: (i32, i64)) -> Option<usize>;
    /// The record of a number.
    fn record(&self, number: usize) -> Cow<'_, Record>;
}

impl Inputs for Load {
    fn len(&self) -> usize {
        self.alerts
    }

    fn number(&self, at: (i32, i64)) -> Option<usize> {
        Load::number(self, at).filter(|number| *number < self.alerts)
    }

    fn record(&self, number: usize) -> Cow<'_, Record> {
        Cow::Owned(Load::record(self, number))
    }
}

/// Records that were kept.
struct Written<'r> {
    records: &'r [Record],
    numbers: HashMap<(i32, i64), usize>,
}

impl<'r> Written<'r> {
    fn new(records: &'r [Record]) -> Self {
        let places = records.iter().enumerate().map(|(number, r)| ((r.partition, r.offset), number));
        let numbers: HashMap<_, _> = places.collect();
        assert_eq!(numbers.len(), records.len());
        Written { records, numbers }
    }
}

impl Inputs for Written<'_> {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn number(&self, at: (i32, i64)) -> Option<usize> {
        self.numbers.get(&at).copied()
    }

    fn record(&self, number: usize) -> Cow<'_, Record> {
        Cow::Borrowed(&self.records[number])
    }
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
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
    /// Inputs that are in neither topic.
    pub missing: usize,
    /// First outputs that came after a later one of their partition or key, or in another partition.
    pub out_of_order: usize,
    /// Outputs and dead letters that are not their input as it was.
    pub altered: usize,
    /// Inputs that are in both topics.
    pub both: usize,
    /// Outputs and dead letters of inputs that were never written.
    pub strangers: usize,
    /// Outputs that have the time at which they were sent, and say so.
    pub retimed: usize,
    /// Some of what is wrong, in words.
    pub examples: Vec<String>,
}

impl Found {
    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < 10 {
            self.examples.push(text());
        }
    }

    /// Whether nothing is wrong, whatever is repeated.
    pub fn is_whole(&self) -> bool {
        (self.missing, self.out_of_order, self.altered, self.both, self.strangers) == (0, 0, 0, 0, 0)
    }
}

/// Asserts: nothing is missing, every input is in exactly one of output and dead letters, first outputs keep the order
/// of each partition and stay in it (`ordered`), keys, timestamps and foreign headers are the input's, and an output
/// without its `risk` member is the input byte for byte.
pub fn compare(stage: &Stage, inputs: &[Record], ordered: bool) -> Found {
    let order = if ordered { Order::Partition } else { Order::None };
    let found = judge(stage, &Written::new(inputs), order);
    assert!(found.is_whole() && found.retimed == 0, "{found:#?}");
    found
}

/// As [`compare`] for several input topics, each a view on one stage: what came out is shared by all.
pub fn compare_all(inputs: &[(Stage, Vec<Record>)], order: Order) -> Found {
    let mut all = Found::default();
    for (view, inputs) in inputs {
        let found = judge_of(view, &Written::new(inputs), order, true);
        assert!(found.is_whole() && found.retimed == 0, "{}: {found:#?}", view.input);
        all.inputs += found.inputs;
        all.published += found.published;
        all.dead += found.dead;
        all.repeated += found.repeated;
        for (status, count) in found.statuses {
            *all.statuses.entry(status).or_default() += count;
        }
    }
    all
}

/// Counts what [`compare`] asserts.
pub fn judge(stage: &Stage, inputs: &impl Inputs, order: Order) -> Found {
    judge_of(stage, inputs, order, false)
}

/// The same, of a `view` without what came from other input topics.
fn judge_of(stage: &Stage, inputs: &impl Inputs, order: Order, view: bool) -> Found {
    let foreign_topic = |record: &Record| {
        view && record
            .header("risk-source")
            .is_some_and(|source| source.split_once('/').is_some_and(|(topic, _)| topic != stage.input))
    };
    let mut found = Found { inputs: inputs.len(), ..Found::default() };
    // How often each input came out, and how often it became a dead letter.
    let mut seen: Vec<(u32, u32)> = vec![(0, 0); inputs.len()];
    let mut last: HashMap<(i32, Option<Vec<u8>>), i64> = HashMap::new();
    stage.each(&stage.output, |output| {
        if foreign_topic(&output) {
            return;
        }
        let at = source(stage, &output);
        let Some(number) = inputs.number(at) else {
            found.strangers += 1;
            return found.example(|| format!("an output of an input that was never written: {at:?}"));
        };
        let risk = difference(&inputs.record(number), &output).unwrap_or_else(|why| {
            found.altered += 1;
            found.example(|| format!("{at:?}: {why}"));
            None
        });
        seen[number].0 += 1;
        if seen[number].0 > 1 {
            return;
        }
        if order != Order::None && output.partition != at.0 {
            found.out_of_order += 1;
            found.example(|| format!("{at:?} came out in partition {}", output.partition));
        }
        let line = match order {
            Order::Partition => Some((at.0, None)),
            Order::Key => Some((at.0, output.key.clone())),
            Order::None => None,
        };
        if let Some(last) = line.map(|line| last.entry(line).or_insert(-1)) {
            if at.1 <= *last {
                found.out_of_order += 1;
                found.example(|| format!("{at:?} came out after offset {last}"));
            }
            *last = at.1.max(*last);
        }
        if output.header("risk-timestamp").is_some() {
            found.retimed += 1;
        }
        let status = output.header("risk-status").unwrap_or_default();
        if let Some(risk) = risk
            && risk["status"] != status
        {
            found.altered += 1;
            found.example(|| format!("{at:?}: header says {status}, member {}", risk["status"]));
        }
        *found.statuses.entry(status.to_owned()).or_default() += 1;
    });
    stage.each(&stage.dead, |letter| {
        if foreign_topic(&letter) {
            return;
        }
        let at = source(stage, &letter);
        let Some(number) = inputs.number(at) else {
            found.strangers += 1;
            return found.example(|| format!("a dead letter of nothing: {at:?}"));
        };
        seen[number].1 += 1;
        let input = inputs.record(number);
        let says = |name: &str| letter.header(&format!("__connect.errors.{name}"));
        let coordinates = says("topic") == Some(stage.input.as_str())
            && says("partition") == Some(at.0.to_string().as_str())
            && says("offset") == Some(at.1.to_string().as_str());
        let same = letter.header("risk-truncated").is_some()
            || (&letter.key, &letter.value, foreign(&letter)) == (&input.key, &input.value, foreign(&input));
        if !coordinates || !same {
            found.altered += 1;
            found.example(|| format!("{at:?}: the dead letter is not the original"));
        }
    });
    let mut first_missing = None;
    for (number, (outputs, letters)) in seen.iter().enumerate() {
        found.published += usize::from(*outputs > 0);
        found.dead += usize::from(*letters > 0);
        found.both += usize::from(*outputs > 0 && *letters > 0);
        found.repeated += (outputs.saturating_sub(1) + letters.saturating_sub(1)) as usize;
        if (*outputs, *letters) == (0, 0) {
            found.missing += 1;
            let record = inputs.record(number);
            let at = (record.partition, record.offset);
            first_missing.get_or_insert(at);
            found.example(|| format!("{at:?} is missing"));
        }
    }
    if let Some((partition, first)) = first_missing {
        // What stands where it should: a gap in offsets would be the broker's.
        let mut near = Vec::new();
        stage.each(&stage.output, |output| {
            if foreign_topic(&output) {
                return;
            }
            let (_, source) = source(stage, &output);
            if output.partition == partition && ((first - 8)..(first + 24)).contains(&source) {
                near.push(format!("{}<-{source}", output.offset));
            }
        });
        found.examples.push(format!("outputs (offset<-source) near the first that is missing: {near:?}"));
    }
    found
}

/// What has come out so far, followed while the service runs.
pub struct Progress<'s> {
    stage: &'s Stage,
    outputs: Next,
    letters: Next,
    /// By partition of the input, how often each offset has come out.
    seen: BTreeMap<i32, Vec<u16>>,
    /// By partition, below which offset nothing is missing.
    whole: BTreeMap<i32, usize>,
    /// By partition, what was committed when it was looked at last.
    held: BTreeMap<i32, i64>,
    distinct: usize,
    records: usize,
}

impl<'s> Progress<'s> {
    /// Nothing yet.
    pub fn new(stage: &'s Stage) -> Self {
        Progress {
            stage,
            outputs: Next::new(),
            letters: Next::new(),
            seen: BTreeMap::new(),
            whole: BTreeMap::new(),
            held: BTreeMap::new(),
            distinct: 0,
            records: 0,
        }
    }

    /// Reads to the ends of both topics; how many inputs have come out.
    pub fn catch_up(&mut self) -> usize {
        let Progress { stage, outputs, letters, seen, distinct, records, .. } = self;
        for (topic, next) in [(&stage.output, outputs), (&stage.dead, letters)] {
            stage.follow(topic, next, |message| {
                let (partition, offset) = place(&stage.input, message);
                let seen = seen.entry(partition).or_default();
                let offset = usize::try_from(offset).unwrap();
                if seen.len() <= offset {
                    seen.resize(offset + 1, 0);
                }
                *distinct += usize::from(seen[offset] == 0);
                seen[offset] = seen[offset].saturating_add(1);
                *records += 1;
            });
        }
        self.distinct
    }

    /// Inputs that have come out.
    pub fn distinct(&self) -> usize {
        self.distinct
    }

    /// Outputs and dead letters beyond the first of each input.
    pub fn repeated(&self) -> usize {
        self.records - self.distinct
    }

    /// Holds the committed offsets against what has come out; none may have gone back. `patient` waits for what a transaction that is
    /// committed has not made visible yet.
    pub fn committed(&mut self, patient: bool) -> Standing {
        let committed = self.stage.committed();
        for (partition, offset) in &committed {
            let before = self.held.insert(*partition, *offset);
            assert!(
                before <= Some(*offset),
                "partition {partition}: {offset} is committed, after {before:?}"
            );
        }
        self.catch_up();
        let started = std::time::Instant::now();
        let ahead = loop {
            let ahead: usize = committed.iter().map(|(partition, end)| self.absent(*partition, *end)).sum();
            if ahead == 0 || !patient || started.elapsed() > std::time::Duration::from_secs(30) {
                break ahead;
            }
            self.catch_up();
        };
        let beyond = self.seen.iter().map(|(partition, seen)| {
            let end = committed.get(partition).copied().unwrap_or(0).max(0) as usize;
            seen.iter().skip(end).filter(|count| **count > 0).count()
        });
        Standing { ahead, beyond: beyond.sum(), committed }
    }

    /// Inputs from one place in each partition to another that have not come out.
    pub fn absent_between(&mut self, from: &BTreeMap<i32, i64>, to: &BTreeMap<i32, i64>) -> usize {
        let seen = &self.seen;
        let absent = |(partition, end): (&i32, &i64)| {
            let begin = from.get(partition).copied().unwrap_or(0);
            let there = |offset: &i64| seen.get(partition)?.get(*offset as usize).filter(|count| **count > 0);
            (begin..*end).filter(|offset| there(offset).is_none()).count()
        };
        to.iter().map(absent).sum()
    }

    /// Inputs of a partition below `end` that have not come out.
    fn absent(&mut self, partition: i32, end: i64) -> usize {
        let seen = self.seen.entry(partition).or_default();
        let whole = self.whole.entry(partition).or_default();
        let end = usize::try_from(end).unwrap();
        let there = |offset: usize| seen.get(offset).is_some_and(|count| *count > 0);
        while *whole < end && there(*whole) {
            *whole += 1;
        }
        (*whole..end).filter(|offset| !there(*offset)).count()
    }
}

/// Committed offsets against outputs and dead letters.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Inputs that are committed and have not come out. There must never be one.
    pub ahead: usize,
    /// Inputs that have come out and are not committed: what a crash now would repeat.
    pub beyond: usize,
    /// What is committed, by partition.
    pub committed: BTreeMap<i32, i64>,
}

/// Asserts that the group has committed everything.
pub fn all_committed(stage: &Stage) {
    assert_eq!(stage.committed(), stage.ends(), "committed offsets are the ends of the input");
}

/// Where an output came from, by its header.
pub fn source(stage: &Stage, record: &Record) -> (i32, i64) {
    parse(&stage.input, record.header("risk-source").expect("risk-source"))
}

/// The same of a message that is not copied.
fn place(input: &str, message: &BorrowedMessage<'_>) -> (i32, i64) {
    let headers = message.headers().expect("headers");
    let (_, value) = input_headers::iter(headers).find(|(name, _)| *name == c"risk-source").unwrap();
    parse(input, std::str::from_utf8(value.unwrap()).unwrap())
}

fn parse(input: &str, text: &str) -> (i32, i64) {
    let (topic, rest) = text.split_once('/').unwrap();
    let (partition, offset) = rest.split_once('/').unwrap();
    assert_eq!(topic, input);
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
    assert_eq!(output.timestamp, input.timestamp, "the timestamp is the input's");
    difference(input, output).unwrap_or_else(|why| panic!("{why}"))
}

/// The member that `output` has beyond `input`; or how else they differ.
pub fn difference(input: &Record, output: &Record) -> Result<Option<Value>, String> {
    let hold = |holds: bool, what: &str| if holds { Ok(()) } else { Err(what.to_owned()) };
    hold(output.key == input.key, "the key is not the input's")?;
    hold(foreign(output) == foreign(input), "headers are not the input's")?;
    let said = output.header("risk-timestamp").map(str::to_owned);
    let original = input.timestamp.map(|timestamp| timestamp.to_string());
    hold(
        output.timestamp == input.timestamp || said == original,
        "the timestamp is not the input's, and no header says what that was",
    )?;
    let (Some(before), Some(after)) = (&input.value, &output.value) else {
        hold(input.value == output.value, "a tombstone does not stay one")?;
        return Ok(None);
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(2000)]).into_owned();
    let (rest, risk) =
        without_risk(after).ok_or_else(|| format!("no risk member at the end of {}", text(after)))?;
    if rest != *before {
        return Err(format!("{}\nbecame\n{}", text(before), text(after)));
    }
    Ok(Some(risk))
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
