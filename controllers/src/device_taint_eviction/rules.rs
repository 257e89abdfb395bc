//! DeviceTaintRules (KEP-5055): taints that administrators put on devices, and what is told of the evictions they cause.

use k8s_openapi::api::resource::{
    v1::DeviceTaint,
    v1beta2::{DeviceTaintRule, DeviceTaintSelector},
};

use super::Id;
use crate::{meta::uid, taints::NO_EXECUTE};

/// The condition of a rule.
pub(super) const EVICTING: &str = "EvictionInProgress";

/// One rule, as far as devices are concerned.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub uid: String,
    selector: Option<DeviceTaintSelector>,
    pub taint: DeviceTaint,
}

impl Rule {
    pub fn of(rule: &DeviceTaintRule) -> Self {
        let taint = &rule.spec.taint;
        Self {
            uid: uid(&rule.metadata).to_owned(),
            selector: rule.spec.device_selector.clone(),
            taint: DeviceTaint {
                effect: taint.effect.clone(),
                key: taint.key.clone(),
                time_added: taint.time_added.clone(),
                value: taint.value.clone(),
            },
        }
    }

    /// The same as if it evicted.
    pub fn evicting(self) -> Self {
        Self { taint: DeviceTaint { effect: NO_EXECUTE.to_owned(), ..self.taint }, ..self }
    }

    /// Whether it concerns the device: nothing without a selector, everything with an empty one.
    pub fn selects(&self, (driver, pool, device): &Id) -> bool {
        let fits = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|one| one == found);
        self.selector.as_ref().is_some_and(|selector| {
            fits(&selector.driver, driver) && fits(&selector.pool, pool) && fits(&selector.device, device)
        })
    }
}

/// What a rule does at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Devices that drivers offer.
    pub published: usize,
    /// Devices that claims have.
    pub allocated: usize,
    /// Pods that have to go.
    pub pods: usize,
    /// Their namespaces.
    pub namespaces: usize,
    /// Pods that went since this process started.
    pub evicted: usize,
}

fn number(count: usize, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// Whether the condition is true, its reason and its message.
pub(super) fn condition(effect: &str, counts: &Counts) -> (bool, &'static str, String) {
    let namespaces = || number(counts.namespaces, "namespace", "different namespaces");
    let (reason, mut parts) = match effect {
        NO_EXECUTE if counts.pods > 0 => {
            let pods = number(counts.pods, "pod needs", "pods need");
            ("PodsPendingEviction", vec![format!("{pods} to be evicted in {}.", namespaces())])
        }
        NO_EXECUTE if counts.evicted > 0 => ("Completed", Vec::new()),
        NO_EXECUTE => ("NotStarted", Vec::new()),
        "None" => {
            let published =
                number(counts.published, "published device selected.", "published devices selected.");
            let allocated =
                number(counts.allocated, "allocated device selected.", "allocated devices selected.");
            let pods = number(counts.pods, "pod", "pods");
            let would = format!(
                "{pods} would be evicted in {} if the effect was NoExecute. This information will not be updated \
                 again. Recreate the DeviceTaintRule to trigger an update.",
                namespaces()
            );
            ("NoEffect", vec![published, allocated, would])
        }
        _ => ("OtherEffect", vec!["Eviction only happens for the NoExecute effect.".to_owned()]),
    };
    if counts.evicted > 0 {
        parts.push(format!(
            "{} evicted since starting the controller.",
            number(counts.evicted, "pod", "pods")
        ));
    }
    (effect == NO_EXECUTE && counts.pods > 0, reason, parts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn rules_select_devices() {
        let check = |selector: Value, expected: bool| {
            let rule = json!({"metadata": {}, "spec": {
                "deviceSelector": selector, "taint": {"key": "k", "effect": "NoSchedule"},
            }});
            let rule: DeviceTaintRule = serde_json::from_value(rule).expect("a rule");
            let device = ("d".to_owned(), "p".to_owned(), "x".to_owned());
            assert_eq!(Rule::of(&rule).selects(&device), expected, "{selector}");
        };
        check(Value::Null, false);
        check(json!({}), true);
        check(json!({"driver": "d"}), true);
        check(json!({"driver": "d", "pool": "p", "device": "x"}), true);
        check(json!({"driver": "d", "pool": "q"}), false);
        check(json!({"driver": "e", "device": "x"}), false);
    }

    #[test]
    fn conditions_tell_of_evictions() {
        let check = |effect: &str, numbers: [usize; 5], expected: (bool, &str, &str)| {
            let [published, allocated, pods, namespaces, evicted] = numbers;
            let counts = Counts { published, allocated, pods, namespaces, evicted };
            let (status, reason, message) = condition(effect, &counts);
            assert_eq!((status, reason, message.as_str()), expected, "{effect} {numbers:?}");
        };
        check(
            NO_EXECUTE,
            [0, 0, 2, 2, 1],
            (
                true,
                "PodsPendingEviction",
                "2 pods need to be evicted in 2 different namespaces. 1 pod evicted since starting the controller.",
            ),
        );
        check(
            NO_EXECUTE,
            [0, 0, 1, 1, 0],
            (true, "PodsPendingEviction", "1 pod needs to be evicted in 1 namespace."),
        );
        check(
            NO_EXECUTE,
            [1, 1, 0, 0, 2],
            (false, "Completed", "2 pods evicted since starting the controller."),
        );
        check(NO_EXECUTE, [1, 1, 0, 0, 0], (false, "NotStarted", ""));
        check(
            "NoSchedule",
            [1, 1, 1, 1, 0],
            (false, "OtherEffect", "Eviction only happens for the NoExecute effect."),
        );
        check(
            "None",
            [3, 1, 1, 1, 0],
            (
                false,
                "NoEffect",
                "3 published devices selected. 1 allocated device selected. 1 pod would be evicted in 1 namespace if \
                 the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to \
                 trigger an update.",
            ),
        );
    }
}
