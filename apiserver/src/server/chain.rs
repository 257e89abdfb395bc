//! The way of every request: request info, authentication, impersonation, limits, authorization, then the server's
//! own paths or the registry; a deadline and a guard against panics around it.
use super::limits::{self, Limits};
use super::{Body, Handler, Request, RequestContext, Response, body, gzip};
use crate::audit::{self, Audit, Record};
use crate::authn::impersonation::Impersonation;
use crate::authn::{Authenticator, Peer};
use crate::authz::{self, Attributes, Authorizer, rbac};
use crate::flowcontrol::{self, Class, FlowControl};
use crate::health::Health;
use crate::metrics::{Filter, Metrics};
use crate::outbound::internal;
use crate::own_paths::OwnPaths;
use crate::registry::warn;
use crate::request_info::{RequestInfo, Verb};
use crate::tokens::Remark;
use crate::user::{MASTERS, User};
use futures::{FutureExt, StreamExt};
use http::{HeaderMap, HeaderValue, header};
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What the chain is made of.
pub struct Chain {
    /// Who?
    pub authenticator: Arc<Authenticator>,
    /// May they?
    pub authorizer: Authorizer,
    /// As whom?
    pub impersonation: Impersonation,
    /// How many at once?
    pub limits: Limits,
    /// Whose turn is it? Takes the place of `limits`.
    pub flow: Option<Arc<FlowControl>>,
    /// What is recorded? None: nothing.
    pub audit: Option<Arc<Audit>>,
    /// `/livez` and the like.
    pub health: Arc<Health>,
    /// `/metrics`.
    pub metrics: Arc<Metrics>,
    /// `/version` and other paths that are no resources.
    pub own_paths: OwnPaths,
    /// Everything else.
    pub handler: Arc<dyn Handler>,
    /// Paths anybody may get (`--authorization-always-allow-paths`), a trailing `*` is a prefix.
    pub open_paths: Vec<String>,
    /// `--request-timeout`.
    pub timeout: Duration,
    /// Ends with the server.
    pub shutdown: CancellationToken,
}

