//! Which identifiers Cortex XDR is asked about, and in which form.
//!
//! The API takes `netBIOS/samAccount` for a user and the agent's id for an endpoint. Contract: whatever else an
//! alert holds is `invalid_identifier` before any request, because the vendor would call it "not found", and
//! that would read as a user without risk. Pure.
//!
//! A template (`identifiers: {user: "ACME/{value}"}`) says how to ask about names that lack a domain; it is
//! applied to bare names and e-mails only, with the whole of them for `{value}`. A template for another kind
//! applies to every identifier of that kind, and its form is then the operator's word.

use crate::entity::{Entity, EntityKind};
use crate::provider::templates::PLACE;
use crate::provider::{Failure, FailureKind};

/// Longer than any account name (256) with its domain.
const LONGEST: usize = 320;

/// Domains whose accounts are parts of Windows.
const SYSTEM_DOMAINS: [&str; 7] = [
    "nt authority",
    "nt service",
    "nt virtual machine",
    "builtin",
    "window manager",
    "font driver host",
    "iis apppool",
];

/// Accounts that every Windows machine has.
const SYSTEM_ACCOUNTS: [&str; 5] =
    ["system", "local service", "network service", "localsystem", "anonymous logon"];

/// The id to send for `entity`.
///
/// # Errors
/// `invalid_identifier`: it is not in the form that the API takes, or names an account of a machine or service.
pub fn id(entity: &Entity, template: Option<&str>) -> Result<String, Failure> {
    let value = entity.id.trim();
    if value.is_empty() || value.len() > LONGEST || value.contains(char::is_control) {
        return Err(invalid("it is empty, longer than 320 bytes, or holds control characters"));
    }
    match (entity.kind, template) {
        (EntityKind::User, template) => user(value, template),
        (_, Some(template)) => Ok(template.replace(PLACE, value)),
        (EntityKind::Endpoint, None) if is_agent(value) => Ok(value.to_owned()),
        (EntityKind::Endpoint, None) => Err(invalid(
            "an agent id is 32 hexadecimal digits, with or without hyphens; for another form set \
             identifiers: {endpoint: \"{value}\"}",
        )),
        (_, None) => {
            Err(invalid("Cortex XDR knows users and endpoints; another kind needs a template in identifiers"))
        }
    }
}

fn user(value: &str, template: Option<&str>) -> Result<String, Failure> {
    match value.split_once(['\\', '/']) {
        Some((domain, account)) => {
            if domain.is_empty() || domain == "." || account.is_empty() || account.contains(['\\', '/']) {
                return Err(invalid("a user is asked about as netBIOS/samAccount"));
            }
            if is_listed(&SYSTEM_DOMAINS, domain) {
                return Err(not_a_person());
            }
            person(account).map(|account| format!("{domain}/{account}"))
        }
        None => {
            let account = person(value)?;
            let template = template.ok_or_else(|| {
                invalid(
                    "a name without a domain, or an e-mail, is not netBIOS/samAccount; say which domain is meant \
                     with a template: identifiers: {user: \"ACME/{value}\"}",
                )
            })?;
            Ok(template.replace(PLACE, account))
        }
    }
}

fn person(account: &str) -> Result<&str, Failure> {
    if account.ends_with('$') || is_listed(&SYSTEM_ACCOUNTS, account) {
        return Err(not_a_person());
    }
    Ok(account)
}

fn is_listed(names: &[&str], name: &str) -> bool {
    names.iter().any(|listed| listed.eq_ignore_ascii_case(name.trim()))
}

fn is_agent(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_hexdigit).count();
    digits == 32 && (value.len() == 32 || crate::entity::is_uuid(value))
}

/// Whether two spellings of an id name the same: case and the direction of the slash do not count.
pub fn same(a: &str, b: &str) -> bool {
    fold(a) == fold(b)
}

/// What is the same for every spelling of an id.
pub fn fold(id: &str) -> String {
    id.trim().replace('\\', "/").to_lowercase()
}

