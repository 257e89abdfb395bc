//! Metrics from the aggregated metrics APIs.

use std::time::Duration;

use k8s_openapi::{
    api::autoscaling::v2::CrossVersionObjectReference,
    apimachinery::pkg::{
        api::resource::Quantity,
        apis::meta::v1::{LabelSelector, Time},
    },
};
use kube::Client;
use serde::{Deserialize, de::DeserializeOwned};

use super::calculate::{Sample, Samples, milli};
use crate::{control::message, resources::Resource};

/// Window of a custom metric that does not say its own.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    items: Vec<T>,
}

#[derive(Deserialize)]
struct Named {
    #[serde(default)]
    name: String,
}

/// Of `metrics.k8s.io/v1beta1`.
#[derive(Deserialize)]
struct PodMetrics {
    metadata: Named,
    timestamp: Time,
    /// As Go writes durations: `30s`.
    window: String,
    #[serde(default)]
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    #[serde(default)]
    usage: std::collections::BTreeMap<String, Quantity>,
}

/// Of `custom.metrics.k8s.io`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetricValue {
    described_object: Named,
    timestamp: Time,
    #[serde(default, alias = "windowSeconds")]
    window: Option<u64>,
    value: Quantity,
}

/// Of `external.metrics.k8s.io/v1beta1`.
#[derive(Deserialize)]
struct ExternalValue {
    value: Quantity,
}

/// A selector as query parameters have it; one that is not given selects everything.
pub(super) fn selector_text(selector: Option<&LabelSelector>) -> Result<String, String> {
    let Some(selector) = selector else { return Ok(String::new()) };
    let value = serde_json::to_value(selector).map_err(|error| error.to_string())?;
    let parsed = knarr_api::selector::LabelSelector::from_object(Some(&value));
    parsed.map(|parsed| parsed.to_string()).map_err(|error| error.to_string())
}

async fn get<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    parameters: &[(&str, &str)],
) -> Result<T, String> {
    let given = parameters.iter().filter(|(_, value)| !value.is_empty());
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
    let request = http::Request::get(format!("{path}?{query}")).body(Vec::new());
    let request = request.map_err(|error| error.to_string())?;
    client.request(request).await.map_err(|error| message(&error))
}

/// Usage of a resource by the pods that `selector` selects, in one container or all.
pub(super) async fn resource(
    client: &Client,
    namespace: &str,
    selector: &str,
    (resource, container): (&str, &str),
) -> Result<Samples, String> {
    let path = format!("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods");
    let list: List<PodMetrics> = get(client, &path, &[("labelSelector", selector)])
        .await
        .map_err(|fault| format!("unable to fetch metrics from resource metrics API: {fault}"))?;
    if list.items.is_empty() {
        return Err("no metrics returned from resource metrics API".to_string());
    }
    let mut samples = Samples::new();
    for pod in list.items {
        if let Some(value) = usage_of(&pod, namespace, resource, container)? {
            let window = window_of(&pod.window);
            samples.insert(pod.metadata.name, Sample { value, at: pod.timestamp.0, window });
        }
    }
    Ok(samples)
}

/// The usage of one pod in thousandths; `None` where a container has no figure.
fn usage_of(
    pod: &PodMetrics,
    namespace: &str,
    resource: &str,
    container: &str,
) -> Result<Option<i64>, String> {
    if container.is_empty() {
        let figures: Option<Vec<i64>> =
            pod.containers.iter().map(|container| container.usage.get(resource).map(milli)).collect();
        return Ok(figures.filter(|figures| !figures.is_empty()).map(|figures| figures.iter().sum()));
    }
    match pod.containers.iter().find(|found| found.name == container) {
        Some(found) => Ok(found.usage.get(resource).map(milli)),
        None => {
            let pod = &pod.metadata.name;
            Err(format!(
                "failed to get container metrics: container {container} not present in metrics for pod {namespace}/{pod}"
            ))
        }
    }
}

fn window_of(text: &str) -> Duration {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|window| Duration::try_from(window).ok())
        .unwrap_or_default()
}

