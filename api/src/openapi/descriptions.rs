//! Descriptions of types and fields, taken from `k8s-openapi` at run time.
use crate::Object;
use k8s_openapi::schemars::SchemaGenerator;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// The schemas of types by OpenAPI name, of which only the descriptions are used.
#[derive(Debug, Default)]
pub(crate) struct Descriptions {
    types: Object,
}

impl Descriptions {
    /// Of the given types and all that they refer to; types that `k8s-openapi` lacks have none.
    pub(crate) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let known = roots();
        let mut generator = SchemaGenerator::default();
        for name in names {
            if let Some(add) = known.get(name) {
                add(&mut generator);
            }
        }
        Self { types: generator.take_definitions(false) }
    }

    /// What a type is for.
    pub(crate) fn of_type(&self, ty: &str) -> Option<&str> {
        self.types.get(ty).and_then(|known| known.get("description")?.as_str()).or_else(|| ours(ty, ""))
    }

    /// What a field is for.
    pub(crate) fn of_field(&self, ty: &str, field: &str) -> Option<&str> {
        let property = self.types.get(ty).and_then(|known| known.get("properties")?.get(field));
        property.and_then(|property| property.get("description")?.as_str()).or_else(|| ours(ty, field))
    }
}

/// What the types and fields of `metrics.k8s.io` are for, which `k8s-openapi` does not have.
fn ours(ty: &str, field: &str) -> Option<&'static str> {
    let text = match (ty.strip_prefix("io.k8s.metrics.pkg.apis.metrics.v1beta1.")?, field) {
        ("NodeMetrics", "") => "NodeMetrics tells what a node uses.",
        ("PodMetrics", "") => "PodMetrics tells what the containers of a pod use.",
        ("ContainerMetrics", "") => "ContainerMetrics tells what a container uses.",
        ("ContainerMetrics", "name") => "Name of the container, as in the pod's specification.",
        ("NodeMetrics" | "PodMetrics", "metadata") => "Name, namespace and labels of the node or pod.",
        ("NodeMetrics" | "PodMetrics", "timestamp") => "When the time over which usage was measured ended.",
        ("NodeMetrics" | "PodMetrics", "window") => "How long that time was.",
        ("PodMetrics", "containers") => "What each container used.",
        ("NodeMetrics" | "ContainerMetrics", "usage") => {
            "Processor time a second, on average, and memory in use."
        }
        ("NodeMetricsList" | "PodMetricsList", "items") => "The metrics of each node or pod.",
        _ => return None,
    };
    Some(text)
}

/// What a member is for that every object has: `apiVersion`, `kind`, `metadata`.
pub(super) fn of_member(name: &str) -> &'static str {
    const ANY: &str = "io.k8s.api.core.v1.ConfigMap";
    static OF_ANY: LazyLock<Descriptions> = LazyLock::new(|| Descriptions::of([ANY]));
    OF_ANY.of_field(ANY, name).unwrap_or_default()
}

type Add = fn(&mut SchemaGenerator);

macro_rules! roots {
    ($($name:literal => $($part:ident)::+,)+) => {
        BTreeMap::from([$(($name, (|generator: &mut SchemaGenerator| {
            generator.subschema_for::<k8s_openapi::$($part)::+>();
        }) as Add)),+])
    };
}

