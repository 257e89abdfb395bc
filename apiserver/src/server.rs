//! The HTTP side: bodies, the filter chain every request passes, connections and TLS.
mod batched;
pub mod body;
pub mod chain;
pub mod cors;
pub mod gzip;
pub mod limits;
pub mod listen;

pub use body::{Body, RequestBody, Upload};

use crate::admission::Notes;
use crate::audit::Record;
use crate::request_info::RequestInfo;
use crate::user::User;
use async_trait::async_trait;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// A request as it reaches the registry.
pub type Request = http::Request<RequestBody>;
/// An answer.
pub type Response = http::Response<Body>;

/// What the filter chain learnt about a request.
#[derive(Clone)]
pub struct RequestContext {
    /// What it asks for.
    pub info: RequestInfo,
    /// Who asks, after impersonation; authorized for `info`.
    pub user: Arc<User>,
    /// The server itself asks. No user can be made to look like it, by impersonation or otherwise.
    pub is_own: bool,
    /// `Audit-ID` of the answer.
    pub audit_id: Arc<str>,
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// When the request is to be given up; none for long-running ones.
    pub deadline: Option<Instant>,
    /// What is recorded of it; none: nothing is.
    pub audit: Option<Arc<Record>>,
    /// What admission tells beside its decision.
    pub notes: Notes,
    /// Ends when the server shuts down: watches then finish cleanly.
    pub shutdown: tokio_util::sync::CancellationToken,
}

/// What lies behind the filter chain: routes a request that was authenticated, limited and authorized.
///
/// Errors are answers too: an implementation turns a `Status` into a response by [`body::status`].
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Must not block the thread.
    async fn handle(&self, context: RequestContext, request: Request) -> Response;
}
