//! Network policies in a node's namespace: what passes and what does not, within a second of a change.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use knarr_proxy::cni::in_namespace;
use knarr_proxy::policy::{Config, Pod as PolicyPod, Policy, Table, Watched};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::objects::*;
use crate::support::*;

/// How soon a change must be in force.
const SOON: Duration = Duration::from_secs(1);

/// The world of policies, whose rules are kept on a node.
struct World<'a> {
    node: &'a Node,
    watched: &'a Watched,
}

impl World<'_> {
    /// A pod with the label `app` of its own name, in namespace `default`.
    fn knows(&self, pod: &Pod) {
        self.knows_in("default", &pod.name, &pod.ips);
    }

    fn knows_in(&self, namespace: &str, name: &str, ips: &[IpAddr]) {
        let ips: Vec<Value> = ips.iter().map(|ip| json!({"ip": ip})).collect();
        let object = json!({
            "metadata": {"namespace": namespace, "name": name, "labels": {"app": name}},
            "spec": {"nodeName": self.node.services.node_name,
                "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIPs": ips},
        });
        let pod: core::Pod = serde_json::from_value(object).expect("pod");
        let labels = BTreeMap::from([("name".to_owned(), namespace.to_owned())]);
        let mut index = self.watched.index.lock();
        index.set_namespace(namespace, Some(labels));
        index.set_pod(&format!("{namespace}/{name}"), PolicyPod::read(&pod));
        drop(index);
        self.watched.changed.notify_one();
    }

    fn policy(&self, name: &str, spec: Value) {
        let object = json!({"metadata": {"namespace": "default", "name": name}, "spec": spec});
        let policy: NetworkPolicy = serde_json::from_value(object).expect("policy");
        self.watched.index.lock().set_policy(name, Some(Policy::read(&policy)));
        self.watched.changed.notify_one();
    }

    fn no_policy(&self, name: &str) {
        self.watched.index.lock().set_policy(name, None);
        self.watched.changed.notify_one();
    }

    fn table(&self) -> bool {
        self.node.list(&["tables"]).contains("-policies")
    }
}

/// Keeps a node's policies while `test` changes the world.
fn while_enforcing(node: &Node, test: impl FnOnce(&World<'_>)) {
    let config = Config { node_name: node.services.node_name.clone(), bridge: node.services.bridge.clone() };
    let (watched, stop) = (Watched::new(config), CancellationToken::new());
    std::thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            in_namespace(Some(&node.namespace), || async {
                let table = Table::open(&node.cni.cluster)?;
                table.keep(&watched, Duration::from_secs(3600), stop.clone()).await.expect("rules");
                Ok(())
            })
        });
        // The guard stops the keeper even if the test fails.
        let guard = stop.clone().drop_guard();
        test(&World { node, watched: &watched });
        drop(guard);
        keeper.join().expect("thread").expect("keeper");
    });
}

/// Whether a server answers; what a policy drops is a timeout.
fn passes(from: &std::fs::File, to: impl std::fmt::Display) -> bool {
    ask(from, to).is_ok()
}

/// Waits until a way is open or closed, and asserts that this took no longer than promised.
fn becomes(what: &str, wanted: bool, mut passes: impl FnMut() -> bool) {
    let start = Instant::now();
    let mut last = start;
    eventually(what, || {
        last = Instant::now();
        passes() == wanted
    });
    assert!(last - start < SOON, "{what}: {:?}", last - start);
}

