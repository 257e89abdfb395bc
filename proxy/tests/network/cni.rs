//! The CNI plugin: interfaces, addresses, routes, host ports, removal.

use knarr_proxy::cni::{self, Outcome, PortMapping};
use knarr_proxy::{Leftovers, cleanup};
use serde_json::{Value, json};

use crate::support::*;

#[test]
fn pods_reach_each_other_the_node_and_themselves() {
    on_node("pods", |node| {
        let (a, b) = (node.pod("a"), node.pod("b"));
        b.serve_tcp(80);
        serve_tcp(&node.namespace, "node", 90);
        assert_eq!(ask(&a.namespace, b.at(80)).expect("pod to pod"), format!("b {}", a.ips[0]));
        let six = format!("[{}]:80", b.ips[1]);
        assert_eq!(ask(&a.namespace, six).expect("IPv6"), format!("b {}", a.ips[1]));
        assert_eq!(who(&b.namespace, "127.0.0.1:80"), "b");
        assert_eq!(who(&b.namespace, b.at(80)), "b");
        assert_eq!(who(&node.namespace, b.at(80)), "b");
        assert_eq!(who(&a.namespace, "10.77.1.1:90"), "node");
        assert_eq!(ask(&a.namespace, format!("{NODE}:90")).expect("node"), format!("node {}", a.ips[0]));
        within(&node.namespace, || cni::check(&node.cni, &a.attachment)).expect("check");
    });
}

#[test]
fn pods_reach_the_outside_with_the_nodes_address() {
    on_node("leave", |node| {
        let a = node.pod("a");
        serve_tcp(&node.outside, "outside", 80);
        node.apply(&Default::default());
        assert_eq!(ask(&a.namespace, format!("{OUTSIDE}:80")).expect("IPv4"), format!("outside {NODE}"));
        assert_eq!(ask(&a.namespace, "[fd50::2]:80").expect("IPv6"), format!("outside {NODE6}"));
    });
}

#[test]
fn host_ports_lead_to_the_pod_from_everywhere() {
    on_node("hostports", |node| {
        let mapping = |host_port, host_ip: &str| PortMapping {
            host_port,
            container_port: 80,
            protocol: "TCP".to_owned(),
            host_ip: host_ip.to_owned(),
        };
        let a =
            node.pod_with_ports("a", &[mapping(8080, ""), mapping(8081, NODE), mapping(8082, "127.0.0.1")]);
        let b = node.pod("b");
        a.serve_tcp(80);
        let at = |port: u16| format!("{NODE}:{port}");
        assert_eq!(ask(&node.outside, at(8080)).expect("outside"), format!("a {OUTSIDE}"));
        assert_eq!(who(&node.outside, "[fd50::1]:8080"), "a");
        assert_eq!(who(&node.outside, at(8081)), "a");
        assert_eq!(who(&node.namespace, "127.0.0.1:8080"), "a");
        assert_eq!(who(&node.namespace, "127.0.0.1:8082"), "a");
        assert_eq!(who(&node.namespace, at(8080)), "a");
        assert_eq!(who(&node.outside, at(8082)), "ConnectionRefused");
        assert_eq!(who(&b.namespace, at(8080)), "a");
        assert_eq!(who(&a.namespace, at(8080)), "a", "a pod reaches itself by its host port");
        node.nft("flush ruleset\n");
        within(&node.namespace, || cni::restore_host_ports(&node.cni)).expect("restore");
        assert_eq!(who(&node.outside, at(8080)), "a");
        a.delete(node);
        assert_eq!(who(&node.outside, at(8080)), "ConnectionRefused");
        assert!(!node.list(&["ruleset"]).contains("8080"));
    });
}

#[test]
fn udp_clients_of_a_host_port_follow_the_pod() {
    on_node("udphost", |node| {
        let mapping = || PortMapping {
            host_port: 5300,
            container_port: 53,
            protocol: "UDP".to_owned(),
            host_ip: String::new(),
        };
        let client = UdpClient::new(&node.outside);
        let to = format!("{NODE}:5300");
        for name in ["a", "b"] {
            // Before and between the pods nobody answers, and the client keeps its port.
            client.who(&to);
            let pod = node.pod_with_ports(name, &[mapping()]);
            pod.serve_udp(53);
            // A datagram may be lost on a busy machine; a flow that was not forgotten would swallow all of them.
            eventually(name, || client.who(&to) == name);
            pod.delete(node);
        }
    });
}

