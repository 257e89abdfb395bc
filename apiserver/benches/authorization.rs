//! Time of one decision by role bindings where there are 1,000 of them: `cargo bench -p knarr-apiserver --bench
//! authorization`. The aim is below 20 µs, whoever asks.
use criterion::{Criterion, criterion_group, criterion_main};
use knarr_apiserver::authz::rbac::Rbac;
use knarr_apiserver::authz::{Attributes, Authorizer, Mode, bootstrap};
use knarr_apiserver::user::User;
use serde_json::json;
use std::hint::black_box;

const BINDINGS: usize = 1000;

fn role(rbac: &Rbac, namespace: &str, name: &str, resource: &str) {
    let rule = json!({"apiGroups": [""], "resources": [resource], "verbs": ["get", "list"]});
    rbac.set_role(namespace, name, Some(&json!({"rules": [rule]})));
}

fn bind(rbac: &Rbac, namespace: &str, name: &str, role: &str, subject: (&str, &str)) {
    let kind = if namespace.is_empty() { "ClusterRole" } else { "Role" };
    let binding = json!({"roleRef": {"kind": kind, "name": role},
        "subjects": [{"kind": subject.0, "name": subject.1}]});
    rbac.set_binding(namespace, name, Some(&binding));
}

/// An authorizer with the roles that every cluster has.
fn authorizer() -> Authorizer {
    let authorizer = Authorizer::new(&[Mode::Node, Mode::Rbac]);
    for built_in in bootstrap::objects() {
        let object = Some(&built_in.object);
        match built_in.resource {
            "clusterroles" => authorizer.rbac.set_role("", built_in.name(), object),
            "clusterrolebindings" => authorizer.rbac.set_binding("", built_in.name(), object),
            _ => {}
        }
    }
    authorizer
}

fn decisions(c: &mut Criterion) {
    let user = |name: &str, group: &str| User {
        name: name.to_owned(),
        groups: vec![group.to_owned(), "system:authenticated".to_owned()],
        ..User::default()
    };
    // A tenant a namespace, as in CI.
    let tenants = authorizer();
    for tenant in 0..BINDINGS {
        let namespace = format!("n{tenant}");
        role(&tenants.rbac, &namespace, "r", "pods");
        bind(&tenants.rbac, &namespace, "b", "r", ("User", &format!("u{tenant}")));
    }
    // One user that all bindings are about, half of them of the whole cluster.
    let one = authorizer();
    for nth in 0..BINDINGS {
        let (namespace, name) = (if nth % 2 == 0 { "" } else { "n" }, format!("r{nth}"));
        role(&one.rbac, namespace, &name, &format!("resource-{nth}"));
        bind(&one.rbac, namespace, &name, &name, ("Group", "g"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for (what, authorizer, user, namespace, resource) in [
        ("tenants: allowed", &tenants, user("u500", ""), "n500", "pods"),
        ("tenants: refused", &tenants, user("u500", ""), "n501", "pods"),
        ("all of one: allowed by the last", &one, user("u", "g"), "n", "resource-999"),
        ("all of one: refused", &one, user("u", "g"), "n", "pods"),
    ] {
        let attributes = Attributes {
            verb: "get",
            version: "v1",
            resource,
            namespace,
            name: "x",
            is_resource: true,
            ..Attributes::default()
        };
        let allowed = runtime.block_on(authorizer.decide(&user, &attributes)).is_allowed();
        assert_eq!(allowed, what.contains("allowed"), "{what}");
        c.bench_function(&format!("1000 bindings, {what}"), |b| {
            b.iter(|| runtime.block_on(authorizer.decide(black_box(&user), black_box(&attributes))));
        });
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
