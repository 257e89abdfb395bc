//! Values encrypted in the database: what lies there, what is served of it, and how keys are exchanged.
#![allow(missing_docs, clippy::expect_used)]
#[path = "postgres/database.rs"]
mod database;
#[allow(dead_code, reason = "shared with other test programs")]
#[path = "server/harness.rs"]
mod harness;
#[path = "encryption/plugin.rs"]
mod plugin;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use harness::{Client, Server, eventually};
use http::Method;
use knarr_api::Value;
use knarr_apiserver::storage::transfer::Place;
use plugin::Plugin;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const STATE: &str = "/knarr/encryption";

/// Writes the configuration for secrets; returns the flag.
fn configure(directory: &Path, providers: Value) -> String {
    let path = directory.join("encryption.yaml");
    let config = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": providers}]});
    // As editors do it, so that nobody reads half of it.
    let new = directory.join("encryption.new");
    std::fs::write(&new, config.to_string()).expect("file");
    std::fs::rename(&new, &path).expect("file");
    format!("--encryption-provider-config={}", path.display())
}

fn local(kind: &str, keys: &[(&str, u8)]) -> Value {
    let keys: Vec<Value> = keys
        .iter()
        .map(|(name, fill)| json!({"name": name, "secret": STANDARD.encode([*fill; 32])}))
        .collect();
    json!({kind: {"keys": keys}})
}

/// What the database holds of secrets in `default`, by name.
async fn stored(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let place = match std::fs::read_to_string(directory.join("database")) {
        Ok(url) => Place::Postgres(url),
        Err(_) => Place::Sqlite(directory.join("db")),
    };
    let mut found = BTreeMap::new();
    let mut each = |record: knarr_apiserver::storage::transfer::Record| {
        if let Some(name) = record.key.as_str().strip_prefix("core/secrets/default/") {
            found.insert(name.to_owned(), record.value.to_vec());
        }
        Ok(())
    };
    place.export(&mut each).await.expect("export");
    found
}

async fn create(client: &Client, name: &str) {
    let secret = json!({"metadata": {"name": name}, "stringData": {"password": format!("hush-{name}")}});
    client.create(SECRETS, &secret).await;
}

async fn password(client: &Client, name: &str) -> Result<String, String> {
    let (code, answer) = client.get(&format!("{SECRETS}/{name}")).await;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match code {
        200 => Ok(String::from_utf8(STANDARD.decode(text(&answer["data"]["password"])).expect("base64"))
            .expect("text")),
        code => Err(format!("{code} {}", text(&answer["message"]))),
    }
}

