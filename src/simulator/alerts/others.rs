//! Alerts of products that have no risk scores of their own: routes and kinds say who is asked.

use serde_json::{Value, json};

use super::cast;
use super::draw::Draw;

/// A record of CloudTrail, sometimes within an event of EventBridge.
pub(super) fn aws_cloudtrail(d: &mut Draw) -> Value {
    let who = d.popular(cast::IDENTITIES);
    let identity = if cast::is_user(who) {
        json!({
            "type": "IAMUser",
            "principalId": format!("AIDA{}", d.hex(12).to_uppercase()),
            "arn": cast::arn(who),
            "accountId": cast::account(who),
            "userName": cast::identity_name(who),
        })
    } else {
        json!({
            "type": "AssumedRole",
            "principalId": format!("AROA{}:build", d.hex(12).to_uppercase()),
            "accountId": cast::account(who),
            "sessionContext": {
                "sessionIssuer": {"type": "Role", "arn": cast::arn(who), "userName": cast::identity_name(who)},
                "attributes": {"mfaAuthenticated": "false", "creationDate": d.time()},
            },
        })
    };
    let ip = cast::public_ip(d.popular(cast::ADDRESSES));
    let record = json!({
        "eventVersion": "1.09",
        "userIdentity": identity,
        "eventTime": d.time(),
        "eventSource": d.word(&["iam.amazonaws.com", "s3.amazonaws.com", "kms.amazonaws.com"]),
        "eventName": d.word(&["CreateAccessKey", "PutBucketPolicy", "ScheduleKeyDeletion", "CreateUser"]),
        "awsRegion": d.word(&["us-east-1", "eu-west-1", "ap-northeast-1"]),
        "sourceIPAddress": if d.one_in(5) { "cloudformation.amazonaws.com".to_owned() } else { ip },
        "userAgent": "aws-cli/2.15.0 Python/3.11.6 Linux/6.1 exe/x86_64",
        "requestParameters": {"bucketName": format!("example-{}", d.hex(6))},
        "responseElements": null,
        "requestID": d.uuid(),
        "eventID": d.uuid(),
        "readOnly": false,
        "eventType": "AwsApiCall",
        "managementEvent": true,
    });
    if d.one_in(2) {
        return record;
    }
    json!({
        "version": "0",
        "id": d.uuid(),
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.iam",
        "account": cast::account(who),
        "time": d.time(),
        "resources": [],
        "detail": record,
    })
}

/// A finding of GuardDuty through EventBridge.
pub(super) fn aws_guardduty(d: &mut Draw) -> Value {
    let who = d.popular(cast::IDENTITIES);
    let finding = d.hex(32);
    json!({
        "version": "0",
        "id": d.uuid(),
        "detail-type": "GuardDuty Finding",
        "source": "aws.guardduty",
        "account": cast::account(who),
        "time": d.time(),
        "detail": {
            "schemaVersion": "2.0",
            "accountId": cast::account(who),
            "region": "us-east-1",
            "partition": "aws",
            "id": finding,
            "arn": format!("arn:aws:guardduty:us-east-1:{}:detector/12abc/finding/{finding}", cast::account(who)),
            "type": d.word(&["Stealth:IAMUser/CloudTrailLoggingDisabled", "Recon:IAMUser/UserPermissions"]),
            "resource": {"resourceType": "AccessKey", "accessKeyDetails": {
                "accessKeyId": format!("AKIA{}", d.hex(12).to_uppercase()),
                "userType": if cast::is_user(who) { "IAMUser" } else { "Role" },
                "userName": cast::identity_name(who),
            }},
            "service": {
                "serviceName": "guardduty",
                "detectorId": "12abc",
                "action": {"actionType": "AWS_API_CALL", "awsApiCallAction": {
                    "api": "ListBuckets",
                    "serviceName": "s3.amazonaws.com",
                    "remoteIpDetails": {"ipAddressV4": cast::public_ip(d.popular(cast::ADDRESSES))},
                }},
                "count": d.below(9) + 1,
            },
            "severity": d.below(8) + 1,
            "title": "An API was called from an unusual place",
        },
    })
}

/// An alert of Falcon.
pub(super) fn crowdstrike(d: &mut Draw) -> Value {
    let machine = d.popular(cast::HOSTS);
    let agent = cast::endpoint(machine);
    json!({
        "composite_id": format!("{}:ind:{agent}:{}", d.hex(32), d.below(1_000_000)),
        "agent_id": agent,
        "aggregate_id": format!("aggind:{agent}:{}", d.below(1_000_000)),
        "created_timestamp": d.time(),
        "device": {
            "device_id": agent,
            "hostname": cast::host(machine),
            "external_ip": cast::public_ip(d.popular(cast::ADDRESSES)),
            "platform_name": "Windows",
            "os_version": "Windows 11",
        },
        "user_name": cast::login(d.popular(cast::PEOPLE)),
        "logon_domain": "ACME",
        "severity": d.below(100),
        "tactic": d.word(&["Execution", "Persistence", "Credential Access"]),
        "technique": d.word(&["PowerShell", "Scheduled Task", "OS Credential Dumping"]),
        "filename": "rundll32.exe",
        "sha256": d.hex(64),
        "cmdline": "rundll32.exe C:\\Users\\Public\\update.dll,Start",
        "status": "new",
        "type": "ldt",
    })
}

