//! Small vectors written by hand, hostile input, and the golden vectors where they are at hand.
use super::*;
use crate::table::builtin;
use proptest::prelude::*;
use serde_json::json;

fn ty(api_version: &str, kind: &str) -> TypeId {
    builtin().type_of_document(api_version, kind).unwrap()
}

#[track_caller]
fn check(value: &Value, message: &[u8]) {
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let ty = ty(&api_version, &kind);
    let mut bytes = Vec::new();
    encode_message(&builtin().schema, ty, value, &mut bytes).unwrap();
    assert_eq!(bytes, message, "{}", bytes.escape_ascii());
    let mut document = Vec::new();
    encode(&builtin().schema, ty, value, &mut document).unwrap();
    let decoded = decode(builtin(), &document).unwrap();
    assert_eq!(decoded.value, *value);
    assert_eq!(decode_as(builtin(), ty, &document).unwrap(), *value);
}

/// The message of `ObjectMeta` with a name only: everything that is no pointer is there.
fn meta(name: &str) -> Vec<u8> {
    let mut out = vec![0x0A, name.len() as u8];
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\x12\0\x1a\0\x22\0\x2a\0\x32\0\x38\0\x42\0");
    out
}

fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[tag, content.len() as u8], content].concat()
}

#[test]
fn own_vectors() {
    let head = field(0x0A, &meta("x"));
    check(
        &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "1", "b": ""}, "immutable": false}),
        &[&head[..], b"\x12\x06\x0a\x01a\x12\x011", b"\x12\x05\x0a\x01b\x12\0", b"\x20\0"].concat(),
    );
    check(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"a": "AP8="}}),
        &[&head[..], b"\x12\x07\x0a\x01a\x12\x02\0\xff", b"\x1a\0"].concat(),
    );
    // A negative number, an optional zero, a double.
    check(
        &json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "x"}, "value": -1}),
        &[&head[..], b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x18\0\x22\0"].concat(),
    );
    // IntOrString in both forms, within a union that is inline nowhere.
    check(
        &json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "x"}, "spec": {"minAvailable": "5%", "maxUnavailable": 1}, "status": {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}}),
        &[
            &head[..],
            b"\x12\x12\x0a\x08\x08\x01\x10\0\x1a\x025%\x1a\x06\x08\0\x10\x01\x1a\0",
            b"\x1a\x0a\x08\0\x18\0\x20\0\x28\0\x30\0",
        ]
        .concat(),
    );
    // A MicroTime of 2 µs and a pointer to a number.
    check(
        &json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}, "spec": {"renewTime": "1970-01-01T00:00:01.000002Z", "leaseTransitions": 0}}),
        &[&head[..], b"\x12\x09\x22\x05\x08\x01\x10\xd0\x0f\x28\0"].concat(),
    );
    // A list that is a message of its own, as a map's value.
    check(
        &json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {"name": "x"}, "spec": {}, "status": {"user": {"extra": {"a": ["b"]}}}}),
        &[
            &head[..],
            b"\x12\x02\x0a\0",
            b"\x1a\x14\x08\0\x12\x0e\x0a\0\x12\0\x22\x08\x0a\x01a\x12\x03\x0a\x01b\x1a\0",
        ]
        .concat(),
    );
    // Inline members are a message of their own.
    check(
        &json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "x"}, "spec": {"hostPath": {"path": "/"}, "capacity": {"storage": "1Gi"}}, "status": {}}),
        &[
            &head[..],
            b"\x12\x1d\x0a\x10\x0a\x07storage\x12\x05\x0a\x031Gi\x12\x05\x1a\x03\x0a\x01/\x2a\0\x32\0",
            b"\x1a\x06\x0a\0\x12\0\x1a\0",
        ]
        .concat(),
    );
}

