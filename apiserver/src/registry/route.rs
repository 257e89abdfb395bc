//! From a request to the verb that answers it.
use super::answer::Answer;
use super::call::Call;
use super::custom::DEFINITIONS;
use super::negotiate::{self, Format, Scope};
use super::options::Query;
use super::{Registry, Row, encode, subresource};
use crate::audit::Record;
use crate::request_info::{RequestInfo, TUNNEL, Verb};
use crate::server::websocket::{self, Framing};
use crate::server::{Request, RequestBody, RequestContext, Response, body};
use http::{HeaderMap, HeaderValue, header};
use knarr_api::kind::Kind;
use knarr_api::names;
use knarr_api::status::Status;
use knarr_api::table::Api;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

/// What is said about resources that clients should leave.
fn deprecation(api: &Api, kind: &Kind) -> Option<String> {
    match (&*kind.gvk.group, &*kind.plural) {
        ("", "endpoints") => {
            return Some(
                "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice".to_owned(),
            );
        }
        ("", "componentstatuses") => return Some("v1 ComponentStatus is deprecated in v1.19+".to_owned()),
        _ => {}
    }
    let life = api.schema.get(kind.ty).lifecycle.as_deref()?;
    let since = life.deprecated.as_deref().filter(|release| minor(release) <= MINOR)?;
    let mut text = format!("{} {} is deprecated in v{since}+", kind.gvk.api_version(), kind.gvk.kind);
    if let Some(removed) = life.removed.as_deref().or(kind.removed.as_deref()) {
        text.push_str(&format!(", unavailable in v{removed}+"));
    }
    if let Some(instead) = &life.replacement {
        text.push_str(&format!("; use {} {}", instead.api_version(), instead.kind));
    }
    Some(text)
}

/// Tells auditors of versions that clients should leave.
fn annotate_life(record: &Record, api: &Api, kind: &Kind) {
    let Some(life) = api.schema.get(kind.ty).lifecycle.as_deref() else { return };
    if life.deprecated.as_deref().is_none_or(|release| minor(release) > MINOR) {
        return;
    }
    record.annotate("k8s.io/deprecated", "true");
    if let Some(removed) = life.removed.as_deref().or(kind.removed.as_deref()) {
        record.annotate("k8s.io/removed-release", removed);
    }
}

/// Where `knarr secrets rotate` asks.
const ENCRYPTION: &str = "/knarr/encryption";
/// Objects written again for one request.
const REWRITTEN: usize = 100;

/// The release whose API is served.
const MINOR: u32 = 36;

fn minor(release: &str) -> u32 {
    release.split_once('.').and_then(|(_, minor)| minor.parse().ok()).unwrap_or(u32::MAX)
}

/// 404 for a path within a served group version.
fn unknown_resource() -> Status {
    let mut status = Status::new(404, "NotFound", "the server could not find the requested resource");
    status.details = Some(Box::default());
    status
}

/// 405 for a verb that the resource does not have.
pub(super) fn unsupported_verb() -> Status {
    let text = "the server does not allow this method on the requested resource";
    let mut status = Status::new(405, "MethodNotAllowed", text);
    status.details = Some(Box::default());
    status
}

fn page_not_found() -> Response {
    body::text(404, "404 page not found\n")
}

impl Registry {
    pub(super) async fn route(&self, context: RequestContext, request: Request) -> Response {
        if !context.info.is_resource_request {
            if context.info.path() == TUNNEL {
                return self.hooks.tunnel(&context, request);
            }
            return self.non_resource(&context, &request).await;
        }
        let info = &context.info;
        // Read past by who splits the path, as authorization does, but nothing is served there.
        if info.path().starts_with("//") {
            return page_not_found();
        }
        let find = || self.rows.find(info.group(), info.version(), info.resource());
        let mut row = find();
        if row.is_none() {
            // Another server may know its definition already.
            self.learn_custom().await;
            row = find();
        }
        if row.is_none() && !self.rows.has_version(info.group(), info.version()) {
            return page_not_found();
        }
        if let (Some(record), Some(row)) = (&context.audit, &row) {
            annotate_life(record, &row.api, &row.kind);
        }
        let deprecated = row.as_ref().and_then(|row| match row.custom() {
            Some(custom) => custom.deprecation.clone(),
            None => deprecation(&row.api, &row.kind),
        });
        let (parts, body) = request.into_parts();
        let notes = context.notes.clone();
        let pretty = context.info.query("pretty").map(Cow::into_owned);
        let mut response = match self.resource(context, row, &parts, body).await {
            Ok(mut response) => {
                if let Some(text) = deprecated {
                    warn(response.headers_mut(), &[text]);
                }
                response
            }
            Err(status) => body::status_as(&status, &parts.headers, pretty.as_deref()),
        };
        warn(response.headers_mut(), &notes.warnings());
        response
    }

