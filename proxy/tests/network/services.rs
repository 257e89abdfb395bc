//! One suite for all ways of carrying services' traffic.

use std::time::Duration;

use knarr_proxy::cni::in_namespace;
use knarr_proxy::{Leftovers, ProxyMode, cleanup};
use serde_json::json;

use crate::objects::*;
use crate::support::*;

const VIP: &str = "10.96.0.20";

/// Has each of the scenarios run in each of the modes.
macro_rules! suite {
    ($($mode:ident = $way:ident),*; $scenarios:tt) => { $(
        mod $mode {
            suite!(@ $way $scenarios);
        }
    )* };
    (@ $way:ident ($($name:ident),* $(,)?)) => { $(
        #[test]
        fn $name() {
            super::$name(knarr_proxy::ProxyMode::$way);
        }
    )* };
}

suite!(nftables = Nftables, iptables = Iptables, userspace = Userspace; (
    cluster_ip_balances_for_pods_and_the_node,
    clusters_live_side_by_side,
    node_ports_answer_outside_on_localhost_and_for_pods,
    published_ports_lead_where_their_node_port_leads,
    local_policy_keeps_the_clients_address_and_this_nodes_endpoints,
    a_service_without_endpoints_refuses_at_once,
    clients_return_to_their_endpoint,
    external_addresses_and_source_ranges,
    both_families_of_a_dual_stack_service,
    datagrams_find_the_endpoint,
));

/// Whether clients' addresses are kept: who copies is the client itself.
fn keeps_clients(node: &Node) -> bool {
    node.way != ProxyMode::Userspace
}

/// What a client hears that gets no endpoint where others have some: who copies can only close.
fn shut(node: &Node, heard: &str) {
    let expected: &[&str] = match node.way {
        ProxyMode::Userspace => &["ConnectionReset", "ConnectionRefused"],
        _ => &["TimedOut"],
    };
    assert!(expected.contains(&heard), "{heard}");
}

fn cluster_ip_balances_for_pods_and_the_node(way: ProxyMode) {
    on_node_by(way, "clusterip", |node| {
        let (a, b, client) = (node.pod("a"), node.pod("b"), node.pod("client"));
        [&a, &b].iter().for_each(|p| p.serve_tcp(8080));
        let web = service("web", json!({ "clusterIP": VIP }));
        node.apply(&plans(&node.services, &web, &[slice("web", "TCP", &[a.at(8080), b.at(8080)])]));
        for bridge_filter in ["1", "0"] {
            within(&node.namespace, || {
                knarr_proxy::network::sysctl::try_write("net/bridge/bridge-nf-call-iptables", bridge_filter);
            });
            let to = format!("{VIP}:80");
            assert_eq!(whoever(&client.namespace, &to, 30), ["a", "b"], "bridge filter {bridge_filter}");
            assert_eq!(whoever(&node.namespace, &to, 30), ["a", "b"]);
            // Hairpin: a backend that calls its own service gets answers from itself, too.
            assert_eq!(whoever(&a.namespace, &to, 30), ["a", "b"]);
        }
        let seen = ask(&client.namespace, format!("{VIP}:80")).expect("answer");
        let kept = seen.ends_with(&client.ips[0].to_string());
        assert_eq!(kept, keeps_clients(node), "pods keep their address: {seen}");
        // Ports that the service does not have are refused at once, not routed.
        let (refused, took) = timed(|| who(&client.namespace, format!("{VIP}:81")));
        assert_eq!(refused, "ConnectionRefused");
        assert!(took < Duration::from_millis(500), "{took:?}");
        assert_eq!(who(&node.namespace, format!("{VIP}:81")), "ConnectionRefused");
    });
}

fn clusters_live_side_by_side(way: ProxyMode) {
    on_node_by(way, "one", |one| {
        let two = one.beside("two", 66);
        let (a, b) = (one.pod("a"), two.pod("b"));
        [&a, &b].iter().for_each(|p| p.serve_tcp(8080));
        let spec = |ip: &str, port: u16| json!({ "clusterIP": ip, "type": "NodePort", "ports": [{ "port": 80, "nodePort": port }] });
        let of = |node: &Node, pod: &Pod, ip, port| {
            let slices = [slice("web", "TCP", &[pod.at(8080)])];
            node.apply(&plans(&node.services, &service("web", spec(ip, port)), &slices));
        };
        of(one, &a, VIP, 30080);
        of(&two, &b, "10.85.0.20", 30081);
        assert_eq!(who(&a.namespace, format!("{VIP}:80")), "a");
        assert_eq!(who(&b.namespace, "10.85.0.20:80"), "b");
        for from in [&one.namespace, &one.outside] {
            assert_eq!(who(from, format!("{NODE}:30080")), "a");
            assert_eq!(who(from, format!("{NODE}:30081")), "b");
        }
        let leftovers = Leftovers { cluster: "one".to_owned(), ..Leftovers::default() };
        let clean = || async {
            cleanup(&leftovers).await.expect("cleanup");
            Ok(())
        };
        in_namespace(Some(&one.namespace), clean).expect("thread");
        assert_eq!(who(&one.namespace, "10.85.0.20:80"), "b");
        assert_eq!(who(&one.outside, format!("{NODE}:30081")), "b");
    });
}

