//! One audit event, `audit.k8s.io/v1` Event, members in the original's order.
use super::policy::{Level, Stage};
use crate::request_info::RequestInfo;
use crate::user::User;
use bytes::Bytes;
use http::{HeaderMap, header};
use knarr_api::Value;
use knarr_api::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// Marks an event whose objects were left out since they are too large.
const TRUNCATED: &str = "audit.k8s.io/truncated";
/// Characters kept of a `User-Agent`.
const MAX_AGENT: usize = 1024;

/// The event, without `kind` and `apiVersion`, which it has only where it stands alone.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// How much it tells.
    pub level: Level,
    /// Identifies the request; all its stages have the same.
    #[serde(rename = "auditID", serialize_with = "shared_text")]
    pub audit_id: Arc<str>,
    /// When it was made.
    pub stage: Stage,
    /// As requested.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// As authorization names it.
    pub verb: &'static str,
    /// Who authenticated; empty where nobody did.
    pub user: Identity,
    /// Who they act as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub impersonated_user: Option<Identity>,
    /// How that came to be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authentication_metadata: Option<AuthenticationMetadata>,
    /// The proxies' chain, the other end of the connection last.
    #[serde(rename = "sourceIPs", skip_serializing_if = "Vec::is_empty")]
    pub source_ips: Vec<String>,
    /// What the client calls itself.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_agent: String,
    /// The object; none for paths that are no resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object_ref: Option<ObjectRef>,
    /// The outcome.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_status: Option<Outcome>,
    /// What was sent.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared")]
    pub request_object: Option<Arc<Value>>,
    /// What was answered.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shared")]
    pub response_object: Option<Arc<Value>>,
    /// When the request came.
    #[serde(serialize_with = "micro")]
    pub request_received_timestamp: Timestamp,
    /// When the stage was reached.
    #[serde(serialize_with = "micro")]
    pub stage_timestamp: Timestamp,
    /// What authorization and admission noted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn shared_text<S: serde::Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

fn shared<S: serde::Serializer>(object: &Option<Arc<Value>>, to: S) -> Result<S::Ok, S::Error> {
    object.as_deref().serialize(to)
}

fn micro<S: serde::Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&time.to_rfc3339_micro())
}

/// What is known of how the user came about.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationMetadata {
    /// The verb of constrained impersonation.
    pub impersonation_constraint: &'static str,
}

/// `authentication.k8s.io/v1` UserInfo.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Identity {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl From<&User> for Identity {
    fn from(user: &User) -> Self {
        let User { name, uid, groups, extra } = user.clone();
        Self { username: name, uid, groups, extra }
    }
}

/// What a request is about.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub api_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subresource: String,
}

impl ObjectRef {
    fn of(info: &RequestInfo) -> Option<Self> {
        info.is_resource_request.then(|| Self {
            resource: info.resource().to_owned(),
            namespace: info.namespace().to_owned(),
            name: info.name().to_owned(),
            api_group: info.group().to_owned(),
            api_version: info.version().to_owned(),
            subresource: info.subresource().to_owned(),
            ..Self::default()
        })
    }

    /// Takes from an object's metadata what the path does not tell.
    pub fn complete(&mut self, object: &Value) {
        let metadata = &object["metadata"];
        for (member, name) in [
            (&mut self.namespace, "namespace"),
            (&mut self.name, "name"),
            (&mut self.uid, "uid"),
            (&mut self.resource_version, "resourceVersion"),
        ] {
            if let (true, Some(text)) = (member.is_empty(), metadata[name].as_str()) {
                text.clone_into(member);
            }
        }
    }
}

/// The bounded part of a `Status`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    pub metadata: Empty,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    #[serde(skip_serializing_if = "is_zero")]
    pub code: u16,
}

/// No metadata.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Empty {}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(code: &u16) -> bool {
    *code == 0
}

impl Outcome {
    /// What a `Status` object says.
    pub fn of_status(status: &Value) -> Self {
        let text = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
        Self {
            metadata: Empty {},
            status: text("status"),
            message: text("message"),
            reason: text("reason"),
            details: status.get("details").filter(|details| details.is_object()).cloned(),
            code: 0,
        }
    }
}

