//! Every combination of the options of lists and watches, on a real socket.
use crate::harness::{Client, Server};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The first bytes of an answer: all of an error, or of a list; the first event of a watch.
async fn first(client: &Client, query: &str) -> (u16, Value) {
    let mut response = client.open(Method::GET, &format!("{MAPS}?{query}"), "").await;
    let code = response.status().as_u16();
    let mut bytes = Vec::new();
    while let Some(frame) = response.body_mut().frame().await {
        if let Ok(data) = frame.expect("frame").into_data() {
            bytes.extend_from_slice(&data);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Ok(value) = serde_json::from_str(text.lines().next().unwrap_or_default()) {
            return (code, value);
        }
    }
    (code, Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    const UNLESS: &str = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
    const WITH_CONTINUE: &str =
        "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden when continue is provided";
    const LIST: &str = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list";
    const REQUIRES: &str = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
    const WATCH: &str = "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless \
                         sendInitialEvents is provided";
    const EXACT: &str =
        "resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"";
    let invalid = |errors: &[&str]| {
        let text = match errors {
            [one] => (*one).to_owned(),
            more => format!("[{}]", more.join(", ")),
        };
        format!("ListOptions.meta.k8s.io \"\" is invalid: {text}")
    };
    let cases: Vec<(&str, u16, String)> = vec![
        ("resourceVersionMatch=Exact", 422, invalid(&[UNLESS])),
        ("resourceVersionMatch=Exact&continue=x", 422, invalid(&[UNLESS, WITH_CONTINUE])),
        ("resourceVersionMatch=NotOlderThan&resourceVersion=1&continue=x", 422, invalid(&[WITH_CONTINUE])),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            422,
            invalid(&["resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for \
                       resourceVersion \"0\""]),
        ),
        (
            "resourceVersionMatch=Newest&resourceVersion=1",
            422,
            invalid(&["resourceVersionMatch: Unsupported value: \"Newest\": supported values: \"Exact\", \
                       \"NotOlderThan\", \"\""]),
        ),
        ("sendInitialEvents=true", 422, invalid(&[LIST])),
        ("sendInitialEvents=false&resourceVersionMatch=Exact", 422, invalid(&[UNLESS, LIST])),
        ("watch=1&sendInitialEvents=true", 422, invalid(&[REQUIRES])),
        ("watch=1&sendInitialEvents=false", 422, invalid(&[REQUIRES])),
        ("watch=1&sendInitialEvents=true&resourceVersionMatch=Exact", 422, invalid(&[REQUIRES, EXACT])),
        ("watch=1&resourceVersionMatch=NotOlderThan", 422, invalid(&[WATCH])),
        ("watch=1&resourceVersion=5&resourceVersionMatch=Exact", 422, invalid(&[WATCH, EXACT])),
        (
            "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x",
            422,
            invalid(&[WITH_CONTINUE]),
        ),
        ("limit=x", 400, "strconv.ParseInt: parsing \"x\": invalid syntax".into()),
        ("watch=1&timeoutSeconds=1.5", 400, "strconv.ParseInt: parsing \"1.5\": invalid syntax".into()),
        (
            "resourceVersion=x",
            400,
            "invalid resource version: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": \
             invalid syntax"
                .into(),
        ),
        (
            "watch=1&resourceVersion=x",
            422,
            "configmaps \"\" is invalid: resourceVersion: Invalid value: \"x\": strconv.ParseUint: parsing \"x\": \
             invalid syntax"
                .into(),
        ),
        (
            "continue=!&resourceVersion=1",
            400,
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 0".into(),
        ),
        (
            "resourceVersion=1&continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiJhXHUwMDAwIn0",
            400,
            "specifying resource version is not allowed when using continue".into(),
        ),
        (
            "continue=eyJ2IjoidjIiLCJydiI6MSwic3RhcnQiOiJhIn0",
            400,
            "invalid continue token: continue key is not valid: server does not recognize this encoded version v2"
                .into(),
        ),
        (
            "continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi9hIn0",
            400,
            "invalid continue token: continue key is not valid: ../a".into(),
        ),
    ];
    for (query, code, message) in cases {
        let (got, status) = first(&admin, query).await;
        assert_eq!((got, status["message"].as_str()), (code, Some(message.as_str())), "{query}");
    }
    let (code, late) = first(&admin, "resourceVersion=99999999").await;
    assert_eq!((code, &late["reason"]), (504, &json!("Timeout")), "{late}");
    assert!(
        late["message"].as_str().expect("text").starts_with("Timeout: Too large resource version: 99999999")
    );
    server.stop().await;
}

/// What begins where: with the present objects, with a bookmark, with the next change only.
#[tokio::test(flavor = "multi_thread")]
async fn beginnings() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    let path = "/api/v1/namespaces/default/configmaps";
    let made = admin.create(path, &json!({"metadata": {"name": "a", "labels": {"l": "x"}}})).await;
    let at = made["metadata"]["resourceVersion"].as_str().expect("a version").to_owned();
    let initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let bookmarks = "allowWatchBookmarks=1";
    let selected = "labelSelector=l%3Dx";
    for (query, expected) in [
        (format!("watch=1&{selected}"), "ADDED"),
        (format!("watch=true&resourceVersion=0&{selected}"), "ADDED"),
        (format!("watch=1&resourceVersion={at}&{initial}&{selected}"), "ADDED"),
        (format!("watch=1&{initial}&{bookmarks}&labelSelector=l%3Dy"), "BOOKMARK"),
        (format!("watch=1&resourceVersion={at}&timeoutSeconds=1&{selected}"), ""),
        (format!("watch=1&resourceVersion={at}&timeoutSeconds=1&{bookmarks}&{selected}"), "BOOKMARK"),
        ("watch=1&resourceVersionMatch=NotOlderThan&sendInitialEvents=false&timeoutSeconds=1".to_owned(), ""),
        (format!("watch=1&resourceVersion=99999999&timeoutSeconds=1&{selected}"), ""),
        (format!("watch=1&resourceVersion=99999999&{initial}&{selected}"), "ERROR"),
    ] {
        let (code, event) = first(&admin, &query).await;
        assert_eq!((code, event["type"].as_str().unwrap_or_default()), (200, expected), "{query}: {event}");
        match expected {
            "BOOKMARK" => {
                let end = &event["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"];
                assert_eq!(end == "true", query.contains("sendInitialEvents=true"), "{event}");
            }
            "ERROR" => assert_eq!(event["object"]["code"], 504, "{event}"),
            _ => {}
        }
    }
    // The deprecated paths watch too.
    for path in
        ["/api/v1/watch/namespaces/default/configmaps/a", "/api/v1/watch/configmaps?labelSelector=l%3Dx"]
    {
        let response = admin.open(Method::GET, path, "").await;
        let frame = response.into_body().frame().await.expect("an event").expect("a frame");
        let event: Value = serde_json::from_slice(&frame.into_data().expect("data")).expect("JSON");
        assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("a")));
    }
    let pretty = admin.raw(Method::GET, &format!("{path}/a?pretty=true"), &[], "").await;
    assert!(pretty.body().starts_with(b"{\n  \"kind\": \"ConfigMap\","), "{:?}", pretty.body());
    let head = admin.raw(Method::HEAD, &format!("{path}/a"), &[], "").await;
    assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
    let options = admin.raw(Method::OPTIONS, path, &[], "").await;
    assert_eq!(options.status(), 405);
    server.stop().await;
}
