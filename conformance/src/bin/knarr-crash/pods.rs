//! The pods that must outlive every crash, and proof that the cluster still makes new ones.
use crate::eventually;
use crate::host::Host;
use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Namespace of the pods.
const NAMESPACE: &str = "crash-pods";

/// Pods of the Deployment and of the StatefulSet.
const PODS: usize = 5 + 2;

/// A container that runs: pod, uid of the pod, container id, restarts. The order of fields is that of sorting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Running {
    pod: String,
    uid: String,
    container: String,
    restarts: i32,
}

/// A Deployment, a StatefulSet and a Service.
pub struct Workload {
    client: Client,
    image: String,
}

impl Workload {
    /// Makes the objects.
    pub async fn create(client: Client, image: &str) -> Result<Self> {
        let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        let workload = Self { client, image: image.to_owned() };
        workload.deployment("web", 5).await?;
        workload.service("web").await?;
        let set = json!({
            "metadata": {"name": "db"},
            "spec": {"replicas": 2, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
                "template": workload.template("db")},
        });
        let sets: Api<StatefulSet> = workload.api();
        sets.create(&PostParams::default(), &serde_json::from_value(set)?).await?;
        Ok(workload)
    }

    /// Waits until exactly the expected pods are ready and the runtime runs exactly their containers.
    pub async fn settled(&self, host: &Host) -> Result<Vec<Running>> {
        eventually("the pods are ready", async || {
            let pods: Api<Pod> = self.api();
            let pods = pods.list(&ListParams::default()).await?.items;
            ensure!(pods.len() == PODS, "{} pods, {PODS} expected", pods.len());
            let mut running = pods.iter().map(running).collect::<Result<Vec<_>>>()?;
            running.sort();
            if let Some(containers) = host.containers().await? {
                for one in &running {
                    ensure!(containers.contains(&one.container), "{one:?} does not run");
                }
                // Each pod has one container and its sandbox.
                ensure!(containers.len() == 2 * PODS, "{} containers run: {containers:?}", containers.len());
            }
            self.answers("web").await?;
            Ok(running)
        })
        .await
    }

    /// A new Deployment gets its pod and a new Service leads to it: every component has done its part.
    pub async fn works(&self, name: &str) -> Result<()> {
        let name = format!("after-{name}");
        eventually("a Deployment is accepted", async || self.deployment(&name, 1).await).await?;
        eventually("a Service is accepted", async || self.service(&name).await).await?;
        eventually("the new Service answers", async || self.answers(&name).await).await?;
        eventually("the old Service answers", async || self.answers("web").await).await?;
        let (deployments, services): (Api<Deployment>, Api<Service>) = (self.api(), self.api());
        deployments.delete(&name, &DeleteParams::default()).await?;
        services.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    }

    fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    fn template(&self, name: &str) -> Value {
        json!({
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 0, "containers": [{
                "name": "web", "image": self.image, "imagePullPolicy": "IfNotPresent", "args": ["serve"],
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": 8080}, "periodSeconds": 1},
            }]},
        })
    }

    async fn deployment(&self, name: &str, replicas: u32) -> Result<()> {
        let object = json!({
            "metadata": {"name": name},
            "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
                "template": self.template(name)},
        });
        let api: Api<Deployment> = self.api();
        made(api.create(&PostParams::default(), &serde_json::from_value(object)?).await)
    }

    async fn service(&self, name: &str) -> Result<()> {
        let object = json!({
            "metadata": {"name": name},
            "spec": {"type": "NodePort", "selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        let api: Api<Service> = self.api();
        made(api.create(&PostParams::default(), &serde_json::from_value(object)?).await)
    }

    /// Gets a page from a Service through its node port.
    async fn answers(&self, name: &str) -> Result<()> {
        let services: Api<Service> = self.api();
        let service = services.get(name).await?;
        let ports = service.spec.and_then(|spec| spec.ports).unwrap_or_default();
        let port = ports.first().and_then(|port| port.node_port).context("a Service without node port")?;
        let nodes = Api::<Node>::all(self.client.clone()).list(&ListParams::default()).await?;
        let addresses = nodes.items.first().and_then(|node| node.status.as_ref()?.addresses.clone());
        let address = addresses.into_iter().flatten().find(|address| address.type_ == "InternalIP");
        let address = address.context("a node without address")?.address;
        let mut stream = TcpStream::connect((address.as_str(), u16::try_from(port)?)).await?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: web\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        ensure!(
            answer.lines().next().is_some_and(|line| line.contains(" 200")),
            "the Service answers {answer:?}"
        );
        Ok(())
    }
}

/// An object that is there already was made by a try whose answer was lost.
fn made<T>(outcome: kube::Result<T>) -> Result<()> {
    match outcome {
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        other => Ok(other.map(|_| ())?),
    }
}

fn running(pod: &Pod) -> Result<Running> {
    let name = pod.name_any();
    ensure!(pod.metadata.deletion_timestamp.is_none(), "{name} is being deleted");
    let status = pod.status.as_ref().context("a pod without status")?;
    let statuses = status.container_statuses.as_deref().unwrap_or_default();
    let [container] = statuses else { bail!("{name} has {} containers", statuses.len()) };
    ensure!(container.ready, "{name} is not ready");
    let id = container.container_id.as_deref().unwrap_or_default();
    let id = id.split_once("://").map_or(id, |(_, id)| id);
    let uid = pod.uid().context("a pod without uid")?;
    Ok(Running { pod: name, uid, container: id.to_owned(), restarts: container.restart_count })
}

/// Fails unless the same containers run, and none was started again.
pub fn same(before: &[Running], after: &[Running]) -> Result<()> {
    let by_pod = |list: &[Running]| -> BTreeMap<String, Running> {
        list.iter().map(|one| (one.pod.clone(), one.clone())).collect()
    };
    let after = by_pod(after);
    for (pod, old) in by_pod(before) {
        match after.get(&pod) {
            Some(new) if *new == old => {}
            Some(new) => bail!("{old:?} became {new:?}"),
            None => bail!("{old:?} is gone"),
        }
    }
    ensure!(after.len() == before.len(), "there are more pods than before: {:?}", after.keys());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(pod: &str, container: &str, restarts: i32) -> Running {
        Running { pod: pod.into(), uid: format!("uid-{pod}"), container: container.into(), restarts }
    }

    #[test]
    fn changes_are_seen() {
        let before = [one("a", "1", 0), one("b", "2", 0)];
        assert!(same(&before, &before).is_ok());
        for after in [
            vec![one("a", "1", 0)],
            vec![one("a", "1", 0), one("b", "2", 1)],
            vec![one("a", "1", 0), one("b", "3", 0)],
            vec![one("a", "1", 0), one("b", "2", 0), one("c", "4", 0)],
        ] {
            assert!(same(&before, &after).is_err(), "{after:?}");
        }
    }
}
