//! Outputs that the broker does not take: their topic is gone, their time is out of range.

use super::{
    BOUND, Chaos, Crew, IN_FLIGHT, Load, Order, Progress, all_committed, check, in_each_mode, joined, more,
    stop,
};
use crate::harness::vendors::Vendors;

in_each_mode!(
    an_output_topic_that_is_deleted_stops_the_process_and_nothing_is_committed_without_it,
    outputs_whose_time_the_broker_refuses_are_sent_again_with_now,
);

const RATE: usize = 1_000;

/// What was in the topic is gone with it. Everything that was not committed then must be in the new one.
fn an_output_topic_that_is_deleted_stops_the_process_and_nothing_is_committed_without_it(chaos: &mut Chaos) {
    let stage = chaos.stage();
    let vendors = Vendors::start(20);
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.is_static = true;
    let mut progress = Progress::new(&stage);
    let mut committed = Default::default();
    let mut service = Some(crew.start("deleted"));
    let load = Load::new(&stage, 6_000, 1024).flow(&stage, RATE, || {
        let mut first = service.take().unwrap();
        joined(&mut first);
        more(&mut progress, RATE, &mut first);
        stage.delete(&stage.output);
        let ended = first.ended(BOUND);
        assert_eq!(ended.code, Some(1), "{}", ended.log);
        let told = ended.log.lines().any(|line| {
            line.contains("\"ERROR\"") && line.contains(&stage.output) && line.contains("Create the topic")
        });
        assert!(told, "an error names the topic and the cure:\n{}", ended.log);
        committed = stage.committed();
        stage.create(&stage.output, stage.partitions, None);
        progress = Progress::new(&stage);
        let mut second = crew.start("deleted");
        joined(&mut second);
        more(&mut progress, RATE, &mut second);
        service = Some(second);
    });
    let mut service = service.unwrap();
    all_committed(&stage, &mut [&mut service]);
    stop(service, "deleted");
    let mut found = check::judge(&stage, &load, Order::Partition);
    let before: usize = committed.values().map(|offset| *offset as usize).sum();
    progress.catch_up();
    let lost = progress.absent_between(&committed, &stage.ends());
    assert!(found.missing <= before, "{found:#?}");
    found.missing = lost;
    let note = format!("{before} were committed into the topic that is gone");
    chaos.row("output topic deleted", &found, 0, IN_FLIGHT, &note);
}

/// They may leave behind later ones of their partition, which is the one exception to order at least once.
fn outputs_whose_time_the_broker_refuses_are_sent_again_with_now(chaos: &mut Chaos) {
    let mut stage = chaos.stage();
    stage.input += "-any-time";
    stage.create_with(
        &stage.input,
        stage.partitions,
        &[("message.timestamp.after.max.ms", "9223372036854775807")],
    );
    let vendors = Vendors::start(20);
    let crew = Crew::new(chaos, &stage, &vendors);
    let mut load = Load::new(&stage, 6_000, 1024);
    let every = 50;
    // The input is an hour old, and a topic takes what is an hour ahead.
    load.ahead = Some((every, 3 * 3_600_000));
    let load = load.write(&stage, chaos.size(5_000, 50_000));
    let mut service = crew.start("times");
    all_committed(&stage, &mut [&mut service]);
    stop(service, "times");
    let order = if chaos.is_exact() { Order::Partition } else { Order::None };
    let found = check::judge(&stage, &load, order);
    let note = format!("{} sent with now; order: {order:?}", found.retimed);
    chaos.row("timestamps that the broker refuses", &found, 0, 0, &note);
    assert_eq!(found.retimed, load.alerts / every);
}
