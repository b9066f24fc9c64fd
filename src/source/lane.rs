//! A lane: one OS thread that polls its consumer and drives its alerts through.
//!
//! Contract: while alerts are taken, polls follow each other closely; while too much is in flight, the lane first
//! waits a moment (full prefetch buffers are kept), then pauses its partitions and goes on polling. A stop
//! drains what is in flight within its bound, stores the frontiers and leaves the group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::Consumer;
use rdkafka::consumer::base_consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{Producer, ThreadedProducer};

use crate::admin::health::{LaneHealth, Notes};
use crate::commit::committer;
use crate::commit::policy::Policy;
use crate::config::{Config, Delivery, InputTopic};
use crate::pipeline::live::Live;
use crate::sink::Sink;
use crate::sink::updates::Updates;
use crate::source::access::demand;
use crate::source::core::{Core, Settings};
use crate::source::identity::{Identity, Supplied};
use crate::source::lateness::Lateness;
use crate::source::limits::Latest;
use crate::source::mailbox::mailbox;
use crate::source::rebalance::Context;
use crate::source::recreated::{self, Inquiry};
use crate::source::startup::Unheard;
use crate::source::topics::Inputs;
use crate::source::transaction::Transactions;
use crate::source::{LaneError, client, startup, topics};
use crate::supervisor::Stop;

/// A poll while nothing is in flight.
const IDLE: Duration = Duration::from_millis(100);
/// A poll while answers or deliveries are awaited.
const BUSY: Duration = Duration::from_millis(1);
/// How long a full lane waits before it pauses its partitions.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long a transaction may be in doubt before readiness says so.
const DOUBT: Duration = Duration::from_secs(15);
/// What it says.
const UNDECIDED: &str = "a transaction is in doubt, and the broker does not say whether it counts; what is in flight waits for that";
/// Bound of seeing at the end that the broker has what is committed.
const CONFIRMED: Duration = Duration::from_secs(5);
/// Bound of taking back a transaction that a stop leaves open.
const ABANDON: Duration = Duration::from_secs(1);
/// Alerts between two looks at the mailbox.
const BATCH: usize = 64;

/// What a lane needs.
pub struct Lane {
    /// Its number, from 0.
    pub number: usize,
    /// The configuration.
    pub config: Arc<Config>,
    /// The steps, as they are at any time.
    pub live: Arc<Live>,
    /// What it says of itself.
    pub health: Arc<LaneHealth>,
    /// What people should know beside.
    pub notes: Arc<Notes>,
    /// What topics allow, as it changes.
    pub limits: Arc<Latest>,
    /// Who we are to the brokers, where that is a token.
    pub identity: Identity,
    /// Where late answers go, where they go anywhere.
    pub updates: Option<Arc<Updates>>,
    /// When to end.
    pub stop: Stop,
    /// Every lane of the process holds it until its last offsets are committed, and nobody else.
    pub together: Arc<()>,
}

impl Lane {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// [`LaneError`]: the process must stop. Nothing that was not acknowledged is committed.
    pub fn run(self) -> Result<(), LaneError> {
        let Some(consumer) = self.start()? else { return Ok(()) };
        let result = self.poll(&consumer);
        if let Err(error) = &result {
            // Said now: draining and leaving the group take their time. The others must not go on alone.
            tracing::error!(lane = self.number, %error, "the lane cannot go on; stopping");
            self.stop.fail();
            consumer.context().core().hold_back();
            if matches!(error, LaneError::Recreated(_)) {
                consumer.context().recommit(&consumer);
            }
        }
        // What is acknowledged may be committed all the same; the rest is read again.
        let drained = self.drain(&consumer);
        self.wait_for_others();
        result.and(drained)
    }

    /// Waits before it leaves the group until the others have ended as well. A group that is left is in a rebalance: it goes on
    /// only with the next word of each other member, which one that drains does not give, and until then it may refuse their
    /// offsets.
    fn wait_for_others(self) {
        let until = Instant::now() + self.config.pipeline.drain + CONFIRMED;
        let others = Arc::downgrade(&self.together);
        drop(self.together);
        while others.strong_count() > 0 && Instant::now() < until && !self.stop.now() {
            self.health.beat();
            std::thread::park_timeout(BUSY);
        }
    }

