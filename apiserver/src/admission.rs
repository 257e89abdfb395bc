//! Admission: what may change or refuse a write after it was authorized and before it is validated and stored.
//!
//! Plugins lie one to a file below; [`plugins`] lists them in the order they run. All plugins first
//! change (in order), then all check the final object (in order), then add what is committed with it. When a webhook
//! changed the object, the plugins that change run once more.
pub mod always;
pub mod always_pull_images;
pub mod certificates;
pub mod claim_resize;
pub mod config;
pub mod default_toleration_seconds;
pub mod defaults;
pub mod deny_service_external_ips;
pub mod event_rate_limit;
mod expressions;
pub mod extended_resource_toleration;
mod fresh;
pub mod hard_anti_affinity;
pub mod image_policy;
pub mod limit_ranger;
mod metrics;
pub mod namespace_auto_provision;
pub mod namespace_exists;
pub mod namespace_lifecycle;
pub mod node_declared_features;
mod node_restriction;
mod notes;
pub mod owner_references;
pub mod pod_node_selector;
pub mod pod_security;
pub mod pod_toleration_restriction;
pub mod pod_topology_labels;
pub mod policy;
pub mod priority;
pub mod resource_quota;
pub mod runtime_class;
pub mod service_account;
pub mod taint_nodes;
pub mod webhook;

pub use metrics::AdmissionMetrics;
pub use notes::Notes;

use crate::authz::Authorizer;
use crate::config_file::ConfigError;
use crate::flags::{Args, FlagError};
use crate::loopback::Late;
use crate::objects::Objects;
use crate::registry::Siblings;
use crate::strategy::Companions;
use crate::user::User;
use async_trait::async_trait;
use config::Configurations;
use knarr_api::kind::{GroupVersionKind, Kind};
use knarr_api::{Value, status::Status};
use std::sync::Arc;
use std::time::Instant;

/// The kind of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A new object.
    Create,
    /// A changed object.
    Update,
    /// A removed object.
    Delete,
    /// A stream or proxy to the object (`pods/exec`).
    Connect,
}

impl Operation {
    /// As webhooks and policies name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// One write on its way through admission.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    /// What is done.
    pub operation: Operation,
    /// The row of the resource in the version it was requested.
    pub kind: &'a Kind,
    /// Subresource; empty for the resource itself.
    pub subresource: &'a str,
    /// Namespace; empty for cluster-scoped objects. For a Namespace object its own name.
    pub namespace: &'a str,
    /// Name; empty while `generateName` has not been resolved.
    pub name: &'a str,
    /// Who writes.
    pub user: &'a Arc<User>,
    /// The server itself writes: neither webhooks nor policies are asked.
    pub is_own: bool,
    /// Nothing will be stored: plugins must not have effects elsewhere.
    pub dry_run: bool,
    /// The new object in the requested version, of [`Attributes::gvk`]; none for deletes.
    pub object: Option<Value>,
    /// The object as stored; none for creates.
    pub old: Option<Value>,
    /// The `CreateOptions`, `UpdateOptions` or `DeleteOptions` of the request; null when none.
    pub options: Value,
    /// The resource in all its versions; none in tests of plugins that do not need them.
    pub siblings: Option<Siblings<'a>>,
    /// Whether the changing plugins run again.
    pub reinvocation: Reinvocation,
    /// What the client and the audit log are told besides.
    pub notes: Notes,
}

/// A second round of the plugins that change, so that each sees what later ones made of the object.
#[derive(Clone, Debug, Default)]
pub struct Reinvocation {
    /// A plugin changed the object in a way that asks for another round.
    pub wanted: bool,
    /// This is that round.
    pub is_second: bool,
    /// What the policies remember of the first.
    pub policies: policy::Invoked,
    /// What the webhooks remember of the first.
    pub webhooks: webhook::Invoked,
}

impl Attributes<'_> {
    /// Is this a write to the resource itself, of this group and plural?
    pub fn is(&self, group: &str, plural: &str) -> bool {
        self.subresource.is_empty() && &*self.kind.gvk.group == group && &*self.kind.plural == plural
    }

    /// The kind of the object in the request: that of the subresource where it has its own.
    pub fn gvk(&self) -> &GroupVersionKind {
        self.kind.subresource(self.subresource).map_or(&self.kind.gvk, |sub| &sub.gvk)
    }

    /// A 403 about the object of this write: `pods "x" is forbidden: ‹cause›`.
    pub fn forbidden(&self, cause: impl std::fmt::Display) -> Status {
        let resource = knarr_api::status::Resource { group: &self.kind.gvk.group, plural: &self.kind.plural };
        Status::forbidden(resource, self.name, cause)
    }

    /// The same for the reason that a policy gives.
    pub fn refused(&self, cause: impl std::fmt::Display, reason: &str) -> Status {
        let resource = knarr_api::status::Resource { group: &self.kind.gvk.group, plural: &self.kind.plural };
        Status::refused(resource, self.name, cause, reason)
    }
}

