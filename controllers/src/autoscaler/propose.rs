//! What each metric of an autoscaler asks for.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::{
    api::autoscaling::v2::{
        ContainerResourceMetricStatus, ExternalMetricSource, ExternalMetricStatus, HorizontalPodAutoscaler,
        HorizontalPodAutoscalerBehavior, MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
        ObjectMetricSource, ObjectMetricStatus, PodsMetricSource, PodsMetricStatus, ResourceMetricStatus,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use knarr_api::quantity;

use super::{
    Controller,
    calculate::{self, Goal, Measured, Patience, Proposal, Tolerance, milli},
    fetch,
};
use crate::meta::{namespace, selector_structure};
use crate::pods::Pod;

/// The target as it is now.
pub(super) struct Scaled<'a> {
    pub spec_replicas: i32,
    pub status_replicas: i32,
    /// The target's selector in text.
    pub selector: &'a str,
    pub pods: &'a [Arc<Pod>],
}

/// What a metric asks for.
pub(super) struct Asked {
    pub replicas: i32,
    /// How messages call the metric.
    pub metric: String,
    pub status: MetricStatus,
}

/// Why a metric says nothing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fault {
    /// Reason of condition and event.
    pub reason: &'static str,
    /// For condition and event.
    pub text: String,
    /// For the event that sums up all metrics.
    pub summary: String,
}

fn fault(reason: &'static str, text: String, prefix: &str) -> Fault {
    Fault { reason, summary: format!("{prefix}: {text}"), text }
}

fn quantity(milli: i64) -> Option<Quantity> {
    let quantity = quantity::Quantity::from_milli(milli, quantity::Format::DecimalSi);
    Some(Quantity(quantity.to_string()))
}

fn averaged(average: i64) -> MetricValueStatus {
    MetricValueStatus { average_value: quantity(average), ..Default::default() }
}

fn valued(value: i64) -> MetricValueStatus {
    MetricValueStatus { value: quantity(value), ..Default::default() }
}

/// The tolerance of an autoscaler, in each direction `usual` unless its rules say otherwise.
fn tolerance(behavior: Option<&HorizontalPodAutoscalerBehavior>, usual: f64) -> Tolerance {
    let of = |rules: Option<&Quantity>| rules.map_or(usual, |tolerance| milli(tolerance) as f64 / 1000.0);
    Tolerance {
        up: of(behavior.and_then(|b| b.scale_up.as_ref()?.tolerance.as_ref())),
        down: of(behavior.and_then(|b| b.scale_down.as_ref()?.tolerance.as_ref())),
    }
}

impl Controller {
    fn rules(&self, hpa: &HorizontalPodAutoscaler) -> (Tolerance, Patience) {
        let args = &self.context.args;
        let behavior = hpa.spec.behavior.as_ref();
        let patience = Patience {
            initialization: args.horizontal_pod_autoscaler_cpu_initialization_period,
            first_readiness: args.horizontal_pod_autoscaler_initial_readiness_delay,
        };
        (tolerance(behavior, args.horizontal_pod_autoscaler_tolerance), patience)
    }

    /// What one metric asks for.
    pub(super) async fn ask(
        &self,
        hpa: &HorizontalPodAutoscaler,
        spec: &MetricSpec,
        scaled: &Scaled<'_>,
    ) -> Result<Asked, Fault> {
        match spec.type_.as_str() {
            "Resource" if let Some(source) = &spec.resource => {
                let prefix = format!("failed to get {} resource metric value", source.name);
                let asked = self.ask_resource(hpa, (&source.name, ""), &source.target, scaled).await;
                let (proposal, metric, current) =
                    asked.map_err(|text| fault("FailedGetResourceMetric", text, &prefix))?;
                let status = ResourceMetricStatus { name: source.name.clone(), current };
                let status =
                    MetricStatus { type_: spec.type_.clone(), resource: Some(status), ..Default::default() };
                Ok(Asked { replicas: proposal.replicas, metric, status })
            }
            "ContainerResource" if let Some(source) = &spec.container_resource => {
                let prefix = format!("failed to get {} container metric value", source.container);
                let what = (source.name.as_str(), source.container.as_str());
                let asked = self.ask_resource(hpa, what, &source.target, scaled).await;
                let (proposal, metric, current) =
                    asked.map_err(|text| fault("FailedGetContainerResourceMetric", text, &prefix))?;
                let status = ContainerResourceMetricStatus {
                    container: source.container.clone(),
                    name: source.name.clone(),
                    current,
                };
                let status = MetricStatus {
                    type_: spec.type_.clone(),
                    container_resource: Some(status),
                    ..Default::default()
                };
                Ok(Asked { replicas: proposal.replicas, metric, status })
            }
            "Pods" if let Some(source) = &spec.pods => self
                .ask_pods(hpa, source, scaled)
                .await
                .map_err(|text| fault("FailedGetPodsMetric", text, "failed to get pods metric value")),
            "Object" if let Some(source) = &spec.object => self
                .ask_object(hpa, source, scaled)
                .await
                .map_err(|text| fault("FailedGetObjectMetric", text, "failed to get object metric value")),
            "External" if let Some(source) = &spec.external => {
                let prefix = format!("failed to get {} external metric value", source.metric.name);
                let asked = self.ask_external(hpa, source, scaled).await;
                asked.map_err(|text| fault("FailedGetExternalMetric", text, &prefix))
            }
            other => {
                let text = format!("unknown metric source type {other:?}");
                Err(Fault { reason: "InvalidMetricSourceType", summary: text.clone(), text })
            }
        }
    }