/// A custom metric of the pods that `selector` selects.
pub(super) async fn pods(
    client: &Client,
    version: &str,
    namespace: &str,
    selector: &str,
    (metric, metric_selector): (&str, &str),
) -> Result<Samples, String> {
    let path = format!("/apis/custom.metrics.k8s.io/{version}/namespaces/{namespace}/pods/*/{metric}");
    let parameters = [("labelSelector", selector), ("metricLabelSelector", metric_selector)];
    let list: List<MetricValue> = get(client, &path, &parameters)
        .await
        .map_err(|fault| format!("unable to fetch metrics from custom metrics API: {fault}"))?;
    if list.items.is_empty() {
        return Err("no metrics returned from custom metrics API".to_string());
    }
    let sample = |found: MetricValue| {
        let window = found.window.map_or(WINDOW, Duration::from_secs);
        (found.described_object.name, Sample { value: milli(&found.value), at: found.timestamp.0, window })
    };
    Ok(list.items.into_iter().map(sample).collect())
}

/// A custom metric of one object, in thousandths. `resource` is what holds the object.
pub(super) async fn object(
    client: &Client,
    version: &str,
    namespace: &str,
    (resource, object): (&Resource, &CrossVersionObjectReference),
    (metric, metric_selector): (&str, &str),
) -> Result<i64, String> {
    let base = format!("/apis/custom.metrics.k8s.io/{version}");
    let path = match (object.kind.as_str(), resource.namespaced) {
        ("Namespace", _) => format!("{base}/namespaces/{}/metrics/{metric}", object.name),
        (_, true) => format!("{base}/namespaces/{namespace}/{}/{}/{metric}", resource.name(), object.name),
        (_, false) => format!("{base}/{}/{}/{metric}", resource.name(), object.name),
    };
    let list: List<MetricValue> = get(client, &path, &[("metricLabelSelector", metric_selector)])
        .await
        .map_err(|fault| format!("unable to fetch metrics from custom metrics API: {fault}"))?;
    let first = list.items.first().map(|found| milli(&found.value));
    first.ok_or_else(|| "no metrics returned from custom metrics API".to_string())
}

/// The sum of all series of an external metric, in thousandths.
pub(super) async fn external(
    client: &Client,
    namespace: &str,
    metric: &str,
    metric_selector: &str,
) -> Result<i64, String> {
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/{metric}");
    let list: List<ExternalValue> = get(client, &path, &[("labelSelector", metric_selector)])
        .await
        .map_err(|fault| format!("unable to fetch metrics from external metrics API: {fault}"))?;
    if list.items.is_empty() {
        return Err("no metrics returned from external metrics API".to_string());
    }
    Ok(list.items.iter().map(|found| milli(&found.value)).sum())
}

/// The newest version of the custom metrics API that is served.
pub(super) fn custom_version<'a>(served: impl Iterator<Item = &'a str>) -> &'static str {
    let mut served = served;
    if served.any(|version| version == "v1beta2") { "v1beta2" } else { "v1beta1" }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn usage_of_a_pod_is_whole_or_missing() {
        let time = "2026-01-01T00:00:00Z";
        let check = |container: &str, containers, expected: Result<Option<i64>, ()>| {
            let pod = json!({
                "metadata": {"name": "p"}, "timestamp": time, "window": "1m30s", "containers": containers,
            });
            let pod: PodMetrics = serde_json::from_value(pod).unwrap();
            assert_eq!(window_of(&pod.window), Duration::from_secs(90));
            let found = usage_of(&pod, "ns", "cpu", container).map_err(drop);
            assert_eq!(found, expected, "{container}");
        };
        let both = json!([
            {"name": "a", "usage": {"cpu": "250m", "memory": "1Mi"}}, {"name": "b", "usage": {"cpu": "1"}},
        ]);
        check("", both.clone(), Ok(Some(1250)));
        check("b", both.clone(), Ok(Some(1000)));
        check("c", both, Err(()));
        check("", json!([{"name": "a", "usage": {"memory": "1Mi"}}]), Ok(None));
        check("", json!([]), Ok(None));
    }

    #[test]
    fn selectors_in_words() {
        let selector = LabelSelector {
            match_labels: Some([("queue".to_string(), "mail".to_string())].into()),
            match_expressions: None,
        };
        assert_eq!(selector_text(Some(&selector)), Ok("queue=mail".to_string()));
        assert_eq!(selector_text(None), Ok(String::new()));
        let expected = "&LabelSelector{MatchLabels:map[string]string{queue: mail,},MatchExpressions:[]LabelSelectorRequirement{},}";
        assert_eq!(crate::meta::selector_structure(Some(&selector)), expected);
    }
}
