//! Transactions of a lane's producer: the five calls, and what their errors mean.
//!
//! Contract: every call is bounded and may be made again while it says [`Step::Again`]; an error says what must follow:
//! an abort, a new producer, or the end. Whether a transaction was committed is known only from [`Step::Done`]; after
//! [`TransactionError::Renew`] only the broker knows. Nothing is decided here. rdkafka's own calls flush in steps of
//! 100 ms and keep the error of the offsets' call to a type that cannot be made from ours, so the C interface is called.

use std::ffi::CStr;
use std::mem;
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::Producer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::sink::{Sink, producer};
use crate::source::membership::Membership;

/// Steps that a call is given before something else is tried.
const TRIES: usize = 20;

/// How far a call came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is over and was taken.
    Done,
    /// It goes on: call again.
    Again,
}

/// What must follow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The transaction cannot be committed: abort it, then send the same again in another.
    #[error("the transaction must be aborted: {0}")]
    Abort(String),
    /// Another producer has our transactional id, or the coordinator ended a transaction that took too long.
    #[error("the producer was fenced: {0}")]
    Fenced(String),
    /// The producer is of no more use, and whether its transaction was committed is not known.
    #[error("the producer must be made anew: {0}")]
    Renew(String),
    /// We are not allowed to.
    #[error("{0}")]
    Denied(String),
}

impl Sink {
    /// Makes the producer known to the coordinator, which ends what an earlier one of its id left open. Before the
    /// first transaction of each producer.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn init(&self, bound: Duration) -> Result<Step, TransactionError> {
        // SAFETY: the producer is alive during the call; so it is in those below.
        outcome(unsafe { bindings::rd_kafka_init_transactions(self.native(), millis(bound)) })
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn begin(&self) -> Result<Step, TransactionError> {
        // SAFETY: see above.
        outcome(unsafe { bindings::rd_kafka_begin_transaction(self.native()) })
    }

    /// Waits until every record is delivered or refused, and its word is in the mailbox.
    pub fn flush(&self, bound: Duration) -> Step {
        // SAFETY: see above.
        match unsafe { bindings::rd_kafka_flush(self.native(), millis(bound)) } {
            bindings::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Step::Done,
            _ => Step::Again,
        }
    }

    /// Adds the offsets that the records account for.
    ///
    /// # Errors
    /// [`TransactionError`]; an abort when the group no longer takes us for its member.
    pub fn add_offsets(
        &self,
        offsets: &TopicPartitionList,
        membership: &Membership,
        bound: Duration,
    ) -> Result<Step, TransactionError> {
        // SAFETY: see above; list and membership are only read.
        outcome(unsafe {
            bindings::rd_kafka_send_offsets_to_transaction(
                self.native(),
                offsets.ptr(),
                membership.as_ptr(),
                millis(bound),
            )
        })
    }

    /// Commits records and offsets.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn commit(&self, bound: Duration) -> Result<Step, TransactionError> {
        // SAFETY: see above.
        outcome(unsafe { bindings::rd_kafka_commit_transaction(self.native(), millis(bound)) })
    }

    /// Takes records and offsets back.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn abort(&self, bound: Duration) -> Result<Step, TransactionError> {
        // SAFETY: see above.
        outcome(unsafe { bindings::rd_kafka_abort_transaction(self.native(), millis(bound)) })
    }

    /// Has the coordinator tell the group's offsets that what the producer left open there is taken back: by a
    /// transaction with an offset of `topic`, which is aborted.
    ///
    /// # Errors
    /// [`TransactionError`].
    pub fn release(&self, group: &str, topic: &str, bound: Duration) -> Result<Step, TransactionError> {
        let Some(outsider) = Membership::outsider(group) else { return Ok(Step::Done) };
        let mut list = TopicPartitionList::new();
        if list.add_partition_offset(topic, 0, Offset::Offset(0)).is_err() {
            return Ok(Step::Done);
        }
        self.begin()?;
        let mut added = Ok(Step::Again);
        for _ in 0..TRIES {
            added = self.add_offsets(&list, &outsider, bound);
            if added != Ok(Step::Again) {
                break;
            }
        }
        for _ in 0..TRIES {
            if self.abort(bound)? == Step::Done {
                return match added {
                    Err(TransactionError::Abort(_)) => Ok(Step::Again),
                    other => other,
                };
            }
        }
        Err(TransactionError::Renew("a transaction could not be aborted".to_owned()))
    }

    /// Replaces the producer. Word of the old one's records no longer comes.
    ///
    /// # Errors
    /// A property that librdkafka does not take.
    pub fn renew(&mut self) -> Result<(), KafkaError> {
        self.number += 1;
        let new = producer(&self.config, self.number, &self.deliveries, &self.identity)?;
        drop(mem::replace(&mut self.producer, new));
        Ok(())
    }

    fn native(&self) -> *mut bindings::rd_kafka_t {
        self.producer.client().native_ptr()
    }
}

