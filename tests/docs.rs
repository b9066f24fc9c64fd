//! The documents agree with the code: configurations can be used, and commands, metrics, words and tests exist.
//!
//! A block is found by the comment before it (`<!-- complete -->`). Contract: reads the documents as they are shipped
//! and calls nobody.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use riskstream::alert::Formats;
use riskstream::compose::AlertStatus;
use riskstream::config::Config;
use riskstream::engine::Engine;
use riskstream::metrics::Metrics;
use riskstream::provider::FailureKind;
use riskstream::provider::registry::TYPES;
use riskstream::source::access;

const DOCUMENTS: [&str; 9] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/guarantees.md",
    "docs/kafka.md",
    "docs/operating.md",
    "docs/vendors.md",
    "helm/riskstream/README.md",
];

fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The blocks of the README that follow `<!-- mark -->`.
fn blocks(mark: &str) -> Vec<String> {
    let pattern = format!(r"(?s)<!-- {mark} -->\n```\w+\n(.*?)```");
    let found = Regex::new(&pattern).unwrap();
    let blocks: Vec<_> =
        found.captures_iter(&document("README.md")).map(|block| block[1].to_owned()).collect();
    assert!(!blocks.is_empty(), "no block is marked {mark}");
    blocks
}

fn words(pattern: &str, text: &str) -> BTreeSet<String> {
    Regex::new(pattern).unwrap().captures_iter(text).map(|word| word[1].to_owned()).collect()
}

fn riskstream() -> Command {
    Command::new(env!("CARGO_BIN_EXE_riskstream"))
}

#[test]
fn the_readmes_configurations_can_be_used() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for text in blocks("complete") {
        let env = words(r"\{env: (\w+)\}", &text).into_iter().map(|name| (name, "value".to_owned()));
        let config =
            Config::parse("README.md", &text, Path::new(""), env).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let _guard = runtime.enter();
        Engine::build(&config, runtime.handle().clone()).map(drop).unwrap_or_else(|e| panic!("{e}\n{text}"));
    }
}

#[test]
fn the_readmes_format_finds_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("acme_edr.yaml"), &blocks("format")[0]).unwrap();
    fs::write(path("try.yaml"), "formats: [./acme_edr.yaml]").unwrap();
    fs::write(path("alert.json"), &blocks("alert")[0]).unwrap();
    let output =
        riskstream().arg("extract").arg("--config").args([path("try.yaml"), path("alert.json")]).output();
    let output = output.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect(text);
    let found = String::from_utf8_lossy(&output.stdout);
    assert_eq!(read(&found), read(&blocks("extracted")[0]), "{found}");
}

#[test]
fn the_configurations_of_the_way_to_kafka_can_be_used() {
    let text = document("docs/kafka.md");
    let blocks = Regex::new(r"(?s)```yaml\n(.*?)```").unwrap();
    let blocks: Vec<&str> = blocks.captures_iter(&text).map(|block| block.get(1).unwrap().as_str()).collect();
    assert_eq!(blocks.len(), 2);
    for block in blocks {
        if block.contains("AWS_MSK_IAM") && !cfg!(feature = "msk-iam") {
            continue;
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), block).unwrap();
        Config::load_offline(file.path(), []).unwrap_or_else(|e| panic!("{e}\n{block}"));
    }
}

#[test]
fn the_documented_acls_are_those_that_are_asked_about() {
    let text = document("docs/kafka.md");
    let rows = Regex::new(r"(?m)^\| (the service|with `[a-z_.]+`) \| ([a-z ]+) \| (.*) \| (.*) \| ?(.*)\|$")
        .unwrap();
    let documented: Vec<[String; 3]> =
        rows.captures_iter(&text).map(|row| [2, 4, 5].map(|cell| row[cell].trim().to_owned())).collect();
    let mut config = Config::default();
    config.output.updates = Some("updates".to_owned());
    let mut needs = access::needs(&config, &[]);
    needs.push(access::transactional(&config.input.group));
    let asked = needs.iter().map(|need| {
        let operations: Vec<_> = need.operations.iter().map(|operation| operation.label()).collect();
        let wanted = need.wanted.map(|wanted| wanted.operation.label());
        [need.resource.label().to_owned(), operations.join(", "), wanted.unwrap_or_default().to_owned()]
    });
    assert_eq!(documented, asked.collect::<Vec<_>>());
}

#[test]
fn every_metric_is_documented_and_no_other() {
    let metrics = Metrics::new(&["datadog"]).unwrap();
    // These have no series before the first assignment.
    for gauge in [
        &metrics.lag,
        &metrics.processed,
        &metrics.committed,
        &metrics.broker_committed,
        &metrics.commit_behind,
    ] {
        gauge.with_label_values(&["alerts", "0"]).set(0);
    }
    let there = words(r"(?m)^# TYPE (\w+) ", &metrics.render().unwrap());
    let documented = words(r"(?m)^\| `(riskstream_\w+)` \|", &document("docs/operating.md"));
    assert_eq!(documented, there);
    for name in DOCUMENTS {
        for metric in words(r"\b(riskstream_[a-z_]+)\b", &document(name)) {
            assert!(there.contains(&metric), "{name}: there is no metric {metric}");
        }
    }
}