/// An alert of Microsoft Graph.
pub(super) fn microsoft_graph(d: &mut Draw) -> Value {
    let machine = d.popular(cast::HOSTS);
    let id = format!("da{}_-{}", d.below(1_000_000_000), d.below(1_000_000));
    json!({
        "@odata.type": "#microsoft.graph.security.alert",
        "id": id,
        "providerAlertId": id,
        "incidentId": d.below(90_000).to_string(),
        "status": "new",
        "severity": d.word(&["low", "medium", "high"]),
        "serviceSource": "microsoftDefenderForEndpoint",
        "detectionSource": "antivirus",
        "createdDateTime": d.time(),
        "title": "Suspicious execution of a signed binary",
        "description": "A signed binary was used to load a library from a place that users can write to.",
        "evidence": [
            {
                "@odata.type": "#microsoft.graph.security.deviceEvidence",
                "deviceDnsName": cast::host(machine),
                "mdeDeviceId": cast::endpoint(machine),
                "osPlatform": "Windows11",
                "riskScore": "medium",
            },
            {
                "@odata.type": "#microsoft.graph.security.userEvidence",
                "userAccount": {"domainName": "ACME", "userPrincipalName": d.member()},
            },
        ],
    })
}

/// A notable event.
pub(super) fn splunk_notable(d: &mut Draw) -> Value {
    json!({
        "event_id": format!("{}@@notable@@{}", d.uuid(), d.hex(32)),
        "rule_name": d.word(&["Access - Brute Force - Rule", "Endpoint - Rare Process - Rule"]),
        "rule_title": "Many failed log-ins, then one that worked",
        "search_name": "Access - Brute Force - Rule",
        "security_domain": "access",
        "urgency": d.word(&["low", "medium", "high", "critical"]),
        "_time": d.time(),
        "src": cast::public_ip(d.popular(cast::ADDRESSES)),
        "dest": cast::host(d.popular(cast::HOSTS)),
        "user": cast::email(d.popular(cast::PEOPLE)),
        "owner": "unassigned",
        "drilldown_search": "| from datamodel:Authentication | search action=failure | stats count by src, user",
        "orig_sourcetype": "linux_secure",
        "status_label": "New",
        "savedsearch_description": "Detects excessive numbers of failed log-ins along with one that succeeded.",
    })
}

/// An Elastic alert, with dotted keys beside nested ones.
pub(super) fn ecs(d: &mut Draw) -> Value {
    let machine = d.popular(cast::HOSTS);
    json!({
        "@timestamp": d.time(),
        "ecs": {"version": "8.11.0"},
        "event": {"kind": "signal", "category": ["process"], "type": ["start"], "action": "exec"},
        "host": {"name": cast::host(machine), "os": {"name": "Windows", "version": "10.0"}, "architecture": "x86_64"},
        "user": {"email": d.member()},
        "process": {"name": "mimikatz.exe", "pid": d.below(60_000), "hash": {"sha256": d.hex(64)}},
        "source": {"ip": cast::private_ip(machine)},
        "kibana.alert.uuid": d.uuid(),
        "kibana.alert.rule.uuid": d.uuid(),
        "kibana.alert.rule.name": d.word(&["Mimikatz", "LSASS memory dump", "Unusual parent process"]),
        "kibana.alert.severity": d.word(&["low", "medium", "high", "critical"]),
        "kibana.alert.risk_score": d.below(100),
        "kibana.alert.reason": "process event with process mimikatz.exe, created a high alert.",
        "kibana.alert.status": "active",
        "kibana.alert.workflow_status": "open",
        "kibana.space_ids": ["default"],
    })
}

/// A detection finding of OCSF.
pub(super) fn ocsf(d: &mut Draw) -> Value {
    let machine = d.popular(cast::HOSTS);
    json!({
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "category_uid": 2,
        "activity_id": 1,
        "type_uid": 200_401,
        "severity_id": d.below(5) + 1,
        "time": d.millis(),
        "metadata": {"version": "1.3.0", "uid": d.uuid(), "product": {"name": "Example EDR", "vendor_name": "Example"}},
        "finding_info": {"uid": d.uuid(), "title": "Malware", "types": ["behavior"], "created_time": d.millis()},
        "actor": {"user": {"email_addr": d.member()}, "process": {"name": "updater.exe", "pid": d.below(60_000)}},
        "device": {
            "hostname": cast::host(machine),
            "type_id": 2,
            "agent_list": [{"uid": cast::endpoint(machine), "type_id": 1}],
        },
        "resources": [{"type": "AwsIamRole", "uid": cast::arn(d.popular(cast::IDENTITIES))}],
        "evidences": [{"dst_endpoint": {"ip": cast::public_ip(d.popular(cast::ADDRESSES))}}],
        "confidence_id": 3,
        "status": "New",
        "message": "The process wrote to a place that starts programs, and then called out.",
    })
}