fn millis(bound: Duration) -> i32 {
    i32::try_from(bound.as_millis()).unwrap_or(i32::MAX)
}

/// An error of librdkafka's, which destroys it.
fn outcome(error: *mut bindings::rd_kafka_error_t) -> Result<Step, TransactionError> {
    if error.is_null() {
        return Ok(Step::Done);
    }
    // SAFETY: it is not null, ours, and not used after it is destroyed; its text is copied before.
    let (verdict, code, text) = unsafe {
        let verdict = Verdict {
            fatal: bindings::rd_kafka_error_is_fatal(error) != 0,
            retriable: bindings::rd_kafka_error_is_retriable(error) != 0,
            abortable: bindings::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        let code = RDKafkaErrorCode::from(bindings::rd_kafka_error_code(error));
        let text = CStr::from_ptr(bindings::rd_kafka_error_string(error)).to_string_lossy().into_owned();
        bindings::rd_kafka_error_destroy(error);
        (verdict, code, text)
    };
    judge(verdict, code, text)
}

/// Where the words for it are.
const HOW: &str = "; `riskstream check --connect` says how";

/// What librdkafka says of an error.
#[derive(Clone, Copy, Default)]
struct Verdict {
    fatal: bool,
    retriable: bool,
    abortable: bool,
}

fn judge(verdict: Verdict, code: RDKafkaErrorCode, text: String) -> Result<Step, TransactionError> {
    use RDKafkaErrorCode as Code;
    Err(match code {
        Code::TransactionalIdAuthorizationFailed => TransactionError::Denied(format!(
            "{text}. Grant our principal Write and Describe on the transactional id{HOW}"
        )),
        Code::GroupAuthorizationFailed => {
            TransactionError::Denied(format!("{text}. Grant our principal Read on the group{HOW}"))
        }
        Code::TopicAuthorizationFailed => TransactionError::Denied(format!(
            "{text}. Grant our principal Write and Describe on the output and dead-letter topics{HOW}"
        )),
        Code::ClusterAuthorizationFailed => {
            TransactionError::Denied(format!("{text}. Grant our principal IdempotentWrite on the cluster"))
        }
        Code::InvalidTransactionTimeout => TransactionError::Denied(format!(
            "{text}. Lower kafka.producer.transaction.timeout.ms, or raise the broker's transaction.max.timeout.ms"
        )),
        Code::Fenced | Code::ProducerFenced => TransactionError::Fenced(text),
        Code::InvalidProducerEpoch if !verdict.abortable => TransactionError::Fenced(text),
        _ if verdict.fatal => TransactionError::Renew(text),
        _ if verdict.abortable => TransactionError::Abort(text),
        Code::OperationTimedOut => return Ok(Step::Again),
        _ if verdict.retriable => return Ok(Step::Again),
        _ => TransactionError::Renew(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_must_follow() {
        use RDKafkaErrorCode as Code;
        let none = Verdict::default();
        let fatal = Verdict { fatal: true, ..none };
        let abortable = Verdict { abortable: true, ..none };
        let retriable = Verdict { retriable: true, ..none };
        let judged = |verdict, code| judge(verdict, code, "why".to_owned());
        assert_eq!(judged(retriable, Code::OperationTimedOut), Ok(Step::Again));
        assert_eq!(judged(retriable, Code::CoordinatorLoadInProgress), Ok(Step::Again));
        let abort = Err(TransactionError::Abort("why".to_owned()));
        for code in [Code::UnknownMemberId, Code::IllegalGeneration, Code::RebalanceInProgress] {
            assert_eq!(judged(abortable, code), abort, "{code}");
        }
        assert_eq!(
            judged(abortable, Code::InvalidProducerEpoch),
            abort,
            "librdkafka takes a new epoch itself"
        );
        let fenced = Err(TransactionError::Fenced("why".to_owned()));
        for code in [Code::Fenced, Code::ProducerFenced, Code::InvalidProducerEpoch] {
            assert_eq!(judged(fatal, code), fenced, "{code}");
        }
        // A time-out is taken up again only where librdkafka says that nothing is lost by that.
        let renew = Err(TransactionError::Renew("why".to_owned()));
        assert_eq!(judged(fatal, Code::OperationTimedOut), renew);
        assert_eq!(judged(fatal, Code::OutOfOrderSequenceNumber), renew);
        assert_eq!(judged(none, Code::State), renew);
        assert!(matches!(
            judged(fatal, Code::TransactionalIdAuthorizationFailed),
            Err(TransactionError::Denied(why)) if why.contains("Grant")
        ));
    }
}
