//! What our topics take and keep, as the broker tells it: sizes, timestamps, compaction, retention.
//!
//! Contract: [`TopicLimits::refuses`] names a record that its topic would refuse before it is in any batch, since a
//! refused record costs its whole batch, and in a transaction the whole window. It is silent where it cannot know: what
//! the broker did not tell, and sizes while the producer compresses. [`notices`] are what a person should hear at the
//! start. Pure but for [`Wall`] and [`Latest`].

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::sink::{Outgoing, SinkError, input_headers};

/// What one topic takes and keeps; `None` where the broker does not tell: it may be too old, or we may lack
/// DescribeConfigs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicLimits {
    /// Its name.
    pub topic: String,
    /// Bytes of the largest batch that it takes (`max.message.bytes` is of a batch, whatever its name says).
    pub max_bytes: Option<usize>,
    /// Whether the batches that we send are compressed: then their size is not known before.
    pub compressed: bool,
    /// Whether its records have the broker's time, and not ours (`message.timestamp.type: LogAppendTime`).
    pub append_time: bool,
    /// Milliseconds that a timestamp may be behind the broker's clock.
    pub before: Option<i64>,
    /// Milliseconds that it may be ahead.
    pub after: Option<i64>,
    /// Whether older records of a key vanish (`cleanup.policy` has `compact`). A record must have a key then.
    pub compacted: bool,
    /// Milliseconds after which records are deleted; `None` also where they never are.
    pub retention: Option<i64>,
    /// Copies that must have a record before it is acknowledged.
    pub min_insync: Option<i32>,
    /// Copies that there are, where they were counted and more than one could be.
    pub copies: Option<i32>,
}

impl TopicLimits {
    /// The limits of `topic`, from its configuration as the broker spells it; `compressed` is the producer's.
    pub fn read<'a>(topic: &str, compressed: bool, value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let number = |name: &str| value(name).and_then(|text| text.parse::<i64>().ok());
        // The largest number is "no limit". Until Kafka 3.6 there was one bound for both directions, which goes on
        // counting until 4.0 where the newer two are not set.
        let bound = |name: &str| {
            let set = number(name).filter(|bound| *bound != i64::MAX);
            set.or_else(|| number("message.timestamp.difference.max.ms")).filter(|bound| *bound != i64::MAX)
        };
        let policy = value("cleanup.policy").unwrap_or("delete");
        TopicLimits {
            topic: topic.to_owned(),
            max_bytes: number("max.message.bytes").and_then(|bytes| usize::try_from(bytes).ok()),
            compressed,
            append_time: value("message.timestamp.type") == Some("LogAppendTime"),
            before: bound("message.timestamp.before.max.ms"),
            after: bound("message.timestamp.after.max.ms"),
            compacted: policy.contains("compact"),
            retention: number("retention.ms").filter(|ms| *ms >= 0 && policy.contains("delete")),
            min_insync: number("min.insync.replicas").and_then(|count| i32::try_from(count).ok()),
            copies: None,
        }
    }

    /// Why the topic will refuse `record` at `now` (Unix milliseconds), as far as that can be known here. `at_most` is an
    /// upper bound of its bytes that the caller knows without counting.
    pub fn refuses(&self, record: &Outgoing<'_>, at_most: usize, now: i64) -> Option<SinkError> {
        let timestamp = record.timestamp.unwrap_or(now);
        self.refuses_time(timestamp, now).or_else(|| self.refuses_key(record.key.is_some())).or_else(|| {
            // Counting each header takes time: not for the many that are far below.
            if self.max_bytes.is_none_or(|most| at_most <= most) {
                return None;
            }
            let headers = input_headers::iter(record.headers.as_borrowed())
                .map(|(name, value)| (name.to_bytes().len(), value.map(<[u8]>::len)));
            self.refuses_size(batch_of_one(
                record.key.map(<[u8]>::len),
                record.value.map(<[u8]>::len),
                headers,
            ))
        })
    }

    fn refuses_time(&self, timestamp: i64, now: i64) -> Option<SinkError> {
        let beyond = |bound: Option<i64>, distance: i64| bound.is_some_and(|bound| distance > bound);
        let refused = !self.append_time
            && (beyond(self.before, now.saturating_sub(timestamp))
                || beyond(self.after, timestamp.saturating_sub(now)));
        refused.then(|| SinkError::Timestamp(self.topic.clone()))
    }

    fn refuses_key(&self, has_key: bool) -> Option<SinkError> {
        (self.compacted && !has_key).then(|| SinkError::Record {
            topic: self.topic.clone(),
            why: "it is compacted (cleanup.policy) and takes no record without a key".to_owned(),
        })
    }

    fn refuses_size(&self, bytes: usize) -> Option<SinkError> {
        let refused = !self.compressed && self.max_bytes.is_some_and(|most| bytes > most);
        refused.then(|| SinkError::TooLarge(self.topic.clone()))
    }
}

