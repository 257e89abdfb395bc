//! HorizontalPodAutoscalers: the number of a workload's pods follows metrics.

mod calculate;
mod fetch;
mod limit;
mod propose;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use k8s_openapi::{
    api::autoscaling::{
        v1::{Scale, ScaleSpec},
        v2::{
            HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerStatus,
            MetricStatus,
        },
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use knarr_component::{
    events::Recorder,
    informer::{Change, Informer},
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::PostParams;
use parking_lot::Mutex;

use crate::{
    context::Context,
    control::message,
    meta::{ignore_absent, is_code, now},
    metrics,
    pods::Pod,
    resources::{Directory, Resource},
};

use limit::{Bounds, Memory, Words, limit};
use propose::{Scaled, Verdict, combine};

/// When to try again after somebody else changed the target.
const CONFLICT_DELAY: Duration = Duration::from_millis(500);

struct Controller {
    context: Context,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    recorder: Recorder,
    memories: Mutex<HashMap<Key, Memory>>,
    /// Selectors of the autoscalers' targets, so that two of one pod are noticed.
    selectors: Mutex<HashMap<Key, knarr_api::selector::LabelSelector>>,
    resources: Directory,
}

/// Runs the controller.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let controller = Arc::new(Controller {
        autoscalers: context.informers.get(),
        pods: context.informers.get(),
        recorder: context.recorder("horizontal-pod-autoscaler"),
        memories: Mutex::default(),
        selectors: Mutex::default(),
        resources: Directory::new(context.client.clone()),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.autoscalers.on_change(move |change| {
        // Our own writes of status must not shorten the period.
        let concerned = match &change {
            Change::Updated { old, new } => old.spec != new.spec,
            _ => true,
        };
        if concerned {
            added.add(Key::of(&change.object().metadata));
        }
    });
    let synced = {
        let (autoscalers, pods) = (controller.autoscalers.synced(), controller.pods.synced());
        async {
            futures::join!(autoscalers, pods);
        }
    };
    let context = controller.context.clone();
    let workers = context.args.workers.concurrent_horizontal_pod_autoscaler_syncs;
    context
        .work("horizontal-pod-autoscaler-controller", synced, queue, workers, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

/// Sets a condition; its time changes with its status only.
fn set_condition(
    status: &mut HorizontalPodAutoscalerStatus,
    (kind, holds): (&str, bool),
    reason: &str,
    text: impl Into<String>,
    now: &Time,
) {
    let conditions = status.conditions.get_or_insert_default();
    let value = if holds { "True" } else { "False" };
    let index = conditions.iter().position(|condition| condition.type_ == kind).unwrap_or_else(|| {
        conditions.push(HorizontalPodAutoscalerCondition { type_: kind.to_string(), ..Default::default() });
        conditions.len() - 1
    });
    let condition = &mut conditions[index];
    if condition.status != value {
        condition.last_transition_time = Some(now.clone());
    }
    condition.status = value.to_string();
    condition.reason = Some(reason.to_string());
    condition.message = Some(text.into());
}

const ABLE: &str = "AbleToScale";
const ACTIVE: &str = "ScalingActive";
const LIMITED: &str = "ScalingLimited";

/// What bounds alone ask for: the number, whether it is set, and why.
#[derive(Debug, PartialEq)]
enum ByBounds {
    /// The target has no pods, which switches the autoscaler off.
    Off,
    Set(i32, &'static str),
    /// Metrics decide.
    Within,
}

fn by_bounds(current: i32, bounds: Bounds) -> ByBounds {
    if current == 0 && bounds.min != 0 {
        ByBounds::Off
    } else if current > bounds.max {
        ByBounds::Set(bounds.max, "Current number of replicas above Spec.MaxReplicas")
    } else if current < bounds.min {
        ByBounds::Set(bounds.min, "Current number of replicas below Spec.MinReplicas")
    } else {
        ByBounds::Within
    }
}

/// One sync's way to a new status.
struct Attempt<'a> {
    hpa: &'a HorizontalPodAutoscaler,
    key: Key,
    status: HorizontalPodAutoscalerStatus,
    now: Time,
    /// Somebody else changed the target meanwhile.
    again: bool,
}

impl Attempt<'_> {
    fn condition(&mut self, kind: &str, holds: bool, reason: &str, text: impl Into<String>) {
        set_condition(&mut self.status, (kind, holds), reason, text, &self.now);
    }

    fn words(&mut self, kind: &str, holds: bool, words: Words) {
        self.condition(kind, holds, words.0, words.1);
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(hpa) = self.autoscalers.get(&key) else {
            self.memories.lock().remove(&key);
            self.selectors.lock().remove(&key);
            return Ok(None);
        };
        let mut attempt = Attempt {
            hpa: &hpa,
            key: key.clone(),
            status: hpa.status.clone().unwrap_or_default(),
            now: now(),
            again: false,
        };
        let started = Instant::now();
        let result = self.reconcile(&mut attempt).await;
        if let Err(error) = &result {
            tracing::debug!(autoscaler = %key, "{error:#}");
        }
        let (wanted, current) = (attempt.status.desired_replicas, attempt.status.current_replicas);
        let action = match wanted.cmp(&current.unwrap_or(wanted)) {
            _ if result.is_err() => "none",
            std::cmp::Ordering::Less => "scale_down",
            std::cmp::Ordering::Equal => "none",
            std::cmp::Ordering::Greater => "scale_up",
        };
        let labels = [action, if result.is_err() { "internal" } else { "none" }];
        metrics::AUTOSCALINGS.one(&labels);
        metrics::AUTOSCALING_TIME.took(&labels, started.elapsed());
        let (status, again) = (attempt.status, attempt.again);
        if hpa.status.as_ref() != Some(&status) {
            let updated = HorizontalPodAutoscaler { status: Some(status), ..(*hpa).clone() };
            let api = self.context.api::<HorizontalPodAutoscaler>(&key.namespace);
            let written = api.replace_status(&key.name, &PostParams::default(), &updated).await;
            if let Err(error) = ignore_absent(written) {
                let text = message(&error);
                self.recorder.warning(&*hpa, "FailedUpdateStatus", text);
            }
        }
        let period = self.context.args.horizontal_pod_autoscaler_sync_period;
        Ok(Some(Requeue::After(if again { CONFLICT_DELAY.min(period) } else { period })))
    }

    /// The resource of a kind.
    async fn resource(&self, api_version: &str, kind: &str) -> Result<Arc<Resource>, String> {
        let found = self.resources.find(api_version, kind).await.map_err(|error| message(&error))?;
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        found.ok_or_else(|| format!("no matches for kind {kind:?} in group {group:?}"))
    }

    /// The version of the custom metrics API to ask.
    async fn custom_version(&self) -> &'static str {
        let groups = self.context.client.list_api_groups().await;
        let groups = groups.map(|list| list.groups).unwrap_or_default();
        let custom = groups.into_iter().find(|group| group.name == "custom.metrics.k8s.io");
        let versions = custom.map(|group| group.versions).unwrap_or_default();
        fetch::custom_version(versions.iter().map(|version| version.version.as_str()))
    }

    async fn reconcile(&self, attempt: &mut Attempt<'_>) -> anyhow::Result<()> {
        let hpa = attempt.hpa;
        let spec = hpa.spec.clone();
        let target = &spec.scale_target_ref;
        let found = async {
            let resource =
                self.resource(target.api_version.as_deref().unwrap_or_default(), &target.kind).await?;
            let api = resource.objects(&self.context.client, &attempt.key.namespace);
            let scale = api.get_scale(&target.name).await.map_err(|error| message(&error))?;
            Ok::<_, String>((api, scale))
        };
        let (api, scale) = match found.await {
            Ok(found) => found,
            Err(text) => {
                self.recorder.warning(hpa, "FailedGetScale", text.clone());
                let words =
                    format!("the HPA controller was unable to get the target's current scale: {text}");
                attempt.condition(ABLE, false, "FailedGetScale", words);
                anyhow::bail!(text);
            }
        };
        let words = "the HPA controller was able to get the target's current scale";
        attempt.condition(ABLE, true, "SucceededGetScale", words);
        let current = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
        {
            let mut memories = self.memories.lock();
            let memory = memories.entry(attempt.key.clone()).or_default();
            memory.forget(Instant::now());
            memory.begin(Instant::now(), current);
        }
        let bounds = Bounds { min: spec.min_replicas.unwrap_or(1), max: spec.max_replicas };
        let mut metrics = Vec::new();
        let (wanted, reason) = match by_bounds(current, bounds) {
            ByBounds::Off => {
                let words = "scaling is disabled since the replica count of the target is zero";
                attempt.condition(ACTIVE, false, "ScalingDisabled", words);
                (current, String::new())
            }
            ByBounds::Set(wanted, reason) => (wanted, reason.to_string()),
            ByBounds::Within => {
                let (statuses, decided) = self.follow_metrics(attempt, &scale, current, bounds).await;
                metrics = statuses;
                match decided {
                    Ok(decided) => decided,
                    Err(text) => {
                        attempt.status.current_replicas = Some(current);
                        attempt.status.current_metrics = Some(metrics);
                        anyhow::bail!(text);
                    }
                }
            }
        };
        attempt.status.current_replicas = Some(current);
        attempt.status.current_metrics = Some(metrics).filter(|metrics| !metrics.is_empty());
        if wanted != current {
            self.rescale(attempt, &api, scale, wanted, &reason).await?;
            attempt.status.last_scale_time = Some(attempt.now.clone());
        }
        attempt.status.desired_replicas = wanted;
        Ok(())
    }

    async fn rescale(
        &self,
        attempt: &mut Attempt<'_>,
        api: &kube::Api<kube::api::DynamicObject>,
        scale: Scale,
        wanted: i32,
        reason: &str,
    ) -> anyhow::Result<()> {
        let target = scale.metadata.name.clone().unwrap_or_default();
        let current = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
        let scale = Scale { spec: Some(ScaleSpec { replicas: Some(wanted) }), ..scale };
        if let Err(error) = api.replace_scale(&target, &PostParams::default(), &scale).await {
            attempt.again = is_code(&error, 409);
            let text = message(&error);
            let event = format!("New size: {wanted}; reason: {reason}; error: {text}");
            self.recorder.warning(attempt.hpa, "FailedRescale", event);
            let words = format!("the HPA controller was unable to update the target scale: {text}");
            attempt.condition(ABLE, false, "FailedUpdateScale", words);
            anyhow::bail!(text);
        }
        let words = format!("the HPA controller was able to update the target scale to {wanted}");
        attempt.condition(ABLE, true, "SucceededRescale", words);
        let event = format!("New size: {wanted}; reason: {reason}");
        self.recorder.normal(attempt.hpa, "SuccessfulRescale", event);
        if let Some(memory) = self.memories.lock().get_mut(&attempt.key) {
            memory.scaled(Instant::now(), current, wanted);
        }
        Ok(())
    }

    /// The pods of the target, unless another autoscaler has a part in them.
    fn pods_of(&self, attempt: &mut Attempt<'_>, selector: &str) -> Result<Vec<Arc<Pod>>, String> {
        if selector.is_empty() {
            self.recorder.warning(attempt.hpa, "SelectorRequired", "selector is required");
            let words = "the HPA target's scale is missing a selector";
            attempt.condition(ACTIVE, false, "InvalidSelector", words);
            return Err("selector is required".to_string());
        }
        let parsed: knarr_api::selector::LabelSelector =
            selector.parse().map_err(|error: knarr_api::selector::ParseError| {
                let text = format!(
                    "couldn't convert selector into a corresponding internal selector object: {error}"
                );
                self.recorder.warning(attempt.hpa, "InvalidSelector", text.clone());
                attempt.condition(ACTIVE, false, "InvalidSelector", text.clone());
                text
            })?;
        let mut pods = self.pods.list_namespace(&attempt.key.namespace);
        pods.retain(|pod| parsed.matches(&pod.metadata.labels));
        let mut selectors = self.selectors.lock();
        selectors.insert(attempt.key.clone(), parsed);
        let mut others: Vec<String> = selectors
            .iter()
            .filter(|(key, selector)| {
                key.namespace == attempt.key.namespace
                    && pods.iter().any(|pod| selector.matches(&pod.metadata.labels))
            })
            .map(|(key, _)| key.to_string())
            .collect();
        if others.len() > 1 {
            others.sort();
            let text = format!(
                "pods by selector {selector} are controlled by multiple HPAs: [{}]",
                others.join(" ")
            );
            self.recorder.warning(attempt.hpa, "AmbiguousSelector", text.clone());
            attempt.condition(ACTIVE, false, "AmbiguousSelector", text.clone());
            return Err(text);
        }
        Ok(pods)
    }

    /// What the metrics ask for and why, within all limits.
    async fn follow_metrics(
        &self,
        attempt: &mut Attempt<'_>,
        scale: &Scale,
        current: i32,
        bounds: Bounds,
    ) -> (Vec<MetricStatus>, Result<(i32, String), String>) {
        let hpa = attempt.hpa;
        let spec = hpa.spec.clone();
        let status = scale.status.clone().unwrap_or_default();
        let selector = status.selector.unwrap_or_default();
        let pods = match self.pods_of(attempt, &selector) {
            Ok(pods) => pods,
            Err(text) => {
                self.recorder.warning(hpa, "FailedComputeMetricsReplicas", text.clone());
                return (Vec::new(), Err(text));
            }
        };
        let scaled = Scaled {
            spec_replicas: current,
            status_replicas: status.replicas,
            selector: &selector,
            pods: &pods,
        };
        let sources = spec.metrics.unwrap_or_default();
        let asked = join_all(sources.iter().map(|source| self.ask(hpa, source, &scaled))).await;
        let (mut statuses, mut numbers) = (Vec::new(), Vec::new());
        for asked in asked {
            match asked {
                Ok(asked) => {
                    statuses.push(asked.status);
                    numbers.push(Ok((asked.replicas, asked.metric)));
                }
                Err(fault) => {
                    self.recorder.warning(hpa, fault.reason, fault.text.clone());
                    statuses.push(MetricStatus::default());
                    numbers.push(Err(fault));
                }
            }
        }
        let (proposed, metric) = match combine(&numbers, current) {
            Verdict::Replicas(proposed, metric, _) => (proposed, metric),
            Verdict::Unknown(fault, summary) => {
                let words = format!("the HPA was unable to compute the replica count: {}", fault.text);
                attempt.condition(ACTIVE, false, fault.reason, words);
                self.recorder.warning(hpa, "FailedComputeMetricsReplicas", summary.clone());
                return (statuses, Err(summary));
            }
        };
        let words = format!("the HPA was able to successfully calculate a replica count from {metric}");
        attempt.condition(ACTIVE, true, "ValidMetricFound", words);
        let reason = if proposed > current {
            format!("{metric} above target")
        } else {
            "All metrics below target".to_string()
        };
        let limited = {
            let mut memories = self.memories.lock();
            let memory = memories.entry(attempt.key.clone()).or_default();
            let window: Duration = self.context.args.horizontal_pod_autoscaler_downscale_stabilization;
            let counts = (current, proposed);
            limit(memory, spec.behavior.as_ref(), bounds, counts, window, Instant::now())
        };
        attempt.words(ABLE, true, limited.able);
        attempt.words(LIMITED, limited.limited.0, limited.limited.1);
        (statuses, Ok((limited.replicas, reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_come_before_metrics() {
        let check = |current, min, max, expected: ByBounds| {
            assert_eq!(by_bounds(current, Bounds { min, max }), expected, "{current} in {min}..{max}");
        };
        check(0, 1, 3, ByBounds::Off);
        check(0, 0, 3, ByBounds::Within);
        check(5, 1, 3, ByBounds::Set(3, "Current number of replicas above Spec.MaxReplicas"));
        check(1, 2, 3, ByBounds::Set(2, "Current number of replicas below Spec.MinReplicas"));
        check(2, 2, 3, ByBounds::Within);
    }

    #[test]
    fn conditions_keep_their_time() {
        let at = |second| Time(jiff::Timestamp::from_second(second).unwrap());
        let mut status = HorizontalPodAutoscalerStatus::default();
        set_condition(&mut status, (ABLE, true), "A", "a", &at(1));
        set_condition(&mut status, (ABLE, true), "B", "b", &at(2));
        let condition = status.conditions.clone().unwrap().remove(0);
        assert_eq!(condition.last_transition_time, Some(at(1)));
        assert_eq!(condition.reason.as_deref(), Some("B"));
        set_condition(&mut status, (ABLE, false), "C", "c", &at(3));
        assert_eq!(status.conditions.unwrap()[0].last_transition_time, Some(at(3)));
    }
}
