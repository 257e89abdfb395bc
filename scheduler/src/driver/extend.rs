//! Extenders: webhooks that filter and rate nodes besides the plugins, or bind pods (`kube-scheduler/extender/v1`).
use super::{Decision, Scheduler, Waiting};
use crate::algorithm::{Algorithm, Candidate, Claims, Unschedulable, best};
use crate::config::Extender;
use crate::plugin::Refusal;
use crate::pod::PodView;
use knarr_component::client::ensure_crypto_provider;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A score of an extender is between 0 and this.
const MAX_EXTENDER_SCORE: i64 = 10;
/// How long an extender may take, where its configuration does not say it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an extender gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExtenderError {
    #[error("extender {url}: {source}")]
    Call { url: String, source: kube::Error },
    #[error("extender {0}: context deadline exceeded")]
    Timeout(String),
    #[error("extender {0}: {1}")]
    Answer(String, String),
    #[error("cannot read the pod: {0}")]
    Pod(kube::Error),
    #[error("extender {0}: expected at least one victim pod on node \"{1}\"")]
    NoVictims(String, String),
    #[error("cannot request of an extender: {0}")]
    Request(#[from] http::Error),
}

/// An extender with the connection to it.
pub(super) struct Connected {
    pub(super) settings: Extender,
    client: Client,
    timeout: Duration,
}

impl Connected {
    pub(super) async fn new(settings: Extender) -> anyhow::Result<Self> {
        ensure_crypto_provider();
        let tls = settings.tls_config.clone().unwrap_or_default();
        let set = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let file: Kubeconfig = serde_json::from_value(json!({
            "current-context": "extender",
            "contexts": [{"name": "extender", "context": {"cluster": "extender", "user": "scheduler"}}],
            "clusters": [{"name": "extender", "cluster": {
                "server": settings.url_prefix,
                "insecure-skip-tls-verify": tls.insecure || settings.enable_https && settings.tls_config.is_none(),
                "tls-server-name": set(&tls.server_name),
                "certificate-authority": set(&tls.ca_file), "certificate-authority-data": set(&tls.ca_data),
            }}],
            "users": [{"name": "scheduler", "user": {
                "client-certificate": set(&tls.cert_file), "client-certificate-data": set(&tls.cert_data),
                "client-key": set(&tls.key_file), "client-key-data": set(&tls.key_data),
            }}],
        }))?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        let timeout = settings.http_timeout.as_deref().map(knarr_component::flags::duration).transpose();
        let timeout = timeout.map_err(anyhow::Error::msg)?.filter(|timeout| !timeout.is_zero());
        Ok(Self { client: Client::try_from(config)?, timeout: timeout.unwrap_or(DEFAULT_TIMEOUT), settings })
    }

    /// Whether it wants to be asked for the pod.
    fn cares(&self, pod: &PodView) -> bool {
        let managed = &self.settings.managed_resources;
        managed.is_empty() || managed.iter().any(|resource| pod.requests.others.contains_key(&resource.name))
    }

    /// Posts to one of its verbs. Go's decoder takes field names in any case; so do callers, which see lower case.
    pub(super) async fn call(&self, verb: &str, body: &Value) -> Result<Value, ExtenderError> {
        let url = || format!("{}/{verb}", self.settings.url_prefix.trim_end_matches('/'));
        let request = http::Request::post(format!("/{verb}"))
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())?;
        let answer = tokio::time::timeout(self.timeout, self.client.request::<Value>(request)).await;
        let answer = answer.map_err(|_| ExtenderError::Timeout(url()))?;
        let answer = lower_case(answer.map_err(|source| ExtenderError::Call { url: url(), source })?);
        match answer["error"].as_str() {
            Some(error) if !error.is_empty() => Err(ExtenderError::Answer(url(), error.to_owned())),
            _ => Ok(answer),
        }
    }
}

/// Names of fields in lower case, on one level.
pub(super) fn lower_case(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(lower_case).collect()),
        other => other,
    }
}

/// What a filter left and what it refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filtered {
    kept: Vec<String>,
    refused: Vec<(String, Refusal)>,
}

/// The answer of a filter.
fn filtered(answer: &Value) -> Filtered {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
    };
    let items = answer["nodes"]["items"].as_array().into_iter().flatten();
    let items = items.filter_map(|node| node["metadata"]["name"].as_str().map(str::to_owned));
    let mut kept = strings(&answer["nodenames"]);
    kept.extend(items);
    let failed = |field: &str, passing: bool| {
        let nodes = answer[field].as_object().into_iter().flatten();
        let refusal =
            move |reason: &str| Refusal { reasons: vec![reason.to_owned().into()], passing, fault: false };
        nodes
            .map(move |(node, reason)| (node.clone(), refusal(reason.as_str().unwrap_or_default())))
            .collect::<Vec<_>>()
    };
    let mut refused = failed("failedandunresolvablenodes", false);
    let others = failed("failednodes", true);
    refused.extend(
        others.into_iter().filter(|(node, _)| answer["failedandunresolvablenodes"].get(node).is_none()),
    );
    Filtered { kept, refused }
}