/// Bytes of a batch that holds one record and nothing else (Kafka's message format 2, not compressed).
fn batch_of_one(
    key: Option<usize>,
    value: Option<usize>,
    headers: impl Iterator<Item = (usize, Option<usize>)>,
) -> usize {
    /// The batch's own fields, and the record's attributes and its two deltas, which are zero.
    const FIXED: usize = 61;
    const RECORD: usize = 3;
    // A length before its bytes; that of nothing at all is -1, and takes one byte.
    let field = |bytes: Option<usize>| bytes.map_or(1, |bytes| varint(bytes) + bytes);
    let (count, all) = headers
        .fold((0, 0), |(count, all), (name, value)| (count + 1, all + varint(name) + name + field(value)));
    let record = RECORD + field(key) + field(value) + varint(count) + all;
    FIXED + varint(record) + record
}

/// Bytes of a length as Kafka writes it: seven bits in each, one bit for the sign.
fn varint(length: usize) -> usize {
    let bits = usize::BITS - (length << 1).leading_zeros();
    bits.max(1).div_ceil(7) as usize
}

/// The limits of output and dead letters as they were last told, for all lanes: what a person raises on a topic should
/// count without a restart.
#[derive(Debug, Default)]
pub struct Latest(RwLock<Option<Arc<[TopicLimits; 2]>>>);

impl Latest {
    /// Notes them, unless the broker did not tell.
    pub fn set(&self, output: &TopicLimits, dead_letters: &TopicLimits) {
        if output.max_bytes.is_some() && dead_letters.max_bytes.is_some() {
            let mut latest = self.0.write().unwrap_or_else(PoisonError::into_inner);
            let told = [output.clone(), dead_letters.clone()];
            if latest.as_deref() != Some(&told) {
                *latest = Some(Arc::new(told));
            }
        }
    }