impl Chain {
    /// Answers one request of a connection.
    pub async fn serve(&self, peer: &Peer, address: SocketAddr, request: Request) -> Response {
        let started = Instant::now();
        let audit_id = audit_id(request.headers());
        let wants_gzip = gzip::is_wanted(request.headers());
        let mut response = match RequestInfo::new(request.method(), request.uri()) {
            Ok(info) => {
                let long = info.is_long_running();
                let running = long.then(|| Running::new(&self.metrics, &info));
                let passage = Passage {
                    info: &info,
                    peer,
                    address,
                    audit_id: &audit_id,
                    deadline: None,
                    record: OnceLock::new(),
                    remark: OnceLock::new(),
                };
                let response = self.recorded(passage, request).await;
                let sizes = self.metrics.observe(&info, response.status().as_u16(), started.elapsed());
                match (running, sizes) {
                    (Some(running), _) => response.map(|body| running.until_end_of(body)),
                    (None, Some(sizes)) => response.map(|body| Measured::of(body, sizes)),
                    (None, None) => response,
                }
            }
            Err(text) => body::status(&Status::bad_request(text), request.headers()),
        };
        if wants_gzip {
            response = gzip::compress(response).await;
        }
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&audit_id) {
            headers.insert("audit-id", value);
        }
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        }
        response
    }

    async fn recorded(&self, mut passage: Passage<'_>, request: Request) -> Response {
        let response = self.guarded(&mut passage, request).await;
        match passage.record.get() {
            Some(record) => record.answered(response).await,
            None => response,
        }
    }

    async fn guarded(&self, passage: &mut Passage<'_>, request: Request) -> Response {
        let info = passage.info;
        let form = [header::ACCEPT, header::USER_AGENT]
            .map(|name| request.headers().get(&name).map(|value| (name, value.clone())));
        let fail = |status: &Status| {
            let headers = HeaderMap::from_iter(form.clone().into_iter().flatten());
            body::status_as(status, &headers, info.query("pretty").as_deref())
        };
        let allotted = match self.allotted(info) {
            Ok(allotted) => allotted,
            Err(status) => return fail(&status),
        };
        passage.deadline = (!info.is_long_running()).then(|| Instant::now() + allotted);
        let work = AssertUnwindSafe(self.filtered(passage, request)).catch_unwind();
        let outcome = match passage.deadline {
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), work).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    self.metrics.ended(info, "504");
                    return fail(&Status::timeout("request did not complete within the allotted timeout"));
                }
            },
            None => work.await,
        };
        match outcome {
            Ok(response) => response,
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                fail(&self.panicked(passage, text.unwrap_or_default()).await)
            }
        }
    }

    async fn panicked(&self, passage: &Passage<'_>, text: String) -> Status {
        self.metrics.panics.inc();
        let info = passage.info;
        self.metrics.ended(info, "500");
        tracing::error!(method = info.verb.as_str(), path = info.path(), panic = text, "request panicked");
        if let Some(record) = passage.record.get() {
            record.panicked(&text).await;
        }
        let text = format!(
            "This request caused apiserver to panic. Look in the logs for details. ({})",
            passage.audit_id
        );
        Status::new(500, "InternalError", text)
    }

    /// `?timeout=` up to the server's own limit.
    fn allotted(&self, info: &RequestInfo) -> Result<Duration, Status> {
        let Some(text) = info.uri().query().and_then(|_| info.query("timeout")) else {
            return Ok(self.timeout);
        };
        match go_duration(&text) {
            None if !text.is_empty() && !info.is_long_running() => Err(Status::bad_request(format!(
                "invalid timeout specified in the request URL - time: invalid duration {text:?}"
            ))),
            None | Some(Duration::ZERO) => Ok(self.timeout),
            Some(asked) => Ok(asked.min(self.timeout)),
        }
    }

    async fn filtered(&self, passage: &Passage<'_>, mut request: Request) -> Response {
        let user = match self.identify(passage, &mut request).await {
            Ok(user) => user,
            Err(refusal) => return refusal,
        };
        let began = Instant::now();
        let (class, turn) = self.turn(passage.info, &user).await;
        self.metrics.access.filtered(Filter::Fairness, began.elapsed());
        let mut response = match turn {
            Some(_turn) => self.permitted(passage, user, request).await,
            None => {
                self.metrics.dropped.inc();
                too_many()
            }
        };
        if let Some(class) = class {
            class.mark(response.headers_mut());
        }
        if let Some(warning) = passage.remark.get().and_then(|remark| remark.warning()) {
            warn(response.headers_mut(), &[warning.to_owned()]);
        }
        response
    }

    /// Authorizes and answers.
    async fn permitted(&self, passage: &Passage<'_>, user: Arc<User>, mut request: Request) -> Response {
        let info = passage.info;
        let record = passage.record.get().cloned();
        if let (Some(record), true) = (&record, info.is_long_running()) {
            request.extensions_mut().insert(record.clone());
        }
        if let Err(refusal) = self.authorize(info, &user, record.as_deref(), request.headers()).await {
            return refusal;
        }
        if !info.is_resource_request {
            if let Some(response) = self.health.answer(info).await {
                return response;
            }
            if let Some(response) =
                self.own_paths.answer(info, request.headers(), &self.metrics, self.health.slis())
            {
                return response;
            }
        }
        let context = RequestContext {
            info: info.clone(),
            user,
            is_own: false,
            audit_id: passage.audit_id.clone(),
            peer: passage.address,
            notes: record.as_ref().map(|record| record.notes().clone()).unwrap_or_default(),
            audit: record,
            deadline: passage.deadline,
            shutdown: self.shutdown.clone(),
        };
        self.handler.handle(context, request).await
    }

    /// Is it allowed? The decision is noted with the request.
    async fn authorize(
        &self,
        info: &RequestInfo,
        user: &User,
        record: Option<&Record>,
        headers: &HeaderMap,
    ) -> Result<(), Response> {
        let attributes = Attributes::from(info);
        let began = Instant::now();
        let decision = match self.is_open(info) {
            true => authz::Decision::Allow("".into()),
            false => self.authorizer.decide(user, &attributes).await,
        };
        self.metrics.access.authorized(&decision, began.elapsed());
        if let Some(record) = record {
            if decision.error().is_none() {
                let word = if decision.is_allowed() { "allow" } else { "forbid" };
                record.annotate("authorization.k8s.io/decision", word);
            }
            let reason = if decision.error().is_some() { "internal error" } else { decision.reason() };
            record.annotate("authorization.k8s.io/reason", reason);
        }
        match decision {
            authz::Decision::Allow(_) => Ok(()),
            authz::Decision::Failed { error, .. } => Err(body::filter_failed(info.uri(), &error)),
            other => {
                let status = authz::forbidden(user, &attributes, other.reason());
                Err(body::status_as(&status, headers, info.query("pretty").as_deref()))
            }
        }
    }

    /// Who asks, after impersonation; from here on the request is recorded.
    ///
    /// # Errors
    /// The answer to a request that goes no further.
    async fn identify(&self, passage: &Passage<'_>, request: &mut Request) -> Result<Arc<User>, Response> {
        let arrived = self.audit.as_ref().map(|audit| (audit, Timestamp::now()));
        let Passage { info, audit_id, address: peer, .. } = *passage;
        let began = Instant::now();
        let found = self.authenticator.authenticate(info, passage.peer, request.headers_mut()).await;
        let name = found.as_ref().ok().map(|sender| &*sender.user.name);
        self.metrics.access.authenticated(name, began.elapsed());
        let headers = request.headers();
        let (user, remark) = match found {
            Ok(sender) => (sender.user, sender.remark),
            Err(status) => {
                let refusal = body::status(&status, headers);
                let Some((audit, at)) = arrived else { return Err(refusal) };
                let arrival = audit::Arrival { info, audit_id, headers, peer, at };
                let tried = audit::attempted(headers, info, passage.peer.has_certificate());
                return Err(match audit.begin_refused(arrival) {
                    Some(record) => record.refused(refusal, tried).await,
                    None => refusal,
                });
            }
        };
        if let Some((audit, at)) = arrived {
            let arrival = audit::Arrival { info, audit_id, headers, peer, at };
            match audit.begin(arrival, &user).await {
                Ok(Some(record)) => drop(passage.record.set(record)),
                Ok(None) => {}
                Err(error) => return Err(body::status(&internal(&error.to_string()), headers)),
            }
        }
        if let Some(remark) = remark {
            if let Some((key, value)) = remark.annotation() {
                passage.annotate(key, &value);
            }
            let _ = passage.remark.set(remark);
        }
        let (asked, began) = (Attributes::from(info), Instant::now());
        let acting =
            self.impersonation.impersonate(&self.authorizer, &user, &asked, request.headers_mut()).await;
        self.metrics.access.filtered(Filter::Impersonation, began.elapsed());
        let Some(acting) = acting.map_err(|status| body::status(&status, request.headers()))? else {
            return Ok(user);
        };
        if let Some(record) = passage.record.get() {
            record.impersonated(&acting.user, acting.constraint);
        }
        Ok(acting.user)
    }

    /// Waits for the request's turn; none: it has to come back later. A watch takes a turn to begin only, streams
    /// and proxies take none.
    async fn turn(&self, info: &RequestInfo, user: &User) -> (Option<Class>, Option<Turn>) {
        let free = info.is_long_running() && info.verb != Verb::Watch;
        match &self.flow {
            _ if free => (None, Some(Turn::Free)),
            Some(flow) => {
                let (class, turn) = flow.enter(info, user).await;
                (Some(class), turn.ok().map(Turn::Flow))
            }
            None if info.is_long_running() || user.in_group(MASTERS) => (None, Some(Turn::Free)),
            None => (None, self.limits.enter(!info.verb.is_read()).await.ok().map(Turn::Limit)),
        }
    }

    fn is_open(&self, info: &RequestInfo) -> bool {
        !info.is_resource_request && self.open_paths.iter().any(|open| rbac::url_matches(open, info.path()))
    }
}