/// Asks for objects to be written again until all are.
async fn rotate(client: &Client) -> Value {
    loop {
        let (code, state) = client.send(Method::POST, STATE, "").await;
        assert_eq!(code, 200, "{state}");
        if state["stale"] == 0 {
            return state;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cipher_survives_a_restart() {
    for kind in ["aesgcm", "aescbc", "secretbox"] {
        let directory = tempfile::tempdir().expect("directory");
        let flag = configure(directory.path(), json!([local(kind, &[("key1", 1)]), {"identity": {}}]));
        let server = Server::start(directory.path(), &[&flag]).await;
        let admin = server.admin();
        create(&admin, "a").await;
        assert_eq!(password(&admin, "a").await.as_deref(), Ok("hush-a"));
        let patch = json!({"stringData": {"password": "hush-new"}}).to_string();
        let media = [("content-type", "application/merge-patch+json")];
        let answer = admin.raw(Method::PATCH, &format!("{SECRETS}/a"), &media, patch).await;
        assert_eq!(answer.status().as_u16(), 200);
        let (_, state) = admin.get("/healthz/kms-providers").await;
        assert_eq!(state, "ok");
        drop(admin);
        server.stop().await;
        let raw = &stored(directory.path()).await["a"];
        assert!(raw.starts_with(format!("k8s:enc:{kind}:v1:key1:").as_bytes()), "{raw:?}");
        let encoded = STANDARD.encode("hush-new");
        assert!(!raw.windows(encoded.len()).any(|part| part == encoded.as_bytes()));
        let server = Server::start(directory.path(), &[&flag]).await;
        let admin = server.admin();
        assert_eq!(password(&admin, "a").await.as_deref(), Ok("hush-new"));
        assert_eq!(admin.send(Method::DELETE, &format!("{SECRETS}/a"), "").await.0, 200);
        assert_eq!(password(&admin, "a").await, Err("404 secrets \"a\" not found".to_owned()));
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decrypted_fails_alone() {
    let directory = tempfile::tempdir().expect("directory");
    let flag = configure(directory.path(), json!([local("aesgcm", &[("key1", 1)])]));
    let server = Server::start(directory.path(), &[&flag]).await;
    create(&server.admin(), "a").await;
    server.stop().await;

    let other = local("aesgcm", &[("key1", 2)]);
    configure(directory.path(), json!([other]));
    let reload = "--encryption-provider-config-automatic-reload";
    let server = Server::start(directory.path(), &[&flag, reload]).await;
    let admin = server.admin();
    let failed = "500 Internal error occurred: unable to transform key \"/registry/secrets/default/a\": aesgcm: message \
                  authentication failed";
    assert_eq!(password(&admin, "a").await, Err(failed.to_owned()));
    create(&admin, "b").await;
    let (code, list) = admin.get(SECRETS).await;
    assert_eq!((code, &list["items"][0]["metadata"]["name"]), (200, &json!("b")));
    let (code, _) = admin.post(SECRETS, &json!({"metadata": {"name": "a"}})).await;
    assert_eq!(code, 409, "its place is taken");
    let (_, state) = admin.get(STATE).await;
    assert_eq!((&state["unreadable"], &state["total"]), (&json!(1), &json!(2)));

    // The key comes back while the server runs.
    configure(directory.path(), json!([local("aesgcm", &[("key2", 2), ("key1", 1)]), other]));
    eventually(async || password(&admin, "a").await.as_deref() == Ok("hush-a")).await;
    assert_eq!(password(&admin, "b").await.as_deref(), Ok("hush-b"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_exchanged_online() {
    let directory = tempfile::tempdir().expect("directory");
    let flag = configure(directory.path(), json!([{"identity": {}}]));
    let reload = "--encryption-provider-config-automatic-reload";
    let server = Server::start(directory.path(), &[&flag, reload]).await;
    let admin = server.admin();
    for number in 0..150 {
        create(&admin, &format!("s{number}")).await;
    }
    let is_clear = |raw: &Vec<u8>| raw.starts_with(b"{");
    assert!(stored(directory.path()).await.values().all(is_clear));
    configure(directory.path(), json!([local("secretbox", &[("key1", 1)]), {"identity": {}}]));
    eventually(async || admin.get(STATE).await.1["stale"] == 150).await;
    let mut watch = admin.open(Method::GET, &format!("{SECRETS}?watch=1&resourceVersion=0"), "").await;
    assert_eq!(watch.status().as_u16(), 200);
    // Half of it, as if somebody had interrupted; then the rest.
    let (_, state) = admin.send(Method::POST, STATE, "").await;
    assert_eq!(state["stale"], 50);
    assert_eq!(rotate(&admin).await, json!({"total": 150, "stale": 0, "unreadable": 0}));
    let is_sealed = |raw: &Vec<u8>| raw.starts_with(b"k8s:enc:secretbox:v1:key1:");
    assert!(stored(directory.path()).await.values().all(is_sealed));
    drop(std::mem::take(watch.headers_mut()));

    // A write that changes nothing is one all the same where the key is a former one.
    configure(directory.path(), json!([local("aesgcm", &[("key2", 2)]), local("secretbox", &[("key1", 1)])]));
    eventually(async || admin.get(STATE).await.1["stale"] == 150).await;
    let (_, secret) = admin.get(&format!("{SECRETS}/s7")).await;
    for changed in [true, false] {
        let (_, before) = admin.get(&format!("{SECRETS}/s7")).await;
        let mut again = secret.clone();
        again["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
        let (code, after) = admin.send(Method::PUT, &format!("{SECRETS}/s7"), again.to_string()).await;
        assert_eq!(code, 200, "{after}");
        assert_eq!(after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"], changed);
    }
    assert_eq!(admin.get(STATE).await.1["stale"], 149);
    // Only who may use the path does.
    assert_eq!(server.user("ann", &[]).send(Method::POST, STATE, "").await.0, 403);
    rotate(&admin).await;
    drop((admin, watch));
    server.stop().await;
    configure(directory.path(), json!([local("aesgcm", &[("key2", 2)])]));
    let server = Server::start(directory.path(), &[&flag]).await;
    assert_eq!(password(&server.admin(), "s149").await.as_deref(), Ok("hush-s149"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_keeps_the_key() {
    let directory = tempfile::tempdir().expect("directory");
    let socket = directory.path().join("kms.sock");
    let plugin = Plugin::start(&socket);
    let endpoint = format!("unix://{}", socket.display());
    let kms = json!({"kms": {"apiVersion": "v2", "name": "vault", "endpoint": endpoint}});
    let flag = configure(directory.path(), json!([kms, {"identity": {}}]));
    let server = Server::start(directory.path(), &[&flag]).await;
    let admin = server.admin();
    for name in ["a", "b", "c"] {
        create(&admin, name).await;
    }
    assert_eq!(plugin.encrypted(), 1, "once a seed, not once a value");
    eventually(async || admin.get("/healthz/kms-providers").await == (200, json!("ok"))).await;

    // Another key of the plugin: what was written with the former one is written again.
    plugin.set_key("k2");
    eventually(async || admin.get(STATE).await.1["stale"] == 3).await;
    assert_eq!(rotate(&admin).await["stale"], 0);
    // The plugin is away: what is in memory is served, and health tells.
    plugin.set_well(false);
    eventually(async || admin.get("/healthz/kms-providers").await.0 == 500).await;
    assert_eq!(password(&admin, "a").await.as_deref(), Ok("hush-a"));
    drop(admin);
    server.stop().await;
    let raw = &stored(directory.path()).await["a"];
    assert!(raw.starts_with(b"k8s:enc:kms:v2:vault:"), "{raw:?}");

    // Started without it, the server serves the rest, and the secrets when it is back.
    let (server, admin) = Server::start_unready(directory.path(), &[&flag]).await;
    eventually(async || {
        password(&admin, "a").await.is_err_and(|error| error.contains("failed to decrypt DEK"))
    })
    .await;
    plugin.set_well(true);
    eventually(async || password(&admin, "a").await.as_deref() == Ok("hush-a")).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_configuration_stops_the_start() {
    let directory = tempfile::tempdir().expect("directory");
    let flag =
        configure(directory.path(), json!([{"aesgcm": {"keys": [{"name": "a", "secret": "c2hvcnQ="}]}}]));
    let error = Server::refused(directory.path(), &[&flag]).await;
    assert!(
        error.contains("resources[0].providers[0].aesgcm.keys[0].secret") && !error.contains("c2hv"),
        "{error}"
    );
}