fn not_a_person() -> Failure {
    invalid("an account of a machine or of the operating system has no risk score")
}

fn invalid(why: &str) -> Failure {
    Failure::new(FailureKind::InvalidIdentifier, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(kind: EntityKind, value: &str, template: Option<&str>) -> Result<String, FailureKind> {
        id(&Entity::new(kind, value), template).map_err(|failure| failure.kind)
    }

    #[test]
    fn users_are_asked_about_with_a_slash() {
        for written in ["ACME\\jdoe", "ACME/jdoe"] {
            assert_eq!(ask(EntityKind::User, written, None).as_deref(), Ok("ACME/jdoe"));
            assert_eq!(ask(EntityKind::User, written, Some("OTHER/{value}")).as_deref(), Ok("ACME/jdoe"));
        }
        assert_eq!(ask(EntityKind::User, "ACME\\John Doe", None).as_deref(), Ok("ACME/John Doe"));
    }

    #[test]
    fn names_without_a_domain_need_a_template() {
        for written in ["JDOE", "jdoe@acme.com"] {
            assert_eq!(
                ask(EntityKind::User, written, None),
                Err(FailureKind::InvalidIdentifier),
                "{written}"
            );
            let expected = format!("ACME/{written}");
            assert_eq!(ask(EntityKind::User, written, Some("ACME/{value}")), Ok(expected));
        }
        let failure = id(&Entity::new(EntityKind::User, "JDOE"), None).err().map(|failure| failure.detail);
        assert!(failure.is_some_and(|detail| detail.contains("template") && !detail.contains("JDOE")));
    }

    #[test]
    fn machines_and_services_are_never_asked_about() {
        for written in [
            "NT AUTHORITY\\SYSTEM",
            "nt authority\\iusr",
            "ACME\\WS-17$",
            "WS-17$",
            "SYSTEM",
            "Local Service",
            "NETWORK SERVICE",
            "ACME\\system",
            "Window Manager\\DWM-1",
        ] {
            for template in [None, Some("ACME/{value}")] {
                assert_eq!(
                    ask(EntityKind::User, written, template),
                    Err(FailureKind::InvalidIdentifier),
                    "{written}"
                );
            }
        }
    }

    #[test]
    fn hostile_users_are_refused() {
        for written in
            ["", "\\jdoe", "/jdoe", "ACME\\", ".\\jdoe", "ACME\\a\\b", "ACME/a/b", "ACME/a\nb", "a\u{0}b"]
        {
            assert_eq!(
                ask(EntityKind::User, written, None),
                Err(FailureKind::InvalidIdentifier),
                "{written:?}"
            );
        }
        let long = format!("ACME/{}", "a".repeat(400));
        assert_eq!(ask(EntityKind::User, &long, None), Err(FailureKind::InvalidIdentifier));
    }

    #[test]
    fn endpoints_are_agent_ids() {
        for good in ["0123456789abcdef0123456789ABCDEF", "2c46cdd9-92e3-5e5f-b3cf-0123456789ab"] {
            assert_eq!(ask(EntityKind::Endpoint, good, None).as_deref(), Ok(good));
        }
        for bad in ["WS-17", "0123", "2c46cdd9-92e3-5e5f-b3cf-0123456789abff", "../x"] {
            assert_eq!(ask(EntityKind::Endpoint, bad, None), Err(FailureKind::InvalidIdentifier), "{bad}");
        }
        assert_eq!(ask(EntityKind::Endpoint, "agent-7", Some("{value}")).as_deref(), Ok("agent-7"));
        assert_eq!(ask(EntityKind::Host, "ws-17", None), Err(FailureKind::InvalidIdentifier));
        assert_eq!(ask(EntityKind::Host, "ws-17", Some("{value}")).as_deref(), Ok("ws-17"));
    }

    #[test]
    fn ids_are_compared_without_case_and_slash() {
        assert!(same("ACME/jdoe", "acme\\JDOE"));
        assert!(!same("ACME/jdoe", "ACME/jdoe2"));
    }
}
