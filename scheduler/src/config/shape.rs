//! The fields that a configuration may have, to find those that it must not.
use serde_json::Value;

/// What a value looks like.
pub enum Shape {
    /// Anything, or something checked elsewhere.
    Any,
    /// An object of these fields.
    Object(&'static [(&'static str, Shape)]),
    /// A list of such values.
    List(&'static Shape),
}

use Shape::{Any, List, Object};

/// Fields of which all values are accepted here.
macro_rules! fields {
    ($($name:literal),*) => { Object(&[$(($name, Any)),*]) };
}

const PLUGIN: Shape = fields!("name", "weight");
const SET: Shape = Object(&[("enabled", List(&PLUGIN)), ("disabled", List(&PLUGIN))]);
const RESOURCES: Shape = List(&fields!("name", "weight"));
const SHAPE: Shape = List(&fields!("utilization", "score"));

/// The whole file; arguments of plugins are checked with the plugin's own shape.
pub static CONFIGURATION: Shape = Object(&[
    ("apiVersion", Any),
    ("kind", Any),
    ("parallelism", Any),
    (
        "leaderElection",
        fields!(
            "leaderElect",
            "leaseDuration",
            "renewDeadline",
            "retryPeriod",
            "resourceLock",
            "resourceName",
            "resourceNamespace"
        ),
    ),
    ("clientConnection", fields!("kubeconfig", "acceptContentTypes", "contentType", "qps", "burst")),
    ("enableProfiling", Any),
    ("enableContentionProfiling", Any),
    ("percentageOfNodesToScore", Any),
    ("podInitialBackoffSeconds", Any),
    ("podMaxBackoffSeconds", Any),
    ("delayCacheUntilActive", Any),
    (
        "profiles",
        List(&Object(&[
            ("schedulerName", Any),
            ("percentageOfNodesToScore", Any),
            (
                "plugins",
                Object(&[
                    ("preEnqueue", SET),
                    ("queueSort", SET),
                    ("preFilter", SET),
                    ("filter", SET),
                    ("postFilter", SET),
                    ("preScore", SET),
                    ("score", SET),
                    ("reserve", SET),
                    ("permit", SET),
                    ("preBind", SET),
                    ("bind", SET),
                    ("postBind", SET),
                    ("multiPoint", SET),
                ]),
            ),
            ("pluginConfig", List(&fields!("name", "args"))),
        ])),
    ),
    (
        "extenders",
        List(&Object(&[
            ("urlPrefix", Any),
            ("filterVerb", Any),
            ("preemptVerb", Any),
            ("prioritizeVerb", Any),
            ("weight", Any),
            ("bindVerb", Any),
            ("enableHTTPS", Any),
            (
                "tlsConfig",
                fields!(
                    "insecure",
                    "serverName",
                    "certFile",
                    "keyFile",
                    "caFile",
                    "certData",
                    "keyData",
                    "caData"
                ),
            ),
            ("httpTimeout", Any),
            ("nodeCacheCapable", Any),
            ("managedResources", List(&fields!("name", "ignoredByScheduler"))),
            ("ignorable", Any),
        ])),
    ),
]);

/// Arguments of the plugins that have some.
pub static ARGUMENTS: &[(&str, Shape)] = &[
    (
        "DefaultPreemption",
        fields!("apiVersion", "kind", "minCandidateNodesPercentage", "minCandidateNodesAbsolute"),
    ),
    ("DynamicResources", fields!("apiVersion", "kind", "filterTimeout", "bindingTimeout")),
    (
        "InterPodAffinity",
        fields!("apiVersion", "kind", "hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"),
    ),
    ("NodeAffinity", fields!("apiVersion", "kind", "addedAffinity")),
    (
        "NodeResourcesBalancedAllocation",
        Object(&[("apiVersion", Any), ("kind", Any), ("resources", RESOURCES)]),
    ),
    (
        "NodeResourcesFit",
        Object(&[
            ("apiVersion", Any),
            ("kind", Any),
            ("ignoredResources", Any),
            ("ignoredResourceGroups", Any),
            (
                "scoringStrategy",
                Object(&[
                    ("type", Any),
                    ("resources", RESOURCES),
                    ("requestedToCapacityRatio", Object(&[("shape", SHAPE)])),
                ]),
            ),
        ]),
    ),
    ("PodTopologySpread", fields!("apiVersion", "kind", "defaultConstraints", "defaultingType")),
    (
        "VolumeBinding",
        Object(&[("apiVersion", Any), ("kind", Any), ("bindTimeoutSeconds", Any), ("shape", SHAPE)]),
    ),
];

/// All fields that the shape does not have, as `unknown field "path"`.
pub fn unknown(value: &Value, shape: &Shape) -> Vec<String> {
    let mut faults = Vec::new();
    visit(value, shape, "", &mut faults);
    faults
}

fn visit(value: &Value, shape: &Shape, path: &str, faults: &mut Vec<String>) {
    match (value, shape) {
        (Value::Object(fields), Object(known)) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match known.iter().find(|(known, _)| known == name) {
                    Some((_, shape)) => visit(value, shape, &path, faults),
                    None => faults.push(format!("unknown field {path:?}")),
                }
            }
        }
        (Value::Array(values), List(shape)) => {
            for (at, value) in values.iter().enumerate() {
                visit(value, shape, &format!("{path}[{at}]"), faults);
            }
        }
        _ => {}
    }
}
