//! What of a changed configuration a running process takes over, and what takes a restart.
//!
//! Contract: clients of Kafka, what is sized once and what listens stay as they were started; all else changes. Pure.

use super::Config;

impl Config {
    /// Puts what is running into the place of all that only a restart changes, and names the keys where that was something
    /// else.
    pub fn keep_from(&mut self, running: &Config) -> Vec<&'static str> {
        let mut kept = Vec::new();
        let mut keep = Keep(&mut kept);
        keep.one("kafka", &mut self.kafka, &running.kafka);
        keep.one("input", &mut self.input, &running.input);
        let (output, was) = (&mut self.output, &running.output);
        keep.one("output.topic", &mut output.topic, &was.topic);
        keep.one("output.updates", &mut output.updates, &was.updates);
        keep.one("output.max_bytes", &mut output.max_bytes, &was.max_bytes);
        keep.one("output.partition", &mut output.partition, &was.partition);
        keep.one("dead_letters", &mut self.dead_letters, &running.dead_letters);
        let (pipeline, was) = (&mut self.pipeline, &running.pipeline);
        keep.one("pipeline.delivery", &mut pipeline.delivery, &was.delivery);
        keep.one("pipeline.order", &mut pipeline.order, &was.order);
        keep.one("pipeline.in_flight", &mut pipeline.in_flight, &was.in_flight);
        keep.one("pipeline.in_flight_bytes", &mut pipeline.in_flight_bytes, &was.in_flight_bytes);
        keep.one("pipeline.threads", &mut pipeline.threads, &was.threads);
        keep.one("pipeline.drain", &mut pipeline.drain, &was.drain);
        keep.one("pipeline.shutdown", &mut pipeline.shutdown, &was.shutdown);
        if pipeline.deadline > was.drain {
            // What waits would not be finished when its partition goes.
            keep.one("pipeline.deadline", &mut pipeline.deadline, &was.deadline);
        }
        keep.one("pipeline.max_alert_bytes", &mut pipeline.max_alert_bytes, &was.max_alert_bytes);
        keep.one("cache.capacity", &mut self.cache.capacity, &running.cache.capacity);
        keep.one("admin", &mut self.admin, &running.admin);
        keep.one("log", &mut self.log, &running.log);
        kept
    }
}

struct Keep<'k>(&'k mut Vec<&'static str>);

impl Keep<'_> {
    fn one<T: PartialEq + Clone>(&mut self, key: &'static str, wanted: &mut T, running: &T) {
        if wanted != running {
            *wanted = running.clone();
            self.0.push(key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse("r.yaml", text, Path::new(""), []).unwrap()
    }

    #[test]
    fn what_only_a_restart_changes_stays_and_is_named_and_the_rest_is_taken() {
        let running = config("");
        let text = "kafka: {brokers: ['127.0.0.1:1']}\ninput: {group: other}\n\
            output: {topic: out, updates: upd, member: threat, max_bytes: 800KB, partition: key, on_conflict: replace}\n\
            dead_letters: {topic: dead}\n\
            pipeline: {order: key, in_flight: 7, in_flight_bytes: 2MiB, threads: 2, drain: 10s, shutdown: 12s,\
             max_alert_bytes: 2MiB, deadline: 9s, max_depth: 9, max_entities: 3}\n\
            cache: {capacity: 1MiB, ttl: {scored: 1s}, jitter: 0.2}\nadmin: {listen: '127.0.0.1:1'}\nlog: {level: debug}\n\
            routes: [{kinds: [user], provider: none}]\n";
        let mut wanted = config(text);
        let kept = wanted.keep_from(&running);
        let expected = "kafka input output.topic output.updates output.max_bytes output.partition dead_letters pipeline.order \
            pipeline.in_flight pipeline.in_flight_bytes pipeline.threads pipeline.drain pipeline.shutdown \
            pipeline.max_alert_bytes cache.capacity admin log";
        assert_eq!(kept.join(" "), expected);
        assert_eq!((&wanted.kafka, &wanted.input), (&running.kafka, &running.input));
        assert_eq!((&wanted.dead_letters, &wanted.admin), (&running.dead_letters, &running.admin));
        let expected = crate::config::Pipeline {
            deadline: Duration::from_secs(9),
            max_depth: 9,
            max_entities: 3,
            ..running.pipeline.clone()
        };
        assert_eq!(wanted.pipeline, expected);
        assert_eq!(
            (wanted.output.member.as_str(), wanted.output.topic.as_str()),
            ("threat", "security.alerts.enriched")
        );
        assert_eq!((wanted.cache.jitter, wanted.cache.capacity), (0.2, running.cache.capacity));
        assert_eq!(wanted.routes.len(), 1);
    }

    #[test]
    fn a_deadline_that_needs_a_longer_drain_waits_for_the_restart_with_it() {
        let running = config("pipeline: {deadline: 3s, drain: 5s, shutdown: 6s}");
        let mut longer = config("pipeline: {deadline: 8s, drain: 9s, shutdown: 10s}");
        assert_eq!(longer.keep_from(&running), ["pipeline.drain", "pipeline.shutdown", "pipeline.deadline"]);
        assert_eq!(longer.pipeline, running.pipeline);
        let mut within = config("pipeline: {deadline: 5s, drain: 5s, shutdown: 6s}");
        assert_eq!(within.keep_from(&running), Vec::<&str>::new());
        assert_eq!(within.pipeline.deadline, Duration::from_secs(5));
    }

    #[test]
    fn the_same_again_keeps_nothing_also_where_secrets_are_read_anew() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "one").unwrap();
        let text = format!("admin: {{token: {{file: {}}}}}\n", file.path().display());
        let running = config(&text);
        std::fs::write(file.path(), "another").unwrap();
        assert_eq!(config(&text).keep_from(&running), Vec::<&str>::new());
        assert_eq!(config("").keep_from(&running), ["admin"]);
    }
}
