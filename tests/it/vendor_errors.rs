//! Every way in which a vendor says no, through the whole pipeline: the word in the enriched alert, and in time.
//!
//! One service for each vendor; the rows run one after the other. A refusal opens the breaker, which is configured to
//! try again at once, and a good answer closes it before the next row, so that no row speaks for another: the retry of a probe
//! that failed may find the breaker open. The 429 comes last: it blocks the vendor. What takes for ever has a test of its own, since its short
//! time-out would make a time-out of any row in which the machine stands still.

use std::time::{Duration, Instant};

use riskstream::provider::FailureKind;
use riskstream::simulator::{Answer, Fault};
use serde_json::{Value, json};

use crate::harness::alerts;
use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::wait;

/// What a vendor's page does, and the status and reason that the alert shows.
struct Row(&'static str, Fault, &'static str, Option<&'static str>);

const DEADLINE: Duration = Duration::from_secs(30);
/// More than a machine stands still for.
const PATIENT: &str = "10s";

/// What every vendor may do, whatever its API.
fn common(at: &'static str) -> Vec<Row> {
    let new = |name, answer, reason| Row(name, Fault::new(at, answer), "failed", Some(reason));
    let status =
        |name, code, body: &str, reason| Row(name, Fault::status(at, code, body), "failed", Some(reason));
    // Google's words are missing in it.
    let refused = if at == "/google_secops" { "malformed_response" } else { "bad_request" };
    let elsewhere = Fault::status(at, 302, "").with_header("location", "http://127.0.0.1:9/elsewhere");
    let itself = Fault::status(at, 307, "").with_header("location", at);
    let utf_16 = "{\u{0}\"\u{0}d\u{0}a\u{0}t\u{0}a\u{0}\"\u{0}:\u{0}";
    vec![
        new("a proxy's 404", Answer::Html(404), "malformed_response"),
        new("a proxy's page with 200", Answer::Html(200), "malformed_response"),
        new("a proxy's 401", Answer::Html(401), "malformed_response"),
        new("a proxy's 403", Answer::Html(403), "malformed_response"),
        new("500 from a proxy", Answer::Html(500), "server_error"),
        new("502 from a proxy", Answer::Html(502), "server_error"),
        status("501", 501, "", "server_error"),
        status("503", 503, "", "server_error"),
        status("507", 507, "{}", "server_error"),
        status("408", 408, "", "timeout"),
        status("418", 418, "", refused),
        status("422", 422, "{}", refused),
        status("a body that is empty", 200, "", "malformed_response"),
        status("null", 200, "null", "malformed_response"),
        status("a number", 200, "7", "malformed_response"),
        status("a text", 200, "\"no\"", "malformed_response"),
        status("a list", 200, "[]", "malformed_response"),
        status("JSON cut off", 200, "{\"data\": {\"id", "malformed_response"),
        status("another encoding", 200, utf_16, "malformed_response"),
        status("a mark before it", 200, "\u{feff}{}", "malformed_response"),
        status("many levels", 200, &"[".repeat(100_000), "malformed_response"),
        Row("a redirect to another host", elsewhere, "failed", Some("malformed_response")),
        Row("a redirect to itself", itself, "failed", Some("malformed_response")),
        new("a reset", Answer::Reset, "unreachable"),
        new("bytes that are no text", Answer::Garbage, "malformed_response"),
        new("a body of 20 MB", Answer::Huge(20_000_000), "malformed_response"),
        new("20 MB in a few bytes", Answer::Bomb(20_000_000), "malformed_response"),
        // The connection was cut: that is the network, and worth another try.
        new("half a body", Answer::Truncated, "unreachable"),
    ]
}

/// What has no end.
fn endless(at: &'static str) -> Vec<Row> {
    let new = |name, answer| Row(name, Fault::new(at, answer), "failed", Some("timeout"));
    vec![new("no answer", Answer::Hang), new("a body that takes for ever", Answer::Slow(1))]
}

fn too_many(at: &'static str) -> Row {
    let fault = Fault::status(at, 429, "{}").with_header("retry-after", "120");
    Row("429 for two minutes", fault, "failed", Some("rate_limited"))
}

fn row(at: &str, name: &'static str, code: u16, body: &Value, reason: &'static str) -> Row {
    let fault = Fault::status(at, code, &body.to_string());
    match reason {
        "unknown" => Row(name, fault, "unknown", None),
        reason => Row(name, fault, "failed", Some(reason)),
    }
}

/// Runs what one vendor alone does, what all do, and the 429.
fn run(vendor: &'static str, at: &'static str, own: Vec<Row>) {
    let rows: Vec<_> = own.into_iter().chain(common(at)).chain([too_many(at)]).collect();
    let wrong = wrong(vendor, PATIENT, &rows);
    assert!(wrong.is_empty(), "{vendor}:\n{}", wrong.join("\n"));
}

/// Runs rows of one vendor, after an entity that it knows and one that it does not; returns what is not as the rows say.
fn wrong(vendor: &'static str, timeout: &str, rows: &[Row]) -> Vec<String> {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let guards = format!(
        ", timeout: {timeout}, retry: {{attempts: 2, backoff: 1ms}}, \
         breaker: {{minimum: 100000, open_for: 1ms, refused_for: 1ms}}"
    );
    let settings = Settings::of(
        &stage,
        &format!("deadline: {}s, drain: 40s, shutdown: 50s", DEADLINE.as_secs()),
        format!("cache: {{ttl: {{failed: 1ms}}}}\nproviders:\n{}", vendors.provider(vendor, &guards)),
    );
    let mut service = Service::start(&settings.text());
    service.assigned(1);
    let mut asked = 0;
    let mut ask = |entity: &str| {
        asked += 1;
        let started = Instant::now();
        let input = stage.produce(vec![NewRecord::value(0, alerts::of(vendor, entity, asked))]);
        stage.wait_for(asked, DEADLINE + Duration::from_secs(2));
        let outputs = stage.outputs();
        let output = outputs.last().unwrap();
        let risk = crate::harness::check::same(&input[0], output).unwrap();
        let entities = risk["entities"].as_array().unwrap();
        assert_eq!(entities.len(), 1, "{risk}");
        (risk.clone(), output.header("risk-status").unwrap().to_owned(), started.elapsed())
    };
    let known = |n: usize| vendors.world.profile(&asked_as(vendor, n)).is_some();
    let mut numbers = (0..).filter(|n| known(*n));
    let stranger = (0..).find(|n| !known(*n)).unwrap();
    let (risk, status, _) = ask(&alerts::entity(vendor, numbers.next().unwrap()));
    assert_eq!((status.as_str(), &risk["entities"][0]["provider"]), ("complete", &json!(vendor)), "{risk}");
    assert!(matches!(risk["entities"][0]["status"].as_str(), Some("scored" | "unknown")), "{risk}");
    let (risk, status, _) = ask(&alerts::entity(vendor, stranger));
    assert_eq!((status.as_str(), &risk["entities"][0]["status"]), ("complete", &json!("unknown")), "{risk}");
    assert_eq!(risk.get("score"), None, "unknown is not zero");
    let mut avoided = false;
    let differences = |Row(name, fault, status, reason): &Row| {
        if avoided {
            wait("the vendor answers", DEADLINE, || {
                ask(&alerts::entity(vendor, numbers.next().unwrap())).1 == "complete"
            });
        }
        vendors.world.set_faults(vec![fault.clone()]);
        vendors.world.forget_calls();
        let (risk, header, took) = ask(&alerts::entity(vendor, numbers.next().unwrap()));
        vendors.world.clear_faults();
        let mut wrong = Vec::new();
        let entity = &risk["entities"][0];
        let leaves = ["timeout", "unreachable", "unauthorised", "forbidden", "unlicensed"];
        avoided = leaves.contains(&entity["reason"].as_str().unwrap_or_default());
        let expected = if *status == "unknown" { "complete" } else { "failed" };
        let right = entity["status"] == *status && entity.get("reason").and_then(Value::as_str) == *reason;
        if !right || header != expected || risk["status"] != expected {
            wrong.push(format!("{name}: wanted {status} {reason:?}, the alert says {header}: {entity}"));
        }
        // Tried again where that may help, and where a fresh sign-in may; else asked once.
        let kind = FailureKind::ALL.into_iter().find(|kind| Some(kind.label()) == *reason);
        let again = kind.is_some_and(FailureKind::retryable) && !name.starts_with("429");
        let renews = *reason == Some("unauthorised") && matches!(vendor, "cortex_xdr" | "oracle_casb");
        let wanted = if again || renews { 2 } else { 1 };
        let calls: u64 = vendors
            .world
            .calls(vendor)
            .by_path
            .iter()
            .filter(|(path, _)| !path.ends_with("/token"))
            .map(|(_, n)| n)
            .sum();
        if calls != wanted {
            wrong.push(format!("{name}: wanted {wanted} calls, there were {calls}"));
        }
        assert!(took < DEADLINE + Duration::from_secs(1), "{name}: {took:?}");
        wrong
    };
    let wrong = rows.iter().flat_map(differences).collect();
    assert_eq!(service.get("/livez").0, 200);
    service.ends_well();
    wrong
}

