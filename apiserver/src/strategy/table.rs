//! The one table of kinds with rules of their own, by group and plural.
use super::{Plain, StatusRule, Strategy, admission_policy};
use crate::registry::object;
use crate::registry::options::Propagation;
use knarr_api::Value;

/// When `metadata.generation` counts on.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// New objects have generation 1.
    pub starts: bool,
    /// A change of one of these top-level members counts.
    pub members: &'static [&'static str],
    /// A change of the annotations counts.
    pub annotations: bool,
    /// A change of the labels counts.
    pub labels: bool,
    /// A change of any top-level member but `metadata` counts (custom resources).
    pub rest: bool,
}

impl Generation {
    const NONE: Self = Self { starts: false, members: &[], annotations: false, labels: false, rest: false };
    const FIXED: Self = Self { starts: true, ..Self::NONE };
    const SPEC: Self = Self::of(&["spec"]);

    const fn of(members: &'static [&'static str]) -> Self {
        Self { starts: true, members, annotations: false, labels: false, rest: false }
    }

    pub(super) fn changed(&self, new: &Value, old: &Value) -> bool {
        let meta = |name: &str| !object::same(object::meta(new).get(name), object::meta(old).get(name));
        self.members.iter().any(|m| !object::same(new.get(m), old.get(m)))
            || (self.annotations && meta("annotations"))
            || (self.labels && meta("labels"))
            || (self.rest && differs(new, old) | differs(old, new))
    }
}

/// Has `a` a member, `metadata` and what names its type aside, that `b` has not?
fn differs(a: &Value, b: &Value) -> bool {
    let counted = |name: &str| !matches!(name, "metadata" | "apiVersion" | "kind");
    let members = a.as_object().into_iter().flatten();
    members.into_iter().any(|(name, value)| counted(name) && !object::same(Some(value), b.get(name)))
}

/// What the registry knows of a kind beside its row in the API table.
pub struct Rules {
    /// API group of the stored resource.
    pub group: &'static str,
    /// Plural of the stored resource.
    pub plural: &'static str,
    /// Generation rule.
    pub generation: Generation,
    /// What deletion does to dependents when the request does not say; none: the kind takes no part in garbage
    /// collection.
    pub propagation: Option<Propagation>,
    /// Deletion answers with the object instead of a `Status`.
    pub returns_deleted: bool,
    /// Treatment of status.
    pub status: StatusRule,
    /// A write to the status changes no metadata either.
    pub status_alone: bool,
    /// Removed by itself a while (the flag `--event-ttl`) after the last write.
    pub expires: bool,
    /// Further rules.
    pub strategy: &'static dyn Strategy,
}

impl Rules {
    const fn new(group: &'static str, plural: &'static str) -> Self {
        Self {
            group,
            plural,
            generation: Generation::NONE,
            propagation: Some(Propagation::Background),
            returns_deleted: false,
            status: StatusRule::Subresource,
            status_alone: false,
            expires: false,
            strategy: &Plain,
        }
    }

    const fn counts(mut self, generation: Generation) -> Self {
        self.generation = generation;
        self
    }

    const fn orphans(mut self) -> Self {
        self.propagation = Some(Propagation::Orphan);
        self
    }

    const fn returned(mut self) -> Self {
        self.returns_deleted = true;
        self
    }

    const fn by(mut self, strategy: &'static dyn Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    const fn status_alone(mut self) -> Self {
        self.status_alone = true;
        self
    }

    const fn status(mut self, status: StatusRule) -> Self {
        self.status = status;
        self
    }
}

/// Kinds without a row.
static DEFAULT: Rules = Rules::new("", "");

/// Custom resources.
pub static CUSTOM: Rules =
    Rules::new("", "").counts(Generation { rest: true, ..Generation::FIXED }).status_alone();

