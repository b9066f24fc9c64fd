//! A vendor that hangs and comes back, beside four that are well: who waits for it, for how long, and how often it is asked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::message::Message;
use riskstream::simulator::{Answer, Fault};

use crate::harness::alerts::{self, VENDORS};
use crate::harness::kafka::{NewRecord, Stage, Writer};
use crate::harness::reader::{Next, Reader};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{check, say, wait};

const DEADLINE: Duration = Duration::from_secs(2);
/// The vendor that hangs.
const SICK: &str = VENDORS[0];
const WARM: Duration = Duration::from_secs(6);
/// How long it is measured once its breaker has closed.
const MEASURED: Duration = Duration::from_secs(6);
/// How long a probe that left just before it was well may hang, and the next one waits after that: `timeout` and `breaker.open_for`
/// when nothing is said of them.
const ONE_PROBE: Duration = Duration::from_secs(1 + 5);

/// One alert: its vendor, when it was sent, and how long it took.
struct Seen {
    vendor: &'static str,
    sent: Duration,
    took: Duration,
}

/// What came of a run.
struct Run {
    seen: Vec<Seen>,
    /// From the fault on, and from its end on.
    fault: (Duration, Duration),
    /// When its breaker had closed again.
    closed: Duration,
    /// When no more were sent.
    end: Duration,
    /// When the sick vendor was asked, from the start of the run.
    asked: Vec<Duration>,
}

impl Run {
    /// The time that so many per cent of the alerts took at most, of those that were sent within a span.
    fn percentile(
        &self,
        percent: usize,
        of: impl Fn(&str) -> bool,
        from: Duration,
        to: Duration,
    ) -> Duration {
        let mut times: Vec<Duration> = self
            .seen
            .iter()
            .filter(|seen| of(seen.vendor) && (from..to).contains(&seen.sent))
            .map(|seen| seen.took)
            .collect();
        times.sort();
        assert!(times.len() > 20, "{} alerts from {from:?} to {to:?}", times.len());
        times[(times.len() * percent / 100).min(times.len() - 1)]
    }
}

/// `ISOLATION_SECONDS`: how long it hangs, on a machine that does nothing else, so that times can be held against each other. On
/// one that stands still for seconds the slower half tells of the machine, and a stretch of seconds may: there the quicker half
/// counts, and what comes to pass in the end.
fn alone() -> Option<Duration> {
    let seconds = std::env::var("ISOLATION_SECONDS").ok().and_then(|text| text.parse().ok());
    seconds.map(Duration::from_secs)
}

fn hanging() -> Duration {
    alone().unwrap_or(Duration::from_secs(10))
}

/// Alerts a second, a fifth of them for each vendor, each about an entity of its own: not so many that a machine which has other
/// things to do is measured instead.
fn rate() -> usize {
    if alone().is_some() { 200 } else { 80 }
}