/// The spelling in which the vendor is asked about entity `n`.
fn asked_as(vendor: &str, n: usize) -> String {
    match vendor {
        "cortex_xdr" => format!("ACME/u{n}"),
        _ => alerts::entity(vendor, n),
    }
}

#[test]
fn an_answer_that_takes_for_ever_is_a_time_out_of_every_vendor() {
    let vendors = [
        ("datadog", "/datadog"),
        ("cortex_xdr", "/cortex_xdr"),
        ("google_secops", "/google_secops"),
        ("cloudflare", "/cloudflare"),
        ("oracle_casb", "/oracle_casb/api/v1/reports"),
    ];
    std::thread::scope(|scope| {
        let running = vendors.map(|(vendor, at)| scope.spawn(move || wrong(vendor, "3s", &endless(at))));
        for ((vendor, _), rows) in vendors.into_iter().zip(running) {
            let wrong = rows.join().unwrap();
            assert!(wrong.is_empty(), "{vendor}:\n{}", wrong.join("\n"));
        }
    });
}

#[test]
fn datadogs_errors_are_told_apart() {
    let at = "/datadog";
    let error = json!({"errors": ["no"]});
    let own = vec![
        row(at, "400", 400, &error, "bad_request"),
        row(at, "401", 401, &error, "unauthorised"),
        row(at, "403", 403, &error, "forbidden"),
        row(at, "404 in its own words", 404, &error, "unknown"),
        row(at, "500", 500, &error, "server_error"),
        row(at, "200 without a score", 200, &json!({"data": {"attributes": {}}}), "malformed_response"),
    ];
    run("datadog", at, own);
}

