//! Role-based access control: roles and bindings indexed by subject, so that a decision looks only at the rules the
//! user and their groups are bound to. Fed by the changes of the four RBAC resources.
//!
//! **Invariant**: `subjects` holds exactly the bindings of `bindings`, under each of their subjects.
use super::{Attributes, Decision};
use crate::user::{SERVICE_ACCOUNT_PREFIX, User};
use arc_swap::ArcSwapOption;
use knarr_api::Value;
use parking_lot::RwLock;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The group of the RBAC resources.
pub const GROUP: &str = "rbac.authorization.k8s.io";

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs, or `*`.
    pub verbs: Vec<Box<str>>,
    /// API groups, or `*`.
    pub groups: Vec<Box<str>>,
    /// Resources, `pods`, `pods/log`, `*/scale`, or `*`.
    pub resources: Vec<Box<str>>,
    /// Names the rule is limited to; empty: all.
    pub names: Vec<Box<str>>,
    /// Paths, `/healthz`, `/healthz/*`, or `*`.
    pub urls: Vec<Box<str>>,
}

impl Rule {
    /// Reads a `PolicyRule`.
    pub fn from_value(value: &Value) -> Self {
        let list = |field: &str| -> Vec<Box<str>> {
            let items = value[field].as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(Into::into).collect()
        };
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            urls: list("nonResourceURLs"),
        }
    }

    /// The rules of who may do everything: on resources, on paths.
    pub fn everything() -> [Self; 2] {
        let all = || vec!["*".into()];
        let resources = Self { verbs: all(), groups: all(), resources: all(), ..Self::default() };
        [resources, Self { verbs: all(), urls: all(), ..Self::default() }]
    }

    /// As a `PolicyRule`.
    pub fn to_value(&self) -> Value {
        let mut rule = knarr_api::Object::new();
        let mut put = |field: &str, list: &[Box<str>]| {
            if !list.is_empty() {
                let items = list.iter().map(|s| Value::from(&**s)).collect();
                rule.insert(field.to_owned(), Value::Array(items));
            }
        };
        put("verbs", &self.verbs);
        put("apiGroups", &self.groups);
        put("resources", &self.resources);
        put("resourceNames", &self.names);
        put("nonResourceURLs", &self.urls);
        Value::Object(rule)
    }

    /// Reads the rules of a Role or ClusterRole.
    pub fn list(role: &Value) -> Vec<Self> {
        role["rules"].as_array().map(|rules| rules.iter().map(Self::from_value).collect()).unwrap_or_default()
    }

    /// Does the rule permit this?
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attributes.verb) {
            return false;
        }
        if !attributes.is_resource {
            return self.urls.iter().any(|url| url_matches(url, attributes.path));
        }
        has(&self.groups, attributes.group)
            && self.resources.iter().any(|r| resource_matches(r, attributes.resource, attributes.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| **name == *attributes.name))
    }
}

fn has(list: &[Box<str>], wanted: &str) -> bool {
    list.iter().any(|entry| **entry == *"*" || **entry == *wanted)
}

/// `*` is everything, `*/scale` that subresource of everything, else equality with `resource[/subresource]`.
pub fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match rule.split_once('/') {
        Some((left, right)) => {
            right == subresource && !subresource.is_empty() && (left == "*" || left == resource)
        }
        None => subresource.is_empty() && rule == resource,
    }
}

/// Equality, or a prefix where the rule ends in `*`.
pub fn url_matches(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix.trim_end_matches('*')),
        None => rule == path,
    }
}

/// Namespace (empty: a ClusterRole) and name.
type RoleKey = (Arc<str>, Arc<str>);
type BindingKey = (Arc<str>, Arc<str>);

#[derive(Debug)]
struct Binding {
    namespace: Arc<str>,
    name: Arc<str>,
    /// None where the reference is of an unknown kind.
    role: Option<RoleKey>,
    /// The role's rules, whether it is there or not.
    slot: Slot,
    subjects: Vec<Subject>,
}

/// A role that is there or that bindings name. Bindings share it, so that a decision looks no role up: who is bound a
/// thousand times would wait for a thousand look-ups. Changed only with the state's lock held.
#[derive(Debug)]
struct Role {
    /// [`sign`]s of the resources that the rules speak of: most roles are passed over by it without a look at their rules.
    signs: AtomicU64,
    /// None while there is none of that name.
    rules: ArcSwapOption<Vec<Rule>>,
}

