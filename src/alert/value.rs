//! What a value of an alert is worth as an identifier: its form, the kind that follows, and whether it is
//! only a placeholder.
//!
//! Pure. Never changes a value beyond cutting the white space around it.

use std::net::IpAddr;

use super::raw;
use crate::entity::{EntityKind, is_email, is_uuid};

/// A longer text is no identifier. The longest that vendors document is an ARN, 2048.
const MAX_IDENTIFIER_BYTES: usize = 2048;

/// The form of an identifier, by its text alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Arn,
    Ip,
    Email,
    Uuid,
    Sid,
    Hash,
    Other,
}

impl Form {
    /// The words that stand for forms in a format file.
    pub const WORDS: [(&str, Form); 7] = [
        ("arn", Form::Arn),
        ("ip", Form::Ip),
        ("email", Form::Email),
        ("uuid", Form::Uuid),
        ("sid", Form::Sid),
        ("hash", Form::Hash),
        ("else", Form::Other),
    ];

    /// The form of `id`, which has no white space around it.
    #[inline]
    pub fn of(id: &str) -> Form {
        if id.starts_with("arn:") && id.bytes().filter(|b| *b == b':').count() >= 5 {
            Form::Arn
        } else if id.parse::<IpAddr>().is_ok() {
            Form::Ip
        } else if is_email(id) {
            Form::Email
        } else if is_uuid(id) {
            Form::Uuid
        } else if id.starts_with("S-1-") && id.bytes().skip(4).all(|b| b.is_ascii_digit() || b == b'-') {
            Form::Sid
        } else if matches!(id.len(), 32 | 40 | 64) && id.bytes().all(|b| b.is_ascii_hexdigit()) {
            Form::Hash
        } else {
            Form::Other
        }
    }
}

/// Which kind of entity a value names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Always this one.
    One(EntityKind),
    /// By its form. A form that is not listed takes `else`; without one the value is no entity.
    ByForm(Vec<(Form, EntityKind)>),
}

impl Kinds {
    /// The kind of `id`, if it is an entity at all. What is not an address is never an `ip`.
    #[inline]
    pub fn of(&self, id: &str) -> Option<EntityKind> {
        match self {
            Kinds::One(EntityKind::Ip) => id.parse::<IpAddr>().ok().map(|_| EntityKind::Ip),
            Kinds::One(kind) => Some(*kind),
            Kinds::ByForm(forms) => {
                let form = Form::of(id);
                let find = |wanted| forms.iter().find(|(f, _)| *f == wanted).map(|(_, kind)| *kind);
                find(form).or_else(|| find(Form::Other)).filter(|k| *k != EntityKind::Ip || form == Form::Ip)
            }
        }
    }
}

/// Texts that stand where there is no identifier, of any kind. Compared without case.
const NOTHING: &[&str] = &[
    "-",
    "--",
    "?",
    "*",
    "n/a",
    "none",
    "null",
    "(null)",
    "<null>",
    "nil",
    "unknown",
    "<unknown>",
    "(unknown)",
    "undefined",
    "not available",
    "not applicable",
    "(empty)",
];

const LONGEST_NOTHING: usize = 14;

/// Accounts that every machine has, so that they name nobody. Compared without case; `*` at an end stands
/// for anything.
const EVERYBODY: &[&str] = &[
    "*$",
    "system",
    "localsystem",
    "local system",
    "local service",
    "network service",
    "anonymous",
    "anonymous logon",
    "nt authority\\*",
    "nt authority/*",
    "nt service\\*",
    "window manager\\*",
    "font driver host\\*",
    "iis apppool\\*",
    "nt virtual machine\\*",
    "s-1-0-0",
    "s-1-5-7",
    "s-1-5-18",
    "s-1-5-19",
    "s-1-5-20",
];

/// Host names that every machine has.
const EVERYWHERE: &[&str] = &["localhost", "localhost.localdomain", "localhost6"];

/// Which texts a rule does not take for identifiers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ignored {
    /// Whether the built-in lists hold.
    pub defaults: bool,
    /// The rule's or format's own patterns.
    pub patterns: Vec<String>,
}

impl Ignored {
    /// Whether `id` is a placeholder rather than an identifier of this kind.
    pub fn holds(&self, kind: EntityKind, id: &str) -> bool {
        let listed = |list: &[&str]| list.iter().any(|pattern| matches(pattern, id));
        let nothing =
            || id.len() <= LONGEST_NOTHING && NOTHING.iter().any(|text| text.eq_ignore_ascii_case(id));
        self.patterns.iter().any(|pattern| matches(pattern, id))
            || self.defaults
                && (nothing()
                    || match kind {
                        EntityKind::User | EntityKind::ServiceAccount => listed(EVERYBODY),
                        EntityKind::Host | EntityKind::Endpoint => listed(EVERYWHERE),
                        EntityKind::Ip => {
                            id.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified() || ip.is_loopback())
                        }
                        EntityKind::CloudIdentity | EntityKind::Domain | EntityKind::File => false,
                    })
    }
}

