//! A server that records what it is asked.
use crate::harness::Server;
use knarr_api::Value;
use std::path::{Path, PathBuf};

/// A server with a policy, and its log.
pub struct Audited {
    pub server: Server,
    pub log: PathBuf,
}

impl Audited {
    pub async fn start(directory: &Path, policy: &str, more: &[&str]) -> Self {
        let file = directory.join("policy.yaml");
        std::fs::write(&file, format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{policy}")).expect("file");
        let log = directory.join("audit.log");
        let flags = [
            format!("--audit-policy-file={}", file.display()),
            format!("--audit-log-path={}", log.display()),
        ];
        let mut words: Vec<&str> = flags.iter().map(String::as_str).collect();
        words.extend(more);
        Self { server: Server::start(directory, &words).await, log }
    }

    /// The events with this in their URI.
    pub fn of(&self, part: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let events = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a whole line"));
        events.filter(|event| event["requestURI"].as_str().is_some_and(|uri| uri.contains(part))).collect()
    }
}
