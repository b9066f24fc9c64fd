//! OCSF: one `enrichments[]` item for each entity, and the risk attributes that the schema has.
//!
//! Owns where things go in an alert of that schema. Everything that the envelope says is there as well: an
//! entity's whole object is the `data` of its item, what is said of the alert stands in
//! `unmapped.riskstream`, beside the values that were overwritten. Pure.
//!
//! `risk_score`, `risk_level` and `risk_level_id` exist on the `user` and `device` objects, and on every
//! class of the category Findings but Incident Finding (2005), which has them, as any class, under the
//! profile `security_control` (ocsf/ocsf-schema: `objects/user.json`, `objects/device.json`,
//! `events/findings/finding.json`, `profiles/security_control.json`). They are set nowhere else, and in no
//! more than [`MAX_TARGETS`] objects of an alert.

use std::collections::BTreeMap;

use super::risk::{self, Highest, Risk};
use super::trace::Trace;
use super::tree::{self, Node};
use super::{Composer, EntityOutcome, Input, Outcome, json};
use crate::entity::EntityKind;

const ENRICHMENTS: &str = "enrichments";
const UNMAPPED: &str = "unmapped";
const RECORD: &str = "riskstream";
const SCORE: &str = "risk_score";
const LEVEL: &str = "risk_level";
const LEVEL_ID: &str = "risk_level_id";

/// Beyond that many users and devices only `enrichments[]` has the risk: finding each one's place in the
/// alert takes a search, and their number is whatever the sender likes.
const MAX_TARGETS: usize = 32;

/// Objects that are a part of the user or device that they stand in, and have no risk of their own.
const PARTS: [&str; 3] = ["account", "agent_list", "network_interfaces"];

/// The alert with `risk` added; `None` when it cannot be read.
pub(super) fn enriched<'a>(composer: &Composer, input: &Input<'a>, risk: &Risk<'_>) -> Option<Node<'a>> {
    let (mut alert, _) = restored(composer, input)?;
    let mut trace = Trace::default();

    // What holds others comes first: it stays where it is in a second pass, while the rest is added anew.
    container(&mut alert, ENRICHMENTS, Node::is_array, "[]", &mut trace);
    container(&mut alert, UNMAPPED, Node::is_object, "{}", &mut trace);
    alert.get(ENRICHMENTS)?.items()?.extend(risk.entities.iter().map(|entity| enrichment(entity, risk)));

    for (place, highest) in targets(risk.entities) {
        set(&mut alert, place, &highest, &mut trace);
    }
    if has_risk(&mut alert) {
        set(&mut alert, "", &Highest::of(risk.entities.iter()), &mut trace);
    }

    let unmapped = alert.get(UNMAPPED)?;
    if let Some(foreign) = unmapped.put(RECORD, Node::default()) {
        trace.note("/unmapped/riskstream", Some(foreign));
    }
    let mut record = vec![b'{'];
    risk.head(&mut record);
    trace.write(&mut record);
    record.push(b'}');
    unmapped.put(RECORD, tree::rendered(record));
    Some(alert)
}

/// The alert as it was before an earlier pass, and whether there was one; `None` when it cannot be read.
pub(super) fn restored<'a>(composer: &Composer, input: &Input<'a>) -> Option<(Node<'a>, bool)> {
    let mut alert = Node::new(std::str::from_utf8(input.original).ok()?.trim());
    let mut found = composer.remove_ours(&mut alert)?;
    let record = alert.get(UNMAPPED).and_then(|node| node.get(RECORD)).filter(|node| node.is_ours());
    if let Some(record) = record.map(std::mem::take) {
        found = true;
        let mut trace = Trace::read(record, may_have_set);
        let unmapped = alert.get(UNMAPPED)?;
        match trace.take("/unmapped/riskstream") {
            Some(foreign) => drop(unmapped.put(RECORD, foreign)),
            None => unmapped.remove(RECORD),
        }
        for (place, original) in trace.into_places() {
            let parent = place.rsplit_once('/').and_then(|(parent, name)| Some((alert.at(parent)?, name)));
            match (parent, original) {
                (Some((parent, name)), Some(original)) => drop(parent.put(name, original)),
                (Some((parent, name)), None) => parent.remove(name),
                (None, _) => {}
            }
        }
    }
    if let Some(items) = alert.get(ENRICHMENTS).and_then(Node::items) {
        let before = items.len();
        items.retain_mut(|item| !is_our_item(item));
        found |= items.len() < before;
    }
    Some((alert, found))
}

