//! `Impersonate-…` headers: acting as somebody else, where every part of the other identity is authorized.
//!
//! Constrained impersonation (KEP-5284) asks twice: may the requester act as that user in some mode, and may they do this
//! very thing while they act so? The modes are tried from the narrowest on; what has always been called impersonation is
//! the last of them. Which mode a requester succeeded with is remembered, so that it comes first the next time: both the
//! cost and the wording of a refusal follow from that. Decisions themselves are not kept, since they cost microseconds.
use super::request_header::{collect_extra, text};
use crate::authz::{self, Attributes, Authorizer, Decision};
use crate::metrics::ImpersonationMetrics;
use crate::user::{ANONYMOUS, AUTHENTICATED, MASTERS, SERVICE_ACCOUNT_PREFIX, UNAUTHENTICATED, User};
use http::HeaderMap;
use knarr_api::status::Status;
use knarr_api::{Value, field, names};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

const NODE_PREFIX: &str = "system:node:";
/// The extra that says on which node a ServiceAccount's pod runs.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// Stands for the extras of a requester who acts as the node they run on: the same for all nodes.
const NODE_KEYS: &str = "authentication.kubernetes.io/associated-node-keys";
/// From so many checks on, one for all of them is tried first.
const MANY: usize = 4;
/// Requesters whose mode is remembered.
const REMEMBERED: usize = 10_000;
const AUTHENTICATION: (&str, &str) = ("authentication.k8s.io", "v1");

/// How somebody is impersonated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

/// Who a request is done as.
pub struct Acting {
    /// The user.
    pub user: Arc<User>,
    /// The verb that allowed it, where the impersonation was constrained.
    pub constraint: Option<&'static str>,
}

/// Impersonation, with what it remembers of requesters.
#[derive(Default)]
pub struct Impersonation {
    last: Mutex<HashMap<String, Mode>>,
    metrics: ImpersonationMetrics,
}

impl Impersonation {
    /// One that is counted.
    pub fn new(metrics: ImpersonationMetrics) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// The user a request acts as: the one the headers name, or none. The headers are taken away.
    ///
    /// # Errors
    /// `Forbidden` for what the requester may not do; 400 for groups, uid or extras without a user.
    pub async fn impersonate(
        &self,
        authorizer: &Authorizer,
        requester: &User,
        request: &Attributes<'_>,
        headers: &mut HeaderMap,
    ) -> Result<Option<Acting>, Status> {
        let Some(wanted) = wanted(headers)? else { return Ok(None) };
        let names: Vec<_> =
            headers.keys().filter(|n| n.as_str().starts_with("impersonate-")).cloned().collect();
        for name in names {
            headers.remove(name);
        }
        let known = self.last.lock().get(&requester.name).copied();
        let mut refused = None;
        let others = Mode::ALL.into_iter().filter(|mode| Some(*mode) != known);
        let mut modes: Vec<Mode> = known.into_iter().chain(others).collect();
        modes.retain(|mode| mode.concerns(&wanted, requester));
        for mode in modes {
            let began = Instant::now();
            let metrics = &self.metrics;
            let outcome =
                Attempt { mode, authorizer, requester, wanted: &wanted, metrics }.run(request).await;
            let decision = if outcome.is_ok() { "allowed" } else { "denied" };
            metrics.attempts.note(mode.name(), decision, began.elapsed());
            match outcome {
                Ok(user) => {
                    if Some(mode) != known {
                        self.remember(&requester.name, mode);
                    }
                    return Ok(Some(Acting { user: Arc::new(user), constraint: mode.constraint() }));
                }
                Err(status) => refused = refused.or(Some(status)),
            }
        }
        Err(refused.unwrap_or_else(|| Status::internal("all impersonation modes failed")))
    }

    fn remember(&self, requester: &str, mode: Mode) {
        let mut last = self.last.lock();
        if last.len() >= REMEMBERED {
            last.clear();
        }
        last.insert(requester.to_owned(), mode);
    }
}

