//! Alerts at a rate, and what comes out of them: how long each took from the producer to a consumer of the output.
//!
//! Contract: the producer keeps to its rate whatever comes back, so that a stall shows as latency and not as fewer
//! alerts; by how much it was late itself is told. The alerts of a moment go to one partition and those of the next moment to
//! the next one, as Kafka's own producers do without keys: a request for each alert would be what is measured. When an alert was sent travels as its key, and so does of which sort it
//! is. It begins when the child has all its partitions, and those of the first seconds do not count. What has not come out when everything else has, or when nothing more comes
//! out, is missing, and told; it never just lowers the figures.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::anyhow;
use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::BaseProducer;

use super::backlog::BYTES;
use super::child::Child;
use super::figures::percentile;
use super::kafka::{flush, send};
use super::stand::Stand;
use crate::simulator::sample::Finding;

/// Not counted at the start.
const WARM_UP: Duration = Duration::from_secs(2);
/// Between two handfuls of alerts.
const TICK: Duration = Duration::from_millis(2);
/// How long nothing may come out before the rest counts as missing.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of a key: when it was sent, and of which sort it is.
const KEY: usize = 9;

/// What is sent.
pub struct Traffic<'a> {
    /// Where to.
    pub input: &'a str,
    /// And where it comes out.
    pub output: &'a str,
    /// Alerts a second.
    pub rate: u64,
    /// The sort and the entity of an alert, by its number.
    pub alert: &'a (dyn Fn(u64) -> (u8, usize) + Sync),
}

/// What was seen of one sort of alerts, after the first seconds.
#[derive(Debug, Default)]
pub struct Seen {
    /// Nanoseconds from the producer to the consumer, sorted.
    nanos: Vec<u64>,
    /// Alerts that did not come out.
    pub missing: u64,
}

impl Seen {
    /// Milliseconds that so large a share of the alerts did not exceed.
    pub fn ms(&self, share: f64) -> Option<f64> {
        percentile(&self.nanos, share).map(|nanos| nanos as f64 / 1e6)
    }

    /// Alerts that came out.
    pub fn count(&self) -> u64 {
        self.nanos.len() as u64
    }
}

/// What traffic showed.
pub struct Shown {
    /// By sort.
    pub sorts: Vec<Seen>,
    /// CPU of the child for a million alerts, in seconds.
    pub cpu_seconds_a_million: f64,
    /// By how much the producer itself was behind its rate at worst, in milliseconds.
    pub late_ms: f64,
}

/// What producer and consumer know of each other.
#[derive(Default)]
struct Counts {
    seen: AtomicU64,
    stop: AtomicBool,
}

/// Sends alerts of `sorts` sorts for as long as was asked for (and a warm-up), and watches them come out of `child`.
pub fn run(
    stand: &Stand<'_>,
    child: &mut Child,
    traffic: &Traffic<'_>,
    sorts: usize,
) -> anyhow::Result<Shown> {
    let counts = Counts::default();
    let reader = stand.cluster.reader(traffic.output, stand.partitions())?;
    let producer = stand.cluster.producer(1)?;
    let mut finding = Finding::new(1, BYTES);
    // One through each partition, so that nothing piles up while they are handed out.
    for partition in 0..stand.partitions() {
        send(&producer, traffic.input, partition, &key(0, 0), finding.about(|_| 0))?;
    }
    flush(&producer)?;
    let first = u64::from(stand.partitions().unsigned_abs());
    stand.reach(child, first, TICK * 10)?;
    let from = now() + WARM_UP.as_nanos() as u64;
    let child = &*child;
    let (sent, seen) = std::thread::scope(|scope| {
        let watched = scope.spawn(|| watch(&reader, from, sorts, &counts));
        let sent = produce(stand, child, traffic, &producer, from, sorts).and_then(|sent| {
            rest(stand, &counts, first + sent.all)?;
            Ok(sent)
        });
        counts.stop.store(true, Ordering::Relaxed);
        let seen = watched.join().map_err(|_| anyhow!("the consumer of the output ended: a bug"));
        Ok::<_, anyhow::Error>((sent?, seen?))
    })?;
    let sorts = seen.into_iter().zip(&sent.counted).map(|(mut nanos, sent)| {
        nanos.sort_unstable();
        let missing = sent.saturating_sub(nanos.len() as u64);
        Seen { nanos, missing }
    });
    let counted: u64 = sent.counted.iter().sum();
    Ok(Shown {
        sorts: sorts.collect(),
        cpu_seconds_a_million: sent.cpu * 1e6 / counted as f64,
        late_ms: sent.late.as_secs_f64() * 1000.0,
    })
}