    /// They, once they were told.
    pub fn get(&self) -> Option<Arc<[TopicLimits; 2]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a person should hear at the start about an output, a dead-letter topic and inputs that do not fit together, or
/// do not fit `max_bytes`, the bound on outputs.
pub fn notices(
    output: &TopicLimits,
    dead_letters: &TopicLimits,
    inputs: &[TopicLimits],
    max_bytes: usize,
) -> Vec<String> {
    let mut all = Vec::new();
    for (role, limits) in [("output", output), ("dead-letter", dead_letters)] {
        let topic = &limits.topic;
        if limits.compacted {
            all.push(format!(
                "{role} topic {topic} is compacted: alerts without a key are refused, and of each key only the \
                 newest stays. Set its cleanup.policy to delete"
            ));
        }
        match (limits.min_insync, limits.copies) {
            (Some(least), Some(copies)) if least > copies => all.push(format!(
                "{role} topic {topic} takes no record: min.insync.replicas is {least}, and it has {copies} copies"
            )),
            (Some(1), Some(copies)) if copies > 1 => all.push(format!(
                "{role} topic {topic} acknowledges what one of its {copies} copies has: with that broker it is lost. Set \
                 min.insync.replicas to 2"
            )),
            (_, Some(1)) => all.push(format!(
                "{role} topic {topic} has one copy: with that broker it is lost. Raise its replication factor"
            )),
            _ => {}
        }
        if let Some(most) = limits.max_bytes.filter(|most| *most < max_bytes) {
            all.push(format!(
                "max.message.bytes of {role} topic {topic} ({most}) is below output.max_bytes ({max_bytes}): larger \
                 alerts become dead letters, or pointers. Lower output.max_bytes, or raise the topic's"
            ));
        }
    }
    if output.append_time {
        all.push(format!(
            "output topic {} has message.timestamp.type LogAppendTime: enriched alerts lose the alert's timestamp. Set \
             it to CreateTime",
            output.topic
        ));
    }
    // Of one that the broker does not tell about, not even a size is known.
    for input in inputs.iter().filter(|input| input.max_bytes.is_some()) {
        // Dead letters carry the time of now; an output whose time is the broker's is as old as its arrival.
        let longer = |kept: i64| input.retention.is_none_or(|input| input > kept);
        if let Some(kept) = output.retention.filter(|kept| !output.append_time && longer(*kept)) {
            all.push(format!(
                "output topic {} keeps alerts for {}, input topic {} for {}: enriched alerts keep the alert's timestamp, so \
                 of a long backlog the oldest are deleted soon after they came out. Raise the output's retention.ms",
                output.topic,
                days(Some(kept)),
                input.topic,
                days(input.retention)
            ));
        }
        if let (Some(most), Some(input_most)) = (dead_letters.max_bytes, input.max_bytes)
            && most < input_most
        {
            all.push(format!(
                "max.message.bytes of dead-letter topic {} ({most}) is below that of input topic {} ({input_most}): \
                 larger dead letters are written as pointers. Raise it",
                dead_letters.topic, input.topic
            ));
        }
    }
    all
}

/// The same about a topic of updates: what it does not take is dropped.
pub fn update_notices(updates: &TopicLimits) -> Vec<String> {
    let topic = &updates.topic;
    let mut all = Vec::new();
    if updates.compacted {
        all.push(format!(
            "update topic {topic} is compacted: updates of alerts without a key are refused, and of each key only the \
             newest stays. Set its cleanup.policy to delete"
        ));
    }
    if let (Some(least), Some(copies)) = (updates.min_insync, updates.copies)
        && least > copies
    {
        all.push(format!(
            "update topic {topic} takes no record: min.insync.replicas is {least}, and it has {copies} copies"
        ));
    }
    all
}

/// Milliseconds as people say them.
fn days(ms: Option<i64>) -> String {
    match ms {
        None => "ever".to_owned(),
        Some(ms) if ms >= 2 * 86_400_000 => format!("{} days", ms / 86_400_000),
        Some(ms) if ms >= 2 * 3_600_000 => format!("{} hours", ms / 3_600_000),
        Some(ms) => format!("{} s", ms / 1000),
    }
}

/// Unix time for the hot path: the clock is read once a second, between that the monotonic one counts.
#[derive(Debug, Default)]
pub struct Wall(Option<(Instant, i64)>);

impl Wall {
    /// Unix milliseconds at `now`, right to within the last second's jump of the clock.
    pub fn unix(&mut self, now: Instant) -> i64 {
        let since = |at: Instant| now.saturating_duration_since(at);
        let (at, unix) = match self.0.filter(|(at, _)| since(*at) < Duration::from_secs(1)) {
            Some(known) => known,
            None => {
                let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                *self.0.insert((now, i64::try_from(unix.as_millis()).unwrap_or(i64::MAX)))
            }
        };
        unix.saturating_add(i64::try_from(since(at).as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rdkafka::message::{Header, OwnedHeaders};

    use super::*;
    use crate::sink::Token;

    /// The limits of topic `t` with these settings, NAME=VALUE.
    fn topic(settings: &[&str]) -> TopicLimits {
        TopicLimits::read("t", false, |name| {
            settings.iter().find_map(|setting| setting.strip_prefix(name)?.strip_prefix('='))
        })
    }

    fn record<'a>(key: Option<&'a [u8]>, value: &'a [u8], timestamp: Option<i64>) -> Outgoing<'a> {
        Outgoing {
            topic: "t",
            partition: None,
            key,
            value: Some(value),
            timestamp,
            headers: OwnedHeaders::new().insert(Header { key: "risk-status", value: Some("complete") }),
            token: Token { slot: 0, generation: 0 },
            alone: false,
        }
    }

    const NOW: i64 = 1_800_000_000_000;
    const HOUR: i64 = 3_600_000;

    #[test]
    fn a_timestamp_is_refused_where_the_topic_draws_the_line_and_not_a_moment_earlier() {
        let limits =
            topic(&["message.timestamp.before.max.ms=86400000", "message.timestamp.after.max.ms=3600000"]);
        let refuses = |limits: &TopicLimits, timestamp| {
            limits.refuses(&record(None, b"v", timestamp), usize::MAX, NOW).is_some()
        };
        for (timestamp, refused) in [
            (NOW, false),
            (NOW + HOUR, false),
            (NOW + HOUR + 1, true),
            (NOW - 24 * HOUR, false),
            (NOW - 24 * HOUR - 1, true),
            (i64::MIN, true),
            (i64::MAX, true),
        ] {
            assert_eq!(refuses(&limits, Some(timestamp)), refused, "{timestamp}");
        }
        assert!(!refuses(&limits, None), "now is always taken");
        assert!(!refuses(&TopicLimits { append_time: true, ..limits }, Some(0)), "the broker's time counts");
        let unlimited = topic(&["message.timestamp.before.max.ms=9223372036854775807"]);
        assert!(!refuses(&unlimited, Some(0)) && !refuses(&topic(&[]), Some(0)));
    }

    #[test]
    fn before_kafka_4_one_bound_counts_for_both_directions_unless_the_newer_ones_are_set() {
        let unset =
            ["message.timestamp.before.max.ms=9223372036854775807", "message.timestamp.difference.max.ms=5"];
        assert_eq!((topic(&unset).before, topic(&unset).after), (Some(5), Some(5)));
        let set = ["message.timestamp.before.max.ms=7", "message.timestamp.difference.max.ms=5"];
        assert_eq!((topic(&set).before, topic(&set).after), (Some(7), Some(5)));
    }

    #[test]
    fn a_record_is_too_large_by_the_bytes_of_its_batch_and_its_headers_count() {
        let value = vec![b'x'; 1000];
        let record = record(Some(b"key"), &value, None);
        // 61 of the batch, 2 of the record's length, 3 of its fields, 1+3 of the key, 2+1000 of the value, 1 for the number
        // of headers, 1+11 and 1+8 of the only one.
        let exact = 61 + 2 + 3 + 4 + 1002 + 1 + 12 + 9;
        let limits = |most: usize| TopicLimits { max_bytes: Some(most), ..topic(&[]) };
        let too_large = Some(SinkError::TooLarge("t".to_owned()));
        assert_eq!(limits(exact).refuses(&record, usize::MAX, NOW), None);
        assert_eq!(limits(exact - 1).refuses(&record, usize::MAX, NOW), too_large);
        assert_eq!(
            limits(exact - 1).refuses(&record, exact - 1, NOW),
            None,
            "the caller's bound is believed"
        );
        let compressed = TopicLimits { compressed: true, ..limits(1) };
        assert_eq!(compressed.refuses(&record, usize::MAX, NOW), None, "nobody knows what is left of it");
    }

    #[test]
    fn a_length_takes_as_many_bytes_as_kafka_writes_for_it() {
        for (length, bytes) in [(0, 1), (63, 1), (64, 2), (8191, 2), (8192, 3), (1 << 20, 4)] {
            assert_eq!(varint(length), bytes, "{length}");
        }
    }

    #[test]
    fn a_compacted_topic_refuses_what_has_no_key() {
        let compacted = topic(&["cleanup.policy=compact,delete", "retention.ms=1000"]);
        assert!(matches!(
            compacted.refuses(&record(None, b"v", None), 10, NOW),
            Some(SinkError::Record { why, .. }) if why.contains("compacted")
        ));
        assert_eq!(compacted.refuses(&record(Some(b""), b"v", None), 10, NOW), None);
        assert_eq!(compacted.retention, Some(1000));
        assert_eq!(
            topic(&["cleanup.policy=compact", "retention.ms=1000"]).retention,
            None,
            "nothing is deleted"
        );
    }

    #[test]
    fn topics_that_fit_are_not_worth_a_word_and_each_misfit_is_named_once() {
        let usual = ["max.message.bytes=1048588", "cleanup.policy=delete", "retention.ms=604800000"];
        let of = |name: &str, limits: TopicLimits| TopicLimits { topic: name.to_owned(), ..limits };
        let [output, dead, input] = ["out", "dead", "in"].map(|name| of(name, topic(&usual)));
        let hear = |output: &TopicLimits, dead: &TopicLimits, input: &TopicLimits| {
            notices(output, dead, std::slice::from_ref(input), 900_000)
        };
        assert!(hear(&output, &dead, &input).is_empty());
        let nothing = TopicLimits::default();
        assert!(
            notices(&nothing, &nothing, std::slice::from_ref(&nothing), 900_000).is_empty(),
            "what is not told is no fault"
        );
        assert!(hear(&output, &dead, &of("in", nothing)).is_empty(), "nor is it kept for ever");
        let cases = [
            (
                TopicLimits { min_insync: Some(1), copies: Some(3), ..output.clone() },
                dead.clone(),
                input.clone(),
                "what one of its 3",
            ),
            (
                TopicLimits { min_insync: Some(3), copies: Some(2), ..output.clone() },
                dead.clone(),
                input.clone(),
                "takes no record",
            ),
            (
                output.clone(),
                TopicLimits { copies: Some(1), ..dead.clone() },
                input.clone(),
                "topic dead has one copy",
            ),
            (
                TopicLimits { compacted: true, ..output.clone() },
                dead.clone(),
                input.clone(),
                "output topic out is compacted",
            ),
            (
                output.clone(),
                TopicLimits { compacted: true, ..dead.clone() },
                input.clone(),
                "dead-letter topic dead is",
            ),
            (
                TopicLimits { max_bytes: Some(1000), ..output.clone() },
                dead.clone(),
                input.clone(),
                "output topic out (1000)",
            ),
            (
                TopicLimits { retention: Some(7_200_000), ..output.clone() },
                dead.clone(),
                input.clone(),
                "for 2 hours, input",
            ),
            (
                output.clone(),
                dead.clone(),
                TopicLimits { retention: None, ..input.clone() },
                "topic in for ever",
            ),
            (
                TopicLimits { append_time: true, ..output.clone() },
                dead.clone(),
                input.clone(),
                "LogAppendTime",
            ),
            (
                output.clone(),
                dead,
                TopicLimits { max_bytes: Some(9_000_000), ..input },
                "written as pointers",
            ),
        ];
        for (output, dead, input, words) in cases {
            let heard = hear(&output, &dead, &input);
            assert_eq!(heard.len(), 1, "{heard:?}");
            assert!(heard.iter().all(|notice| notice.contains(words)), "{heard:?} has not {words}");
        }
    }
}
