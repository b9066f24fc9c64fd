//! The questions of playbooks: `/v1` over HTTP, from the same cache as the stream.

use std::time::Duration;

use serde_json::Value;

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check};

const TOKEN: &str = "a-token";

fn started(stage: &Stage, vendors: &Vendors, admin: &str) -> Service {
    let text = Settings::of(stage, "", vendors.providers("")).text();
    let mut service = Service::start(&text.replace("admin: {listen: '127.0.0.1:0'}", admin));
    service.assigned(1);
    service
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn playbooks_ask_the_cache_of_the_stream_and_may_make_it_forget() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let mut service = started(&stage, &vendors, &format!("admin: {{listen: '127.0.0.1:0', token: {TOKEN}}}"));
    let entity = alerts::entity("google_secops", 1);
    let alert = alerts::of("google_secops", &entity, 1);
    stage.produce(vec![NewRecord::value(0, alert.clone())]);
    stage.wait_for(1, Duration::from_secs(10));
    assert_eq!(vendors.requests(), 1);

    let question = format!("/v1/risk?kind=host&id={entity}");
    let (code, answer) = service.call("GET", &question, TOKEN, "");
    assert_eq!((code, &json(&answer)["source"]), (200, &"cache".into()), "{answer}");
    let body = serde_json::json!({"kind": "host", "id": entity}).to_string();
    let (code, answer) = service.call("POST", "/v1/risk", TOKEN, &body);
    assert_eq!((code, &json(&answer)["value"]), (200, &entity.as_str().into()), "{answer}");

    let text = String::from_utf8(alert.clone()).unwrap();
    let (code, enriched) = service.call("POST", "/v1/enrich", TOKEN, &text);
    let (rest, risk) = check::without_risk(enriched.as_bytes()).unwrap();
    assert_eq!((code, rest), (200, alert));
    assert_eq!((&risk["status"], &risk["entities"][0]["source"]), (&"complete".into(), &"cache".into()));
    assert_eq!(vendors.requests(), 1, "nobody was asked a second time");

    let forget = question.replace("/risk", "/cache");
    assert_eq!(json(&service.call("DELETE", &forget, TOKEN, "").1)["forgotten"], true);
    assert_eq!(json(&service.call("DELETE", &forget, TOKEN, "").1)["forgotten"], false);
    let (_, answer) = service.call("GET", &question, TOKEN, "");
    assert_eq!((&json(&answer)["source"], vendors.requests()), (&"provider".into(), 2), "{answer}");

    assert_eq!(service.call("GET", "/v1/risk?kind=dragon&id=x", TOKEN, "").0, 400);
    assert_eq!(service.call("GET", "/v1/risk?kind=user&id=x", TOKEN, "").0, 400, "several know users");
    assert_eq!(service.call("POST", "/v1/enrich", TOKEN, "{").0, 422);
    for (method, path) in [("GET", question.as_str()), ("POST", "/v1/enrich"), ("DELETE", forget.as_str())] {
        assert_eq!(service.call(method, path, "another", "{}").0, 401, "{method} {path}");
    }
    service.ends_well();
}

#[test]
fn without_a_token_there_is_no_api() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let mut service = started(&stage, &vendors, "admin: {listen: '127.0.0.1:0'}");
    assert_eq!(service.call("GET", "/v1/risk?kind=host&id=x", "", "").0, 404);
    assert_eq!(service.call("POST", "/v1/enrich", "", "{}").0, 404);
    service.ends_well();
}
