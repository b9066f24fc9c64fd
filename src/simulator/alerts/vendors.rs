//! Alerts of the five products whose risk scores are looked up, in the forms that their pages document.

use serde_json::{Value, json};

use super::cast;
use super::draw::Draw;
use crate::simulator::{cloudflare as account, oracle_casb as tenant};

/// A signal as the signals API returns it.
pub(super) fn datadog_signal(d: &mut Draw) -> Value {
    let who = d.popular(cast::IDENTITIES);
    let arn = cast::arn(who);
    let ip = cast::public_ip(d.popular(cast::ADDRESSES));
    let call =
        d.word(&["CreateAccessKey", "StopLogging", "PutBucketPolicy", "AttachUserPolicy", "ConsoleLogin"]);
    let severity = d.word(&["info", "low", "medium", "high", "critical"]);
    json!({
        "id": format!("AwAAA{}", d.hex(24)),
        "type": "signal",
        "attributes": {
            "timestamp": d.time(),
            "message": format!("Unusual {call} by an identity that has not done so in 14 days"),
            "tags": ["source:cloudtrail", format!("aws_account:{}", cast::account(who)), "env:prod", "team:security"],
            "custom": {
                "title": format!("Anomalous API activity: {call}"),
                "status": severity,
                "entities": [format!("@userIdentity.arn:{arn}"), format!("@network.client.ip:{ip}")],
                "userIdentity": {"arn": arn, "accountId": cast::account(who), "type": "IAMUser"},
                "network": {"client": {"ip": ip, "geoip": {"country": {"iso_code": d.word(&["DE", "BR", "JP", "KE", "US"])}}}},
                "evt": {"name": call, "outcome": d.word(&["success", "failure"])},
                "workflow": {
                    "first_seen": d.millis() - 60_000,
                    "last_seen": d.millis(),
                    "rule": {"id": d.hex(16), "name": "Anomalous API activity", "type": "anomaly_detection", "version": 3},
                    "triage": {"state": "open", "assignee": null},
                },
                "samples": d.below(40) + 1,
            },
        },
    })
}

/// An alert as `get_alerts_multi_events` returns it.
pub(super) fn cortex_xdr(d: &mut Draw) -> Value {
    let machine = d.popular(cast::HOSTS);
    let user = format!("ACME\\{}", cast::login(d.popular(cast::PEOPLE)));
    let technique = d.word(&[
        "Credential dumping via LSASS",
        "Remote service creation",
        "Suspicious PowerShell download",
        "Kerberoasting",
        "Large upload to an unknown host",
    ]);
    let host = cast::host(machine);
    json!({
        "external_id": d.uuid(),
        "alert_id": d.below(10_000_000).to_string(),
        "detection_timestamp": d.millis(),
        "severity": d.word(&["low", "medium", "high"]),
        "matching_status": "MATCHED",
        "name": technique,
        "category": d.word(&["Credential Access", "Lateral Movement", "Execution", "Exfiltration"]),
        "source": d.word(&["XDR Agent", "XDR Analytics", "XDR BIOC"]),
        "description": format!("{technique} on a monitored machine, seen by the agent and confirmed by analytics"),
        "action": "DETECTED",
        "action_pretty": "Detected (Reported)",
        "endpoint_id": cast::endpoint(machine),
        "host_name": if d.one_in(3) { host.to_uppercase() } else { host },
        "host_ip": [cast::private_ip(machine)],
        "agent_version": "8.4.0.51",
        "agent_os_type": "Windows",
        "mac_address": null,
        "mitre_tactic_id_and_name": ["TA0006 - Credential Access"],
        "events": [{
            "event_type": "Process Execution",
            "event_timestamp": d.millis() - 300,
            "user_name": user,
            "actor_process_image_name": d.word(&["powershell.exe", "procdump.exe", "rundll32.exe", "cmd.exe"]),
            "actor_process_command_line": "powershell -nop -w hidden -enc SQBFAFgAIAAoAE4A",
            "actor_process_image_sha256": d.hex(64),
            "causality_actor_process_image_name": "explorer.exe",
        }],
    })
}

