//! Pod failure policies (KEP-3329): which failures end a Job, count not, or end an index.

use k8s_openapi::api::batch::v1::{Job, PodFailurePolicyRule};

use crate::meta::{name, namespace};
use crate::pods::{ContainerStatus, Pod};

/// What a failed pod means for its Job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It counts towards the limit.
    Counts,
    /// The pod was not at fault.
    Ignored,
    /// Its index has failed for good.
    FailsIndex,
    /// The Job has failed; this says why.
    FailsJob(String),
}

/// Judges a failed pod by the first rule that matches.
pub(super) fn judge(job: &Job, pod: &Pod) -> Failure {
    let policy = job.spec.as_ref().and_then(|spec| spec.pod_failure_policy.as_ref());
    for (number, rule) in policy.iter().flat_map(|policy| &policy.rules).enumerate() {
        if let Some(why) = matching(rule, pod) {
            return match rule.action.as_str() {
                "Ignore" => Failure::Ignored,
                "FailIndex" => Failure::FailsIndex,
                "FailJob" => {
                    let pod = format!("{}/{}", namespace(&pod.metadata), name(&pod.metadata));
                    let why = why.replace("{pod}", &pod);
                    Failure::FailsJob(format!("{why} matching FailJob rule at index {number}"))
                }
                _ => Failure::Counts,
            };
        }
    }
    Failure::Counts
}

/// Why a rule matches, with `{pod}` in place of the pod's name.
fn matching(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let named =
            |status: &&ContainerStatus| codes.container_name.as_ref().is_none_or(|name| *name == status.name);
        let all =
            status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
        for container in all.filter(named) {
            let Some(ended) = container.state.as_ref().and_then(|state| state.terminated.as_ref()) else {
                continue;
            };
            let listed = codes.values.contains(&ended.exit_code);
            let holds = ended.exit_code != 0 && if codes.operator == "In" { listed } else { !listed };
            if holds {
                return Some(format!(
                    "Container {} for pod {{pod}} failed with exit code {}",
                    container.name, ended.exit_code
                ));
            }
        }
    }
    for pattern in rule.on_pod_conditions.iter().flatten() {
        let wanted = pattern.status.as_deref().unwrap_or("True");
        let holds = status
            .conditions
            .iter()
            .flatten()
            .any(|have| have.type_ == pattern.type_ && have.status == wanted);
        if holds {
            return Some(format!("Pod {{pod}} has condition {}", pattern.type_));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{
        batch::v1::{JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement},
        core::v1::{ContainerState, ContainerStateTerminated},
    };

    use super::*;

    #[test]
    fn the_first_matching_rule_counts() {
        let rule = |action: &str, operator: &str, values: &[i32]| PodFailurePolicyRule {
            action: action.into(),
            on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                container_name: None,
                operator: operator.into(),
                values: values.to_vec(),
            }),
            on_pod_conditions: None,
        };
        let rules = vec![rule("FailJob", "In", &[42]), rule("Ignore", "NotIn", &[1])];
        let spec = JobSpec { pod_failure_policy: Some(PodFailurePolicy { rules }), ..Default::default() };
        let job = Job { spec: Some(spec), ..Default::default() };
        let check = |exit_code, expected: Failure| {
            let mut pod = crate::pods::tests::pod("p", "Failed", "n", None);
            let terminated = Some(ContainerStateTerminated { exit_code, ..Default::default() });
            pod.status.as_mut().unwrap().container_statuses = Some(vec![ContainerStatus {
                name: "main".into(),
                state: Some(Box::new(ContainerState { terminated, ..Default::default() })),
                ..Default::default()
            }]);
            assert_eq!(judge(&job, &pod), expected, "{exit_code}");
        };
        check(1, Failure::Counts);
        check(2, Failure::Ignored);
        check(
            42,
            Failure::FailsJob(
                "Container main for pod ns/p failed with exit code 42 matching FailJob rule at index 0"
                    .into(),
            ),
        );
    }
}
