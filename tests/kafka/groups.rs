//! How a group shares out its partitions while processes join and leave under load. That nothing is lost or repeated meanwhile, under
//! every protocol and in both modes, is the chaos suite's (`chaos/members.rs`).

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use riskstream::simulator::{Latency, Options};

use crate::harness::check::{self, Found, Order};
use crate::harness::kafka::{Feeder, Record, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, keep, say, until, wait};
use crate::{DEFAULT, broker_alone};

/// A group under load, and what happens to it.
pub struct Play<'a> {
    /// For the figures.
    pub name: &'a str,
    /// Input topics, and partitions of each; the output has as many as one of them.
    pub topics: (usize, i32),
    /// `kafka.consumer`, as YAML members; `{n}` is the number of the member.
    pub consumer: &'a str,
    /// The same for members from the second number on: a rollout.
    pub then: Option<(usize, &'a str)>,
    /// Members of `pipeline` beside those that time needs, such as `threads: 2`.
    pub pipeline: &'a str,
    /// Milliseconds that the vendors take, from and to.
    pub vendors: (u64, u64),
    /// Alerts a second; every one about an entity that nobody has asked about yet.
    pub rate: usize,
    /// What happens, in order: `+` a member joins, `-` the oldest leaves with SIGTERM, `r` the oldest is stopped
    /// with SIGTERM and started again under its name.
    pub events: &'a str,
    /// Whether members may be left without a partition.
    pub idle: bool,
}

impl Default for Play<'_> {
    fn default() -> Self {
        Play {
            name: "joins and leaves",
            topics: (1, 12),
            consumer: "",
            then: None,
            pipeline: "",
            vendors: (100, 100),
            rate: 300,
            events: "++-+-",
            idle: false,
        }
    }
}

/// What a play came to.
pub struct Outcome {
    /// By the checker, which has asserted that nothing is missing.
    pub found: Found,
    /// Partitions of each member after each event, most first.
    pub shares: Vec<Vec<i64>>,
}

struct Member {
    number: usize,
    service: Service,
}

/// Plays, and checks: nothing missing, nothing in output and dead letters, each partition's order kept, everything
/// committed at the end, exit codes 0 of all who were asked to leave. Prints the figures.
pub fn play(play: &Play<'_>) -> Outcome {
    let (count, partitions) = play.topics;
    let stage = Stage::real(partitions, DEFAULT, DEFAULT);
    let views: Vec<Stage> = (0..count)
        .map(|n| match n {
            0 => stage.view(&stage.input, partitions),
            _ => {
                let name = format!("{}-{n}", stage.input);
                stage.create(&name, partitions, None);
                stage.view(&name, partitions)
            }
        })
        .collect();
    let names: Vec<&str> = views.iter().map(|view| view.input.as_str()).collect();
    let (from, to) = play.vendors;
    let vendors = Vendors::of(Options { latency: Latency::Between(from, to), ..Options::default() });
    let settings = |number: usize| {
        let pipeline = format!("deadline: 30s, drain: 40s, shutdown: 50s, {}", play.pipeline);
        let mut settings = Settings::of(&stage, &pipeline, vendors.providers(", timeout: 10s"));
        settings.topics =
            settings.topics.replace(&format!("[{}]", stage.input), &format!("[{}]", names.join(", ")));
        let consumer = play.then.filter(|(from, _)| number >= *from).map_or(play.consumer, |(_, then)| then);
        settings.kafka += &format!(", consumer: {{{consumer}}}").replace("{n}", &number.to_string());
        settings.text()
    };
    let total = count as i64 * i64::from(partitions);
    let mut members: Vec<Member> = Vec::new();
    let (mut shares, mut logs) = (Vec::new(), Vec::new());
    let mut joined = 0;
    let started = Instant::now();
    let inputs = feed_while(&views, play.rate, || {
        for event in std::iter::once('+').chain(play.events.chars()) {
            match event {
                '+' => {
                    members.push(Member { number: joined, service: Service::start(&settings(joined)) });
                    joined += 1;
                }
                '-' => {
                    let Member { number, service } = members.remove(0);
                    let ended = service.terminate();
                    assert_eq!(ended.code, Some(0), "member {number}:\n{}", ended.log);
                    logs.push((number, ended.log));
                }
                'r' => {
                    let Member { number, service } = members.remove(0);
                    let ended = service.terminate();
                    assert_eq!(ended.code, Some(0), "member {number}:\n{}", ended.log);
                    logs.push((number, ended.log));
                    members.insert(0, Member { number, service: Service::start(&settings(number)) });
                }
                other => panic!("no event {other}"),
            }
            shares.push(settle(&mut members, total, play.idle));
            let before = stage.count(&stage.output);
            let enough = before + 3 * play.rate as i64;
            wait("the load to flow", Duration::from_secs(90), || stage.count(&stage.output) > enough);
        }
    });
    finish(&views, &mut members);
    for member in members {
        let ended = member.service.terminate();
        assert_eq!(ended.code, Some(0), "member {}:\n{}", member.number, ended.log);
        logs.push((member.number, ended.log));
    }
    logs.sort();
    for (number, log) in &logs {
        assert!(!log.contains("\"ERROR\""), "member {number}:\n{log}");
        keep(&format!("{}-{number}.log", play.name.replace(' ', "-")), log);
    }
    let all: Vec<(Stage, Vec<Record>)> = views.into_iter().zip(inputs).collect();
    let found = check::compare_all(&all, Order::Partition);
    say(&format!(
        "{}: {} in, {} out, {} dead letters, {} repeated, shares {:?}, {:.0} s",
        play.name,
        found.inputs,
        found.published,
        found.dead,
        found.repeated,
        shares,
        started.elapsed().as_secs_f64()
    ));
    assert_eq!(found.dead, 0);
    Outcome { found, shares }
}