type Slot = Arc<Role>;

impl Default for Role {
    fn default() -> Self {
        Self { signs: AtomicU64::new(ANY), rules: ArcSwapOption::empty() }
    }
}

impl Role {
    fn set(&self, rules: Option<Vec<Rule>>) {
        // That a role is missing is told whatever was asked.
        let signs = rules.as_ref().map_or(ANY, |rules| rules.iter().fold(0, |all, rule| all | signs(rule)));
        self.signs.store(signs, Ordering::Relaxed);
        self.rules.store(rules.map(Arc::new));
    }

    /// May the rules speak of a resource with this sign, or of what is none?
    fn may_speak_of(&self, sign: u64) -> bool {
        sign == ANY || self.signs.load(Ordering::Relaxed) & sign != 0
    }
}

/// The sign of what is no resource, and of every resource together.
const ANY: u64 = u64::MAX;

/// One bit of 64, the same for the same resource.
fn sign(resource: &str) -> u64 {
    let hash = resource.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    1 << (hash >> 58)
}

fn signs(rule: &Rule) -> u64 {
    let of = |resource: &str| match resource.split_once('/').map_or(resource, |(name, _)| name) {
        "*" => ANY,
        name => sign(name),
    };
    rule.resources.iter().fold(0, |all, resource| all | of(resource))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(Box<str>),
    Group(Box<str>),
}

impl Subject {
    /// ServiceAccounts are users by their full name.
    fn from_value(value: &Value, binding_namespace: &str) -> Option<Self> {
        let name = value["name"].as_str()?;
        match value["kind"].as_str()? {
            "User" => Some(Self::User(name.into())),
            "Group" => Some(Self::Group(name.into())),
            "ServiceAccount" => {
                let namespace = value["namespace"].as_str().unwrap_or(binding_namespace);
                Some(Self::User(format!("{SERVICE_ACCOUNT_PREFIX}{namespace}:{name}").into()))
            }
            _ => None,
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Group(name) => format!("Group {name:?}"),
            Self::User(name) => {
                match name.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|n| n.split_once(':')) {
                    Some((namespace, name)) => format!("ServiceAccount \"{name}/{namespace}\""),
                    None => format!("User {name:?}"),
                }
            }
        }
    }
}

/// The bindings of one subject.
#[derive(Debug, Default)]
struct Bound {
    cluster: Vec<Arc<Binding>>,
    namespaced: HashMap<Arc<str>, Vec<Arc<Binding>>>,
}

#[derive(Debug, Default)]
struct State {
    /// Of roles that are there or that bindings name.
    roles: HashMap<RoleKey, Slot>,
    bindings: HashMap<BindingKey, Arc<Binding>>,
    users: HashMap<Box<str>, Bound>,
    groups: HashMap<Box<str>, Bound>,
}

/// The RBAC authorizer.
#[derive(Debug, Default)]
pub struct Rbac {
    state: RwLock<State>,
}

impl Rbac {
    /// A Role (with its namespace) or ClusterRole (without) is now this, or gone.
    pub fn set_role(&self, namespace: &str, name: &str, role: Option<&Value>) {
        let key = (Arc::from(namespace), Arc::from(name));
        let rules = role.map(Rule::list);
        let mut state = self.state.write();
        state.slot(key.clone()).set(rules);
        state.tidy(&key);
    }

    /// A RoleBinding (with its namespace) or ClusterRoleBinding (without) is now this, or gone.
    pub fn set_binding(&self, namespace: &str, name: &str, binding: Option<&Value>) {
        let namespace: Arc<str> = namespace.into();
        let name: Arc<str> = name.into();
        let binding = binding.map(|value| read_binding(namespace.clone(), name.clone(), value));
        let mut state = self.state.write();
        if let Some(old) = state.bindings.remove(&(namespace.clone(), name.clone())) {
            state.unlink(&old);
            let role = old.role.clone();
            drop(old);
            if let Some(role) = role {
                state.tidy(&role);
            }
        }
        if let Some(mut binding) = binding {
            if let Some(role) = &binding.role {
                binding.slot = state.slot(role.clone());
            }
            let binding = Arc::new(binding);
            state.link(&binding);
            state.bindings.insert((namespace, name), binding);
        }
    }

