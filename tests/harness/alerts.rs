//! Numbered alerts of the five vendors' own formats, spelled so that any rewriting would show.

use super::kafka::NewRecord;

/// The vendor that alert `number` of a mixed load is for.
pub const VENDORS: [&str; 5] = ["datadog", "cortex_xdr", "google_secops", "cloudflare", "oracle_casb"];

/// An alert whose only entity that anybody can be asked about is `entity` of `vendor`.
pub fn of(vendor: &str, entity: &str, number: usize) -> Vec<u8> {
    let own = match vendor {
        "datadog" => format!(
            r#""eventVersion":"1.09","eventSource":"iam.amazonaws.com","userIdentity":{{"type":"IAMUser","arn":"{entity}"}}"#
        ),
        "cortex_xdr" => {
            format!(r#""alert_id":"{number}","detection_timestamp":1748527200000,"user_name":"{entity}""#)
        }
        "google_secops" => format!(
            r#""type":"RULE_DETECTION","detection":[{{"detectionFields":[{{"key":"hostname","value":"{entity}"}}]}}]"#
        ),
        "cloudflare" => {
            format!(
                r#""UserID":"{entity}","Email":"nobody@example.com","DeviceID":"d","QueryName":"x.example""#
            )
        }
        "oracle_casb" => format!(
            r#""appinstanceid":"a","additionalDetails":[{{"Details":[{{"name":"Actor","value":"{entity}"}}]}}]"#
        ),
        other => panic!("no vendor {other}"),
    };
    // Odd spellings: a number, an escape, white space, a member that stands twice.
    format!(
        "{{ \"number\":{number},{own},\t\"cost\" : 1.50E+02, \"big\":123456789012345678901234567890,\"x\":\"\\u00e9\\/\",\"x\":[ ]  }}"
    )
    .into_bytes()
}

/// The identifier of entity `n` of a vendor, as an alert spells it.
pub fn entity(vendor: &str, n: usize) -> String {
    match vendor {
        "datadog" => format!("arn:aws:iam::123456789012:user/u{n}"),
        "cortex_xdr" => format!("ACME\\\\u{n}"),
        "google_secops" => format!("ws-{n}.corp.example.com"),
        "cloudflare" => {
            uuid::Uuid::from_u128(0x2c46_cdd9_92e3_4e5f_b3cf_0000_0000_0000 + n as u128).to_string()
        }
        "oracle_casb" => format!("user{n}@example.com"),
        other => panic!("no vendor {other}"),
    }
}

/// Alert `number` of a load over `entities` entities, spread over the vendors and `partitions`.
pub fn mixed(number: usize, entities: usize, partitions: i32) -> NewRecord {
    let n = number % entities;
    let vendor = VENDORS[n % VENDORS.len()];
    NewRecord {
        partition: (number % partitions as usize) as i32,
        key: Some(format!("k{n}").into_bytes()),
        value: Some(of(vendor, &entity(vendor, n), number)),
        headers: vec![("traceparent".into(), format!("00-{number:032x}-1-01").into_bytes())],
        timestamp: None,
    }
}

impl NewRecord {
    /// The same with one of a hundred keys.
    pub fn keyed(self, number: usize) -> Self {
        NewRecord { key: Some(format!("key-{}", number * 31 % 100).into_bytes()), ..self }
    }
}
