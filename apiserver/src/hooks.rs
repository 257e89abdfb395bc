//! What the registry asks of the rest of the server, answered.
use crate::authn::Authenticator;
use crate::authz::{Attributes, Authorizer, escalation, reviews};
use crate::objects::Objects;
use crate::outbound::Outbound;
use crate::registry::{Hooks, Row};
use crate::request_info::Verb;
use crate::server::{Request, RequestContext, Response, body};
use crate::streaming::{Prober, Streaming};
use crate::tokens::Tokens;
use crate::user::User;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::kind::Kind;
use knarr_api::status::{Resource, Status};
use std::sync::Arc;

/// Reviews, tokens, streams and escalation checks of a server.
pub struct ServerHooks {
    /// Decides access reviews.
    pub authorizer: Authorizer,
    /// Decides token reviews.
    pub authenticator: Arc<Authenticator>,
    /// Issues tokens.
    pub tokens: Arc<Tokens>,
    /// What tokens are bound to.
    pub objects: Arc<dyn Objects>,
    /// Calls conversion webhooks.
    pub outbound: Arc<Outbound>,
    /// Reaches kubelets.
    pub streaming: Streaming,
    /// Asks other components how they are.
    pub prober: Prober,
}

impl ServerHooks {
    /// WebSocket clients open streams into pods with GET, which was authorized as a read: they need `create` as well,
    /// as SPDY clients do, who POST.
    fn authorize_upgrade(&self, context: &RequestContext) -> Result<(), Status> {
        let info = &context.info;
        let into_pod =
            info.resource() == "pods" && matches!(info.subresource(), "exec" | "attach" | "portforward");
        if !into_pod || info.verb != Verb::Get {
            return Ok(());
        }
        let attributes = Attributes { verb: Verb::Create.as_str(), ..Attributes::from(info) };
        self.authorizer.require(&context.user, &attributes)
    }
}

#[async_trait]
impl Hooks for ServerHooks {
    async fn connect(
        &self,
        context: RequestContext,
        request: Request,
        _row: &Row,
        object: Value,
    ) -> Response {
        if let Err(status) = self.authorize_upgrade(&context) {
            return body::status(&status, request.headers());
        }
        self.streaming.connect(context, request, object).await
    }

    fn tunnel(&self, context: &RequestContext, request: Request) -> Response {
        self.streaming.tunnel(context, request)
    }

    async fn review(
        &self,
        user: &Arc<User>,
        kind: &Kind,
        namespace: &str,
        review: Value,
    ) -> Result<Value, Status> {
        let plural = &*kind.plural;
        let answer =
            reviews::create(&self.authorizer, &self.authenticator, user, plural, namespace, review).await;
        answer.unwrap_or_else(|| {
            Err(Status::method_not_allowed(Resource { group: &kind.gvk.group, plural }, "create"))
        })
    }

    async fn token(&self, _user: &Arc<User>, account: &Value, request: Value) -> Result<Value, Status> {
        let text = |field: &str| account["metadata"][field].as_str().unwrap_or_default();
        self.tokens.issue(&*self.objects, text("namespace"), text("name"), request)
    }

    fn outbound(&self) -> Option<Arc<Outbound>> {
        Some(self.outbound.clone())
    }

    async fn components(&self) -> Vec<(String, Result<String, String>)> {
        self.prober.ask().await
    }

    fn may_create(&self, context: &RequestContext) -> Result<(), Status> {
        let attributes = Attributes { verb: Verb::Create.as_str(), ..Attributes::from(&context.info) };
        self.authorizer.require(&context.user, &attributes)
    }

    fn require(&self, user: &User, attributes: &Attributes<'_>) -> Result<(), Status> {
        self.authorizer.require(user, attributes)
    }

    fn escalation(
        &self,
        user: &User,
        kind: &Kind,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        escalation::check(&self.authorizer, user, &kind.plural, object, old)
    }
}
