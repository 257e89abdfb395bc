//! The scheduler against an API server: preemption, several profiles, volumes that wait for their first consumer.
//!
//! Needs `KNARR_TEST_KUBECONFIG` (an administrator's) and `KNARR_TEST_SCHEDULER_KUBECONFIG` (the scheduler's own
//! identity, so that its role is tested too) of a cluster without scheduler and nodes, such as
//! `knarr up --api-only --ephemeral` makes; skipped with a note otherwise.
use clap::Parser;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::scheduling::v1::PriorityClass;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{Condition, await_condition};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

const CONFIG: &str = "apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection: {leaderElect: false}
profiles:
- schedulerName: default-scheduler
- schedulerName: packing
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: knarr_scheduler::Args,
}

async fn create<K>(api: &Api<K>, object: Value) -> K
where
    K: Clone + Debug + DeserializeOwned + Serialize,
{
    let object: K = serde_json::from_value(object).expect("an object of its kind");
    api.create(&PostParams::default(), &object).await.expect("created")
}

async fn wait<K>(api: &Api<K>, name: &str, what: &str, condition: impl Condition<K>) -> K
where
    K: Clone + Debug + Send + DeserializeOwned + Resource + 'static,
{
    let found = tokio::time::timeout(Duration::from_secs(20), await_condition(api.clone(), name, condition));
    found.await.unwrap_or_else(|_| panic!("{name}: {what}")).expect("watched").expect("there")
}

fn bound_to(node: &'static str) -> impl Condition<Pod> {
    move |pod: Option<&Pod>| {
        pod.and_then(|pod| pod.spec.as_ref()?.node_name.as_deref()).is_some_and(|name| name == node)
    }
}

fn pod(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    let cpu = spec.as_object_mut().and_then(|spec| spec.remove("cpu")).unwrap_or_else(|| json!("100m"));
    spec["containers"] = json!([{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]);
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_find_nodes() {
    let paths = [("KNARR_TEST_KUBECONFIG"), ("KNARR_TEST_SCHEDULER_KUBECONFIG")].map(std::env::var_os);
    let [Some(admin), Some(own)] = paths else {
        println!("skipped: no KNARR_TEST_KUBECONFIG and KNARR_TEST_SCHEDULER_KUBECONFIG");
        return;
    };
    let client = knarr_component::client::connect(Some(Path::new(&admin)), "test").await.expect("a client");
    let config = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(config.path(), CONFIG).expect("written");
    let stop = CancellationToken::new();
    let mut command = Command::parse_from(["scheduler", "--secure-port=0"]);
    (command.args.config, command.args.connection.kubeconfig) =
        (Some(config.path().into()), Some(own.into()));
    let scheduler = Box::pin(knarr_scheduler::run(command.args, stop.clone()));
    let ended = async {
        Box::pin(scheduler).await.expect("no error");
        assert!(stop.is_cancelled(), "the scheduler ended too early");
    };
    tokio::join!(ended, async {
        Box::pin(work(&client)).await;
        stop.cancel();
    });
}

async fn work(client: &Client) {
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    for name in ["n1", "n2"] {
        add_node(client, name).await;
    }
    profiles(&pods).await;
    volumes(client, &pods).await;
    given_volume(client, &pods).await;
    Box::pin(preemption(client, &pods)).await;
}

async fn add_node(client: &Client, name: &str) {
    let nodes: Api<Node> = Api::all(client.clone());
    create(&nodes, json!({"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}})).await;
    let resources = json!({"cpu": "2", "memory": "4Gi", "pods": "110"});
    let status = json!({"status": {"capacity": resources, "allocatable": resources}});
    let patched = nodes.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await;
    patched.expect("a status");
    // The taint that a node has until its controller sees it ready.
    let untaint = json!({"spec": {"taints": null}});
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(untaint)).await.expect("no taints");
}

/// Each profile rates nodes in its own way.
async fn profiles(pods: &Api<Pod>) {
    create(pods, pod("first", json!({"nodeSelector": {"kubernetes.io/hostname": "n1"}, "cpu": "500m"})))
        .await;
    wait(pods, "first", "bound", bound_to("n1")).await;
    create(pods, pod("spreading", json!({}))).await;
    wait(pods, "spreading", "bound where there is more room", bound_to("n2")).await;
    create(pods, pod("packing", json!({"schedulerName": "packing"}))).await;
    wait(pods, "packing", "bound where there is less room", bound_to("n1")).await;
    for name in ["first", "spreading", "packing"] {
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.expect("deleted");
    }
}

/// The claim is told the node, the pod waits until it is bound.
async fn volumes(client: &Client, pods: &Api<Pod>) {
    let class = json!({"metadata": {"name": "wait"}, "provisioner": "example.com/p",
        "volumeBindingMode": "WaitForFirstConsumer"});
    create::<StorageClass>(&Api::all(client.clone()), class).await;
    let volume = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]});
    create(pods, pod("user", volume)).await;
    let refused = |pod: Option<&Pod>| {
        let condition =
            pod.and_then(|pod| pod.status.as_ref()?.conditions.as_ref()?.first()?.message.clone());
        condition.is_some_and(|message| {
            message == "0/2 nodes are available: persistentvolumeclaim \"c\" not found. not found"
        })
    };
    wait(pods, "user", "told why", refused).await;
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
    let spec = json!({"storageClassName": "wait", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}});
    create(&claims, json!({"metadata": {"name": "c"}, "spec": spec})).await;
    const SELECTED: &str = "volume.kubernetes.io/selected-node";
    let selected = |claim: Option<&PersistentVolumeClaim>| {
        claim.is_some_and(|claim| {
            claim.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(SELECTED))
        })
    };
    let claim = wait(&claims, "c", "told the node", selected).await;
    let node = claim.metadata.annotations.unwrap_or_default()[SELECTED].clone();
    assert!(
        pods.get("user").await.expect("read").spec.expect("a spec").node_name.is_none(),
        "bound too early"
    );
    // What provisioner and volume controller would do.
    let host = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]);
    let volume = json!({"metadata": {"name": "v"}, "spec": {"capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"], "storageClassName": "wait", "hostPath": {"path": "/v"},
        "claimRef": {"namespace": "default", "name": "c", "uid": claim.metadata.uid},
        "nodeAffinity": {"required": {"nodeSelectorTerms": host}}}});
    create::<PersistentVolume>(&Api::all(client.clone()), volume).await;
    let bind = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": "v"}});
    claims.patch("c", &PatchParams::default(), &Patch::Merge(bind)).await.expect("bound");
    let anywhere =
        |pod: Option<&Pod>| pod.is_some_and(|pod| pod.spec.as_ref().is_some_and(|s| s.node_name.is_some()));
    let user = wait(pods, "user", "bound", anywhere).await;
    assert_eq!(user.spec.and_then(|spec| spec.node_name), Some(node));
    pods.delete("user", &DeleteParams::default().grace_period(0)).await.expect("deleted");
}

