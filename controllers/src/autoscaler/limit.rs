//! From a recommended number of pods to the one that is set: recent recommendations and the rules
//! of how fast to scale.
//!
//! Source: documentation page "Horizontal Pod Autoscaling", configurable scaling behavior.

use std::time::{Duration, Instant};

use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// A reason with its message, of a condition.
pub(super) type Words = (&'static str, &'static str);

const IN_RANGE: Words = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_MANY: Words =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Words = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_LIMIT: Words =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Words =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const UP_STABILIZED: Words = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: Words = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UNCHANGED: Words = ("ReadyForNewScale", "recommended size matches current size");

/// What was recommended and done for one autoscaler, in the order of time.
#[derive(Debug, Default, Clone)]
pub(super) struct Memory {
    recommended: Vec<(Instant, i32)>,
    /// Pods added, at a time.
    ups: Vec<(Instant, i32)>,
    /// Pods removed, at a time.
    downs: Vec<(Instant, i32)>,
}

/// Nothing older matters: the longest window and period that the API accepts.
const LONGEST: Duration = Duration::from_secs(3600);

impl Memory {
    /// Forgets what no rule asks for.
    pub fn forget(&mut self, now: Instant) {
        for list in [&mut self.recommended, &mut self.ups, &mut self.downs] {
            list.retain(|(at, _)| now.duration_since(*at) <= LONGEST);
        }
    }

    /// Counts the number that was found first as a recommendation.
    pub fn begin(&mut self, now: Instant, current: i32) {
        if self.recommended.is_empty() {
            self.recommended.push((now, current));
        }
    }

    /// Notes that the number of pods was changed.
    pub fn scaled(&mut self, now: Instant, from: i32, to: i32) {
        let list = if to > from { &mut self.ups } else { &mut self.downs };
        list.push((now, (to - from).abs()));
    }

    fn recent(list: &[(Instant, i32)], now: Instant, window: Duration) -> impl Iterator<Item = i32> {
        list.iter().filter(move |(at, _)| now.duration_since(*at) < window).map(|(_, count)| *count)
    }

    /// What a period began with.
    fn start_of_period(&self, now: Instant, current: i32, period: i32) -> i32 {
        let period = seconds(period);
        current - Self::recent(&self.ups, now, period).sum::<i32>()
            + Self::recent(&self.downs, now, period).sum::<i32>()
    }
}

fn seconds(count: i32) -> Duration {
    Duration::from_secs(u64::try_from(count).unwrap_or_default())
}

/// Bounds of the number of pods.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub min: i32,
    pub max: i32,
}

/// What is set, and what the conditions say of it.
#[derive(Debug, PartialEq, Clone, Copy)]
pub(super) struct Limited {
    pub replicas: i32,
    /// Of condition `AbleToScale`.
    pub able: Words,
    /// Whether `ScalingLimited` is true, and its words.
    pub limited: (bool, Words),
}

/// Applies the memory and the rules to a recommendation, which the memory keeps.
pub(super) fn limit(
    memory: &mut Memory,
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    bounds: Bounds,
    (current, wanted): (i32, i32),
    down_window: Duration,
    now: Instant,
) -> Limited {
    let stabilized = match behavior {
        None => Memory::recent(&memory.recommended, now, down_window).fold(wanted, i32::max),
        Some(behavior) => {
            let window = |rules: Option<&HPAScalingRules>, default| {
                rules.and_then(|rules| rules.stabilization_window_seconds).map_or(default, seconds)
            };
            let up = window(behavior.scale_up.as_ref(), Duration::ZERO);
            let down = window(behavior.scale_down.as_ref(), down_window);
            let lowest = Memory::recent(&memory.recommended, now, up).fold(wanted, i32::min);
            let highest = Memory::recent(&memory.recommended, now, down).fold(wanted, i32::max);
            current.max(lowest).min(highest)
        }
    };
    memory.recommended.push((now, wanted));
    let able = match (stabilized == wanted, behavior.is_some() && wanted >= current) {
        (true, _) => UNCHANGED,
        (false, true) => UP_STABILIZED,
        (false, false) => DOWN_STABILIZED,
    };
    let (replicas, words) = match behavior {
        None => without_rules(bounds, current, stabilized),
        Some(behavior) => with_rules(memory, behavior, bounds, (current, stabilized), now),
    };
    Limited { replicas, able, limited: (replicas != stabilized, words) }
}

