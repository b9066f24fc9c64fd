//! Brokers that die and come back under load: the only one there is, and one of three.

use std::time::{Duration, Instant};

use super::{
    Chaos, Crew, IN_FLIGHT, Load, Order, Progress, all_committed, check, in_each_mode, joined, more, pass,
    stop, wait,
};
use crate::harness::kafka::Stage;
use crate::harness::vendors::Vendors;
use crate::script::{Cluster, script};

in_each_mode!(
    a_broker_killed_and_brought_back_costs_nothing,
    a_broker_stopped_and_brought_back_costs_nothing,
    a_broker_that_is_away_for_a_minute_costs_nothing,
    a_broker_and_we_die_together_and_nothing_is_lost,
    each_of_three_brokers_killed_costs_nothing,
);

const RATE: usize = 1_000;

/// With half of the default session time-out to spare. Beyond it a member gives up its partitions, and what it has in
/// flight comes again.
const SESSION: Duration = Duration::from_secs(22);

fn a_broker_killed_and_brought_back_costs_nothing(chaos: &mut Chaos) {
    let times = chaos.size(1, 5);
    outages(chaos, &format!("broker kill -9 and back x {times}"), "kill", times, Duration::ZERO);
}

fn a_broker_stopped_and_brought_back_costs_nothing(chaos: &mut Chaos) {
    if !chaos.is_full() {
        return;
    }
    let times = 3;
    outages(chaos, &format!("broker SIGTERM and back x {times}"), "term", times, Duration::ZERO);
}

fn a_broker_that_is_away_for_a_minute_costs_nothing(chaos: &mut Chaos) {
    if !chaos.is_full() {
        return;
    }
    outages(chaos, "broker away for a minute", "kill", 1, Duration::from_secs(60));
}

/// Brings the broker back at the end, also of a test that fails.
struct Away;

impl Drop for Away {
    fn drop(&mut self) {
        script("up");
    }
}

fn outages(chaos: &mut Chaos, fault: &str, how: &str, times: usize, away: Duration) {
    let stage = chaos.stage();
    let vendors = Vendors::start(20);
    let crew = Crew::new(chaos, &stage, &vendors);
    let mut service = crew.start("outages");
    joined(&mut service);
    let mut progress = Progress::new(&stage);
    let (mut ahead, mut repeats) = (0, 0);
    let load = Load::new(&stage, 6_000, 1024).flow(&stage, RATE, || {
        for _ in 0..times {
            more(&mut progress, RATE, &mut service);
            chaos.random.pass(Duration::from_secs(2));
            let gone = (Away, Instant::now());
            script(how);
            pass(away);
            drop(gone.0);
            if gone.1.elapsed() > SESSION {
                repeats += IN_FLIGHT + RATE;
            }
            ahead += progress.committed(chaos.is_exact()).ahead;
        }
        more(&mut progress, RATE, &mut service);
    });
    all_committed(&stage, &mut [&mut service]);
    stop(service, "outages");
    let found = check::judge(&stage, &load, Order::Partition);
    chaos.row(fault, &found, ahead, repeats, "the process goes on");
}

/// Nobody is left who knows what was under way.
fn a_broker_and_we_die_together_and_nothing_is_lost(chaos: &mut Chaos) {
    let times = chaos.size(1, 5);
    let stage = chaos.stage();
    let vendors = Vendors::start(20);
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.is_static = true;
    let mut services = vec![crew.start("together")];
    joined(&mut services[0]);
    let mut progress = Progress::new(&stage);
    let mut ahead = 0;
    let load = Load::new(&stage, 6_000, 1024).flow(&stage, RATE, || {
        for _ in 0..times {
            more(&mut progress, RATE, &mut services[0]);
            chaos.random.pass(Duration::from_secs(2));
            let gone = Away;
            script("kill");
            services.remove(0).kill();
            services.push(crew.start("together"));
            // Longer than a transaction may take, mostly: the coordinator ends it as soon as it is back.
            chaos.random.pass(Duration::from_secs(15));
            drop(gone);
            more(&mut progress, RATE, &mut services[0]);
            ahead += progress.committed(chaos.is_exact()).ahead;
        }
    });
    all_committed(&stage, &mut services.iter_mut().collect::<Vec<_>>());
    stop(services.remove(0), "together");
    let found = check::judge(&stage, &load, Order::Partition);
    let fault = format!("broker and we kill -9, both back x {times}");
    chaos.row(&fault, &found, ahead, times * (IN_FLIGHT + RATE), "the successor waits for the broker");
}

fn each_of_three_brokers_killed_costs_nothing(chaos: &mut Chaos) {
    if !chaos.is_full() {
        return;
    }
    let cluster = Cluster::start(&[("KAFKA_NODES", "3")]);
    let nodes = 3;
    let stage = Stage::on(&cluster.brokers(), 12, crate::DEFAULT, crate::DEFAULT);
    let vendors = Vendors::start(20);
    let crew = Crew::new(chaos, &stage, &vendors);
    let mut service = crew.start("three");
    joined(&mut service);
    let mut progress = Progress::new(&stage);
    let mut ahead = 0;
    let first = chaos.random.below(3);
    let load = Load::new(&stage, 6_000, 1024).flow(&stage, RATE, || {
        for node in (first..).take(nodes).map(|node| node % 3 + 1) {
            more(&mut progress, RATE, &mut service);
            chaos.random.pass(Duration::from_secs(2));
            // It leads a third of each topic, and perhaps the group, the transactions, the cluster.
            cluster.run(&format!("kill {node}"));
            more(&mut progress, 2 * RATE, &mut service);
            cluster.run(&format!("up {node}"));
            wait("all replicas in step", super::BOUND, || stage.is_replicated());
            ahead += progress.committed(chaos.is_exact()).ahead;
        }
    });
    all_committed(&stage, &mut [&mut service]);
    stop(service, "three");
    let found = check::judge(&stage, &load, Order::Partition);
    chaos.row(
        &format!("kill -9 of {nodes} of three brokers, one by one"),
        &found,
        ahead,
        0,
        "the process goes on",
    );
}
