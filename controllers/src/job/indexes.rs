//! Completion indexes of Indexed Jobs, and the pods of Jobs.

use std::collections::BTreeSet;

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{self as whole, EnvVar, EnvVarSource, ObjectFieldSelector},
};

use super::{
    policy::{Failure, judge},
    track::FINALIZER,
};
use crate::{
    meta::{annotation, controller_reference, name, namespace},
    pods::{self, Pod},
};

/// Annotation (and label) of a pod with its index.
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Characters of a generated name before its random end.
const PREFIX: usize = 58;
/// Annotations of a pod with how often its predecessors have failed, where each index has a limit.
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";

/// Failures of one index. They are kept by the pods themselves, each of which inherits its
/// predecessor's, so that they outlive the pods that failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failures {
    /// Those that count towards the limit of the index.
    pub counted: i32,
    /// Those that a failure policy ignores.
    pub ignored: i32,
}

impl Failures {
    /// What a pod knows of its predecessors.
    pub fn of(pod: &Pod) -> Self {
        let read = |key: &str| {
            let count = annotation(&pod.metadata, key).and_then(|text| text.parse().ok());
            count.filter(|count: &i32| *count >= 0).unwrap_or_default()
        };
        Self { counted: read(FAILURES), ignored: read(IGNORED_FAILURES) }
    }

    /// What the successor of a failed pod is to know.
    pub fn after(job: &Job, failed: &Pod) -> Self {
        let mut failures = Self::of(failed);
        match judge(job, failed) {
            Failure::Ignored => failures.ignored += 1,
            _ => failures.counted += 1,
        }
        failures
    }

    pub fn all(self) -> i32 {
        self.counted + self.ignored
    }
}

/// What a pod to be made is for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The index, of an Indexed Job.
    pub index: Option<i32>,
    /// What has failed there before, of a Job with a limit for each index.
    pub failures: Option<Failures>,
}

pub(super) fn is_indexed(job: &Job) -> bool {
    job.spec.as_ref().and_then(|spec| spec.completion_mode.as_deref()) == Some("Indexed")
}

/// The index of a pod.
pub(super) fn index(pod: &Pod) -> Option<i32> {
    annotation(&pod.metadata, INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// Parses `1,3-5,7`; what is beyond `completions` is dropped.
pub(super) fn parse(text: &str, completions: i32) -> BTreeSet<i32> {
    let mut all = BTreeSet::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) {
            all.extend((first..=last.min(completions - 1)).filter(|index| *index < completions));
        }
    }
    all
}

/// Writes `1,3-5,7`; two in a row are `1,2`.
pub(super) fn format(all: &BTreeSet<i32>) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut run: Option<(i32, i32)> = None;
    let close = |run: (i32, i32), parts: &mut Vec<String>| match run {
        (first, last) if first == last => parts.push(first.to_string()),
        (first, last) if first + 1 == last => parts.push(format!("{first},{last}")),
        (first, last) => parts.push(format!("{first}-{last}")),
    };
    for index in all {
        run = match run {
            Some((first, last)) if last + 1 == *index => Some((first, *index)),
            Some(done) => {
                close(done, &mut parts);
                Some((*index, *index))
            }
            None => Some((*index, *index)),
        };
    }
    run.into_iter().for_each(|done| close(done, &mut parts));
    parts.join(",")
}

/// What the names of an index's pods begin with; it is the Job's name that is cut where it is too long.
fn indexed_prefix(job: &str, index: i32) -> String {
    let end = format!("-{index}-");
    let most = PREFIX.saturating_sub(end.len()).min(job.len());
    format!("{}{end}", &job[..most])
}

/// A pod of a Job.
pub(super) fn pod(job: &Job, place: Place) -> whole::Pod {
    let index = place.index;
    let template = job.spec.clone().unwrap_or_default().template;
    let prefix = match index {
        Some(index) => indexed_prefix(name(&job.metadata), index),
        None => format!("{}-", name(&job.metadata)),
    };
    let mut pod =
        pods::from_template(&template, namespace(&job.metadata), &prefix, controller_reference(job));
    let finalizers = pod.metadata.finalizers.get_or_insert_default();
    if !finalizers.iter().any(|have| have == FINALIZER) {
        finalizers.push(FINALIZER.to_string());
    }
    let Some(index) = index else { return pod };
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_string(), index.to_string());
    if let Some(failures) = place.failures {
        annotations.insert(FAILURES.to_string(), failures.counted.to_string());
        if failures.ignored > 0 {
            annotations.insert(IGNORED_FAILURES.to_string(), failures.ignored.to_string());
        }
    }
    pod.metadata.labels.get_or_insert_default().insert(INDEX.to_string(), index.to_string());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(format!("{}-{index}", name(&job.metadata)));
    for container in spec.containers.iter_mut().chain(spec.init_containers.iter_mut().flatten()) {
        let env = container.env.get_or_insert_default();
        if !env.iter().any(|have| have.name == "JOB_COMPLETION_INDEX") {
            env.push(EnvVar {
                name: "JOB_COMPLETION_INDEX".to_string(),
                value_from: Some(EnvVarSource {
                    field_ref: Some(ObjectFieldSelector {
                        field_path: format!("metadata.labels['{INDEX}']"),
                        ..Default::default()
                    }),
                    ..Default::default()
                }),
                ..Default::default()
            });
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_the_index() {
        assert_eq!(indexed_prefix("work", 3), "work-3-");
        assert_eq!(indexed_prefix(&"a".repeat(63), 12), format!("{}-12-", "a".repeat(54)));
    }

    #[test]
    fn intervals_round_trip() {
        let check = |all: &[i32], text: &str| {
            let set: BTreeSet<i32> = all.iter().copied().collect();
            assert_eq!(format(&set), text);
            assert_eq!(parse(text, 100), set);
        };
        check(&[], "");
        check(&[0], "0");
        check(&[1, 2], "1,2");
        check(&[1, 3, 4, 5, 7], "1,3-5,7");
        assert_eq!(parse("1-9", 4), BTreeSet::from([1, 2, 3]));
    }
}
