//! Reading a list against vendors that give it in pieces, fail in between, and lead us on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::provider::Answer;
use crate::provider::snapshot::Row;

const INTERVAL: Duration = Duration::from_secs(900);
const RULES: Rules = Rules {
    interval: INTERVAL,
    capacity: 1 << 20,
    stale: Duration::from_secs(86_400),
    refused_for: Duration::from_secs(60),
};

fn row(name: &str) -> Row {
    Row { name: name.to_owned(), rank: 0, answer: Ok(Answer::Unknown { detail: Some("no_level") }) }
}

fn page(names: &[&str], next: Option<&str>) -> Page {
    Page {
        rows: names.iter().map(|name| row(name)).collect(),
        next: next.map(str::to_owned),
        ..Page::default()
    }
}

fn at(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

fn took(walk: &mut Walk, page: Page, now: Instant) -> Option<Table> {
    walk.took(page, now, Timestamp::UNIX_EPOCH).unwrap()
}

fn failure(kind: FailureKind) -> Failure {
    Failure::new(kind, "")
}

#[test]
fn a_page_that_failed_is_asked_for_again_at_its_cursor_after_a_pause_that_doubles() {
    let start = Instant::now();
    let mut walk = Walk::new(RULES, Listing::Everybody, start);
    assert_eq!(walk.next(start), Step::Read(None));
    assert!(took(&mut walk, page(&["a"], Some("2")), start).is_none());
    assert_eq!(walk.next(start), Step::Read(Some("2")));
    walk.failed(&failure(FailureKind::Timeout), start);
    assert_eq!(walk.next(start), Step::Wait(Duration::from_secs(1)));
    assert_eq!(walk.next(at(start, 1)), Step::Read(Some("2")));
    walk.failed(&failure(FailureKind::ServerError), at(start, 1));
    assert_eq!(walk.next(at(start, 1)), Step::Wait(Duration::from_secs(2)));
    let busy = Failure { retry_after: Some(Duration::from_secs(60)), ..failure(FailureKind::RateLimited) };
    walk.failed(&busy, at(start, 3));
    assert_eq!(walk.next(at(start, 3)), Step::Wait(Duration::from_secs(60)), "the vendor's word is heeded");
    assert_eq!(walk.failures(), 3);
    let table = took(&mut walk, page(&["b"], None), at(start, 63)).unwrap();
    assert_eq!(walk.failures(), 0);
    assert_eq!(table.entities(), 2);
    assert_eq!(walk.next(at(start, 63)), Step::Wait(INTERVAL - Duration::from_secs(63)));
    assert_eq!(walk.next(start + INTERVAL), Step::Read(None));
}

#[test]
fn a_cursor_that_is_refused_or_too_old_leads_back_to_the_beginning() {
    let start = Instant::now();
    let mut walk = Walk::new(RULES, Listing::Everybody, start);
    took(&mut walk, page(&["gone"], Some("2")), start);
    walk.failed(&failure(FailureKind::BadRequest), start);
    assert_eq!(walk.next(at(start, 1)), Step::Read(None));
    took(&mut walk, page(&["a"], Some("2")), at(start, 1));
    walk.failed(&failure(FailureKind::Unreachable), at(start, 1));
    assert_eq!(walk.next(at(start, 901)), Step::Read(Some("2")));
    assert_eq!(walk.next(at(start, 902)), Step::Read(None));
    let table = took(&mut walk, page(&["b"], None), at(start, 902)).unwrap();
    assert_eq!(table.entities(), 1, "nothing of an abandoned reading is left");
}

#[test]
fn a_list_that_never_gets_beyond_a_page_is_begun_anew_after_pauses_that_double() {
    let mut now = Instant::now();
    let mut walk = Walk::new(RULES, Listing::Everybody, now);
    for seconds in [1, 2, 4, 8, 16, 32, 64, 120, 120] {
        assert!(took(&mut walk, page(&["a"], Some("2")), now).is_none());
        assert_eq!(walk.next(now), Step::Read(Some("2")), "a page that came is followed at once");
        walk.failed(&failure(FailureKind::BadRequest), now);
        assert_eq!(walk.next(now), Step::Wait(Duration::from_secs(seconds)));
        now = at(now, seconds);
        assert_eq!(walk.next(now), Step::Read(None));
    }
    took(&mut walk, page(&["a"], Some("2")), now);
    took(&mut walk, page(&["b"], Some("3")), now);
    assert_eq!(walk.failures(), 0, "further than ever");
    walk.failed(&failure(FailureKind::Timeout), now);
    assert_eq!(walk.next(now), Step::Wait(Duration::from_secs(1)));
}

#[test]
fn who_refuses_us_is_left_alone_for_as_long_as_the_breaker_would() {
    let now = Instant::now();
    let mut walk = Walk::new(RULES, Listing::Everybody, now);
    walk.failed(&failure(FailureKind::Forbidden), now);
    assert_eq!(walk.next(now), Step::Wait(RULES.refused_for));
}

#[test]
fn rows_that_come_twice_do_not_stand_for_those_that_did_not_come() {
    let now = Instant::now();
    let read = |names: &[&str]| {
        let promised = Page { promised: Some(3), ..page(names, None) };
        took(&mut Walk::new(RULES, Listing::Everybody, now), promised, now).unwrap()
    };
    assert!(read(&["a", "b", "c"]).is_complete());
    let table = read(&["a", "b", "b"]);
    assert!(table.is_cut() && table.find("c").is_none());
}

#[test]
fn a_list_that_has_no_end_is_given_up_and_begun_anew() {
    let start = Instant::now();
    let mut walk = Walk::new(RULES, Listing::Everybody, start);
    took(&mut walk, page(&["a"], Some("2")), start);
    took(&mut walk, page(&["b"], Some("3")), start);
    let error = walk.took(page(&["c"], Some("2")), start, Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(error.kind, FailureKind::MalformedResponse);
    assert_eq!(
        walk.next(at(start, 1)),
        Step::Wait(RULES.interval - Duration::from_secs(1)),
        "not again at once"
    );
    assert_eq!(walk.next(start + RULES.interval), Step::Read(None));
    let mut pages = 0;
    while walk.took(page(&["a"], Some(&pages.to_string())), start, Timestamp::UNIX_EPOCH).is_ok() {
        pages += 1;
    }
    assert_eq!(pages, MOST_BARREN, "pages that name nobody new");
}

#[test]
fn absence_says_something_only_where_the_whole_list_was_read() {
    let now = Instant::now();
    let read = |listing, rules, page| took(&mut Walk::new(rules, listing, now), page, now).unwrap();
    let everybody = read(Listing::Everybody, RULES, page(&["a"], None));
    assert!(everybody.is_complete() && !everybody.find("b").unwrap().is_known());
    assert!(read(Listing::Riskiest, RULES, page(&["a"], None)).find("b").is_none());
    let cut = Page { cut: true, ..page(&["a"], None) };
    assert!(read(Listing::Everybody, RULES, cut).find("b").is_none());
    let names: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let full = read(Listing::Everybody, Rules { capacity: 2000, ..RULES }, page(&names, Some("2")));
    assert!(full.is_full() && !full.is_complete() && full.find("b").is_none());
    assert!(full.bytes() <= 2000 && full.entities() > 3, "{full:?}");
    assert!(full.find("0").is_some());
}

#[test]
fn a_list_of_which_nothing_is_understood_is_no_table() {
    let now = Instant::now();
    let mut walk = Walk::new(RULES, Listing::Everybody, now);
    let bad = || Row { answer: Err(FailureKind::MalformedResponse), ..row("a") };
    let odd = Page { rows: vec![bad()], ..Page::default() };
    assert!(walk.took(odd, now, Timestamp::UNIX_EPOCH).is_err());
    let mixed = Page { rows: vec![bad(), row("b")], ..Page::default() };
    let table = took(&mut walk, mixed, at(now, 1)).unwrap();
    assert_eq!(table.find("a").unwrap().failure(), Some(FailureKind::MalformedResponse));
}

/// What a vendor does when it is asked for a page.
#[derive(Clone, Copy, Debug)]
enum Does {
    Gives,
    Fails,
    Refuses,
}

proptest! {
    /// Against a vendor whose list changes with every reading: a table is one reading's, whole, and pages come in their order.
    #[test]
    fn a_table_is_all_of_one_reading_whatever_happens_in_between(
        pages in 1usize..8,
        steps in prop::collection::vec(
            (prop_oneof![4 => Just(Does::Gives), 2 => Just(Does::Fails), 1 => Just(Does::Refuses)], 0u64..1200),
            1..200,
        ),
    ) {
        let start = Instant::now();
        let mut now = start;
        let mut walk = Walk::new(RULES, Listing::Everybody, now);
        let (mut reading, mut expected, mut begun) = (0, 0, None::<Instant>);
        let mut tables = 0;
        for (does, passes) in steps {
            let asked = match walk.next(now) {
                Step::Wait(pause) => {
                    prop_assert!(!pause.is_zero());
                    now += pause.min(Duration::from_secs(passes));
                    continue;
                }
                Step::Read(None) => 0,
                Step::Read(Some(cursor)) => cursor.parse::<usize>().unwrap(),
            };
            prop_assert!(asked == expected || asked == 0, "page {asked} instead of {expected}");
            match does {
                Does::Gives => {
                    if asked == 0 {
                        reading += 1;
                        begun = Some(now);
                    }
                    let name = format!("{reading}/{asked}");
                    let next = (asked + 1 < pages).then(|| (asked + 1).to_string());
                    expected = (asked + 1) % pages;
                    let last = next.is_none();
                    let table = walk.took(page(&[&name], next.as_deref()), now, Timestamp::UNIX_EPOCH).unwrap();
                    prop_assert_eq!(table.is_some(), last);
                    if let Some(table) = table {
                        tables += 1;
                        prop_assert_eq!(table.entities(), pages);
                        let absent = table.find("nobody").unwrap();
                        for number in 0..pages {
                            let entry = table.find(&format!("{reading}/{number}")).unwrap();
                            prop_assert!(entry.content() != absent.content(), "{} is not in it", number);
                            prop_assert!(entry.times().written() >= table.begun());
                        }
                        let due = begun.unwrap() + INTERVAL;
                        prop_assert!(due <= now || walk.next(now) == Step::Wait(due - now));
                    }
                }
                Does::Fails => {
                    walk.failed(&failure(FailureKind::Timeout), now);
                    prop_assert!(matches!(walk.next(now), Step::Wait(pause) if pause <= LONGEST_PAUSE));
                }
                Does::Refuses => {
                    walk.failed(&failure(FailureKind::BadRequest), now);
                    expected = 0;
                }
            }
            now += Duration::from_millis(passes);
        }
        prop_assert!(tables <= reading);
    }
}