/// One admission plugin. All phases default to doing nothing; a plugin keeps no state of single requests and must
/// be idempotent, for an update or patch reruns the whole chain for each attempt.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// The name `--enable-admission-plugins` knows it by.
    fn name(&self) -> &'static str;

    /// Does this write concern the plugin? Asked before each phase.
    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool;

    /// Changes `attributes.object`.
    ///
    /// # Errors
    /// The refusal, as the client is to see it.
    async fn admit(&self, _attributes: &mut Attributes<'_>) -> Result<(), Status> {
        Ok(())
    }

    /// Checks the final object.
    ///
    /// # Errors
    /// The refusal, as the client is to see it.
    async fn validate(&self, _attributes: &Attributes<'_>) -> Result<(), Status> {
        Ok(())
    }

    /// What must be written, and hold, in the same commit as the object; asked after everything was checked, and
    /// dropped on dry run.
    ///
    /// # Errors
    /// The refusal, as the client is to see it.
    async fn charge(&self, _attributes: &Attributes<'_>) -> Result<Companions, Status> {
        Ok(Companions::default())
    }
}

/// The enabled plugins in running order.
#[derive(Clone, Default)]
pub struct Chain {
    plugins: Arc<[Arc<dyn Plugin>]>,
    metrics: AdmissionMetrics,
}

impl Chain {
    /// A chain of plugins in the given order.
    pub fn new(plugins: Vec<Arc<dyn Plugin>>) -> Self {
        Self { plugins: plugins.into(), metrics: AdmissionMetrics::default() }
    }

    /// Lets every concerned plugin change the object; the registry applies defaults again afterwards.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let (started, operation) = (Instant::now(), attributes.operation);
        let mut admitted = self.admit_once(attributes).await;
        if admitted.is_ok() && attributes.reinvocation.wanted {
            attributes.reinvocation.is_second = true;
            admitted = self.admit_once(attributes).await;
        }
        self.metrics.step("admit", operation, admitted.is_err(), started.elapsed());
        admitted
    }

    async fn admit_once(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        for plugin in self.plugins.iter() {
            if plugin.handles(attributes.operation, attributes) {
                let (started, operation) = (Instant::now(), attributes.operation);
                let admitted = plugin.admit(attributes).await;
                self.metrics.plugin(plugin.name(), "admit", operation, admitted.is_err(), started.elapsed());
                admitted?;
            }
        }
        Ok(())
    }

    /// Lets every concerned plugin check the final object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let (started, operation) = (Instant::now(), attributes.operation);
        let mut valid = Ok(());
        for plugin in self.plugins.iter().filter(|plugin| plugin.handles(operation, attributes)) {
            let began = Instant::now();
            valid = plugin.validate(attributes).await;
            self.metrics.plugin(plugin.name(), "validate", operation, valid.is_err(), began.elapsed());
            if valid.is_err() {
                break;
            }
        }
        self.metrics.step("validate", operation, valid.is_err(), started.elapsed());
        valid
    }

    /// Collects what is committed with the object.
    ///
    /// # Errors
    /// The first refusal.
    pub async fn charge(&self, attributes: &Attributes<'_>) -> Result<Companions, Status> {
        let mut all = Companions::default();
        for plugin in self.plugins.iter() {
            if plugin.handles(attributes.operation, attributes) {
                let Companions { guards, writes } = plugin.charge(attributes).await?;
                all.guards.extend(guards);
                all.writes.extend(writes);
            }
        }
        Ok(all)
    }
}

/// What plugins are made of.
pub struct Parts<'a> {
    /// Flags.
    pub args: &'a Args,
    /// Stored objects.
    pub objects: &'a Arc<dyn Objects>,
    /// May a user do something?
    pub authorizer: &'a Authorizer,
    /// Calls webhooks.
    pub webhooks: &'a webhook::Caller,
    /// Where times are kept.
    pub metrics: &'a AdmissionMetrics,
    /// The server's own requests; set when the server is put together.
    pub own: &'a Arc<Late>,
}

