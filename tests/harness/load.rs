//! A load that is never held in memory: each alert follows from its number, and so from its place in the input.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::alerts;
use super::kafka::{NewRecord, Record, Stage, Writer};

/// Numbered alerts: number `n` is in partition `n % partitions` at offset `n / partitions`, and about entity
/// `n % entities`, which is also its key.
#[derive(Clone, Debug)]
pub struct Load {
    /// How many there are.
    pub alerts: usize,
    /// Entities. A multiple of the partitions keeps all alerts of a key in one of them.
    pub entities: usize,
    /// Partitions of the input.
    pub partitions: i32,
    /// Bytes of each, at least.
    pub bytes: usize,
    /// Timestamp of the first.
    first: i64,
}

impl Load {
    /// Writes `alerts` of them to the input, which must be empty.
    pub fn write(stage: &Stage, alerts: usize, entities: usize, bytes: usize) -> Load {
        let mut writer = Writer::new(stage);
        let load = Load { alerts, entities, partitions: stage.partitions, bytes, first: writer.first };
        for number in 0..alerts {
            writer.send(&load.new_record(number));
        }
        writer.end();
        load
    }

    /// Writes at `rate` a second to the input, which must be empty, while `meanwhile` runs; what was written.
    pub fn flow(
        stage: &Stage,
        rate: usize,
        entities: usize,
        bytes: usize,
        meanwhile: impl FnOnce(&AtomicUsize),
    ) -> Load {
        let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let feeder = scope.spawn(|| {
                let mut writer = Writer::new(stage);
                let (partitions, first) = (stage.partitions, writer.first);
                let mut load = Load { alerts: 0, entities, partitions, bytes, first };
                let started = Instant::now();
                while !over.load(Ordering::Relaxed) {
                    let due = (started.elapsed().as_secs_f64() * rate as f64) as usize;
                    while load.alerts < due {
                        writer.send(&load.new_record(load.alerts));
                        load.alerts += 1;
                    }
                    sent.store(load.alerts, Ordering::Relaxed);
                    std::thread::park_timeout(Duration::from_millis(10));
                }
                writer.end();
                load
            });
            // Also when it panics, so that the feeder ends and the failure is told.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| meanwhile(&sent)));
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
        self.new_record(number).at(offset as i64, self.first + number as i64)
    }
}
