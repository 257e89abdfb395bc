//! Flags that every component takes, named as the original's.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;

pub use serving::{DelegatedAuthentication, DelegatedAuthorization, Minimum, SecureServing, Server};

mod serving;

/// How to reach the API server.
#[derive(Debug, Clone, Args)]
pub struct Connection {
    /// Path to the kubeconfig of the API server; without it the in-cluster configuration is used.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// How much to log.
#[derive(Debug, Clone, Default, Args)]
pub struct Logging {
    /// Log level as a number: 2 shows what happens, 4 why, 6 every request.
    #[arg(long = "v", short = 'v', default_value_t = 2, value_name = "LEVEL")]
    pub verbosity: u8,
    /// Log filter in the form of tracing, for example `info,knarr_scheduler=debug`.
    #[arg(long, env = "KNARR_LOG", value_name = "FILTER", hide = true)]
    pub log_filter: Option<String>,
    /// Form of the log lines.
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub logging_format: String,
}

/// Where health and metrics are served over plain HTTP, by what has no counterpart in the original. The port has no default
/// here; zero means that nothing is served.
#[derive(Debug, Clone, Args)]
pub struct Serving {
    /// Address to serve health and metrics on.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind_address: IpAddr,
    /// Port to serve health and metrics on (plain HTTP); 0 serves none.
    #[arg(long, visible_alias = "healthz-port")]
    pub secure_port: Option<u16>,
}

/// Leader election among replicas of a component.
#[derive(Debug, Clone, Args)]
pub struct LeaderElection {
    /// Work only while holding the lease, for replicated components.
    #[arg(long, default_value_t = true, num_args = 0..=1, require_equals = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// How long a lease that is not renewed stays valid.
    #[arg(long, default_value = "15s", value_parser = duration)]
    pub leader_elect_lease_duration: Duration,
    /// How long the leader tries to renew before it gives up.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub leader_elect_renew_deadline: Duration,
    /// Time between attempts to acquire or renew.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub leader_elect_retry_period: Duration,
    /// The kind of object that is locked.
    #[arg(long, default_value = "leases", value_parser = ["leases"])]
    pub leader_elect_resource_lock: String,
    /// Namespace of the lease.
    #[arg(long, default_value = "kube-system")]
    pub leader_elect_resource_namespace: String,
    /// Name of the lease; each component has its own default.
    #[arg(long)]
    pub leader_elect_resource_name: Option<String>,
}

/// Features that are switched on or off.
#[derive(Debug, Clone, Default, Args)]
pub struct FeatureGates {
    /// Features to switch on or off: NAME=true or NAME=false; AllAlpha and AllBeta stand for all of a stage.
    #[arg(long, value_delimiter = ',', value_name = "NAME=BOOL", value_parser = switch)]
    pub feature_gates: Vec<(String, bool)>,
}

impl FeatureGates {
    /// The switches; none of those that the flag does not name.
    pub fn pairs(&self) -> Vec<(&str, bool)> {
        self.feature_gates.iter().map(|(name, on)| (name.as_str(), *on)).collect()
    }
}

fn switch(text: &str) -> Result<(String, bool), String> {
    let pair =
        text.trim().split_once('=').and_then(|(name, value)| Some((name.to_owned(), value.parse().ok()?)));
    pair.ok_or_else(|| format!("{text:?} is not NAME=true or NAME=false"))
}

/// Parses a duration in Go's form: `1h30m`, `40s`, `500ms`, `1.5h`; also plain `0`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration such as 40s, 500ms or 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        total += number * unit;
        rest = &rest[letters..];
    }
    if text.is_empty() {
        return Err(wrong());
    }
    Duration::try_from_secs_f64(total).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_in_gos_form() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(duration(text).ok().map(|d| d.as_millis() as u64), expected, "{text}");
        };
        check("40s", Some(40_000));
        check("1h30m", Some(5_400_000));
        check("1.5h", Some(5_400_000));
        check("500ms", Some(500));
        check("1m0s", Some(60_000));
        check("0", Some(0));
        check("5", None);
        check("", None);
        check("s", None);
        check("3 s", None);
    }
}