    /// Decides by the rules bound to the user: cluster-wide first, then in the request's namespace.
    pub fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        let state = self.state.read();
        let mut missing: Vec<String> = Vec::new();
        let namespace = if attributes.is_resource { attributes.namespace } else { "" };
        let sign = if attributes.is_resource { sign(attributes.resource) } else { ANY };
        let found = state.visit(user, namespace, sign, |binding, rules| match rules {
            Some(rules) if rules.iter().any(|rule| rule.allows(attributes)) => Some(binding.clone()),
            Some(_) => None,
            None => {
                missing.extend(binding.missing());
                None
            }
        });
        match found {
            Some((binding, subject)) => Decision::Allow(Cow::Owned(binding.reason(&subject))),
            None if missing.is_empty() => Decision::NoOpinion(Cow::Borrowed("")),
            None => {
                let text = super::aggregate(&missing);
                Decision::NoOpinion(Cow::Owned(format!("RBAC: {text}")))
            }
        }
    }

    /// All rules the user has in a namespace (empty: only cluster-wide ones), and the references that led nowhere.
    pub fn rules_for(&self, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let state = self.state.read();
        let (mut all, mut missing) = (Vec::new(), Vec::new());
        state.visit::<()>(user, namespace, ANY, |binding, rules| {
            match rules {
                Some(rules) => all.extend(rules.iter().cloned()),
                None => missing.extend(binding.missing()),
            }
            None
        });
        (all, missing)
    }

    /// The rules of a role; none where there is no such role.
    pub fn role(&self, namespace: &str, name: &str) -> Option<Arc<Vec<Rule>>> {
        self.state.read().roles.get(&(Arc::from(namespace), Arc::from(name)))?.rules.load_full()
    }
}

fn read_binding(namespace: Arc<str>, name: Arc<str>, value: &Value) -> Binding {
    let reference = &value["roleRef"];
    let role_name: Arc<str> = reference["name"].as_str().unwrap_or_default().into();
    let role = match reference["kind"].as_str() {
        Some("ClusterRole") => Some(("".into(), role_name)),
        Some("Role") => Some((namespace.clone(), role_name)),
        _ => None,
    };
    let subjects = value["subjects"].as_array().map(Vec::as_slice).unwrap_or_default();
    let subjects = subjects.iter().filter_map(|s| Subject::from_value(s, &namespace)).collect();
    Binding { namespace, name, role, slot: Slot::default(), subjects }
}

impl Binding {
    /// `clusterrole.rbac.authorization.k8s.io "x" not found`.
    fn missing(&self) -> Option<String> {
        let (namespace, name) = self.role.as_ref()?;
        let kind = if namespace.is_empty() { "clusterrole" } else { "role" };
        Some(format!("{kind}.{GROUP} {name:?} not found"))
    }

    fn reason(&self, subject: &Subject) -> String {
        let kind = match &self.role {
            Some((namespace, _)) if !namespace.is_empty() => "Role",
            _ => "ClusterRole",
        };
        let role = self.role.as_ref().map_or("", |(_, name)| name);
        let subject = subject.describe();
        if self.namespace.is_empty() {
            format!("RBAC: allowed by ClusterRoleBinding {:?} of {kind} {role:?} to {subject}", self.name)
        } else {
            let name = format!("{}/{}", self.name, self.namespace);
            format!("RBAC: allowed by RoleBinding {name:?} of {kind} {role:?} to {subject}")
        }
    }
}

impl State {
    fn slot(&mut self, role: RoleKey) -> Slot {
        self.roles.entry(role).or_default().clone()
    }

    /// Forgets a role that is not there and that no binding names any more.
    fn tidy(&mut self, role: &RoleKey) {
        let is_idle = |slot: &Slot| Arc::strong_count(slot) == 1 && slot.rules.load().is_none();
        if self.roles.get(role).is_some_and(is_idle) {
            self.roles.remove(role);
        }
    }