fn run(stage: &Stage, order: &str) -> Run {
    let vendors = Vendors::start(20);
    let pipeline = format!("deadline: {}s, order: {order}", DEADLINE.as_secs());
    let mut service = Service::start(&Settings::of(stage, &pipeline, vendors.providers("")).text());
    service.assigned(stage.partitions.into());
    let sent: Mutex<Vec<(Duration, Option<Duration>)>> = Mutex::default();
    let over = AtomicBool::new(false);
    let started = Instant::now();
    let (fault, closed, end, asked) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = Writer::new(stage);
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                while number < (started.elapsed().as_secs_f64() * rate() as f64) as usize {
                    let vendor = VENDORS[number % VENDORS.len()];
                    let value = alerts::of(vendor, &alerts::entity(vendor, number), number);
                    let mut record = NewRecord::value(number as i32 % stage.partitions, value);
                    record.key = Some(format!("k{number}").into_bytes());
                    sent.lock().unwrap().push((started.elapsed(), None));
                    writer.send(&record);
                    number += 1;
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
            writer.end();
        });
        let reading = scope.spawn(|| {
            let mut reader = Reader::new(stage, &stage.output, &Next::new());
            let mut count = 0;
            while !over.load(Ordering::Relaxed) || count < sent.lock().unwrap().len() {
                assert!(started.elapsed() < Duration::from_secs(300), "{count} alerts came out");
                let Some(message) = reader.poll(Duration::from_millis(20)) else { continue };
                let text = std::str::from_utf8(message.payload().unwrap()).unwrap();
                let digits = text.strip_prefix("{ \"number\":").unwrap().split(',').next().unwrap();
                let number: usize = digits.parse().unwrap();
                let place = &mut sent.lock().unwrap()[number];
                assert_eq!(place.1, None, "alert {number} came out twice");
                place.1 = Some(started.elapsed() - place.0);
                count += 1;
            }
        });
        let until = |time: Duration| {
            while started.elapsed() < time {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        };
        until(WARM);
        let offset = started.elapsed();
        vendors.world.forget_calls();
        let before = Instant::now();
        vendors.world.fault(Fault::new(&format!("/{SICK}"), Answer::Hang));
        until(WARM + hanging());
        vendors.world.clear_faults();
        let healed = started.elapsed();
        let state = format!("riskstream_vendor_breaker_state{{provider=\"{SICK}\"}}");
        wait("the vendor is asked again", Duration::from_secs(60), || service.metric(&state) == Some(0.0));
        let closed = started.elapsed();
        until(closed + MEASURED);
        if alone().is_none() {
            wait("its alerts pass quickly again", Duration::from_secs(60), || {
                let sent = sent.lock().unwrap();
                let own = sent.iter().enumerate().filter(|(n, _)| VENDORS[n % VENDORS.len()] == SICK);
                let last: Vec<_> = own.rev().filter_map(|(_, (_, took))| *took).take(rate() / 4).collect();
                last.iter().filter(|took| **took < Duration::from_secs(1)).count() > last.len() / 2
            });
        }
        over.store(true, Ordering::Relaxed);
        let calls = vendors.world.calls(SICK);
        // Arrivals are told since the simulator's own start: the last second of calls is the end of the run.
        let shift = calls.arrivals.last().map_or(Duration::ZERO, |last| *last);
        let end = offset + before.elapsed();
        let asked = calls.arrivals.iter().map(|at| end.saturating_sub(shift - *at)).collect();
        reading.join().unwrap();
        ((offset, healed), closed, end, asked)
    });
    assert_eq!(service.get("/livez").0, 200);
    service.ends_well();
    check::all_committed(stage);
    let seen = sent.into_inner().unwrap().into_iter().enumerate();
    let seen = seen.map(|(number, (sent, took))| Seen {
        vendor: VENDORS[number % VENDORS.len()],
        sent,
        took: took.unwrap(),
    });
    Run { seen: seen.collect(), fault, closed, end, asked }
}

/// What holds in any order: nobody waits beyond the deadline, the vendor is left alone, and it is asked again once it is well.
fn judge(run: &Run, order: &str, back_within: Duration) {
    let (from, to) = run.fault;
    let others = |vendor: &str| vendor != SICK;
    // Those sent just before are asked about when it hangs already.
    let before = (Duration::from_secs(2), from - Duration::from_millis(500));
    let during = (from + back_within, to);
    let again = (run.closed, run.end);
    let of = |percent, (from, to)| run.percentile(percent, others, from, to);
    let own = |percent| run.percentile(percent, |vendor| vendor == SICK, again.0, again.1);
    let slowest = |percent| run.percentile(percent, |_| true, Duration::ZERO, run.end);
    let in_span = |a: Duration, b: Duration| run.asked.iter().filter(|at| (a..b).contains(*at)).count();
    let probes = in_span(from + Duration::from_secs(4), to);
    say(&format!(
        "order: {order}, one of five vendors hangs: p99 of the others {:?} before, {:?} from {back_within:?} on, the slowest alert \
         {:?} (deadline {DEADLINE:?}), {probes} calls in the last {:?} of the fault, asked again {:?} after its end, p90 of its own {:?} from then on",
        of(99, before),
        of(99, during),
        slowest(100),
        to - from - Duration::from_secs(4),
        run.closed - to,
        own(90),
    ));
    assert!(probes as f64 <= (to - from).as_secs_f64() / 5.0 + 1.0, "{probes} calls to a vendor that hangs");
    let hold = |what: &str, took: Duration, bound: Duration| {
        assert!(took <= bound, "{what}: {took:?}, more than {bound:?}");
    };
    match alone() {
        Some(_) => {
            hold("the others while it hangs", of(99, during), of(99, before).mul_f64(1.2));
            hold("the slowest of all", slowest(100), DEADLINE + Duration::from_millis(150));
            hold("the way back", run.closed - to, ONE_PROBE + Duration::from_millis(500));
            hold("its own once it is well", own(90), Duration::from_secs(1));
        }
        // Below what a call takes that hangs, and below the deadline.
        None => hold("half of the others while it hangs", of(50, during), Duration::from_secs(1)),
    }
}

