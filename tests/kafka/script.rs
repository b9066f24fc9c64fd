//! `broker.sh`, which starts, kills and brings back brokers: the one of `KAFKA_DIR`, or others of a test's own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/broker.sh");

/// Runs `broker.sh COMMAND` on the broker of `KAFKA_DIR`.
pub fn script(command: &str) {
    let status = Command::new(SCRIPT).args(command.split(' ')).status().unwrap();
    assert!(status.success(), "broker.sh {command}");
}

/// Brokers of a test's own; their end is that of this.
pub struct Cluster {
    dir: PathBuf,
    env: Vec<(&'static str, String)>,
}

impl Cluster {
    /// Starts them as the variables say.
    pub fn start(env: &[(&'static str, &str)]) -> Cluster {
        let dir = tempfile::tempdir().unwrap().keep();
        let env = env.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        let cluster = Cluster { dir, env };
        cluster.run("start");
        cluster
    }

    fn command(&self, command: &str) -> Command {
        let mut script = Command::new(SCRIPT);
        script.args(command.split(' ')).env("KAFKA_DIR", &self.dir);
        script.envs(self.env.iter().map(|(key, value)| (*key, value)));
        script
    }

    /// Runs `broker.sh COMMAND` on them.
    pub fn run(&self, command: &str) {
        assert!(self.command(command).status().unwrap().success(), "broker.sh {command}");
    }

    /// Whether all nodes run.
    pub fn is_up(&self) -> bool {
        self.command("status").output().unwrap().status.success()
    }

    /// What `broker.sh env` says.
    pub fn env(&self) -> BTreeMap<String, String> {
        let output = self.command("env").output().unwrap();
        let words = String::from_utf8(output.stdout).unwrap();
        let pairs = words.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// `bootstrap.servers`.
    pub fn brokers(&self) -> String {
        self.env()["KAFKA_BROKERS"].clone()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.command("stop").status();
    }
}