/// The user that the headers name, exactly as they do.
fn wanted(headers: &HeaderMap) -> Result<Option<User>, Status> {
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(None);
    }
    let first = |name: &str| headers.get(name).map(text).unwrap_or_default();
    let groups = headers.get_all(GROUP).iter().map(text).collect();
    let mut user = User { name: first(USER), uid: first(UID), groups, ..User::default() };
    collect_extra(headers, &[EXTRA.to_owned()], &mut user);
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user.groups.is_empty() && user.uid.is_empty() && user.extra.is_empty() {
        return Ok(None);
    }
    Err(Status::bad_request(format!("requested {} without impersonating a user name", in_go(&user))))
}

/// The user as the original prints it.
fn in_go(user: &User) -> String {
    let list = |items: &[String]| match items {
        [] => "[]string(nil)".to_owned(),
        items => {
            let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            format!("[]string{{{}}}", items.join(", "))
        }
    };
    let extra: Vec<String> =
        user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
    let extra = match extra.as_slice() {
        [] => "map[string][]string(nil)".to_owned(),
        extra => format!("map[string][]string{{{}}}", extra.join(", ")),
    };
    let groups = list(&user.groups);
    format!("&user.DefaultInfo{{Name:{:?}, UID:{:?}, Groups:{groups}, Extra:{extra}}}", user.name, user.uid)
}

impl Mode {
    const ALL: [Self; 5] =
        [Self::AssociatedNode, Self::ArbitraryNode, Self::ServiceAccount, Self::UserInfo, Self::Legacy];

    fn name(self) -> &'static str {
        match self {
            Self::AssociatedNode => "associated-node",
            Self::ArbitraryNode => "arbitrary-node",
            Self::ServiceAccount => "serviceaccount",
            Self::UserInfo => "user-info",
            Self::Legacy => "legacy",
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Self::AssociatedNode => "impersonate:associated-node",
            Self::ArbitraryNode => "impersonate:arbitrary-node",
            Self::ServiceAccount => "impersonate:serviceaccount",
            Self::UserInfo => "impersonate:user-info",
            Self::Legacy => "impersonate",
        }
    }

    fn constraint(self) -> Option<&'static str> {
        (self != Self::Legacy).then(|| self.verb())
    }

    /// Nodes and ServiceAccounts are what their names say: nothing else of them can be chosen.
    fn concerns(self, wanted: &User, requester: &User) -> bool {
        if self == Self::Legacy {
            return true;
        }
        if !knarr_api::gates::enabled("ConstrainedImpersonation") {
            return false;
        }
        let bare = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        let (node, account) = (node_name(&wanted.name), service_account(&wanted.name));
        match self {
            Self::AssociatedNode => {
                let runs_on = requester.extra.get(NODE_NAME).map(Vec::as_slice);
                bare && node.is_some_and(|node| matches!(runs_on, Some([one]) if one == node))
                    && service_account(&requester.name).is_some()
            }
            Self::ArbitraryNode => bare && node.is_some(),
            Self::ServiceAccount => bare && account.is_some(),
            Self::UserInfo | Self::Legacy => node.is_none() && account.is_none(),
        }
    }
}

fn node_name(user: &str) -> Option<&str> {
    user.strip_prefix(NODE_PREFIX).filter(|name| names::dns_subdomain(name).is_empty())
}

fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix(SERVICE_ACCOUNT_PREFIX)?.split_once(':')?;
    (names::dns_label(namespace).is_empty() && names::dns_subdomain(name).is_empty())
        .then_some((namespace, name))
}

/// One mode, tried for one request.
struct Attempt<'a> {
    mode: Mode,
    authorizer: &'a Authorizer,
    requester: &'a User,
    wanted: &'a User,
    metrics: &'a ImpersonationMetrics,
}