    fn bound(&mut self, subject: &Subject) -> &mut Bound {
        match subject {
            Subject::User(name) => self.users.entry(name.clone()).or_default(),
            Subject::Group(name) => self.groups.entry(name.clone()).or_default(),
        }
    }

    fn link(&mut self, binding: &Arc<Binding>) {
        for subject in &binding.subjects {
            let bound = self.bound(subject);
            if binding.namespace.is_empty() {
                bound.cluster.push(binding.clone());
            } else {
                bound.namespaced.entry(binding.namespace.clone()).or_default().push(binding.clone());
            }
        }
    }

    fn unlink(&mut self, binding: &Arc<Binding>) {
        for subject in &binding.subjects {
            let bound = self.bound(subject);
            bound.cluster.retain(|b| !Arc::ptr_eq(b, binding));
            if let Some(list) = bound.namespaced.get_mut(&binding.namespace) {
                list.retain(|b| !Arc::ptr_eq(b, binding));
                if list.is_empty() {
                    bound.namespaced.remove(&binding.namespace);
                }
            }
            if bound.cluster.is_empty() && bound.namespaced.is_empty() {
                match subject {
                    Subject::User(name) => self.users.remove(name),
                    Subject::Group(name) => self.groups.remove(name),
                };
            }
        }
    }

