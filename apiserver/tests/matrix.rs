//! Every verb of every kind and subresource, of custom and of aggregated resources too, sent by nobody, by somebody without rights and by the administrator: no path
//! skips authentication, authorization or the audit log, and what is refused changes nothing.
#![allow(missing_docs, clippy::expect_used)]
#[path = "audit/audited.rs"]
mod audited;
#[path = "postgres/database.rs"]
mod database;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "server/harness.rs"]
mod harness;

use audited::Audited;
use futures::StreamExt;
use harness::{Client, eventually};
use http::Method;
use knarr_api::Value;
use knarr_api::custom::table;
use knarr_api::kind::Kind;
use knarr_api::table::builtin;
use serde_json::json;
use std::collections::HashMap;

/// The name that everything here is about.
const NAME: &str = "matrix-x";
/// Group of a custom resource.
const CUSTOM: &str = "custom.example.com";
/// Group of a server behind this one.
const AGGREGATED: &str = "aggregated.example.com";
/// What every authenticated user may ask.
const OPEN: [&str; 3] = ["selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"];

/// One request of the matrix.
struct Case {
    method: Method,
    path: String,
    /// As authorization names it.
    verb: &'static str,
    resource: String,
    group: String,
    namespace: &'static str,
    named: bool,
    plural: String,
}

fn cases(kind: &Kind) -> Vec<Case> {
    let group = &*kind.gvk.group;
    let base = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
    let namespace = if kind.namespaced { "default" } else { "" };
    let place = if kind.namespaced { "/namespaces/default" } else { "" };
    let collection = format!("{base}/{}{place}/{}", kind.gvk.version, kind.plural);
    let object = format!("{collection}/{NAME}");
    let case = |method: Method, path: String, verb: &'static str, sub: &str, named: bool| Case {
        method,
        path,
        verb,
        resource: if sub.is_empty() { kind.plural.to_string() } else { format!("{}/{sub}", kind.plural) },
        group: group.to_owned(),
        // A Namespace is in itself.
        namespace: if group.is_empty() && &*kind.plural == "namespaces" && named { NAME } else { namespace },
        named,
        plural: kind.plural.to_string(),
    };
    let mut cases = vec![
        case(Method::GET, collection.clone(), "list", "", false),
        case(Method::GET, format!("{collection}?watch=1&timeoutSeconds=1"), "watch", "", false),
        case(Method::POST, collection.clone(), "create", "", false),
        case(
            Method::DELETE,
            format!("{collection}?dryRun=All&labelSelector=no%3Dsuch"),
            "deletecollection",
            "",
            false,
        ),
        case(Method::GET, object.clone(), "get", "", true),
        case(Method::PUT, object.clone(), "update", "", true),
        case(Method::PATCH, object.clone(), "patch", "", true),
        case(Method::DELETE, object.clone(), "delete", "", true),
    ];
    for sub in &kind.subresources {
        let path = format!("{object}/{}", sub.name);
        for (method, verb) in [
            (Method::GET, "get"),
            (Method::POST, "create"),
            (Method::PUT, "update"),
            (Method::PATCH, "patch"),
            (Method::DELETE, "delete"),
        ] {
            cases.push(case(method, path.clone(), verb, &sub.name, true));
        }
    }
    cases
}

