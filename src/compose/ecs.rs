//! Elastic Common Schema: the risk of the alert's user and host, and of the event.
//!
//! Owns where things go in an alert of that schema, nested or with dotted keys. Sets
//! `user.risk.static_score` (the vendor's own number, or ours where it gives none), `static_score_norm`
//! (0 to 100) and `static_level`, the same under `host.risk`, and `event.risk_score` and
//! `event.risk_score_norm`. Never touches `calculated_*`, which Elastic computes itself. The whole `risk`
//! object of the envelope stands in `riskstream`, beside the values that were overwritten. Pure.
//!
//! The fields are those of the schema's pages on Risk, which may stand under `user` and `host` only, and on
//! Event. So an identifier that stands elsewhere (`source.user.name`) is found in `riskstream`, not here.

use super::risk::{self, Highest, Risk};
use super::trace::Trace;
use super::tree::{self, Node};
use super::{Composer, EntityOutcome, FALLBACK_MEMBER as RECORD, Input};
use crate::entity::EntityKind;

/// Whose risk has fields, and which: score, normalised score, level.
const OWNERS: [(&str, [&str; 3]); 2] = [
    ("user", ["user.risk.static_score", "user.risk.static_score_norm", "user.risk.static_level"]),
    ("host", ["host.risk.static_score", "host.risk.static_score_norm", "host.risk.static_level"]),
];
const EVENT: [&str; 2] = ["event.risk_score", "event.risk_score_norm"];

/// The alert with `risk` added; `None` when it cannot be read.
pub(super) fn enriched<'a>(composer: &Composer, input: &Input<'a>, risk: &Risk<'_>) -> Option<Node<'a>> {
    let (mut alert, _) = restored(composer, input)?;
    let mut trace = Trace::default();
    let mut fields: Vec<(&str, String)> = Vec::new();
    for (owner, [score_field, norm_field, level_field]) in OWNERS {
        let highest = Highest::of(risk.entities.iter().filter(|entity| owner_of(entity) == Some(owner)));
        if let (Some(score), Some(level)) = (highest.score, highest.level) {
            let raw = highest.raw().map_or_else(|| score.to_string(), str::to_owned);
            fields.push((score_field, raw));
            fields.push((norm_field, score.to_string()));
            fields.push((level_field, format!("\"{}\"", risk::caption(level))));
        }
    }
    if let Some(score) = risk.summary.score {
        fields.extend(EVENT.map(|field| (field, score.to_string())));
    }
    // What holds others comes first: it stays where it is in a second pass, while the rest is added anew.
    for (field, _) in &fields {
        ensure(&mut alert, field);
    }
    for (field, value) in fields {
        match set(&mut alert, field, tree::rendered(value.into_bytes())) {
            Set::Done(original) => trace.note(field, original),
            Set::InTheWay => {}
        }
    }

    if let Some(foreign) = alert.put(RECORD, Node::default()) {
        trace.note(RECORD, Some(foreign));
    }
    let mut record = Vec::with_capacity(1024);
    let mut tail = Vec::new();
    trace.write(&mut tail);
    risk.object(&tail, &mut record);
    alert.put(RECORD, tree::rendered(record));
    Some(alert)
}

/// The alert as it was before an earlier pass, and whether there was one; `None` when it cannot be read.
pub(super) fn restored<'a>(composer: &Composer, input: &Input<'a>) -> Option<(Node<'a>, bool)> {
    let mut alert = Node::new(std::str::from_utf8(input.original).ok()?.trim());
    let mut found = false;
    let mut trace = Trace::default();
    if let Some(node) = alert.get(RECORD).filter(|node| node.is_ours()) {
        found = true;
        trace = Trace::read(std::mem::take(node), may_have_set);
        match trace.take(RECORD) {
            Some(foreign) => *node = foreign,
            None => alert.remove(RECORD),
        }
    }
    found |= composer.remove_ours(&mut alert)?;
    for (place, original) in trace.into_places() {
        match original {
            Some(original) => drop(set(&mut alert, &place, original)),
            None => unset(&mut alert, &place),
        }
    }
    Some((alert, found))
}

