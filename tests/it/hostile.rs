//! Identifiers as an attacker writes them: nothing of them reaches another page of a vendor.

use std::time::Duration;

use crate::harness::kafka::{NewRecord, Stage};
use crate::harness::service::{Service, Settings};
use crate::harness::vendors::Vendors;
use crate::harness::{alerts, check};

/// As JSON text: what is escaped here is the identifier's own.
const HOSTILE: [&str; 14] = [
    "../../../../api/v1/users",
    "arn:aws:iam::1:user/../../../x",
    "arn:aws:iam::1:user/a?admin=1#x",
    "arn:aws:iam::1:user/a%2f..%2fb",
    "arn:aws:iam::1:user/a\\u0000b",
    "arn:aws:iam::1:user/a\\r\\nx-evil: 1",
    "x\\\" OR \\\"1\\\"=\\\"1",
    "x\\\\\\\" OR entity.hostname = \\\"y",
    "ACME\\\\a/../b",
    "2c46cdd9-92e3-4e5f-b3cf-00000000000/../summary",
    "summary",
    "behaviors",
    "a@example.com&pagesize=1000",
    "\\ud83d\\udc7e@example.com",
];

#[test]
fn hostile_identifiers_reach_no_other_page_and_hold_nothing_up() {
    let stage = Stage::embedded(1);
    let vendors = Vendors::start(0);
    let mut service = Service::start(&Settings::of(&stage, "deadline: 10s", vendors.providers("")).text());
    service.assigned(1);
    let mut records = Vec::new();
    for (n, identifier) in HOSTILE.iter().enumerate() {
        for vendor in alerts::VENDORS {
            records.push(NewRecord::value(0, alerts::of(vendor, identifier, n)));
        }
    }
    let inputs = stage.produce(records);
    stage.wait_for(inputs.len(), Duration::from_secs(30));
    let found = check::compare(&stage, &inputs, true);
    assert_eq!((found.published, found.dead), (inputs.len(), 0));
    assert!(service.log().lines().all(|line| !line.contains("panicked")), "{}", service.log());
    service.ends_well();
    // Below a vendor's prefix, only the pages that we mean to ask were asked.
    let allowed = [
        "GET /datadog/api/v2/security-entities/risk-scores/",
        "POST /cortex_xdr/public_api/v1/get_risk_score",
        "GET /google_secops/v1alpha/projects/p/locations/us/instances/2c46cdd9-92e3-5e5f-b3cf-0123456789ab/\
         entityRiskScores:query?",
        "GET /cloudflare/accounts/0123456789abcdef0123456789abcdef/zt_risk_scoring/",
        "GET /cloudflare/accounts/0123456789abcdef0123456789abcdef/access/users?",
        "POST /oracle_casb/api/v1/token",
        "GET /oracle_casb/api/v1/reports/details/userrisk?",
    ];
    for (vendor, calls) in vendors.world.all_calls() {
        for path in calls.by_path.keys() {
            let page = allowed.iter().find(|page| path.starts_with(*page));
            let page = page.unwrap_or_else(|| panic!("{vendor} was asked for another page: {path}"));
            let rest = &path[page.len()..];
            assert!(!rest.contains("..") || page.contains('?') || vendor == "datadog", "{path}");
            if vendor == "datadog" {
                assert!(!rest.contains(['/', '?', '#']), "an identifier is one segment: {path}");
            }
            if page.ends_with("zt_risk_scoring/") {
                assert!(rest == "summary" || uuid::Uuid::try_parse(rest).is_ok(), "{path}");
            }
            if vendor == "oracle_casb" && page.contains('?') {
                assert_eq!(rest.matches("pagesize=").count(), 1, "{path}");
            }
        }
    }
    // The filter's grammar was never broken: the simulator answers 400 to one that it cannot read.
    let broken = stage.outputs().iter().any(|output| {
        let entities = output.json()["risk"]["entities"].clone();
        entities.as_array().unwrap().iter().any(|e| e["reason"] == "bad_request")
    });
    assert!(!broken, "no vendor saw a broken request");
}