/// Whether we could have set `place` where this stood: anything else is a forged record's, which shall
/// not bring back what speaks in our name.
fn may_have_set(place: &str, original: Option<&Node<'_>>) -> bool {
    match place {
        "/enrichments" => original.is_some_and(|node| !node.is_array()),
        "/unmapped" => original.is_some_and(|node| !node.is_object()),
        "/unmapped/riskstream" => original.is_some_and(|node| !node.is_ours()),
        _ => matches!(place.rsplit('/').next(), Some(SCORE | LEVEL | LEVEL_ID)),
    }
}

fn is_our_item(item: &mut Node<'_>) -> bool {
    item.members()
        .is_some_and(|members| members.iter().any(|member| member.name() == "data" && member.value.is_ours()))
}

/// Makes sure that the top-level member `name` is what `is` says; `empty` is put there otherwise.
fn container<'a>(
    alert: &mut Node<'a>,
    name: &str,
    is: impl Fn(&Node<'a>) -> bool,
    empty: &'static str,
    trace: &mut Trace<'a>,
) {
    if alert.get(name).is_some_and(|node| is(node)) {
        return;
    }
    if let Some(foreign) = alert.put(name, Node::new(empty)) {
        trace.note(&format!("/{name}"), Some(foreign));
    }
}

/// Sets the three risk attributes of the object at `place`.
fn set<'a>(alert: &mut Node<'a>, place: &str, highest: &Highest<'_>, trace: &mut Trace<'a>) {
    let (Some(score), Some(level)) = (highest.score, highest.level) else { return };
    let Some(object) = alert.at(place).filter(|node| node.is_object()) else { return };
    for (name, value) in [
        (SCORE, score.whole().to_string()),
        (LEVEL, format!("\"{}\"", risk::caption(level))),
        (LEVEL_ID, (level as u8).to_string()),
    ] {
        let original = object.put(name, tree::rendered(value.into_bytes()));
        trace.note(&format!("{place}/{name}"), original);
    }
}

/// Whether the alert's class has risk attributes.
fn has_risk(alert: &mut Node<'_>) -> bool {
    let class = alert.get("class_uid").and_then(|node| match node {
        Node::Text(text) => text.parse::<u32>().ok(),
        _ => None,
    });
    let is_finding = class.is_some_and(|class| (2000..3000).contains(&class) && class != 2005);
    let profiles = alert.get("metadata").and_then(|node| node.get("profiles")).and_then(Node::items);
    is_finding
        || profiles.is_some_and(|items| {
            items.iter().any(|item| matches!(item, Node::Text(text) if text == "\"security_control\""))
        })
}

/// The `user` and `device` objects that scored entities stand in, each with the highest of them.
fn targets<'e>(entities: &'e [EntityOutcome<'_>]) -> BTreeMap<&'e str, Highest<'e>> {
    let mut targets: BTreeMap<&str, Highest<'e>> = BTreeMap::new();
    for entity in entities {
        for place in entity.paths.iter().filter_map(|path| target(entity.kind, path)) {
            if targets.len() < MAX_TARGETS || targets.contains_key(place) {
                targets.entry(place).or_default().add(entity);
            }
        }
    }
    targets
}

/// The pointer of the object whose risk it is that the identifier at `path` has.
fn target(kind: EntityKind, path: &str) -> Option<&str> {
    let names: &[&str] = match kind {
        EntityKind::User | EntityKind::ServiceAccount | EntityKind::CloudIdentity => {
            &["user", "users", "owner"]
        }
        EntityKind::Host | EntityKind::Endpoint => &["device", "devices"],
        EntityKind::Ip | EntityKind::Domain | EntityKind::File => return None,
    };
    let (mut place, _) = path.rsplit_once('/')?;
    loop {
        let (before, last) = place.rsplit_once('/')?;
        let is_index = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        let (before, name) = if is_index { before.rsplit_once('/')? } else { (before, last) };
        if names.contains(&name) {
            return Some(place);
        }
        if !PARTS.contains(&name) {
            return None;
        }
        place = before;
    }
}

