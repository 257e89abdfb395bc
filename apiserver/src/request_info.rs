//! What a request asks for, read off its method, path and query before anything else looks at it.
//!
//! Source: the URL forms of the API concepts page. `/api/‹version›/…` is the core group,
//! `/apis/‹group›/‹version›/…` every other; both with an optional `namespaces/‹namespace›/`, and with the
//! legacy `watch/` and `proxy/` before the resource. Everything else is a non-resource path.
use http::{Method, Uri};
use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};

/// Where kubelets ask for a tunnel to themselves.
pub const TUNNEL: &str = "/knarr/tunnel";

/// What is done, as authorization names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Read one object, or a non-resource path.
    Get,
    /// Read a collection.
    List,
    /// Follow changes.
    Watch,
    /// Create (POST to a resource).
    Create,
    /// Replace (PUT to a resource).
    Update,
    /// Change in part.
    Patch,
    /// Delete one object, or DELETE of a non-resource path.
    Delete,
    /// Delete a collection.
    DeleteCollection,
    /// Legacy `/proxy/` path.
    Proxy,
    /// POST to a non-resource path.
    Post,
    /// PUT to a non-resource path.
    Put,
    /// HEAD of a non-resource path.
    Head,
    /// OPTIONS of a non-resource path.
    Options,
    /// Any other method.
    Other,
}

impl Verb {
    /// The name used in rules, reviews and metrics; empty for [`Verb::Other`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Proxy => "proxy",
            Self::Post => "post",
            Self::Put => "put",
            Self::Head => "head",
            Self::Options => "options",
            Self::Other => "",
        }
    }

    /// Does the request leave the objects as they are?
    pub fn is_read(self) -> bool {
        matches!(self, Self::Get | Self::List | Self::Watch | Self::Head | Self::Options)
    }

    fn of_path(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            Method::HEAD => Self::Head,
            Method::OPTIONS => Self::Options,
            _ => Self::Other,
        }
    }

    fn of_resource(method: &Method) -> Self {
        match *method {
            Method::GET | Method::HEAD => Self::Get,
            Method::POST => Self::Create,
            Method::PUT => Self::Update,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            _ => Self::Other,
        }
    }
}

impl Display for Verb {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The request's path, shared with the URI unless percent-decoding changed it.
#[derive(Clone, Debug)]
enum PathText {
    Shared,
    Decoded(Box<str>),
}

/// A stretch of the path.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    end: u32,
}

/// The parts of a request that routing, authorization and metrics need. Cheap to make: it borrows the URI's bytes.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    uri: Uri,
    path: PathText,
    /// What is done.
    pub verb: Verb,
    /// The path names a resource of the API.
    pub is_resource_request: bool,
    prefix: Span,
    group: Span,
    version: Span,
    namespace: Span,
    resource: Span,
    subresource: Span,
    name: Span,
    parts: Span,
    /// The name that a list's or watch's field selector pins (`metadata.name=x`).
    selected_name: Option<Box<str>>,
}

impl RequestInfo {
    /// Reads method and URI.
    ///
    /// # Errors
    /// A text for a 400 where an escape is malformed, or a legacy `watch/` or `proxy/` path names no resource.
    pub fn new(method: &Method, uri: &Uri) -> Result<Self, String> {
        if let Some(escape) = bad_escape(uri.path()) {
            return Err(format!("parse {:?}: invalid URL escape {escape:?}", uri.path()));
        }
        let path = match decode_path(uri.path()) {
            Cow::Borrowed(_) => PathText::Shared,
            Cow::Owned(text) => PathText::Decoded(text.into()),
        };
        let mut info = Self {
            uri: uri.clone(),
            path,
            verb: Verb::of_path(method),
            is_resource_request: false,
            prefix: Span::default(),
            group: Span::default(),
            version: Span::default(),
            namespace: Span::default(),
            resource: Span::default(),
            subresource: Span::default(),
            name: Span::default(),
            parts: Span::default(),
            selected_name: None,
        };
        info.parse(method)?;
        Ok(info)
    }

    /// The path, percent-decoded.
    pub fn path(&self) -> &str {
        match &self.path {
            PathText::Shared => self.uri.path(),
            PathText::Decoded(text) => text,
        }
    }

    /// The URI as requested.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// `api` or `apis`; empty for a non-resource path that starts with neither.
    pub fn api_prefix(&self) -> &str {
        self.text(self.prefix)
    }