    async fn ask_resource(
        &self,
        hpa: &HorizontalPodAutoscaler,
        what: (&str, &str),
        target: &MetricTarget,
        scaled: &Scaled<'_>,
    ) -> Result<(Proposal, String, MetricValueStatus), String> {
        let (resource, container) = what;
        let (goal, kind) = match (&target.average_value, target.average_utilization) {
            (Some(value), _) => (Goal::Average(milli(value)), "usage"),
            (None, Some(percent)) => (Goal::Utilization(percent), "utilization"),
            (None, None) => {
                return Err("invalid resource metric source: neither an average utilization target nor an \
                            average value (usage) target was set"
                    .to_string());
            }
        };
        let explained = |text: String| format!("failed to get {resource} {kind}: {text}");
        let space = namespace(&hpa.metadata);
        let samples = fetch::resource(&self.context.client, space, scaled.selector, what).await;
        let samples = samples
            .map_err(|text| explained(format!("unable to get metrics for resource {resource}: {text}")))?;
        let measured = Measured { resource, container };
        let rules = self.rules(hpa);
        let now = Timestamp::now();
        let proposal =
            calculate::by_pods(scaled.spec_replicas, goal, measured, scaled.pods, samples, rules, now)
                .map_err(explained)?;
        let of = if container.is_empty() { "resource" } else { "container resource" };
        let metric = match goal {
            Goal::Average(_) => format!("{resource} resource"),
            Goal::Utilization(_) => format!("{resource} {of} utilization (percentage of request)"),
        };
        let current =
            MetricValueStatus { average_utilization: proposal.utilization, ..averaged(proposal.average) };
        Ok((proposal, metric, current))
    }

    async fn ask_pods(
        &self,
        hpa: &HorizontalPodAutoscaler,
        source: &PodsMetricSource,
        scaled: &Scaled<'_>,
    ) -> Result<Asked, String> {
        let metric = (source.metric.name.as_str(), fetch::selector_text(source.metric.selector.as_ref())?);
        let space = namespace(&hpa.metadata);
        let version = self.custom_version().await;
        let samples =
            fetch::pods(&self.context.client, version, space, scaled.selector, (metric.0, &metric.1)).await;
        let samples = samples.map_err(|text| format!("unable to get metric {}: {text}", metric.0))?;
        let target = source.target.average_value.as_ref().map_or(0, milli);
        let measured = Measured { resource: "", container: "" };
        let proposal = calculate::by_pods(
            scaled.spec_replicas,
            Goal::Average(target),
            measured,
            scaled.pods,
            samples,
            self.rules(hpa),
            Timestamp::now(),
        )?;
        let status = PodsMetricStatus { metric: source.metric.clone(), current: averaged(proposal.average) };
        Ok(Asked {
            replicas: proposal.replicas,
            metric: format!("pods metric {}", source.metric.name),
            status: MetricStatus { type_: "Pods".to_string(), pods: Some(status), ..Default::default() },
        })
    }

    async fn ask_object(
        &self,
        hpa: &HorizontalPodAutoscaler,
        source: &ObjectMetricSource,
        scaled: &Scaled<'_>,
    ) -> Result<Asked, String> {
        let name = source.metric.name.as_str();
        let (object, space) = (&source.described_object, namespace(&hpa.metadata));
        let selector = fetch::selector_text(source.metric.selector.as_ref())?;
        let value = async {
            let resource = self.resource(object.api_version.as_deref().unwrap_or("v1"), &object.kind).await?;
            let version = self.custom_version().await;
            let what = (&*resource, object);
            fetch::object(&self.context.client, version, space, what, (name, &selector)).await
        };
        let explained = |text: String| {
            format!("unable to get metric {name}: {} on {space} {}/{text}", object.kind, object.name)
        };
        let (tolerance, _) = self.rules(hpa);
        let (replicas, metric, current) = match (&source.target.value, &source.target.average_value) {
            (Some(target), _) if source.target.type_ == "Value" => {
                let usage = value.await.map_err(explained)?;
                let replicas =
                    calculate::by_value(scaled.spec_replicas, usage, milli(target), scaled.pods, tolerance)?;
                (replicas, format!("{} metric {name}", object.kind), valued(usage))
            }
            (_, Some(target)) if source.target.type_ == "AverageValue" => {
                let usage = value
                    .await
                    .map_err(explained)
                    .map_err(|text| format!("failed to get {name} object metric: {text}"))?;
                let shared = calculate::by_share(scaled.status_replicas, usage, milli(target), tolerance);
                let words = selector_structure(source.metric.selector.as_ref());
                (shared.0, format!("external metric {name}({words})"), averaged(shared.1))
            }
            _ => {
                return Err("invalid object metric source: neither a value target nor an average value \
                            target was set"
                    .to_string());
            }
        };
        let status =
            ObjectMetricStatus { metric: source.metric.clone(), described_object: object.clone(), current };
        let status = MetricStatus { type_: "Object".to_string(), object: Some(status), ..Default::default() };
        Ok(Asked { replicas, metric, status })
    }

