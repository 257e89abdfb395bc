//! The sync loop in a node's namespace: changes, flushed rules, UDP flows, health checks.

use std::sync::Arc;
use std::time::Duration;

use knarr_proxy::cni::in_namespace;
use knarr_proxy::service::Index;
use knarr_proxy::sync::{Syncer, Told, Watched};
use knarr_proxy::{Leftovers, cleanup};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::objects::*;
use crate::support::*;

const VIP: &str = "10.96.0.20";

/// Runs a syncer on the node while `test` changes the world.
fn while_syncing(node: &Node, test: impl FnOnce(&Watched)) {
    let watched =
        Arc::new(Watched { index: Mutex::new(Index::new(node.services.clone())), changed: Notify::new() });
    let stop = CancellationToken::new();
    std::thread::scope(|scope| {
        let syncer = scope.spawn(|| {
            in_namespace(Some(&node.namespace), || async {
                let (told, period) = (Told::default(), Duration::from_secs(3600));
                let mode = knarr_proxy::mode::open(node.way, &node.services, &node.cni).await.expect("mode");
                let syncer = Syncer::new(watched.clone(), mode, node.cni.clone(), told, period);
                syncer.run(stop.clone()).await.expect("syncer");
                Ok(())
            })
        });
        // The guard stops the syncer even if the test fails.
        let guard = stop.clone().drop_guard();
        test(&watched);
        drop(guard);
        syncer.join().expect("thread").expect("syncer");
    });
}

#[test]
fn rules_follow_changes_and_come_back_when_flushed() {
    on_node("follow", |node| {
        let (a, b, client) = (node.pod("a"), node.pod("b"), node.pod("client"));
        [&a, &b].iter().for_each(|p| p.serve_tcp(8080));
        let (vip, from) = (format!("{VIP}:80"), &client.namespace);
        while_syncing(node, |watched| {
            watched.index.lock().apply_service(&service("web", json!({ "clusterIP": VIP })));
            watched.changed.notify_one();
            eventually("refused", || who(from, &vip) == "ConnectionRefused");
            watched.index.lock().apply_slice(&slice("web", "TCP", &[a.at(8080)]));
            watched.changed.notify_one();
            eventually("served by a", || who(from, &vip) == "a");
            node.nft("flush ruleset\n");
            eventually("restored", || who(from, &vip) == "a");
            watched.index.lock().apply_slice(&slice("web", "TCP", &[b.at(8080)]));
            watched.changed.notify_one();
            eventually("served by b", || who(from, &vip) == "b");
            watched.index.lock().delete_slice("default/web-IPv4-TCP");
            watched.index.lock().delete_service("default/web");
            watched.changed.notify_one();
            eventually("gone", || !node.list(&["ruleset"]).contains("web"));
        });
    });
}

#[test]
fn pods_are_forwarded_where_the_host_drops_by_default() {
    on_node("docker", |node| {
        let table = "table ip filter {\n chain FORWARD {\n type filter hook forward priority 0; policy drop;\n }\n}\n";
        node.nft(table);
        let before = node.list(&["ruleset"]);
        let (a, b) = (node.pod("a"), node.pod("b"));
        b.serve_tcp(80);
        assert_eq!(who(&a.namespace, b.at(80)), "TimedOut");
        while_syncing(node, |_| eventually("forwarded", || who(&a.namespace, b.at(80)) == "b"));
        let leftovers = Leftovers { cluster: "docker".to_owned(), ..Leftovers::default() };
        let clean = || async {
            cleanup(&leftovers).await.expect("cleanup");
            Ok(())
        };
        in_namespace(Some(&node.namespace), clean).expect("thread");
        assert_eq!(node.list(&["ruleset"]), before);
    });
}

#[test]
fn udp_clients_leave_an_endpoint_that_is_gone() {
    on_node("stale", |node| {
        let (a, b, client) = (node.pod("a"), node.pod("b"), node.pod("client"));
        [&a, &b].iter().for_each(|p| p.serve_udp(5353));
        let to = format!("{VIP}:53");
        while_syncing(node, |watched| {
            let spec = json!({
                "clusterIP": VIP, "type": "NodePort",
                "ports": [{ "port": 53, "protocol": "UDP", "nodePort": 30053 }],
            });
            watched.index.lock().apply_service(&service("dns", spec));
            watched.index.lock().apply_slice(&slice("dns", "UDP", &[a.at(5353)]));
            watched.changed.notify_one();
            let (udp, outside) = (UdpClient::new(&client.namespace), UdpClient::new(&node.outside));
            let node_port = format!("{NODE}:30053");
            eventually("a", || udp.who(&to) == "a" && outside.who(&node_port) == "a");
            watched.index.lock().apply_slice(&slice("dns", "UDP", &[b.at(5353)]));
            watched.changed.notify_one();
            // The same client ports: without the deletion their flows would lead to `a` for ever.
            eventually("b", || udp.who(&to) == "b" && outside.who(&node_port) == "b");
        });
    });
}

#[test]
fn load_balancers_learn_of_local_endpoints() {
    on_node("health", |node| {
        let a = node.pod("a");
        let ask = || {
            let get = || -> std::io::Result<String> {
                use std::io::{Read, Write};
                let mut stream = std::net::TcpStream::connect((NODE, 32000))?;
                stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n")?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer)
            };
            within(&node.outside, get).unwrap_or_default()
        };
        while_syncing(node, |watched| {
            let spec = json!({
                "clusterIP": VIP, "type": "LoadBalancer", "externalTrafficPolicy": "Local",
                "healthCheckNodePort": 32000,
            });
            watched.index.lock().apply_service(&service("web", spec));
            watched.changed.notify_one();
            eventually("unavailable", || ask().starts_with("HTTP/1.1 503 "));
            watched.index.lock().apply_slice(&slice("web", "TCP", &[a.at(8080)]));
            watched.changed.notify_one();
            eventually("available", || {
                let answer = ask();
                answer.starts_with("HTTP/1.1 200 ") && answer.contains(r#""localEndpoints":1"#)
            });
            watched.index.lock().delete_service("default/web");
            watched.changed.notify_one();
            eventually("closed", || ask().is_empty());
        });
    });
}
