//! Questions and answers, as the specification of Kubernetes DNS lists them.

use hickory_proto::rr::{Name, RecordType};
use serde_json::{Value, json};

use super::{Answer, Zone};

/// A zone with a service of every kind.
fn zone() -> Zone {
    let ip = |text: &str| text.parse().expect("address");
    let ranges = ["10.96.0.0/16", "10.244.0.0/16"].map(|r| r.parse().expect("range")).into();
    let mut zone = Zone::new("cluster.local", vec![ip("10.96.0.10")], ranges).expect("zone");
    let service = |name: &str, spec: Value| {
        let object = json!({ "metadata": { "namespace": "shop", "name": name }, "spec": spec });
        serde_json::from_value(object).expect("service")
    };
    let ports = json!([{ "name": "http", "port": 80 }, { "name": "dns", "protocol": "UDP", "port": 53 }]);
    let ips = json!(["10.96.0.20", "fd96::20"]);
    zone.apply_service(&service(
        "web",
        json!({ "clusterIP": "10.96.0.20", "clusterIPs": ips, "ports": ports }),
    ));
    zone.apply_service(&service(
        "db",
        json!({ "clusterIP": "None", "ports": [{ "name": "sql", "port": 5432 }] }),
    ));
    zone.apply_service(&service("idle", json!({ "clusterIP": "None" })));
    zone.apply_service(&service("out", json!({ "type": "ExternalName", "externalName": "Example.ORG" })));
    zone.apply_service(&service(
        "alias",
        json!({
            "type": "ExternalName", "externalName": "web.shop.svc.cluster.local",
        }),
    ));
    let slice = json!({
        "metadata": { "namespace": "shop", "name": "db-1", "labels": { "kubernetes.io/service-name": "db" } },
        "addressType": "IPv4",
        "ports": [{ "name": "sql", "port": 5432, "protocol": "TCP" }],
        "endpoints": [
            { "addresses": ["10.244.0.5"], "hostname": "db-0", "conditions": { "ready": true } },
            { "addresses": ["10.244.0.6"], "conditions": { "ready": true } },
            { "addresses": ["10.244.0.7"], "hostname": "db-2", "conditions": { "ready": false } },
        ],
    });
    zone.apply_slice(&serde_json::from_value(slice).expect("slice"));
    zone
}