/// One item of `enrichments[]`.
fn enrichment<'a>(entity: &EntityOutcome<'_>, risk: &Risk<'_>) -> Node<'a> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(br#"{"name":"#);
    match entity.paths.iter().next() {
        Some(path) => json::string(&mut out, &path.trim_start_matches('/').replace('/', ".")),
        None => json::string(&mut out, entity.kind.label()),
    }
    json::member(&mut out, "value", entity.value);
    out.extend_from_slice(br#","data":{"schema":""#);
    out.extend_from_slice(super::SCHEMA.as_bytes());
    out.extend_from_slice(b"\",");
    risk::entity(entity, risk.with_details(), &mut out);
    out.push(b'}');
    if let Some(provider) = entity.provider {
        json::member(&mut out, "provider", provider);
    }
    json::member(&mut out, "type", "risk");
    if let Outcome::Answered { answer, .. } = entity.outcome {
        out.extend_from_slice(br#","created_time":"#);
        json::display(&mut out, answer.as_of());
    }
    let (kind, short) = (entity.kind.label(), short_description(entity));
    json::member(&mut out, "short_desc", &short);
    let description = match entity.provider {
        Some(provider) => format!("{provider} on this {kind}: {short}"),
        None => format!("{short} is asked about this {kind}"),
    };
    json::member(&mut out, "desc", &description);
    out.push(b'}');
    tree::rendered(out)
}

fn short_description(entity: &EntityOutcome<'_>) -> String {
    match entity.outcome {
        Outcome::Answered { answer, .. } => match (answer.score(), answer.level()) {
            (Some(score), Some(level)) => format!("Risk {score} of 100 ({level})"),
            _ => "Risk unknown".to_owned(),
        },
        Outcome::Failed(reason) => format!("Risk look-up failed ({reason})"),
        Outcome::Unrouted => "No provider".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::OwnedPaths;

    #[test]
    fn the_risk_of_an_identifier_is_that_of_the_user_or_device_it_stands_in() {
        for (kind, path, place) in [
            (EntityKind::User, "/user/name", Some("/user")),
            (EntityKind::User, "/actor/user/email_addr", Some("/actor/user")),
            (EntityKind::User, "/users/3/uid", Some("/users/3")),
            (EntityKind::CloudIdentity, "/actor/user/account/uid", Some("/actor/user")),
            (EntityKind::Endpoint, "/device/agent_list/0/uid", Some("/device")),
            (EntityKind::Host, "/evidences/0/device/hostname", Some("/evidences/0/device")),
            (EntityKind::Host, "/user/name", None),
            (EntityKind::User, "/device/owner/name", Some("/device/owner")),
            (EntityKind::User, "/user/ldap_person/manager/name", None),
            (EntityKind::Ip, "/device/ip", None),
            (EntityKind::User, "/user", None),
            (EntityKind::User, "", None),
        ] {
            assert_eq!(target(kind, path), place, "{kind} {path}");
        }
    }

    #[test]
    fn an_alert_with_very_many_users_has_risk_on_the_first_ones() {
        let answer = crate::provider::Answer::Unknown { detail: None };
        let answer = super::super::Rendered::of(&answer, jiff::Timestamp::UNIX_EPOCH);
        let outcome = Outcome::Answered {
            answer: answer.get(),
            age: std::time::Duration::ZERO,
            source: super::super::Source::Cache,
        };
        let paths: Vec<_> = (0..1000).map(|index| format!("/users/{index}/name")).collect();
        let paths: OwnedPaths = paths.iter().map(String::as_str).collect();
        let entity =
            EntityOutcome { kind: EntityKind::User, value: "x", paths: paths.get(), provider: None, outcome };
        assert_eq!(targets(&[entity, entity]).len(), MAX_TARGETS);
        const { assert!(3 * (MAX_TARGETS + 1) + 3 <= super::super::trace::MAX_PLACES) };
    }

    #[test]
    fn only_classes_with_risk_attributes_have_them() {
        for (alert, expected) in [
            (r#"{"class_uid":2004}"#, true),
            (r#"{"class_uid":2001}"#, true),
            (r#"{"class_uid":2005}"#, false),
            (r#"{"class_uid":2005,"metadata":{"profiles":["host","security_control"]}}"#, true),
            (r#"{"class_uid":4001,"metadata":{"profiles":["host"]}}"#, false),
            (r#"{"rule":"not OCSF"}"#, false),
        ] {
            assert_eq!(has_risk(&mut Node::new(alert)), expected, "{alert}");
        }
    }
}
