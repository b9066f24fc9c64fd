//! Answers that are lost after the broker has done what it was asked: whoever asked cannot know, and asks again.

use std::time::Duration;

use super::{
    BOUND, Chaos, Crew, Load, Order, Progress, all_committed, check, in_each_mode, joined, more, pass, stop,
    wait,
};
use crate::harness::alerts;
use crate::harness::proxy::{
    ADD_OFFSETS_TO_TXN, ADD_PARTITIONS_TO_TXN, Api, END_TXN, OFFSET_COMMIT, PRODUCE, Proxy, TXN_OFFSET_COMMIT,
};
use crate::harness::service::Service;
use crate::harness::vendors::Vendors;

in_each_mode!(
    an_answer_that_is_lost_is_neither_lost_nor_repeated_work,
    an_answer_that_is_lost_before_a_long_silence_is_neither_lost_nor_repeated_work,
    where_a_new_group_starts_is_not_committed_after_its_first_alerts,
);

const RATE: usize = 1_000;

/// Which requests there are.
fn requests(chaos: &Chaos) -> Vec<(&'static str, Api)> {
    if chaos.is_exact() {
        vec![
            ("Produce", PRODUCE),
            ("AddPartitionsToTxn", ADD_PARTITIONS_TO_TXN),
            ("AddOffsetsToTxn", ADD_OFFSETS_TO_TXN),
            ("TxnOffsetCommit", TXN_OFFSET_COMMIT),
            ("EndTxn", END_TXN),
        ]
    } else {
        vec![("Produce", PRODUCE), ("OffsetCommit", OFFSET_COMMIT)]
    }
}

fn proxy() -> Proxy {
    let [listen, target] = ["KAFKA_PROXY", "KAFKA_PROXIED"].map(|name| std::env::var(name).expect(name));
    Proxy::start(&listen, &target)
}

fn an_answer_that_is_lost_is_neither_lost_nor_repeated_work(chaos: &mut Chaos) {
    for (name, api) in requests(chaos) {
        // Offsets are committed once a second, other requests many times.
        let (passing, times) =
            if api == OFFSET_COMMIT { (1, chaos.size(2, 10)) } else { (7, chaos.size(5, 50)) };
        let fault = format!("answers of {name} lost x {times}");
        lost(chaos, &fault, api, |proxy, chaos| {
            proxy.lose(api, chaos.random.below(5) + passing, times);
            wait("the answers are lost", BOUND, || proxy.lost(api) == times);
        });
    }
}

/// The silence is longer than a transaction may take: its outcome is decided without us.
fn an_answer_that_is_lost_before_a_long_silence_is_neither_lost_nor_repeated_work(chaos: &mut Chaos) {
    if !chaos.is_full() {
        return;
    }
    for (name, api) in requests(chaos) {
        let fault = format!("answer of {name} lost, then 20 s of silence");
        lost(chaos, &fault, api, |proxy, chaos| {
            proxy.lose_and_close(api, chaos.random.below(5));
            wait("an answer is lost", BOUND, || proxy.lost(api) == 1);
            pass(Duration::from_secs(20));
            proxy.refuse(false);
        });
    }
}

fn lost(chaos: &mut Chaos, fault: &str, api: Api, lose: impl FnOnce(&Proxy, &mut Chaos)) {
    let proxy = proxy();
    let stage = chaos.stage();
    let vendors = Vendors::start(20);
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.brokers = Some(proxy.address.to_string());
    crew.is_static = true;
    let mut service = crew.start("lost");
    joined(&mut service);
    let mut progress = Progress::new(&stage);
    let mut ahead = 0;
    let load = Load::new(&stage, 6_000, 1024).flow(&stage, RATE, || {
        more(&mut progress, RATE, &mut service);
        lose(&proxy, chaos);
        more(&mut progress, 2 * RATE, &mut service);
        ahead += progress.committed(chaos.is_exact()).ahead;
    });
    all_committed(&stage, &mut [&mut service]);
    stop(service, "lost");
    let found = check::judge(&stage, &load, Order::Partition);
    let note = format!("{} answers lost, {} passed", proxy.lost(api), proxy.passed(api));
    chaos.row(fault, &found, ahead, 0, &note);
}

/// The first transaction commits where partitions start at their end, and the first alerts of some: whether it counts is
/// asked.
fn where_a_new_group_starts_is_not_committed_after_its_first_alerts(chaos: &mut Chaos) {
    if !chaos.is_exact() {
        return;
    }
    let proxy = proxy();
    let stage = chaos.stage();
    let vendors = Vendors::start(0);
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.brokers = Some(proxy.address.to_string());
    let settings = crew.settings("starts").replace("input: {", "input: {offset_reset: latest, ");
    proxy.lose_and_close(END_TXN, 0);
    let mut service = Service::start(&settings);
    let mut number = 0;
    wait("an answer is lost", BOUND, || {
        stage.produce((number..number + 12).map(|n| alerts::mixed(n, 12, 12)).collect());
        number += 12;
        proxy.lost(END_TXN) == 1
    });
    pass(Duration::from_secs(8));
    proxy.refuse(false);
    all_committed(&stage, &mut [&mut service]);
    // A transaction later it still is.
    stage.produce(vec![alerts::mixed(0, 12, 12)]);
    all_committed(&stage, &mut [&mut service]);
    stop(service, "starts");
}