    async fn ask_external(
        &self,
        hpa: &HorizontalPodAutoscaler,
        source: &ExternalMetricSource,
        scaled: &Scaled<'_>,
    ) -> Result<Asked, String> {
        let (name, space) = (source.metric.name.as_str(), namespace(&hpa.metadata));
        let selector = fetch::selector_text(source.metric.selector.as_ref())?;
        let words = selector_structure(source.metric.selector.as_ref());
        let value = async {
            let value = fetch::external(&self.context.client, space, name, &selector).await;
            value.map_err(|text| format!("unable to get external metric {space}/{name}/{words}: {text}"))
        };
        let (tolerance, _) = self.rules(hpa);
        let (replicas, current) = match (&source.target.average_value, &source.target.value) {
            (Some(target), _) => {
                let usage =
                    value.await.map_err(|text| format!("failed to get {name} external metric: {text}"))?;
                let shared = calculate::by_share(scaled.status_replicas, usage, milli(target), tolerance);
                (shared.0, averaged(shared.1))
            }
            (None, Some(target)) => {
                let explained = |text: String| format!("failed to get external metric {name}: {text}");
                let usage = value.await.map_err(explained)?;
                let replicas =
                    calculate::by_value(scaled.spec_replicas, usage, milli(target), scaled.pods, tolerance)
                        .map_err(explained)?;
                (replicas, valued(usage))
            }
            (None, None) => {
                return Err("invalid external metric source: neither a value target nor an average value \
                            target was set"
                    .to_string());
            }
        };
        let status = ExternalMetricStatus { metric: source.metric.clone(), current };
        let status =
            MetricStatus { type_: "External".to_string(), external: Some(status), ..Default::default() };
        Ok(Asked { replicas, metric: format!("external metric {name}({words})"), status })
    }
}

/// What all metrics together ask for.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// That many pods, because of a metric; some metrics may have failed, which the text says.
    Replicas(i32, String, Option<String>),
    /// Nothing can be said: the first fault, and the text for the event.
    Unknown(Fault, String),
}

/// Takes the largest number; without some of the metrics nothing is scaled down.
pub(super) fn combine(asked: &[Result<(i32, String), Fault>], current: i32) -> Verdict {
    let mut best: Option<(i32, &String)> = None;
    for (replicas, metric) in asked.iter().flatten() {
        if best.is_none_or(|(most, _)| most == 0 || *replicas > most) {
            best = Some((*replicas, metric));
        }
    }
    let faults: Vec<&Fault> = asked.iter().filter_map(|asked| asked.as_ref().err()).collect();
    let summary = faults.first().map(|first| {
        let (count, all, first) = (faults.len(), asked.len(), &first.summary);
        format!("invalid metrics ({count} invalid out of {all}), first error is: {first}")
    });
    match (best, faults.first(), summary) {
        (Some((replicas, metric)), None, _) => Verdict::Replicas(replicas, metric.clone(), None),
        (Some((replicas, metric)), Some(_), summary) if replicas >= current => {
            Verdict::Replicas(replicas, metric.clone(), summary)
        }
        (_, Some(first), Some(summary)) => Verdict::Unknown((*first).clone(), summary),
        _ => Verdict::Replicas(current, String::new(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_number_wins() {
        let ok = |replicas: i32, metric: &str| Ok((replicas, metric.to_string()));
        let bad = || Err(fault("FailedGetResourceMetric", "no".into(), "failed to get cpu"));
        let summary = |count: usize, all: usize| {
            format!("invalid metrics ({count} invalid out of {all}), first error is: failed to get cpu: no")
        };
        let found = combine(&[ok(2, "a"), ok(5, "b"), ok(5, "c")], 3);
        assert_eq!(found, Verdict::Replicas(5, "b".into(), None));
        assert_eq!(combine(&[bad(), ok(5, "b")], 3), Verdict::Replicas(5, "b".into(), Some(summary(1, 2))));
        let unknown = Verdict::Unknown(bad().unwrap_err(), summary(1, 2));
        assert_eq!(combine(&[bad(), ok(2, "b")], 3), unknown);
        assert_eq!(combine(&[bad(), bad()], 3), Verdict::Unknown(bad().unwrap_err(), summary(2, 2)));
    }

    #[test]
    fn rules_have_tolerances_of_their_own() {
        use k8s_openapi::api::autoscaling::v2::HPAScalingRules;
        let rules = |text: &str| {
            Some(HPAScalingRules { tolerance: Some(Quantity(text.into())), ..Default::default() })
        };
        let behavior = HorizontalPodAutoscalerBehavior { scale_up: rules("0.05"), scale_down: None };
        let found = tolerance(Some(&behavior), 0.1);
        assert_eq!((found.up, found.down), (0.05, 0.1));
    }
}
