//! What brokers refuse before they answer anything: our credentials, or we their certificate, or a name that nobody
//! knows. Waiting does not cure these, a person does.
//!
//! Contract: pure, `now` is passed in. A refusal is told with its cure. At a start, nothing but refusals for
//! [`PATIENCE`] is final; a broker that is away is not one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// How long a start goes on against refusals: credentials that were just changed take a moment to reach all brokers.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Longer than librdkafka's longest pause between two attempts.
const ALTERNATING: Duration = Duration::from_secs(5);
/// Brokers that are remembered.
const MOST: usize = 64;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The broker refuses our name, password or token.
    Credentials,
    /// There is no trust in the TLS between us.
    Certificate,
    /// Nobody knows the broker's name.
    Name,
}

/// A refusal, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}. {cure}")]
pub struct Refusal {
    /// What was refused.
    pub kind: Kind,
    /// librdkafka's words, without figures that change.
    pub what: String,
    /// What to do.
    pub cure: &'static str,
}

/// What an error means, if it is a refusal. `reason` are librdkafka's words.
pub fn judge(error: &KafkaError, reason: &str) -> Option<Refusal> {
    use RDKafkaErrorCode as Code;
    let (kind, cure) = match error.rdkafka_error_code()? {
        Code::Authentication | Code::SaslAuthenticationFailed if reason.contains("invalid_token") => (
            Kind::Credentials,
            "The broker does not take the token: compare its issuer, its audience (kafka.sasl.audience), its scope and \
             its time with what the broker expects",
        ),
        Code::Authentication | Code::UnsupportedSASLMechanism if reason.contains("mechanism handshake") => (
            Kind::Credentials,
            "The broker does not know this mechanism: correct kafka.sasl.mechanism, or use the listener that has it",
        ),
        Code::Authentication | Code::SaslAuthenticationFailed => {
            (Kind::Credentials, "Correct kafka.sasl: mechanism, username and password")
        }
        Code::SSL => (Kind::Certificate, tls(reason)),
        Code::Resolve => {
            (Kind::Name, "Correct the name in kafka.brokers, or what the broker advertises; or mend the DNS")
        }
        _ => return None,
    };
    Some(Refusal { kind, what: steady(reason), cure })
}

fn tls(reason: &str) -> &'static str {
    if reason.contains("certificate verify failed") {
        "The broker's certificate is not trusted: of another authority than kafka.tls.ca, for another name, or expired. \
         `riskstream check --connect` says which"
    } else if reason.contains("wrong version number") || reason.contains("record layer failure") {
        "The broker's port does not speak TLS: use its TLS listener, or another kafka.security"
    } else if reason.contains("alert") {
        "The broker does not take our certificate: correct kafka.tls.certificate and key, or what the broker trusts"
    } else {
        "Check kafka.tls and the broker's TLS listener"
    }
}

/// `reason` without how long something took, so that the same reads the same.
fn steady(reason: &str) -> String {
    let reason = reason.split(" (after ").next().unwrap_or_default();
    // The name of the connection while a broker has no number yet.
    reason.replace("/bootstrap:", ":").trim().to_owned()
}

/// What one client hears of each broker. librdkafka says the same thing about the same broker only every 30 seconds, so
/// a refusal holds until something else is said.
#[derive(Debug, Default)]
pub struct Refusals {
    all: Mutex<Vec<(String, Heard)>>,
    last: Mutex<Option<String>>,
}

/// What was heard of one broker.
#[derive(Debug, Default)]
struct Heard {
    refusal: Option<Refused>,
    /// When something else was first said after the refusal.
    other: Option<Instant>,
}

#[derive(Debug)]
struct Refused {
    refusal: Refusal,
    /// When the first in a row came.
    since: Instant,
}

impl Heard {
    /// The refusal, unless it is overtaken. Two addresses of one name may differ: then it alternates with something
    /// else, closely.
    fn standing(&self, now: Instant) -> Option<&Refused> {
        let overtaken = self.other.is_some_and(|other| now >= other + ALTERNATING);
        self.refusal.as_ref().filter(|_| !overtaken)
    }
}

