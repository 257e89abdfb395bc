//! In which order the pods of a machine that goes down are ended, and how long each of them gets: without I/O.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Priority from which on pods belong to the system.
const CRITICAL: i32 = 2_000_000_000;

/// Pods from a priority on, up to that of the next group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// The lowest priority.
    pub priority: i32,
    /// How long its pods get.
    pub shutdown_grace_period_seconds: u32,
}

/// How long pods get when the machine goes down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// From the lowest priority to the highest; none: the machine does not wait.
    pub groups: Vec<Group>,
}

/// A pod as the order sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its uid.
    pub uid: String,
    /// Its priority.
    pub priority: i32,
    /// What its spec grants it.
    pub grace_seconds: i64,
}

/// A pod to end, and the seconds it gets.
pub type End = (String, i64);

impl Settings {
    /// From the settings in their two forms: `total`, of which the last part is for critical pods; or group by group.
    pub fn read(total: Duration, critical: Duration, by_priority: Vec<Group>) -> Result<Self, String> {
        if !by_priority.is_empty() && (!total.is_zero() || !critical.is_zero()) {
            return Err("cannot specify both shutdownGracePeriodByPodPriority and shutdownGracePeriod at the same time".to_owned());
        }
        if critical > total {
            return Err(format!(
                "shutdownGracePeriodCriticalPods {critical:?} must be <= shutdownGracePeriod {total:?}"
            ));
        }
        for (name, period) in [("shutdownGracePeriod", total), ("shutdownGracePeriodCriticalPods", critical)]
        {
            if !period.is_zero() && period < Duration::from_secs(1) {
                return Err(format!("{name} {period:?} must be either zero or otherwise >= 1 sec"));
            }
        }
        let mut groups = by_priority;
        if groups.is_empty() && !total.is_zero() {
            let seconds = |period: Duration| u32::try_from(period.as_secs()).unwrap_or(u32::MAX);
            let group = |priority, period| Group { priority, shutdown_grace_period_seconds: seconds(period) };
            groups = vec![group(0, total - critical), group(CRITICAL, critical)];
        }
        groups.sort_by_key(|group| group.priority);
        Ok(Self { groups })
    }

    /// How long all pods together may take.
    pub fn total(&self) -> Duration {
        let seconds = self.groups.iter().map(|group| u64::from(group.shutdown_grace_period_seconds));
        Duration::from_secs(seconds.sum())
    }

    /// The pods of each group, the lowest first, with the time that the group gets.
    pub fn order(&self, pods: Vec<Candidate>) -> Vec<(Duration, Vec<End>)> {
        let mut ordered: Vec<(Duration, Vec<End>)> = self
            .groups
            .iter()
            .map(|group| (Duration::from_secs(u64::from(group.shutdown_grace_period_seconds)), Vec::new()))
            .collect();
        for pod in pods {
            // Pods below all groups go with the first.
            let index = self.groups.iter().rposition(|group| group.priority <= pod.priority).unwrap_or(0);
            let Some(group) = self.groups.get(index) else { continue };
            let grace = pod.grace_seconds.min(i64::from(group.shutdown_grace_period_seconds));
            ordered[index].1.push((pod.uid, grace));
        }
        ordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn settings_in_two_forms() {
        let group =
            |priority, shutdown_grace_period_seconds| Group { priority, shutdown_grace_period_seconds };
        let read = |total, critical, groups: &[Group]| {
            Settings::read(seconds(total), seconds(critical), groups.to_vec()).map(|settings| settings.groups)
        };
        assert_eq!(read(30, 10, &[]), Ok(vec![group(0, 20), group(CRITICAL, 10)]));
        assert_eq!(read(0, 0, &[]), Ok(vec![]));
        assert_eq!(read(0, 0, &[group(9, 1), group(3, 2)]), Ok(vec![group(3, 2), group(9, 1)]));
        assert!(read(30, 0, &[group(9, 1)]).is_err());
        assert!(read(10, 30, &[]).is_err());
        assert!(Settings::read(Duration::from_millis(5), Duration::ZERO, vec![]).is_err());
    }

    #[test]
    fn pods_go_by_priority() {
        let settings = Settings::read(seconds(30), seconds(10), vec![]).expect("settings");
        assert_eq!(settings.total(), seconds(30));
        let pod =
            |uid: &str, priority, grace_seconds| Candidate { uid: uid.to_owned(), priority, grace_seconds };
        let pods = vec![
            pod("low", -5, 60),
            pod("plain", 0, 5),
            pod("high", CRITICAL - 1, 60),
            pod("system", CRITICAL + 1000, 60),
        ];
        let end = |uid: &str, grace| (uid.to_owned(), grace);
        let expected = [
            (seconds(20), vec![end("low", 20), end("plain", 5), end("high", 20)]),
            (seconds(10), vec![end("system", 10)]),
        ];
        assert_eq!(settings.order(pods), expected);
        assert!(Settings::default().order(vec![pod("a", 0, 1)]).is_empty());
    }
}