#[test]
fn cortexs_errors_are_told_apart_by_their_words() {
    let at = "/cortex_xdr";
    let reply = |code: u16, extra: &str| json!({"reply": {"err_code": code, "err_msg": "An error", "err_extra": extra}});
    let wrong_call = Fault::status(at, 500, "Internal Server Error\r\n\r\n(generated by waitress)");
    let own = vec![
        row(at, "400", 400, &reply(400, ""), "bad_request"),
        row(at, "401", 401, &reply(401, ""), "unauthorised"),
        row(at, "402", 402, &reply(402, ""), "unlicensed"),
        row(at, "403", 403, &reply(403, ""), "forbidden"),
        row(at, "500: not found", 500, &reply(500, "id 'ACME/x' was not found"), "unknown"),
        row(at, "500: no module", 500, &reply(500, "No identity threat"), "unlicensed"),
        Row("500: wrong call", wrong_call, "failed", Some("bad_request")),
        row(at, "500: it failed", 500, &reply(500, "database"), "server_error"),
    ];
    run("cortex_xdr", at, own);
}

#[test]
fn google_secops_errors_are_told_apart() {
    let at = "/google_secops";
    let error = |code: u16, word: &str| json!({"error": {"code": code, "message": "no", "status": word}});
    let own = vec![
        row(at, "400", 400, &error(400, "INVALID_ARGUMENT"), "bad_request"),
        row(at, "401", 401, &error(401, "UNAUTHENTICATED"), "unauthorised"),
        row(at, "403", 403, &error(403, "PERMISSION_DENIED"), "forbidden"),
        row(at, "404 of the instance", 404, &error(404, "NOT_FOUND"), "bad_request"),
        row(at, "nothing found", 200, &json!({}), "unknown"),
        row(at, "500", 500, &error(500, "INTERNAL"), "server_error"),
        row(at, "504", 504, &error(504, "DEADLINE_EXCEEDED"), "timeout"),
    ];
    run("google_secops", at, own);
}

#[test]
fn cloudflares_errors_are_told_apart() {
    let at = "/cloudflare";
    let error =
        |code: i64| json!({"success": false, "errors": [{"code": code, "message": "no"}], "result": null});
    let own = vec![
        row(at, "400", 400, &error(1000), "bad_request"),
        row(at, "400 for a key", 400, &error(9103), "unauthorised"),
        row(at, "401", 401, &error(9109), "unauthorised"),
        row(at, "402", 402, &error(1000), "unlicensed"),
        row(at, "403", 403, &error(10000), "forbidden"),
        row(at, "404 of the user", 404, &error(1000), "unknown"),
        row(at, "404 of the route", 404, &error(7003), "bad_request"),
        row(at, "500", 500, &error(1000), "server_error"),
        row(at, "another's JSON", 200, &json!({"ok": true}), "malformed_response"),
    ];
    run("cloudflare", at, own);
}

#[test]
fn oracles_errors_are_told_apart() {
    let at = "/oracle_casb/api/v1/reports";
    let error = json!({"message": "no"});
    let own = vec![
        row(at, "400", 400, &error, "bad_request"),
        row(at, "401", 401, &error, "unauthorised"),
        row(at, "403", 403, &error, "forbidden"),
        row(at, "404 of the application", 404, &error, "bad_request"),
        row(at, "500", 500, &error, "server_error"),
    ];
    run("oracle_casb", at, own);
}