fn without_rules(bounds: Bounds, current: i32, wanted: i32) -> (i32, Words) {
    let fastest = current.saturating_mul(2).max(4);
    let (most, words) = if bounds.max > fastest { (fastest, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
    if wanted < bounds.min {
        (bounds.min, TOO_FEW)
    } else if wanted > most {
        (most, words)
    } else {
        (wanted, IN_RANGE)
    }
}

fn with_rules(
    memory: &Memory,
    behavior: &HorizontalPodAutoscalerBehavior,
    bounds: Bounds,
    (current, wanted): (i32, i32),
    now: Instant,
) -> (i32, Words) {
    if wanted > current {
        let fastest = fastest_up(memory, behavior.scale_up.as_ref(), current, now).max(current);
        let (most, words) = if bounds.max > fastest { (fastest, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
        if wanted > most {
            return (most, words);
        }
    } else if wanted < current {
        let fastest = fastest_down(memory, behavior.scale_down.as_ref(), current, now).min(current);
        let (least, words) = if bounds.min < fastest { (fastest, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
        if wanted < least {
            return (least, words);
        }
    }
    (wanted, IN_RANGE)
}

/// The numbers that the policies of some rules allow; `None` when they forbid any change.
fn allowed(
    memory: &Memory,
    rules: Option<&HPAScalingRules>,
    current: i32,
    now: Instant,
    by_percent: fn(f64, f64) -> i32,
    sign: i32,
) -> Option<Vec<i32>> {
    let rules = rules?;
    if rules.select_policy.as_deref() == Some("Disabled") {
        return None;
    }
    let policies = rules.policies.iter().flatten().map(|policy| {
        let start = memory.start_of_period(now, current, policy.period_seconds);
        match policy.type_.as_str() {
            "Pods" => start + sign * policy.value,
            _ => by_percent(f64::from(start), f64::from(policy.value) / 100.0),
        }
    });
    Some(policies.collect())
}

fn is_min(rules: Option<&HPAScalingRules>) -> bool {
    rules.and_then(|rules| rules.select_policy.as_deref()) == Some("Min")
}

fn fastest_up(memory: &Memory, rules: Option<&HPAScalingRules>, current: i32, now: Instant) -> i32 {
    let percent = |start: f64, share: f64| (start * (1.0 + share)).ceil() as i32;
    let allowed = allowed(memory, rules, current, now, percent, 1).unwrap_or_default().into_iter();
    let chosen = if is_min(rules) { allowed.min() } else { allowed.max() };
    chosen.unwrap_or(current)
}

fn fastest_down(memory: &Memory, rules: Option<&HPAScalingRules>, current: i32, now: Instant) -> i32 {
    let percent = |start: f64, share: f64| (start * (1.0 - share)) as i32;
    let allowed = allowed(memory, rules, current, now, percent, -1).unwrap_or_default().into_iter();
    // The policy that changes least leaves most.
    let chosen = if is_min(rules) { allowed.max() } else { allowed.min() };
    chosen.unwrap_or(current)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::autoscaling::v2::HPAScalingPolicy;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn rules(window: Option<i32>, select: &str, policies: &[(&str, i32, i32)]) -> HPAScalingRules {
        let policy = |(kind, value, period): &(&str, i32, i32)| HPAScalingPolicy {
            type_: (*kind).into(),
            value: *value,
            period_seconds: *period,
        };
        HPAScalingRules {
            stabilization_window_seconds: window,
            select_policy: Some(select.into()),
            policies: Some(policies.iter().map(policy).collect()),
            tolerance: None,
        }
    }

    #[test]
    fn recommendations_without_rules() {
        let start = Instant::now();
        // Recommendations and their ages, bounds, current and wanted; then what is set and said.
        let check = |past: &[(i32, u64)], (min, max), counts, expected: (i32, &str, &str)| {
            let now = start + Duration::from_secs(1000);
            let recommended = past.iter().map(|(count, age)| (now - Duration::from_secs(*age), *count));
            let mut memory = Memory { recommended: recommended.collect(), ..Default::default() };
            let found = limit(&mut memory, None, Bounds { min, max }, counts, WINDOW, now);
            assert_eq!((found.replicas, found.able.0, found.limited.1.0), expected, "{past:?} {counts:?}");
            assert_eq!(memory.recommended.last(), Some(&(now, counts.1)));
        };
        check(&[], (1, 10), (3, 5), (5, "ReadyForNewScale", "DesiredWithinRange"));
        check(&[], (1, 10), (3, 9), (6, "ReadyForNewScale", "ScaleUpLimit"));
        check(&[], (1, 5), (3, 9), (5, "ReadyForNewScale", "TooManyReplicas"));
        check(&[], (1, 10), (1, 9), (4, "ReadyForNewScale", "ScaleUpLimit"));
        check(&[], (2, 10), (3, 1), (2, "ReadyForNewScale", "TooFewReplicas"));
        check(&[(8, 100)], (1, 10), (8, 2), (8, "ScaleDownStabilized", "DesiredWithinRange"));
        check(&[(8, 301)], (1, 10), (8, 2), (2, "ReadyForNewScale", "DesiredWithinRange"));
    }

    #[test]
    fn recommendations_with_rules() {
        let start = Instant::now();
        let now = start + Duration::from_secs(1000);
        let check = |past: &[(i32, u64)], up, down, counts, expected: (i32, &str, &str)| {
            let behavior = HorizontalPodAutoscalerBehavior { scale_up: up, scale_down: down };
            let recommended = past.iter().map(|(count, age)| (now - Duration::from_secs(*age), *count));
            let mut memory = Memory { recommended: recommended.collect(), ..Default::default() };
            memory.ups = vec![(now - Duration::from_secs(10), 2)];
            let bounds = Bounds { min: 1, max: 100 };
            let found = limit(&mut memory, Some(&behavior), bounds, counts, WINDOW, now);
            assert_eq!((found.replicas, found.able.0, found.limited.1.0), expected, "{past:?} {counts:?}");
        };
        let up = |select| Some(rules(Some(0), select, &[("Pods", 4, 15), ("Percent", 100, 15)]));
        // Two of the ten were added within the period, so that it began with eight.
        check(&[], up("Max"), None, (10, 50), (16, "ReadyForNewScale", "ScaleUpLimit"));
        check(&[], up("Min"), None, (10, 50), (12, "ReadyForNewScale", "ScaleUpLimit"));
        check(&[], up("Disabled"), None, (10, 50), (10, "ReadyForNewScale", "ScaleUpLimit"));
        check(&[], up("Max"), None, (10, 12), (12, "ReadyForNewScale", "DesiredWithinRange"));
        let slow_up = Some(rules(Some(60), "Max", &[("Percent", 100, 15)]));
        check(&[(11, 30)], slow_up, None, (10, 14), (11, "ScaleUpStabilized", "DesiredWithinRange"));
        let down = |select| Some(rules(Some(0), select, &[("Pods", 1, 60), ("Percent", 50, 5)]));
        check(&[], None, down("Max"), (10, 2), (5, "ReadyForNewScale", "ScaleDownLimit"));
        check(&[], None, down("Min"), (10, 2), (7, "ReadyForNewScale", "ScaleDownLimit"));
        check(&[], None, down("Disabled"), (10, 2), (10, "ReadyForNewScale", "ScaleDownLimit"));
        let default_window = Some(rules(None, "Max", &[("Percent", 100, 15)]));
        check(&[(9, 299)], None, default_window, (10, 2), (9, "ScaleDownStabilized", "DesiredWithinRange"));
    }
}