#[test]
fn envelopes() {
    let mut bytes = Vec::new();
    seal("v1", "Pod", b"ab", "", &mut bytes);
    assert_eq!(bytes, b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x02ab\x1a\0\x22\0");
    let unknown = open(&bytes).unwrap();
    assert_eq!((unknown.api_version, unknown.kind, unknown.raw), ("v1", "Pod", &b"ab"[..]));
    assert_eq!(open(b"{}").unwrap_err(), Error::Prefix);
    let mut frame = Vec::new();
    watch_frame("ADDED", b"xy", &mut frame);
    assert_eq!(frame, b"\0\0\0\x0d\x0a\x05ADDED\x12\x04\x0a\x02xy");
    let mut json = Vec::new();
    seal("v1", "Namespace", br#"{"metadata":{"name":"a"}}"#, "application/json", &mut json);
    assert_eq!(decode(builtin(), &json).unwrap().value["metadata"]["name"], "a");
    let mut nowhere = Vec::new();
    seal("v9", "Pod", b"", "", &mut nowhere);
    assert!(matches!(decode(builtin(), &nowhere), Err(Error::UnknownKind { .. })));
}

#[test]
fn lists_are_built_from_messages() {
    let schema = &builtin().schema;
    let (item_ty, list_ty) = (ty("v1", "ConfigMap"), ty("v1", "ConfigMapList"));
    let meta = json!({"resourceVersion": "7"});
    let items = [json!({"metadata": {"name": "a"}}), json!({"metadata": {"name": "b"}})];
    let messages: Vec<Vec<u8>> = items
        .iter()
        .map(|v| {
            let mut out = Vec::new();
            encode_message(schema, item_ty, v, &mut out).unwrap();
            out
        })
        .collect();
    let meta_ty = schema.find("io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta").unwrap();
    let mut built = Vec::new();
    list(schema, ("v1", "ConfigMapList"), (meta_ty, &meta), messages.iter().map(Vec::as_slice), &mut built)
        .unwrap();
    let mut whole = Vec::new();
    let value = json!({"apiVersion": "v1", "kind": "ConfigMapList", "metadata": meta, "items": items});
    encode(schema, list_ty, &value, &mut whole).unwrap();
    assert_eq!(built, whole);
}

#[test]
fn hostile_input() {
    let schema = ty("apiextensions.k8s.io/v1", "CustomResourceDefinition");
    let props = builtin()
        .schema
        .find("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps")
        .unwrap();
    // `not` within `not`, deeper than allowed.
    let number = builtin().schema.get(props).field("not").unwrap().number;
    let mut deep = Vec::new();
    for _ in 0..3000 {
        let inner = std::mem::take(&mut deep);
        wire::put_bytes_field(number, &inner, &mut deep);
    }
    assert_eq!(decode_message(builtin(), props, &deep).unwrap_err(), Error::Limit);
    let check = |bytes: &[u8], error: Error| {
        assert_eq!(decode_message(builtin(), schema, bytes).unwrap_err(), error);
    };
    check(b"\x0a\xff\xff\xff\xff\x0f", Error::Truncated);
    check(b"\x0a", Error::Truncated);
    check(b"\x0b", Error::Malformed);
    check(b"\x02\0", Error::Malformed);
    check(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Error::Malformed);
    check(b"\x0a\x03\x0a\x01\xff", Error::Utf8);
    // Numbers that no field has are skipped.
    decode_message(builtin(), schema, b"\xa0\x06\x01\xaa\x06\x01x\xad\x06\0\0\0\0\xa9\x06\0\0\0\0\0\0\0\0")
        .unwrap();
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0..1233u32) {
        let _ = decode_message(builtin(), TypeId(at), &bytes);
        let _ = decode(builtin(), &bytes);
    }

    #[test]
    fn damaged_documents_never_panic(cut in 0..200usize, flip in any::<u8>()) {
        let value = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": {"a": "b"}, "creationTimestamp": "2020-01-01T00:00:00Z"}, "spec": {"containers": [{"name": "a", "resources": {"limits": {"cpu": "1"}}, "ports": [{"containerPort": 80}]}]}});
        let mut bytes = Vec::new();
        encode(&builtin().schema, ty("v1", "Pod"), &value, &mut bytes).unwrap();
        let at = cut % bytes.len();
        bytes[at] ^= flip;
        if let Ok(decoded) = decode(builtin(), &bytes) {
            let mut again = Vec::new();
            encode(&builtin().schema, decoded.ty, &decoded.value, &mut again).unwrap();
            prop_assert_eq!(decode(builtin(), &again).unwrap().value, decoded.value);
        }
    }
}