    /// Sets up clients and asks about topics; `None` when the process is to stop before the broker answered.
    fn start(&self) -> Result<Option<Supplied<BaseConsumer<Context>>>, LaneError> {
        let config = &self.config;
        let lanes = config.pipeline.threads.max(1);
        let in_flight = config.pipeline.in_flight.div_ceil(lanes);
        let (post, mail) = mailbox();
        let deliveries = Arc::new(post.clone());
        // Threaded, so that somebody takes its errors while it waits for a broker.
        let asking = client::common(&config.kafka);
        let asking: ThreadedProducer<Unheard> =
            ThreadedProducer::from_config_and_context(&asking, Unheard::new(&config.kafka, &self.identity))
                .map_err(LaneError::Client)?;
        let asking = Supplied::new(asking, &self.identity);
        let ask =
            |role, topic: &str| startup::partitions(asking.client(), role, topic, &self.health, &self.stop);
        let Some(outputs) = ask("output", &config.output.topic)? else { return Ok(None) };
        if ask("dead-letter", &config.dead_letters.topic)?.is_none() {
            return Ok(None);
        }
        let lateness = match (&self.updates, &config.output.updates) {
            (Some(updates), Some(topic)) => {
                let Some(count) = ask("update", topic)? else { return Ok(None) };
                let room = (in_flight, config.pipeline.in_flight_bytes / lanes);
                Some(Lateness::new(Arc::clone(updates), count, config.output.partition, room))
            }
            _ => None,
        };
        let mut inputs = Inputs::new(config);
        let mut topics = Vec::new();
        for InputTopic { name, .. } in config.input.topics.iter().filter(|topic| topic.pattern.is_none()) {
            let Some(count) = ask("input", name)? else { return Ok(None) };
            let topic = inputs.topic(name, count, outputs)?;
            if inputs.is_misfit(&topic) && self.number == 0 {
                topics::tell_misfit(&topic, outputs);
            }
            inputs.found(name, count);
            topics.push(topic);
        }
        if config.input.topics.iter().any(|topic| topic.pattern.is_some()) {
            let all = || asking.client().fetch_metadata(None, topics::ASK);
            inputs.found_by_patterns(&topics::patient(Instant::now() + topics::BOUND, &self.health, all)?);
        }
        if self.number == 0 {
            let (config, health) = (Arc::clone(config), Arc::clone(&self.health));
            demand::ask(asking, config, self.identity.clone(), health, self.stop.clone())?;
        }
        let producer = client::producer(config, lanes, None);
        let mut limits = startup::limits(
            &config.kafka,
            &self.identity,
            client::compresses(&producer),
            &[config.output.topic.as_str(), config.dead_letters.topic.as_str()],
        )
        .into_iter();
        let [output_limits, dead_limits] = [(); 2].map(|()| limits.next().unwrap_or_default());
        let largest = output_limits.max_bytes.into_iter().chain(dead_limits.max_bytes).min();
        let mut producer = client::producer(config, lanes, largest);
        let transactions = client::transactional_id(config, self.number).map(|id| {
            client::transactional(&mut producer, &id);
            Transactions::new(id, client::transaction_timeout(&producer))
        });
        let mut sink = Sink::new(&producer, deliveries, &self.identity).map_err(LaneError::Client)?;
        // Before subscribing: what an earlier process of our name left open ends here.
        let topic = inputs.any().map(|topic| (config.input.group.as_str(), topic));
        if transactions.is_some() && !startup::transactions(&mut sink, topic, &self.health, &self.stop)? {
            return Ok(None);
        }
        let settings = Settings {
            in_flight,
            in_flight_bytes: config.pipeline.in_flight_bytes / lanes,
            order: config.pipeline.order,
            group: config.input.group.clone(),
            output: config.output.topic.clone(),
            dead_letters: config.dead_letters.topic.clone(),
            on_failure: config.dead_letters.on_failure,
            output_limits,
            dead_limits,
        };
        let pipeline = self.live.get();
        let metrics = Arc::clone(&pipeline.metrics);
        let mut core = Core::new(pipeline, sink, (post, mail), settings, topics, transactions);
        core.update(lateness);
        let context = Context::new(
            core,
            config.pipeline.drain,
            config.input.clone(),
            inputs,
            self.stop.clone(),
            metrics,
            Arc::clone(&self.health),
        );
        let consumer: BaseConsumer<Context> =
            BaseConsumer::from_config_and_context(&client::consumer(config, self.number, lanes), context)
                .map_err(LaneError::Client)?;
        let consumer = Supplied::new(consumer, &self.identity);
        let names: Vec<String> = config.input.topics.iter().map(InputTopic::subscription).collect();
        consumer
            .subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>())
            .map_err(LaneError::Client)?;
        self.health.started();
        Ok(Some(consumer))
    }

    fn poll(&self, consumer: &BaseConsumer<Context>) -> Result<(), LaneError> {
        let mut policy = Policy::new(Instant::now());
        let mut full_since: Option<Instant> = None;
        let [transaction, letters] =
            ["transaction", "dead letters"].map(|what| format!("{what} of lane {}", self.number));
        let mut generation = 0;
        let mut inquiry = Inquiry::new(consumer.client(), Instant::now());
        while !self.stop.requested() {
            self.health.beat();
            if let Some(error) = self.health.failed() {
                return Err(error);
            }
            let timeout = {
                let mut core = consumer.context().core();
                let now = Instant::now();
                if let Some(pipeline) = self.live.newer(&mut generation) {
                    core.adopt(pipeline);
                }
                core.serve(now)?;
                core.transact(consumer, false)?;
                if policy.due(now) {
                    store(consumer, &mut core);
                    let doubtful = core.in_doubt_for(now).is_some_and(|time| time > DOUBT);
                    self.notes.set(&transaction, doubtful.then(|| UNDECIDED.to_owned()));
                    self.notes.set(&letters, core.refusal(now).map(|why| self.waits(why)));
                    core.take_over(&self.limits);
                    let ids = inquiry.as_mut().and_then(|i| i.turn(consumer.client(), &core.read(), now));
                    topics::compare(core.topics(), &ids.unwrap_or_default())?;
                }
                self.share(consumer, &mut core, now);
                if core.is_full() && !core.paused {
                    let since = *full_since.get_or_insert(now);
                    if now < since + PATIENCE {
                        core.wait_for_room(BUSY)?;
                        continue;
                    }
                    core.paused = pause(consumer, &core.assigned());
                    core.count_pause();
                } else if core.paused && core.has_room() {
                    core.paused = !resume(consumer, &core.readable());
                }
                if !core.is_full() {
                    full_since = None;
                }
                if core.is_idle() { IDLE } else { BUSY }
            };
            self.take(consumer, timeout)?;
        }
        Ok(())
    }

    /// Holds partitions back that take more than their share, and lets others go on.
    fn share(&self, consumer: &BaseConsumer<Context>, core: &mut Core, now: Instant) {
        let (hold, release) = core.shares(now);
        if !hold.is_empty() && pause(consumer, &core.named(&hold)) {
            core.shares.hold(&hold);
            core.count_pause();
        }
        // While all are paused, those whose turn it is go on with the others.
        if !release.is_empty() && (core.paused || resume(consumer, &core.named(&release))) {
            core.shares.release(&release);
        }
    }

    /// What it means that a dead letter is not taken.
    fn waits(&self, why: &str) -> String {
        let held = match self.config.pipeline.delivery {
            Delivery::AtLeastOnce => "its partition is",
            Delivery::ExactlyOnce => "all partitions of its lane are",
        };
        format!("a dead letter is sent again until its topic takes it, and {held} held up meanwhile: {why}")
    }

    /// Takes a batch of records.
    fn take(&self, consumer: &BaseConsumer<Context>, timeout: Duration) -> Result<(), LaneError> {
        let mut timeout = timeout;
        let mut polled = None;
        for _ in 0..BATCH {
            if self.stop.requested() {
                break;
            }
            // Rebalances run inside poll and need the core: it is not held here.
            match consumer.poll(timeout) {
                None => return Ok(()),
                Some(Ok(record)) => {
                    let first = polled.is_none();
                    let now = *polled.get_or_insert_with(Instant::now);
                    let mut core = consumer.context().core();
                    if let Err(error) = core.take(&record, now, first) {
                        // Offsets begin again in a topic that does.
                        if matches!(error, LaneError::Ledger(_)) {
                            compare(consumer, &core)?;
                        }
                        return Err(error);
                    }
                    if core.is_full() && !core.paused {
                        return Ok(());
                    }
                }
                Some(Err(error)) => self.error(consumer, error)?,
            }
            timeout = Duration::ZERO;
        }
        Ok(())
    }

    /// What an error of the consumer means.
    fn error(&self, consumer: &BaseConsumer<Context>, error: KafkaError) -> Result<(), LaneError> {
        use RDKafkaErrorCode as Code;
        if let Some((_, why)) = consumer.client().fatal_error() {
            return Err(LaneError::Consumer(why));
        }
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                compare(consumer, &consumer.context().core())?;
                return Err(LaneError::OutOfRange(error.to_string()));
            }
            Some(Code::TopicAuthorizationFailed) => {
                let names: Vec<_> =
                    self.config.input.topics.iter().map(|topic| topic.name.as_str()).collect();
                return Err(LaneError::Consumer(format!(
                    "{error}. Grant our principal Read and Describe on {}; `riskstream check --connect` says how",
                    names.join(", ")
                )));
            }
            Some(Code::GroupAuthorizationFailed) => {
                return Err(LaneError::Consumer(format!(
                    "{error}. Grant our principal Read on the group {}; `riskstream check --connect` says how",
                    self.config.input.group
                )));
            }
            Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => {
                // Of those that a pattern matches, some may go at any time. Those with a name must be there.
                for topic in self.config.input.topics.iter().filter(|topic| topic.pattern.is_none()) {
                    startup::partitions(consumer.client(), "input", &topic.name, &self.health, &self.stop)?;
                }
                consumer.context().note(&error);
            }
            _ => consumer.context().note(&error),
        }
        Ok(())
    }

    /// Lets what is in flight end, stores, and leaves the group.
    fn drain(&self, consumer: &BaseConsumer<Context>) -> Result<(), LaneError> {
        let until = Instant::now() + self.config.pipeline.drain;
        let mut core = consumer.context().core();
        let mut result = Ok(());
        while !core.is_idle() && Instant::now() < until && !self.stop.now() {
            self.health.beat();
            if let Err(error) = core.wait(BUSY).and_then(|()| core.transact(consumer, true)) {
                result = Err(error);
                break;
            }
        }
        if result.is_ok() && !core.is_idle() {
            result = Err(LaneError::Unfinished(core.in_flight()));
        }
        core.give_up_late(Instant::now());
        core.abandon(ABANDON);
        store(consumer, &mut core);
        let assigned = core.assigned();
        let until = Instant::now() + CONFIRMED;
        let on = |tried| {
            self.health.beat();
            (tried < committer::LEAST || Instant::now() < until) && !self.stop.now()
        };
        if !committer::confirm(consumer, &core.done(&assigned), on) && result.is_ok() {
            result = Err(LaneError::Unconfirmed);
        }
        // Leaving the group must not wait for them a second time.
        core.forget(&assigned);
        result
    }
}