impl Event {
    /// The event of a request that has just come.
    pub fn received(
        info: &RequestInfo,
        user: Option<&User>,
        level: Level,
        audit_id: &Arc<str>,
        (headers, peer, at): (&HeaderMap, SocketAddr, Timestamp),
    ) -> Self {
        Self {
            level,
            audit_id: audit_id.clone(),
            stage: Stage::RequestReceived,
            request_uri: info.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            verb: info.verb.as_str(),
            user: user.map(Identity::from).unwrap_or_default(),
            impersonated_user: None,
            authentication_metadata: None,
            source_ips: source_ips(headers, peer.ip()),
            user_agent: agent(headers),
            object_ref: ObjectRef::of(info),
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: at,
            stage_timestamp: at,
            annotations: BTreeMap::new(),
        }
    }

    /// JSON.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// The event without its objects, marked as such.
    pub fn truncated(&self) -> Self {
        let mut small = Self { request_object: None, response_object: None, ..self.clone() };
        small.annotations.insert(TRUNCATED.to_owned(), "true".to_owned());
        small
    }

    /// The line of `--audit-log-format=legacy`.
    pub fn legacy(&self) -> String {
        let or = |text: &str, otherwise: &str| {
            if text.is_empty() { otherwise.to_owned() } else { text.to_owned() }
        };
        let list =
            |list: &[String]| list.iter().map(|item| format!("{item:?}")).collect::<Vec<_>>().join(",");
        let groups = if self.user.groups.is_empty() { "<none>".to_owned() } else { list(&self.user.groups) };
        let (acts_as, as_groups) = match &self.impersonated_user {
            Some(user) if user.groups.is_empty() => (user.username.clone(), "<lookup>".to_owned()),
            Some(user) => (user.username.clone(), list(&user.groups)),
            None => ("<self>".to_owned(), "<lookup>".to_owned()),
        };
        let namespace = self.object_ref.as_ref().map_or("", |object| &object.namespace);
        let code = self.response_status.as_ref().map(|status| status.code.to_string());
        format!(
            "{} AUDIT: id={:?} stage={:?} ip={:?} method={:?} user={:?} groups={:?} as={acts_as:?} asgroups={as_groups:?} \
             user-agent={:?} namespace={:?} uri={:?} response=\"{}\"",
            self.request_received_timestamp.to_rfc3339_micro(),
            self.audit_id,
            format!("{:?}", self.stage),
            self.source_ips.first().map_or("<unknown>", String::as_str),
            self.verb,
            or(&self.user.username, "<none>"),
            groups,
            self.user_agent,
            or(namespace, "<none>"),
            self.request_uri,
            code.as_deref().unwrap_or("<deferred>"),
        )
    }
}

/// `X-Forwarded-For`, then `X-Real-Ip`, then the other end of the connection, which nobody can forge; none twice in a row.
fn source_ips(headers: &HeaderMap, peer: IpAddr) -> Vec<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut found: Vec<IpAddr> =
        text("x-forwarded-for").split(',').filter_map(|part| part.trim().parse().ok()).collect();
    if let Ok(real) = text("x-real-ip").trim().parse::<IpAddr>()
        && !found.contains(&real)
    {
        found.push(real);
    }
    let peer = peer.to_canonical();
    if found.last() != Some(&peer) {
        found.push(peer);
    }
    found.iter().map(IpAddr::to_string).collect()
}

fn agent(headers: &HeaderMap) -> String {
    let text = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if text.chars().count() <= MAX_AGENT {
        return text.to_owned();
    }
    let kept: String = text.chars().take(MAX_AGENT).collect();
    format!("{kept}...TRUNCATED")
}

