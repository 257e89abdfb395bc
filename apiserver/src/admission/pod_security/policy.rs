//! What a namespace asks of its pods, by its labels and the plugin's defaults.
use super::LABEL;
use super::checks::{LATEST, Level};
use knarr_api::Value;
use knarr_api::field::Error;
use serde::Deserialize;
use std::fmt::{self, Display, Formatter};

/// Levels and versions where a namespace has no label for them; empty: nothing is asked, and the latest version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub(super) struct Defaults {
    enforce: String,
    enforce_version: String,
    audit: String,
    audit_version: String,
    warn: String,
    warn_version: String,
}

/// What one mode asks of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policy {
    /// None: nothing (`privileged`).
    pub level: Option<Level>,
    /// The minor version whose controls count.
    pub minor: u32,
}

/// What the three modes ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Policies {
    pub enforce: Policy,
    pub audit: Policy,
    pub warn: Policy,
}

impl Display for Policy {
    /// `restricted:latest`, `baseline:v1.25`.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "{level}:")?,
            None => f.write_str("privileged:")?,
        }
        match self.minor {
            LATEST => f.write_str("latest"),
            minor => write!(f, "v1.{minor}"),
        }
    }
}

fn level(text: &str) -> Result<Option<Level>, &'static str> {
    match text {
        "privileged" => Ok(None),
        "baseline" => Ok(Some(Level::Baseline)),
        "restricted" => Ok(Some(Level::Restricted)),
        _ => Err("must be one of privileged, baseline, restricted"),
    }
}

fn version(text: &str) -> Result<u32, &'static str> {
    let minor = || text.strip_prefix("v1.").filter(|minor| *minor == "0" || !minor.starts_with(['0', '+']));
    match text {
        "latest" => Ok(LATEST),
        _ => minor().and_then(|minor| minor.parse().ok()).ok_or("must be \"latest\" or \"v1.x\""),
    }
}

impl Defaults {
    /// The texts of the modes as configured, by the names of their labels.
    fn texts(&self) -> [(&'static str, &str, &'static str, &str); 3] {
        [
            ("enforce", &self.enforce, "enforce-version", &self.enforce_version),
            ("audit", &self.audit, "audit-version", &self.audit_version),
            ("warn", &self.warn, "warn-version", &self.warn_version),
        ]
    }

    /// # Errors
    /// The first level or version that is none, in words.
    pub fn check(&self) -> Result<(), String> {
        for (mode, asked, pin, pinned) in self.texts() {
            let invalid = |name: &str, text: &str, fault: &str| {
                format!("defaults.{name}: Invalid value: {text:?}: {fault}")
            };
            if !asked.is_empty() {
                level(asked).map_err(|fault| invalid(mode, asked, fault))?;
            }
            if !pinned.is_empty() {
                version(pinned).map_err(|fault| invalid(pin, pinned, fault))?;
            }
        }
        Ok(())
    }

    /// What is asked in a namespace with these labels, and which of them are wrong. A wrong level enforces the
    /// strictest one and neither warns nor is noted; a wrong version is the latest.
    pub fn policies(&self, labels: &Value) -> (Policies, Vec<Error>) {
        let mut errors = Vec::new();
        let policies = self.texts().map(|(mode, asked, pin, pinned)| {
            let mut policy =
                Policy { level: level(asked).unwrap_or_default(), minor: version(pinned).unwrap_or(LATEST) };
            let mut wrong = |name: &str, text: &str, fault: &str| {
                let path = format!("metadata.labels[{LABEL}{name}]");
                errors.push(Error::invalid(path, &Value::from(text), fault));
            };
            if let Some(text) = labels[format!("{LABEL}{mode}")].as_str() {
                policy.level = level(text).unwrap_or_else(|fault| {
                    wrong(mode, text, fault);
                    (mode == "enforce").then_some(Level::Restricted)
                });
            }
            if let Some(text) = labels[format!("{LABEL}{pin}")].as_str() {
                policy.minor = version(text).unwrap_or_else(|fault| {
                    wrong(pin, text, fault);
                    LATEST
                });
            }
            policy
        });
        let [enforce, audit, warn] = policies;
        (Policies { enforce, audit, warn }, errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_overrule_defaults_and_wrong_ones_are_told() {
        let defaults =
            Defaults { enforce: "baseline".into(), warn_version: "v1.22".into(), ..Defaults::default() };
        let check = |labels: Value, expected: [&str; 3], wrong: &[&str]| {
            let (Policies { enforce, audit, warn }, errors) = defaults.policies(&labels);
            assert_eq!([enforce, audit, warn].map(|policy| policy.to_string()), expected, "{labels}");
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), wrong, "{labels}");
        };
        check(Value::Null, ["baseline:latest", "privileged:latest", "privileged:v1.22"], &[]);
        check(
            json!({"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/audit-version": "v1.9"}),
            ["baseline:latest", "privileged:v1.9", "restricted:v1.22"],
            &[],
        );
        check(
            json!({"pod-security.kubernetes.io/enforce": "strict", "pod-security.kubernetes.io/audit": "",
                   "pod-security.kubernetes.io/warn-version": "v1.022"}),
            ["restricted:latest", "privileged:latest", "privileged:latest"],
            &[
                "metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"strict\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: \"\": must be one of privileged, baseline, restricted",
                "metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: \"v1.022\": must be \"latest\" or \"v1.x\"",
            ],
        );
    }
}
