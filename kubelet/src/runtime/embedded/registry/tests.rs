//! Pulls from a registry made here, which breaks off and asks who one is.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::*;

/// What the registry has and what it was asked.
#[derive(Default)]
struct Registry {
    content: HashMap<String, (String, Bytes)>,
    password: Option<&'static str>,
    /// Paths that break off in the middle, once each.
    breaks: Mutex<Vec<String>>,
    ranges: Mutex<Vec<String>>,
}

async fn answer(State(registry): State<Arc<Registry>>, request: Request) -> Response {
    let header = |name| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    if let Some(password) = registry.password {
        let wanted = format!("Basic {}", STANDARD.encode(format!("user:{password}")));
        if header(header::AUTHORIZATION) != wanted {
            let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"test\"")];
            return (StatusCode::UNAUTHORIZED, challenge, "{\"errors\":[]}").into_response();
        }
    }
    let path = request.uri().path().to_owned();
    let Some((kind, bytes)) = registry.content.get(&path) else {
        let known = path == "/v2/";
        let errors =
            "{\"errors\":[{\"code\":\"MANIFEST_UNKNOWN\",\"message\":\"manifest unknown\",\"detail\":{}}]}";
        return if known {
            StatusCode::OK.into_response()
        } else {
            (StatusCode::NOT_FOUND, errors).into_response()
        };
    };
    let mut breaks = registry.breaks.lock();
    if let Some(position) = breaks.iter().position(|one| *one == path) {
        breaks.remove(position);
        let half = bytes.slice(..bytes.len() / 2);
        let cut_off = async {
            // The server sends what it has when there is nothing more for a moment.
            tokio::task::yield_now().await;
            Err(io::Error::other("cut off"))
        };
        let pieces = futures::stream::iter([Ok(half)]).chain(futures::stream::once(cut_off));
        return axum::body::Body::from_stream(pieces).into_response();
    }
    let range = header(header::RANGE);
    if let Some(start) =
        range.strip_prefix("bytes=").and_then(|rest| rest.split('-').next()?.parse::<usize>().ok())
    {
        registry.ranges.lock().push(range);
        return (StatusCode::PARTIAL_CONTENT, bytes.slice(start..)).into_response();
    }
    ([(header::CONTENT_TYPE, kind.clone())], bytes.clone()).into_response()
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// A registry with `a/b:1`, an index of two machines.
fn with_image() -> Registry {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(100_000);
    header.set_mode(0o644);
    layer.append_data(&mut header, "file", vec![b'x'; 100_000].as_slice()).expect("layer");
    let layer = layer.into_inner().expect("layer");
    let architecture = super::super::store::architecture();
    let config = serde_json::json!({
        "architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string().into_bytes();
    let mut registry = Registry::default();
    let mut put = |path: String, kind: &str, bytes: Vec<u8>| {
        registry.content.insert(path, (kind.to_owned(), bytes.into()));
    };
    let describe =
        |bytes: &[u8]| serde_json::json!({"digest": digest(bytes), "size": bytes.len(), "mediaType": "x"});
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": ACCEPTED[2], "config": describe(&config), "layers": [describe(&layer)],
    });
    let manifest = manifest.to_string().into_bytes();
    let mut entry = describe(&manifest);
    entry["platform"] = serde_json::json!({"architecture": architecture, "os": "linux"});
    let mut other = describe(b"other");
    other["platform"] = serde_json::json!({"architecture": "other", "os": "linux"});
    let index =
        serde_json::json!({"schemaVersion": 2, "mediaType": ACCEPTED[0], "manifests": [other, entry]});
    let index = index.to_string().into_bytes();
    for bytes in [&config, &layer] {
        put(format!("/v2/a/b/blobs/{}", digest(bytes)), "application/octet-stream", bytes.clone());
    }
    put(format!("/v2/a/b/manifests/{}", digest(&manifest)), ACCEPTED[2], manifest);
    put(format!("/v2/a/b/manifests/{}", digest(&index)), ACCEPTED[0], index.clone());
    put("/v2/a/b/manifests/1".to_owned(), ACCEPTED[0], index);
    registry
}

async fn serve(registry: Registry) -> (String, Arc<Registry>) {
    knarr_component::client::ensure_crypto_provider();
    let registry = Arc::new(registry);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let host = listener.local_addr().expect("address").to_string();
    let app = axum::Router::new().fallback(answer).with_state(Arc::clone(&registry));
    tokio::spawn(async move { axum::serve(listener, app).await });
    (host, registry)
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(folder.path()).expect("store");
    (folder, store)
}