impl Case {
    fn refusal(&self, user: &str) -> String {
        let what = if self.named { format!("{} {NAME:?}", self.subject()) } else { self.subject() };
        let place = match self.namespace {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!(
            "{what} is forbidden: User {user:?} cannot {} resource {:?} in API group {:?} {place}",
            self.verb, self.resource, self.group
        )
    }

    /// The plural with its group, as messages begin.
    fn subject(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    async fn send(&self, client: &Client, id: &str) -> (u16, Value) {
        let media = match self.method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = match self.method {
            Method::GET | Method::DELETE => String::new(),
            _ => json!({"metadata": {"name": NAME}}).to_string(),
        };
        let token = client.token.as_ref().map(|token| format!("Bearer {token}")).unwrap_or_default();
        let mut headers = vec![("content-type", media), ("audit-id", id)];
        if !token.is_empty() {
            headers.push(("authorization", &token));
        }
        let answer = client.raw(self.method.clone(), &self.path, &headers, body).await;
        (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap_or_default())
    }
}

/// A kind with every subresource that definitions know.
fn definition(group: &str) -> Value {
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let scale = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("oars.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced", "names": {"plural": "oars", "singular": "oar", "kind": "Oar", "listKind": "OarList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                "subresources": {"status": {}, "scale": scale}}],
        },
    })
}

/// Makes the custom resource, and the other group one of a server that is away.
async fn extend(admin: &Client) {
    admin.create("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition(CUSTOM)).await;
    let service = json!({
        "metadata": {"name": format!("v1.{AGGREGATED}")},
        "spec": {
            "group": AGGREGATED, "version": "v1", "groupPriorityMinimum": 1000, "versionPriority": 10,
            "insecureSkipTLSVerify": true, "service": {"namespace": "default", "name": "away"},
        },
    });
    admin.create("/apis/apiregistration.k8s.io/v1/apiservices", &service).await;
    let path = format!("/apis/{AGGREGATED}/v1/namespaces/default/oars");
    eventually(async || admin.get(&path).await.0 == 503).await;
}

/// The last event of each request.
fn recorded(audited: &Audited) -> HashMap<String, Value> {
    let events = audited.of("/api").into_iter();
    events.map(|event| (event["auditID"].as_str().unwrap_or_default().to_owned(), event)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_skips_a_step() {
    let directory = tempfile::tempdir().expect("directory");
    let audited = Audited::start(directory.path(), "rules: [{level: Metadata}]\n", &[]).await;
    let server = &audited.server;
    let (admin, ann) = (server.admin(), server.user("ann", &[]));
    let mut liar = server.anonymous();
    liar.token = Some("wrong".to_owned());
    let foreign = [CUSTOM, AGGREGATED].map(|group| table(&definition(group)).expect("a table"));
    extend(&admin).await;
    let kinds = builtin().kinds.iter().filter(|kind| kind.served_by_default);
    let kinds = kinds.chain(foreign.iter().flat_map(|table| &table.kinds));
    let cases: Vec<Case> = kinds.flat_map(cases).collect();
    assert!(cases.len() > 500, "{}", cases.len());
    let mut faults = Vec::new();
    let mut note = |case: &Case, who: &str, found: (u16, &Value)| {
        faults.push(format!("{who} {} {}: {} {}", case.method, case.path, found.0, found.1["message"]));
    };
    for (index, case) in cases.iter().enumerate() {
        let (code, status) = case.send(&liar, &format!("liar-{index}")).await;
        if (code, &status["reason"]) != (401, &json!("Unauthorized")) {
            note(case, "liar", (code, &status));
        }
        let (code, status) = case.send(&ann, &format!("ann-{index}")).await;
        let is_open = OPEN.contains(&case.resource.as_str()) && case.verb == "create";
        if !is_open && (code, &status["message"]) != (403, &json!(case.refusal("ann"))) {
            note(case, "ann", (code, &status));
        }
    }
    // Nothing has come to be.
    for (index, case) in cases.iter().enumerate().filter(|(_, case)| case.verb == "get") {
        let (code, status) = case.send(&admin, &format!("look-{index}")).await;
        let away = case.group == AGGREGATED && code == 503;
        if !away && !matches!(code, 404 | 405) {
            note(case, "look", (code, &status));
        }
    }
    let account = json!({"metadata": {"name": "default"}});
    admin.create("/api/v1/namespaces/default/serviceaccounts", &account).await;
    let sent = cases
        .iter()
        .enumerate()
        .map(async |(index, case)| (case, case.send(&admin, &format!("admin-{index}")).await));
    let answers: Vec<_> = futures::stream::iter(sent).buffered(32).collect().await;
    for (case, (code, status)) in answers {
        // What is wrong with so small a body is said, but nobody is kept from saying it. The proxy of a node that came to
        // be meanwhile asks for a slash.
        let away = case.group == AGGREGATED && code == 503;
        if !away && !matches!(code, 200 | 201 | 301 | 400 | 404 | 405 | 409 | 415 | 422 | 500) {
            note(case, "admin", (code, &status));
        }
    }
    let events = recorded(&audited);
    for (index, case) in cases.iter().enumerate() {
        let is_open = OPEN.contains(&case.resource.as_str()) && case.verb == "create";
        for (who, stage, code, decision) in [
            ("liar", "ResponseStarted", json!(401), Value::Null),
            ("ann", "ResponseComplete", json!(403), json!("forbid")),
            ("admin", "ResponseComplete", Value::Null, json!("allow")),
        ] {
            let event = events.get(&format!("{who}-{index}")).unwrap_or(&Value::Null);
            let told = (&event["stage"], &event["annotations"]["authorization.k8s.io/decision"]);
            let right = told == (&json!(stage), &decision)
                && (code.is_null() || event["responseStatus"]["code"] == code)
                && event["verb"] == case.verb;
            // A stream that an administrator may open ends when it ends.
            let goes_on = who == "admin" && case.verb == "watch";
            if !(right || goes_on || is_open && who == "ann") {
                note(case, &format!("event of {who}"), (0, event));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
    audited.server.stop().await;
}