/// Asks whether our topics are still those that we read.
fn compare(consumer: &BaseConsumer<Context>, core: &Core) -> Result<(), LaneError> {
    topics::compare(core.topics(), &recreated::ids(consumer.client(), &core.read(), topics::ASK))
}

fn store(consumer: &BaseConsumer<Context>, core: &mut Core) {
    match committer::store(consumer, &core.frontiers(), |topic| core.mark(topic)) {
        Ok(()) => core.stored(),
        Err(error) => tracing::warn!(%error, "could not store offsets; trying again"),
    }
}

fn pause(consumer: &BaseConsumer<Context>, partitions: &[(String, i32)]) -> bool {
    let list = list(partitions);
    consumer.pause(&list).inspect_err(|error| tracing::warn!(%error, "could not pause")).is_ok()
}

/// Lets partitions be read again.
pub fn resume(consumer: &BaseConsumer<Context>, partitions: &[(String, i32)]) -> bool {
    let list = list(partitions);
    consumer.resume(&list).inspect_err(|error| tracing::warn!(%error, "could not resume")).is_ok()
}

/// A list in a small scope: one that is alive when the consumer is dropped hangs the drop.
pub fn list(partitions: &[(String, i32)]) -> TopicPartitionList {
    let mut list = TopicPartitionList::with_capacity(partitions.len());
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    list
}
