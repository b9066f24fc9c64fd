//! kill -9 at random moments.

use std::time::Duration;

use super::{Chaos, Crew, IN_FLIGHT, Load, Order, Progress, all_committed, check, in_each_mode, out, stop};
use crate::harness::vendors::Vendors;

in_each_mode!(kills_at_random_moments_lose_nothing_and_repeat_only_what_was_not_committed);

/// Most kills come after so many alerts, some shortly after a start: while it joins, or takes its first alerts.
fn kills_at_random_moments_lose_nothing_and_repeat_only_what_was_not_committed(chaos: &mut Chaos) {
    let (alerts, kills) = chaos.size((60_000, 3), (500_000, 20));
    let stage = chaos.stage();
    let vendors = Vendors::start(50);
    let load = Load::new(&stage, 12_000, 1024).write(&stage, alerts);
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.is_static = true;
    // Below nine tenths, so that the last one comes in time.
    let mut moments: Vec<usize> =
        (0..kills).map(|_| chaos.random.below(alerts as u64 * 9 / 10) as usize).collect();
    moments.sort_unstable();
    let mut progress = Progress::new(&stage);
    let (mut ahead, mut beyond, mut largest, mut midway) = (0, 0, 0, 0);
    let mut service = crew.start("kills");
    for moment in moments {
        if chaos.random.below(4) > 0 {
            out(&mut progress, moment, &mut service);
        }
        chaos.random.pass(Duration::from_millis(1500));
        service.kill();
        if chaos.is_exact() {
            // What it left open ends when its successor comes, not before.
            service = crew.start("kills");
            ahead += progress.committed(true).ahead;
        } else {
            let standing = progress.committed(false);
            ahead += standing.ahead;
            beyond += standing.beyond;
            largest = largest.max(standing.beyond);
            service = crew.start("kills");
        }
        midway += usize::from(progress.distinct() < alerts);
    }
    all_committed(&stage, &mut [&mut service]);
    stop(service, "kills");
    let found = check::judge(&stage, &load, Order::Partition);
    let note =
        format!("{midway} kills midway; {beyond} out and not committed then, {largest} at most at one kill");
    // What the last requests of a dead process carry may arrive after it was looked at.
    chaos.row(&format!("kill -9 x {kills}"), &found, ahead, beyond + kills * IN_FLIGHT, &note);
    assert!(midway * 2 > kills, "most kills came too late to show anything");
}
