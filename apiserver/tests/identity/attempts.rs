//! Attempts of all sorts on one server that records them: each fails with its code, is in the audit log once under who it
//! was taken for, and changes nothing.
use crate::audited::Audited;
use crate::harness::{Authority, Client, Server, eventually};
use crate::issuer::{SigningKey, TestIssuer, configuration, seconds, unsigned};
use http::Method;
use jsonwebtoken::Algorithm;
use knarr_api::Value;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// What is tried, as whom, and what must come of it.
struct Attempt<'c> {
    what: String,
    client: &'c Client,
    method: Method,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    codes: &'static [u16],
    /// Who the audit log says that it was; empty where nobody was known.
    user: &'static str,
}

impl<'c> Attempt<'c> {
    /// A body of JSON sent by somebody who is known.
    fn by(
        client: &'c Client,
        user: &'static str,
        what: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Self {
        let media = if method == Method::PATCH { MERGE } else { JSON };
        Self {
            what: what.to_owned(),
            client,
            method,
            path: path.to_owned(),
            headers: vec![("content-type", media.to_owned())],
            body: if body.is_null() { Vec::new() } else { body.to_string().into_bytes() },
            codes: &[403],
            user,
        }
    }

    /// The same, and nobody is known.
    fn by_nobody(client: &'c Client, what: &str, token: &str) -> Self {
        let stolen = json!({"metadata": {"name": "stolen"}});
        let mut attempt = Self::by(client, "", what, Method::POST, MAPS, &stolen);
        if !token.is_empty() {
            attempt.headers.push(("authorization", format!("Bearer {token}")));
        }
        Self { codes: &[401], ..attempt }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.to_owned()));
        self
    }

    fn codes(self, codes: &'static [u16]) -> Self {
        Self { codes, ..self }
    }
}

/// Sends all, and looks at what is recorded and what is there.
async fn fail(audited: &Audited, attempts: Vec<Attempt<'_>>) {
    let before = everything(&audited.server.admin()).await;
    let mut answered = Vec::new();
    for (at, attempt) in attempts.iter().enumerate() {
        let id = format!("attempt-{at}");
        let mut headers: Vec<(&str, &str)> =
            attempt.headers.iter().map(|(name, value)| (*name, &**value)).collect();
        headers.push(("audit-id", &id));
        let (method, body) = (attempt.method.clone(), attempt.body.clone());
        let answer = attempt.client.raw(method, &attempt.path, &headers, body).await;
        let code = answer.status().as_u16();
        let status: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        assert!(attempt.codes.contains(&code), "{}: {code} {status}", attempt.what);
        assert!(!answer.body().windows(7).any(|part| part == b"guarded"), "{}", attempt.what);
        answered.push((id, code));
    }
    let of = |events: &[Value], id: &str| -> Vec<Value> {
        events.iter().filter(|event| event["auditID"] == id).cloned().collect()
    };
    eventually(async || {
        let events = audited.of("");
        answered.iter().all(|(id, _)| !of(&events, id).is_empty())
    })
    .await;
    let events = audited.of("");
    for (attempt, (id, code)) in attempts.iter().zip(&answered) {
        let recorded = of(&events, id);
        let event = recorded.last().unwrap();
        // What may be a stream is recorded when it begins and when it ends, everything else once.
        let stages: BTreeSet<String> = recorded.iter().map(|event| event["stage"].to_string()).collect();
        assert_eq!(stages.len(), recorded.len(), "{}: {recorded:?}", attempt.what);
        assert_eq!(event["responseStatus"]["code"], *code, "{}: {event}", attempt.what);
        let user = event["user"]["username"].as_str().unwrap_or_default();
        assert_eq!(user, attempt.user, "{}: {event}", attempt.what);
    }
    assert_eq!(everything(&audited.server.admin()).await, before);
}

