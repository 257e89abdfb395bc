//! The priority levels and flow schemas that every cluster is born with, the original's.
use knarr_api::Value;
use serde_json::json;

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";
const KCM: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// The mandatory and the suggested ones.
pub fn objects() -> Vec<Value> {
    let mut all = mandatory();
    all.extend(suggested_levels());
    all.extend(suggested_schemas());
    all
}

/// Those without which there is no order: they stand even while nobody has them stored.
pub fn mandatory() -> Vec<Value> {
    let everybody = groups(&["system:unauthenticated", "system:authenticated"]);
    vec![
        object(
            "PriorityLevelConfiguration",
            "exempt",
            json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}}),
        ),
        object(
            "PriorityLevelConfiguration",
            "catch-all",
            json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}}),
        ),
        schema("exempt", "exempt", 1, "", vec![rule(groups(&["system:masters"]), everything(), any_path())]),
        schema("catch-all", "catch-all", 10000, "ByUser", vec![rule(everybody, everything(), any_path())]),
    ]
}

fn suggested_levels() -> impl Iterator<Item = Value> {
    let levels = [
        ("system", 30, 33, 64, 6),
        ("node-high", 40, 25, 64, 6),
        ("leader-election", 10, 0, 16, 4),
        ("workload-high", 40, 50, 128, 6),
        ("workload-low", 100, 90, 128, 6),
        ("global-default", 20, 50, 128, 6),
    ];
    levels.into_iter().map(|(name, shares, lendable, queues, hand)| {
        object(
            "PriorityLevelConfiguration",
            name,
            json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": {
                    "type": "Queue",
                    "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}}}}),
        )
    })
}

fn suggested_schemas() -> Vec<Value> {
    let nodes = || groups(&["system:nodes"]);
    let everybody = || groups(&["system:unauthenticated", "system:authenticated"]);
    let write = json!(["get", "create", "update"]);
    let leases = || resource(&write, "coordination.k8s.io", &["leases"], false);
    let mut controllers = users(&[KCM]);
    controllers.extend(accounts(&["endpoint-controller", "endpointslicemirroring-controller"]));
    let whole = |subjects| vec![rule(subjects, everything(), any_path())];
    let any = json!(["*"]);
    let probes = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]);
    vec![
        schema("probes", "exempt", 2, "", vec![rule(everybody(), json!(null), probes)]),
        schema(
            "system-leader-election",
            "leader-election",
            100,
            "ByUser",
            vec![rule([users(&[KCM, SCHEDULER]), accounts(&["*"])].concat(), json!([leases()]), json!(null))],
        ),
        schema(
            "endpoint-controller",
            "workload-high",
            150,
            "ByUser",
            vec![rule(controllers, json!([resource(&write, "", &["endpoints"], false)]), json!(null))],
        ),
        schema(
            "workload-leader-election",
            "leader-election",
            200,
            "ByUser",
            vec![rule(accounts(&["*"]), json!([leases()]), json!(null))],
        ),
        schema(
            "system-node-high",
            "node-high",
            400,
            "ByUser",
            vec![rule(
                nodes(),
                json!([
                    resource(&any, "", &["nodes", "nodes/status"], true),
                    resource(&any, "coordination.k8s.io", &["leases"], false),
                ]),
                json!(null),
            )],
        ),
        schema("system-nodes", "system", 500, "ByUser", whole(nodes())),
        schema("kube-controller-manager", "workload-high", 800, "ByNamespace", whole(users(&[KCM]))),
        schema("kube-scheduler", "workload-high", 800, "ByNamespace", whole(users(&[SCHEDULER]))),
        schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", whole(accounts(&["*"]))),
        schema(
            "service-accounts",
            "workload-low",
            9000,
            "ByUser",
            whole(groups(&["system:serviceaccounts"])),
        ),
        schema("global-default", "global-default", 9900, "ByUser", whole(everybody())),
    ]
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": API_VERSION, "kind": kind,
        "metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}},
        "spec": spec,
    })
}

fn schema(name: &str, level: &str, precedence: u32, flows: &str, rules: Vec<Value>) -> Value {
    let mut spec = json!({
        "priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence, "rules": rules,
    });
    if !flows.is_empty() {
        spec["distinguisherMethod"] = json!({"type": flows});
    }
    object("FlowSchema", name, spec)
}

fn rule(subjects: Vec<Value>, resources: Value, paths: Value) -> Value {
    let mut rule = json!({"subjects": subjects});
    for (name, rules) in [("resourceRules", resources), ("nonResourceRules", paths)] {
        if !rules.is_null() {
            rule[name] = rules;
        }
    }
    rule
}

fn resource(verbs: &Value, group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}

fn everything() -> Value {
    let any = json!(["*"]);
    json!([{"verbs": any, "apiGroups": any, "resources": any, "namespaces": any, "clusterScope": true}])
}

fn any_path() -> Value {
    json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}])
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

/// ServiceAccounts of kube-system.
fn accounts(names: &[&str]) -> Vec<Value> {
    let account = |name: &&str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}});
    names.iter().map(account).collect()
}