/// Whether we could have set `place` where this stood: anything else is a forged record's.
fn may_have_set(place: &str, original: Option<&Node<'_>>) -> bool {
    if place == RECORD {
        return original.is_some_and(|node| !node.is_ours());
    }
    EVENT.contains(&place) || OWNERS.iter().any(|(_, fields)| fields.contains(&place))
}

/// Whose risk an entity's is, by where it stands: `user.name`, `host.id`, and the agent on the host.
fn owner_of(entity: &EntityOutcome<'_>) -> Option<&'static str> {
    let owner = match entity.kind {
        EntityKind::User | EntityKind::ServiceAccount | EntityKind::CloudIdentity => "user",
        EntityKind::Host | EntityKind::Endpoint => "host",
        EntityKind::Ip | EntityKind::Domain | EntityKind::File => return None,
    };
    let stands_there = entity.paths.iter().any(|path| {
        let field = path.trim_start_matches('/').replace('/', ".");
        // A field may hold a list.
        let field = field.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('.');
        field.split_once('.').is_some_and(|(first, rest)| {
            (first == owner || (owner == "host" && first == "agent")) && !rest.contains('.')
        })
    });
    stands_there.then_some(owner)
}

/// What became of setting a field.
enum Set<'a> {
    /// It is set; this is what stood there.
    Done(Option<Node<'a>>),
    /// Something that is not an object stands where the field's parent should be.
    InTheWay,
}

/// Sets a field, whichever way the alert spells it.
fn set<'a>(alert: &mut Node<'a>, field: &str, value: Node<'a>) -> Set<'a> {
    let Some((holder, rest)) = descend(alert, field) else { return Set::InTheWay };
    if holder.get(rest).is_some() || !rest.contains('.') || is_dotted(holder, rest) {
        return Set::Done(holder.put(rest, value));
    }
    Set::InTheWay
}

/// Removes a field that we added.
fn unset(alert: &mut Node<'_>, field: &str) {
    if let Some((holder, rest)) = descend(alert, field) {
        holder.remove(rest);
    }
}

/// Makes the objects that a field stands in, unless the alert spells such fields with dots.
fn ensure(alert: &mut Node<'_>, field: &str) {
    let Some((mut holder, mut rest)) = descend(alert, field) else { return };
    if is_dotted(holder, rest) {
        return;
    }
    while let Some((first, after)) = rest.split_once('.') {
        if holder.get(first).is_some() {
            return;
        }
        holder.put(first, Node::new("{}"));
        let Some(made) = holder.get(first) else { return };
        (holder, rest) = (made, after);
    }
}

/// The innermost object on the way to `field`, and what is left of the field's name there.
fn descend<'n, 'a, 'f>(node: &'n mut Node<'a>, field: &'f str) -> Option<(&'n mut Node<'a>, &'f str)> {
    match step(node, field) {
        Some((index, rest)) => descend(&mut node.members()?.get_mut(index)?.value, rest),
        None => Some((node, field)),
    }
}

/// The last member that is an object and whose key begins `field`, and what is left of the name.
fn step<'f>(node: &mut Node<'_>, field: &'f str) -> Option<(usize, &'f str)> {
    let members = node.members()?;
    // A key that is the whole name is the field itself.
    if members.iter().any(|member| member.name() == field) {
        return None;
    }
    members
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, member)| member.value.is_object())
        .find_map(|(index, member)| Some((index, field.strip_prefix(&*member.name())?.strip_prefix('.')?)))
}

/// Whether the object spells fields like this one with dots: `"user.name": ...`.
fn is_dotted(node: &mut Node<'_>, field: &str) -> bool {
    let Some((first, _)) = field.split_once('.') else { return false };
    node.members().is_some_and(|members| {
        members
            .iter()
            .any(|member| member.name().strip_prefix(first).is_some_and(|after| after.starts_with('.')))
    })
}
