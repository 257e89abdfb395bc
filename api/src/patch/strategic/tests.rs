//! Strategic merge patches and their directives, case by case.

use super::*;
use crate::testing;
use proptest::prelude::*;
use serde_json::json;

fn patched(mut target: Value, patch: Value) -> Result<Value, Error> {
    let (schema, ty) = testing::pod();
    apply(&schema, ty, &mut target, patch)?;
    Ok(target)
}

fn check(rows: Vec<(Value, Value, Value)>) {
    for (target, patch, expected) in rows {
        assert_eq!(patched(target.clone(), patch.clone()), Ok(expected), "{target} patched by {patch}");
    }
}

#[test]
fn objects_and_scalars() {
    check(vec![
        (json!({}), json!({"spec": {"nodeName": "n"}}), json!({"spec": {"nodeName": "n"}})),
        (json!({"spec": {"nodeName": "n"}}), json!({"spec": {"nodeName": null}}), json!({"spec": {}})),
        (
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}}),
            json!({"metadata": {"labels": {"a": null, "c": "3"}}}),
            json!({"metadata": {"labels": {"b": "2", "c": "3"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
            json!({"metadata": {"labels": {"c": "3"}}}),
        ),
        (
            json!({"metadata": {"labels": {"a": "1"}}}),
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            json!({"metadata": {"labels": {}}}),
        ),
        (
            json!({"metadata": {}}),
            json!({"metadata": {"labels": {"a": null}}}),
            json!({"metadata": {"labels": {}}}),
        ),
        (
            json!({"spec": {"template": {"image": "i", "name": "n"}}}),
            json!({"spec": {"template": {"name": "m"}}}),
            json!({"spec": {"template": {"name": "m"}}}),
        ),
    ]);
}

#[test]
fn lists_by_key() {
    let pod = |containers: Value| json!({"spec": {"containers": containers}});
    check(vec![
        // A changed container keeps its place.
        (
            pod(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])),
            pod(json!([{"name": "b", "image": "2"}])),
            pod(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}])),
        ),
        // A new one comes first, since nothing says where it belongs.
        (
            pod(json!([{"name": "a"}, {"name": "b"}])),
            pod(json!([{"name": "c"}])),
            pod(json!([{"name": "c"}, {"name": "a"}, {"name": "b"}])),
        ),
        // The patch's own order wins among the items it names.
        (
            pod(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}])),
            pod(json!([{"name": "c"}, {"name": "a"}])),
            pod(json!([{"name": "b"}, {"name": "c"}, {"name": "a"}])),
        ),
        (
            pod(json!([{"name": "a"}, {"name": "b"}])),
            pod(json!([{"name": "a", "$patch": "delete"}])),
            pod(json!([{"name": "b"}])),
        ),
        (
            pod(json!([{"name": "a"}, {"name": "b"}])),
            pod(json!([{"$patch": "replace"}, {"name": "c", "image": "x"}])),
            pod(json!([{"name": "c", "image": "x"}])),
        ),
        // The same in a list that is not there yet.
        (
            json!({}),
            pod(json!([{"name": "a", "$patch": "delete"}, {"name": "b"}])),
            pod(json!([{"name": "b"}])),
        ),
        (
            pod(json!([{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]}])),
            pod(
                json!([{"name": "a", "env": [{"name": "Y", "$patch": "delete"}, {"name": "X", "value": "3"}]}]),
            ),
            pod(json!([{"name": "a", "env": [{"name": "X", "value": "3"}]}])),
        ),
        // Ports merge by number alone, whatever the protocol: the first one found is changed.
        (
            pod(json!([{"name": "a", "ports": [
                {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}]}])),
            pod(json!([{"name": "a", "ports": [{"containerPort": 53, "name": "dns"}]}])),
            pod(json!([{"name": "a", "ports": [
                {"containerPort": 53, "protocol": "UDP", "name": "dns"}, {"containerPort": 53, "protocol": "TCP"}]}])),
        ),
    ]);
}

