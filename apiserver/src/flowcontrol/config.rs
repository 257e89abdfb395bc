//! FlowSchemas and PriorityLevelConfigurations, read into what requests are matched with.
use super::Class;
use super::bootstrap;
use crate::request_info::RequestInfo;
use crate::user::User;
use http::HeaderValue;
use knarr_api::Value;
use std::sync::Arc;

/// The configuration: schemas in the order they are asked, and levels.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// By precedence, then name; the catch-all is last.
    pub schemas: Vec<Schema>,
    /// In no order.
    pub levels: Vec<Level>,
}

/// A PriorityLevelConfiguration.
#[derive(Clone, Debug)]
pub struct Level {
    /// Name.
    pub name: Arc<str>,
    /// UID of the object; empty before it is there.
    pub uid: String,
    /// Requests run at once, always.
    pub exempt: bool,
    /// Its part of all seats.
    pub shares: usize,
    /// Per cent of its seats that it lends.
    pub lendable: usize,
    /// Per cent of its seats that it may borrow; none: as many as there are.
    pub borrowing: Option<usize>,
    /// What happens to requests beyond its seats.
    pub response: Response,
}

/// What happens to requests that find no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// They are refused.
    Reject,
    /// They wait.
    Queue {
        /// Number of queues.
        queues: usize,
        /// Queues of one flow.
        hand: usize,
        /// Requests in a queue at most.
        length: usize,
    },
}

/// A FlowSchema.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Name.
    pub name: Arc<str>,
    /// The level its requests go to.
    pub level: Arc<str>,
    precedence: i64,
    flows: Flows,
    rules: Vec<Rule>,
    headers: (HeaderValue, HeaderValue),
}

/// What makes two requests of a schema be of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flows {
    One,
    ByUser,
    ByNamespace,
}

#[derive(Clone, Debug)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Clone, Debug)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount(String, String),
}

#[derive(Clone, Debug)]
struct ResourceRule {
    verbs: Vec<String>,
    groups: Vec<String>,
    resources: Vec<String>,
    cluster: bool,
    namespaces: Vec<String>,
}

#[derive(Clone, Debug)]
struct PathRule {
    verbs: Vec<String>,
    urls: Vec<String>,
}

impl Config {
    /// Reads objects of both kinds. What is mandatory and absent is added; schemas of levels that do not exist are
    /// left out.
    pub fn new(objects: &[Value]) -> Self {
        let of_kind = |objects: &[Value], kind: &str| {
            objects.iter().filter(|object| object["kind"] == kind).cloned().collect::<Vec<_>>()
        };
        let mandatory = bootstrap::mandatory();
        let complete = |kind: &str| {
            let mut all = of_kind(objects, kind);
            for object in of_kind(&mandatory, kind) {
                let name = &object["metadata"]["name"];
                if !all.iter().any(|other| other["metadata"]["name"] == *name) {
                    all.push(object);
                }
            }
            all
        };
        let levels: Vec<Level> = complete("PriorityLevelConfiguration").iter().map(Level::new).collect();
        let schemas = complete("FlowSchema");
        let mut schemas: Vec<Schema> = schemas.iter().filter_map(|s| Schema::new(s, &levels)).collect();
        schemas.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        Self { schemas, levels }
    }
}

impl Level {
    fn new(object: &Value) -> Self {
        let spec = &object["spec"];
        let exempt = spec["type"] == "Exempt";
        let part = if exempt { &spec["exempt"] } else { &spec["limited"] };
        let number = |value: &Value, default: usize| {
            value.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or(default)
        };
        let response = &part["limitResponse"];
        let queuing = &response["queuing"];
        Self {
            name: text(&object["metadata"]["name"]).into(),
            uid: text(&object["metadata"]["uid"]).to_owned(),
            exempt,
            shares: number(&part["nominalConcurrencyShares"], if exempt { 0 } else { 30 }),
            lendable: number(&part["lendablePercent"], 0),
            borrowing: part["borrowingLimitPercent"].as_u64().and_then(|n| usize::try_from(n).ok()),
            response: if response["type"] == "Queue" {
                Response::Queue {
                    queues: number(&queuing["queues"], 64).max(1),
                    hand: number(&queuing["handSize"], 8).max(1),
                    length: number(&queuing["queueLengthLimit"], 50).max(1),
                }
            } else {
                Response::Reject
            },
        }
    }
}

impl Schema {
    fn new(object: &Value, levels: &[Level]) -> Option<Self> {
        let spec = &object["spec"];
        let level = levels.iter().find(|l| *l.name == *text(&spec["priorityLevelConfiguration"]["name"]))?;
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        Some(Self {
            name: text(&object["metadata"]["name"]).into(),
            level: level.name.clone(),
            precedence: spec["matchingPrecedence"].as_i64().unwrap_or(1000),
            flows: match text(&spec["distinguisherMethod"]["type"]) {
                "ByUser" => Flows::ByUser,
                "ByNamespace" => Flows::ByNamespace,
                _ => Flows::One,
            },
            rules: items(&spec["rules"]).map(Rule::new).collect(),
            headers: (value(text(&object["metadata"]["uid"])), value(&level.uid)),
        })
    }

    /// Does a request belong to the schema?
    pub fn matches(&self, info: &RequestInfo, user: &User) -> bool {
        self.rules.iter().any(|rule| rule.matches(info, user))
    }