    async fn non_resource(&self, context: &RequestContext, request: &Request) -> Response {
        let path = context.info.path().trim_end_matches('/');
        if path == ENCRYPTION {
            return self.encryption_state(&context.info, request.headers()).await;
        }
        let pretty = context.info.query("pretty");
        if !matches!(*request.method(), http::Method::GET | http::Method::HEAD) {
            return page_not_found();
        }
        if path.starts_with("/openapi/") {
            return match self.openapi.serve(path, context.info.uri().query(), request.headers()).await {
                Some(response) => response,
                None => page_not_found(),
            };
        }
        self.discovery.load().serve(path, request.headers(), pretty.as_deref()).unwrap_or_else(page_not_found)
    }

    /// Answers how much is stored as it would be written now; a POST writes some of the rest first.
    async fn encryption_state(&self, info: &RequestInfo, headers: &HeaderMap) -> Response {
        let Some(encryption) = self.store.encryption() else { return page_not_found() };
        match info.verb {
            Verb::Get => {}
            Verb::Post => {
                if let Err(error) = self.store.rewrite(REWRITTEN).await {
                    return body::status(&super::write::commit_status(&error), headers);
                }
            }
            _ => return body::status(&unsupported_verb(), headers),
        }
        body::json(200, serde_json::to_vec(&encryption.tally()).unwrap_or_default())
    }

    async fn resource(
        &self,
        context: RequestContext,
        row: Option<Arc<Row>>,
        parts: &http::request::Parts,
        body: RequestBody,
    ) -> Result<Response, Status> {
        let headers = &parts.headers;
        let info = &context.info;
        let row = &row.ok_or_else(unknown_resource)?;
        let (namespace, name, sub) = (info.namespace(), info.name(), info.subresource());
        let namespace = if row.kind.namespaced { namespace } else { "" };
        let in_path = info.parts().nth(1).is_some();
        if row.kind.namespaced && in_path && namespace.is_empty() {
            return Err(unknown_resource());
        }
        if !row.kind.namespaced && !info.namespace().is_empty() && &*row.resource != "core/namespaces" {
            return Err(unknown_resource());
        }
        if !sub.is_empty() && row.kind.subresource(sub).is_none() {
            return Err(unknown_resource());
        }
        let faults = if in_path { names::path_segment(name) } else { Vec::new() };
        if !faults.is_empty() {
            let text = format!("Name parameter invalid: {name:?}: {}", faults.join(";"));
            return Err(Status::bad_request(text));
        }
        if subresource::is_connection(&row.kind, sub) {
            let request = Request::from_parts(parts.clone(), body);
            return Ok(self.connect(context.clone(), request, row, namespace, name).await);
        }
        let verbs = row.kind.subresource(sub).map_or(&row.kind.verbs, |s| &s.verbs);
        if !verbs.iter().any(|v| **v == *info.verb.as_str()) {
            return Err(unsupported_verb());
        }
        if row.kind.namespaced && namespace.is_empty() && info.verb == Verb::Create {
            return Err(unsupported_verb());
        }
        // An object is created where its kind is listed; what stands below an object may be created there.
        if in_path && sub.is_empty() && info.verb == Verb::Create {
            return Err(unsupported_verb());
        }
        if !in_path && matches!(info.verb, Verb::Update | Verb::Patch | Verb::Delete) {
            return Err(unsupported_verb());
        }
        let query = Query::parse(info.uri().query().unwrap_or_default());
        let scope = match info.verb {
            Verb::Watch => Scope::Stream,
            // What is no object of its own has no table, nor metadata to cut it down to.
            _ if !row.is_stored() && row.kind.list.is_none() => Scope::Plain,
            _ if matches!(sub, "binding" | "eviction" | "token") => Scope::Plain,
            _ => Scope::Objects,
        };
        let binary = row.custom().is_none() || sub == "scale";
        let accepted = negotiate::accept_of(headers, query.get("pretty"), scope, binary)?;
        // The name of a list comes from its field selector, not from the path.
        let name = if in_path { name } else { "" };
        let call =
            Call { row, context: &context, headers, query, accepted, namespace, name, subresource: sub };
        let body = if info.verb.is_read() { bytes::Bytes::new() } else { body.read().await? };
        if matches!(info.verb, Verb::Create | Verb::Update | Verb::Patch) {
            self.settings.served.received(&call.row.kind, info.verb.as_str(), body.len());
        }
        let answer = match info.verb {
            Verb::List => return self.list(&call).await,
            Verb::Watch if websocket::is_wanted(headers) => {
                let mut watch = self.watch(&call).await?;
                if let Some(record) = &context.audit {
                    watch = watch.map(|body| record.until_end_of(body));
                }
                let framing = match accepted.format {
                    Format::Protobuf => Framing::Lengths,
                    Format::Json | Format::Yaml => Framing::Lines,
                };
                let protocol = websocket::first_protocol(&parts.headers);
                return websocket::accept(parts, watch, framing, protocol);
            }
            Verb::Watch => return self.watch(&call).await,
            Verb::DeleteCollection => return self.delete_collection(&call, &body).await,
            _ => self.single(&call, body).await?,
        };
        if &*row.resource == DEFINITIONS && !info.verb.is_read() {
            self.synced_custom().await;
        }
        self.finish(&call, answer)
    }

