//! Members that join and leave under load.

use std::time::Duration;

use riskstream::simulator::Latency;

use super::{
    Chaos, Crew, Load, Order, Progress, all_committed, check, in_each_mode, joined, more, pass, stop,
};
use crate::harness::service::Service;
use crate::harness::vendors::Vendors;

in_each_mode!(
    members_join_and_leave_with_range,
    members_join_and_leave_with_order_by_key_and_misses_of_any_length,
    members_join_and_leave_with_cooperative_sticky,
    members_join_and_leave_with_the_brokers_protocol,
    members_come_and_go_every_second,
);

/// Every alert is a miss.
const NO_CACHE: &str =
    "cache: {ttl: {scored: 1ms, unknown: 1ms, failed: 1ms}, stale: 0s, jitter: 0, refresh_ahead: 1}\n";

fn members_join_and_leave_with_range(chaos: &mut Chaos) {
    join_and_leave(chaos, "range", Order::Partition, Latency::Fixed(100), 0);
}

fn members_join_and_leave_with_order_by_key_and_misses_of_any_length(chaos: &mut Chaos) {
    join_and_leave(chaos, "range, order: key", Order::Key, Latency::Between(1, 2000), 0);
}

/// Its last commit before a partition moves can be refused: what was published since the one before comes again.
fn members_join_and_leave_with_cooperative_sticky(chaos: &mut Chaos) {
    join_and_leave(chaos, "cooperative-sticky", Order::Partition, Latency::Fixed(100), COMMITS);
}

/// As above.
fn members_join_and_leave_with_the_brokers_protocol(chaos: &mut Chaos) {
    join_and_leave(chaos, "group.protocol: consumer", Order::Partition, Latency::Fixed(100), COMMITS);
}

/// Alerts a second.
const RATE: usize = 500;

/// What may be published between two commits and a rebalance in which the later one is refused.
const COMMITS: usize = 3 * RATE;

/// Five processes join one that works, two leave. `repeats` is how many repetitions each of these may cost.
fn join_and_leave(chaos: &mut Chaos, what: &str, order: Order, latency: Latency, repeats: usize) {
    let (joins, leaves) = chaos.size((2, 1), (5, 2));
    let stage = chaos.stage();
    let vendors = Vendors::start(0);
    vendors.world.set_latency(latency);
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.rest += NO_CACHE;
    let by_key = order == Order::Key;
    crew.consumer = match what {
        "group.protocol: consumer" => vec![what.to_owned()],
        "cooperative-sticky" => vec![format!("partition.assignment.strategy: {what}")],
        _ => Vec::new(),
    };
    if by_key {
        crew.pipeline += ", order: key";
    }
    // With few keys each has several alerts under way.
    let entities = if by_key { 600 } else { 12_000 };
    let mut progress = Progress::new(&stage);
    let mut ahead = 0;
    let mut services: Vec<Service> = Vec::new();
    let load = Load::new(&stage, entities, 1024).flow(&stage, RATE, || {
        for number in 0..=joins {
            services.push(crew.start(&format!("member-{number}")));
            joined(services.last_mut().unwrap());
            more(&mut progress, RATE, services.last_mut().unwrap());
            chaos.random.pass(Duration::from_secs(1));
            ahead += progress.committed(chaos.is_exact()).ahead;
        }
        for number in 0..leaves {
            let leaver = chaos.random.below(services.len() as u64) as usize;
            stop(services.swap_remove(leaver), &format!("left-{number}"));
            more(&mut progress, RATE, services.last_mut().unwrap());
            ahead += progress.committed(chaos.is_exact()).ahead;
        }
    });
    all_committed(&stage, &mut services.iter_mut().collect::<Vec<_>>());
    for (number, service) in services.into_iter().enumerate() {
        stop(service, &format!("stayed-{number}"));
    }
    let found = check::judge(&stage, &load, order);
    let fault = format!("{joins} joins, {leaves} leaves, {what}");
    let misses = match latency {
        Latency::Fixed(millis) => format!("misses of {millis} ms"),
        Latency::Between(low, high) => format!("misses of {low} to {high} ms"),
    };
    chaos.row(&fault, &found, ahead, repeats * (joins + leaves), &misses);
}

fn members_come_and_go_every_second(chaos: &mut Chaos) {
    if !chaos.is_full() {
        return;
    }
    let rounds = 60;
    let stage = chaos.stage();
    let vendors = Vendors::start(100);
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.rest += NO_CACHE;
    let mut progress = Progress::new(&stage);
    let mut ahead = 0;
    let mut services = vec![crew.start("member-0")];
    joined(&mut services[0]);
    let load = Load::new(&stage, 12_000, 1024).flow(&stage, RATE, || {
        for round in 1..=rounds {
            services.push(crew.start(&format!("member-{round}")));
            pass(Duration::from_secs(1));
            if services.len() > 2 || chaos.random.below(2) == 0 {
                let leaver = chaos.random.below(services.len() as u64 - 1) as usize;
                stop(services.remove(leaver), "came-and-went");
            }
            ahead += progress.committed(chaos.is_exact()).ahead;
        }
    });
    all_committed(&stage, &mut services.iter_mut().collect::<Vec<_>>());
    for service in services {
        stop(service, "stayed");
    }
    let found = check::judge(&stage, &load, Order::Partition);
    chaos.row(&format!("a member comes or goes every second, {rounds} x"), &found, ahead, 0, "range");
}