    /// API group; empty for the core group.
    pub fn group(&self) -> &str {
        self.text(self.group)
    }

    /// API version.
    pub fn version(&self) -> &str {
        self.text(self.version)
    }

    /// Namespace; empty for cluster-scoped requests and lists over all namespaces. For a request on a Namespace
    /// object it is the object's own name.
    pub fn namespace(&self) -> &str {
        self.text(self.namespace)
    }

    /// Plural resource name.
    pub fn resource(&self) -> &str {
        self.text(self.resource)
    }

    /// Subresource; empty for the resource itself.
    pub fn subresource(&self) -> &str {
        self.text(self.subresource)
    }

    /// Object name from the path, or pinned by the field selector of a list or watch; else empty.
    pub fn name(&self) -> &str {
        match &self.selected_name {
            Some(name) => name,
            None => self.text(self.name),
        }
    }

    /// Path segments from the resource on: resource, name, subresource, rest.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.text(self.parts).split('/').filter(|part| !part.is_empty())
    }

    /// What follows the subresource in the path, without a leading slash (the target path of `…/proxy/`), exactly as
    /// decoded: a trailing slash is kept.
    pub fn rest(&self) -> &str {
        let after = if self.subresource.end > 0 { self.subresource.end } else { self.name.end };
        let rest = &self.path()[after as usize..];
        rest.strip_prefix('/').unwrap_or(rest)
    }

    /// The first value of a query parameter, decoded; none when absent.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        query_pairs(self.uri.query().unwrap_or_default()).find(|(k, _)| k == name).map(|(_, v)| v)
    }

    /// All values of a query parameter, decoded (`command=ls&command=-l`).
    pub fn queries<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
        query_pairs(self.uri.query().unwrap_or_default()).filter(move |(k, _)| k == name).map(|(_, v)| v)
    }

    /// Is a boolean query parameter on? Present counts as on unless it says `false` or `0`.
    pub fn query_flag(&self, name: &str) -> bool {
        self.query(name).is_some_and(|v| !(v.eq_ignore_ascii_case("false") || v == "0"))
    }

    /// The `fieldSelector` of a list, watch or deletecollection.
    pub fn field_selector(&self) -> Option<Cow<'_, str>> {
        self.query("fieldSelector").filter(|s| !s.is_empty())
    }

    /// The `labelSelector` of a list, watch or deletecollection.
    pub fn label_selector(&self) -> Option<Cow<'_, str>> {
        self.query("labelSelector").filter(|s| !s.is_empty())
    }

    /// The legacy form of a path, `/api/v1/watch/…`, which says the verb.
    pub fn has_verb_in_path(&self) -> bool {
        let rest = self.path().get(self.version.end as usize..).unwrap_or_default();
        self.is_resource_request
            && matches!(rest.split('/').find(|part| !part.is_empty()), Some("watch" | "proxy"))
    }

    /// Runs for as long as the client wants: watches, streams and proxies. Such requests have no deadline and do
    /// not count against the in-flight limits.
    pub fn is_long_running(&self) -> bool {
        if !self.is_resource_request {
            return self.path().starts_with("/debug/pprof/") || self.path() == TUNNEL;
        }
        matches!(self.verb, Verb::Watch | Verb::Proxy)
            || matches!(self.subresource(), "exec" | "attach" | "portforward" | "log" | "proxy")
    }

    fn text(&self, span: Span) -> &str {
        &self.path()[span.start as usize..span.end as usize]
    }

    fn parse(&mut self, method: &Method) -> Result<(), String> {
        let mut segments: [Span; 8] = [Span::default(); 8];
        let path_len = self.path().len();
        let count = split(self.path(), &mut segments);
        let mut rest = &segments[..count.min(8)];
        let (Some(first), true) = (rest.first().copied(), count >= 3) else { return Ok(()) };
        let core = match self.text(first) {
            "api" => true,
            "apis" => false,
            _ => return Ok(()),
        };
        self.prefix = first;
        rest = &rest[1..];
        if !core {
            if rest.len() < 3 {
                return Ok(());
            }
            self.group = rest[0];
            rest = &rest[1..];
        }
        self.is_resource_request = true;
        self.version = rest[0];
        rest = &rest[1..];
        self.verb = match self.text(rest[0]) {
            special @ ("watch" | "proxy") => {
                let verb = if special == "watch" { Verb::Watch } else { Verb::Proxy };
                rest = &rest[1..];
                if rest.is_empty() {
                    return Err(format!("unable to determine kind and namespace from url, {}", self.uri));
                }
                verb
            }
            _ => Verb::of_resource(method),
        };
        if self.text(rest[0]) == "namespaces" && rest.len() > 1 {
            self.namespace = rest[1];
            if rest.len() > 2 && !matches!(self.text(rest[2]), "status" | "finalize") {
                rest = &rest[2..];
            }
        }
        self.parts = Span { start: rest[0].start, end: path_len as u32 };
        self.resource = rest[0];
        self.name = rest.get(1).copied().unwrap_or_default();
        if self.verb != Verb::Proxy {
            self.subresource = rest.get(2).copied().unwrap_or_default();
        }
        self.settle_verb();
        Ok(())
    }

    /// A GET without a name is a list or watch, a DELETE without a name is of the collection.
    fn settle_verb(&mut self) {
        if self.name.end != 0 {
            return;
        }
        match self.verb {
            Verb::Get => {
                self.verb = if self.query_flag("watch") { Verb::Watch } else { Verb::List };
                self.selected_name = self.field_selector().and_then(|s| pinned_name(&s));
            }
            Verb::Delete => self.verb = Verb::DeleteCollection,
            _ => {}
        }
    }
}

