//! Bearer tokens that this cluster knows: of a webhook, of joining nodes, of ServiceAccounts.
use crate::harness::{Client, Server, eventually};
use crate::issuer::{SigningKey, review, seconds, unsigned, who};
use crate::remote::Remote;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::Algorithm;
use knarr_api::Value;
use serde_json::json;
use std::path::Path;

const OWN: &str = "https://kubernetes.default.svc.cluster.local";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const PODS: &str = "/api/v1/namespaces/default/pods";

/// A kubeconfig that names a webhook.
pub fn kubeconfig(directory: &Path, name: &str, remote: &Remote, path: &str) -> String {
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": format!("https://127.0.0.1:{}{path}", remote.port),
            "certificate-authority-data": remote.bundle()}}],
        "users": [{"name": "u", "user": {"token": "of-the-server"}}]});
    let file = directory.join(name);
    std::fs::write(&file, config.to_string()).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn webhook() {
    let directory = tempfile::tempdir().unwrap();
    let remote = Remote::start(|asked| {
        let spec = &asked.body["spec"];
        let status = match spec["token"].as_str().unwrap() {
            "good" => {
                json!({"authenticated": true, "user": {"username": "ann", "uid": "7", "groups": ["dev"],
                "extra": {"k": ["v"]}}})
            }
            "aware" => json!({"authenticated": true, "user": {"username": "bob"}, "audiences": ["other"]}),
            "angry" => json!({"authenticated": false, "error": "revoked"}),
            _ => json!({"authenticated": false}),
        };
        json!({"apiVersion": asked.body["apiVersion"], "kind": "TokenReview", "status": status})
    })
    .await;
    let file = kubeconfig(directory.path(), "webhook", &remote, "/review");
    let flags =
        ["--authentication-token-webhook-config-file", &file, "--authentication-token-webhook-version=v1"];
    let server = Server::start(directory.path(), &flags).await;
    let expected = json!({"username": "ann", "uid": "7", "groups": ["dev", "system:authenticated"], "extra": {"k": ["v"]}});
    assert_eq!(who(&server, "good").await, (201, expected));
    let asked = remote.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].uri, "/review");
    assert_eq!(asked[0].headers["authorization"], "Bearer of-the-server");
    assert_eq!(asked[0].body["apiVersion"], "authentication.k8s.io/v1");
    assert_eq!(asked[0].body["spec"], json!({"token": "good", "audiences": [OWN]}));
    for _ in 0..3 {
        assert_eq!(who(&server, "good").await.0, 201);
        assert_eq!(who(&server, "bad").await.0, 401);
    }
    assert_eq!(remote.asked().len(), 2, "verdicts hold for a while");
    assert_eq!((who(&server, "aware").await.0, who(&server, "angry").await.0), (401, 401));
    let admin = server.admin();
    let answer = review(&admin, "aware", &["other"]).await;
    assert_eq!((&answer["user"]["username"], &answer["audiences"]), (&json!("bob"), &json!(["other"])));
    assert_eq!(review(&admin, "good", &["other"]).await["authenticated"], Value::Null);
    assert_eq!(review(&admin, "angry", &[]).await["error"], "revoked");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let remote = Remote::start(|_| json!({})).await;
    let file = kubeconfig(directory.path(), "webhook", &remote, "/");
    drop(remote);
    let server =
        Server::start(directory.path(), &["--authentication-token-webhook-config-file", &file]).await;
    assert_eq!(who(&server, "good").await.0, 401);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_tokens() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--enable-bootstrap-token-auth"]).await;
    let admin = server.admin();
    let secrets = "/api/v1/namespaces/kube-system/secrets";
    let make = async |id: &str, more: Value| {
        let mut data = json!({"token-id": id, "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true", "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token"});
        knarr_api::patch::merge::apply(&mut data, more);
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
            "metadata": {"name": format!("bootstrap-token-{id}")}, "stringData": data});
        admin.create(secrets, &secret).await;
        who(&server, &format!("{id}.0123456789abcdef")).await
    };
    let (code, user) = make("aaaaaa", json!({})).await;
    let groups =
        ["system:bootstrappers", "system:bootstrappers:kubeadm:default-node-token", "system:authenticated"];
    assert_eq!((code, user), (201, json!({"username": "system:bootstrap:aaaaaa", "groups": groups})));
    assert_eq!(make("bbbbbb", json!({"expiration": "2020-01-01T00:00:00Z"})).await.0, 401);
    assert_eq!(make("cccccc", json!({"usage-bootstrap-authentication": null})).await.0, 401);
    assert_eq!(make("dddddd", json!({"auth-extra-groups": "system:masters"})).await.0, 401);
    assert_eq!(who(&server, "aaaaaa.0123456789abcdee").await.0, 401);
    assert_eq!(
        admin.send(http::Method::DELETE, &format!("{secrets}/bootstrap-token-aaaaaa"), "").await.0,
        200
    );
    eventually(async || who(&server, "aaaaaa.0123456789abcdef").await.0 == 401).await;
    server.stop().await;
}

