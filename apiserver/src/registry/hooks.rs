//! What the registry asks of the rest of the server: answers that are not a matter of stored objects.
use super::Row;
use crate::authz::Attributes;
use crate::outbound::Outbound;
use crate::server::{Request, RequestContext, Response, body};
use crate::user::User;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::kind::Kind;
use knarr_api::status::Status;
use std::sync::Arc;

/// Reviews, tokens, streams and the rule against privilege escalation.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// Answers a connection to an object: exec, attach, port-forward, log, proxy. The object (if it exists) is in
    /// its stored version; the request was authorized, admission has not run.
    async fn connect(&self, context: RequestContext, request: Request, row: &Row, object: Value) -> Response;

    /// Answers a node that asks for a tunnel to itself.
    fn tunnel(&self, _context: &RequestContext, request: Request) -> Response {
        body::status(&refused(), request.headers())
    }

    /// Answers a review of authentication.k8s.io or authorization.k8s.io: the review with its status set.
    ///
    /// # Errors
    /// A malformed review.
    async fn review(
        &self,
        user: &Arc<User>,
        kind: &Kind,
        namespace: &str,
        review: Value,
    ) -> Result<Value, Status>;

    /// Answers a `TokenRequest` for a ServiceAccount: the request with its status set.
    ///
    /// # Errors
    /// A malformed request, or one bound to an object that does not exist.
    async fn token(&self, user: &Arc<User>, account: &Value, request: Value) -> Result<Value, Status>;

    /// Asks whether the user of a request may create the object it names: an update or apply that creates needs
    /// that permission too.
    ///
    /// # Errors
    /// 403.
    fn may_create(&self, context: &RequestContext) -> Result<(), Status>;

    /// The client that conversion webhooks are called with; none (the default): they cannot be called.
    fn outbound(&self) -> Option<Arc<Outbound>> {
        None
    }

    /// How the processes beside this server are, by name: each one's answer, or what is wrong with it. None known is
    /// the default.
    async fn components(&self) -> Vec<(String, Result<String, String>)> {
        Vec::new()
    }

    /// Whether a user may do something else than what the request asks for.
    fn may(&self, user: &User, attributes: &Attributes<'_>) -> bool {
        self.require(user, attributes).is_ok()
    }

    /// The same as an answer to the client.
    ///
    /// # Errors
    /// 403 with what is lacking.
    fn require(&self, user: &User, attributes: &Attributes<'_>) -> Result<(), Status>;

    /// Refuses a write to roles and bindings that would grant more than the writer holds.
    ///
    /// # Errors
    /// 403.
    fn escalation(&self, user: &User, kind: &Kind, object: &Value, old: Option<&Value>)
    -> Result<(), Status>;
}

/// Hooks of a registry that serves objects only (tests): everything else is refused.
pub struct NoHooks;

fn refused() -> Status {
    Status::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
}

#[async_trait]
impl Hooks for NoHooks {
    async fn connect(&self, _: RequestContext, request: Request, _: &Row, _: Value) -> Response {
        body::status(&refused(), request.headers())
    }

    async fn review(&self, _: &Arc<User>, _: &Kind, _: &str, _: Value) -> Result<Value, Status> {
        Err(refused())
    }

    async fn token(&self, _: &Arc<User>, _: &Value, _: Value) -> Result<Value, Status> {
        Err(refused())
    }

    fn may_create(&self, _: &RequestContext) -> Result<(), Status> {
        Ok(())
    }

    fn require(&self, _: &User, _: &Attributes<'_>) -> Result<(), Status> {
        Ok(())
    }

    fn escalation(&self, _: &User, _: &Kind, _: &Value, _: Option<&Value>) -> Result<(), Status> {
        Ok(())
    }
}
