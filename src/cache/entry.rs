//! One answer as the cache keeps it: the question, what it brought, and when to ask again.
//!
//! Owns the layout. There are millions of entries, and one that was not read for a while is in no processor's cache, so
//! everything of one stands in one piece of memory, what every hit reads at its front: the count of holders, a head of 48
//! bytes, the identifier, the text. Contract: whoever holds an entry shares it and can only read it, but for when the
//! next refresh may start. Takes `now`; never looks at a clock.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use triomphe::ThinArc;

use super::key::{ProviderId, Question};
use super::ttl::{Moment, Times};
use crate::compose::{Gist, RenderedRef};
use crate::entity::EntityKind;
use crate::provider::FailureKind;

/// One answer, or a failure that is remembered; another holder of it is one count more.
#[derive(Clone)]
pub struct Entry(ThinArc<Head, u8>);

/// What stands before the identifier and the text.
struct Head {
    times: Times,
    /// Seconds from when it was written before which no refresh is to start; [`UNDER_WAY`] while one is.
    not_before: AtomicU32,
    /// Bytes of the identifier.
    id: u32,
    provider: ProviderId,
    kind: EntityKind,
    said: Said,
}

enum Said {
    Answer(Gist),
    Failure(FailureKind),
}

/// Bytes of an entry before its identifier: its head, the count of its holders, and its length.
const BEFORE: usize = size_of::<Head>() + 2 * size_of::<usize>();

/// A refresh is under way.
const UNDER_WAY: u32 = u32::MAX;

/// What a question brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content<'a> {
    /// An answer, rendered.
    Answer(RenderedRef<'a>),
    /// None, and why.
    Failure(FailureKind),
}

impl Entry {
    /// What `question` brought, to be asked again at `times`.
    pub fn new(question: &Question<'_>, content: Content<'_>, times: Times) -> Self {
        let (said, text) = match content {
            Content::Answer(answer) => (Said::Answer(answer.gist()), answer.text()),
            Content::Failure(kind) => (Said::Failure(kind), &[][..]),
        };
        let head = Head {
            times,
            not_before: AtomicU32::new(0),
            // One that is longer than any alert can be would be found by nobody.
            id: u32::try_from(question.id.len()).unwrap_or(u32::MAX),
            provider: question.provider,
            kind: question.kind,
            said,
        };
        Entry(ThinArc::from_header_and_slice(head, &[question.id.as_bytes(), text].concat()))
    }

    /// When it is to be asked again.
    pub fn times(&self) -> Times {
        self.head().times
    }

    /// What was answered.
    pub fn content(&self) -> Content<'_> {
        match &self.head().said {
            Said::Answer(gist) => {
                let text = self.0.slice.get(self.head().id as usize..).unwrap_or_default();
                Content::Answer(RenderedRef::new(text, gist))
            }
            Said::Failure(kind) => Content::Failure(*kind),
        }
    }

    /// Why there is no answer, where there is none.
    pub fn failure(&self) -> Option<FailureKind> {
        match self.head().said {
            Said::Answer(_) => None,
            Said::Failure(kind) => Some(kind),
        }
    }

    /// Whether the vendor knows the entity.
    pub fn is_known(&self) -> bool {
        matches!(self.head().said, Said::Answer(gist) if !gist.is_unknown())
    }

    /// Whether this is what `question` brought.
    pub fn is_about(&self, question: &Question<'_>) -> bool {
        let head = self.head();
        let id = self.0.slice.get(..head.id as usize);
        head.provider == question.provider && head.kind == question.kind && id == Some(question.id.as_bytes())
    }

    /// Bytes that it asks the allocator for.
    pub fn bytes(&self) -> usize {
        (BEFORE + self.0.slice.len()).next_multiple_of(size_of::<usize>())
    }

    /// Whether the caller is to refresh it: one of all who find it ageing, and after a refresh that failed nobody
    /// for a while.
    pub fn claim_refresh(&self, now: Instant) -> bool {
        let age = self.seconds(now.into());
        let claim = |not_before| (not_before <= age).then_some(UNDER_WAY);
        self.head().not_before.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).is_ok()
    }

    /// Its refresh failed: the next one may start at `at`, to the second above.
    pub fn put_off_refresh(&self, at: Moment) {
        self.head().not_before.store((self.seconds(at) + 1).min(UNDER_WAY - 1), Ordering::Relaxed);
    }

    fn seconds(&self, at: Moment) -> u32 {
        let age = at.since(self.times().written()).as_secs();
        u32::try_from(age).unwrap_or(UNDER_WAY).min(UNDER_WAY - 1)
    }

    fn head(&self) -> &Head {
        &self.0.header.header
    }

    /// Whether both are the same one, not only equal.
    #[cfg(test)]
    pub(super) fn is(&self, other: &Entry) -> bool {
        self.0.heap_ptr() == other.0.heap_ptr()
    }
}

/// Without the identifier and the text, which attackers and vendors wrote.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Entry");
        out.field("provider", &self.head().provider).field("times", &self.times());
        match self.head().said {
            Said::Answer(gist) => out.field("answer", &gist),
            Said::Failure(kind) => out.field("failure", &kind),
        };
        out.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::compose::Rendered;
    use crate::provider::Answer;

    fn times(now: Instant) -> Times {
        let [refresh, fresh, stale] = [80, 100, 150].map(Duration::from_secs);
        Times::new(now, refresh, fresh, stale)
    }

    #[test]
    fn an_entry_is_64_bytes_and_what_it_is_about() {
        assert_eq!((size_of::<Entry>(), BEFORE), (8, 64), "what the cache can hold depends on it");
    }

    #[test]
    fn an_entry_gives_back_what_was_put_into_it_and_knows_its_question() {
        let answer = Rendered::of(&Answer::Unknown { detail: Some("no_level") }, Timestamp::UNIX_EPOCH);
        let now = Instant::now();
        for id in ["", "a", "jörg@example.com"] {
            let question = Question::new(ProviderId(7), EntityKind::User, id);
            for content in [Content::Answer(answer.get()), Content::Failure(FailureKind::Timeout)] {
                let entry = Entry::new(&question, content, times(now));
                assert_eq!((entry.content(), entry.times()), (content, times(now)));
                assert!(entry.is_about(&question) && !entry.is_known());
                let longer = format!("{id}\"");
                for (provider, kind, id) in [
                    (6, EntityKind::User, id),
                    (7, EntityKind::Host, id),
                    (7, EntityKind::User, longer.as_str()),
                ] {
                    assert!(!entry.is_about(&Question::new(ProviderId(provider), kind, id)));
                }
            }
        }
    }

    #[test]
    fn one_reader_refreshes_and_after_a_failure_nobody_for_a_while() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let question = Question::new(ProviderId(0), EntityKind::User, "a");
        let entry = Entry::new(&question, Content::Failure(FailureKind::Timeout), times(now));
        assert!(entry.claim_refresh(at(80)));
        assert!(!entry.claim_refresh(at(80)) && !entry.claim_refresh(at(140)), "one is under way");
        entry.put_off_refresh(at(90).into());
        assert!(!entry.claim_refresh(at(90)));
        assert!(entry.claim_refresh(at(91)) && !entry.claim_refresh(at(91)));
    }

    #[test]
    fn debug_output_holds_no_identifier() {
        let question = Question::new(ProviderId(0), EntityKind::User, "somebody");
        let entry = Entry::new(&question, Content::Failure(FailureKind::Timeout), times(Instant::now()));
        let text = format!("{entry:?}");
        assert!(text.contains("Timeout") && !text.contains("somebody"), "{text}");
    }
}
