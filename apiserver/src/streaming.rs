//! Streams and proxies: requests that are passed on to a kubelet, a pod or a service, upgraded connections included.
//!
//! The server only finds and checks the target; bytes of exec, attach and port-forward (SPDY or WebSocket) are piped
//! between client and kubelet as they are. Nodes that cannot be dialled are reached by tunnels that they keep (`tunnel`).
mod html;
mod location;
mod log_options;
mod probe;
mod trust;
mod tunnel;
mod upstream;

pub use location::{proxied_path, split_name};
pub use probe::{Component, Prober};
pub(crate) use trust::TrustAll;
pub use upstream::{Config, Upstream};
pub(crate) use upstream::{HOP, incoming as passed_back, switched};

use crate::authz::{self, node};
use crate::objects::Objects;
use crate::request_info::RequestInfo;
use crate::server::websocket::{self, Framing};
use crate::server::{Request, RequestContext, Response, body};
use http::{HeaderMap, HeaderValue, header};
use knarr_api::Value;
use knarr_api::status::{Resource, Status};
use location::Target;
use std::sync::Arc;

const PODS: Resource<'static> = Resource { group: "", plural: "pods" };

/// Passes requests on.
pub struct Streaming {
    upstream: Arc<Upstream>,
    objects: Arc<dyn Objects>,
}

impl Streaming {
    /// Over these TLS settings, with targets looked up in these objects.
    pub fn new(upstream: Arc<Upstream>, objects: Arc<dyn Objects>) -> Self {
        Self { upstream, objects }
    }

    /// Answers a kubelet that asks for a tunnel: it leads to the node of that user, whatever it says.
    pub fn tunnel(&self, context: &RequestContext, request: Request) -> Response {
        let headers = request.headers().clone();
        let accepted = match node::of(&context.user) {
            Some(node) if !node.is_empty() => {
                let always = context.info.query_flag("always");
                self.upstream.tunnels.accept(node, always, request, context.shutdown.clone())
            }
            _ => Err(authz::forbidden(
                &context.user,
                &authz::Attributes::from(&context.info),
                "only nodes have tunnels, each one its own",
            )),
        };
        accepted.unwrap_or_else(|status| body::status(&status, &headers))
    }

    /// Answers a request on one of the streaming subresources. `object` is the Pod, Node or Service; for proxies its
    /// name may carry a scheme and port, so that it is looked up again.
    pub async fn connect(&self, context: RequestContext, request: Request, object: Value) -> Response {
        let headers = request.headers().clone();
        match self.route(&context, request, &object).await {
            Ok(response) => response,
            Err(status) => body::status(&status, &headers),
        }
    }

    async fn route(
        &self,
        context: &RequestContext,
        mut request: Request,
        object: &Value,
    ) -> Result<Response, Status> {
        let info = &context.info;
        match (info.resource(), info.subresource()) {
            ("pods", "log") => self.log(info, request, object).await,
            ("pods", "exec" | "attach") => {
                let target = self.exec(info, object)?;
                self.upstream.upgrade(target, request).await
            }
            ("pods", "portforward") => {
                let target = self.port_forward(info, object)?;
                self.upstream.upgrade(target, request).await
            }
            (plural @ ("nodes" | "pods" | "services"), "proxy") => {
                if let Some(redirect) = location::missing_slash(request.method(), info) {
                    return Ok(redirected(&redirect));
                }
                let target = match plural {
                    "nodes" => self.node_proxy(info).await?,
                    "pods" => location::pod_proxy(&*self.objects, info)?,
                    _ => location::service_proxy(&*self.objects, info)?,
                };
                let hosts = target.hosts.clone();
                forwarded(request.headers_mut(), context);
                let mut response = self.upstream.forward(target, request).await?;
                let link = |text: &str| location::moved(text, &hosts, info);
                let moved = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                if let Some(moved) = moved.and_then(link)
                    && let Ok(value) = HeaderValue::from_str(&moved)
                {
                    response.headers_mut().insert(header::LOCATION, value);
                }
                html::relinked(response, link).await
            }
            (plural, _) => Err(Status::not_found(Resource { group: info.group(), plural }, info.name())),
        }
    }

