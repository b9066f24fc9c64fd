//! The filter that asks for one entity over one window: where an identifier becomes part of a language.
//!
//! Pure. Contract: whatever an identifier holds, the filter has exactly the conditions written here; the
//! identifier is the value of one of them, quoted. What no quoting saves is `invalid_identifier`.

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::config::Window;
use crate::entity::{Entity, EntityKind, is_email};
use crate::provider::templates::PLACE;
use crate::provider::{Failure, FailureKind};

/// No indicator is longer than a path; an alert could hold a megabyte.
const LONGEST: usize = 1024;

/// The kinds that have a condition of their own.
pub const KINDS: [EntityKind; 3] = [EntityKind::User, EntityKind::Host, EntityKind::Ip];

/// How to ask about one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The condition on the entity.
    pub condition: String,
    /// What the indicator of a row about it says.
    pub value: String,
}

/// Whether a template for `kind` can be used.
///
/// A template is either another spelling of the identifier (`{value}@example.com`), or, when it holds a
/// double quote, a condition of the vendor's filter language (`entity_indicator.windows_sid = "{value}"`).
/// The second is for tenants whose members have other names, since the vendor documents only `email` and
/// `hostname`, and for further kinds. A user's e-mail always asks for `email`.
///
/// # Errors
/// Says what is wrong and what to write.
pub fn check(kind: EntityKind, template: &str) -> Result<(), String> {
    let places = template.matches(PLACE).count();
    if template.contains('"') {
        if places != 1 || !template.contains(&format!("\"{PLACE}\"")) {
            return Err(format!("a condition holds \"{PLACE}\" once, in its quotes"));
        }
    } else if places == 0 {
        return Err(format!("it does not hold {PLACE}"));
    } else if !KINDS.contains(&kind) {
        return Err(format!("{kind} needs a condition, such as entity_indicator.member = \"{PLACE}\""));
    }
    Ok(())
}

/// How to ask about `entity`, by the template of its kind where there is one.
///
/// # Errors
/// `invalid_identifier` when the identifier cannot be asked about.
pub fn question(entity: &Entity, template: Option<&str>) -> Result<Question, Failure> {
    let id = &*entity.id;
    let (condition, spelling) = match template {
        Some(template) if template.contains('"') => (Some(template), PLACE),
        Some(template) => (None, template),
        None => (None, PLACE),
    };
    let value = spelling.replace(PLACE, id);
    let text = escaped(&value)?;
    let is_email = entity.kind == EntityKind::User && is_email(&value);
    let condition = match (entity.kind, condition) {
        (EntityKind::User, _) if is_email => format!("entity_indicator.email: \"{text}\""),
        (_, Some(condition)) => condition.replace(PLACE, &text),
        (EntityKind::User, None) => format!("entity_indicator.user_name = \"{text}\""),
        (EntityKind::Host, None) => format!("entity_indicator.hostname = \"{text}\""),
        (EntityKind::Ip, None) if value.parse::<IpAddr>().is_ok() => {
            format!("entity_indicator.asset_ip_address = \"{text}\"")
        }
        (EntityKind::Ip, None) => return Err(invalid("not an IP address")),
        (
            EntityKind::Endpoint
            | EntityKind::CloudIdentity
            | EntityKind::Domain
            | EntityKind::File
            | EntityKind::ServiceAccount,
            None,
        ) => return Err(invalid("no condition for this kind: write it in `identifiers`")),
    };
    Ok(Question { condition, value })
}

/// The member of the indicator that a condition is on, where it is on nothing else.
pub fn indicator(condition: &str) -> Option<&str> {
    let (path, _) = condition.split_once([' ', ':', '='])?;
    let quotes = condition.replace("\\\\", "").replace("\\\"", "").matches('"').count();
    // A second condition has quotes of its own, and whatever is behind the first one's is not understood here.
    let only = quotes == 2 && condition.ends_with('"');
    path.strip_prefix("entity_indicator.")
        .filter(|member| only && !member.is_empty() && !member.contains('.'))
}

/// The condition on the window: it begins no earlier than one window (and `slack`) ago, and is over.
///
/// Exactly one window, as the vendor's example has it.
pub fn risk_window(window: Window, slack: Duration, now: Timestamp) -> String {
    let start = begin(window, slack, now);
    format!("risk_window.start_time >= \"{start}\" AND risk_window.end_time <= \"{now}\"")
}

/// One window (and `slack`) before `now`.
pub fn begin(window: Window, slack: Duration, now: Timestamp) -> Timestamp {
    let back = SignedDuration::try_from(window.length().saturating_add(slack)).unwrap_or(SignedDuration::MAX);
    now.checked_sub(back).unwrap_or(Timestamp::MIN)
}