/// Rows by group and plural, sorted; a test keeps the order.
pub static RULES: &[Rules] = &[
    Rules { propagation: None, expires: true, ..Rules::new("", "events") },
    Rules::new("", "limitranges").by(&super::limit_range::LimitRange),
    Rules::new("", "namespaces").by(&super::namespace::Namespace),
    Rules::new("", "nodes").status(StatusRule::KeptOnCreate).by(&super::node::Node),
    Rules::new("", "persistentvolumeclaims").returned().by(&super::persistent_volume::Claim),
    Rules::new("", "persistentvolumes").returned().by(&super::persistent_volume::Volume),
    Rules::new("", "pods").counts(Generation::SPEC).returned().by(&super::pod::Pod),
    Rules::new("", "podtemplates").counts(Generation::of(&["template"])).returned(),
    Rules::new("", "replicationcontrollers").counts(Generation::SPEC).orphans(),
    Rules::new("", "resourcequotas").returned(),
    Rules::new("", "secrets").by(&super::secret::Secret),
    Rules::new("", "serviceaccounts").returned().by(&super::service_account::ServiceAccount),
    Rules::new("", "services").returned().by(&super::service::Service),
    Rules::new("admissionregistration.k8s.io", "mutatingadmissionpolicies")
        .counts(Generation::SPEC)
        .by(&admission_policy::MutatingAdmissionPolicy),
    Rules::new("admissionregistration.k8s.io", "mutatingadmissionpolicybindings")
        .counts(Generation::SPEC)
        .by(&admission_policy::Binding { policies: "mutatingadmissionpolicies" }),
    Rules::new("admissionregistration.k8s.io", "mutatingwebhookconfigurations")
        .counts(Generation::of(&["webhooks"])),
    Rules::new("admissionregistration.k8s.io", "validatingadmissionpolicies")
        .counts(Generation::SPEC)
        .status_alone()
        .by(&admission_policy::ValidatingAdmissionPolicy),
    Rules::new("admissionregistration.k8s.io", "validatingadmissionpolicybindings")
        .counts(Generation::SPEC)
        .by(&admission_policy::Binding { policies: "validatingadmissionpolicies" }),
    Rules::new("admissionregistration.k8s.io", "validatingwebhookconfigurations")
        .counts(Generation::of(&["webhooks"])),
    Rules::new("apiextensions.k8s.io", "customresourcedefinitions")
        .counts(Generation::SPEC)
        .status_alone()
        .by(&super::crd::CustomResourceDefinition),
    Rules::new("apiregistration.k8s.io", "apiservices").status_alone().by(&super::api_service::ApiService),
    Rules::new("apps", "daemonsets").counts(Generation::SPEC).by(&super::daemon_set::DaemonSet),
    Rules::new("apps", "deployments")
        .counts(Generation { annotations: true, ..Generation::SPEC })
        .by(&super::deployment::Deployment),
    Rules::new("apps", "replicasets").counts(Generation::SPEC),
    Rules::new("apps", "statefulsets").counts(Generation::SPEC),
    Rules::new("batch", "cronjobs").counts(Generation::SPEC),
    Rules::new("batch", "jobs").counts(Generation::SPEC).orphans().by(&super::job::Job),
    Rules::new("certificates.k8s.io", "certificatesigningrequests").by(&super::certificate::SigningRequest),
    Rules::new("discovery.k8s.io", "endpointslices")
        .counts(Generation { labels: true, ..Generation::of(&["addressType", "endpoints", "ports"]) })
        .by(&super::endpoint_slice::EndpointSlice),
    Rules::new("flowcontrol.apiserver.k8s.io", "flowschemas").counts(Generation::SPEC).status_alone(),
    Rules::new("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations")
        .counts(Generation::SPEC)
        .status_alone(),
    Rules::new("networking.k8s.io", "ingressclasses").counts(Generation::SPEC),
    Rules::new("networking.k8s.io", "ingresses").counts(Generation::SPEC),
    Rules::new("networking.k8s.io", "networkpolicies").counts(Generation::SPEC),
    Rules::new("policy", "poddisruptionbudgets").counts(Generation::SPEC),
    Rules::new("resource.k8s.io", "deviceclasses").counts(Generation::SPEC),
    Rules::new("resource.k8s.io", "resourceclaims").status_alone().by(&super::resource_claim::Claim),
    Rules::new("resource.k8s.io", "resourceclaimtemplates").by(&super::resource_claim::Template),
    Rules::new("resource.k8s.io", "resourceslices").counts(Generation::SPEC),
    Rules::new("scheduling.k8s.io", "priorityclasses").counts(Generation::FIXED),
    Rules::new("storage.k8s.io", "csidrivers")
        .counts(Generation { starts: false, ..Generation::SPEC })
        .returned(),
    Rules::new("storage.k8s.io", "csinodes").returned(),
    Rules::new("storage.k8s.io", "storageclasses").returned(),
    Rules::new("storage.k8s.io", "volumeattachments").returned().status_alone(),
    Rules::new("storage.k8s.io", "volumeattributesclasses").returned(),
];

/// The rules of a stored resource.
pub fn rules(group: &str, plural: &str) -> &'static Rules {
    match RULES.binary_search_by(|r| (r.group, r.plural).cmp(&(group, plural))) {
        Ok(at) => &RULES[at],
        Err(_) => &DEFAULT,
    }
}

#[cfg(test)]
mod tests {
    use super::{RULES, rules};
    use crate::strategy::has_status;
    use knarr_api::Value;
    use knarr_api::table::builtin;

    #[test]
    fn rows_are_sorted() {
        assert!(RULES.is_sorted_by_key(|r| (r.group, r.plural)));
    }

    /// Rows are about kinds that there are, and only a kind with a status can keep its metadata from it.
    #[test]
    fn rows_are_of_kinds_of_the_table() {
        for row in RULES {
            let kind =
                builtin().kinds.iter().find(|k| *k.gvk.group == *row.group && *k.plural == *row.plural);
            let kind = kind.unwrap_or_else(|| panic!("{}/{} is in no table", row.group, row.plural));
            assert!(!row.status_alone || has_status(kind), "{}/{}", row.group, row.plural);
        }
    }

    /// Generations count as the reference facts say; skipped where they are not at hand.
    #[test]
    fn generations_agree_with_the_facts() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../shared/kubernetes-api/defaults.json");
        let Ok(text) = std::fs::read_to_string(&path) else {
            println!("skipped: no {}", path.display());
            return;
        };
        let facts: Value = serde_json::from_str(&text).expect("JSON");
        for kind in builtin().kinds.iter().filter(|kind| kind.served_by_default && kind.storage.is_some()) {
            let Some(facts) = facts["server_set"].get(&*kind.gvk.kind).and_then(Value::as_array) else {
                continue;
            };
            let fact = facts.iter().filter_map(Value::as_str).find(|fact| fact.contains("generation"));
            let Some(fact) = fact.filter(|fact| !fact.contains("template.generation")) else { continue };
            let generation = rules(&kind.gvk.group, &kind.plural).generation;
            let name = &kind.gvk.kind;
            assert_eq!(generation.starts, fact.starts_with("generation 1"), "{name}: {fact}");
            for member in ["spec", "template", "webhooks"] {
                let counts =
                    fact.contains(&format!("{member} change")) || fact.contains(&format!("{member} or "));
                assert_eq!(generation.members.contains(&member), counts, "{name}: {fact}");
            }
            assert_eq!(generation.annotations, fact.contains("annotations change"), "{name}: {fact}");
            assert_eq!(generation.labels, fact.contains("labels change"), "{name}: {fact}");
        }
    }
}
