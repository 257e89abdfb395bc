//! A registry on an ephemeral database, and requests to it.
use bytes::Bytes;
use http::{HeaderMap, Method, Uri};
use http_body_util::BodyExt;
use knarr_api::Value;
use knarr_apiserver::admission::Chain;
use knarr_apiserver::objects::Objects;
use knarr_apiserver::registry::{NoHooks, Registry, Settings, resources};
use knarr_apiserver::request_info::RequestInfo;
use knarr_apiserver::server::{Body, Handler, RequestBody, RequestContext};
use knarr_apiserver::storage::postgres::Postgres;
use knarr_apiserver::storage::sqlite::Sqlite;
use knarr_apiserver::storage::{Backend, Options, Store};
use knarr_apiserver::user::User;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A registry.
pub struct Server {
    pub registry: Arc<Registry>,
    shutdown: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// An answer read whole.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub headers: HeaderMap,
    pub bytes: Bytes,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {:?}", self.bytes))
    }

    /// The JSON of an answer that must have a code.
    #[track_caller]
    pub fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", String::from_utf8_lossy(&self.bytes));
        self.json()
    }
}

impl Server {
    /// A server with a namespace `default`.
    pub async fn start() -> Self {
        Self::start_with(Options::default(), Settings::default()).await
    }

    /// The same with sizes and times of its own.
    pub async fn start_with(options: Options, settings: Settings) -> Self {
        Self::start_admitting(options, settings, |_| Chain::default()).await
    }

    /// The same with admission plugins.
    pub async fn start_admitting(
        options: Options,
        settings: Settings,
        chain: impl FnOnce(Arc<dyn Objects>) -> Chain,
    ) -> Self {
        let backend: Arc<dyn Backend> = match crate::database::chosen().await {
            Some(url) => Arc::new(Postgres::open(&url).await.unwrap()),
            None => Arc::new(Sqlite::ephemeral().await.unwrap()),
        };
        let server = Self::assemble(backend, options, settings, chain).await;
        let namespace = json!({"metadata": {"name": "default"}});
        server.post("/api/v1/namespaces", &namespace).await.expect(201);
        server
    }

    /// A server over a database that others may use too.
    pub async fn over(backend: Arc<dyn Backend>, options: Options, settings: Settings) -> Self {
        Self::assemble(backend, options, settings, |_| Chain::default()).await
    }

    async fn assemble(
        backend: Arc<dyn Backend>,
        options: Options,
        settings: Settings,
        chain: impl FnOnce(Arc<dyn Objects>) -> Chain,
    ) -> Self {
        let api = knarr_api::table::builtin();
        let shutdown = CancellationToken::new();
        let store = Store::open(backend, resources(api, &settings.runtime_config), options, shutdown.clone())
            .await
            .unwrap();
        let admission = chain(Arc::new(store.clone()));
        let registry = Registry::new(api, store, admission, Arc::new(NoHooks), settings);
        Self { registry: Arc::new(registry), shutdown }
    }

    /// Sends a request and returns the unread answer.
    pub async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> http::Response<Body> {
        let uri: Uri = path.parse().unwrap();
        let info = RequestInfo::new(&method, &uri).unwrap();
        let context = RequestContext {
            info,
            user: Arc::new(User::loopback()),
            is_own: true,
            audit_id: "test".into(),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            audit: None,
            notes: Default::default(),
            deadline: None,
            shutdown: self.shutdown.clone(),
        };
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(RequestBody::Full(body.into())).unwrap();
        self.registry.handle(context, request).await
    }

    /// Sends a request.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
        let response = self.open(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply { code: parts.status.as_u16(), headers: parts.headers, bytes }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], Vec::new()).await
    }

    pub async fn post(&self, path: &str, object: &Value) -> Reply {
        self.send(Method::POST, path, &[], object.to_string().into_bytes()).await
    }

    pub async fn put(&self, path: &str, object: &Value) -> Reply {
        self.send(Method::PUT, path, &[], object.to_string().into_bytes()).await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], Vec::new()).await
    }

    pub async fn patch(&self, path: &str, kind: &str, patch: &Value) -> Reply {
        let media = format!("application/{kind}");
        self.send(Method::PATCH, path, &[("content-type", &media)], patch.to_string().into_bytes()).await
    }

    /// Opens a watch.
    pub async fn watch(&self, path: &str) -> Events {
        let response = self.open(Method::GET, path, &[], Vec::new()).await;
        assert_eq!(response.status(), 200);
        Events { body: response.into_body(), buffer: Vec::new() }
    }
}

/// The events of a watch.
pub struct Events {
    body: Body,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event; none at the end of the stream.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame()).await;
            match frame.expect("no event within the deadline") {
                Some(frame) => self.buffer.extend_from_slice(&frame.unwrap().into_data().unwrap()),
                None => return None,
            }
        }
    }

    /// Type and name of the next event.
    pub async fn seen(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch ended");
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}
