//! Aggregation: group versions that another server answers, as APIService objects say.
//!
//! Requests for such a group version are passed on with the user's identity in headers, which the other server believes
//! because of the front proxy's certificate. Whether it can be reached is kept in the object's status, and what it offers
//! is merged into discovery and OpenAPI. Group versions of this server have APIService objects too, made by itself.
//!
//! Source: the page "Kubernetes API Aggregation Layer"; reasons and texts are the original's.
mod availability;
mod discovery;
mod keep;
mod metrics;
mod openapi;
mod proxy;
mod register;
mod state;
pub mod usage;

pub use keep::keep;
pub use metrics::AggregatorMetrics;

use crate::objects::Objects;
use crate::outbound::Outbound;
use crate::registry::Registry;
use crate::server::{Handler, Request, RequestContext, Response, body};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use state::{Remote, State};
use std::sync::Arc;
use usage::UsageApi;

const GROUP: &str = "apiregistration.k8s.io";
const PLURAL: &str = "apiservices";

/// Stands before the registry and passes on what is not its own.
pub struct Aggregator {
    registry: Arc<Registry>,
    objects: Arc<dyn Objects>,
    outbound: Arc<Outbound>,
    state: ArcSwap<State>,
    openapi: openapi::Merged,
    usage: UsageApi,
    metrics: AggregatorMetrics,
}

impl Aggregator {
    /// Before a registry.
    pub fn new(
        registry: Arc<Registry>,
        objects: Arc<dyn Objects>,
        outbound: Arc<Outbound>,
        usage: UsageApi,
        metrics: AggregatorMetrics,
    ) -> Self {
        let (state, openapi) = (ArcSwap::default(), openapi::Merged::default());
        Self { registry, objects, outbound, state, openapi, usage, metrics }
    }

    /// The other server that answers for a path.
    fn remote(&self, path: &str) -> Option<Arc<Remote>> {
        let state = self.state.load();
        if state.remotes.is_empty() {
            return None;
        }
        let path = path.strip_prefix("/openapi/v3").unwrap_or(path);
        let mut parts = path.strip_prefix("/apis/")?.splitn(3, '/');
        let (group, version) = (parts.next()?, parts.next()?);
        state.remotes.iter().find(|remote| remote.group == group && remote.version == version).cloned()
    }
}

#[async_trait]
impl Handler for Aggregator {
    async fn handle(&self, context: RequestContext, request: Request) -> Response {
        // The path is passed on as it came, so it is judged as it came.
        if let Some(remote) = self.remote(request.uri().path()) {
            return self.forward(&context, &remote, request).await;
        }
        let is_replaced = || self.state.load().remotes.iter().any(|remote| remote.group == usage::GROUP);
        if self.usage.answers(&context.info) && !is_replaced() {
            let headers = request.headers().clone();
            let answer = self.usage.answer(&context, &headers).await;
            return answer.unwrap_or_else(|status| body::status(&status, &headers));
        }
        if context.info.path().starts_with("/openapi/") && !self.state.load().remotes.is_empty() {
            return self.merged_openapi(context, request).await;
        }
        self.registry.handle(context, request).await
    }
}