#[test]
fn policies_decide_what_passes() {
    on_node("policies", |node| {
        let [web, db, client] = ["web", "db", "client"].map(|name| node.pod(name));
        [&web, &db].iter().for_each(|pod| {
            pod.serve_tcp(8080);
            pod.serve_tcp(9090);
        });
        let way =
            || std::process::Command::new("ip").args(["route", "add", "10.77.0.0/16", "via", NODE]).status();
        assert!(within(&node.outside, way).expect("ip").success());
        while_enforcing(node, |world| {
            [&web, &db, &client].iter().for_each(|pod| world.knows(pod));
            assert!(passes(&node.outside, web.at(8080)));
            let v6 = |pod: &Pod, port: u16| std::net::SocketAddr::new(pod.ips[1], port);
            let to_web = |port| passes(&client.namespace, web.at(port));
            assert!(to_web(8080) && !world.table());

            // Nobody may come in, but the node itself; others are not touched.
            world.policy("deny", json!({"podSelector": {"matchLabels": {"app": "web"}}}));
            becomes("closed", false, || to_web(8080));
            assert!(!passes(&client.namespace, v6(&web, 8080)) && !passes(&node.outside, web.at(8080)));
            assert!(passes(&node.namespace, web.at(8080)), "the kubelet's probes");
            assert!(passes(&web.namespace, db.at(8080)) && passes(&client.namespace, db.at(8080)));

            // Some pods, at a port by its name.
            let from = json!([{"podSelector": {"matchLabels": {"app": "client"}}}]);
            let some = json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": from, "ports": [{"port": "web"}]}]});
            world.policy("some", some);
            becomes("open", true, || to_web(8080));
            assert!(passes(&client.namespace, v6(&web, 8080)));
            assert!(
                !to_web(9090) && !passes(&db.namespace, web.at(8080)) && !passes(&node.outside, web.at(8080))
            );

            // A range of ports, and addresses with an exception.
            let blocks = json!([{"ipBlock": {"cidr": "192.168.0.0/16", "except": ["192.168.51.0/24"]}}]);
            let range = json!([{"port": 9000, "endPort": 9100}]);
            world.policy("some", json!({"podSelector": {}, "ingress": [{"from": blocks, "ports": range}]}));
            becomes("open to outside", true, || passes(&node.outside, web.at(9090)));
            assert!(!to_web(9090) && !passes(&node.outside, web.at(8080)));
            let none = json!([{"ipBlock": {"cidr": "192.168.0.0/16", "except": ["192.168.50.0/24"]}}]);
            world.policy("some", json!({"podSelector": {}, "ingress": [{"from": none}]}));
            becomes("the exception", false, || passes(&node.outside, web.at(9090)));
            world.no_policy("some");

            // What a pod may reach: elsewhere a way needs both ends' leave.
            world.no_policy("deny");
            becomes("open again", true, || to_web(8080));
            eventually("no table without policies", || !world.table());
            let to = json!([{"podSelector": {"matchLabels": {"app": "db"}}}]);
            world.policy(
                "out",
                json!({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"],
                "egress": [{"to": to}]}),
            );
            becomes("no way out", false, || to_web(8080));
            assert!(passes(&client.namespace, db.at(8080)) && passes(&web.namespace, db.at(8080)));
            assert!(!passes(&client.namespace, format!("{OUTSIDE}:1")));
        });
    });
}

#[test]
fn connections_that_are_open_stay_so() {
    use std::io::{Read, Write};
    on_node("established", |node| {
        let [web, client] = ["web", "client"].map(|name| node.pod(name));
        // As on every node: with the rules of Services the kernel tracks connections.
        node.apply(&plans(&node.services, &service("any", json!({ "clusterIP": "10.96.0.20" })), &[]));
        let listener = within(&web.namespace, || std::net::TcpListener::bind(("::", 7)).expect("bind"));
        let mut stream =
            within(&client.namespace, || std::net::TcpStream::connect(web.at(7)).expect("connect"));
        let (mut served, _) = listener.accept().expect("accept");
        stream.set_read_timeout(Some(Duration::from_secs(2))).expect("timeout");
        while_enforcing(node, |world| {
            [&web, &client].iter().for_each(|pod| world.knows(pod));
            world.policy("deny", json!({"podSelector": {}}));
            becomes("closed", false, || passes(&client.namespace, web.at(7)));
            served.write_all(b"x").expect("write");
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the connection goes on");
        });
    });
}

#[test]
fn services_and_unknown_pods() {
    on_node("behind", |node| {
        let [web, client, late] = ["web", "client", "late"].map(|name| node.pod(name));
        [&web, &late].iter().for_each(|pod| pod.serve_tcp(8080));
        let front = service("web", json!({ "clusterIP": "10.96.0.20" }));
        node.apply(&plans(&node.services, &front, &[slice("web", "TCP", &[web.at(8080)])]));
        let vip = "10.96.0.20:80";
        while_enforcing(node, |world| {
            [&web, &client].iter().for_each(|pod| world.knows(pod));
            let from = json!([{"podSelector": {"matchLabels": {"app": "client"}}}]);
            world.policy(
                "some",
                json!({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [{"from": from}]}),
            );
            // A pod that is not known yet may not begin anything; known, it is judged like any other.
            becomes("unknown", false, || passes(&late.namespace, vip));
            becomes("by the Service", true, || passes(&client.namespace, vip));
            // A pod reaches itself through its own Service.
            assert_eq!(who(&web.namespace, vip), "web");
            world.knows(&late);
            becomes("others of the Service", false, || passes(&late.namespace, vip));
            // Another namespace, by its labels.
            world.knows_in("other", "late", &late.ips);
            world.watched.index.lock().set_pod("default/late", None);
            let other = json!([{"namespaceSelector": {"matchLabels": {"name": "other"}}}]);
            world.policy("some", json!({"podSelector": {}, "ingress": [{"from": other}]}));
            becomes("the other namespace", true, || passes(&late.namespace, vip));
            assert!(!passes(&client.namespace, vip));
            // Flushed rules come back.
            node.nft("flush ruleset\n");
            eventually("restored", || world.table());
            becomes("closed again", false, || passes(&client.namespace, web.at(8080)));
        });
    });
}
