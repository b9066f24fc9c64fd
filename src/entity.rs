//! Entities: what an alert is about, and how two spellings of one are told to be the same.
//!
//! Owns the closed set of [`EntityKind`]s and the canonical form of an identifier, which is what the
//! cache is keyed by. Pure. Never builds a URL: each vendor checks and encodes for itself, because an
//! identifier is written by whoever caused the alert.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::LazyLock;

/// What sort of thing an identifier names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EntityKind {
    /// A person's account: an e-mail, a user name, `DOMAIN\user`, a vendor's user id.
    User,
    /// A machine by its host name.
    Host,
    /// A machine by the id of the security agent on it.
    Endpoint,
    /// An identity or resource of a cloud: an ARN, `org/repo`, a service principal.
    CloudIdentity,
    /// An IPv4 or IPv6 address.
    Ip,
    /// A domain name.
    Domain,
    /// A file, by its hash or path.
    File,
    /// An account of a program rather than a person.
    ServiceAccount,
}

impl EntityKind {
    /// Every kind, in the order in which documentation lists them.
    pub const ALL: [EntityKind; 8] = [
        EntityKind::User,
        EntityKind::Host,
        EntityKind::Endpoint,
        EntityKind::CloudIdentity,
        EntityKind::Ip,
        EntityKind::Domain,
        EntityKind::File,
        EntityKind::ServiceAccount,
    ];

    /// The name used in configuration, output and metric labels.
    pub const fn label(self) -> &'static str {
        match self {
            EntityKind::User => "user",
            EntityKind::Host => "host",
            EntityKind::Endpoint => "endpoint",
            EntityKind::CloudIdentity => "cloud_identity",
            EntityKind::Ip => "ip",
            EntityKind::Domain => "domain",
            EntityKind::File => "file",
            EntityKind::ServiceAccount => "service_account",
        }
    }
}