/// Waits until everything is committed, for as long as it goes on.
fn finish(views: &[Stage], members: &mut [Member]) {
    let (mut last, mut since) = (0, Instant::now());
    loop {
        let standing: Vec<_> = views.iter().map(|view| (view.committed(), view.ends())).collect();
        if standing.iter().all(|(committed, ends)| committed == ends) {
            return;
        }
        for member in &mut *members {
            assert!(!member.service.has_ended(), "member {} ended:\n{}", member.number, member.service.log());
        }
        let committed: i64 = standing.iter().flat_map(|(committed, _)| committed.values()).sum();
        if committed != last {
            (last, since) = (committed, Instant::now());
        }
        if since.elapsed() > Duration::from_secs(60) {
            for member in members {
                keep(&format!("stuck-{}.log", member.number), &member.service.log());
                say(&format!("member {}:\n{}", member.number, figures(&mut member.service)));
            }
            panic!("nothing was committed for a minute; committed and ends: {standing:?}");
        }
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// What a member says of its partitions.
fn figures(service: &mut Service) -> String {
    let (_, metrics) = service.get("/metrics");
    let of_kafka = |line: &&str| {
        ["_offset{", "_lag_", "assigned_", "in_flight", "pauses"].iter().any(|word| line.contains(word))
            && !line.starts_with('#')
    };
    metrics.lines().filter(of_kafka).collect::<Vec<_>>().join("\n")
}

/// Waits until the partitions are shared out and stay so; how many each member has.
fn settle(members: &mut [Member], total: i64, idle: bool) -> Vec<i64> {
    let mut last: (Vec<i64>, Option<Instant>) = (Vec::new(), None);
    let shares = until("partitions shared out", Duration::from_secs(90), || {
        let shares: Vec<i64> = members
            .iter_mut()
            .map(|member| {
                assert!(
                    !member.service.has_ended(),
                    "member {} ended:\n{}",
                    member.number,
                    member.service.log()
                );
                member.service.metric("riskstream_assigned_partitions").unwrap_or(0.0) as i64
            })
            .collect();
        let shared_out = shares.iter().sum::<i64>() == total && (idle || !shares.contains(&0));
        if shares != last.0 || !shared_out {
            last = (shares, Some(Instant::now()));
            return None;
        }
        let calm = Duration::from_secs(if idle { 4 } else { 1 });
        last.1.is_some_and(|since| since.elapsed() > calm).then(|| last.0.clone())
    });
    let mut shares = shares.0;
    shares.sort_unstable_by_key(|share| -share);
    shares
}

/// Feeds alerts to all topics in turn while `meanwhile` runs; what was written to each.
fn feed_while(views: &[Stage], rate: usize, meanwhile: impl FnOnce()) -> Vec<Vec<Record>> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let feeder = scope.spawn(|| {
            let mut feeders: Vec<Feeder<'_>> = views.iter().map(Feeder::new).collect();
            let started = Instant::now();
            let mut number = 0;
            while !over.load(Relaxed) {
                let due = (started.elapsed().as_secs_f64() * rate as f64) as usize;
                for number in number..due {
                    let topic = number % views.len();
                    // Keys and entities come again in the same topic, so that there is an order to keep.
                    feeders[topic].send(
                        alerts::mixed(number / views.len(), 1 << 20, views[topic].partitions).keyed(number),
                    );
                }
                number = due;
                std::thread::park_timeout(Duration::from_millis(20));
            }
            feeders.into_iter().map(Feeder::end).collect()
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
        over.store(true, Relaxed);
        let inputs = feeder.join().unwrap();
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        inputs
    })
}

#[test]
fn twelve_small_topics_are_shared_out_evenly_and_range_would_give_them_to_one() {
    let Some(_broker) = broker_alone() else { return };
    let small = Play { topics: (12, 1), events: "++-+", vendors: (20, 20), ..Play::default() };
    let even = play(&Play { name: "12 topics roundrobin", ..small });
    let small = Play { topics: (12, 1), events: "++-+", vendors: (20, 20), ..Play::default() };
    let range = play(&Play {
        name: "12 topics range",
        consumer: "partition.assignment.strategy: range",
        idle: true,
        ..small
    });
    assert_eq!(even.shares[2], [4, 4, 4]);
    assert_eq!(range.shares[2], [12, 0, 0]);
    assert_eq!((even.found.repeated, range.found.repeated), (0, 0));
}

#[test]
fn members_with_a_name_of_their_own_come_back_to_their_partitions() {
    let Some(_broker) = broker_alone() else { return };
    let consumer = "group.instance.id: 'm-{n}', session.timeout.ms: 8000";
    let outcome = play(&Play {
        name: "static members",
        consumer,
        pipeline: "threads: 2",
        events: "++r+-r",
        ..Play::default()
    });
    assert_eq!(outcome.found.repeated, 0);
}

#[test]
fn members_are_replaced_one_after_another_by_such_as_share_out_in_another_way() {
    let Some(_broker) = broker_alone() else { return };
    // Two old members; two new ones come, the old ones go, a third comes.
    let rollout = |name, topics, consumer, then| Play {
        name,
        topics,
        consumer,
        then: Some((2, then)),
        events: "+++--+",
        vendors: (20, 20),
        idle: true,
        ..Play::default()
    };
    let range = "partition.assignment.strategy: range";
    // What several topics have when nothing is said.
    let outcome = play(&rollout("rollout from range to roundrobin", (3, 2), range, ""));
    assert_eq!(outcome.found.repeated, 0);
    assert_eq!(outcome.shares.last().unwrap().as_slice(), [2, 2, 2]);
    play(&rollout("rollout from range to the brokers protocol", (1, 12), range, "group.protocol: consumer"));
}