#[test]
fn by_key_a_vendor_that_hangs_holds_up_its_own_alerts_only() {
    judge(&run(&Stage::embedded(4), "key"), "key", Duration::ZERO);
}

#[test]
fn in_one_partition_the_breaker_lets_the_others_go_on() {
    judge(&run(&Stage::embedded(1), "partition"), "partition", Duration::from_secs(3));
}

/// How long alerts of one partition take whose vendor is well, while all that the other one brings waits for one that hangs.
fn beside_a_hanging_partition(pipeline: &str) -> Vec<Duration> {
    const HANGING: usize = 600;
    let stage = Stage::embedded(2);
    let vendors = Vendors::start(5);
    vendors.world.fault(Fault::new("/datadog", Answer::Hang));
    let sick = ", timeout: 20s, concurrency: 1000, breaker: {minimum: 100000}";
    let rest =
        format!("providers:\n{}{}", vendors.provider("datadog", sick), vendors.provider("cortex_xdr", ""));
    let settings = Settings::of(&stage, &format!("in_flight: 200, deadline: 2s, {pipeline}"), rest);
    let mut service = Service::start(&settings.text());
    service.assigned(2);
    let alert =
        |partition, vendor, n| NewRecord::value(partition, alerts::of(vendor, &alerts::entity(vendor, n), n));
    let mut writer = Writer::new(&stage);
    for n in 0..HANGING {
        writer.send(&alert(0, "datadog", n));
    }
    wait("the lane fills up", Duration::from_secs(10), || {
        service.metric("riskstream_in_flight_alerts").is_some_and(|count| count >= 100.0)
    });
    let mut reader = Reader::new(&stage, &stage.output, &Next::new());
    let started = Instant::now();
    let (mut sent, mut took) = (Vec::new(), Vec::new());
    // One every 50 ms, for as long as the deadline three times.
    while took.len() < 120 {
        assert!(started.elapsed() < Duration::from_secs(60), "{} came out", took.len());
        if sent.len() < 120 && started.elapsed() >= Duration::from_millis(50) * sent.len() as u32 {
            sent.push(Instant::now());
            writer.send(&alert(1, "cortex_xdr", sent.len()));
        }
        if let Some(message) = reader.poll(Duration::from_millis(2))
            && message.partition() == 1
        {
            took.push(sent[took.len()].elapsed());
        }
    }
    writer.end();
    // The others leave at their deadlines, whatever holds them back.
    stage.wait_for(HANGING + 120, Duration::from_secs(60));
    service.ends_well();
    check::all_committed(&stage);
    took.sort();
    took
}

#[test]
fn a_partition_whose_vendor_hangs_leaves_room_in_its_lane_for_the_others() {
    for order in ["partition", "key", "none"] {
        let took = beside_a_hanging_partition(&format!("order: {order}"));
        let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
        say(&format!(
            "order: {order}, a partition hangs: the other one's alerts take {median:?}, {slowest:?} at most"
        ));
        // Without a share of their own they wait for the deadline of what fills the lane; half of them, as the others may wait for a
        // machine that stands still.
        assert!(median < Duration::from_secs(1), "{median:?}");
    }
}
