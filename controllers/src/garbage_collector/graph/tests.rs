//! Graphs as tables.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::discovery::ApiResource;

use super::*;

/// An object written as `namespace/name<owner,owner! finalizer-`, where `!` marks a blocking reference,
/// `*f` a foreground and `*o` an orphan finalizer of an object that is being deleted.
fn object(text: &str) -> Arc<Object> {
    let (text, finalizer) =
        text.split_once('*').map_or((text, None), |(text, finalizer)| (text, Some(finalizer)));
    let (name, owners) = text.split_once('<').unwrap_or((text, ""));
    let (namespace, name) = name.split_once('/').unwrap_or(("", name));
    let reference = |owner: &str| OwnerReference {
        uid: owner.trim_end_matches('!').into(),
        name: owner.trim_end_matches('!').into(),
        block_owner_deletion: Some(owner.ends_with('!')),
        ..Default::default()
    };
    let resource = Arc::new(Resource::test(ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: "Pod".into(),
        plural: "pods".into(),
    }));
    let meta = ObjectMeta {
        name: Some(name.into()),
        namespace: Some(namespace.into()),
        uid: Some(name.into()),
        owner_references: Some(owners.split(',').filter(|owner| !owner.is_empty()).map(reference).collect()),
        deletion_timestamp: finalizer.map(|_| Time(jiff::Timestamp::UNIX_EPOCH)),
        finalizers: finalizer.map(|f| vec![if f == "f" { FOREGROUND } else { ORPHAN }.to_string()]),
        ..Default::default()
    };
    Arc::new(Object::new(&resource, meta))
}

/// Applies changes (`-name` removes) and checks what the last one leads to.
fn check(changes: &[&str], expected: &[&str]) {
    let mut graph = Graph::default();
    let mut last = Vec::new();
    for change in changes {
        last = match change.strip_prefix('-') {
            Some(name) => graph.remove(&Uid::from(name)),
            None => graph.put(&object(change)),
        };
    }
    let text = last.iter().map(|work| match work {
        Work::Delete(uid) => uid.to_string(),
        Work::Orphan(uid) => format!("orphan {uid}"),
    });
    assert_eq!(text.collect::<Vec<_>>(), expected, "{changes:?}");
}

#[test]
fn changes_lead_to_work() {
    check(&["a", "b<a"], &[]);
    // The owner is unknown: ask.
    check(&["b<a"], &["b"]);
    check(&["b<a", "c<a"], &["c"]);
    check(&["b<a", "a"], &[]);
    // Gone owners concern all dependents, and only these.
    check(&["a", "b<a", "c<a", "d<b", "-a"], &["b", "c"]);
    check(&["a", "b<a", "-a", "c<a"], &["c"]);
    // Foreground: the owner and its dependents, then the owner for each dependent that goes.
    check(&["a", "b<a!", "c<a", "a*f"], &["a", "b", "c"]);
    check(&["a", "b<a!", "a*f", "-b"], &["a"]);
    check(&["a", "b<a!", "a*f", "c<a"], &["c"]);
    // A reference that blocks no more lets the owner go on.
    check(&["a", "b<a!", "a*f", "b<a"], &["a", "b"]);
    check(&["a", "b<a", "a*o"], &["orphan a"]);
    check(&["a*o", "a*o"], &[]);
    check(&["a", "b<a", "b"], &["b"]);
    // Nobody is owned from another namespace, but from the cluster.
    check(&["n/a", "m/b<a"], &["b"]);
    check(&["n/a", "b<a"], &["b"]);
    check(&["m/b<a", "n/c<a", "n/a"], &["b"]);
    check(&["n/a", "n/b<a"], &[]);
    check(&["a", "n/b<a"], &[]);
}

#[test]
fn blocking_dependents_are_known() {
    let mut graph = Graph::default();
    for text in ["a", "b<a!", "c<a", "c<a*f"] {
        graph.put(&object(text));
    }
    let dependents = graph.dependents(&Uid::from("a"));
    let seen: Vec<_> = dependents.iter().map(|d| (&*d.uid, d.blocks, d.waits)).collect();
    assert_eq!(seen, [("b", true, false), ("c", false, true)]);
    assert_eq!(graph.waiting_dependents(&Uid::from("a")), [Uid::from("c")]);
}

#[test]
fn decisions() {
    use OwnerState::{Absent, Present, WaitsForDependents};
    use PropagationPolicy::{Background, Foreground, Orphan};
    let delete = |policy, unblock| Action::Delete { policy, unblock };
    let check = |text: &str, states: &[OwnerState], dependents, waiting: &[&str], expected: Action| {
        let object = object(text);
        let owners =
            object.owners.iter().map(|owner| owner.uid.clone()).zip(states.iter().copied()).collect();
        let waiting: Vec<Uid> = waiting.iter().map(|uid| Uid::from(*uid)).collect();
        assert_eq!(decide(&object, &owners, dependents, &waiting), expected, "{text} {states:?}");
    };
    check("x<a", &[Present], 0, &[], Action::Keep);
    check("x<a", &[Absent], 3, &[], delete(Background, false));
    check("x<a,b", &[Present, Absent], 0, &[], Action::DropOwners(vec![Uid::from("b")]));
    check("x<a,b", &[Present, WaitsForDependents], 0, &[], Action::DropOwners(vec![Uid::from("b")]));
    check("x<a", &[WaitsForDependents], 0, &[], delete(Background, false));
    check("x<a", &[WaitsForDependents], 2, &[], delete(Foreground, false));
    check("x<a", &[WaitsForDependents], 2, &["y"], delete(Foreground, true));
    check("x<a*f", &[Absent], 0, &[], delete(Foreground, false));
    check("x<a*o", &[Absent], 0, &[], delete(Orphan, false));
}