async fn account(admin: &Client, name: &str) -> Value {
    admin
        .create(ACCOUNTS, &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}))
        .await
}

async fn issue(admin: &Client, name: &str, spec: Value) -> (u16, Value) {
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec});
    admin.post(&format!("{ACCOUNTS}/{name}/token"), &request).await
}

fn token(issued: &(u16, Value)) -> String {
    assert_eq!(issued.0, 201, "{}", issued.1);
    issued.1["status"]["token"].as_str().unwrap().to_owned()
}

fn claims(token: &str) -> Value {
    jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_with_what_they_are_bound_to() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    account(&admin, "default").await;
    let nodes = "/api/v1/nodes";
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}], "terminationGracePeriodSeconds": 0}});
    for (path, object) in [(nodes, &node), (SECRETS, &secret), (PODS, &pod)] {
        let made = admin.create(path, object).await;
        let (kind, name) = (object["kind"].clone(), object["metadata"]["name"].as_str().unwrap());
        let bound = json!({"boundObjectRef": {"apiVersion": "v1", "kind": kind, "name": name, "uid": made["metadata"]["uid"]}});
        let token = token(&issue(&admin, "default", bound).await);
        let (code, user) = who(&server, &token).await;
        assert_eq!(
            (code, &user["username"]),
            (201, &json!("system:serviceaccount:default:default")),
            "{kind}"
        );
        let url = format!("{path}/{name}?gracePeriodSeconds=0");
        if kind == "Node" {
            assert_eq!(user["extra"]["authentication.kubernetes.io/node-name"], json!(["n"]));
            // A pod of a node that is gone is refused at once by others.
        }
        assert_eq!(admin.send(http::Method::DELETE, &url, "").await.0, 200, "{url}");
        eventually(async || who(&server, &token).await.0 == 401).await;
        if kind == "Node" {
            // Another node of that name is not the same.
            admin.create(path, object).await;
            assert_eq!(who(&server, &token).await.0, 401);
        }
    }
    let unbound = token(&issue(&admin, "default", json!({})).await);
    assert_eq!(who(&server, &unbound).await.0, 201);
    let elsewhere = token(&issue(&admin, "default", json!({"audiences": ["vault"]})).await);
    assert_eq!(who(&server, &elsewhere).await.0, 401);
    let answer = review(&admin, &elsewhere, &["vault"]).await;
    assert_eq!((&answer["authenticated"], &answer["audiences"]), (&json!(true), &json!(["vault"])));
    assert_eq!(admin.send(http::Method::DELETE, &format!("{ACCOUNTS}/default"), "").await.0, 200);
    eventually(async || who(&server, &unbound).await.0 == 401).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_long_tokens_live() {
    let directory = tempfile::tempdir().unwrap();
    let limit =
        ["--service-account-max-token-expiration=2h", "--service-account-extend-token-expiration=false"];
    let server = Server::start(directory.path(), &limit).await;
    let admin = server.admin();
    account(&admin, "bot").await;
    let life = |issued: &(u16, Value)| {
        let claims = claims(&token(issued));
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap()
    };
    for (asked, given) in [(600, 600), (3607, 3607), (7200, 7200), (90_000, 7200)] {
        let issued = issue(&admin, "bot", json!({"expirationSeconds": asked})).await;
        assert_eq!(
            (life(&issued), &issued.1["spec"]["expirationSeconds"]),
            (given, &json!(given)),
            "{asked}"
        );
    }
    for asked in [json!(599), json!((1_u64 << 32) + 1), json!(-1)] {
        assert_eq!(issue(&admin, "bot", json!({"expirationSeconds": asked})).await.0, 422, "{asked}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_tokens_are_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let first = Server::start(directory.path(), &[]).await;
    let admin = first.admin();
    account(&admin, "bot").await;
    let old = token(&issue(&admin, "bot", json!({})).await);
    drop(admin);
    first.stop().await;
    // The new key signs, the old one still verifies.
    let retired = directory.path().join("retired.key");
    std::fs::rename(directory.path().join("sa.key"), &retired).unwrap();
    let both = ["--service-account-key-file", retired.to_str().unwrap()];
    let second = Server::start(directory.path(), &both).await;
    let admin = second.admin();
    let new = token(&issue(&admin, "bot", json!({})).await);
    assert_eq!((who(&second, &old).await.0, who(&second, &new).await.0), (201, 201));
    let (_, keys) = admin.get("/openid/v1/jwks").await;
    assert_eq!(keys["keys"].as_array().unwrap().len(), 2);
    drop(admin);
    second.stop().await;
    let third = Server::start(directory.path(), &[]).await;
    assert_eq!((who(&third, &old).await.0, who(&third, &new).await.0), (401, 201));
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_of_the_issuer() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let admin = server.admin();
    account(&admin, "bot").await;
    let mut bot = server.anonymous();
    bot.token = Some(token(&issue(&admin, "bot", json!({})).await));
    let paths = ["/.well-known/openid-configuration", "/openid/v1/jwks"];
    for path in paths {
        assert_eq!(server.anonymous().get(path).await.0, 403, "{path}");
        assert_eq!(server.user("ann", &[]).get(path).await.0, 403, "{path}");
        assert_eq!(bot.get(path).await.0, 200, "{path}");
    }
    let (_, document) = bot.get(paths[0]).await;
    assert_eq!(document["issuer"], OWN);
    assert_eq!(document["response_types_supported"], json!(["id_token"]));
    let response = bot
        .raw(
            http::Method::GET,
            paths[1],
            &[("authorization", &format!("Bearer {}", bot.token.as_ref().unwrap()))],
            "",
        )
        .await;
    assert_eq!(response.headers()["content-type"], "application/jwk-set+json");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_in_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let key = SigningKey::ec("x");
    let pem = directory.path().join("legacy.key");
    std::fs::write(&pem, key.pem()).unwrap();
    let server =
        Server::start(directory.path(), &["--service-account-key-file", pem.to_str().unwrap()]).await;
    let admin = server.admin();
    let uid = account(&admin, "bot").await["metadata"]["uid"].clone();
    let claims = |more: Value| {
        let mut claims = json!({"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:bot",
            "kubernetes.io/serviceaccount/namespace": "default", "kubernetes.io/serviceaccount/secret.name": "legacy",
            "kubernetes.io/serviceaccount/service-account.name": "bot",
            "kubernetes.io/serviceaccount/service-account.uid": uid});
        knarr_api::patch::merge::apply(&mut claims, more);
        claims
    };
    let sign = |more: Value| key.sign_as(Algorithm::ES256, None, &claims(more));
    let token = sign(json!({}));
    let hold = async |token: &str| {
        let url = format!("{SECRETS}/legacy");
        let patch = json!({"data": {"token": STANDARD.encode(token)}}).to_string();
        let headers = [("content-type", "application/merge-patch+json")];
        assert_eq!(admin.raw(http::Method::PATCH, &url, &headers, patch).await.status(), 200);
    };
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "legacy", "annotations": {"kubernetes.io/service-account.name": "bot"}}});
    admin.create(SECRETS, &secret).await;
    assert_eq!(who(&server, &token).await.0, 401, "the secret does not hold it yet");
    hold(&token).await;
    let day_before = jiff::Timestamp::now().to_string()[..10].to_owned();
    let (code, user) = who(&server, &token).await;
    assert_eq!(
        (code, &user["username"], &user["uid"]),
        (201, &json!("system:serviceaccount:default:bot"), &uid)
    );
    // The use is on the Secret; who uses one that nobody asked for is told so.
    let label = || async { admin.get(&format!("{SECRETS}/legacy")).await.1["metadata"]["labels"].clone() };
    let used = label().await["kubernetes.io/legacy-token-last-used"].clone();
    // Midnight may have passed meanwhile.
    assert!(used == jiff::Timestamp::now().to_string()[..10] || used == day_before, "{used}");
    let warned = async || {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", &*bearer)];
        let answer = server.anonymous().raw(http::Method::GET, "/version", &headers, "").await;
        answer.headers().get("warning").map(|text| text.to_str().unwrap().to_owned())
    };
    assert_eq!(warned().await, None);
    let accounts = "/api/v1/namespaces/default/serviceaccounts/bot";
    let patch = json!({"secrets": [{"name": "legacy"}]}).to_string();
    let headers = [("content-type", "application/merge-patch+json")];
    assert_eq!(admin.raw(http::Method::PATCH, accounts, &headers, patch).await.status(), 200);
    let advice = "299 - \"Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.\"";
    // Verdicts on tokens hold for ten seconds.
    eventually(async || warned().await.as_deref() == Some(advice)).await;
    // One that is marked as invalid is not taken, but that somebody tried is on the Secret.
    let marks = json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": "2020-01-01",
        "kubernetes.io/legacy-token-last-used": "2019-01-01"}}});
    let mark = async |marks: &Value| {
        let headers = [("content-type", "application/merge-patch+json")];
        let url = format!("{SECRETS}/legacy");
        assert_eq!(admin.raw(http::Method::PATCH, &url, &headers, marks.to_string()).await.status(), 200);
    };
    mark(&marks).await;
    eventually(async || who(&server, &token).await.0 == 401).await;
    assert_ne!(label().await["kubernetes.io/legacy-token-last-used"], "2019-01-01");
    mark(&json!({"metadata": {"labels": {"kubernetes.io/legacy-token-invalid-since": null}}})).await;
    eventually(async || who(&server, &token).await.0 == 201).await;
    for (what, bad) in [
        ("another account", sign(json!({"sub": "system:serviceaccount:kube-system:admin"}))),
        ("another uid", sign(json!({"kubernetes.io/serviceaccount/service-account.uid": "x"}))),
        ("no secret", sign(json!({"kubernetes.io/serviceaccount/secret.name": null}))),
        ("another key", SigningKey::ec("x").sign_as(Algorithm::ES256, None, &claims(json!({})))),
        ("no signature", unsigned(&json!({"alg": "none"}), &claims(json!({"iat": seconds()})))),
    ] {
        hold(&bad).await;
        assert_eq!(who(&server, &bad).await.0, 401, "{what}");
    }
    let url = format!("{SECRETS}/legacy");
    assert_eq!(admin.send(http::Method::DELETE, &url, "").await.0, 200);
    eventually(async || who(&server, &token).await.0 == 401).await;
    server.stop().await;
}