#[test]
fn changes_reach_the_same_state_as_a_full_sync() {
    on_node("changes", |node| {
        let (a, b) = (node.pod("a"), node.pod("b"));
        [&a, &b].iter().for_each(|p| p.serve_tcp(8080));
        let web = |spec| service("web", spec);
        let of = |spec, slices: &[_]| rules(&node.services, &web(spec), slices);
        let (one, two) = (slice("web", "TCP", &[a.at(8080)]), slice("web", "TCP", &[a.at(8080), b.at(8080)]));
        let affine = json!({ "clusterIP": VIP, "sessionAffinity": "ClientIP" });
        let states = [
            of(json!({ "clusterIP": VIP }), std::slice::from_ref(&one)),
            of(json!({ "clusterIP": VIP }), std::slice::from_ref(&two)),
            of(affine.clone(), std::slice::from_ref(&two)),
            of(affine, std::slice::from_ref(&one)),
            of(json!({ "clusterIP": VIP }), &[]),
            of(json!({ "clusterIP": "10.96.0.21", "ports": [{ "port": 80, "nodePort": 30080 }] }), &[two]),
            of(json!({ "clusterIP": "None" }), &[one]),
        ];
        let canonical = |text: String| {
            let mut lines: Vec<String> = text.split([',', '\n']).map(|l| l.trim().to_owned()).collect();
            lines.sort();
            lines
        };
        node.apply_rules(&states[0]);
        for pair in states.windows(2) {
            node.update(&pair[0], &pair[1]);
            let changed = canonical(node.list(&["ruleset"]));
            node.apply_rules(&pair[1]);
            assert_eq!(changed, canonical(node.list(&["ruleset"])));
        }
    });
}

