//! The server's own requests: straight to the registry, as a member of `system:masters`, through the same path as
//! everybody's from there on.
use crate::request_info::RequestInfo;
use crate::server::{Handler, RequestBody, RequestContext};
use crate::user::User;
use bytes::Bytes;
use http::{Method, Uri, header};
use http_body_util::BodyExt;
use knarr_api::Value;
use knarr_api::status::Status;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock, Weak};
use tokio_util::sync::CancellationToken;

/// A client inside the server.
#[derive(Clone)]
pub struct Loopback {
    handler: Arc<dyn Handler>,
    user: Arc<User>,
    shutdown: CancellationToken,
}

/// A client for parts that the server is made of, which comes when it is put together. It does not keep the server alive,
/// whose parts hold it.
#[derive(Default)]
pub struct Late(OnceLock<(Weak<dyn Handler>, Arc<User>, CancellationToken)>);

impl Late {
    /// Here it is; only the first one counts.
    pub fn set(&self, client: &Loopback) {
        let handler = Arc::downgrade(&client.handler);
        let _ = self.0.set((handler, client.user.clone(), client.shutdown.clone()));
    }

    /// The client; none while the server is put together, or is gone.
    pub fn get(&self) -> Option<Loopback> {
        let (handler, user, shutdown) = self.0.get()?;
        Some(Loopback { handler: handler.upgrade()?, user: user.clone(), shutdown: shutdown.clone() })
    }
}

impl Loopback {
    /// A client of a handler.
    pub fn new(handler: Arc<dyn Handler>, shutdown: CancellationToken) -> Self {
        Self { handler, user: Arc::new(User::loopback()), shutdown }
    }

    /// The object at a path.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn get(&self, path: &str) -> Result<Value, Status> {
        self.send(Method::GET, path, None).await
    }

    /// Creates an object in the collection at a path.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, Status> {
        self.send(Method::POST, path, Some(object)).await
    }

    /// Replaces the object at a path.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn update(&self, path: &str, object: &Value) -> Result<Value, Status> {
        self.send(Method::PUT, path, Some(object)).await
    }

    /// Deletes the object at a path.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn delete(&self, path: &str) -> Result<Value, Status> {
        self.send(Method::DELETE, path, None).await
    }

    /// Merges a patch into the object at a path.
    ///
    /// # Errors
    /// What the server answers.
    pub async fn patch(&self, path: &str, patch: &Value) -> Result<Value, Status> {
        self.send(Method::PATCH, path, Some(patch)).await
    }

    async fn send(&self, method: Method, path: &str, object: Option<&Value>) -> Result<Value, Status> {
        let uri: Uri = path.parse().map_err(Status::internal)?;
        let info = RequestInfo::new(&method, &uri).map_err(Status::bad_request)?;
        let body = object.map(|object| Bytes::from(object.to_string())).unwrap_or_default();
        let media = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, media)
            .header(header::ACCEPT, "application/json")
            .header(header::USER_AGENT, "knarr-apiserver")
            .body(RequestBody::Full(body))
            .map_err(Status::internal)?;
        let context = RequestContext {
            info,
            user: self.user.clone(),
            is_own: true,
            audit_id: "loopback".into(),
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            audit: None,
            notes: Default::default(),
            deadline: None,
            shutdown: self.shutdown.clone(),
        };
        let response = self.handler.handle(context, request).await;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(Status::internal)?.to_bytes();
        let value: Value = serde_json::from_slice(&bytes).map_err(Status::internal)?;
        if (200..300).contains(&code) {
            Ok(value)
        } else {
            Err(serde_json::from_value(value).map_err(Status::internal)?)
        }
    }
}