/// The kinds from which all other types are reached.
#[rustfmt::skip]
fn roots() -> BTreeMap<&'static str, Add> {
    roots! {
        "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy" => api::admissionregistration::v1::MutatingAdmissionPolicy,
        "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding" => api::admissionregistration::v1::MutatingAdmissionPolicyBinding,
        "io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration" => api::admissionregistration::v1::MutatingWebhookConfiguration,
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicy" => api::admissionregistration::v1::ValidatingAdmissionPolicy,
        "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding" => api::admissionregistration::v1::ValidatingAdmissionPolicyBinding,
        "io.k8s.api.admissionregistration.v1.ValidatingWebhookConfiguration" => api::admissionregistration::v1::ValidatingWebhookConfiguration,
        "io.k8s.api.admissionregistration.v1alpha1.MutatingAdmissionPolicy" => api::admissionregistration::v1alpha1::MutatingAdmissionPolicy,
        "io.k8s.api.admissionregistration.v1alpha1.MutatingAdmissionPolicyBinding" => api::admissionregistration::v1alpha1::MutatingAdmissionPolicyBinding,
        "io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicy" => api::admissionregistration::v1beta1::MutatingAdmissionPolicy,
        "io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicyBinding" => api::admissionregistration::v1beta1::MutatingAdmissionPolicyBinding,
        "io.k8s.api.apiserverinternal.v1alpha1.StorageVersion" => api::apiserverinternal::v1alpha1::StorageVersion,
        "io.k8s.api.apps.v1.ControllerRevision" => api::apps::v1::ControllerRevision,
        "io.k8s.api.apps.v1.DaemonSet" => api::apps::v1::DaemonSet,
        "io.k8s.api.apps.v1.Deployment" => api::apps::v1::Deployment,
        "io.k8s.api.apps.v1.ReplicaSet" => api::apps::v1::ReplicaSet,
        "io.k8s.api.apps.v1.StatefulSet" => api::apps::v1::StatefulSet,
        "io.k8s.api.authentication.v1.SelfSubjectReview" => api::authentication::v1::SelfSubjectReview,
        "io.k8s.api.authentication.v1.TokenRequest" => api::authentication::v1::TokenRequest,
        "io.k8s.api.authentication.v1.TokenReview" => api::authentication::v1::TokenReview,
        "io.k8s.api.authorization.v1.LocalSubjectAccessReview" => api::authorization::v1::LocalSubjectAccessReview,
        "io.k8s.api.authorization.v1.SelfSubjectAccessReview" => api::authorization::v1::SelfSubjectAccessReview,
        "io.k8s.api.authorization.v1.SelfSubjectRulesReview" => api::authorization::v1::SelfSubjectRulesReview,
        "io.k8s.api.authorization.v1.SubjectAccessReview" => api::authorization::v1::SubjectAccessReview,
        "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler" => api::autoscaling::v1::HorizontalPodAutoscaler,
        "io.k8s.api.autoscaling.v1.Scale" => api::autoscaling::v1::Scale,
        "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler" => api::autoscaling::v2::HorizontalPodAutoscaler,
        "io.k8s.api.batch.v1.CronJob" => api::batch::v1::CronJob,
        "io.k8s.api.batch.v1.Job" => api::batch::v1::Job,
        "io.k8s.api.certificates.v1.CertificateSigningRequest" => api::certificates::v1::CertificateSigningRequest,
        "io.k8s.api.certificates.v1alpha1.ClusterTrustBundle" => api::certificates::v1alpha1::ClusterTrustBundle,
        "io.k8s.api.certificates.v1beta1.ClusterTrustBundle" => api::certificates::v1beta1::ClusterTrustBundle,
        "io.k8s.api.certificates.v1beta1.PodCertificateRequest" => api::certificates::v1beta1::PodCertificateRequest,
        "io.k8s.api.coordination.v1.Lease" => api::coordination::v1::Lease,
        "io.k8s.api.coordination.v1alpha2.LeaseCandidate" => api::coordination::v1alpha2::LeaseCandidate,
        "io.k8s.api.coordination.v1beta1.LeaseCandidate" => api::coordination::v1beta1::LeaseCandidate,
        "io.k8s.api.core.v1.Binding" => api::core::v1::Binding,
        "io.k8s.api.core.v1.ComponentStatus" => api::core::v1::ComponentStatus,
        "io.k8s.api.core.v1.ConfigMap" => api::core::v1::ConfigMap,
        "io.k8s.api.core.v1.Endpoints" => api::core::v1::Endpoints,
        "io.k8s.api.core.v1.Event" => api::core::v1::Event,
        "io.k8s.api.core.v1.LimitRange" => api::core::v1::LimitRange,
        "io.k8s.api.core.v1.Namespace" => api::core::v1::Namespace,
        "io.k8s.api.core.v1.Node" => api::core::v1::Node,
        "io.k8s.api.core.v1.PersistentVolume" => api::core::v1::PersistentVolume,
        "io.k8s.api.core.v1.PersistentVolumeClaim" => api::core::v1::PersistentVolumeClaim,
        "io.k8s.api.core.v1.Pod" => api::core::v1::Pod,
        "io.k8s.api.core.v1.PodTemplate" => api::core::v1::PodTemplate,
        "io.k8s.api.core.v1.ReplicationController" => api::core::v1::ReplicationController,
        "io.k8s.api.core.v1.ResourceQuota" => api::core::v1::ResourceQuota,
        "io.k8s.api.core.v1.Secret" => api::core::v1::Secret,
        "io.k8s.api.core.v1.Service" => api::core::v1::Service,
        "io.k8s.api.core.v1.ServiceAccount" => api::core::v1::ServiceAccount,
        "io.k8s.api.discovery.v1.EndpointSlice" => api::discovery::v1::EndpointSlice,
        "io.k8s.api.events.v1.Event" => api::events::v1::Event,
        "io.k8s.api.flowcontrol.v1.FlowSchema" => api::flowcontrol::v1::FlowSchema,
        "io.k8s.api.flowcontrol.v1.PriorityLevelConfiguration" => api::flowcontrol::v1::PriorityLevelConfiguration,
        "io.k8s.api.networking.v1.IPAddress" => api::networking::v1::IPAddress,
        "io.k8s.api.networking.v1.Ingress" => api::networking::v1::Ingress,
        "io.k8s.api.networking.v1.IngressClass" => api::networking::v1::IngressClass,
        "io.k8s.api.networking.v1.NetworkPolicy" => api::networking::v1::NetworkPolicy,
        "io.k8s.api.networking.v1.ServiceCIDR" => api::networking::v1::ServiceCIDR,
        "io.k8s.api.networking.v1beta1.IPAddress" => api::networking::v1beta1::IPAddress,
        "io.k8s.api.networking.v1beta1.ServiceCIDR" => api::networking::v1beta1::ServiceCIDR,
        "io.k8s.api.node.v1.RuntimeClass" => api::node::v1::RuntimeClass,
        "io.k8s.api.policy.v1.Eviction" => api::policy::v1::Eviction,
        "io.k8s.api.policy.v1.PodDisruptionBudget" => api::policy::v1::PodDisruptionBudget,
        "io.k8s.api.rbac.v1.ClusterRole" => api::rbac::v1::ClusterRole,
        "io.k8s.api.rbac.v1.ClusterRoleBinding" => api::rbac::v1::ClusterRoleBinding,
        "io.k8s.api.rbac.v1.Role" => api::rbac::v1::Role,
        "io.k8s.api.rbac.v1.RoleBinding" => api::rbac::v1::RoleBinding,
        "io.k8s.api.resource.v1.DeviceClass" => api::resource::v1::DeviceClass,
        "io.k8s.api.resource.v1.ResourceClaim" => api::resource::v1::ResourceClaim,
        "io.k8s.api.resource.v1.ResourceClaimTemplate" => api::resource::v1::ResourceClaimTemplate,
        "io.k8s.api.resource.v1.ResourceSlice" => api::resource::v1::ResourceSlice,
        "io.k8s.api.resource.v1alpha3.DeviceTaintRule" => api::resource::v1alpha3::DeviceTaintRule,
        "io.k8s.api.resource.v1alpha3.ResourcePoolStatusRequest" => api::resource::v1alpha3::ResourcePoolStatusRequest,
        "io.k8s.api.resource.v1beta1.DeviceClass" => api::resource::v1beta1::DeviceClass,
        "io.k8s.api.resource.v1beta1.ResourceClaim" => api::resource::v1beta1::ResourceClaim,
        "io.k8s.api.resource.v1beta1.ResourceClaimTemplate" => api::resource::v1beta1::ResourceClaimTemplate,
        "io.k8s.api.resource.v1beta1.ResourceSlice" => api::resource::v1beta1::ResourceSlice,
        "io.k8s.api.resource.v1beta2.DeviceClass" => api::resource::v1beta2::DeviceClass,
        "io.k8s.api.resource.v1beta2.DeviceTaintRule" => api::resource::v1beta2::DeviceTaintRule,
        "io.k8s.api.resource.v1beta2.ResourceClaim" => api::resource::v1beta2::ResourceClaim,
        "io.k8s.api.resource.v1beta2.ResourceClaimTemplate" => api::resource::v1beta2::ResourceClaimTemplate,
        "io.k8s.api.resource.v1beta2.ResourceSlice" => api::resource::v1beta2::ResourceSlice,
        "io.k8s.api.scheduling.v1.PriorityClass" => api::scheduling::v1::PriorityClass,
        "io.k8s.api.scheduling.v1alpha2.PodGroup" => api::scheduling::v1alpha2::PodGroup,
        "io.k8s.api.scheduling.v1alpha2.Workload" => api::scheduling::v1alpha2::Workload,
        "io.k8s.api.storage.v1.CSIDriver" => api::storage::v1::CSIDriver,
        "io.k8s.api.storage.v1.CSINode" => api::storage::v1::CSINode,
        "io.k8s.api.storage.v1.CSIStorageCapacity" => api::storage::v1::CSIStorageCapacity,
        "io.k8s.api.storage.v1.StorageClass" => api::storage::v1::StorageClass,
        "io.k8s.api.storage.v1.VolumeAttachment" => api::storage::v1::VolumeAttachment,
        "io.k8s.api.storage.v1.VolumeAttributesClass" => api::storage::v1::VolumeAttributesClass,
        "io.k8s.api.storage.v1beta1.VolumeAttributesClass" => api::storage::v1beta1::VolumeAttributesClass,
        "io.k8s.api.storagemigration.v1beta1.StorageVersionMigration" => api::storagemigration::v1beta1::StorageVersionMigration,
        "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition" => apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
        "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroup" => apimachinery::pkg::apis::meta::v1::APIGroup,
        "io.k8s.apimachinery.pkg.apis.meta.v1.APIGroupList" => apimachinery::pkg::apis::meta::v1::APIGroupList,
        "io.k8s.apimachinery.pkg.apis.meta.v1.APIResourceList" => apimachinery::pkg::apis::meta::v1::APIResourceList,
        "io.k8s.apimachinery.pkg.apis.meta.v1.APIVersions" => apimachinery::pkg::apis::meta::v1::APIVersions,
        "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions" => apimachinery::pkg::apis::meta::v1::DeleteOptions,
        "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta" => apimachinery::pkg::apis::meta::v1::ListMeta,
        "io.k8s.apimachinery.pkg.apis.meta.v1.Status" => apimachinery::pkg::apis::meta::v1::Status,
        "io.k8s.apimachinery.pkg.version.Info" => apimachinery::pkg::version::Info,
        "io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService" => kube_aggregator::pkg::apis::apiregistration::v1::APIService,
    }
}