impl Refusals {
    /// Notes an error of the client.
    pub fn note(&self, error: &KafkaError, reason: &str, now: Instant) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            return;
        }
        self.hear(reason);
        let mut all = self.all();
        let broker = reason.split(": ").next().unwrap_or_default();
        let known = all.iter().position(|(name, _)| name == broker).unwrap_or_else(|| {
            if all.len() == MOST {
                all.remove(0);
            }
            all.push((broker.to_owned(), Heard::default()));
            all.len() - 1
        });
        let Some((_, heard)) = all.get_mut(known) else { return };
        match judge(error, reason) {
            Some(refusal) => {
                let since = heard.standing(now).map_or(now, |refused| refused.since);
                *heard = Heard { refusal: Some(Refused { refusal, since }), other: None };
            }
            None => {
                heard.other.get_or_insert(now);
            }
        }
    }

    /// Notes a line of librdkafka's log about a connection that failed; not every such failure is an error to it.
    pub fn hear(&self, line: &str) {
        // Lines begin with the thread that says them.
        let line = match line.split_once("]: ") {
            Some((thread, line)) if thread.starts_with("[thrd:") => line,
            _ => line,
        };
        let mut words = steady(line);
        if words.contains("Disconnected") {
            words.push_str(". The broker hangs up: kafka.security may not be what its listener speaks");
        }
        *self.last() = Some(words);
    }

    /// Why no broker answers `now`, in the best words that there are.
    pub fn why(&self, now: Instant) -> Option<String> {
        self.current(now).map(|refusal| refusal.to_string()).or_else(|| self.last().clone())
    }

    /// The refusal of now.
    pub fn current(&self, now: Instant) -> Option<Refusal> {
        let all = self.all();
        all.iter().find_map(|(_, heard)| heard.standing(now)).map(|refused| refused.refusal.clone())
    }

    /// A refusal that has lasted for so long that waiting has no sense. An unknown name is one only when it is so
    /// with every broker: one that has a name and does not answer is away.
    pub fn overdue(&self, now: Instant) -> Option<Refusal> {
        let all = self.all();
        let standing: Vec<_> = all.iter().filter_map(|(_, heard)| heard.standing(now)).collect();
        let names_only =
            standing.len() == all.len() && standing.iter().all(|refused| refused.refusal.kind == Kind::Name);
        let long = standing.into_iter().filter(|refused| now >= refused.since + PATIENCE);
        long.map(|refused| &refused.refusal).find(|refusal| refusal.kind != Kind::Name || names_only).cloned()
    }

    fn all(&self) -> MutexGuard<'_, Vec<(String, Heard)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<String>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const WRONG: RDKafkaErrorCode = RDKafkaErrorCode::Authentication;
    const AWAY: RDKafkaErrorCode = RDKafkaErrorCode::BrokerTransportFailure;
    const UNKNOWN: RDKafkaErrorCode = RDKafkaErrorCode::Resolve;

    fn note(refusals: &Refusals, broker: &str, code: RDKafkaErrorCode, now: Instant) {
        refusals.note(
            &KafkaError::Global(code),
            &format!("{broker}/bootstrap: no (after 3ms in state X)"),
            now,
        );
    }

    #[test]
    fn a_refusal_reads_the_same_each_time_and_has_a_cure() {
        let reason =
            "sasl_ssl://k:9093/bootstrap: SASL authentication error: no (after 7ms in state AUTH_REQ)";
        let refusal = judge(&KafkaError::Global(WRONG), reason).unwrap();
        assert_eq!(refusal.what, "sasl_ssl://k:9093: SASL authentication error: no");
        assert!(refusal.to_string().contains("kafka.sasl"), "{refusal}");
        for (code, words, cure) in [
            (WRONG, r#"error: {"status":"invalid_token"}"#, "audience"),
            (
                RDKafkaErrorCode::SSL,
                "SSL handshake failed: ...:certificate verify failed:...",
                "check --connect",
            ),
            (RDKafkaErrorCode::SSL, "SSL handshake failed: wrong version number", "does not speak TLS"),
            (RDKafkaErrorCode::SSL, "tlsv13 alert certificate required", "kafka.tls.certificate"),
            (UNKNOWN, "Failed to resolve 'k:9093'", "kafka.brokers"),
        ] {
            let refusal = judge(&KafkaError::Global(code), words).unwrap();
            assert!(refusal.cure.contains(cure), "{words}: {refusal}");
        }
        assert_eq!(judge(&KafkaError::Global(AWAY), "refused"), None);
    }

    #[test]
    fn a_refusal_that_nothing_follows_becomes_final() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        note(&refusals, "a", WRONG, start);
        note(&refusals, "b", AWAY, start);
        refusals.note(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "2/2 brokers are down", start);
        assert!(refusals.current(start).is_some());
        assert_eq!(refusals.overdue(start + PATIENCE - ALTERNATING), None);
        assert!(refusals.overdue(start + PATIENCE).is_some(), "one that refuses is enough");
        note(&refusals, "a", AWAY, start + PATIENCE);
        assert_eq!(refusals.overdue(start + PATIENCE + ALTERNATING), None, "now it is away");
        note(&refusals, "a", WRONG, start + PATIENCE * 2);
        assert_eq!(refusals.overdue(start + PATIENCE * 2), None, "it begins anew");
    }

    #[test]
    fn one_address_of_a_name_that_is_closed_does_not_hide_that_the_other_refuses() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        for tenth in 0..=10 {
            let now = start + PATIENCE * tenth / 10;
            note(&refusals, "a", AWAY, now);
            note(&refusals, "a", WRONG, now);
            note(&refusals, "a", AWAY, now);
            assert_eq!(refusals.overdue(now).is_some(), tenth == 10, "{tenth}");
        }
    }

    #[test]
    fn a_name_that_nobody_knows_is_final_only_when_no_broker_has_one() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        note(&refusals, "a", UNKNOWN, start);
        assert!(refusals.overdue(start + PATIENCE).is_some());
        note(&refusals, "b", AWAY, start);
        assert_eq!(refusals.overdue(start + PATIENCE), None);
        assert!(refusals.current(start + PATIENCE).is_some(), "it is said all the same");
    }

    #[test]
    fn where_nothing_is_refused_the_last_line_about_a_connection_is_the_reason() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.why(now), None);
        refusals
            .hear("[thrd:k:9092/bootstrap]: k:9092/bootstrap: Disconnected: closed (after 1ms in state UP)");
        let why = refusals.why(now).unwrap();
        assert!(why.starts_with("k:9092: Disconnected: closed. ") && why.contains("kafka.security"), "{why}");
        note(&refusals, "a", WRONG, now);
        assert!(refusals.why(now).unwrap().contains("kafka.sasl"));
    }

    #[test]
    fn only_so_many_brokers_are_remembered() {
        let refusals = Refusals::default();
        (0..1000).for_each(|n| note(&refusals, &format!("broker-{n}"), WRONG, Instant::now()));
        assert_eq!(refusals.all().len(), MOST);
    }
}