#[test]
fn every_command_and_argument_in_a_document_exists() {
    let lines = Regex::new(r"(?m)^\s*(?:riskstream|cargo run --release --) ([a-z]+)(.*)$").unwrap();
    let mut seen = 0;
    for name in DOCUMENTS {
        for line in lines.captures_iter(&document(name)) {
            let (command, rest) = (&line[1], line[2].split(" #").next().unwrap_or_default());
            // Some have commands of their own.
            let second = rest.split_whitespace().next().filter(|_| command == "dlq");
            let all: Vec<&str> = [command].into_iter().chain(second).chain(["--help"]).collect();
            let output = riskstream().args(&all).output().unwrap();
            let help = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{name}: there is no command {all:?}");
            for argument in words(r"(?:^| )(--[a-z]+)", rest) {
                assert!(help.contains(&argument), "{name}: {command} has no {argument}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen} commands were found");
}

#[test]
fn the_readme_names_every_status_reason_format_and_vendor() {
    let readme = document("README.md");
    let formats = Formats::built_in();
    let statuses = AlertStatus::ALL.map(AlertStatus::label);
    let reasons = FailureKind::ALL.map(FailureKind::label);
    for word in statuses.into_iter().chain(reasons).chain(TYPES).chain(formats.names()) {
        assert!(readme.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn every_test_that_the_architecture_names_exists() {
    let text = document("ARCHITECTURE.md");
    let invariants =
        text.split("## ").find(|part| part.starts_with("Invariants")).expect("a chapter on invariants");
    let named = words(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`", invariants);
    assert!(named.len() > 20, "{named:?}");
    let mut there = BTreeSet::new();
    for folder in ["src", "tests"] {
        tests_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut there);
    }
    let missing: Vec<_> = named.difference(&there).collect();
    assert!(missing.is_empty(), "no tests are called {missing:?}");
}

/// Collects the names of all functions below `folder`.
fn tests_below(folder: &Path, names: &mut BTreeSet<String>) {
    let entries: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for path in entries {
        if path.is_dir() {
            tests_below(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(words(r"\bfn (\w+)\(", &fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What `check` prints of the memory of the defaults with one provider: what, MiB, the keys that decide.
fn ceiling() -> Vec<(String, f64, String)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("riskstream.yaml");
    let keys = "api_key: {env: DD_API_KEY}, application_key: {env: DD_APPLICATION_KEY}";
    fs::write(&file, format!("providers: {{datadog: {{type: datadog, site: datadoghq.com, {keys}}}}}\n"))
        .unwrap();
    let output = riskstream()
        .args(["check", "--json", "--config"])
        .arg(file)
        .envs([("DD_API_KEY", "value"), ("DD_APPLICATION_KEY", "value")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines
        .filter_map(|line| {
            let text = |name: &str| line[name].as_str().map(str::to_owned);
            Some((text("memory")?, line["bytes"].as_f64()? / 1048576.0, text("by")?))
        })
        .collect()
}

#[test]
fn the_memory_in_the_documents_is_what_check_prints_for_the_defaults() {
    let text = document("docs/operating.md");
    let table: Vec<Vec<&str>> = text
        .lines()
        .skip_while(|line| !line.starts_with("what ") || !line.contains("MiB"))
        .skip(1)
        .take_while(|line| !line.starts_with("```"))
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let printed: Vec<_> =
        ceiling().into_iter().map(|(what, mib, by)| vec![what, format!("{mib:.0}"), by]).collect();
    let printed: Vec<Vec<&str>> = printed
        .iter()
        .map(|row| row.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(table, printed);
}

#[test]
fn the_charts_memory_limit_is_above_the_ceiling_of_its_configuration() {
    let values = document("helm/riskstream/values.yaml");
    let limits = values.split("\n  limits:\n").nth(1).expect("resources.limits");
    let found = Regex::new(r"^    memory: (\d+)(Mi|Gi)\n")
        .unwrap()
        .captures(limits)
        .expect("resources.limits.memory");
    let limit: f64 = found[1].parse::<f64>().unwrap() * if &found[2] == "Gi" { 1024.0 } else { 1.0 };
    let ceiling = ceiling();
    let (_, all, _) = ceiling.last().unwrap();
    assert!(*all < limit, "check prints {all:.0} MiB, and the chart allows {limit}");
    // The chart's own configuration changes none of the keys that decide.
    for key in ["capacity", "in_flight", "threads"] {
        assert!(!values.contains(&format!("    {key}")), "{key} is set in the chart: reckon with it here");
    }
}