impl Attempt<'_> {
    async fn run(&self, request: &Attributes<'_>) -> Result<User, Status> {
        if self.mode != Mode::Legacy {
            let verb = format!("impersonate-on:{}:{}", self.mode.name(), request.verb);
            self.require(Attributes { verb: &verb, ..request.clone() }).await?;
        }
        self.name().await?;
        if !self.wanted.uid.is_empty() {
            self.require(self.of(AUTHENTICATION, "uids", &self.wanted.uid)).await?;
        }
        self.groups().await?;
        self.extras().await?;
        Ok(self.complete())
    }

    async fn name(&self) -> Result<(), Status> {
        let name = &*self.wanted.name;
        if let Some((namespace, name)) = service_account(name) {
            let account = self.of(self.plain_group(), "serviceaccounts", name);
            return self.require(Attributes { namespace, ..account }).await;
        }
        match node_name(name).filter(|_| self.mode != Mode::Legacy) {
            // Whoever may act as the node they run on may do so on every node.
            Some(_) if self.mode == Mode::AssociatedNode => {
                self.require(self.of(self.plain_group(), "nodes", "*")).await
            }
            Some(node) => self.require(self.of(self.plain_group(), "nodes", node)).await,
            None => self.require(self.of(self.plain_group(), "users", name)).await,
        }
    }

    async fn groups(&self) -> Result<(), Status> {
        let groups = &self.wanted.groups;
        if self.mode != Mode::Legacy {
            if groups.iter().any(String::is_empty) {
                return Err(
                    self.refuse(&self.group(""), "impersonating the empty string group is not allowed")
                );
            }
            if self.wanted.in_group(MASTERS) {
                let text = "impersonating the system:masters group is not allowed";
                return Err(self.refuse(&self.group(MASTERS), text));
            }
            if groups.len() >= MANY && self.require(self.group("*")).await.is_ok() {
                return Ok(());
            }
        }
        for name in groups {
            self.require(self.group(name)).await?;
        }
        Ok(())
    }

    async fn extras(&self) -> Result<(), Status> {
        let extra = &self.wanted.extra;
        if self.mode != Mode::Legacy && !extra.is_empty() {
            if let Some(fault) = extra.iter().find_map(|(key, values)| extra_fault(key, values)) {
                return Err(self.refuse(&self.extra("", ""), &fault));
            }
            let many = extra.len() >= MANY || extra.values().map(Vec::len).sum::<usize>() >= MANY;
            if many && self.require(self.extra("*", "*")).await.is_ok() {
                return Ok(());
            }
        }
        for (key, values) in extra {
            for value in values {
                self.require(self.extra(key, value)).await?;
            }
        }
        Ok(())
    }

    fn group<'n>(&self, name: &'n str) -> Attributes<'n> {
        self.of(self.plain_group(), "groups", name)
    }

    fn extra<'n>(&self, key: &'n str, value: &'n str) -> Attributes<'n> {
        Attributes { subresource: key, ..self.of(AUTHENTICATION, "userextras", value) }
    }

    /// The group of users and groups: the core one before they were constrained.
    fn plain_group(&self) -> (&'static str, &'static str) {
        if self.mode == Mode::Legacy { ("", "v1") } else { AUTHENTICATION }
    }

    fn of<'n>(
        &self,
        (group, version): (&'n str, &'n str),
        resource: &'n str,
        name: &'n str,
    ) -> Attributes<'n> {
        Attributes {
            verb: self.mode.verb(),
            group,
            version,
            resource,
            name,
            is_resource: true,
            ..Attributes::default()
        }
    }

    async fn require(&self, attributes: Attributes<'_>) -> Result<(), Status> {
        let stripped;
        let requester = if self.mode == Mode::AssociatedNode {
            let keys = self.requester.extra.keys().cloned().collect();
            let extra = BTreeMap::from([(NODE_KEYS.to_owned(), keys)]);
            stripped = User { extra, ..self.requester.clone() };
            &stripped
        } else {
            self.requester
        };
        let began = Instant::now();
        let decision = self.authorizer.decide(requester, &attributes).await;
        let told = match &decision {
            Decision::Allow(_) => "allowed",
            Decision::Failed { .. } => "error",
            Decision::Deny(_) | Decision::NoOpinion(_) => "denied",
        };
        self.metrics.checks.note(self.mode.name(), told, began.elapsed());
        match decision {
            Decision::Allow(_) => Ok(()),
            Decision::Failed { reason, error, .. } if !reason.is_empty() => {
                Err(self.refuse(&attributes, &format!("{error}: {reason}")))
            }
            Decision::Failed { error, .. } => Err(self.refuse(&attributes, &error)),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(self.refuse(&attributes, &reason)),
        }
    }

    fn refuse(&self, attributes: &Attributes<'_>, reason: &str) -> Status {
        authz::forbidden(self.requester, attributes, reason)
    }

    /// Adds the groups that follow from the name.
    fn complete(&self) -> User {
        let mut user = self.wanted.clone();
        if let Some((namespace, name)) = service_account(&user.name)
            && user.groups.is_empty()
        {
            user.groups = User::service_account(namespace, name, "").groups;
        }
        if self.mode != Mode::Legacy && node_name(&user.name).is_some() {
            user.groups = vec![authz::node::NODES.to_owned()];
        }
        if user.name == ANONYMOUS {
            if !user.in_group(UNAUTHENTICATED) {
                user.groups.push(UNAUTHENTICATED.to_owned());
            }
        } else if !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
            user.groups.push(AUTHENTICATED.to_owned());
        }
        user
    }
}