    /// Shows `visitor` every binding of the user whose role may speak of what has this sign, with its rules, until it
    /// returns something.
    fn visit<T>(
        &self,
        user: &User,
        namespace: &str,
        sign: u64,
        mut visitor: impl FnMut(&Arc<Binding>, Option<&[Rule]>) -> Option<T>,
    ) -> Option<(T, Subject)> {
        let by_name = self.users.get(user.name.as_str()).map(|bound| (bound, None));
        let by_group = user.groups.iter().filter_map(|g| Some((self.groups.get(g.as_str())?, Some(g))));
        let subjects: Vec<_> = by_name.into_iter().chain(by_group).collect();
        for cluster in [true, false] {
            if !cluster && namespace.is_empty() {
                break;
            }
            for (bound, group) in &subjects {
                let bindings: &[Arc<Binding>] = if cluster {
                    &bound.cluster
                } else {
                    bound.namespaced.get(namespace).map(Vec::as_slice).unwrap_or_default()
                };
                for binding in bindings.iter().filter(|binding| binding.slot.may_speak_of(sign)) {
                    let rules = binding.slot.rules.load();
                    if let Some(found) = visitor(binding, rules.as_ref().map(|rules| rules.as_slice())) {
                        let subject = match group {
                            Some(group) => Subject::Group(group.as_str().into()),
                            None => Subject::User(user.name.as_str().into()),
                        };
                        return Some((found, subject));
                    }
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rbac() -> Rbac {
        let rbac = Rbac::default();
        let role =
            |name: &str, ns: &str, rules: Value| rbac.set_role(ns, name, Some(&json!({"rules": rules})));
        role(
            "reader",
            "",
            json!([{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}]),
        );
        role("scaler", "", json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*/scale"]}]));
        role(
            "named",
            "dev",
            json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"],
            "resourceNames": ["one"]}]),
        );
        role("urls", "", json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/logs/*"]}]));
        let bind = |name: &str, ns: &str, kind: &str, role: &str, subject: Value| {
            let value = json!({"roleRef": {"kind": kind, "name": role}, "subjects": [subject]});
            rbac.set_binding(ns, name, Some(&value));
        };
        bind("readers", "", "ClusterRole", "reader", json!({"kind": "Group", "name": "readers"}));
        bind("ann-reads", "dev", "ClusterRole", "reader", json!({"kind": "User", "name": "ann"}));
        bind("ann-scales", "", "ClusterRole", "scaler", json!({"kind": "User", "name": "ann"}));
        bind(
            "sa",
            "dev",
            "Role",
            "named",
            json!({"kind": "ServiceAccount", "name": "bot", "namespace": "dev"}),
        );
        bind("url", "", "ClusterRole", "urls", json!({"kind": "User", "name": "ann"}));
        bind("lost", "lost", "Role", "nowhere", json!({"kind": "User", "name": "ann"}));
        rbac
    }

    fn check(rbac: &Rbac, user: &User, request: [&str; 6], expected: &str) {
        let [verb, group, resource, subresource, namespace, name] = request;
        let is_resource = !resource.starts_with('/');
        let attributes = Attributes {
            verb,
            group,
            version: "v1",
            resource: if is_resource { resource } else { "" },
            subresource,
            namespace,
            name,
            path: resource,
            is_resource,
            field_selector: None,
            label_selector: None,
        };
        let decision = rbac.authorize(user, &attributes);
        let found = match &decision {
            Decision::Allow(reason) => format!("yes {reason}"),
            other => format!("no {}", other.reason()),
        };
        assert_eq!(found.trim(), expected, "{request:?}");
    }

    fn user(name: &str, groups: &[&str]) -> User {
        let groups = groups.iter().map(|g| (*g).to_owned()).collect();
        User { name: name.to_owned(), groups, ..User::default() }
    }

    #[test]
    fn decisions() {
        let rbac = rbac();
        let bob = user("bob", &["readers"]);
        let ann = user("ann", &[]);
        let bot = User::service_account("dev", "bot", "u");
        let allowed = "yes RBAC: allowed by ClusterRoleBinding \"readers\" of ClusterRole \"reader\" to Group \
                       \"readers\"";
        check(&rbac, &bob, ["list", "", "pods", "", "x", ""], allowed);
        check(&rbac, &bob, ["get", "", "pods", "log", "x", "p"], allowed);
        check(&rbac, &bob, ["get", "", "pods", "exec", "x", "p"], "no");
        check(&rbac, &bob, ["delete", "", "pods", "", "x", "p"], "no");
        check(&rbac, &bob, ["list", "apps", "pods", "", "x", ""], "no");
        let allowed =
            "yes RBAC: allowed by RoleBinding \"ann-reads/dev\" of ClusterRole \"reader\" to User \"ann\"";
        check(&rbac, &ann, ["list", "", "pods", "", "dev", ""], allowed);
        check(&rbac, &ann, ["list", "", "pods", "", "", ""], "no");
        let allowed = "yes RBAC: allowed by ClusterRoleBinding \"ann-scales\" of ClusterRole \"scaler\" to User \"ann\"";
        check(&rbac, &ann, ["update", "apps", "deployments", "scale", "x", "d"], allowed);
        check(&rbac, &ann, ["update", "apps", "deployments", "", "x", "d"], "no");
        let allowed =
            "yes RBAC: allowed by RoleBinding \"sa/dev\" of Role \"named\" to ServiceAccount \"bot/dev\"";
        check(&rbac, &bot, ["get", "", "secrets", "", "dev", "one"], allowed);
        check(&rbac, &bot, ["get", "", "secrets", "", "dev", "two"], "no");
        check(&rbac, &bot, ["get", "", "secrets", "", "prod", "one"], "no");
        let allowed =
            "yes RBAC: allowed by ClusterRoleBinding \"url\" of ClusterRole \"urls\" to User \"ann\"";
        check(&rbac, &ann, ["get", "", "/healthz", "", "", ""], allowed);
        check(&rbac, &ann, ["get", "", "/healthz/ping", "", "", ""], "no");
        check(&rbac, &ann, ["get", "", "/logs/a/b", "", "", ""], allowed);
        check(
            &rbac,
            &ann,
            ["get", "", "secrets", "", "lost", "x"],
            "no RBAC: role.rbac.authorization.k8s.io \"nowhere\" not found",
        );
    }

    #[test]
    fn changes_take_effect() {
        let rbac = rbac();
        let bob = user("bob", &["readers"]);
        rbac.set_binding("", "readers", None);
        check(&rbac, &bob, ["list", "", "pods", "", "x", ""], "no");
        assert!(!rbac.state.read().groups.contains_key("readers"));
        rbac.set_role("", "scaler", Some(&json!({"rules": []})));
        check(&rbac, &user("ann", &[]), ["update", "apps", "deployments", "scale", "x", "d"], "no");
    }

    #[test]
    fn message_of_a_refusal() {
        let attributes = Attributes {
            verb: "list",
            resource: "pods",
            namespace: "default",
            is_resource: true,
            ..Attributes::default()
        };
        let status = super::super::forbidden(&user("x", &[]), &attributes, "");
        assert_eq!(
            status.message,
            "pods is forbidden: User \"x\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        );
    }
}
