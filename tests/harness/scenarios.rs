//! The scenarios that hold on both brokers: a load with figures, and poison.

use std::time::Duration;

use super::check::{self, Found};
use super::kafka::{NewRecord, Record, Stage};
use super::service::{Service, Settings};
use super::vendors::Vendors;
use super::{alerts, say, until};

/// Alerts of all vendors through a fresh service: nothing lost, order kept, bytes unchanged, all complete, one call for
/// each entity, everything committed after SIGTERM. Prints the figures.
pub fn load(stage: &Stage, alerts: usize, entities: usize) {
    let vendors = Vendors::start(50);
    let inputs = stage.produce((0..alerts).map(|n| alerts::mixed(n, entities, stage.partitions)).collect());
    // A machine that stands still for a second makes no look-up fail.
    let providers = vendors.providers(", timeout: 20s");
    let settings = Settings::of(stage, "deadline: 30s, drain: 40s, shutdown: 50s", providers);
    let mut service = Service::start(&settings.text());
    service.assigned(stage.partitions.into());
    let took = stage.wait_for(alerts, Duration::from_secs(300));
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let found = check::compare(stage, &inputs, true);
    assert_eq!((found.published, found.dead, found.repeated), (alerts, 0, 0));
    assert_eq!(found.statuses, [("complete".to_owned(), alerts)].into());
    check::all_committed(stage);
    let questions = vendors.questions();
    assert_eq!(questions.len(), entities, "every entity was asked about");
    let twice = questions.iter().filter(|count| **count > 1).count();
    assert_eq!(twice, 0, "entities that were asked about more than once");
    say(&format!(
        "load: {alerts} alerts, {entities} entities, {} partitions: {:.1} s after assignment, {:.0} alerts/s, \
         {} requests, {:.2} questions per entity, stop in {:.2} s",
        stage.partitions,
        took.as_secs_f64(),
        alerts as f64 / took.as_secs_f64(),
        vendors.requests(),
        questions.iter().sum::<u64>() as f64 / entities as f64,
        ended.took.as_secs_f64(),
    ));
}