/// Fills `into` with the segments of a path (empty ones skipped at both ends) and returns how many there are.
fn split(path: &str, into: &mut [Span]) -> usize {
    let trimmed = path.trim_matches('/');
    if trimmed.is_empty() {
        return 0;
    }
    let mut start = path.len() - path.trim_start_matches('/').len();
    let mut count = 0;
    for part in trimmed.split('/') {
        if let Some(slot) = into.get_mut(count) {
            *slot = Span { start: start as u32, end: (start + part.len()) as u32 };
        }
        start += part.len() + 1;
        count += 1;
    }
    count
}

/// The name in a field selector that asks for exactly one (`metadata.name=x`), if it can be a path segment.
fn pinned_name(selector: &str) -> Option<Box<str>> {
    let value = selector.split(',').find_map(|term| {
        let value = term.trim().strip_prefix("metadata.name")?.trim_start().strip_prefix('=')?;
        Some(value.strip_prefix('=').unwrap_or(value).trim())
    })?;
    let valid = !value.is_empty() && value != "." && value != ".." && !value.contains(['/', '%', '\\']);
    valid.then(|| value.into())
}

/// Name and value pairs of a query, decoded.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name, true), decode(value, true))
    })
}

/// The first `%` that no two digits follow, with what does.
fn bad_escape(path: &str) -> Option<&str> {
    let starts = path.match_indices('%').map(|(at, _)| at);
    let mut bad = starts.filter(|at| path.as_bytes().get(at + 1..at + 3).and_then(hex_pair).is_none());
    let at = bad.next()?;
    Some(path.get(at..at + 3).unwrap_or(&path[at..]))
}

fn decode_path(path: &str) -> Cow<'_, str> {
    decode(path, false)
}