impl Scheduler {
    /// Extenders that want to be asked for the pod.
    pub(super) fn extenders_for<'a>(&'a self, pod: &'a PodView) -> impl Iterator<Item = &'a Connected> {
        self.extenders.iter().filter(|extender| extender.cares(pod))
    }

    /// Whether some extender filters or rates nodes for the pod.
    pub(super) fn extended(&self, pod: &PodView) -> bool {
        self.extenders_for(pod).any(|extender| {
            let Extender { filter_verb, prioritize_verb, preempt_verb, .. } = &extender.settings;
            [filter_verb, prioritize_verb, preempt_verb].into_iter().any(|verb| !verb.is_empty())
        })
    }

    /// Decides with extenders, which are asked without holding the state.
    pub(super) async fn decide_extended(&self, algorithm: &mut Algorithm, pod: &Arc<PodView>) -> Decision {
        let started = Instant::now();
        let candidates = {
            let mut state = self.state.lock();
            let nodes = state.cache.world().nodes().len();
            algorithm.candidates(pod, state.cache.world_mut()).map(|candidates| (candidates, nodes))
        };
        self.tell_times(algorithm, pod, started);
        let claims = algorithm.profile().claims();
        let asked = match candidates {
            Ok((candidates, nodes)) => match self.ask_extenders(pod, candidates, nodes, claims).await {
                Ok(asked) => asked,
                Err(error) => return self.extender_failed(pod, &error),
            },
            Err(failure) => Err(failure),
        };
        match asked {
            Ok(candidates) => self.state.lock().settle(pod, &best(candidates)),
            Err(failure) if failure.fault.is_some() => self.state.lock().fail(pod, *failure),
            Err(failure) => {
                let started = Instant::now();
                match self.make_room_extended(algorithm, pod, failure).await {
                    Ok(waiting) => {
                        self.tell_preemption(algorithm, pod, &waiting, started);
                        Decision::Wait(waiting)
                    }
                    Err(error) => self.extender_failed(pod, &error),
                }
            }
        }
    }

    fn extender_failed(&self, pod: &PodView, error: &ExtenderError) -> Decision {
        self.state.lock().queue.failed(&pod.key, Instant::now());
        let (message, reason) = (error.to_string(), "SchedulerError");
        Decision::Wait(Waiting { reason, ..Waiting::new(message) })
    }

    async fn ask_extenders(
        &self,
        pod: &PodView,
        mut candidates: Vec<Candidate>,
        nodes: usize,
        claims: Claims,
    ) -> Result<Result<Vec<Candidate>, Box<Unschedulable>>, ExtenderError> {
        let object = self.whole_pod(pod).await?;
        let mut failure = Box::new(Unschedulable { nodes, claims, ..Unschedulable::default() });
        for extender in self.extenders_for(pod).filter(|extender| !extender.settings.filter_verb.is_empty()) {
            let arguments = self.arguments(extender, &object, &candidates).await?;
            let answer = match extender.call(&extender.settings.filter_verb, &arguments).await {
                Err(error) if extender.settings.ignorable => {
                    tracing::warn!(%error, "extender ignored");
                    continue;
                }
                answer => filtered(&answer?),
            };
            candidates.retain(|(name, _)| answer.kept.contains(name));
            for (node, refusal) in answer.refused {
                if refusal.passing {
                    failure.passing.push(node);
                }
                failure.refused(refusal, 1);
            }
            if candidates.is_empty() {
                return Ok(Err(failure));
            }
        }
        if candidates.len() > 1 {
            self.rate(pod, &object, &mut candidates).await?;
        }
        Ok(Ok(candidates))
    }