/// `text` as it stands between double quotes.
fn escaped(text: &str) -> Result<String, Failure> {
    if text.is_empty() || text.len() > LONGEST {
        return Err(invalid("empty, or longer than 1024 bytes"));
    }
    if text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
        return Err(invalid("it holds control characters"));
    }
    Ok(text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn invalid(why: &str) -> Failure {
    Failure::new(FailureKind::InvalidIdentifier, format!("Google SecOps cannot be asked about it: {why}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;
    use crate::simulator::google_secops::filter::{Condition, parse};
    use proptest::prelude::*;

    fn condition(kind: EntityKind, id: &str) -> String {
        question(&Entity::new(kind, id), None).unwrap().condition
    }

    #[test]
    fn each_kind_asks_for_its_own_indicator() {
        assert_eq!(
            condition(EntityKind::User, "a@example.com"),
            r#"entity_indicator.email: "a@example.com""#
        );
        assert_eq!(condition(EntityKind::User, r"ACME\jdoe"), r#"entity_indicator.user_name = "ACME\\jdoe""#);
        assert_eq!(condition(EntityKind::Host, "WS-17"), r#"entity_indicator.hostname = "ws-17""#);
        assert_eq!(
            condition(EntityKind::Ip, "2001:db8::1"),
            r#"entity_indicator.asset_ip_address = "2001:db8::1""#
        );
    }

    #[test]
    fn what_cannot_be_asked_about_is_refused_before_any_request() {
        for (kind, id) in [
            (EntityKind::Ip, "10.0.0.1\" OR \"\"=\""),
            (EntityKind::Host, ""),
            (EntityKind::Host, "a\nb"),
            (EntityKind::User, "a\u{0}b"),
            (EntityKind::User, "a\u{2028}b"),
            (EntityKind::File, "/etc/passwd"),
        ] {
            let failure = question(&Entity::new(kind, id), None).unwrap_err();
            assert_eq!(failure.kind, FailureKind::InvalidIdentifier, "{id:?}");
            assert!(id.is_empty() || !failure.detail.contains(id), "{failure}");
        }
        let long = Entity::new(EntityKind::Host, &"a".repeat(1025));
        assert!(question(&long, None).is_err());
    }

    #[test]
    fn a_template_is_a_spelling_or_a_condition() {
        let ask = |kind, id, template| question(&Entity::new(kind, id), Some(template)).unwrap();
        let spelled = ask(EntityKind::User, "jdoe", "{value}@example.com");
        assert_eq!(spelled.condition, r#"entity_indicator.email: "jdoe@example.com""#);
        assert_eq!(spelled.value, "jdoe@example.com");
        let sid = r#"entity_indicator.windows_sid = "{value}""#;
        assert_eq!(
            ask(EntityKind::User, "S-1-5", sid).condition,
            r#"entity_indicator.windows_sid = "S-1-5""#
        );
        assert_eq!(
            ask(EntityKind::User, "a@b.example", sid).condition,
            r#"entity_indicator.email: "a@b.example""#
        );
        let asset = r#"entity_indicator.asset_id = "{value}""#;
        assert_eq!(
            ask(EntityKind::Endpoint, "x\"y", asset).condition,
            r#"entity_indicator.asset_id = "x\"y""#
        );
    }

    #[test]
    fn a_template_that_would_not_ask_about_the_entity_is_refused() {
        for (kind, template) in [
            (EntityKind::User, "x"),
            (EntityKind::User, r#"entity_indicator.email = "x""#),
            (EntityKind::User, r#"entity_indicator.{value} = "x""#),
            (EntityKind::User, r#"a = "{value}" AND b = "{value}""#),
            (EntityKind::File, "{value}"),
        ] {
            assert!(check(kind, template).is_err(), "{template}");
        }
        for (kind, template) in [
            (EntityKind::User, "{value}@example.com"),
            (EntityKind::File, r#"entity.file.sha256 = "{value}""#),
        ] {
            assert_eq!(check(kind, template), Ok(()));
        }
    }

    #[test]
    fn the_window_is_as_long_as_configured() {
        let now: Timestamp = "2026-05-29T12:00:00.5Z".parse().unwrap();
        assert_eq!(
            risk_window(Window::Day, Duration::ZERO, now),
            r#"risk_window.start_time >= "2026-05-28T12:00:00.5Z" AND risk_window.end_time <= "2026-05-29T12:00:00.5Z""#
        );
        let slack = Duration::from_secs(3600);
        assert!(risk_window(Window::Week, slack, now).contains(r#">= "2026-05-22T11:00:00.5Z""#));
    }

    fn hostile() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[\"\\\\ ANDOR=:<>()a-c\n\u{0}]{1,20}", r#"(\\|"|\\"| AND |x=y){1,6}"#]
    }

    proptest! {
        #[test]
        fn no_identifier_leaves_its_quotes(kind in 0usize..3, id in hostile()) {
            let entity = Entity::new(KINDS[kind], &id);
            if let Ok(question) = super::question(&entity, None) {
                let now: Timestamp = "2026-05-29T12:00:00Z".parse().unwrap();
                let filter =
                    format!("{} AND {}", question.condition, risk_window(Window::Day, Duration::ZERO, now));
                let conditions: Vec<Condition> = parse(&filter).unwrap();
                prop_assert_eq!(conditions.len(), 3);
                prop_assert!(conditions[0].path.starts_with("entity_indicator."));
                prop_assert_eq!(&conditions[0].value, &*entity.id);
                prop_assert_eq!(&conditions[1].path, "risk_window.start_time");
            }
            let template = r#"a.b = "{value}""#;
            let file = Entity::new(EntityKind::File, &id);
            if let Ok(question) = super::question(&file, Some(template)) {
                let value = file.id.to_string();
                let only = Condition { path: "a.b".to_owned(), operator: "=".to_owned(), value };
                prop_assert_eq!(parse(&question.condition), Ok(vec![only]));
            }
        }
    }
}
