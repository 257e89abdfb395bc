//! Ways between the pods of two nodes, each a namespace: by tunnel and by routes, while nodes come and go.

use std::fs::File;

use futures::StreamExt;
use futures::channel::mpsc;
use k8s_openapi::api::core::v1 as core;
use knarr_component::informer::Informer;
use knarr_proxy::cni::in_namespace;
use knarr_proxy::network::netlink::Netlink;
use knarr_proxy::network::overlay::{Backend, Local};
use knarr_proxy::network::peers::{self, Settings};
use kube::runtime::watcher::Event;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::*;

type Events = mpsc::UnboundedSender<Event<core::Node>>;

/// The Node objects of both.
fn object(node: &Node, name: &str, address: &str) -> core::Node {
    let object = json!({
        "metadata": {"name": name, "uid": name, "resourceVersion": "1"},
        "spec": {"podCIDRs": node.cni.pod_cidrs},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    });
    serde_json::from_value(object).expect("node")
}

/// Keeps the ways of one node until `stop`; nodes are told of by the sender that comes back.
fn keep<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    node: &Node,
    own: (&str, &str),
    backend: (Backend, bool),
    stop: &CancellationToken,
) -> Events {
    let (events, told) = mpsc::unbounded();
    let namespace: File = node.namespace.try_clone().expect("namespace");
    let (cluster, pods, stop) = (node.cni.cluster.clone(), node.cni.pod_cidrs.clone(), stop.clone());
    let (name, address) = (own.0.to_owned(), own.1.parse().expect("address"));
    scope.spawn(move || {
        in_namespace(Some(&namespace), || async {
            let netlink = Netlink::open()?;
            let interface = netlink.interface_of(address).await?.expect("the node's interface");
            let local = Local { name, network: interface.network, backend: backend.0, direct: backend.1 };
            let cluster_cidrs = ["10.77.0.0/16", "10.78.0.0/16", "fd77::/16", "fd78::/16"]
                .map(|range| range.parse().expect("range"))
                .to_vec();
            let settings =
                Settings { cluster, local, interface, pods, cluster_cidrs, vxlan_id: 77, vxlan_port: 8472 };
            let nodes = Informer::spawn(told.map(Ok), stop.clone(), |node: core::Node| node);
            peers::run(settings, netlink, nodes, stop.clone()).await;
            Ok(())
        })
        .expect("ways");
    });
    events
}

fn check(name: &str, backend: Backend, direct: bool, v6: bool) {
    on_node(name, |first| {
        // The client outside is the other node.
        let second = first.opposite(&format!("{name}2"), 78);
        let (a, b) = (first.pod("a"), second.pod("b"));
        [&a, &b].iter().for_each(|pod| pod.serve_tcp(8080));
        let stop = CancellationToken::new();
        std::thread::scope(|scope| {
            let guard = stop.clone().drop_guard();
            let objects = [object(first, "n1", NODE), object(&second, "n2", OUTSIDE)];
            let both = [
                keep(scope, first, ("n1", NODE), (backend, direct), &stop),
                keep(scope, &second, ("n2", OUTSIDE), (backend, direct), &stop),
            ];
            let tell = |event: fn(core::Node) -> Event<core::Node>, node: &core::Node| {
                both.iter().for_each(|events| events.unbounded_send(event(node.clone())).expect("told"));
            };
            both.iter().for_each(|events| events.unbounded_send(Event::Init).expect("told"));
            objects.iter().for_each(|node| tell(Event::InitApply, node));
            both.iter().for_each(|events| events.unbounded_send(Event::InitDone).expect("told"));
            eventually("a reaches b", || who(&a.namespace, b.at(8080)) == "b");
            // The address of the pod is what the other one sees.
            assert_eq!(ask(&b.namespace, a.at(8080)).expect("answer"), format!("a {}", b.ips[0]));
            if v6 {
                let at = std::net::SocketAddr::new(b.ips[1], 8080);
                eventually("by IPv6", || who(&a.namespace, at) == "b");
            }
            let tunnels =
                |node: &Node| node.interfaces().iter().filter(|name| name.starts_with("kx-")).count();
            assert_eq!(tunnels(first), usize::from(backend == Backend::Vxlan && !direct));
            tell(Event::Delete, &objects[1]);
            eventually("no way to a node that is gone", || {
                !first.output("ip", &["route"]).contains("10.78.1.0/24")
            });
            eventually("no tunnel to nobody", || tunnels(first) == 0);
            tell(Event::Apply, &objects[1]);
            eventually("back again", || who(&a.namespace, b.at(8080)) == "b");
            drop(guard);
        });
        // What was made stays until it is removed.
        for (node, range) in [(first, "10.78.1.0/24"), (&second, "10.77.1.0/24")] {
            assert!(node.output("ip", &["route"]).contains(range));
            in_namespace(Some(&node.namespace), || async {
                let cluster_cidrs = [range.parse().expect("range")];
                Ok(peers::remove(&Netlink::open()?, &node.cni.cluster, &cluster_cidrs).await?)
            })
            .expect("removed");
            assert!(!node.output("ip", &["route"]).contains(range));
        }
    });
}

#[test]
fn pods_reach_each_other_by_vxlan() {
    check("vxlan", Backend::Vxlan, false, true);
}

#[test]
fn pods_reach_each_other_by_direct_routes() {
    check("direct", Backend::Vxlan, true, false);
}

#[test]
fn pods_reach_each_other_by_host_gw() {
    check("hostgw", Backend::HostGw, false, false);
}