/// What was sent.
struct Sent {
    /// With the first seconds.
    all: u64,
    /// Without them, by sort.
    counted: Vec<u64>,
    /// CPU seconds of the child while these were sent.
    cpu: f64,
    late: Duration,
}

fn produce(
    stand: &Stand<'_>,
    child: &Child,
    traffic: &Traffic<'_>,
    producer: &BaseProducer,
    from: u64,
    sorts: usize,
) -> anyhow::Result<Sent> {
    let mut finding = Finding::new(1, BYTES);
    let partitions = stand.partitions().unsigned_abs().max(1);
    let end = WARM_UP + Duration::from_secs(stand.arguments.seconds);
    let mut sent = Sent { all: 0, counted: vec![0; sorts], cpu: 0.0, late: Duration::ZERO };
    let mut before = None;
    let started = Instant::now();
    for moment in 0_u32.. {
        let elapsed = started.elapsed();
        if elapsed >= end {
            break;
        }
        stand.go_on()?;
        let partition = (moment % partitions) as i32;
        let due = (elapsed.as_secs_f64() * traffic.rate as f64) as u64;
        while sent.all < due {
            let at = now();
            let (sort, entity) = (traffic.alert)(sent.all);
            send(producer, traffic.input, partition, &key(at, sort), finding.about(|_| entity))?;
            sent.all += 1;
            if at >= from {
                if let Some(count) = sent.counted.get_mut(usize::from(sort)) {
                    *count += 1;
                }
                if before.is_none() {
                    before = Some(child.sample()?);
                }
                let should = Duration::from_secs_f64(sent.all as f64 / traffic.rate as f64);
                sent.late = sent.late.max(started.elapsed().saturating_sub(should));
            }
        }
        producer.poll(Duration::ZERO);
        std::thread::park_timeout(TICK);
    }
    let after = child.sample()?;
    sent.cpu = before.map_or(0.0, |before| after.cpu - before.cpu);
    flush(producer)?;
    Ok(sent)
}

/// Waits until everything has come out, or nothing more does.
fn rest(stand: &Stand<'_>, counts: &Counts, sent: u64) -> anyhow::Result<()> {
    let mut last = (0, Instant::now());
    loop {
        let seen = counts.seen.load(Ordering::Relaxed);
        if seen >= sent || (seen == last.0 && last.1.elapsed() > PATIENCE) {
            return Ok(());
        }
        if seen > last.0 {
            last = (seen, Instant::now());
        }
        stand.pause(Duration::from_millis(20))?;
    }
}

/// What comes out, until the end: nanoseconds by sort, of alerts that were sent after `from`.
fn watch(reader: &BaseConsumer, from: u64, sorts: usize, counts: &Counts) -> Vec<Vec<u64>> {
    let mut seen = vec![Vec::new(); sorts];
    while !counts.stop.load(Ordering::Relaxed) {
        let Some(Ok(record)) = reader.poll(Duration::from_millis(50)) else { continue };
        let at = now();
        counts.seen.fetch_add(1, Ordering::Relaxed);
        let Some((sent, sort)) = record.key().and_then(read_key) else { continue };
        if sent >= from
            && let Some(nanos) = seen.get_mut(usize::from(sort))
        {
            nanos.push(at.saturating_sub(sent));
        }
    }
    seen
}

fn key(sent: u64, sort: u8) -> [u8; KEY] {
    let [a, b, c, d, e, f, g, h] = sent.to_be_bytes();
    [a, b, c, d, e, f, g, h, sort]
}

fn read_key(key: &[u8]) -> Option<(u64, u8)> {
    let (sent, sort) = key.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*sent), *sort.first()?))
}

/// Nanoseconds since 1970: both ends are in this process.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_when_and_what() {
        assert_eq!(read_key(&key(1_780_064_607_000_000_001, 1)), Some((1_780_064_607_000_000_001, 1)));
        assert_eq!(read_key(b"12345678"), None);
    }

    #[test]
    fn what_did_not_come_out_is_missing_and_lowers_no_figure() {
        let seen = Seen { nanos: vec![1_000_000, 3_000_000], missing: 1 };
        assert_eq!((seen.ms(0.5), seen.ms(1.0), seen.count(), seen.missing), (Some(1.0), Some(3.0), 2, 1));
        assert_eq!(Seen::default().ms(0.5), None);
    }
}