impl fmt::Display for EntityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A word that is not the name of an [`EntityKind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown entity kind {0:?}: use one of user, host, endpoint, cloud_identity, ip, domain, file, service_account"
)]
pub struct UnknownKind(pub String);

impl FromStr for EntityKind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        EntityKind::ALL
            .into_iter()
            .find(|kind| kind.label() == word)
            .ok_or_else(|| UnknownKind(word.to_owned()))
    }
}

/// One thing to ask a vendor about, in its canonical spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entity {
    /// What the identifier names.
    pub kind: EntityKind,
    /// The canonical identifier ([`canonical`]). Hostile input: whoever caused the alert wrote it.
    pub id: Box<str>,
}

impl Entity {
    /// An entity from an identifier as it stands in an alert or on a command line.
    pub fn new(kind: EntityKind, identifier: &str) -> Self {
        Entity { kind, id: canonical(kind, identifier).into() }
    }
}

/// The canonical spelling of `identifier`: the same for every spelling that surely names the same thing.
///
/// White space around it goes; host and domain names lose their case and trailing dot; addresses take
/// their shortest form (RFC 5952); e-mails and UUIDs lose their case. Anything else is kept as written:
/// whether `jdoe` and `JDoe` are one person is for the vendor to know. Borrows when nothing changes.
pub fn canonical(kind: EntityKind, identifier: &str) -> Cow<'_, str> {
    let mut new = String::new();
    match respell(kind, identifier, &mut new) {
        Some(unchanged) => Cow::Borrowed(unchanged),
        None => Cow::Owned(new),
    }
}

/// [`canonical`] for whoever has a buffer: the part of `identifier` that it is; `None` when it is none, but was put at the
/// end of `out`.
pub(crate) fn respell<'i>(kind: EntityKind, identifier: &'i str, out: &mut String) -> Option<&'i str> {
    let id = identifier.trim();
    match kind {
        EntityKind::Host | EntityKind::Domain => {
            lower(id.trim_end_matches(|c: char| c == '.' || c.is_whitespace()), out)
        }
        EntityKind::Ip => match id.parse::<IpAddr>() {
            Ok(address) => shortest(address, id, out),
            Err(_) => Some(id),
        },
        EntityKind::User if is_email(id) || is_uuid(id) => lower(id, out),
        EntityKind::Endpoint if is_uuid(id) => lower(id, out),
        _ => Some(id),
    }
}

/// A number for a kind and a canonical identifier, the same within this process. Its key is drawn when the process starts:
/// identifiers are written by attackers, who must not be able to choose colliding ones.
pub fn hash(kind: EntityKind, id: &str) -> u64 {
    static KEYS: LazyLock<ahash::RandomState> = LazyLock::new(ahash::RandomState::new);
    KEYS.hash_one((kind, id))
}

fn lower<'i>(id: &'i str, out: &mut String) -> Option<&'i str> {
    if !id.chars().any(char::is_uppercase) {
        return Some(id);
    }
    if id.is_ascii() {
        out.extend(id.chars().map(|c| c.to_ascii_lowercase()));
    } else {
        // What becomes of a letter may depend on its neighbours.
        out.push_str(&id.to_lowercase());
    }
    None
}

fn shortest<'i>(address: IpAddr, id: &'i str, out: &mut String) -> Option<&'i str> {
    use std::fmt::Write as _;
    let start = out.len();
    // Writing to a string cannot fail.
    let _ = write!(out, "{address}");
    if out.get(start..) != Some(id) {
        return None;
    }
    out.truncate(start);
    Some(id)
}

/// Whether `id` has the outer form of an e-mail address: one `@` with text on both sides, no white space.
pub fn is_email(id: &str) -> bool {
    match id.split_once('@') {
        Some((local, domain)) => {
            !local.is_empty()
                && !domain.is_empty()
                && !domain.contains('@')
                && !id.contains(|c: char| c.is_whitespace() || c.is_control())
        }
        None => false,
    }
}

/// Whether `id` is a UUID in its hyphenated form, of any version.
pub fn is_uuid(id: &str) -> bool {
    id.len() == 36 && uuid::Uuid::try_parse(id).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_kind_parses_back_from_its_label() {
        for kind in EntityKind::ALL {
            assert_eq!(kind.label().parse(), Ok(kind));
        }
        assert!("users".parse::<EntityKind>().is_err());
    }

    #[test]
    fn spellings_of_one_thing_share_a_canonical_form() {
        for (kind, written, expected) in [
            (EntityKind::Host, " WS-17.Corp.Example.COM. ", "ws-17.corp.example.com"),
            (EntityKind::Host, "ws-17 ..", "ws-17"),
            (EntityKind::Ip, "2001:0DB8::0001", "2001:db8::1"),
            (EntityKind::Ip, "10.0.0.1", "10.0.0.1"),
            (EntityKind::Ip, "not an address", "not an address"),
            (EntityKind::User, "John.Doe@Example.COM", "john.doe@example.com"),
            (EntityKind::User, "ACME\\JDoe", "ACME\\JDoe"),
            (
                EntityKind::User,
                "2C46CDD9-92E3-5E5F-B3CF-0123456789AB",
                "2c46cdd9-92e3-5e5f-b3cf-0123456789ab",
            ),
            (EntityKind::CloudIdentity, "arn:aws:iam::1:user/John", "arn:aws:iam::1:user/John"),
        ] {
            assert_eq!(canonical(kind, written), expected, "{kind} {written:?}");
        }
    }

    #[test]
    fn an_email_has_one_at_sign_and_no_space() {
        assert!(is_email("a@b"));
        for not in ["a", "@b", "a@", "a@b@c", "a b@c", "a@b\n"] {
            assert!(!is_email(not), "{not:?}");
        }
    }

    proptest! {
        #[test]
        fn canonical_is_idempotent(kind in 0usize..8, id in ".{0,40}") {
            let kind = EntityKind::ALL[kind];
            let once = canonical(kind, &id).into_owned();
            // Lower-casing may need a second pass for a few Unicode letters; trimming never does.
            let twice = canonical(kind, &once).into_owned();
            prop_assert_eq!(canonical(kind, &twice), twice.as_str());
        }
    }
}