/// One request on its way.
struct Passage<'a> {
    info: &'a RequestInfo,
    peer: &'a Peer,
    address: SocketAddr,
    audit_id: &'a Arc<str>,
    deadline: Option<Instant>,
    /// What is recorded of it, once it is known who asks.
    record: OnceLock<Arc<Record>>,
    /// What is to be told of the use of the user's token.
    remark: OnceLock<Arc<Remark>>,
}

impl Passage<'_> {
    fn annotate(&self, key: &str, value: &str) {
        if let Some(record) = self.record.get() {
            record.annotate(key, value);
        }
    }
}

/// What a request holds while it is answered.
#[allow(dead_code, reason = "held to be dropped")]
enum Turn {
    Free,
    Limit(limits::Turn),
    Flow(flowcontrol::Turn),
}

/// 429, in the original's words.
fn too_many() -> Response {
    let mut response = body::text(429, "Too many requests, please try again later.\n");
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// A streamed answer whose size is known when it has ended.
struct Measured {
    sizes: Histogram,
    bytes: usize,
}

impl Measured {
    /// Notes the size of a body, now or at its end.
    fn of(body: Body, sizes: Histogram) -> Body {
        match body {
            Body::Stream(stream) => {
                let mut this = Self { sizes, bytes: 0 };
                Body::stream(stream.inspect(move |piece| {
                    // The whole of it lives as long as the stream.
                    let this = &mut this;
                    this.bytes += piece.as_ref().map_or(0, bytes::Bytes::len);
                }))
            }
            Body::Full(bytes) => {
                sizes.observe(bytes.len() as f64);
                Body::Full(bytes)
            }
            Body::Chunks(pieces) => {
                sizes.observe(pieces.iter().map(bytes::Bytes::len).sum::<usize>() as f64);
                Body::Chunks(pieces)
            }
            Body::Empty => Body::Empty,
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.sizes.observe(self.bytes as f64);
    }
}

/// A long-running request, counted until its answer has ended.
struct Running(Gauge);

impl Running {
    fn new(metrics: &Metrics, info: &RequestInfo) -> Self {
        let gauge = metrics.running(info);
        gauge.inc();
        Self(gauge)
    }

    fn until_end_of(self, body: Body) -> Body {
        match body {
            Body::Stream(stream) => Body::stream(stream.inspect(move |_| {
                let _held = &self;
            })),
            other => other,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The client's `Audit-ID`, or a new one.
fn audit_id(headers: &HeaderMap) -> Arc<str> {
    match headers.get("audit-id").and_then(|v| v.to_str().ok()).filter(|id| !id.is_empty() && id.len() <= 64)
    {
        Some(id) => id.into(),
        None => {
            let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
            let mut text = uuid::Uuid::encode_buffer();
            Arc::from(&*id.hyphenated().encode_lower(&mut text))
        }
    }
}

/// A Go duration of hours, minutes, seconds and milliseconds (`1m30s`), or none.
pub fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(amount * seconds).ok()?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(go_duration(text), expected.map(Duration::from_millis), "{text}");
        };
        check("34s", Some(34_000));
        check("1m30s", Some(90_000));
        check("1.5s", Some(1500));
        check("250ms", Some(250));
        check("0", Some(0));
        check("", None);
        check("10", None);
        check("5d", None);
    }
}