/// A detection of a rule, as the API lists it.
pub(super) fn google_secops(d: &mut Draw) -> Value {
    let machine = d.popular(cast::HOSTS);
    let email = cast::email(d.popular(cast::PEOPLE));
    let (from, to) = (cast::private_ip(machine), cast::public_ip(d.popular(cast::ADDRESSES)));
    let rule =
        d.word(&["suspicious_logins", "dns_to_rare_domain", "new_admin_account", "rare_parent_process"]);
    let host = cast::host(machine);
    let mut detection = json!({
        "type": "RULE_DETECTION",
        "id": format!("de_{}", d.uuid()),
        "createdTime": d.time(),
        "detectionTime": d.time(),
        "timeWindow": {"startTime": d.time(), "endTime": d.time()},
        "detection": [{
            "ruleName": rule,
            "ruleId": format!("ru_{}", d.uuid()),
            "ruleVersion": format!("ru_{}@v_{}", d.hex(12), d.below(1_000_000)),
            "ruleType": "MULTI_EVENT",
            "alertState": "ALERTING",
            "severity": d.word(&["LOW", "MEDIUM", "HIGH", "CRITICAL"]),
            "urlBackToProduct": format!("https://secops.example.com/alert?id=de_{}", d.hex(16)),
            "detectionFields": [{"key": "hostname", "value": host}, {"key": "user", "value": email}],
            "outcomes": [{"key": "risk_score", "value": d.below(100).to_string()}],
        }],
        "collectionElements": [{
            "label": "login",
            "references": [{"event": {
                "metadata": {"eventType": "USER_LOGIN", "productName": "Identity", "eventTimestamp": d.time()},
                "principal": {"hostname": host, "ip": [from]},
                "target": {"ip": [to], "user": {"emailAddresses": [email]}},
                "securityResult": [{"action": ["ALLOW"], "severity": "MEDIUM"}],
            }}],
        }],
    });
    if d.one_in(4) {
        detection = json!({"detectionAlert": detection});
    }
    detection
}

/// A line of Logpush: Gateway or Access.
pub(super) fn cloudflare(d: &mut Draw) -> Value {
    let ip = cast::public_ip(d.popular(cast::ADDRESSES));
    if d.one_in(3) {
        // Not every log-in comes with the user's id: then the e-mail has to do.
        let email = d.member();
        let id = if d.one_in(2) { account::user_id(&email).to_string() } else { String::new() };
        return json!({
            "Action": "login",
            "Allowed": false,
            "AppDomain": d.word(&["wiki.example.com", "git.example.com", "payroll.example.com"]),
            "AppUUID": d.uuid(),
            "Connection": "okta",
            "Country": d.word(&["us", "de", "br", "jp"]),
            "CreatedAt": d.time(),
            "Email": email,
            "IPAddress": ip,
            "PurposeJustificationPrompt": "",
            "PurposeJustificationResponse": "",
            "RayID": d.hex(16),
            "TemporaryAccessApprovers": [],
            "TemporaryAccessDuration": 0,
            "UserUID": id,
        });
    }
    let email = account::email(u32::try_from(d.popular(cast::MEMBERS as usize)).unwrap_or_default());
    let id = account::user_id(&email).to_string();
    json!({
        "Datetime": d.time(),
        "AccountID": account::ACCOUNT_ID,
        "QueryName": format!("{}.{}.example.net", d.hex(10), d.word(&["cdn", "update", "img"])),
        "QueryType": 1,
        "QueryTypeName": "A",
        "ResolverDecision": d.word(&["blockedByCategory", "blockedRule", "blockedSafeSearch"]),
        "MatchedCategoryNames": [d.word(&["Malware", "Phishing", "Command and Control & Botnet"]), "Security threats"],
        "PolicyID": d.uuid(),
        "PolicyName": "Block known bad",
        "Location": "Berlin office",
        "ColoCode": "TXL",
        "Protocol": "https",
        "UserID": id,
        "Email": email,
        "DeviceID": d.uuid(),
        "DeviceName": cast::host(d.popular(cast::HOSTS)),
        "SourceIP": ip,
        "SrcIPCountry": "de",
        "DstIP": "",
        "RCode": 0,
    })
}

/// A risk event of the tenant.
pub(super) fn oracle_casb(d: &mut Draw) -> Value {
    let actor = cast::email(d.popular(cast::PEOPLE));
    let (kind, instance, id) = tenant::APPLICATIONS.get(d.below(3) as usize).copied().unwrap_or_default();
    let event = d.hex(24);
    json!({
        "id": event,
        "uri": format!("/api/v1/events/riskevents/{event}"),
        "appname": kind,
        "appinstance": instance,
        "appinstanceid": id,
        "snapdate": d.time(),
        "title": d.word(&["Suspicious log-in", "Role granted to an outsider", "Mass download", "Sharing opened to everybody"]),
        "category": d.word(&["Anomalous activity", "Policy alert", "Security control"]),
        "priority": d.word(&["Low", "Medium", "High"]),
        "status": "Open",
        "createdon": d.time(),
        "realeventtime": d.time(),
        "recommendation": "Verify with the user that this was intended; if not, end the sessions and reset the password.",
        "additionalDetails": [{
            "Details": [
                {"name": "Actor", "value": actor},
                {"name": "IP address", "value": cast::public_ip(d.popular(cast::ADDRESSES))},
                {"name": "Country", "value": d.word(&["Brazil", "Germany", "Japan", "Kenya"])},
                {"name": "User agent", "value": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0)"},
                {"name": "Deviation", "value": format!("{} times the usual", d.below(30) + 3)},
            ],
            "Logdata": "",
        }],
    })
}