/// What constrained impersonation does not accept of an extra.
fn extra_fault(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        return Some("impersonating the empty string key in extra is not allowed".to_owned());
    }
    let faults: Vec<String> = names::domain_prefixed_path(key)
        .into_iter()
        .map(|(part, fault)| field::Error::invalid("extra.key", &Value::from(part), fault).to_string())
        .collect();
    if !faults.is_empty() {
        let faults = authz::aggregate(&faults);
        return Some(format!("impersonating an invalid key in extra is not allowed: {faults}"));
    }
    if key.chars().any(char::is_uppercase) {
        return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"));
    }
    let empty = values.iter().any(String::is_empty);
    empty.then(|| "impersonating the empty string value in extra is not allowed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::Mode as AuthzMode;
    use serde_json::json;

    fn authorizer(rules: Value) -> Authorizer {
        let authorizer = Authorizer::new(&[AuthzMode::Rbac]);
        authorizer.rbac.set_role("", "r", Some(&json!({"rules": rules})));
        let subjects = json!([{"kind": "User", "name": "bob"},
            {"kind": "ServiceAccount", "namespace": "d", "name": "agent"}]);
        let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": subjects});
        authorizer.rbac.set_binding("", "b", Some(&binding));
        authorizer
    }

    fn listing() -> Attributes<'static> {
        Attributes {
            verb: "list",
            version: "v1",
            resource: "pods",
            is_resource: true,
            ..Attributes::default()
        }
    }

    type Found<'a> = Result<(&'a str, Option<&'a str>, &'a [&'a str]), (u16, &'a str)>;

    async fn check(
        impersonation: &Impersonation,
        authorizer: &Authorizer,
        requester: &User,
        headers: &[(&'static str, &'static str)],
        expected: Found<'_>,
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let found = impersonation.impersonate(authorizer, requester, &listing(), &mut map).await;
        match (found, expected) {
            (Ok(Some(acting)), Ok((name, constraint, groups))) => {
                assert_eq!((&*acting.user.name, acting.constraint), (name, constraint), "{headers:?}");
                assert_eq!(acting.user.groups, groups, "{headers:?}");
                assert!(map.is_empty());
            }
            (Err(status), Err((code, text))) => {
                assert_eq!(status.code, code, "{headers:?}: {}", status.message);
                assert!(status.message.contains(text), "{headers:?}: {}", status.message);
            }
            (found, expected) => {
                let found = found.map(|acting| acting.map(|acting| acting.user)).map_err(|s| s.message);
                panic!("{headers:?}: {found:?}, not {expected:?}");
            }
        }
    }

    fn bob() -> User {
        User { name: "bob".into(), ..User::default() }
    }

    #[tokio::test]
    async fn every_part_is_authorized() {
        let authorizer = authorizer(json!([
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["ann"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]}]));
        let (state, bob) = (Impersonation::default(), bob());
        let refusal = "pods is forbidden: User \"bob\" cannot impersonate-on:user-info:list resource \"pods\" in API group \"\" at the cluster scope";
        check(&state, &authorizer, &bob, &[(USER, "eve")], Err((403, refusal))).await;
        check(&state, &authorizer, &bob, &[(USER, "ann")], Ok(("ann", None, &[AUTHENTICATED]))).await;
        // The mode that succeeded is tried first from now on.
        let refusal = "users \"eve\" is forbidden: User \"bob\" cannot impersonate resource \"users\"";
        check(&state, &authorizer, &bob, &[(USER, "eve")], Err((403, refusal))).await;
        let refusal = "groups \"dev\" is forbidden";
        check(&state, &authorizer, &bob, &[(USER, "ann"), (GROUP, "dev")], Err((403, refusal))).await;
        let refusal = "requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"dev\"}, Extra:map[string][]string(nil)} without impersonating a user name";
        check(&state, &authorizer, &bob, &[(GROUP, "dev")], Err((400, refusal))).await;
        let groups = ["system:serviceaccounts", "system:serviceaccounts:d", AUTHENTICATED];
        let account = "system:serviceaccount:d:bot";
        check(&state, &authorizer, &bob, &[(USER, account)], Ok((account, None, &groups))).await;
        let refusal = "userextras.authentication.k8s.io \"x\" is forbidden";
        let headers = [(USER, "ann"), ("impersonate-extra-scopes", "x")];
        check(&state, &authorizer, &bob, &headers, Err((403, refusal))).await;
    }

    #[tokio::test]
    async fn constrained() {
        let authorizer = authorizer(json!([
            {"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"],
                "resources": ["users", "groups", "userextras/a.io/k"]},
            {"verbs": ["impersonate:serviceaccount"], "apiGroups": ["authentication.k8s.io"], "resources": ["serviceaccounts"]},
            {"verbs": ["impersonate-on:user-info:list", "impersonate-on:serviceaccount:list"],
                "apiGroups": [""], "resources": ["pods"]}]));
        let (state, bob) = (Impersonation::default(), bob());
        let user = Some("impersonate:user-info");
        check(&state, &authorizer, &bob, &[(USER, "ann")], Ok(("ann", user, &[AUTHENTICATED]))).await;
        let headers = [(USER, "ann"), (GROUP, "dev"), ("impersonate-extra-a.io%2fk", "v")];
        check(&state, &authorizer, &bob, &headers, Ok(("ann", user, &["dev", AUTHENTICATED]))).await;
        let refusal = "impersonating the system:masters group is not allowed";
        check(&state, &authorizer, &bob, &[(USER, "ann"), (GROUP, MASTERS)], Err((403, refusal))).await;
        let refusal = "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: \"scopes\": must be a domain-prefixed path (such as \"acme.io/foo\")";
        check(
            &state,
            &authorizer,
            &bob,
            &[(USER, "ann"), ("impersonate-extra-scopes", "x")],
            Err((403, refusal)),
        )
        .await;
        // A ServiceAccount is no mere user, and nothing but its name can be asked for.
        let (account, mode) = ("system:serviceaccount:d:bot", Some("impersonate:serviceaccount"));
        let groups = ["system:serviceaccounts", "system:serviceaccounts:d", AUTHENTICATED];
        check(&state, &authorizer, &bob, &[(USER, account)], Ok((account, mode, &groups))).await;
        let refusal = "cannot impersonate resource \"serviceaccounts\"";
        check(&state, &authorizer, &bob, &[(USER, account), (UID, "1")], Err((403, refusal))).await;
        let refusal = "cannot impersonate-on:arbitrary-node:list resource \"pods\"";
        check(&Impersonation::default(), &authorizer, &bob, &[(USER, "system:node:n")], Err((403, refusal)))
            .await;
    }

    #[tokio::test]
    async fn nodes() {
        let authorizer = authorizer(json!([
            {"verbs": ["impersonate:associated-node"], "apiGroups": ["authentication.k8s.io"], "resources": ["nodes"]},
            {"verbs": ["impersonate-on:associated-node:list"], "apiGroups": [""], "resources": ["pods"]}]));
        let state = Impersonation::default();
        let mut agent = User::service_account("d", "agent", "");
        agent.extra.insert(NODE_NAME.to_owned(), vec!["n".to_owned()]);
        let mode = Some("impersonate:associated-node");
        let groups = [authz::node::NODES, AUTHENTICATED];
        let headers = [(USER, "system:node:n")];
        check(&state, &authorizer, &agent, &headers, Ok(("system:node:n", mode, &groups))).await;
        let refusal = "impersonate-on:arbitrary-node:list";
        check(&state, &authorizer, &agent, &[(USER, "system:node:m")], Err((403, refusal))).await;
    }
}