    /// What distinguishes the request's flow.
    pub fn distinguisher<'a>(&self, info: &'a RequestInfo, user: &'a User) -> &'a str {
        match self.flows {
            Flows::One => "",
            Flows::ByUser => &user.name,
            Flows::ByNamespace => info.namespace(),
        }
    }

    pub(super) fn class(&self) -> Class {
        Class { schema: self.headers.0.clone(), level: self.headers.1.clone() }
    }
}

impl Rule {
    fn new(rule: &Value) -> Self {
        Self {
            subjects: items(&rule["subjects"]).filter_map(Subject::new).collect(),
            resources: items(&rule["resourceRules"])
                .map(|rule| ResourceRule {
                    verbs: texts(&rule["verbs"]),
                    groups: texts(&rule["apiGroups"]),
                    resources: texts(&rule["resources"]),
                    cluster: rule["clusterScope"] == true,
                    namespaces: texts(&rule["namespaces"]),
                })
                .collect(),
            paths: items(&rule["nonResourceRules"])
                .map(|rule| PathRule { verbs: texts(&rule["verbs"]), urls: texts(&rule["nonResourceURLs"]) })
                .collect(),
        }
    }

    fn matches(&self, info: &RequestInfo, user: &User) -> bool {
        let verb = info.verb.as_str();
        let allowed = if info.is_resource_request {
            self.resources.iter().any(|rule| rule.matches(verb, info))
        } else {
            self.paths.iter().any(|rule| has(&rule.verbs, verb) && has_path(&rule.urls, info.path()))
        };
        allowed && self.subjects.iter().any(|subject| subject.matches(user))
    }
}

impl Subject {
    fn new(subject: &Value) -> Option<Self> {
        match text(&subject["kind"]) {
            "User" => Some(Self::User(text(&subject["user"]["name"]).to_owned())),
            "Group" => Some(Self::Group(text(&subject["group"]["name"]).to_owned())),
            "ServiceAccount" => {
                let account = &subject["serviceAccount"];
                Some(Self::ServiceAccount(
                    text(&account["namespace"]).to_owned(),
                    text(&account["name"]).to_owned(),
                ))
            }
            _ => None,
        }
    }

    fn matches(&self, user: &User) -> bool {
        match self {
            Self::User(name) => name == "*" || *name == user.name,
            Self::Group(name) => name == "*" || user.in_group(name),
            Self::ServiceAccount(namespace, name) => user
                .as_service_account()
                .is_some_and(|(of, account)| of == namespace && (name == "*" || account == name)),
        }
    }
}

impl ResourceRule {
    fn matches(&self, verb: &str, info: &RequestInfo) -> bool {
        let (resource, sub) = (info.resource(), info.subresource());
        let named = |rule: &String| match rule.split_once('/') {
            _ if rule == "*" => true,
            Some((of, name)) => of == resource && name == sub,
            None => rule == resource && sub.is_empty(),
        };
        let scope = match info.namespace() {
            "" => self.cluster,
            namespace => has(&self.namespaces, namespace),
        };
        scope && has(&self.verbs, verb) && has(&self.groups, info.group()) && self.resources.iter().any(named)
    }
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn has_path(urls: &[String], path: &str) -> bool {
    urls.iter().any(|url| match url.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => url == path,
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn texts(value: &Value) -> Vec<String> {
    items(value).map(|item| text(item).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &str, uri: &str, user: &str, groups: &[&str], schema: &str, level: &str) {
        let config = Config::new(&bootstrap::objects());
        let info = RequestInfo::new(&method.parse().unwrap(), &uri.parse().unwrap()).unwrap();
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let user = User { name: user.to_owned(), groups, ..User::default() };
        let found = config.schemas.iter().find(|schema| schema.matches(&info, &user)).unwrap();
        assert_eq!((&*found.name, &*found.level), (schema, level), "{method} {uri}");
    }

    #[test]
    fn bootstrap_schemas() {
        const PODS: &str = "/api/v1/namespaces/n/pods";
        const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n";
        let known = "system:authenticated";
        check("GET", PODS, "a", &["system:masters", known], "exempt", "exempt");
        check("GET", "/readyz", "system:anonymous", &["system:unauthenticated"], "probes", "exempt");
        check(
            "PUT",
            "/api/v1/nodes/n/status",
            "n",
            &["system:nodes", known],
            "system-node-high",
            "node-high",
        );
        check("PUT", LEASE, "n", &["system:nodes", known], "system-node-high", "node-high");
        check("GET", PODS, "n", &["system:nodes", known], "system-nodes", "system");
        let scheduler = "system:kube-scheduler";
        check("PUT", LEASE, scheduler, &[known], "system-leader-election", "leader-election");
        check("GET", "/api/v1/pods", scheduler, &[known], "kube-scheduler", "workload-high");
        let account = "system:serviceaccount:kube-system:x";
        let groups = ["system:serviceaccounts", known];
        check("GET", "/api/v1/pods", account, &groups, "kube-system-service-accounts", "workload-high");
        check(
            "GET",
            "/api/v1/pods",
            "system:serviceaccount:n:x",
            &groups,
            "service-accounts",
            "workload-low",
        );
        check("GET", "/api/v1/pods", "a", &[known], "global-default", "global-default");
    }
}
