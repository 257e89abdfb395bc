//! Modes on one node: what each leaves alone, notices, and takes over from another.

use knarr_proxy::cni::in_namespace;
use knarr_proxy::mode::{self, Mode};
use knarr_proxy::service::Plans;
use knarr_proxy::{Leftovers, ProxyMode, cleanup};
use serde_json::json;

use crate::objects::*;
use crate::support::*;

const VIP: &str = "10.96.0.20";

/// Has a mode do something in the node's namespace.
fn with<T: Send>(node: &Node, way: ProxyMode, work: impl AsyncFnOnce(&mut dyn Mode) -> T + Send) -> T {
    let run = move || async move {
        let mut mode = mode::open(way, &node.services, &node.cni).await.expect("mode");
        Ok(work(&mut *mode).await)
    };
    in_namespace(Some(&node.namespace), run).unwrap_or_else(|error| panic!("{}", error.chain()))
}

fn planned(node: &Node, pod: &Pod) -> Plans {
    let spec = json!({ "clusterIP": VIP, "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] });
    plans(&node.services, &service("web", spec), &[slice("web", "TCP", &[pod.at(8080)])])
}

/// Rules of iptables that name a chain of a service proxy's.
fn kube(node: &Node) -> usize {
    node.output("iptables-save", &[]).lines().filter(|line| line.contains("KUBE-")).count()
}

#[test]
fn one_mode_takes_over_from_another() {
    on_node_by(ProxyMode::Iptables, "takeover", |node| {
        let (a, client) = (node.pod("a"), node.pod("client"));
        a.serve_tcp(8080);
        let plans = planned(node, &a);
        let table = format!("table ip {}", node.table());
        for way in [ProxyMode::Nftables, ProxyMode::Iptables, ProxyMode::Nftables, ProxyMode::Userspace] {
            with(node, way, async |mode| {
                mode.apply(&plans).await.expect("applied");
                assert_eq!(kube(node) > 0, way == ProxyMode::Iptables, "{way:?}");
                assert_eq!(node.list(&["tables"]).contains(&table), way == ProxyMode::Nftables, "{way:?}");
                // What listens here needs this thread to go on.
                let from = client.namespace.try_clone().expect("namespace");
                let asked = tokio::task::spawn_blocking(move || who(&from, format!("{VIP}:80")));
                assert_eq!(asked.await.expect("asked"), "a", "{way:?}");
            });
        }
        let leftovers = Leftovers { cluster: "takeover".to_owned(), ..Leftovers::default() };
        let clean = || async {
            cleanup(&leftovers).await.expect("cleanup");
            Ok(())
        };
        in_namespace(Some(&node.namespace), clean).expect("cleanup");
        assert!(!node.output("ip", &["route", "show", "table", "local"]).contains("10.96.0.0/16"));
    });
}

#[test]
fn what_somebody_else_does_to_iptables_is_noticed_and_theirs_is_left_alone() {
    on_node_by(ProxyMode::Iptables, "theirs", |node| {
        let (a, client) = (node.pod("a"), node.pod("client"));
        a.serve_tcp(8080);
        let plans = planned(node, &a);
        node.output("iptables", &["-A", "FORWARD", "-p", "tcp", "--dport", "9", "-j", "DROP"]);
        node.output("iptables", &["-t", "nat", "-N", "KUBE-SERVICES"]);
        let theirs = node.output("iptables-save", &["-t", "filter"]);
        let rules = |text: &str| -> Vec<String> {
            text.lines().filter(|line| line.starts_with("-A")).map(str::to_owned).collect()
        };
        with(node, ProxyMode::Iptables, async |mode| {
            let applied = mode.apply(&plans).await.expect("applied");
            assert!(applied.full && applied.steps > 0);
            assert_eq!(mode.apply(&plans).await.expect("applied").steps, 0, "nothing differs");
            assert!(mode.is_there().await && mode.is_intact().await.expect("looked"));
            assert_eq!(who(&client.namespace, format!("{VIP}:80")), "a");
            // One rule of ours goes, then all of one table.
            let saved = node.output("iptables-save", &["-t", "nat"]);
            let ours = saved.lines().find_map(|line| line.strip_prefix(":KUBE-POSTROUTING-"));
            let chain =
                format!("KUBE-POSTROUTING-{}", ours.and_then(|rest| rest.split(' ').next()).expect("chain"));
            node.output("iptables", &["-t", "nat", "-D", &chain, "1"]);
            assert!(mode.is_there().await && !mode.is_intact().await.expect("looked"));
            node.output("iptables", &["-t", "nat", "-F"]);
            assert!(!mode.is_there().await);
            mode.forget();
            mode.apply(&plans).await.expect("applied");
            assert!(mode.is_there().await && mode.is_intact().await.expect("looked"));
            assert_eq!(who(&client.namespace, format!("{VIP}:80")), "a");
        });
        let leftovers = Leftovers { cluster: "theirs".to_owned(), ..Leftovers::default() };
        let clean = || async {
            cleanup(&leftovers).await.expect("cleanup");
            Ok(())
        };
        in_namespace(Some(&node.namespace), clean).expect("cleanup");
        assert_eq!(rules(&node.output("iptables-save", &["-t", "filter"])), rules(&theirs));
        assert!(node.output("iptables-save", &["-t", "nat"]).contains(":KUBE-SERVICES -"), "another's chain");
        assert_eq!(kube(node), 1);
    });
}
