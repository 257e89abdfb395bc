//! Canonical JSON in tables: decoding, its errors, encoding.
use super::*;
use crate::table::builtin;
use serde_json::json;

fn ty(kind: &str) -> TypeId {
    let (api_version, kind) = kind.rsplit_once(' ').unwrap_or(("v1", kind));
    builtin().type_of_document(api_version, kind).unwrap()
}

fn read(kind: &str, text: &str) -> Result<(Value, Vec<StrictError>), DecodeError> {
    let mut strict = Vec::new();
    let value = decode(&builtin().schema, ty(kind), text.as_bytes(), &mut strict)?;
    Ok((value, strict))
}

#[track_caller]
fn check(kind: &str, text: &str, expected: &str) {
    let (value, _) = read(kind, text).unwrap();
    let bytes = to_vec(&builtin().schema, ty(kind), &value);
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), expected);
    let (again, strict) = read(kind, expected).unwrap();
    assert_eq!(strict, []);
    assert_eq!(again, value);
    assert_eq!(to_vec(&builtin().schema, ty(kind), &again), bytes);
}

#[test]
fn canonical_documents() {
    check(
        "ConfigMap",
        r#"{"data":{"b":"<&>","a":"\u2028é\u0001"},"kind":"ConfigMap","metadata":{"name":"x","labels":{},"namespace":null},"apiVersion":"v1","immutable":false}"#,
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"},"immutable":false,"data":{"a":"\u2028é\u0001","b":"\u003c\u0026\u003e"}}"#,
    );
    check(
        "Pod",
        r#"{"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":0.5,"memory":"1024Mi"}}}]}}"#,
        r#"{"metadata":{},"spec":{"containers":[{"name":"a","resources":{"limits":{"cpu":"500m","memory":"1Gi"}}}]},"status":{}}"#,
    );
    check(
        "Pod",
        r#"{"metadata":{"creationTimestamp":"2020-01-02T05:04:05+02:00"},"spec":{"containers":[]}}"#,
        r#"{"metadata":{"creationTimestamp":"2020-01-02T03:04:05Z"},"spec":{"containers":[]},"status":{}}"#,
    );
    check(
        "apps/v1 DaemonSet",
        r"{}",
        r#"{"metadata":{},"spec":{"selector":null,"template":{"metadata":{},"spec":{"containers":null}},"updateStrategy":{}},"status":{"currentNumberScheduled":0,"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":0}}"#,
    );
    check(
        "Service",
        r#"{"spec":{"ports":[{"port":80,"targetPort":"http"},{"port":81}]}}"#,
        r#"{"metadata":{},"spec":{"ports":[{"port":80,"targetPort":"http"},{"port":81,"targetPort":0}]},"status":{"loadBalancer":{}}}"#,
    );
    check("Secret", r#"{"data":{"a":"YQ=="},"type":""}"#, r#"{"metadata":{},"data":{"a":"YQ=="}}"#);
    check(
        "apiextensions.k8s.io/v1 CustomResourceDefinition",
        r#"{"spec":{"versions":[{"schema":{"openAPIV3Schema":{"maximum":1e21,"minimum":1.5,"items":{"type":"string"},"additionalProperties":true,"default":{"b":1,"a":null}}}}]}}"#,
        r#"{"metadata":{},"spec":{"group":"","names":{"plural":"","kind":""},"scope":"","versions":[{"name":"","served":false,"storage":false,"schema":{"openAPIV3Schema":{"default":{"a":null,"b":1},"maximum":1e+21,"minimum":1.5,"items":{"type":"string"},"additionalProperties":true}}}]},"status":{"conditions":null,"acceptedNames":{"plural":"","kind":""},"storedVersions":null}}"#,
    );
}

#[test]
fn strict_errors() {
    let check = |text: &str, expected: &[&str]| {
        let (_, strict) = read("Pod", text).unwrap();
        let strict: Vec<_> = strict.iter().map(ToString::to_string).collect();
        assert_eq!(strict, expected);
    };
    check(
        r#"{"spec":{"foo":1,"containers":[{"name":"a"},{"Name":"b"}]}}"#,
        &[r#"unknown field "spec.foo""#, r#"unknown field "spec.containers[1].Name""#],
    );
    check(
        r#"{"metadata":{"name":"a","labels":{"x":"1","x":"2"},"name":"b"}}"#,
        &[r#"duplicate field "metadata.labels.x""#, r#"duplicate field "metadata.name""#],
    );
    let errors = [StrictError::Unknown("spec.foo".into())];
    assert_eq!(
        strict_status("v1", "Pod", &errors).message,
        r#"Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.foo""#
    );
}

#[test]
fn type_errors() {
    let check = |kind: &str, text: &str, expected: &str| {
        assert_eq!(read(kind, text).unwrap_err().to_string(), expected);
    };
    check(
        "apps/v1 Deployment",
        r#"{"spec":{"replicas":"3"}}"#,
        "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    );
    check(
        "Pod",
        r#"{"spec":{"containers":[{"env":[{"name":"a","value":1}]}]}}"#,
        "json: cannot unmarshal number into Go struct field EnvVar.spec.containers.env.value of type string",
    );
    check(
        "Pod",
        r#"{"spec":{"containers":{}}}"#,
        "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
    );
    check(
        "Pod",
        r#"{"spec":{"restartPolicy":true}}"#,
        "json: cannot unmarshal bool into Go struct field PodSpec.spec.restartPolicy of type v1.RestartPolicy",
    );
    check(
        "Pod",
        r#"{"spec":{"priority":1.5}}"#,
        "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32",
    );
    check("Pod", "[]", "json: cannot unmarshal array into Go value of type v1.Pod");
    check("Secret", r#"{"data":{"a":"Y*=="}}"#, "illegal base64 data at input byte 1");
    for (data, at) in
        [("x", 0), ("YWJjx", 4), ("YWI", 0), ("YQ=", 3), ("YQ=x", 2), ("Y=", 1), ("YQ==YQ==", 4), ("a b", 1)]
    {
        let text = format!(r#"{{"data":{{"a":"{data}"}}}}"#);
        check("Secret", &text, &format!("illegal base64 data at input byte {at}"));
    }
    assert_eq!(read("Secret", r#"{"data":{"a":"YR=="}}"#).unwrap().0["data"]["a"], "YQ==");
    check(
        "ConfigMap",
        r#"{"data":{"a":1}}"#,
        "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
    );
    check(
        "ConfigMap",
        r#"{"metadata":{"labels":{"a":1}}}"#,
        "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
    );
    assert!(matches!(read("Pod", "{").unwrap_err(), DecodeError::Syntax(_)));
    assert!(matches!(read("Pod", "{} x").unwrap_err(), DecodeError::Syntax(_)));
    for (body, expected) in [
        ("", "unexpected end of JSON input (<empty>)"),
        ("{\"a\": x", "invalid character 'x' looking for beginning of value ({\"a\": x)"),
        ("[1", "unexpected end of JSON input (5b31)"),
        (
            "{\"metadata\": {\"name\": \"a-long-name\",}}",
            "invalid character '}' looking for beginning of object key string ({\"metadata\": {\"name\": \"a-long- ...)",
        ),
    ] {
        let status = read("ConfigMap", body).unwrap_err().to_body_status("v1", "ConfigMap", body.as_bytes());
        let begin = "the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; \
                     json parse error: ";
        assert_eq!(status.message, format!("{begin}{expected}"));
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(read("Pod", &deep).unwrap_err(), DecodeError::Syntax(_)));
    assert_eq!(
        read("Pod", r#"{"metadata":1}"#).unwrap_err().to_status("v1", "Pod").message,
        r#"Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field Pod.metadata of type v1.ObjectMeta"#
    );
}

#[test]
fn encode_fills_values_that_are_not_canonical() {
    let value = json!({"kind": "Pod", "unknown": 1, "spec": {"nodeName": "", "hostname": null}});
    let bytes = to_vec(&builtin().schema, ty("Pod"), &value);
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        r#"{"kind":"Pod","metadata":{},"spec":{"containers":null},"status":{}}"#
    );
}

#[test]
fn indentation() {
    let check = |text: &str, expected: &str| {
        assert_eq!(String::from_utf8(indent(text.as_bytes())).unwrap(), expected);
    };
    check(
        r#"{"a":[1,{"b":"x,\"}"}],"c":{},"d":[]}"#,
        "{\n  \"a\": [\n    1,\n    {\n      \"b\": \"x,\\\"}\"\n    }\n  ],\n  \"c\": {},\n  \"d\": []\n}",
    );
}

#[test]
fn identity_of_a_document() {
    let meta = type_meta(br#"{"kind":"Pod","spec":{},"apiVersion":"v1"}"#).unwrap();
    assert_eq!(meta, ("v1".to_owned(), "Pod".to_owned()));
    assert_eq!(type_meta(b"{}").unwrap(), (String::new(), String::new()));
    assert!(type_meta(b"nope").is_err());
}

#[test]
fn strict_errors_come_in_order() {
    let text = r#"{"zeta":1,"spec":{"nodeName":"a","beta":{},"nodeName":"b","alpha":[{"a":1}]},"kind":"Pod","spec":{"alpha":2},
        "metadata":{"omega":1}}"#;
    let (_, strict) = read("Pod", text).unwrap();
    let strict: Vec<_> = strict.iter().map(ToString::to_string).collect();
    let expected = [
        r#"unknown field "zeta""#,
        r#"duplicate field "spec.nodeName""#,
        r#"unknown field "spec.alpha""#,
        r#"duplicate field "spec""#,
        r#"unknown field "metadata.omega""#,
    ];
    assert_eq!(strict, expected);
    let deep = "[".repeat(200) + &"]".repeat(200);
    assert_eq!(
        parse(deep.as_bytes(), &mut Vec::new()),
        Err(DecodeError::Syntax("exceeded max depth".to_owned()))
    );
}

#[test]
fn characters_that_are_none() {
    let check = |text: &[u8], expected: &str| {
        let value = parse(text, &mut Vec::new()).unwrap();
        assert_eq!(value["a"].as_str(), Some(expected), "{}", String::from_utf8_lossy(text));
    };
    check(b"{\"a\":\"x\xff\xe2\x82y\"}", "x\u{fffd}\u{fffd}\u{fffd}y");
    check(br#"{"a":"\ud800x"}"#, "\u{fffd}x");
    check(br#"{"a":"\udc00\ud83d\ude00"}"#, "\u{fffd}\u{1f600}");
    check(b"{\"a\":\"\\\\ud800\xff\"}", "\\ud800\u{fffd}");
    check(b"{\"a\":\"\\\\\\ud800\"}", "\\\u{fffd}");
    let meta = type_meta(b"{\"kind\":\"Pod\",\"b\":\"\xff\"}").unwrap();
    assert_eq!(meta.1, "Pod");
    let mut strict = Vec::new();
    assert!(parse(b"{\"a\":1,\"a\":2,\"\xff\":3}", &mut strict).is_ok());
    assert_eq!(strict, [StrictError::Duplicate("a".to_owned())]);
    let Err(DecodeError::Syntax(fault)) = parse(b"{\"a\":\xff}", &mut strict) else { panic!("no JSON") };
    assert_eq!(fault, "invalid character 'ÿ' looking for beginning of value");
}