    async fn log(&self, info: &RequestInfo, request: Request, pod: &Value) -> Result<Response, Status> {
        log_options::check(info)?;
        let container = location::container(info, pod)?;
        let Some(node) = node_name(pod) else {
            // Not assigned yet: an empty log, as in the original.
            let mut response = body::text(200, "");
            *response.status_mut() = http::StatusCode::NO_CONTENT;
            return Ok(response);
        };
        let mut target = self.kubelet(node)?;
        let (namespace, name) = (info.namespace(), info.name());
        target.path = format!("/containerLogs/{namespace}/{name}/{container}{}", log_options::query(info));
        if !websocket::is_wanted(request.headers()) {
            let response = self.upstream.get(&target, request).await?;
            return upstream::checked(response, PODS, name).await;
        }
        let (framing, protocol) = Framing::of_log(request.headers())?;
        let (parts, body) = request.into_parts();
        let response = self.upstream.get(&target, Request::from_parts(parts.clone(), body)).await?;
        websocket::accept(&parts, upstream::checked(response, PODS, name).await?, framing, protocol)
    }

    fn exec(&self, info: &RequestInfo, pod: &Value) -> Result<Target, Status> {
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        if matches!(phase, "Succeeded" | "Failed") {
            return Err(Status::bad_request(format!(
                "cannot exec into a container in a completed pod; current phase is {phase}"
            )));
        }
        let container = location::container(info, pod)?;
        let mut target = self.kubelet(assigned(pod, info)?)?;
        let kind = info.subresource();
        let (namespace, name) = (info.namespace(), info.name());
        target.path = format!("/{kind}/{namespace}/{name}/{container}{}", location::exec_query(info));
        Ok(target)
    }

    fn port_forward(&self, info: &RequestInfo, pod: &Value) -> Result<Target, Status> {
        let mut target = self.kubelet(assigned(pod, info)?)?;
        let query = location::ports_query(info);
        target.path = format!("/portForward/{}/{}{query}", info.namespace(), info.name());
        Ok(target)
    }

    /// Another port than the kubelet's leads to whatever listens there, so it must not be this host's own.
    async fn node_proxy(&self, info: &RequestInfo) -> Result<Target, Status> {
        let (scheme, name, port) = split_name(info.name());
        let mut target = self.kubelet(name)?;
        target.path = location::rest_with_query(info);
        let port: Option<u16> = match port {
            Some(text) => {
                Some(text.parse().map_err(|_| Status::bad_request(format!("invalid port {text:?}")))?)
            }
            None => None,
        };
        let Some(port) = port.filter(|port| *port != target.port) else { return Ok(target) };
        let mut hosts = Vec::new();
        for host in std::mem::take(&mut target.hosts) {
            if location::is_proxyable_host(&host).await {
                hosts.push(host);
            }
        }
        if hosts.is_empty() {
            return Err(Status::bad_request("address not allowed"));
        }
        Ok(Target { tls: scheme == Some("https"), kubelet: false, hosts, port, ..target })
    }

    fn kubelet(&self, node: &str) -> Result<Target, Status> {
        let resource = Resource { group: "", plural: "nodes" };
        let object =
            self.objects.get("", "nodes", "", node).ok_or_else(|| Status::not_found(resource, node))?;
        self.upstream.kubelet(node, &object)
    }
}

/// Tells the target for whom and under which path it is asked.
pub(crate) fn forwarded(headers: &mut HeaderMap, context: &RequestContext) {
    const FOR: &str = "x-forwarded-for";
    let before = headers.get_all(FOR).iter().filter_map(|value| value.to_str().ok()).map(str::to_owned);
    let peer = context.peer.ip().to_canonical().to_string();
    let hosts = before.chain([peer]).collect::<Vec<_>>().join(", ");
    for (name, value) in [(FOR, hosts.as_str()), ("x-forwarded-uri", context.info.uri().path())] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

fn redirected(to: &str) -> Response {
    let mut response = body::text(301, "");
    if let Ok(value) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

fn node_name(pod: &Value) -> Option<&str> {
    pod["spec"]["nodeName"].as_str().filter(|node| !node.is_empty())
}

fn assigned<'a>(pod: &'a Value, info: &RequestInfo) -> Result<&'a str, Status> {
    node_name(pod)
        .ok_or_else(|| Status::bad_request(format!("pod {} does not have a host assigned", info.name())))
}
