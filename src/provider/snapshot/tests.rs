//! What a snapshot says at which age, and what follows from how reading it goes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::walk::Walk;
use super::*;
use crate::compose::Rendered;

const MINUTE: Duration = Duration::from_secs(60);

/// A list of users, whose names do not know case.
struct List(Listing);

impl Bulk for List {
    fn page<'a>(&'a self, _cursor: Option<&'a str>) -> Asking<'a, Page> {
        Box::pin(async { Ok(Page::default()) })
    }

    fn name<'e>(&self, _kind: EntityKind, id: &'e str) -> Option<Cow<'e, str>> {
        (!id.is_empty()).then(|| id.to_lowercase().into())
    }

    fn listing(&self) -> Listing {
        self.0
    }
}

fn snapshot(mode: Mode) -> Snapshot {
    let config = Snapshots { mode, interval: MINUTE, ..Snapshots::NONE };
    Snapshot::new(&config, Duration::from_secs(3600), MINUTE).unwrap()
}

fn row(name: &str, answer: Result<Answer, FailureKind>) -> Row {
    Row { name: name.to_owned(), rank: 0, answer }
}

/// A table of one reading with `jane`, of whom no level is known, and `odd`, whose row was not understood.
fn fill(snapshot: &Snapshot, listing: Listing, now: Instant) {
    let no_level = Answer::Unknown { detail: Some("no_level") };
    let rows = vec![row("jane", Ok(no_level)), row("odd", Err(FailureKind::MalformedResponse))];
    let page = Page { rows, ..Page::default() };
    let mut walk = Walk::new(snapshot.rules, listing, now);
    snapshot.take(walk.took(page, now, Timestamp::UNIX_EPOCH).unwrap().unwrap());
}

/// What is said, in a word.
fn told(snapshot: &Snapshot, listing: Listing, id: &str, now: Instant) -> String {
    let said = |entry: &Entry| match entry.content() {
        crate::cache::Content::Answer(answer) => {
            let jane = Rendered::of(&Answer::Unknown { detail: Some("no_level") }, Timestamp::UNIX_EPOCH);
            if answer == jane.get() { "jane" } else { "absent" }
        }
        crate::cache::Content::Failure(kind) => kind.label(),
    };
    match snapshot.tell(&List(listing), EntityKind::User, id, now) {
        Told::Only(entry) => format!("only {}", said(&entry)),
        Told::Answer(entry) => format!("answer {}", said(&entry)),
        Told::Failed(kind, old) => format!("failed {kind} {}", old.as_ref().map_or("", said)),
        Told::Ask(old) => format!("ask {}", old.as_ref().map_or("", said)),
    }
}

#[test]
fn by_snapshot_alone_nobody_is_asked_and_what_is_not_known_says_why() {
    let (kept, now) = (snapshot(Mode::Snapshot), Instant::now());
    let tell = |id, now| told(&kept, Listing::Everybody, id, now);
    assert_eq!(tell("jane", now), "failed no_snapshot ");
    assert_eq!(kept.problem(now).as_deref(), Some("no snapshot yet"));
    kept.failed(&Failure::new(FailureKind::Unauthorised, ""));
    assert_eq!(tell("jane", now), "failed unauthorised ");
    fill(&kept, Listing::Everybody, now);
    assert_eq!(tell("JANE", now), "only jane");
    assert_eq!(tell("john", now), "only absent");
    assert_eq!(tell("odd", now), "failed malformed_response ");
    assert_eq!(tell("", now), "failed invalid_identifier ", "not unknown: the vendor cannot know it");
    assert_eq!(kept.problem(now), None);
    let later = now + 2 * MINUTE;
    assert_eq!(tell("jane", later), "failed no_snapshot jane", "an old answer stands in");
    assert_eq!(tell("john", later), "failed no_snapshot absent");
    kept.failed(&Failure::new(FailureKind::Timeout, "slow"));
    assert_eq!(tell("jane", later), "failed timeout jane");
    let problem = kept.problem(later).unwrap();
    assert!(problem.starts_with("the snapshot is 120 s old (timeout: slow, since "), "{problem}");
    assert_eq!(tell("jane", later + Duration::from_secs(3600)), "failed timeout ");
}

#[test]
fn with_look_ups_beside_it_a_snapshot_answers_while_it_is_believed_and_then_stands_in() {
    let (kept, now) = (snapshot(Mode::Both), Instant::now());
    let tell = |id, now| told(&kept, Listing::Riskiest, id, now);
    assert_eq!(tell("jane", now), "ask ");
    fill(&kept, Listing::Riskiest, now);
    assert_eq!(tell("jane", now), "answer jane");
    assert_eq!(tell("john", now), "ask ", "absence from a top list says nothing");
    assert_eq!((tell("odd", now), tell("", now)), ("ask ".to_owned(), "ask ".to_owned()));
    assert_eq!(tell("jane", now + 2 * MINUTE), "ask jane");
    assert_eq!(tell("john", now + 2 * MINUTE), "ask ");
    fill(&kept, Listing::Everybody, now);
    assert_eq!(told(&kept, Listing::Everybody, "john", now), "answer absent");
}

#[test]
fn nothing_is_kept_where_look_ups_are_all_that_is_configured() {
    assert!(Snapshot::new(&Snapshots::NONE, MINUTE, MINUTE).is_none());
}

#[test]
fn a_table_is_handed_on_to_whoever_reads_the_same_list_after_a_change_of_the_configuration() {
    let (before, after, now) = (snapshot(Mode::Snapshot), snapshot(Mode::Both), Instant::now());
    after.inherit(&before);
    assert_eq!(told(&after, Listing::Everybody, "jane", now), "ask ");
    fill(&before, Listing::Everybody, now);
    after.inherit(&before);
    assert_eq!(told(&after, Listing::Everybody, "jane", now), "answer jane");
    assert_eq!(after.problem(now), None);
}

#[test]
fn what_somebody_has_to_mend_is_told_while_the_list_in_use_is_still_good() {
    let (kept, now) = (snapshot(Mode::Both), Instant::now());
    fill(&kept, Listing::Everybody, now);
    assert!(kept.failed(&Failure::new(FailureKind::Timeout, "slow")), "news");
    assert!(!kept.failed(&Failure::new(FailureKind::Timeout, "slow")));
    assert_eq!(kept.problem(now), None, "it gets up by itself");
    for kind in [FailureKind::Forbidden, FailureKind::BadRequest, FailureKind::MalformedResponse] {
        assert!(kept.failed(&Failure::new(kind, "what to do")), "news");
        let problem = kept.problem(now + MINUTE).unwrap();
        let expected = format!("reading the vendor's list again failed ({kind}: what to do, since ");
        assert!(problem.starts_with(&expected), "{problem}");
        assert!(problem.ends_with("; that of 60 s ago is in use"), "{problem}");
    }
}

#[test]
fn a_list_that_is_less_than_it_should_be_says_so() {
    let now = Instant::now();
    for (listing, told) in [(Listing::Everybody, true), (Listing::Riskiest, false)] {
        let kept = snapshot(Mode::Both);
        let rows = vec![row("jane", Ok(Answer::Unknown { detail: None }))];
        let page = Page { rows, cut: true, ..Page::default() };
        let mut walk = Walk::new(kept.rules, listing, now);
        kept.take(walk.took(page, now, Timestamp::UNIX_EPOCH).unwrap().unwrap());
        let problem = kept.problem(now).unwrap_or_default();
        assert_eq!(problem.starts_with("the vendor gave less than its whole list"), told, "{problem}");
    }
}
