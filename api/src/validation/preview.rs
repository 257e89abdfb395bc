//! Rules of kinds that are served only when asked for (`--runtime-config`): almost all of them rows of constraints.
use super::certificates::{has_block, signer_name};
use super::constraints::Rule::{By, Format, MaxItems, Need, NeedFormat, OneOf, Range, Unique};
use super::constraints::{Row, check, immutable};
use super::cursor::At;
use super::resource::{pool_name, taint};
use super::storage::driver_name;
use super::{Rules, metadata};
use crate::{Value, names};

pub(super) const CERTIFICATE_RULES: &[(&str, Rules)] = &[
    (
        "ClusterTrustBundle",
        Rules { name: names::path_segment, object: trust_bundle, update: signer_stays, ..Rules::PLAIN },
    ),
    (
        "PodCertificateRequest",
        Rules { object: |at| check(&at.get("spec"), POD_CERTIFICATE), update: spec_stays, ..Rules::PLAIN },
    ),
];
pub(super) const COORDINATION_RULES: &[(&str, Rules)] = &[(
    "LeaseCandidate",
    Rules {
        object: |at| check(&at.get("spec"), CANDIDATE),
        update: |at, old| immutable(at, old, &["spec.leaseName"]),
        ..Rules::PLAIN
    },
)];
pub(super) const INTERNAL_RULES: &[(&str, Rules)] =
    &[("StorageVersion", Rules { name: names::path_segment, ..Rules::PLAIN })];
pub(super) const MIGRATION_RULES: &[(&str, Rules)] = &[(
    "StorageVersionMigration",
    Rules {
        object: |at| check(&at.get("spec.resource"), &[("resource", NeedFormat(names::dns_subdomain))]),
        update: spec_stays,
        status: |at, _| metadata::conditions(&at.get("status.conditions")),
        ..Rules::PLAIN
    },
)];
pub(super) const RESOURCE_RULES: &[(&str, Rules)] = &[
    (
        "DeviceTaintRule",
        Rules {
            object: |at| check(&at.get("spec"), TAINT_RULE),
            status: |at, _| metadata::conditions(&at.get("status.conditions")),
            ..Rules::PLAIN
        },
    ),
    (
        "ResourcePoolStatusRequest",
        Rules { object: |at| check(&at.get("spec"), POOL_REQUEST), update: spec_stays, ..Rules::PLAIN },
    ),
];
pub(super) const SCHEDULING_RULES: &[(&str, Rules)] = &[
    (
        "PodGroup",
        Rules {
            object: |at| group(&at.get("spec")),
            update: |at, old| {
                immutable(
                    at,
                    old,
                    &["spec.podGroupTemplateRef", "spec.schedulingPolicy", "spec.resourceClaims"],
                );
            },
            ..Rules::PLAIN
        },
    ),
    (
        "Workload",
        Rules {
            object: |at| check(&at.get("spec"), WORKLOAD),
            update: |at, old| immutable(at, old, &["spec.controllerRef", "spec.podGroupTemplates"]),
            ..Rules::PLAIN
        },
    ),
];

/// Shortest and longest life of a pod's certificate, in seconds: an hour, 91 days.
const CERTIFICATE_SECONDS: (i64, i64) = (3600, 7_862_400);

const POD_CERTIFICATE: &[Row] = &[
    ("signerName", By(signer_name)),
    ("podName", NeedFormat(names::dns_subdomain)),
    ("podUID", Need),
    ("serviceAccountName", NeedFormat(names::dns_subdomain)),
    ("serviceAccountUID", Need),
    ("nodeName", NeedFormat(names::dns_subdomain)),
    ("nodeUID", Need),
    ("maxExpirationSeconds", Range(CERTIFICATE_SECONDS.0, CERTIFICATE_SECONDS.1)),
];
const CANDIDATE: &[Row] =
    &[("leaseName", NeedFormat(names::dns_subdomain)), ("binaryVersion", Need), ("strategy", Need)];
const TAINT_RULE: &[Row] = &[
    ("deviceSelector?.driver", Format(driver_name)),
    ("deviceSelector?.pool?", By(pool_name)),
    ("deviceSelector?.device", Format(names::dns_label)),
    ("taint", By(taint)),
];
const POOL_REQUEST: &[Row] =
    &[("driver", NeedFormat(driver_name)), ("poolName?", By(pool_name)), ("limit", Range(1, 1000))];
const GROUP: &[Row] = &[
    ("schedulingPolicy", By(policy)),
    ("schedulingConstraints?.topology", MaxItems(1)),
    ("schedulingConstraints?.topology[].key", NeedFormat(names::qualified_name)),
    ("resourceClaims", MaxItems(4)),
    ("resourceClaims", Unique("name")),
    ("resourceClaims[].name", NeedFormat(names::dns_label)),
    ("disruptionMode", OneOf(&["Pod", "PodGroup"])),
    ("priorityClassName", Format(names::dns_subdomain)),
    ("podGroupTemplateRef?.workload?.workloadName", NeedFormat(names::dns_subdomain)),
    ("podGroupTemplateRef?.workload?.podGroupTemplateName", NeedFormat(names::dns_label)),
];
const WORKLOAD: &[Row] = &[
    ("controllerRef?.apiGroup", Format(names::dns_subdomain)),
    ("controllerRef?.kind", NeedFormat(names::path_segment)),
    ("controllerRef?.name", NeedFormat(names::path_segment)),
    ("podGroupTemplates", Need),
    ("podGroupTemplates", MaxItems(8)),
    ("podGroupTemplates", Unique("name")),
    ("podGroupTemplates[].name", NeedFormat(names::dns_label)),
    ("podGroupTemplates[]", By(group)),
];

fn spec_stays(at: &At<'_>, old: &Value) {
    immutable(at, old, &["spec"]);
}

fn signer_stays(at: &At<'_>, old: &Value) {
    immutable(at, old, &["spec.signerName"]);
}

/// The name of a bundle says whose it is.
fn trust_bundle(at: &At<'_>) {
    let (name, signer) = (at.get("metadata.name"), at.get("spec.signerName"));
    if signer.is_empty() {
        if name.text().contains(':') {
            name.invalid("ClusterTrustBundle without signer name must not have \":\" in its name");
        }
    } else {
        let prefix = format!("{}:", signer.text().replace('/', ":"));
        if !name.text().starts_with(&prefix) {
            let signer = signer.text();
            name.invalid(format!(
                "ClusterTrustBundle for signerName {signer} must be named with prefix {prefix}"
            ));
        }
        signer_name(&signer);
    }
    let bundle = at.get("spec.trustBundle");
    if !has_block(bundle.text().as_bytes(), "CERTIFICATE") {
        bundle.invalid_text("<value omitted>", "at least one trust anchor must be provided");
    }
}

fn group(spec: &At<'_>) {
    check(spec, GROUP);
}

/// One way to schedule a group.
fn policy(policy: &At<'_>) {
    match (policy.find("basic"), policy.find("gang")) {
        (None, None) => policy.invalid_text("", "must specify one of: `basic`, `gang`"),
        (Some(_), Some(_)) => {
            policy.invalid_text("{basic, gang}", "must specify exactly one of: `basic`, `gang`")
        }
        (None, Some(gang)) => {
            let count = gang.get("minCount");
            if count.int().unwrap_or(0) == 0 {
                count.required("");
            } else {
                check(&count, &[("", Range(1, i64::from(i32::MAX)))]);
            }
        }
        _ => {}
    }
}
