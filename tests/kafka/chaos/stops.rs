//! SIGTERM in the middle of a backlog, once and twice.

use std::time::Duration;

use riskstream::simulator::Latency;

use super::{
    BOUND, Chaos, Crew, IN_FLIGHT, Load, Order, Progress, all_committed, check, in_each_mode, out, stop, wait,
};
use crate::harness::vendors::Vendors;

in_each_mode!(
    a_stop_in_the_middle_of_a_backlog_repeats_nothing,
    a_second_signal_stops_at_once_and_loses_nothing,
);

fn a_stop_in_the_middle_of_a_backlog_repeats_nothing(chaos: &mut Chaos) {
    let (alerts, stops) = chaos.size((100_000, 1), (400_000, 5));
    let stage = chaos.stage();
    let vendors = Vendors::start(100);
    let load = Load::new(&stage, 12_000, 1024).write(&stage, alerts);
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.pipeline += ", shutdown: 25s";
    let mut progress = Progress::new(&stage);
    let (mut ahead, mut longest, mut midway) = (0, Duration::ZERO, 0);
    for number in 1..=stops {
        let mut service = crew.start("stops");
        out(&mut progress, alerts * number / (stops + 2), &mut service);
        // Short of what is left of the backlog, however fast this machine is.
        chaos.random.pass(Duration::from_millis(200));
        let ended = service.terminate();
        assert_eq!(ended.code, Some(0), "within pipeline.shutdown, with nothing left: {}", ended.log);
        longest = longest.max(ended.took);
        ahead += progress.committed(chaos.is_exact()).ahead;
        midway += usize::from(progress.distinct() < alerts);
    }
    let mut service = crew.start("stops");
    all_committed(&stage, &mut [&mut service]);
    stop(service, "stops");
    let found = check::judge(&stage, &load, Order::Partition);
    let note = format!("{midway} stops midway; the longest took {:.1} s of 25", longest.as_secs_f64());
    chaos.row(&format!("SIGTERM x {stops}"), &found, ahead, 0, &note);
    assert_eq!(midway, stops, "a stop came too late to show anything");
}

fn a_second_signal_stops_at_once_and_loses_nothing(chaos: &mut Chaos) {
    let stage = chaos.stage();
    // Nothing is answered, so that the first signal has something to wait for.
    let vendors = Vendors::start(600_000);
    let load = Load::new(&stage, 1_200, 1024).write(&stage, 5_000);
    let mut crew = Crew::new(chaos, &stage, &vendors);
    crew.is_static = true;
    crew.pipeline = format!("in_flight: {IN_FLIGHT}, deadline: 270s, drain: 280s, shutdown: 290s");

    let mut service = crew.start("twice");
    wait("alerts in flight", BOUND, || {
        service.metric("riskstream_in_flight_alerts").is_some_and(|alerts| alerts > 1000.0)
    });
    service.signal("TERM");
    wait("the first signal is heard", BOUND, || service.log().contains("stop requested"));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(1), "not all was done: {}", ended.log);
    let mut progress = Progress::new(&stage);
    let ahead = progress.committed(chaos.is_exact()).ahead;
    vendors.world.set_latency(Latency::Fixed(5));
    let mut service = crew.start("twice");
    all_committed(&stage, &mut [&mut service]);
    stop(service, "twice");
    let found = check::judge(&stage, &load, Order::Partition);
    let note = format!("ended {:.1} s after the second, of 290", ended.took.as_secs_f64());
    chaos.row("SIGTERM twice", &found, ahead, IN_FLIGHT, &note);
}