/// A volume that exists is reserved for the claim of its first consumer.
async fn given_volume(client: &Client, pods: &Api<Pod>) {
    let class = json!({"metadata": {"name": "by-hand"}, "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer"});
    create::<StorageClass>(&Api::all(client.clone()), class).await;
    let host = json!([{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"]}]}]);
    let volume = json!({"metadata": {"name": "given"}, "spec": {"capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"], "storageClassName": "by-hand", "hostPath": {"path": "/v"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": host}}}});
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    create(&volumes, volume).await;
    let spec = json!({"storageClassName": "by-hand", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}});
    let claims: Api<PersistentVolumeClaim> = Api::default_namespaced(client.clone());
    create(&claims, json!({"metadata": {"name": "taker"}, "spec": spec})).await;
    let volume = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "taker"}}]});
    create(pods, pod("taker", volume)).await;
    let reserved = |volume: Option<&PersistentVolume>| {
        let claim = volume.and_then(|volume| volume.spec.as_ref()?.claim_ref.as_ref()?.name.as_deref());
        claim == Some("taker")
    };
    wait(&volumes, "given", "reserved", reserved).await;
    let bind = json!({"metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": "given"}});
    claims.patch("taker", &PatchParams::default(), &Patch::Merge(bind)).await.expect("bound");
    wait(pods, "taker", "bound", bound_to("n2")).await;
    pods.delete("taker", &DeleteParams::default().grace_period(0)).await.expect("deleted");
}

/// The less important pod is told why and leaves; the more important one gets its place.
async fn preemption(client: &Client, pods: &Api<Pod>) {
    let class = json!({"metadata": {"name": "important"}, "value": 1000});
    create::<PriorityClass>(&Api::all(client.clone()), class).await;
    for name in ["n1", "n2"] {
        let spec = json!({"nodeSelector": {"kubernetes.io/hostname": name}, "cpu": "2"});
        create(pods, pod(&format!("low-{name}"), spec)).await;
    }
    wait(pods, "low-n1", "bound", bound_to("n1")).await;
    wait(pods, "low-n2", "bound", bound_to("n2")).await;
    let high = create(pods, pod("high", json!({"priorityClassName": "important", "cpu": "1"}))).await;
    let nominated = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| pod.status.as_ref().is_some_and(|status| status.nominated_node_name.is_some()))
    };
    let waiting = wait(pods, "high", "promised a node", nominated).await;
    let node = waiting.status.and_then(|status| status.nominated_node_name).expect("a node");
    let victim = format!("low-{node}");
    let leaving = |pod: Option<&Pod>| pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some());
    let left = wait(pods, &victim, "deleted gracefully", leaving).await;
    let conditions = left.status.and_then(|status| status.conditions).unwrap_or_default();
    let told = conditions.iter().find(|condition| condition.type_ == "DisruptionTarget").expect("told why");
    assert_eq!(told.reason.as_deref(), Some("PreemptionByScheduler"));
    let message = "default-scheduler: preempting to accommodate a higher priority pod";
    assert_eq!(told.message.as_deref(), Some(message));
    assert!(
        pods.get("high").await.expect("read").spec.expect("a spec").node_name.is_none(),
        "bound too early"
    );
    let others = pods.list(&ListParams::default()).await.expect("listed").items;
    assert_eq!(
        others.iter().filter(|pod| pod.metadata.deletion_timestamp.is_some()).count(),
        1,
        "one victim"
    );
    pods.delete(&victim, &DeleteParams::default().grace_period(0)).await.expect("gone");
    let node: &'static str = if node == "n1" { "n1" } else { "n2" };
    wait(pods, "high", "bound", bound_to(node)).await;
    let expected = format!("Preempted by pod {} on node {node}", high.metadata.uid.unwrap_or_default());
    let events: Api<Event> = Api::default_namespaced(client.clone());
    let reported = tokio::time::timeout(Duration::from_secs(20), async {
        let mut known = events.list(&ListParams::default()).await.expect("listed").items;
        while !known.iter().any(|event| event.message.as_ref() == Some(&expected)) {
            tokio::task::yield_now().await;
            known = events.list(&ListParams::default()).await.expect("listed").items;
        }
    });
    reported.await.expect("the event");
}