fn node_ports_answer_outside_on_localhost_and_for_pods(way: ProxyMode) {
    on_node_by(way, "nodeport", |node| {
        let (a, client) = (node.pod("a"), node.pod("client"));
        a.serve_tcp(8080);
        let spec =
            json!({ "clusterIP": VIP, "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] });
        let slices = [slice("web", "TCP", &[a.at(8080)])];
        node.apply(&plans(&node.services, &service("web", spec), &slices));
        let at = format!("{NODE}:30080");
        assert_eq!(ask(&node.outside, &at).expect("outside"), "a 10.77.1.1", "masqueraded");
        assert_eq!(who(&node.namespace, "127.0.0.1:30080"), "a");
        assert_eq!(who(&node.namespace, &at), "a");
        assert_eq!(who(&client.namespace, &at), "a");
        assert_eq!(who(&a.namespace, &at), "a");
        assert_eq!(who(&client.namespace, "10.77.1.1:30080"), "a");
    });
}

fn published_ports_lead_where_their_node_port_leads(way: ProxyMode) {
    on_node_by(way, "publish", |node| {
        let (a, client) = (node.pod("a"), node.pod("client"));
        a.serve_tcp(8080);
        let spec =
            json!({ "clusterIP": VIP, "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] });
        let config = knarr_proxy::service::Config {
            published: vec![(8000, 30080)],
            // Node ports answer elsewhere: published ones do all the same.
            node_port_addresses: vec!["10.77.1.1/32".parse().expect("range")],
            ..node.services.clone()
        };
        let planned = plans(&config, &service("web", spec), &[slice("web", "TCP", &[a.at(8080)])]);
        node.apply_with(&config, &planned);
        assert_eq!(who(&node.outside, format!("{NODE}:8000")), "a");
        assert_eq!(who(&node.namespace, "127.0.0.1:8000"), "a");
        assert_eq!(who(&client.namespace, "10.77.1.1:30080"), "a");
        assert_eq!(who(&node.outside, format!("{NODE}:30080")), "ConnectionRefused");
    });
}

fn local_policy_keeps_the_clients_address_and_this_nodes_endpoints(way: ProxyMode) {
    on_node_by(way, "local", |node| {
        let (a, client) = (node.pod("a"), node.pod("client"));
        a.serve_tcp(8080);
        let spec = json!({
            "clusterIP": VIP, "type": "NodePort", "externalTrafficPolicy": "Local",
            "ports": [{ "port": 80, "nodePort": 30080 }],
        });
        let web = service("web", spec);
        let elsewhere = json!({ "nodeName": "node-2", "conditions": { "ready": true } });
        let at = format!("{NODE}:30080");
        node.apply(&plans(&node.services, &web, &[slice("web", "TCP", &[a.at(8080)])]));
        let seen = ask(&node.outside, &at).expect("outside");
        assert_eq!(seen == format!("a {OUTSIDE}"), keeps_clients(node), "{seen}");
        assert_eq!(who(&node.namespace, "127.0.0.1:30080"), "a");
        // The endpoint is said to be on another node: from outside nothing, from inside still served.
        node.apply(&plans(
            &node.services,
            &web,
            &[slice_with("web", "TCP", &[a.at(8080)], elsewhere.clone())],
        ));
        shut(node, &who(&node.outside, &at));
        assert_eq!(who(&client.namespace, &at), "a");
        assert_eq!(who(&node.namespace, &at), "a");
        let internal = service("web", json!({ "clusterIP": VIP, "internalTrafficPolicy": "Local" }));
        node.apply(&plans(&node.services, &internal, &[slice_with("web", "TCP", &[a.at(8080)], elsewhere)]));
        shut(node, &who(&client.namespace, format!("{VIP}:80")));
    });
}

fn a_service_without_endpoints_refuses_at_once(way: ProxyMode) {
    on_node_by(way, "empty", |node| {
        let client = node.pod("client");
        let spec =
            json!({ "clusterIP": VIP, "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }] });
        node.apply(&plans(&node.services, &service("web", spec), &[]));
        let (vip, port) = (format!("{VIP}:80"), format!("{NODE}:30080"));
        for (from, to) in [
            (&client.namespace, &vip),
            (&node.namespace, &vip),
            (&node.outside, &port),
            (&node.namespace, &port),
            (&client.namespace, &port),
        ] {
            let (answer, took) = timed(|| who(from, to));
            assert_eq!(answer, "ConnectionRefused");
            assert!(took < Duration::from_millis(500), "{took:?}");
        }
    });
}

fn clients_return_to_their_endpoint(way: ProxyMode) {
    on_node_by(way, "affinity", |node| {
        let (a, b, client) = (node.pod("a"), node.pod("b"), node.pod("client"));
        [&a, &b].iter().for_each(|p| p.serve_tcp(8080));
        let spec = |seconds: u32| {
            json!({
                "clusterIP": VIP, "type": "NodePort", "ports": [{ "port": 80, "nodePort": 30080 }],
                "sessionAffinity": "ClientIP",
                "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": seconds } },
            })
        };
        let slices = [slice("web", "TCP", &[a.at(8080), b.at(8080)])];
        let before = plans(&node.services, &service("web", spec(100)), &slices);
        node.apply(&before);
        let vip = format!("{VIP}:80");
        let first = who(&client.namespace, &vip);
        assert_eq!(whoever(&client.namespace, &vip, 20), std::slice::from_ref(&first));
        let outside = who(&node.outside, format!("{NODE}:30080"));
        assert_eq!(whoever(&node.outside, &format!("{NODE}:30080"), 20), [outside]);
        assert_eq!(whoever(&node.namespace, &vip, 20).len(), 1);
        // A third endpoint leaves the clients where they are.
        let c = node.pod("c");
        c.serve_tcp(8080);
        let more = [slice("web", "TCP", &[a.at(8080), b.at(8080), c.at(8080)])];
        let after = plans(&node.services, &service("web", spec(100)), &more);
        node.apply(&after);
        assert_eq!(whoever(&client.namespace, &vip, 20), std::slice::from_ref(&first));
        // The client's endpoint goes: it moves to another, and stays there.
        let left: Vec<_> = [&a, &b].iter().filter(|p| p.name != first).map(|p| p.at(8080)).collect();
        let fewer = plans(&node.services, &service("web", spec(100)), &[slice("web", "TCP", &left)]);
        node.apply(&fewer);
        let second = whoever(&client.namespace, &vip, 20);
        assert!(second.len() == 1 && second[0] != first, "{second:?}");
        // After the time without a call a client is free again.
        let short = plans(&node.services, &service("web", spec(1)), &slices);
        node.apply(&short);
        let known = who(&client.namespace, &vip);
        let is_free = || {
            std::thread::sleep(Duration::from_millis(1500)); // each call begins the time anew
            who(&client.namespace, &vip) != known
        };
        assert!((0..20).any(|_| is_free()), "{known} is remembered for ever");
    });
}

fn external_addresses_and_source_ranges(way: ProxyMode) {
    on_node_by(way, "external", |node| {
        let (a, client) = (node.pod("a"), node.pod("client"));
        a.serve_tcp(8080);
        let mut web = service(
            "web",
            json!({
                "clusterIP": VIP, "type": "LoadBalancer", "externalIPs": ["192.168.50.77"],
                "loadBalancerSourceRanges": ["192.168.50.0/30", "10.77.0.0/16"],
            }),
        );
        let status = json!({ "loadBalancer": { "ingress": [{ "ip": "192.168.50.78" }] } });
        web.status = serde_json::from_value(status).expect("status");
        let slices = [slice("web", "TCP", &[a.at(8080)])];
        if node.way == ProxyMode::Userspace {
            // It listens where the host has the address.
            for ip in ["192.168.50.77/32", "192.168.50.78/32"] {
                node.output("ip", &["address", "add", ip, "dev", "lo"]);
            }
        }
        node.apply(&plans(&node.services, &web, &slices));
        for ip in ["192.168.50.77", "192.168.50.78"] {
            within(&node.outside, || {
                let route = ["route", "replace", &format!("{ip}/32"), "via", NODE];
                assert!(std::process::Command::new("ip").args(route).status().expect("ip").success());
            });
            assert_eq!(who(&node.outside, format!("{ip}:80")), "a", "{ip}");
            assert_eq!(who(&client.namespace, format!("{ip}:80")), "a", "{ip}");
        }
        if let Some(spec) = web.spec.as_mut() {
            spec.load_balancer_source_ranges = Some(vec!["10.77.0.0/16".to_owned()]);
        }
        node.apply(&plans(&node.services, &web, &slices));
        assert_eq!(who(&node.outside, "192.168.50.77:80"), "a");
        shut(node, &who(&node.outside, "192.168.50.78:80"));
        assert_eq!(who(&client.namespace, "192.168.50.78:80"), "a");
    });
}

fn both_families_of_a_dual_stack_service(way: ProxyMode) {
    on_node_by(way, "dual", |node| {
        let (a, client) = (node.pod("a"), node.pod("client"));
        a.serve_tcp(8080);
        let spec = json!({
            "clusterIP": VIP, "clusterIPs": [VIP, "fd96::20"], "type": "NodePort",
            "ports": [{ "port": 80, "nodePort": 30080 }],
        });
        let six = std::net::SocketAddr::new(a.ips[1], 8080);
        let slices = [slice("web", "TCP", &[a.at(8080)]), slice("web", "TCP", &[six])];
        node.apply(&plans(&node.services, &service("web", spec), &slices));
        for from in [&client.namespace, &node.namespace, &a.namespace] {
            assert_eq!(who(from, format!("{VIP}:80")), "a");
            assert_eq!(who(from, "[fd96::20]:80"), "a");
            assert_eq!(who(from, format!("[{NODE6}]:30080")), "a");
        }
        assert_eq!(who(&node.outside, format!("[{NODE6}]:30080")), "a");
        assert_eq!(who(&client.namespace, "[fd96::20]:81"), "ConnectionRefused");
    });
}

fn datagrams_find_the_endpoint(way: ProxyMode) {
    on_node_by(way, "udp", |node| {
        let (a, client) = (node.pod("a"), node.pod("client"));
        a.serve_udp(5353);
        let spec = json!({ "clusterIP": VIP, "ports": [{ "port": 53, "protocol": "UDP" }] });
        node.apply(&plans(&node.services, &service("dns", spec), &[slice("dns", "UDP", &[a.at(5353)])]));
        let to = format!("{VIP}:53");
        assert_eq!(UdpClient::new(&client.namespace).who(&to), "a");
        assert_eq!(UdpClient::new(&node.namespace).who(&to), "a");
        assert_eq!(UdpClient::new(&a.namespace).who(&to), "a");
    });
}

#[test]
fn sctp_rules_are_accepted() {
    on_node("sctp", |node| {
        let a = node.pod("a");
        let spec =
            json!({ "clusterIP": VIP, "ports": [{ "port": 80, "protocol": "SCTP", "nodePort": 30080 }] });
        node.apply(&plans(&node.services, &service("s", spec), &[slice("s", "SCTP", &[a.at(8080)])]));
        assert!(node.list(&["ruleset"]).contains("10.96.0.20 . sctp . 80"));
    });
}