/// All objects that an attempt could change.
async fn everything(admin: &Client) -> Vec<Value> {
    let mut all = Vec::new();
    for path in [
        "/api/v1/configmaps",
        "/api/v1/secrets",
        "/api/v1/serviceaccounts",
        "/api/v1/pods",
        "/api/v1/nodes",
        "/api/v1/namespaces",
        "/apis/rbac.authorization.k8s.io/v1/roles",
        "/apis/rbac.authorization.k8s.io/v1/rolebindings",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/apis/certificates.k8s.io/v1/certificatesigningrequests",
        "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
    ] {
        let (code, list) = admin.get(path).await;
        assert_eq!(code, 200, "{path}");
        all.push(list["items"].clone());
    }
    all
}

/// A server with issuer, bootstrap tokens, a proxy in front and restricted nodes, which records.
async fn start(directory: &Path, issuer: &TestIssuer, proxy: &Authority) -> Audited {
    let file = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let jwt = json!({"jwt": [{"issuer": issuer.settings(&["knarr"]),
        "claimMappings": {"username": {"claim": "sub", "prefix": "p:"}}}]});
    let flags = [
        format!("--authentication-config={}", file("authentication.json", &configuration(jwt))),
        format!("--requestheader-client-ca-file={}", file("proxy.crt", &proxy.pem)),
        format!("--token-auth-file={}", file("tokens.csv", "known,dora,1\n")),
    ];
    let mut words: Vec<&str> = flags.iter().map(String::as_str).collect();
    words.extend([
        "--requestheader-allowed-names=front",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--enable-bootstrap-token-auth",
        "--enable-admission-plugins=NodeRestriction",
    ]);
    let policy = "omitStages: [RequestReceived]\nrules: [{level: Metadata}]\n";
    let audited = Audited::start(directory, policy, &words).await;
    populate(&audited.server).await;
    audited
}