/// How the client tried to prove who it is, where it failed.
pub fn attempted(headers: &HeaderMap, info: &RequestInfo, certificates: bool) -> String {
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let scheme = authorization.and_then(|text| text.trim().split_once(' ')).map(|(scheme, _)| scheme);
    let used = |wanted: &str| scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(wanted));
    let in_query = info.query("access_token").is_some_and(|token| !token.trim().is_empty());
    let ways: Vec<&str> = [
        (used("basic"), "basic"),
        (used("bearer"), "bearer"),
        (in_query, "access_token"),
        (certificates, "x509"),
    ]
    .into_iter()
    .filter_map(|(tried, name)| tried.then_some(name))
    .collect();
    match ways[..] {
        [] => "Authentication failed, no credentials provided".to_owned(),
        _ => format!("Authentication failed, attempted: {}", ways.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| ((*name).parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn addresses() {
        let peer: IpAddr = [10, 0, 0, 9].into();
        let check = |pairs: &[(&'static str, &str)], expected: &[&str]| {
            assert_eq!(source_ips(&headers(pairs), peer), expected, "{pairs:?}");
        };
        check(&[], &["10.0.0.9"]);
        check(&[("x-forwarded-for", "1.1.1.1, nonsense,2.2.2.2")], &["1.1.1.1", "2.2.2.2", "10.0.0.9"]);
        check(&[("x-forwarded-for", "1.1.1.1,10.0.0.9")], &["1.1.1.1", "10.0.0.9"]);
        check(&[("x-forwarded-for", "1.1.1.1"), ("x-real-ip", "1.1.1.1")], &["1.1.1.1", "10.0.0.9"]);
        check(&[("x-real-ip", "::1")], &["::1", "10.0.0.9"]);
    }

    #[test]
    fn failed_authentication() {
        let info = RequestInfo::new(&http::Method::GET, &"/version".parse().unwrap()).unwrap();
        let check = |pairs: &[(&'static str, &str)], certificates: bool, expected: &str| {
            assert_eq!(attempted(&headers(pairs), &info, certificates), expected);
        };
        check(&[], false, "Authentication failed, no credentials provided");
        check(&[("authorization", "Bearer x")], false, "Authentication failed, attempted: bearer");
        check(&[("authorization", "Basic x")], true, "Authentication failed, attempted: basic, x509");
    }

    #[test]
    fn forms() {
        let info = RequestInfo::new(&http::Method::GET, &"/api/v1/namespaces/a/pods/p?x=1".parse().unwrap());
        let info = info.unwrap();
        let user = User { name: "ann".into(), groups: vec!["dev".into(), "ops".into()], ..User::default() };
        let at = Timestamp::parse("2026-01-02T03:04:05Z").unwrap();
        let peer = SocketAddr::from(([127, 0, 0, 1], 7));
        let map = headers(&[("user-agent", "kubectl/v1.36")]);
        let mut event = Event::received(&info, Some(&user), Level::Request, &"id".into(), (&map, peer, at));
        event.request_object = Some(Arc::new(serde_json::json!({"a": 1})));
        event.response_status = Some(Outcome { code: 200, ..Outcome::default() });
        let text = String::from_utf8(event.encode().to_vec()).unwrap();
        assert_eq!(
            text,
            r#"{"level":"Request","auditID":"id","stage":"RequestReceived","requestURI":"/api/v1/namespaces/a/pods/p?x=1","verb":"get","user":{"username":"ann","groups":["dev","ops"]},"sourceIPs":["127.0.0.1"],"userAgent":"kubectl/v1.36","objectRef":{"resource":"pods","namespace":"a","name":"p","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestObject":{"a":1},"requestReceivedTimestamp":"2026-01-02T03:04:05.000000Z","stageTimestamp":"2026-01-02T03:04:05.000000Z"}"#
        );
        let small = event.truncated();
        assert!(small.request_object.is_none() && small.annotations[TRUNCATED] == "true");
        assert_eq!(
            event.legacy(),
            r#"2026-01-02T03:04:05.000000Z AUDIT: id="id" stage="RequestReceived" ip="127.0.0.1" method="get" user="ann" groups="\"dev\",\"ops\"" as="<self>" asgroups="<lookup>" user-agent="kubectl/v1.36" namespace="a" uri="/api/v1/namespaces/a/pods/p?x=1" response="200""#
        );
    }
}