/// What must become of a poisonous record.
enum Fate {
    /// A dead letter for this reason, whole.
    Dead(&'static str),
    /// A dead letter for this reason, whole or, where the topic is too small, as a pointer.
    DeadOrPointer(&'static str),
    /// Published with this status and so many entities.
    Published(&'static str, usize),
    /// A tombstone.
    Tombstone,
}

const DEEP: usize = 1_000_000;

/// Poison between good alerts: each record ends as it should, the service lives, and the good ones before and after
/// come out in order. `big` is the size of an alert that is too large (above 2 560 000).
pub fn poison(stage: &Stage, big: usize) {
    assert_eq!(stage.partitions, 3);
    let arn = |n: usize| format!("arn:aws:iam::123456789012:user/p{n}");
    let good = |n: usize| alerts::of("datadog", &arn(n), n);
    let trail = r#""eventVersion":"1","eventSource":"s","#;
    let ours = r#""risk":{"schema":"riskstream/v1","status":"complete","score":1,"entities":[]}"#;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(DEEP), "]".repeat(DEEP));
    let mut huge = b"{\"a\":\"".to_vec();
    huge.resize(big - 2, b'x');
    huge.extend_from_slice(b"\"}");
    let truncated = {
        let whole = good(0);
        whole[..whole.len() / 2].to_vec()
    };
    let object = |text: String| Some(text.into_bytes());
    use Fate::{Dead, DeadOrPointer, Published, Tombstone};
    let poison: Vec<(i32, Option<Vec<u8>>, Fate)> = vec![
        (0, Some(Vec::new()), Dead("empty")),
        (0, object(" \n\t ".into()), Dead("empty")),
        (0, None, Tombstone),
        (0, Some(b"{\"a\":\"\xff\xfe\"}".to_vec()), Dead("not_utf8")),
        (0, Some(truncated), Dead("not_json")),
        (0, object("{\"a\":NaN}".into()), Dead("not_json")),
        (0, object("\u{feff}{\"a\":1}".into()), Dead("not_json")),
        (0, object("[{\"a\":1}]".into()), Dead("not_an_object")),
        (0, object("\"text\"".into()), Dead("not_an_object")),
        (0, object("{\"a\":1} {\"a\":2}".into()), Dead("trailing_bytes")),
        (0, object("{\"hello\":\"world\"}".into()), Published("no_entities", 0)),
        (0, object("{}".into()), Published("no_entities", 0)),
        (
            0,
            object(format!(
                r#"{{{trail}"userIdentity":{{"arn":"{}"}},"userIdentity":{{"arn":"{}"}}}}"#,
                arn(1001),
                arn(1002)
            )),
            Published("complete", 2),
        ),
        (
            0,
            object(format!(r#"{{{ours},{trail}"userIdentity":{{"arn":"{}"}}}}"#, arn(1))),
            Published("complete", 1),
        ),
        (
            0,
            object(format!(
                r#"{{"risk":{{"level":"theirs"}},{trail}"userIdentity":{{"arn":"{}"}}}}"#,
                arn(2)
            )),
            Published("complete", 1),
        ),
        (1, object(deep), DeadOrPointer("too_deep")),
        (2, Some(huge), DeadOrPointer("too_large")),
    ];
    let forged: Vec<(String, Vec<u8>)> = [
        ("risk-score", "0"),
        ("Risk-Status", "complete"),
        ("__connect.errors.topic", "forged"),
        ("__CONNECT.ERRORS.exception.message", "forged"),
        ("\u{fffd} no text", "passes"),
        ("traceparent", "00-11111111111111111111111111111111-2222222222222222-01"),
    ]
    .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
    .into();
    let mut records = Vec::new();
    let mut fates = Vec::new();
    for (n, (partition, value, fate)) in poison.into_iter().enumerate() {
        let key = Some(format!("key {n}").into_bytes());
        records.push(NewRecord { key: key.clone(), ..NewRecord::value(partition, good(n)) });
        fates.push(Published("complete", 1));
        records.push(NewRecord { partition, key, value, headers: forged.clone(), timestamp: None });
        fates.push(fate);
    }
    for partition in 0..3 {
        records.push(NewRecord::value(partition, good(500)));
        fates.push(Published("complete", 1));
    }

    let vendors = Vendors::start(5);
    let inputs = stage.produce(records);
    let settings = Settings::of(
        stage,
        "deadline: 30s, drain: 40s, shutdown: 50s, max_alert_bytes: 2500KiB",
        format!("providers:\n{}", vendors.provider("datadog", "")),
    );
    let mut service = Service::start(&settings.text());
    service.assigned(3);
    stage.wait_for(inputs.len(), Duration::from_secs(120));
    assert_eq!(service.get("/livez").0, 200);
    let counts = until("counters add up", Duration::from_secs(10), || {
        let published = service.metric("riskstream_alerts_published_total")?;
        let letters: f64 = service
            .get("/metrics")
            .1
            .lines()
            .filter(|line| line.starts_with("riskstream_dead_letters_total"))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum();
        (published + letters == inputs.len() as f64).then_some((published, letters))
    });
    let ended = service.terminate();
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    check::all_committed(stage);

    let (outputs, letters) = (stage.outputs(), stage.dead_letters());
    assert_eq!((outputs.len() as f64, letters.len() as f64), counts.0);
    assert_eq!(outputs.len() + letters.len(), inputs.len());
    let mut last = [-1; 3];
    for output in &outputs {
        let (partition, offset) = check::source(stage, output);
        assert_eq!(output.partition, partition);
        assert!(offset > last[partition as usize], "out of order in partition {partition}");
        last[partition as usize] = offset;
    }
    let find = |records: &[Record], input: &Record| -> Option<Record> {
        records.iter().find(|r| check::source(stage, r) == (input.partition, input.offset)).cloned()
    };
    let mut pointers = 0;
    for (input, fate) in inputs.iter().zip(&fates) {
        let name = format!(
            "{:?}",
            input.value.as_ref().map(|v| String::from_utf8_lossy(&v[..v.len().min(80)]).into_owned())
        );
        let (output, letter) = (find(&outputs, input), find(&letters, input));
        match fate {
            Fate::Tombstone => {
                let output = output.expect(&name);
                assert_eq!(output.value, None);
                assert_eq!(output.header("risk-status"), Some("no_entities"));
                assert_eq!(check::foreign(&output), check::foreign(input));
            }
            Fate::Published(status, entities) => {
                let output = output.unwrap_or_else(|| panic!("{name} is not published"));
                assert_eq!(output.header("risk-status"), Some(*status), "{name}");
                published(input, &output, *entities);
            }
            Fate::Dead(reason) | Fate::DeadOrPointer(reason) => {
                let letter = letter.unwrap_or_else(|| panic!("{name} is no dead letter"));
                pointers += usize::from(dead(input, &letter, reason, matches!(fate, Fate::DeadOrPointer(_))));
            }
        }
    }
    say(&format!(
        "poison: {} records, {} published, {} dead letters, {pointers} of them pointers",
        inputs.len(),
        outputs.len(),
        letters.len()
    ));
}

fn published(input: &Record, output: &Record, entities: usize) {
    assert_eq!(check::foreign(output), check::foreign(input), "foreign headers pass and forged ones do not");
    let before = String::from_utf8(input.value.clone().unwrap()).unwrap();
    let (rest, risk) = check::without_risk(output.value.as_deref().unwrap()).unwrap();
    let rest = String::from_utf8(rest).unwrap();
    if before.contains(r#""risk":{"schema""#) {
        let (ours, _) = before[1..].split_once("]},").unwrap();
        assert_eq!(format!("{{{ours}]}},{}", &rest[1..]), before, "only our earlier member went");
    } else {
        assert_eq!(rest, before);
    }
    if before.contains("theirs") {
        assert_eq!(output.json()["risk"]["level"], "theirs");
        assert_eq!(output.json()["riskstream"], risk);
    }
    assert_eq!(risk["entities"].as_array().unwrap().len(), entities, "{risk}");
}

/// Checks a dead letter; whether it is a pointer.
fn dead(input: &Record, letter: &Record, reason: &str, may_point: bool) -> bool {
    assert_eq!(
        letter.header("__connect.errors.exception.class.name"),
        Some(format!("riskstream.{reason}").as_str())
    );
    let message = letter.header("__connect.errors.exception.message").unwrap();
    assert!(message.len() > 20 && message.contains(' '), "a sentence: {message}");
    assert_eq!(letter.header("__connect.errors.stage"), Some("VALUE_CONVERTER"));
    assert_eq!(letter.key, input.key);
    let is_pointer = letter.header("risk-truncated") == Some("pointer");
    if is_pointer {
        assert!(may_point);
        let pointer = letter.json();
        assert_eq!(pointer["offset"], input.offset);
        assert_eq!(pointer["bytes"], input.value.as_ref().unwrap().len());
        assert_eq!(pointer["sha256"].as_str().unwrap().len(), 64);
    } else {
        assert_eq!(letter.value, input.value);
        assert_eq!(check::foreign(letter), check::foreign(input));
    }
    is_pointer
}

/// A load that goes on while something happens to the service: hands alerts over in small steps.
pub struct Drip<'s> {
    stage: &'s Stage,
    entities: usize,
    sent: usize,
    feeder: super::kafka::Feeder<'s>,
}

impl<'s> Drip<'s> {
    /// Before the first alert.
    pub fn new(stage: &'s Stage, entities: usize) -> Self {
        Drip { stage, entities, sent: 0, feeder: super::kafka::Feeder::new(stage) }
    }

    /// Sends `count` alerts at about `rate` a second.
    pub fn send(&mut self, count: usize, rate: usize) {
        let started = std::time::Instant::now();
        for n in 0..count {
            let due = Duration::from_secs_f64(n as f64 / rate as f64);
            while let Some(early) = due.checked_sub(started.elapsed()).filter(|early| !early.is_zero()) {
                std::thread::park_timeout(early);
            }
            self.feeder.send(alerts::mixed(self.sent, self.entities, self.stage.partitions));
            self.sent += 1;
        }
    }

    /// Everything that was sent.
    pub fn end(self) -> Vec<Record> {
        self.feeder.end()
    }
}

/// Prints what a disturbed load came to.
pub fn report(what: &str, found: &Found, vendors: &Vendors) {
    say(&format!(
        "{what}: {} in, {} out, {} dead letters, {} repeated, {} requests",
        found.inputs,
        found.published,
        found.dead,
        found.repeated,
        vendors.requests()
    ));
}