/// An answer as a line: the data of its records, then of the additional ones after a `+`.
fn show(answer: &Answer) -> String {
    match answer {
        Answer::Records(records, more) => {
            let list = |records: &[hickory_proto::rr::Record]| {
                records.iter().map(|r| r.data.to_string()).collect::<Vec<_>>().join(", ")
            };
            if more.is_empty() { list(records) } else { format!("{} + {}", list(records), list(more)) }
        }
        Answer::Alias(_, target) => format!("alias {target}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn names_of_the_specification() {
    let zone = zone();
    let check = |name: &str, kind: RecordType, expected: &str| {
        let name = Name::from_ascii(name).expect("name");
        assert_eq!(show(&zone.answer(&name, kind)), expected, "{name} {kind}");
    };
    use RecordType::{A, AAAA, ANY, CNAME, NS, PTR, SRV, TXT};

    // Services with virtual addresses.
    check("web.shop.svc.cluster.local.", A, "10.96.0.20");
    check("WEB.Shop.svc.Cluster.Local.", A, "10.96.0.20");
    check("web.shop.svc.cluster.local.", AAAA, "fd96::20");
    check("web.shop.svc.cluster.local.", ANY, "10.96.0.20, fd96::20");
    check("web.shop.svc.cluster.local.", TXT, "NoData");
    check(
        "_http._tcp.web.shop.svc.cluster.local.",
        SRV,
        "0 100 80 web.shop.svc.cluster.local. + 10.96.0.20, fd96::20",
    );
    check("_http._tcp.web.shop.svc.cluster.local.", A, "NoData");
    check("_http._udp.web.shop.svc.cluster.local.", SRV, "NameError");
    check("_tcp.web.shop.svc.cluster.local.", SRV, "NoData");
    check("_sctp.web.shop.svc.cluster.local.", SRV, "NameError");
    check("x.web.shop.svc.cluster.local.", A, "NameError");
    check("a.b.c.web.shop.svc.cluster.local.", A, "NameError");

    // Headless services: ready endpoints, by hostname or by address.
    check("db.shop.svc.cluster.local.", A, "10.244.0.6, 10.244.0.5");
    check("db.shop.svc.cluster.local.", AAAA, "NoData");
    check("db-0.db.shop.svc.cluster.local.", A, "10.244.0.5");
    check("db-2.db.shop.svc.cluster.local.", A, "NameError");
    check("10-244-0-6.db.shop.svc.cluster.local.", A, "10.244.0.6");
    check("10-244-0-5.db.shop.svc.cluster.local.", A, "NameError");
    check(
        "_sql._tcp.db.shop.svc.cluster.local.",
        SRV,
        "0 50 5432 10-244-0-6.db.shop.svc.cluster.local., 0 50 5432 db-0.db.shop.svc.cluster.local. + \
         10.244.0.6, 10.244.0.5",
    );
    check("idle.shop.svc.cluster.local.", A, "NoData");

    // Other names.
    check("out.shop.svc.cluster.local.", A, "alias example.org.");
    check("out.shop.svc.cluster.local.", CNAME, "example.org.");
    check("nobody.shop.svc.cluster.local.", A, "NameError");
    check("shop.svc.cluster.local.", A, "NoData");
    check("nowhere.svc.cluster.local.", A, "NameError");
    check("svc.cluster.local.", A, "NoData");
    check("cluster.local.", A, "NoData");
    check("cluster.local.", NS, "ns.dns.cluster.local. + 10.96.0.10");
    check("ns.dns.cluster.local.", A, "10.96.0.10");
    check("other.cluster.local.", A, "NameError");
    check("dns-version.cluster.local.", TXT, "1.1.0");
    check("example.org.", A, "Elsewhere");
    check("mycluster.local.", A, "Elsewhere");

    // Pods.
    check("10-244-0-9.shop.pod.cluster.local.", A, "10.244.0.9");
    check("10-244-0-9.shop.pod.cluster.local.", AAAA, "NoData");
    check("fd00--9.shop.pod.cluster.local.", AAAA, "fd00::9");
    check("web-0.shop.pod.cluster.local.", A, "NameError");

    // Reverse names.
    check("20.0.96.10.in-addr.arpa.", PTR, "web.shop.svc.cluster.local.");
    check("5.0.244.10.in-addr.arpa.", PTR, "db-0.db.shop.svc.cluster.local.");
    check("6.0.244.10.in-addr.arpa.", PTR, "10-244-0-6.db.shop.svc.cluster.local.");
    check("7.0.244.10.in-addr.arpa.", PTR, "NameError");
    check("0.244.10.in-addr.arpa.", PTR, "Elsewhere");
    check("1.2.0.192.in-addr.arpa.", PTR, "Elsewhere");
    let six = "0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.d.f.ip6.arpa.";
    check(six, PTR, "web.shop.svc.cluster.local.");
}

#[test]
fn what_is_deleted_has_no_names() {
    let mut zone = zone();
    let ask =
        |zone: &Zone, name: &str, kind| show(&zone.answer(&Name::from_ascii(name).expect("name"), kind));
    zone.delete_slice("shop/db-1");
    assert_eq!(ask(&zone, "db.shop.svc.cluster.local.", RecordType::A), "NoData");
    assert_eq!(ask(&zone, "5.0.244.10.in-addr.arpa.", RecordType::PTR), "NameError");
    for name in ["web", "db", "idle", "out", "alias"] {
        zone.delete_service(&format!("shop/{name}"));
    }
    assert_eq!(ask(&zone, "web.shop.svc.cluster.local.", RecordType::A), "NameError");
    assert_eq!(ask(&zone, "shop.svc.cluster.local.", RecordType::A), "NameError");
    assert!(zone.is_empty() && zone.reverse.is_empty() && zone.namespaces.is_empty());
}

#[test]
fn slices_may_come_before_their_service() {
    let full = zone();
    let mut zone = Zone::new("cluster.local.", Vec::new(), Vec::new()).expect("zone");
    let slice = json!({
        "metadata": { "namespace": "a", "name": "s-1", "labels": { "kubernetes.io/service-name": "s" } },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["10.0.0.1"] }],
    });
    zone.apply_slice(&serde_json::from_value(slice).expect("slice"));
    let name = Name::from_ascii("s.a.svc.cluster.local.").expect("name");
    assert_eq!(zone.answer(&name, RecordType::A), Answer::NameError);
    let service = json!({ "metadata": { "namespace": "a", "name": "s" }, "spec": { "clusterIP": "None" } });
    zone.apply_service(&serde_json::from_value(service).expect("service"));
    assert_eq!(show(&zone.answer(&name, RecordType::A)), "10.0.0.1");
    assert_eq!(full.len(), 5);
}