/// Percent-decoding; a malformed escape stays as it is.
fn decode(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    if !text.bytes().any(|b| b == b'%' || (plus_is_space && b == b'+')) {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).and_then(hex_pair);
        match (bytes[at], escape) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
                continue;
            }
            (b'+', _) if plus_is_space => out.push(b' '),
            (byte, _) => out.push(byte),
        }
        at += 1;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |b: u8| (b as char).to_digit(16);
    Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(method: &str, uri: &str) -> RequestInfo {
        RequestInfo::new(&method.parse().unwrap(), &uri.parse().unwrap()).unwrap()
    }

    /// verb group/version namespace resource name subresource
    fn check(method: &str, uri: &str, expected: [&str; 6]) {
        let i = info(method, uri);
        assert!(i.is_resource_request, "{uri}");
        let version = if i.group().is_empty() {
            i.version().to_owned()
        } else {
            format!("{}/{}", i.group(), i.version())
        };
        let found = [i.verb.as_str(), &version, i.namespace(), i.resource(), i.name(), i.subresource()];
        assert_eq!(found, expected, "{method} {uri}");
    }

    #[test]
    fn resource_paths() {
        check("GET", "/api/v1/namespaces", ["list", "v1", "", "namespaces", "", ""]);
        check("GET", "/api/v1/namespaces/other", ["get", "v1", "other", "namespaces", "other", ""]);
        check(
            "PUT",
            "/api/v1/namespaces/other/status",
            ["update", "v1", "other", "namespaces", "other", "status"],
        );
        check("PUT", "/api/v1/namespaces/o/finalize", ["update", "v1", "o", "namespaces", "o", "finalize"]);
        check("GET", "/api/v1/namespaces/other/pods", ["list", "v1", "other", "pods", "", ""]);
        check("GET", "/api/v1/namespaces/other/pods/foo", ["get", "v1", "other", "pods", "foo", ""]);
        check("HEAD", "/api/v1/namespaces/other/pods/foo", ["get", "v1", "other", "pods", "foo", ""]);
        check("GET", "/api/v1/pods", ["list", "v1", "", "pods", "", ""]);
        check("POST", "/api/v1/namespaces/o/pods/p/exec", ["create", "v1", "o", "pods", "p", "exec"]);
        check("GET", "/api/v1/nodes/n/proxy/a/b", ["get", "v1", "", "nodes", "n", "proxy"]);
        check("GET", "/api/v1/watch/pods", ["watch", "v1", "", "pods", "", ""]);
        check("GET", "/api/v1/watch/namespaces/o/pods/p", ["watch", "v1", "o", "pods", "p", ""]);
        check("GET", "/api/v1/proxy/namespaces/o/pods/p/x", ["proxy", "v1", "o", "pods", "p", ""]);
        check("DELETE", "/api/v1/namespaces/o/pods", ["deletecollection", "v1", "o", "pods", "", ""]);
        check("DELETE", "/api/v1/namespaces/o/pods/p", ["delete", "v1", "o", "pods", "p", ""]);
        check(
            "PATCH",
            "/apis/apps/v1/namespaces/o/deployments/d",
            ["patch", "apps/v1", "o", "deployments", "d", ""],
        );
        check(
            "GET",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode",
            ["get", "rbac.authorization.k8s.io/v1", "", "clusterroles", "system:node", ""],
        );
    }

    #[test]
    fn queries_change_the_verb() {
        check("GET", "/api/v1/pods?watch=true", ["watch", "v1", "", "pods", "", ""]);
        check("GET", "/api/v1/pods?watch=1", ["watch", "v1", "", "pods", "", ""]);
        check("GET", "/api/v1/pods?watch=False", ["list", "v1", "", "pods", "", ""]);
        check("GET", "/api/v1/pods/p?watch=true", ["get", "v1", "", "pods", "p", ""]);
        check("GET", "/api/v1/pods?fieldSelector=metadata.name%3Dx", ["list", "v1", "", "pods", "x", ""]);
        check(
            "GET",
            "/api/v1/pods?fieldSelector=a=b,metadata.name==x&watch",
            ["watch", "v1", "", "pods", "x", ""],
        );
        check("GET", "/api/v1/pods?fieldSelector=metadata.name!=x", ["list", "v1", "", "pods", "", ""]);
    }

    #[test]
    fn non_resource_paths() {
        for (method, uri, verb) in [
            ("GET", "/", "get"),
            ("GET", "/api", "get"),
            ("GET", "/api/v1", "get"),
            ("GET", "/apis/apps/v1", "get"),
            ("GET", "/apis/apps", "get"),
            ("POST", "/healthz", "post"),
            ("HEAD", "/version", "head"),
            ("GET", "/a/b/c/d", "get"),
        ] {
            let i = info(method, uri);
            assert!(!i.is_resource_request, "{uri}");
            assert_eq!((i.verb.as_str(), i.path()), (verb, uri));
        }
        assert!(RequestInfo::new(&Method::GET, &"/api/v1/watch".parse().unwrap()).is_err());
    }

    #[test]
    fn rest_of_the_path() {
        assert_eq!(info("GET", "/api/v1/nodes/n/proxy/a/b/?x=y").rest(), "a/b/");
        assert_eq!(info("GET", "/api/v1/nodes/n/proxy").rest(), "");
        let i = info("GET", "/api/v1/namespaces/o/pods/p/exec?command=ls&command=-l+%2F");
        assert_eq!(i.parts().collect::<Vec<_>>(), ["pods", "p", "exec"]);
        assert_eq!(i.queries("command").collect::<Vec<_>>(), ["ls", "-l /"]);
        assert!(i.is_long_running());
    }
}