    /// Adds the extenders' scores. One that fails to rate is left out.
    async fn rate(
        &self,
        pod: &PodView,
        object: &Value,
        candidates: &mut [Candidate],
    ) -> Result<(), ExtenderError> {
        for extender in
            self.extenders_for(pod).filter(|extender| !extender.settings.prioritize_verb.is_empty())
        {
            let arguments = self.arguments(extender, object, candidates).await?;
            let answer = match extender.call(&extender.settings.prioritize_verb, &arguments).await {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::warn!(%error, "extender did not rate nodes");
                    continue;
                }
            };
            let scores = answer.as_array().into_iter().flatten();
            let scores: HashMap<&str, i64> = scores
                .filter_map(|score| Some((score["host"].as_str()?, score["score"].as_i64()?)))
                .collect();
            let scale = extender.settings.weight * (crate::plugin::MAX_SCORE / MAX_EXTENDER_SCORE);
            for (name, total) in candidates.iter_mut() {
                *total += scores.get(name.as_str()).copied().unwrap_or_default() * scale;
            }
        }
        Ok(())
    }

    /// Pod and nodes, as extenders are sent them: names for those that know nodes, whole nodes for others.
    async fn arguments(
        &self,
        extender: &Connected,
        pod: &Value,
        candidates: &[Candidate],
    ) -> Result<Value, ExtenderError> {
        let names: Vec<&str> = candidates.iter().map(|(name, _)| name.as_str()).collect();
        if extender.settings.node_cache_capable {
            return Ok(json!({"Pod": pod, "Nodes": null, "NodeNames": names}));
        }
        let request = http::Request::get("/api/v1/nodes").body(Vec::new())?;
        let mut list = self.client.request::<Value>(request).await.map_err(ExtenderError::Pod)?;
        if let Some(items) = list["items"].as_array_mut() {
            items.retain(|node| node["metadata"]["name"].as_str().is_some_and(|name| names.contains(&name)));
        }
        Ok(json!({"Pod": pod, "Nodes": list, "NodeNames": null}))
    }

    pub(super) async fn whole_pod(&self, pod: &PodView) -> Result<Value, ExtenderError> {
        let path = format!("/api/v1/namespaces/{}/pods/{}", pod.key.namespace, pod.key.name);
        let request = http::Request::get(path).body(Vec::new())?;
        self.client.request(request).await.map_err(ExtenderError::Pod)
    }

    /// Lets the extender that binds such pods do it; none when there is none.
    pub(super) async fn bind_by_extender(
        &self,
        pod: &PodView,
        node: &str,
    ) -> Option<Result<(), ExtenderError>> {
        let extender = self.extenders_for(pod).find(|extender| !extender.settings.bind_verb.is_empty())?;
        let arguments = json!({
            "PodName": pod.key.name, "PodNamespace": pod.key.namespace, "PodUID": pod.uid, "Node": node,
        });
        Some(extender.call(&extender.settings.bind_verb, &arguments).await.map(drop))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An extender that answers one request; returns the request's first line and body.
    async fn answer_once(listener: tokio::net::TcpListener, body: &str) -> (String, Value) {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        loop {
            let mut part = [0; 4096];
            let read = stream.read(&mut part).await.unwrap();
            assert!(read > 0, "the request ended too early");
            request.extend_from_slice(&part[..read]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, sent)) = text.split_once("\r\n\r\n") else { continue };
            if let Ok(sent) = serde_json::from_str(sent) {
                let length = body.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
                stream.write_all(answer.as_bytes()).await.unwrap();
                return (head.lines().next().unwrap_or_default().to_owned(), sent);
            }
        }
    }

    #[tokio::test]
    async fn calls_go_below_the_prefix() {
        let check = async |body: &'static str, expected: Result<Value, &str>| {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url_prefix = format!("http://{}/scheduler/", listener.local_addr().unwrap());
            let settings = Extender { url_prefix: url_prefix.clone(), ..Extender::default() };
            let extender = Connected::new(settings).await.unwrap();
            let arguments = json!({"NodeNames": ["a"]});
            let (answer, (line, sent)) =
                tokio::join!(extender.call("filter", &arguments), answer_once(listener, body));
            assert_eq!(line, "POST /scheduler/filter HTTP/1.1");
            assert_eq!(sent, arguments);
            let expected = expected.map_err(|error| format!("extender {url_prefix}filter: {error}"));
            assert_eq!(answer.map_err(|error| error.to_string()), expected);
        };
        check(r#"{"NodeNames": ["a"]}"#, Ok(json!({"nodenames": ["a"]}))).await;
        check(r#"{"Error": "no"}"#, Err("no")).await;
    }

    #[test]
    fn answers_of_filters() {
        let check = |answer: Value, kept: &[&str], refused: &[(&str, &str, bool)]| {
            let found = filtered(&lower_case(answer));
            assert_eq!(found.kept, kept);
            let found: Vec<_> = found
                .refused
                .iter()
                .map(|(node, refusal)| (node.as_str(), refusal.reasons[0].as_ref(), refusal.passing))
                .collect();
            assert_eq!(found, refused);
        };
        check(
            json!({"NodeNames": ["a", "b"], "FailedNodes": {"c": "full"}}),
            &["a", "b"],
            &[("c", "full", true)],
        );
        check(json!({"Nodes": {"items": [{"metadata": {"name": "a"}}]}}), &["a"], &[]);
        check(
            json!({"nodenames": [], "failedNodes": {"a": "x"}, "failedAndUnresolvableNodes": {"a": "never"}}),
            &[],
            &[("a", "never", false)],
        );
    }
}
