//! Step 1: alerts from Kafka. A lane is one OS thread with a consumer and a producer of its own.
//!
//! | file | owns |
//! |---|---|
//! | [`lane`] | the loop: polls, pauses, stops |
//! | [`core`] | what a lane knows and does between two polls |
//! | [`departure`] | how an alert leaves, and what a refusal means |
//! | [`mailbox`] | how flights and deliveries reach the lane |
//! | [`rebalance`] | what happens when partitions come and go |
//! | [`transaction`], [`membership`] | exactly once: outputs and offsets in one transaction |
//! | [`assignments`], [`slots`], [`order`] | the partitions, the alerts in flight, who may leave |
//! | [`share`], [`room`] | how much of the lane a partition may take, and what it has |
//! | [`lateness`], [`late`] | answers that come after their alert has left |
//! | [`recreated`] | topics that were deleted and created again |
//! | [`topics`] | which input topics are meant, and where the alerts of each go, also of those that come later |
//! | [`startup`] | what is asked of the broker about our topics |
//! | [`identity`] | tokens for the connections, where a token is our identity |
//! | [`refusal`], [`certificate`] | what brokers refuse at the door |
//! | [`access`] | what their ACLs must allow us |
//! | [`limits`] | what our topics take and keep: which record they would refuse, what does not fit together |
//! | [`watch`], [`audit`] | what is looked at beside the way of alerts; whether the broker holds what was committed |
//! | [`client`], [`verify`], [`quiet`] | librdkafka: our configuration as its properties, what it says of them, what it repeats |
//!
//! Contract: polling never stops for long, whatever the vendors do; what is in flight is bounded in alerts and in
//! bytes; hits run through on the lane's thread, only misses go to the runtime.

pub mod access;
pub mod arrival;
pub mod assignments;
pub mod audit;
pub mod certificate;
pub mod client;
pub mod core;
pub mod departure;
pub mod identity;
pub mod lane;
pub mod late;
pub mod lateness;
#[cfg(wraps)]
pub mod leaders;
pub mod limits;
pub mod mailbox;
pub mod membership;
pub mod offsets;
pub mod order;
pub mod quiet;
pub mod rebalance;
pub mod recreated;
pub mod refusal;
pub mod room;
pub mod share;
pub mod slots;
pub mod standstill;
pub mod startup;
pub mod topics;
pub mod transaction;
pub mod verify;
pub mod watch;

use crate::commit::ledger::LedgerError;
use crate::sink::SinkError;
use crate::sink::transaction::TransactionError;

/// Why a lane stops the process. The ledger makes that safe: nothing that was not acknowledged is committed.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// librdkafka does not take our properties.
    #[error("cannot set up the Kafka client: {}. Check kafka.properties, kafka.tls and kafka.sasl", verify::without_value(.0))]
    Client(rdkafka::error::KafkaError),
    /// A topic is missing or closed to us.
    #[error("{role} topic {topic:?}: {why}. {cure}")]
    Topic {
        /// `input`, `output` or `dead-letter`.
        role: &'static str,
        /// Its name.
        topic: String,
        /// The broker's words.
        why: String,
        /// What to do.
        cure: &'static str,
    },
    /// The brokers refuse us, or we them: only a person can change that.
    #[error("no connection to Kafka: {0}")]
    Refused(refusal::Refusal),
    /// The identity provider refuses us.
    #[error(transparent)]
    Token(identity::TokenError),
    /// ACLs do not allow what we need.
    #[error(transparent)]
    Denied(#[from] access::Denied),
    /// The committed offset is gone from the topic: alerts were deleted before we read them.
    #[error(
        "the committed offset no longer exists in an input topic ({0}): alerts were deleted before they were read. \
         Set input.out_of_range to earliest or latest to go on, and look at the topic's retention"
    )]
    OutOfRange(String),
    /// An input topic was deleted and created again: offsets of the old one mean nothing in the new one.
    #[error(
        "input topic {0:?} was deleted and created again, and the group's offsets are of the old one: going on there would \
         pass over alerts of the new one. Start with input.out_of_range: earliest (all of it is read; what was read \
         already comes again) or latest, or set the group's offsets of that topic"
    )]
    Recreated(String),
    /// The consumer cannot go on.
    #[error("the consumer cannot go on: {0}")]
    Consumer(String),
    /// The producer cannot go on.
    #[error("the producer cannot go on: {0}")]
    Producer(String),
    /// Transactions are not for us.
    #[error("exactly_once does not work: {0}")]
    Transaction(TransactionError),
    /// Two processes have one transactional id, and each ends what the other has begun.
    #[error(
        "another process uses the transactional id {0}: each ended the other's transactions, and one of the two must \
         go. Give every process a kafka.instance of its own"
    )]
    Fenced(String),
    /// A topic of ours does not take records.
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// A stop had no time left for what was in flight, or a second signal gave it none.
    #[error(
        "{0} alerts were still in flight at the end of the stop; they are not committed and will be read again. \
         If the broker was there, raise pipeline.drain"
    )]
    Unfinished(usize),
    /// A stop ended without the broker's word that it has the last offsets.
    #[error(
        "all alerts were published, but the broker did not confirm the last offsets: what came after those that it has \
         will be read again"
    )]
    Unconfirmed,
    /// A bug in our book-keeping: better to stop than to commit what may be wrong.
    #[error("the ledger of offsets does not add up: {0}")]
    Ledger(#[from] LedgerError),
    /// The thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}