/// Two nodes, a pod of the second one, accounts, secrets; ann may do some things.
async fn populate(server: &Server) {
    let admin = server.admin();
    for name in ["default", "other"] {
        admin.create(ACCOUNTS, &json!({"metadata": {"name": name}})).await;
    }
    for name in ["n1", "n2"] {
        admin.create("/api/v1/nodes", &json!({"metadata": {"name": name}})).await;
    }
    let container = json!([{"name": "c", "image": "i"}]);
    admin
        .create(
            PODS,
            &json!({"metadata": {"name": "p2"}, "spec": {"nodeName": "n2", "containers": container}}),
        )
        .await;
    admin.create(SECRETS, &json!({"metadata": {"name": "kept"}, "stringData": {"k": "guarded"}})).await;
    admin.create(MAPS, &json!({"metadata": {"name": "kept"}, "data": {"k": "v"}})).await;
    let rules = json!([
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]},
        {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"],
            "verbs": ["get", "list", "create", "update", "patch", "delete"]},
    ]);
    let roles = format!("{RBAC}/namespaces/default");
    admin.create(&format!("{roles}/roles"), &json!({"metadata": {"name": "some"}, "rules": rules})).await;
    let binding = json!({"metadata": {"name": "ann"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "some"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]});
    admin.create(&format!("{roles}/rolebindings"), &binding).await;
    let ann = server.user("ann", &[]);
    eventually(async || ann.get(&format!("{MAPS}/kept")).await.0 == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers() {
    let directory = tempfile::tempdir().unwrap();
    let (ec, stranger) = (SigningKey::ec("one"), SigningKey::ec("one"));
    let issuer = TestIssuer::start(&[&ec]).await;
    let proxy = Authority::new("proxy");
    let audited = start(directory.path(), &issuer, &proxy).await;
    let server = &audited.server;
    let admin = server.admin();
    let good = issuer.claims("knarr", json!({}));
    let now = seconds();
    let changed = |more: Value| ec.sign(&issuer.claims("knarr", more));
    let secret = |id: &str, expiration: &str| {
        json!({"type": "bootstrap.kubernetes.io/token", "metadata": {"name": format!("bootstrap-token-{id}")},
            "stringData": {"token-id": id, "token-secret": "0123456789abcdef", "expiration": expiration,
                "usage-bootstrap-authentication": "true"}})
    };
    for (id, expiration) in [("aaaaaa", "2020-01-01T00:00:00Z"), ("bbbbbb", "2120-01-01T00:00:00Z")] {
        admin.create("/api/v1/namespaces/kube-system/secrets", &secret(id, expiration)).await;
    }
    let issued = async |account: &str, spec: Value| {
        let (code, made) = admin.post(&format!("{ACCOUNTS}/{account}/token"), &json!({"spec": spec})).await;
        assert_eq!(code, 201, "{made}");
        made["status"]["token"].as_str().unwrap().to_owned()
    };
    // Of an account that is gone, and of one with its name that came after it; of a pod that is gone.
    admin.create(ACCOUNTS, &json!({"metadata": {"name": "former"}})).await;
    let former = issued("former", json!({})).await;
    assert_eq!(admin.send(Method::DELETE, &format!("{ACCOUNTS}/former"), "").await.0, 200);
    admin.create(ACCOUNTS, &json!({"metadata": {"name": "former"}})).await;
    let pod = json!({"metadata": {"name": "gone"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = admin.create(PODS, &pod).await;
    let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": "gone", "uid": made["metadata"]["uid"]}});
    let revoked = issued("default", bound).await;
    assert_eq!(admin.send(Method::DELETE, &format!("{PODS}/gone?gracePeriodSeconds=0"), "").await.0, 200);
    let elsewhere = issued("default", json!({"audiences": ["vault"]})).await;
    let mut body_changed = issued("default", json!({})).await;
    let middle = body_changed.find('.').unwrap() + 10;
    body_changed
        .replace_range(middle..=middle, if body_changed.as_bytes()[middle] == b'A' { "B" } else { "A" });
    let tokens = [
        ("an expired token", changed(json!({"exp": now - 1}))),
        ("a token of tomorrow", changed(json!({"nbf": now + 3600}))),
        ("a token for others", changed(json!({"aud": "other"}))),
        ("a token of another key", stranger.sign(&good)),
        ("a token of another issuer", changed(json!({"iss": "https://127.0.0.1:1"}))),
        ("a token without signature", unsigned(&json!({"alg": "none", "kid": "one"}), &good)),
        ("a token of another algorithm", ec.sign_as(Algorithm::ES256, Some("two"), &good)),
        ("a replayed token of an account that is gone", former),
        ("a token of a pod that is gone", revoked),
        ("an account's token for others", elsewhere),
        ("an account's token that was changed", body_changed),
        ("an unknown token", "unknown".to_owned()),
        ("an expired bootstrap token", "aaaaaa.0123456789abcdef".to_owned()),
        ("a bootstrap token with another secret", "bbbbbb.0123456789abcdee".to_owned()),
        ("a bootstrap token that nobody made", "cccccc.0123456789abcdef".to_owned()),
    ];
    let nobody = server.anonymous();
    let mut attempts: Vec<Attempt<'_>> =
        tokens.iter().map(|(what, token)| Attempt::by_nobody(&nobody, what, token)).collect();
    let client = |identity| Client::new(server.port, &server.authority.pem, Some(identity));
    let foreign = client(Authority::new("ca").user("admin", &["system:masters"]));
    let expired = client(server.authority.expired("admin", &["system:masters"]));
    let for_servers = client(server.authority.server());
    for (what, client) in [
        ("a certificate of another authority", &foreign),
        ("an expired certificate", &expired),
        ("a certificate for servers", &for_servers),
    ] {
        attempts.push(Attempt::by_nobody(client, what, ""));
    }
    let basic = Attempt::by_nobody(&nobody, "a password", "").with("authorization", "Basic YWRtaW46YWRtaW4=");
    attempts.push(Attempt { user: "system:anonymous", ..basic.codes(&[403]) });
    let anonymous = Attempt::by_nobody(&nobody, "nothing at all", "");
    attempts.push(Attempt { user: "system:anonymous", ..anonymous.codes(&[403]) });
    // Names in headers are taken from a proxy with a certificate of its authority and one of its names alone.
    let (ann, back) = (server.user("ann", &[]), client(proxy.user("back", &[])));
    let secrets = |client, user, what| Attempt::by(client, user, what, Method::GET, SECRETS, &Value::Null);
    for attempt in [
        secrets(&ann, "ann", "a user as a proxy"),
        secrets(&back, "", "a proxy of another name").codes(&[401]),
        secrets(&nobody, "system:anonymous", "nobody as a proxy"),
    ] {
        attempts.push(attempt.with("x-remote-user", "admin").with("x-remote-group", "system:masters"));
    }
    fail(&audited, attempts).await;
    audited.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_and_nodes() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = TestIssuer::start(&[&SigningKey::ec("one")]).await;
    let audited = start(directory.path(), &issuer, &Authority::new("proxy")).await;
    let server = &audited.server;
    let (ann, node) = (server.user("ann", &[]), server.user("system:node:n1", &["system:nodes"]));
    let by_ann = |what, method, path: &str, body| Attempt::by(&ann, "ann", what, method, path, &body);
    let by_node =
        |what, method, path: &str, body| Attempt::by(&node, "system:node:n1", what, method, path, &body);
    let roles = format!("{RBAC}/namespaces/default/roles");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let secrets = json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]);
    let bind = |kind: &str, role: &str| {
        json!({"metadata": {"name": "mine"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]})
    };
    let pod = |spec: Value| json!({"metadata": {"name": "mine"}, "spec": spec});
    let on_n2 = pod(json!({"nodeName": "n2", "containers": [{"name": "c", "image": "i"}]}));
    let as_other = |what, header, value| {
        by_ann(what, Method::GET, &format!("{SECRETS}/kept"), Value::Null).with(header, value)
    };
    let mut attempts = vec![
        as_other("ann as admin", "impersonate-user", "admin"),
        as_other("ann as a node", "impersonate-user", "system:node:n2"),
        as_other("ann as an account", "impersonate-user", "system:serviceaccount:default:default"),
        as_other("ann as ann with a group", "impersonate-user", "ann")
            .with("impersonate-group", "system:masters"),
        by_ann(
            "a role with more",
            Method::POST,
            &roles,
            json!({"metadata": {"name": "more"}, "rules": secrets}),
        ),
        by_ann("an own role that grows", Method::PATCH, &format!("{roles}/some"), json!({"rules": secrets})),
        by_ann("a binding to a mighty role", Method::POST, &bindings, bind("ClusterRole", "cluster-admin")),
        by_ann(
            "a binding of the cluster",
            Method::POST,
            &format!("{RBAC}/clusterrolebindings"),
            bind("ClusterRole", "view"),
        ),
        by_ann(
            "a role of the cluster",
            Method::POST,
            &format!("{RBAC}/clusterroles"),
            json!({"metadata": {"name": "more"}}),
        ),
        by_ann("a token", Method::POST, &format!("{ACCOUNTS}/default/token"), json!({})),
        by_ann("a pod", Method::POST, PODS, pod(json!({"containers": [{"name": "c", "image": "i"}]}))),
        by_ann("a command", Method::POST, &format!("{PODS}/p2/exec?command=id"), Value::Null),
        by_ann(
            "an eviction",
            Method::POST,
            &format!("{PODS}/p2/eviction"),
            json!({"metadata": {"name": "p2"}}),
        ),
        by_ann("the proxy of a node", Method::GET, "/api/v1/nodes/n1/proxy/pods", Value::Null),
        by_ann("all secrets", Method::DELETE, SECRETS, Value::Null),
        by_node(
            "another node",
            Method::PATCH,
            "/api/v1/nodes/n2",
            json!({"metadata": {"labels": {"l": "1"}}}),
        ),
        by_node(
            "another node's status",
            Method::PATCH,
            "/api/v1/nodes/n2/status",
            json!({"status": {"phase": "x"}}),
        ),
        by_node(
            "a guarded label",
            Method::PATCH,
            "/api/v1/nodes/n1",
            json!({"metadata": {"labels": {"node-restriction.kubernetes.io/l": "1"}}}),
        ),
        by_node(
            "an own taint",
            Method::PATCH,
            "/api/v1/nodes/n1",
            json!({"spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}),
        ),
        by_node("a node more", Method::POST, "/api/v1/nodes", json!({"metadata": {"name": "n3"}})),
        by_node("another node's pod", Method::DELETE, &format!("{PODS}/p2"), Value::Null),
        by_node(
            "another pod's status",
            Method::PATCH,
            &format!("{PODS}/p2/status"),
            json!({"status": {"phase": "Failed"}}),
        ),
        by_node("a pod of another node", Method::POST, PODS, on_n2),
        by_node(
            "a pod that is no mirror",
            Method::POST,
            PODS,
            pod(json!({"nodeName": "n1", "containers": [{"name": "c", "image": "i"}]})),
        ),
        by_node("a secret of nobody here", Method::GET, &format!("{SECRETS}/kept"), Value::Null),
        by_node("all secrets", Method::GET, SECRETS, Value::Null),
        by_node(
            "a token of another's account",
            Method::POST,
            &format!("{ACCOUNTS}/default/token"),
            json!({"spec": {}}),
        ),
        by_node(
            "a lease of another",
            Method::POST,
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            json!({"metadata": {"name": "n2"}}),
        ),
    ];
    for path in [
        "/api/v1/namespaces/default/configmaps/../secrets/kept",
        "/api/v1/namespaces/default/configmaps/%2e%2e/secrets/kept",
        "/api/v1/namespaces/default/configmaps%2f..%2fsecrets/kept",
        "/api/v1/namespaces/default//secrets/kept",
        "/api/v1//namespaces/default/secrets/kept",
        "/healthz/../api/v1/namespaces/default/secrets/kept",
        "/API/v1/namespaces/default/secrets/kept",
    ] {
        attempts.push(by_ann(path, Method::DELETE, path, Value::Null).codes(&[400, 403, 404, 405]));
    }
    fail(&audited, attempts).await;
    audited.server.stop().await;
}

/// Bodies of those who may write: nothing of them is stored, and the log does not hold what they sent.
#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let directory = tempfile::tempdir().unwrap();
    let issuer = TestIssuer::start(&[&SigningKey::ec("one")]).await;
    let audited = start(directory.path(), &issuer, &Authority::new("proxy")).await;
    let admin = audited.server.admin();
    let sent = |what: &str, media: &str, body: Vec<u8>| {
        let attempt =
            Attempt::by(&admin, "admin", what, Method::POST, MAPS, &Value::Null).with("content-type", media);
        Attempt { body, ..attempt.codes(&[400]) }
    };
    let deep =
        format!("{{\"metadata\":{{\"name\":\"a\"}},\"x\":{}1{}}}", "[".repeat(50_000), "]".repeat(50_000));
    let aliases = (1..30).fold("a0: &a0 [x]\n".to_owned(), |text, n| {
        let line = vec![format!("*a{}", n - 1); 9].join(", ");
        format!("{text}a{n}: &a{n} [{line}]\n")
    });
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &vec![b' '; 16 << 20]).unwrap();
    let large = format!("{{\"metadata\":{{\"name\":\"a\"}},\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(4 << 20));
    let (mut copies, mut path) =
        (vec![json!({"op": "add", "path": "/x", "value": {"a": {}}})], "/x/a".to_owned());
    for _ in 0..10 {
        copies.push(json!({"op": "copy", "from": "/x", "path": format!("{path}/a")}));
        path = format!("{path}/a{}", &path[2..]);
    }
    let nested = Attempt::by(
        &admin,
        "admin",
        "copies of copies",
        Method::PATCH,
        &format!("{MAPS}/kept"),
        &Value::from(copies),
    );
    let attempts = vec![
        sent("a deep document", JSON, deep.into_bytes()),
        sent("aliases of aliases", "application/yaml", aliases.into_bytes()),
        sent("a packed body", JSON, packed.finish().unwrap()).with("content-encoding", "gzip"),
        sent("a large body", JSON, large.into_bytes()).codes(&[413]),
        sent(
            "half a message",
            "application/vnd.kubernetes.protobuf",
            b"k8s\0\x0a\xff\xff\xff\xff\x0f".to_vec(),
        ),
        sent("another type", "text/plain", b"{}".to_vec()).codes(&[415]),
        nested.with("content-type", "application/json-patch+json").codes(&[400]),
    ];
    fail(&audited, attempts).await;
    audited.server.stop().await;
}
