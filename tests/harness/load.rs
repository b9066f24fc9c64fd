//! A load that is never held in memory: each alert follows from its number, and so from its place in the input.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::alerts;
use super::kafka::{NewRecord, Record, Stage, Writer, hour_ago};

/// Numbered alerts: number `n` is in partition `n % partitions` at offset `n / partitions`, and about entity
/// `n % entities`, which is also its key.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many there are.
    pub alerts: usize,
    /// Entities. A multiple of the partitions keeps all alerts of a key in one of them.
    pub entities: usize,
    /// Bytes of each, at least.
    pub bytes: usize,
    /// Each so many-th alert is dated so many milliseconds ahead.
    pub ahead: Option<(usize, i64)>,
    /// Each so many-th is no JSON, and becomes a dead letter.
    pub broken: Option<usize>,
    partitions: i32,
    /// Timestamp of the first; each is a millisecond after the one before.
    first: i64,
}

impl Load {
    /// None yet.
    pub fn new(stage: &Stage, entities: usize, bytes: usize) -> Load {
        let (partitions, first) = (stage.partitions, hour_ago());
        Load { alerts: 0, entities, bytes, ahead: None, broken: None, partitions, first }
    }

    /// Writes `alerts` of them to the input, which must be empty.
    pub fn write(mut self, stage: &Stage, alerts: usize) -> Load {
        let mut writer = Writer::new(stage);
        for number in 0..alerts {
            writer.send(&self.new_record(number));
        }
        writer.end();
        self.alerts = alerts;
        self
    }

    /// Writes at `rate` a second to the input, which must be empty, while `meanwhile` runs.
    pub fn flow(mut self, stage: &Stage, rate: usize, meanwhile: impl FnOnce()) -> Load {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let feeder = scope.spawn(|| {
                let mut writer = Writer::new(stage);
                let started = Instant::now();
                while !over.load(Ordering::Relaxed) {
                    let due = (started.elapsed().as_secs_f64() * rate as f64) as usize;
                    while self.alerts < due {
                        writer.send(&self.new_record(self.alerts));
                        self.alerts += 1;
                    }
                    std::thread::park_timeout(Duration::from_millis(10));
                }
                writer.end();
                self
            });
            // Also when it panics, so that the feeder ends and the failure is told.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
            over.store(true, Ordering::Relaxed);
            let load = feeder.join().unwrap();
            result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            load
        })
    }

    fn new_record(&self, number: usize) -> NewRecord {
        let mut record = alerts::mixed(number, self.entities, self.partitions);
        let value = record.value.get_or_insert_default();
        if let Some(room) = self.bytes.checked_sub(value.len() + ",\"pad\":\"\"".len()) {
            // Before the brace at the end.
            value.truncate(value.len() - 1);
            value.extend_from_slice(b",\"pad\":\"");
            value.extend((0..room).map(|at| b'a' + ((number + at * 7919) % 26) as u8));
            value.extend_from_slice(b"\"}");
        }
        if self.broken.is_some_and(|every| number.is_multiple_of(every)) {
            value.truncate(value.len() - 1);
        }
        let ahead =
            self.ahead.filter(|(every, _)| number.is_multiple_of(*every)).map_or(0, |(_, millis)| millis);
        record.timestamp = Some(self.first + number as i64 + ahead);
        record
    }

    /// The number of what stands at a place; of any place, also one that was never written.
    pub fn number(&self, (partition, offset): (i32, i64)) -> Option<usize> {
        let known = (0..self.partitions).contains(&partition) && offset >= 0;
        known.then(|| offset as usize * self.partitions as usize + partition as usize)
    }

    /// Alert `number`, as it is read.
    pub fn record(&self, number: usize) -> Record {
        let offset = number / self.partitions as usize;
        let new = self.new_record(number);
        let timestamp = new.timestamp.unwrap();
        new.at(offset as i64, timestamp)
    }
}