#[test]
fn lists_replaced_and_primitive() {
    check(vec![
        // args has no patch strategy.
        (
            json!({"spec": {"containers": [{"name": "a", "args": ["1", "2"]}]}}),
            json!({"spec": {"containers": [{"name": "a", "args": ["3"]}]}}),
            json!({"spec": {"containers": [{"name": "a", "args": ["3"]}]}}),
        ),
        (
            json!({"spec": {"tolerations": [{"key": "a"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
            json!({"spec": {"tolerations": [{"key": "b"}]}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"finalizers": ["b", "c"]}}),
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b"]}}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "x"]}}),
            json!({"metadata": {"finalizers": ["b"]}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a", "b", "c"]}}),
            json!({"metadata": {
                "$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a"]}}),
            json!({"metadata": {"finalizers": ["c", "a"]}}),
        ),
        (
            json!({"metadata": {"finalizers": ["a"]}}),
            json!({"metadata": {"finalizers": null}}),
            json!({"metadata": {}}),
        ),
        (
            json!({}),
            json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}),
            json!({"metadata": {}}),
        ),
        (
            json!({"spec": {"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}]}}),
            json!({"spec": {"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["b"]}]}}),
            json!({"spec": {"hostAliases": [{"ip": "1.1.1.1", "hostnames": ["b"]}]}}),
        ),
    ]);
}

#[test]
fn order_directive() {
    let pod = |containers: Value| json!({"spec": {"containers": containers}});
    check(vec![
        (
            pod(json!([{"name": "a"}, {"name": "b"}, {"name": "c"}])),
            json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}]}}),
            pod(json!([{"name": "c"}, {"name": "b"}, {"name": "a"}])),
        ),
        // What kubectl apply sends to change one container and add another behind it.
        (
            pod(json!([{"name": "a", "image": "1"}, {"name": "server-only"}])),
            json!({"spec": {
                "$setElementOrder/containers": [{"name": "a"}, {"name": "b"}],
                "containers": [{"name": "a", "image": "2"}, {"name": "b"}]}}),
            pod(json!([{"name": "a", "image": "2"}, {"name": "b"}, {"name": "server-only"}])),
        ),
        (
            pod(json!([{"name": "a"}, {"name": "b"}])),
            json!({"spec": {
                "$setElementOrder/containers": [{"name": "b"}],
                "containers": [{"name": "a", "$patch": "delete"}]}}),
            pod(json!([{"name": "b"}])),
        ),
        (json!({"spec": {}}), json!({"spec": {"$setElementOrder/containers": []}}), json!({"spec": {}})),
        (
            json!({"spec": {}}),
            json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a"}]}}),
            pod(json!([{"name": "a"}])),
        ),
        // A list that is new together with its parent.
        (
            json!({}),
            json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a"}]}}),
            pod(json!([{"name": "a"}])),
        ),
    ]);
}

#[test]
fn retained_keys() {
    check(vec![
        (
            json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
            json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
            json!({"spec": {"strategy": {"type": "Recreate"}}}),
        ),
        (
            json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}, {"name": "w", "emptyDir": {}}]}}),
            json!({"spec": {"volumes": [
                {"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}}),
            json!({"spec": {"volumes": [
                {"name": "v", "hostPath": {"path": "/x"}}, {"name": "w", "emptyDir": {}}]}}),
        ),
    ]);
}

#[test]
fn refused_patches() {
    let target = json!({
        "metadata": {"finalizers": ["a"]},
        "spec": {"containers": [{"name": "a"}], "strategy": {"type": "x"}}});
    for (patch, code, text) in [
        (json!([]), 400, "json: cannot unmarshal array into Go value of type map[string]interface {}"),
        (
            json!({"spec": {"strategy": {"$retainKeys": [], "type": "y"}}}),
            400,
            "invalid patch format of retainKeys",
        ),
        (json!({"spec": {"strategy": {"$retainKeys": "type"}}}), 400, "invalid patch format of retainKeys"),
        (
            json!({"metadata": {"$deleteFromPrimitiveList": ["a"]}}),
            400,
            "invalid patch format of primitive list",
        ),
        (
            json!({"metadata": {"$setElementOrder": ["a"]}}),
            400,
            "invalid patch format of setElementOrder list",
        ),
        (
            json!({"spec": {"containers": [{"image": "x"}]}}),
            500,
            "map: map[image:x] does not contain declared merge key: name",
        ),
        (
            json!({"spec": {"containers": [{"name": "a", "$patch": "frob"}]}}),
            500,
            "unknown patch type: frob in map: map[name:a]",
        ),
        (json!({"spec": {"strategy": {"$patch": "merge"}}}), 500, "unknown patch type: merge in map: map[]"),
        (json!({"metadata": {"finalizers": [["x"]]}}), 422, "lists of lists are not supported"),
        (json!({"spec": {"containers": ["a"]}}), 500, "list element types are not identical"),
    ] {
        let error = patched(target.clone(), patch.clone()).expect_err("a refusal");
        assert_eq!(error.to_string(), text, "{patch}");
        assert_eq!(crate::status::Status::from(error).code, code, "{patch}");
    }
    let patch =
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}], "containers": [{"name": "a"}]}});
    let text = patched(target, patch).expect_err("a refusal").to_string();
    assert!(text.contains("doesn't match $setElementOrder list"), "{text}");
}

fn containers() -> impl Strategy<Value = Vec<Value>> {
    proptest::collection::btree_map("[a-e]", "[x-z]", 0..5).prop_shuffle_values()
}

/// Shuffled lists of containers with distinct names.
trait ShuffleValues {
    fn prop_shuffle_values(self) -> BoxedStrategy<Vec<Value>>;
}

impl<S: Strategy<Value = std::collections::BTreeMap<String, String>> + 'static> ShuffleValues for S {
    fn prop_shuffle_values(self) -> BoxedStrategy<Vec<Value>> {
        self.prop_map(|m| {
            m.into_iter().map(|(name, image)| json!({"name": name, "image": image})).collect::<Vec<_>>()
        })
        .prop_shuffle()
        .boxed()
    }
}

proptest! {
    /// Merging by name is a union in which the patch wins, and applying a patch twice changes nothing more.
    #[test]
    fn keyed_merge_is_a_union(old in containers(), new in containers()) {
        let pod = |list: &[Value]| json!({"spec": {"containers": list}});
        let once = patched(pod(&old), pod(&new)).expect("applies");
        let merged = once["spec"]["containers"].as_array().expect("a list").clone();
        let named = |list: &[Value], name: &Value| list.iter().find(|c| c["name"] == *name).cloned();
        for item in old.iter().chain(&new) {
            let expected = named(&new, &item["name"]).or_else(|| named(&old, &item["name"]));
            prop_assert_eq!(named(&merged, &item["name"]), expected);
        }
        prop_assert_eq!(patched(once.clone(), pod(&new)), Ok(once));
    }

    /// With the order given, the result has exactly that order.
    #[test]
    fn order_is_obeyed(list in containers().prop_flat_map(|l| (Just(l.clone()), Just(l).prop_shuffle()))) {
        let (old, order) = list;
        let result = patched(
            json!({"spec": {"containers": old}}),
            json!({"spec": {"$setElementOrder/containers": order}}),
        ).expect("applies");
        prop_assert_eq!(result["spec"]["containers"].as_array(), Some(&order));
    }
}
