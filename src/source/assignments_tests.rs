//! Tests of the assignments: single cases, and the whole against a model that forgets nothing.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

#[test]
fn a_completion_of_an_older_assignment_changes_nothing() {
    let mut all = Assignments::default();
    all.assign(0, 3);
    let index = all.find(0, 3).unwrap();
    let old = all.get_mut(index).unwrap().charge(10).unwrap();
    let old_epoch = all.get(index).unwrap().epoch;
    all.forget(0, 3);
    all.assign(0, 3);
    let new = all.get_mut(index).unwrap().charge(10).unwrap();
    all.get_mut(index).unwrap().complete(old_epoch, old).unwrap();
    assert_eq!((all.open(0, 3), all.frontiers().count()), (1, 0));
    let epoch = all.get(index).unwrap().epoch;
    all.get_mut(index).unwrap().complete(epoch, new).unwrap();
    assert_eq!(all.frontiers().collect::<Vec<_>>(), [(0, 3, 11)]);
    all.stored();
    assert_eq!(all.frontiers().count(), 0);
}

#[test]
fn a_partition_that_is_not_ours_has_no_frontier() {
    let mut all = Assignments::default();
    all.assign(1, 0);
    let index = all.find(1, 0).unwrap();
    let assignment = all.get_mut(index).unwrap();
    let charge = assignment.charge(0).unwrap();
    assignment.complete(1, charge).unwrap();
    all.forget(1, 0);
    assert_eq!(all.frontiers().count(), 0);
    assert_eq!(all.ours().count(), 0);
}

/// A partition, as a small number: topics of three partitions each.
type Place = usize;

const PLACES: usize = 6;

fn at(place: Place) -> (usize, i32) {
    (place / 3, (place % 3) as i32)
}

/// What may happen to a lane's partitions.
#[derive(Clone, Debug)]
enum Step {
    /// It becomes ours and is read from this offset: the committed one, or wherever somebody moved it to.
    Assign(Place, i64),
    /// It is revoked or lost. That differs in whether what is done is stored before.
    Forget { place: Place, revoked: bool },
    /// Its next alert, this far above the last one: compaction and transaction markers leave gaps.
    Take(Place, i64),
    /// One that is under way is done, of whatever assignment.
    Done(Index),
    /// A word about one that is done comes a second time.
    Again(Index),
    /// Frontiers are stored.
    Store,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = 0..PLACES;
    let offset = prop_oneof![Just(0i64), 0i64..500, Just(1 << 40)];
    let gap = prop_oneof![4 => Just(1i64), 1 => 2i64..4, 1 => Just(1000)];
    let step = prop_oneof![
        2 => (place.clone(), offset).prop_map(|(place, offset)| Step::Assign(place, offset)),
        2 => (place.clone(), any::<bool>()).prop_map(|(place, revoked)| Step::Forget { place, revoked }),
        12 => (place, gap).prop_map(|(place, gap)| Step::Take(place, gap)),
        12 => any::<Index>().prop_map(Step::Done),
        1 => any::<Index>().prop_map(Step::Again),
        2 => Just(Step::Store),
    ];
    prop::collection::vec(step, 1..200)
}

/// One assignment as the model remembers it: every offset taken, and whether it is done.
#[derive(Debug, Default)]
struct Epoch {
    taken: BTreeMap<i64, bool>,
    next: i64,
    stored: Option<i64>,
    /// The frontier when it was last looked at.
    seen: Option<i64>,
}

impl Epoch {
    fn frontier(&self) -> Option<i64> {
        self.taken.iter().take_while(|(_, done)| **done).last().map(|(offset, _)| offset + 1)
    }

    fn open(&self) -> impl Iterator<Item = i64> {
        self.taken.iter().filter(|(_, done)| !**done).map(|(offset, _)| *offset)
    }

    /// Alerts from the oldest that is not done on.
    fn span(&self) -> impl Iterator<Item = i64> {
        self.taken.iter().skip_while(|(_, done)| **done).map(|(offset, _)| *offset)
    }
}

/// An alert under way, or one that is done.
#[derive(Clone, Copy, Debug)]
struct Ticket {
    place: Place,
    epoch: u64,
    charge: Charge,
    offset: i64,
}

#[derive(Default)]
struct World {
    all: Assignments,
    /// What is ours, with the number of the assignment.
    ours: BTreeMap<Place, (u64, Epoch)>,
    /// Numbers of assignments that were given out.
    numbers: BTreeSet<(Place, u64)>,
    under_way: Vec<Ticket>,
    done: Vec<Ticket>,
}