#[tokio::test]
async fn images_come_by_tag_and_digest() {
    let (host, _) = serve(with_image()).await;
    let (_folder, store) = store();
    let name = format!("{host}/a/b:1");
    let id = pull(&store, &Registries::default(), &name, None).await.expect("pulled");
    let record = store.find(&name).expect("find").expect("image");
    assert_eq!(record.id, id);
    let by_digest = record.digests.first().expect("digest").clone();
    let again = pull(&store, &Registries::default(), &by_digest, None).await.expect("pulled");
    assert_eq!(again, id);
    let missing = pull(&store, &Registries::default(), &format!("{host}/a/b:2"), None).await;
    let missing = missing.expect_err("missing").to_string();
    assert!(
        missing.starts_with("failed to pull and unpack image") && missing.ends_with(": not found"),
        "{missing}"
    );
}

#[tokio::test]
async fn what_breaks_off_goes_on() {
    let registry = with_image();
    let layers = registry.content.iter().filter(|(_, (_, bytes))| bytes.len() > 50_000);
    let path = layers.map(|(path, _)| path.clone()).next().expect("layer");
    registry.breaks.lock().push(path);
    let (host, registry) = serve(registry).await;
    let (_folder, store) = store();
    pull(&store, &Registries::default(), &format!("{host}/a/b:1"), None).await.expect("pulled");
    let ranges = registry.ranges.lock().clone();
    assert_eq!(ranges.len(), 1, "{ranges:?}");
    assert_ne!(ranges[0], "bytes=0-");
}

#[tokio::test]
async fn credentials_are_asked_for() {
    let (host, _) = serve(Registry { password: Some("secret"), ..with_image() }).await;
    let (_folder, store) = store();
    let name = format!("{host}/a/b:1");
    let check = async |auth: AuthConfig, good: bool| {
        let pulled = pull(&store, &Registries::default(), &name, Some(auth.clone())).await;
        assert_eq!(pulled.is_ok(), good, "{auth:?}: {pulled:?}");
    };
    let user = |password: &str| AuthConfig {
        username: "user".to_owned(),
        password: password.to_owned(),
        ..AuthConfig::default()
    };
    check(AuthConfig::default(), false).await;
    check(user("wrong"), false).await;
    check(user("secret"), true).await;
    check(AuthConfig { auth: STANDARD.encode("user:secret"), ..AuthConfig::default() }, true).await;
}

#[tokio::test]
async fn mirrors_are_asked_first() {
    let (host, _) = serve(with_image()).await;
    let (_folder, store) = store();
    let text = format!("registries:\n  reg.invalid:\n    mirrors: ['http://127.0.0.1:1', 'http://{host}']\n");
    let registries: Registries = serde_yaml_ng::from_str(&text).expect("configuration");
    pull(&store, &registries, "reg.invalid/a/b:1", None).await.expect("pulled");
    assert!(store.find("reg.invalid/a/b:1").expect("find").is_some(), "it has the name that was asked for");
}

#[tokio::test]
async fn wrong_content_is_refused() {
    let mut registry = with_image();
    for (_, bytes) in registry.content.values_mut().filter(|(_, bytes)| bytes.len() > 50_000) {
        let mut other = bytes.to_vec();
        other[60_000] ^= 1;
        *bytes = other.into();
    }
    let (host, _) = serve(registry).await;
    let (_folder, store) = store();
    let name = format!("{host}/a/b:1");
    pull(&store, &Registries::default(), &name, None).await.expect_err("refused");
    assert!(store.find(&name).expect("find").is_none());
}

#[test]
fn plain_http_is_for_this_host_and_who_is_named() {
    let text = "registries: {a.test: {plainHttp: true}, b.test: {mirrors: ['https://localhost:1', m.test]}}";
    let registries: Registries = serde_yaml_ng::from_str(text).expect("configuration");
    let check = |registry: &str, expected: &[(&str, bool, bool)]| {
        let expected: Vec<_> =
            expected.iter().map(|(host, plain, mirror)| ((*host).to_owned(), *plain, *mirror)).collect();
        assert_eq!(registries.endpoints(registry), expected, "{registry}");
    };
    check("a.test", &[("a.test", true, false)]);
    check("b.test", &[("localhost:1", false, true), ("m.test", false, true), ("b.test", false, false)]);
    check("localhost:5000", &[("localhost:5000", true, false)]);
    check("127.0.0.1", &[("127.0.0.1", true, false)]);
    check("[::1]:5000", &[("[::1]:5000", true, false)]);
    check("docker.io", &[("docker.io", false, false)]);
}
