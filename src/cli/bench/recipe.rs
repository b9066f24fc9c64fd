//! The configuration of a child: what a user would write, but for what is measured.
//!
//! Contract: everything is the default but what is said here, and each part says why it changes something. The vendor's
//! quota is left out, as a simulated vendor has none.

use std::net::SocketAddr;

use crate::simulator::datadog;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// What only copies.
    CopyLoop,
    /// The service, at least once.
    AtLeastOnce,
    /// The service, exactly once.
    ExactlyOnce,
}

impl Who {
    /// Its name in results.
    pub const fn name(self) -> &'static str {
        match self {
            Who::CopyLoop => "copy loop",
            Who::AtLeastOnce => "at least once",
            Who::ExactlyOnce => "exactly once",
        }
    }
}

/// What differs from one child to another.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// Which promise it keeps, if it is the service.
    pub who: Who,
    /// Where alerts come from.
    pub input: String,
    /// Where they go.
    pub output: String,
    /// Lanes.
    pub threads: usize,
    /// Answers in its cache from the start.
    pub prefill: usize,
    /// Where the vendor is; nowhere, if it is never asked.
    pub vendor: Option<SocketAddr>,
    /// More members of `pipeline`, each with a comma before it.
    pub pipeline: &'static str,
    /// More members of the provider, the same.
    pub provider: &'static str,
    /// More members of `output`, the same.
    pub published: &'static str,
}

/// Bytes that the cache counts for an answer of the sample, and room to spare.
const ANSWER: usize = 800;
/// The cache's default.
const CACHE: usize = 256 << 20;

impl Recipe {
    /// The service or the copy loop, from one topic to another.
    pub fn new(who: Who, input: &str, output: &str, threads: usize) -> Recipe {
        Recipe {
            who,
            input: input.to_owned(),
            output: output.to_owned(),
            threads,
            prefill: 0,
            vendor: None,
            pipeline: "",
            provider: "",
            published: "",
        }
    }

    /// Its dead-letter topic.
    pub fn dead(&self) -> String {
        format!("{}.dead", self.output)
    }

    /// The file's text.
    pub fn text(&self, brokers: &str) -> String {
        let Recipe { input, output, threads, pipeline, provider, published, .. } = self;
        let brokers: Vec<String> = brokers.split(',').map(|broker| format!("'{}'", broker.trim())).collect();
        let delivery = if self.who == Who::ExactlyOnce { "exactly_once" } else { "at_least_once" };
        // Where nobody listens: a question that should not have been asked becomes a failure that is seen.
        let vendor = self.vendor.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 9)));
        format!(
            "allow_literal_secrets: true\n\
             kafka: {{brokers: [{brokers}], security: plaintext, instance: bench}}\n\
             input: {{topics: ['{input}'], group: '{output}'}}\n\
             output: {{topic: '{output}'{published}}}\n\
             dead_letters: {{topic: '{dead}'}}\n\
             pipeline: {{threads: {threads}, delivery: {delivery}{pipeline}}}\n\
             cache: {{capacity: {capacity}, ttl: {{scored: 24h}}}}\n\
             providers:\n  datadog: {{type: datadog, base_url: 'http://{vendor}/datadog', allow_http: true, \
             api_key: '{api}', application_key: '{application}'{provider}}}\n\
             admin: {{listen: '127.0.0.1:0'}}\n",
            brokers = brokers.join(", "),
            dead = self.dead(),
            // A quarter is for what is unknown.
            capacity = ((self.prefill * ANSWER).div_ceil(3) * 4).max(CACHE),
            api = datadog::API_KEY,
            application = datadog::APPLICATION_KEY,
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic)]
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Delivery};

    #[test]
    fn every_recipe_is_a_configuration() {
        let more = [
            Recipe::new(Who::CopyLoop, "in", "out", 2),
            Recipe::new(Who::ExactlyOnce, "in", "out", 1),
            Recipe { prefill: 10_000_000, ..super::super::growth::sized("in", "out") },
            super::super::cold::recipe("in", "out", SocketAddr::from(([127, 0, 0, 1], 8900)), 1),
            super::super::hanging::recipe("in", "out", SocketAddr::from(([127, 0, 0, 1], 8900)), 1),
        ];
        for recipe in more {
            let config = Config::parse("bench", &recipe.text("a:9092, b:9092"), Path::new(""), [])
                .unwrap_or_else(|problems| panic!("{}", problems.json_lines()));
            assert_eq!(config.kafka.brokers, ["a:9092", "b:9092"]);
            assert_eq!(config.pipeline.threads, recipe.threads);
            let is_exact = recipe.who == Who::ExactlyOnce;
            assert_eq!(config.pipeline.delivery == Delivery::ExactlyOnce, is_exact);
            assert!(config.cache.capacity as usize * 3 / 4 >= recipe.prefill * ANSWER);
        }
    }
}