impl World {
    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Assign(place, offset) => {
                let (topic, partition) = at(*place);
                self.all.assign(topic, partition);
                let number = self.assignment(*place).epoch;
                prop_assert!(self.numbers.insert((*place, number)), "an epoch came back");
                self.ours.insert(*place, (number, Epoch { next: *offset, ..Epoch::default() }));
            }
            Step::Forget { place, revoked } => {
                if *revoked {
                    self.store()?;
                }
                let (topic, partition) = at(*place);
                self.all.forget(topic, partition);
                self.ours.remove(place);
            }
            Step::Take(place, gap) => {
                let Some((number, epoch)) = self.ours.get_mut(place) else { return Ok(()) };
                let (number, offset) = (*number, epoch.next);
                epoch.taken.insert(offset, false);
                epoch.next += gap;
                let charge = self.assignment(*place).charge(offset).unwrap();
                self.under_way.push(Ticket { place: *place, epoch: number, charge, offset });
            }
            Step::Done(_) if self.under_way.is_empty() => {}
            Step::Done(pick) => self.end(pick.index(self.under_way.len()))?,
            Step::Again(pick) => {
                if self.done.is_empty() {
                    return Ok(());
                }
                let ticket = self.done[pick.index(self.done.len())];
                let current = self.ours.get(&ticket.place).is_some_and(|(number, _)| *number == ticket.epoch);
                let expected = if current { Err(LedgerError::NotOpen) } else { Ok(()) };
                prop_assert_eq!(
                    self.assignment(ticket.place).complete(ticket.epoch, ticket.charge),
                    expected
                );
            }
            Step::Store => self.store()?,
        }
        Ok(())
    }

    /// One of those under way is done.
    fn end(&mut self, index: usize) -> Result<(), TestCaseError> {
        let ticket = self.under_way.swap_remove(index);
        prop_assert_eq!(self.assignment(ticket.place).complete(ticket.epoch, ticket.charge), Ok(()));
        if let Some((number, epoch)) = self.ours.get_mut(&ticket.place)
            && *number == ticket.epoch
        {
            epoch.taken.insert(ticket.offset, true);
        }
        self.done.push(ticket);
        Ok(())
    }

    fn assignment(&mut self, place: Place) -> &mut Assignment {
        let (topic, partition) = at(place);
        let index = self.all.find(topic, partition).unwrap();
        self.all.get_mut(index).unwrap()
    }

    /// Frontiers as a lane hands them to librdkafka.
    fn frontiers(&self) -> BTreeMap<(usize, i32), i64> {
        self.all.frontiers().map(|(topic, partition, offset)| ((topic, partition), offset)).collect()
    }

    fn store(&mut self) -> Result<(), TestCaseError> {
        let frontiers = self.frontiers();
        self.all.stored();
        for (place, (_, epoch)) in &mut self.ours {
            if let Some(offset) = frontiers.get(&at(*place)) {
                prop_assert!(Some(*offset) > epoch.stored, "stored {offset} after {:?}", epoch.stored);
                epoch.stored = Some(*offset);
            }
        }
        prop_assert_eq!(self.frontiers().len(), 0, "what is stored is not offered again");
        Ok(())
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let frontiers = self.frontiers();
        let ours: BTreeSet<_> = self.all.ours().collect();
        prop_assert_eq!(&ours, &self.ours.keys().map(|place| at(*place)).collect());
        prop_assert!(frontiers.keys().all(|place| ours.contains(place)), "not ours");
        prop_assert_eq!(
            self.all.longest(),
            self.ours.values().map(|(_, epoch)| epoch.span().count()).max().unwrap_or(0)
        );
        for place in 0..PLACES {
            let (topic, partition) = at(place);
            let index = self.all.find(topic, partition);
            let Some((number, epoch)) = self.ours.get_mut(&place) else {
                prop_assert_eq!(self.all.open(topic, partition), 0);
                prop_assert!(index.is_none_or(|index| (0..99).all(|epoch| !self.all.counts(index, epoch))));
                continue;
            };
            let index = index.unwrap();
            let counting = (0..99).filter(|epoch| self.all.counts(index, *epoch));
            prop_assert_eq!(counting.collect::<Vec<_>>(), [*number]);
            prop_assert_eq!(self.all.open(topic, partition), epoch.open().count());
            let offered = frontiers.get(&(topic, partition)).copied();
            let frontier = offered.or(epoch.stored);
            prop_assert_eq!(frontier, epoch.frontier());
            prop_assert_eq!(offered, epoch.frontier().filter(|_| epoch.frontier() != epoch.stored));
            prop_assert!(
                epoch.open().all(|open| frontier.is_none_or(|frontier| frontier <= open)),
                "passed an open one"
            );
            prop_assert!(frontier >= epoch.seen, "moved back");
            let assignment = self.all.get(index).unwrap();
            prop_assert_eq!(assignment.oldest(), epoch.open().next());
            // A transaction of the oldest alerts ends where the last of them does, and of no others.
            let span: Vec<i64> = epoch.span().collect();
            for (position, sent) in span.iter().enumerate() {
                prop_assert_eq!(assignment.frontier_after(position + 1, *sent), Ok(sent + 1));
                prop_assert!(assignment.frontier_after(position, *sent).is_err());
                prop_assert!(assignment.frontier_after(position + 2, *sent).is_err());
            }
            epoch.seen = frontier;
            if epoch.open().next().is_none() {
                prop_assert_eq!(frontier, epoch.taken.keys().last().map(|last| last + 1), "all is done");
            }
        }
        Ok(())
    }
}

proptest! {
    /// Partitions come, go and come back elsewhere while alerts end in any order and frontiers are stored at any
    /// moment.
    #[test]
    fn what_may_be_committed_is_what_a_model_of_all_assignments_says(steps in steps()) {
        let mut world = World::default();
        for step in &steps {
            world.run(step)?;
            world.check()?;
        }
        // Whatever is still under way ends, of assignments that are gone too.
        while !world.under_way.is_empty() {
            world.end(0)?;
            world.check()?;
        }
        for (_, epoch) in world.ours.values() {
            prop_assert_eq!(epoch.frontier(), epoch.taken.keys().last().map(|last| last + 1));
        }
    }
}