/// All plugins in the original's order, which is the order they run in whatever the flags say.
fn plugins(parts: &Parts<'_>, told: &Configurations) -> Result<Vec<Arc<dyn Plugin>>, ConfigError> {
    let Parts { args, objects, authorizer, webhooks, own, .. } = *parts;
    let is_enabled = |name: &str| args.enable_admission_plugins.iter().any(|enabled| enabled == name);
    let objects = || objects.clone();
    let authorizer = || authorizer.clone();
    let world =
        || policy::World { objects: objects(), authorizer: authorizer(), metrics: parts.metrics.clone() };
    let shown = |plugin: &str| {
        let credentials = webhook::credentials::Credentials::of_plugin(told, plugin, &webhooks.outbound);
        credentials.map(|credentials| webhook::Caller { credentials, ..webhooks.clone() })
    };
    Ok(vec![
        Arc::new(always::AlwaysAdmit),
        Arc::new(namespace_auto_provision::NamespaceAutoProvision { objects: objects(), own: own.clone() }),
        Arc::new(namespace_lifecycle::NamespaceLifecycle { objects: objects() }),
        Arc::new(namespace_exists::NamespaceExists { objects: objects() }),
        Arc::new(hard_anti_affinity::HardAntiAffinity),
        Arc::new(limit_ranger::LimitRanger { objects: objects() }),
        Arc::new(service_account::ServiceAccount { objects: objects() }),
        Arc::new(node_restriction::NodeRestriction { objects: objects(), authorizer: authorizer() }),
        Arc::new(taint_nodes::TaintNodesByCondition),
        Arc::new(always_pull_images::AlwaysPullImages),
        Arc::new(image_policy::ImagePolicyWebhook::new(&objects(), told, is_enabled("ImagePolicyWebhook"))?),
        Arc::new(pod_security::PodSecurity::new(objects(), told, parts.metrics.pod_security.clone())?),
        Arc::new(pod_node_selector::PodNodeSelector::new(objects(), told)?),
        Arc::new(priority::Priority { objects: objects() }),
        Arc::new(default_toleration_seconds::DefaultTolerationSeconds {
            not_ready: args.default_not_ready_toleration_seconds,
            unreachable: args.default_unreachable_toleration_seconds,
        }),
        Arc::new(pod_toleration_restriction::PodTolerationRestriction::new(objects(), told)?),
        Arc::new(event_rate_limit::EventRateLimit::new(told, is_enabled("EventRateLimit"))?),
        Arc::new(extended_resource_toleration::ExtendedResourceToleration),
        Arc::new(defaults::DefaultStorageClass { objects: objects() }),
        Arc::new(defaults::StorageObjectInUseProtection),
        Arc::new(owner_references::OwnerReferences { authorizer: authorizer() }),
        Arc::new(claim_resize::ClaimResize { objects: objects() }),
        Arc::new(runtime_class::RuntimeClass { objects: objects() }),
        Arc::new(certificates::CertificateApproval { authorizer: authorizer() }),
        Arc::new(certificates::CertificateSigning { authorizer: authorizer() }),
        Arc::new(certificates::ClusterTrustBundleAttest { authorizer: authorizer() }),
        Arc::new(certificates::CertificateSubjectRestriction),
        Arc::new(defaults::DefaultIngressClass { objects: objects() }),
        Arc::new(deny_service_external_ips::DenyServiceExternalIps),
        Arc::new(pod_topology_labels::PodTopologyLabels { objects: objects() }),
        Arc::new(node_declared_features::NodeDeclaredFeatures { objects: objects() }),
        Arc::new(policy::Mutating::new(world())),
        Arc::new(webhook::Mutating::new(shown("MutatingAdmissionWebhook")?)),
        Arc::new(policy::Validating::new(world())),
        Arc::new(webhook::Validating::new(shown("ValidatingAdmissionWebhook")?)),
        // What is refused after it would be charged.
        Arc::new(resource_quota::ResourceQuota::new(objects(), told)?),
        Arc::new(always::AlwaysDeny),
    ])
}

/// Plugins that run only when enabled, as in the original.
const OPTIONAL: [&str; 14] = [
    "AlwaysAdmit",
    "AlwaysDeny",
    "AlwaysPullImages",
    "DenyServiceExternalIPs",
    "EventRateLimit",
    "ExtendedResourceToleration",
    "ImagePolicyWebhook",
    "LimitPodHardAntiAffinityTopology",
    "NamespaceAutoProvision",
    "NamespaceExists",
    "NodeRestriction",
    "OwnerReferencesPermissionEnforcement",
    "PodNodeSelector",
    "PodTolerationRestriction",
];

impl Chain {
    /// The chain that the flags ask for.
    ///
    /// # Errors
    /// A name that is no plugin, or to be enabled and absent; a configuration that cannot be.
    pub fn from_flags(parts: &Parts<'_>) -> Result<Self, FlagError> {
        let args = parts.args;
        let told = Configurations::load(args.admission_control_config_file.as_deref())?;
        let mut all = plugins(parts, &told)?;
        let known = |name: &String| all.iter().any(|plugin| plugin.name() == name);
        let unknown = |name: &&String| !known(name);
        if let Some(name) = args.enable_admission_plugins.iter().find(unknown) {
            return Err(FlagError::UnknownPlugin(name.clone()));
        }
        if let Some(name) = args.disable_admission_plugins.iter().find(unknown) {
            return Err(FlagError::UnknownPlugin(name.clone()));
        }
        let enabled = |name: &str| args.enable_admission_plugins.iter().any(|n| n == name);
        all.retain(|plugin| !OPTIONAL.contains(&plugin.name()) || enabled(plugin.name()));
        all.retain(|plugin| !args.disable_admission_plugins.iter().any(|name| name == plugin.name()));
        Ok(Self { plugins: all.into(), metrics: parts.metrics.clone() })
    }
}

/// The items of a list, none where there is no list.
fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
