//! Processes that were taken for dead and wake up, and two that claim one name.

use std::time::{Duration, Instant};

use super::{
    BOUND, Chaos, Crew, IN_FLIGHT, Load, Mode, Order, Progress, all_committed, check, in_each_mode, joined,
    more, run, stop, wait,
};
use crate::harness::freeze::Frozen;
use crate::harness::kafka::Stage;
use crate::harness::service::Service;
use crate::harness::until;
use crate::harness::vendors::Vendors;

in_each_mode!(
    a_process_that_wakes_after_others_took_its_partitions_commits_nothing,
    a_lane_that_does_not_poll_for_too_long_commits_nothing,
);

const RATE: usize = 500;

/// SIGSTOP for longer than the session, and SIGCONT.
fn a_process_that_wakes_after_others_took_its_partitions_commits_nothing(chaos: &mut Chaos) {
    let consumer = ["session.timeout.ms: 6000", "heartbeat.interval.ms: 1000"];
    let times = chaos.size(1, 5);
    let fault = format!("SIGSTOP past the session, SIGCONT x {times}");
    zombies(chaos, &fault, &consumer, times, |zombie, heir| {
        zombie.signal("STOP");
        heir.assigned(12);
        Waking(Box::new(|zombie: &mut Service| zombie.signal("CONT")))
    });
}

/// The lane's thread stands still while librdkafka's own threads still say that we are alive.
fn a_lane_that_does_not_poll_for_too_long_commits_nothing(chaos: &mut Chaos) {
    if !chaos.is_full() {
        return;
    }
    let consumer = ["session.timeout.ms: 6000", "heartbeat.interval.ms: 1000", "max.poll.interval.ms: 12000"];
    let times = 3;
    let fault = format!("max.poll.interval.ms exceeded x {times}");
    zombies(chaos, &fault, &consumer, times, |zombie, heir| {
        // Caught inside of a poll it would pass for one that has nothing to do, also while that works.
        let (frozen, _) = until("the lane is taken for dead", BOUND, || {
            let frozen = Frozen::working(zombie.pid(), "lane-0");
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(25) {
                if heir.metric("riskstream_assigned_partitions") == Some(12.0) {
                    return Some(frozen);
                }
                std::thread::park_timeout(Duration::from_millis(50));
            }
            None
        });
        Waking(Box::new(move |_: &mut Service| drop(frozen)))
    });
}

/// What brings a zombie back.
struct Waking(Box<dyn FnOnce(&mut Service)>);

/// Lets one of two processes lose its partitions to the other by `sleep`, wake, and look at what it does.
fn zombies(
    chaos: &mut Chaos,
    fault: &str,
    consumer: &[&str],
    times: usize,
    sleep: impl Fn(&mut Service, &mut Service) -> Waking,
) {
    let stage = chaos.stage();
    let vendors = Vendors::start(100);
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.pipeline = format!("in_flight: {IN_FLIGHT}, deadline: 5s, drain: 10s");
    crew.consumer = consumer.iter().map(|property| (*property).to_owned()).collect();
    let mut progress = Progress::new(&stage);
    let (mut ahead, mut backwards) = (0, 0);
    let mut services = vec![crew.start("one"), crew.start("two")];
    let load = Load::new(&stage, 12_000, 1024).flow(&stage, RATE, || {
        for number in 0..times {
            services.iter_mut().for_each(joined);
            let sleeper = (number + chaos.random.below(2) as usize) % 2;
            let mut zombie = services.remove(sleeper);
            let heir = &mut services[0];
            more(&mut progress, RATE, heir);
            chaos.random.pass(Duration::from_secs(1));
            let waking = sleep(&mut zombie, heir);
            more(&mut progress, 3 * RATE, heir);
            let before = stage.committed();
            (waking.0)(&mut zombie);
            backwards += watch(&stage, before, &mut zombie);
            ahead += progress.committed(chaos.is_exact()).ahead;
            services.insert(sleeper, zombie);
        }
    });
    all_committed(&stage, &mut services.iter_mut().collect::<Vec<_>>());
    for (number, service) in services.into_iter().enumerate() {
        stop(service, &format!("zombie-{number}"));
    }
    let found = check::judge(&stage, &load, Order::Partition);
    let note = format!("{backwards} commits went back");
    chaos.row(fault, &found, ahead, 2 * IN_FLIGHT * times, &note);
    assert_eq!(backwards, 0, "a zombie committed its late work");
}

/// Looks at the committed offsets until the zombie is a member again; how often one went back.
fn watch(stage: &Stage, mut committed: std::collections::BTreeMap<i32, i64>, zombie: &mut Service) -> usize {
    let mut backwards = 0;
    wait("the zombie joins again", BOUND, || {
        assert!(!zombie.has_ended(), "it ended:\n{}", zombie.log());
        // Asked before the offsets: so one look is after its return.
        let is_back = zombie.metric("riskstream_assigned_partitions") == Some(6.0);
        for (partition, offset) in stage.committed() {
            let before = committed.insert(partition, offset).unwrap_or(offset);
            backwards += usize::from(offset < before);
        }
        is_back
    });
    backwards
}

/// The second one fences the first, which is told once that it was fenced and ends when it is fenced again.
fn two_processes_of_one_name_fence_each_other_until_one_ends(chaos: &mut Chaos) {
    let stage = chaos.stage();
    let vendors = Vendors::start(20);
    let crew = Crew::new(chaos, &stage, &vendors);
    let mut progress = Progress::new(&stage);
    let mut ahead = 0;
    let mut twins = vec![crew.start("twin")];
    joined(&mut twins[0]);
    let mut ended = String::new();
    let load = Load::new(&stage, 12_000, 1024).flow(&stage, RATE, || {
        more(&mut progress, RATE, &mut twins[0]);
        twins.push(crew.start("twin"));
        wait("one of two ends", BOUND, || twins.iter_mut().any(Service::has_ended));
        for mut twin in std::mem::take(&mut twins) {
            if twin.has_ended() {
                let end = twin.ended(BOUND);
                assert_eq!(end.code, Some(1), "{}", end.log);
                ended += &end.log;
            } else {
                twins.push(twin);
            }
        }
        // When both ended, whoever watches them starts one again.
        if twins.is_empty() {
            twins.push(crew.start("twin"));
        }
        more(&mut progress, 2 * RATE, &mut twins[0]);
        ahead += progress.committed(true).ahead;
    });
    assert!(ended.contains("twin"), "the error names the name:\n{ended}");
    all_committed(&stage, &mut twins.iter_mut().collect::<Vec<_>>());
    stop(twins.remove(0), "twin");
    let found = check::judge(&stage, &load, Order::Partition);
    chaos.row("two processes with one transactional id", &found, ahead, 0, "one ends with an error");
}

/// There are no names to share in the other mode.
mod exactly_once_only {
    #[test]
    fn two_processes_of_one_name_fence_each_other_until_one_ends() {
        let name = "two_processes_of_one_name_fence_each_other_until_one_ends";
        super::run(
            super::Mode::ExactlyOnce,
            name,
            super::two_processes_of_one_name_fence_each_other_until_one_ends,
        );
    }
}