    fn finish(&self, call: &Call<'_>, answer: Answer) -> Result<Response, Status> {
        let warnings = answer.warnings;
        let mut response = encode::content(self, call, answer.code, answer.content)?;
        warn(response.headers_mut(), &warnings);
        Ok(response)
    }

    async fn single(&self, call: &Call<'_>, body: bytes::Bytes) -> Result<Answer, Status> {
        if let Some(answer) = self.special(call, &body).await? {
            return Ok(answer);
        }
        match call.context.info.verb {
            Verb::Get => self.get(call).await,
            Verb::Create => self.create(call, &body).await,
            Verb::Update => self.update(call, &body).await,
            Verb::Patch => self.patch(call, &body).await,
            Verb::Delete => self.delete(call, &body).await,
            _ => Err(unsupported_verb()),
        }
    }
}

/// Characters of all warnings together; where there are more, each is cut.
const MAX_WARNINGS: usize = 4 * 1024;
/// Characters of each warning that is cut.
const MAX_CUT_WARNING: usize = 256;

/// Adds `Warning` headers: code 299, no agent, quoted text. Each text is told once, and not more in all than the
/// original tells, since clients limit the headers they take.
pub(crate) fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    let mut told = HashSet::new();
    let texts: Vec<&str> =
        warnings.iter().map(String::as_str).filter(|text| !text.is_empty() && told.insert(*text)).collect();
    let total: usize = texts.iter().map(|text| text.chars().count()).sum();
    let longest = if total > MAX_WARNINGS { MAX_CUT_WARNING } else { usize::MAX };
    let mut written = 0;
    for text in texts {
        if written >= MAX_WARNINGS {
            return;
        }
        written += text.chars().count().min(longest);
        if let Ok(value) = HeaderValue::from_bytes(quoted(text.chars().take(longest)).as_bytes()) {
            headers.append(header::WARNING, value);
        }
    }
}

fn quoted(text: impl Iterator<Item = char>) -> String {
    let mut quoted = "299 - \"".to_owned();
    for c in text {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_limited() {
        let lengths = |warnings: &[String]| -> Vec<usize> {
            let mut headers = HeaderMap::new();
            warn(&mut headers, warnings);
            let frame = "299 - \"\"".len();
            headers.get_all(header::WARNING).iter().map(|value| value.len() - frame).collect()
        };
        let text = |first: usize, length: usize| format!("{first:0>3}{}", "x".repeat(length - 3));
        assert_eq!(lengths(&[text(1, 5), text(1, 5), String::new(), text(2, 4)]), [5, 4]);
        assert_eq!(lengths(&[text(1, MAX_WARNINGS)]), [MAX_WARNINGS]);
        assert_eq!(lengths(&[text(1, MAX_WARNINGS), text(2, 4)]), [MAX_CUT_WARNING, 4]);
        let many: Vec<String> = (0..100).map(|number| text(number, 300)).collect();
        assert_eq!(lengths(&many), [MAX_CUT_WARNING; 16]);
    }
}