/// Whether `id` matches `pattern`, without ASCII case; a `*` at either end of the pattern stands for anything.
fn matches(pattern: &str, id: &str) -> bool {
    let same = |a: &str, b: &[u8]| a.as_bytes().eq_ignore_ascii_case(b);
    let bytes = id.as_bytes();
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        _ if pattern.len() == 1 => pattern == id,
        (Some(tail), None) => bytes
            .len()
            .checked_sub(tail.len())
            .and_then(|at| bytes.get(at..))
            .is_some_and(|end| same(tail, end)),
        (None, Some(head)) => bytes.get(..head.len()).is_some_and(|start| same(head, start)),
        (Some(_), Some(_)) => {
            let middle = pattern.trim_matches('*');
            !middle.is_empty() && bytes.windows(middle.len()).any(|window| same(middle, window))
        }
        (None, None) => same(pattern, bytes),
    }
}

/// The text of a JSON string or number token, white space around it cut; `None` for any other token, an empty
/// or overlong text, and a string with a lone surrogate. Numbers are as written, never through a float. What has escapes is
/// written down in `room`, in place of what was there.
pub(crate) fn text<'t>(token: &'t str, room: &'t mut String) -> Option<&'t str> {
    let text = match token.strip_prefix('"') {
        Some(rest) => {
            let inner = rest.strip_suffix('"')?;
            if inner.contains('\\') {
                room.clear();
                room.shrink_to(MAX_IDENTIFIER_BYTES);
                raw::unescape(inner, room).then_some(room.trim())?
            } else {
                inner.trim()
            }
        }
        None if token.starts_with(|c: char| c == '-' || c.is_ascii_digit()) => token,
        None => return None,
    };
    (!text.is_empty() && text.len() <= MAX_IDENTIFIER_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_form_of_an_identifier_is_told_by_its_text() {
        for (id, form) in [
            ("arn:aws:iam::123456789012:user/john.doe", Form::Arn),
            ("arn:short", Form::Other),
            ("10.0.0.1", Form::Ip),
            ("2001:db8::1", Form::Ip),
            ("john@example.com", Form::Email),
            ("2c46cdd9-92e3-5e5f-b3cf-0123456789ab", Form::Uuid),
            ("S-1-5-21-1004336348-1177238915-682003330-512", Form::Sid),
            ("d41d8cd98f00b204e9800998ecf8427e", Form::Hash),
            ("ws-17", Form::Other),
            ("ACME\\jdoe", Form::Other),
        ] {
            assert_eq!(Form::of(id), form, "{id}");
        }
    }

    #[test]
    fn a_kind_by_form_falls_back_to_else_and_never_makes_an_ip_of_a_name() {
        let kinds =
            Kinds::ByForm(vec![(Form::Arn, EntityKind::CloudIdentity), (Form::Other, EntityKind::Ip)]);
        assert_eq!(kinds.of("arn:aws:iam::1:user/x"), Some(EntityKind::CloudIdentity));
        assert_eq!(kinds.of("10.0.0.1"), Some(EntityKind::Ip));
        assert_eq!(kinds.of("ws-17"), None);
        assert_eq!(Kinds::One(EntityKind::Ip).of("cloudformation.amazonaws.com"), None);
    }

    #[test]
    fn the_bound_on_placeholders_is_that_of_the_list() {
        assert_eq!(NOTHING.iter().map(|text| text.len()).max(), Some(LONGEST_NOTHING));
    }

    #[test]
    fn placeholders_and_accounts_of_every_machine_are_not_entities() {
        let ignored = Ignored { defaults: true, patterns: vec!["svc-*".into(), "*scanner*".into()] };
        for id in ["-", "N/A", "Unknown", "NT AUTHORITY\\SYSTEM", "local service", "WS-17$", "CORP\\WS-17$"] {
            assert!(ignored.holds(EntityKind::User, id), "{id}");
        }
        for id in ["SVC-backup", "the-Scanner-1"] {
            assert!(ignored.holds(EntityKind::User, id), "{id}");
        }
        for id in ["root", "administrator", "systemd", "n", "jdoe", "svc"] {
            assert!(!ignored.holds(EntityKind::User, id), "{id}");
        }
        assert!(ignored.holds(EntityKind::Host, "LOCALHOST"));
        assert!(!ignored.holds(EntityKind::Host, "system"));
        assert!(ignored.holds(EntityKind::Ip, "127.0.0.53"));
        assert!(!ignored.holds(EntityKind::Ip, "10.0.0.1"));
        assert!(!Ignored::default().holds(EntityKind::User, "n/a"));
    }

    #[test]
    fn a_token_gives_its_text_and_a_number_stays_as_written() {
        let text = |token: &str| super::text(token, &mut "left over".to_owned()).map(str::to_owned);
        assert_eq!(text("\" a b \"").as_deref(), Some("a b"));
        assert_eq!(text(r#""ACME\\jd\u006fe ""#).as_deref(), Some("ACME\\jdoe"));
        let long = "123456789012345678901234567890";
        assert_eq!(text(long).as_deref(), Some(long));
        assert_eq!(text("-0").as_deref(), Some("-0"));
        for nothing in ["\"\"", "\"  \"", "null", "true", "{}", "[]", r#""\ud800""#, r#""\u0020""#] {
            assert_eq!(text(nothing), None, "{nothing}");
        }
        assert_eq!(text(&format!("\"{}\"", "x".repeat(MAX_IDENTIFIER_BYTES + 1))), None);
    }
}