#[test]
fn the_program_speaks_the_protocol() {
    on_node("protocol", |node| {
        let pod = namespace();
        let call = |command: &str, config: Value| {
            let (mut out, sandbox) = (Vec::new(), path(&pod));
            let env = |name: &str| match name {
                "CNI_COMMAND" => Some(command.to_owned()),
                "CNI_CONTAINERID" => Some("c1".to_owned()),
                "CNI_IFNAME" => Some("eth0".to_owned()),
                "CNI_NETNS" => Some(sandbox.clone()),
                _ => None,
            };
            let input = config.to_string();
            let outcome = within(&node.namespace, || cni::run(&env, input.as_bytes(), &mut out));
            (outcome, serde_json::from_slice::<Value>(&out).unwrap_or(Value::Null))
        };
        let mut config = node.cni.conflist()["plugins"][0].clone();
        config["cniVersion"] = json!("1.0.0");
        config["name"] = json!("knarr-protocol");

        let (outcome, versions) = call("VERSION", json!({ "cniVersion": "1.0.0" }));
        assert_eq!((outcome, &versions["supportedVersions"][4]), (Outcome::Success, &json!("1.1.0")));
        assert_eq!(call("STATUS", config.clone()).0, Outcome::Success);

        let (outcome, added) = call("ADD", config.clone());
        assert_eq!(outcome, Outcome::Success, "{added}");
        assert_eq!(added["cniVersion"], "1.0.0");
        assert_eq!(
            added["ips"][0],
            json!({ "address": "10.77.1.2/32", "gateway": "10.77.1.1", "interface": 2 })
        );
        assert_eq!(added["interfaces"][2]["mac"], "0a:58:0a:4d:01:02");
        assert_eq!(added["interfaces"][2]["sandbox"], json!(path(&pod)));

        assert_eq!(call("CHECK", config.clone()).0, Outcome::Success);
        assert_eq!(call("DEL", config.clone()), (Outcome::Success, Value::Null));
        assert_eq!(call("DEL", config.clone()), (Outcome::Success, Value::Null));
        let (outcome, error) = call("CHECK", config.clone());
        assert_eq!((outcome, &error["code"]), (Outcome::Failure, &json!(103)), "{error}");

        call("ADD", config.clone());
        config["cni.dev/valid-attachments"] = json!([{ "containerID": "other", "ifname": "eth0" }]);
        assert_eq!(call("GC", config.clone()).0, Outcome::Success);
        let left = std::fs::read_to_string(node.reservations()).expect("reservations");
        assert!(left.contains(r#""containers":{}"#), "{left}");

        config["cniVersion"] = json!("2.0.0");
        assert_eq!(call("ADD", config).1["code"], 1);
    });
}

#[test]
fn runtimes_find_a_loopback_plugin() {
    on_node("loopback", |node| {
        let pod = namespace();
        let call = |command: &str| {
            let (mut out, sandbox) = (Vec::new(), path(&pod));
            let env = |name: &str| match name {
                "CNI_COMMAND" => Some(command.to_owned()),
                "CNI_CONTAINERID" => Some("c1".to_owned()),
                "CNI_IFNAME" => Some("lo".to_owned()),
                "CNI_NETNS" => Some(sandbox.clone()),
                _ => None,
            };
            let input = r#"{"cniVersion":"0.3.1","name":"cni-loopback","type":"loopback"}"#;
            let outcome = within(&node.namespace, || cni::run(&env, input.as_bytes(), &mut out));
            (outcome, serde_json::from_slice::<Value>(&out).unwrap_or(Value::Null))
        };
        assert_eq!(call("CHECK").0, Outcome::Failure);
        let (outcome, added) = call("ADD");
        assert_eq!(
            (outcome, &added["ips"][0]["address"]),
            (Outcome::Success, &json!("127.0.0.1/8")),
            "{added}"
        );
        assert_eq!(call("CHECK").0, Outcome::Success);
        assert_eq!(call("DEL"), (Outcome::Success, Value::Null));
    });
}

#[test]
fn a_failed_add_leaves_nothing() {
    on_node("failed", |node| {
        let pod = namespace();
        // An interface of that name in the pod makes the plugin's step fail.
        within(&pod, || {
            let args = ["link", "add", "eth0", "type", "bridge"];
            std::process::Command::new("ip").args(args).status().expect("ip");
        });
        let attachment = cni::Attachment {
            container: "c".to_owned(),
            interface: "eth0".to_owned(),
            namespace: Some(path(&pod)),
        };
        let result =
            within(&node.namespace, || cni::add(&node.cni, &attachment, &[], &cni::Bandwidth::default()));
        assert!(result.is_err());
        let left = std::fs::read_to_string(node.reservations()).expect("reservations");
        assert!(left.contains(r#""containers":{}"#), "{left}");
        assert_eq!(node.interfaces(), ["eth0", "lo"]);
    });
}

#[test]
fn cleanup_leaves_nothing_and_spares_other_clusters() {
    on_node("mine", |node| {
        let mapping = PortMapping {
            host_port: 8080,
            container_port: 80,
            protocol: "udp".to_owned(),
            host_ip: String::new(),
        };
        let _pod = node.pod_with_ports("a", &[mapping]);
        node.apply(&Default::default());
        node.nft("add table ip knarr-other\n");
        let directory = node.state.path();
        let (conf, bin) = (directory.join("net.d"), directory.join("bin"));
        cni::write_config(&conf, Some(&bin), &node.cni).expect("config");
        assert!(bin.join("knarr-cni").exists() && bin.join("loopback").exists());
        assert_eq!(node.interfaces().len(), 4);
        let leftovers = Leftovers {
            cluster_cidrs: Vec::new(),
            cluster: "mine".to_owned(),
            state_dir: Some(node.cni.state_dir.clone()),
            cni_conf_dir: Some(conf.clone()),
            cni_bin_dir: Some(bin.clone()),
        };
        for _ in 0..2 {
            let clean = || async {
                cleanup(&leftovers).await.expect("cleanup");
                Ok(())
            };
            cni::in_namespace(Some(&node.namespace), clean).expect("thread");
        }
        assert_eq!(node.list(&["ruleset"]).trim(), "table ip knarr-other {\n}");
        assert_eq!(node.interfaces(), ["eth0", "lo"]);
        let count = |path| std::fs::read_dir(path).expect("directory").count();
        assert_eq!((count(&conf), count(&bin), node.cni.state_dir.exists()), (0, 0, false));
    });
}

/// Sends bytes from one pod to another and returns how long that took, until the last has arrived.
fn send(from: &Pod, to: &Pod, bytes: usize) -> std::time::Duration {
    use std::io::Write;
    let listener = within(&to.namespace, || std::net::TcpListener::bind(("::", 5001)).expect("bind"));
    let mut sender = within(&from.namespace, || std::net::TcpStream::connect(to.at(5001)).expect("connect"));
    let receive = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("accept");
        std::io::copy(&mut stream, &mut std::io::sink()).expect("read")
    });
    let ((), took) = timed(|| {
        sender.write_all(&vec![0; bytes]).expect("write");
        drop(sender);
        assert_eq!(receive.join().expect("thread"), bytes as u64);
    });
    took
}

#[test]
fn bandwidth_is_limited_each_way() {
    on_node("bandwidth", |node| {
        const BYTES: usize = 1_000_000;
        let rate = 8 * BYTES as u64;
        // As containerd asks: a burst of minutes.
        let burst = u64::from(u32::MAX);
        let limits = [
            ("received", cni::Bandwidth { ingress_rate: rate, ingress_burst: burst, ..Default::default() }),
            ("sent", cni::Bandwidth { egress_rate: rate, egress_burst: burst, ..Default::default() }),
        ];
        let free = node.pod("free");
        for (name, limit) in limits {
            let pod = node.pod_with(name, &[], &limit);
            let (to, from) = (send(&free, &pod, BYTES), send(&pod, &free, BYTES));
            let (limited, unlimited) = if name == "received" { (to, from) } else { (from, to) };
            // A tenth may come at once, headers count, and what is not limited is faster by far.
            assert!(limited.as_millis() > 850, "{name}: {limited:?}");
            assert!(unlimited < limited, "{name}: {unlimited:?} and {limited:?}");
            pod.delete(node);
            assert!(!node.interfaces().iter().any(|name| name.starts_with("knb")), "{:?}", node.interfaces());
        }
    });
}
