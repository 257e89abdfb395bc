//! What makes the pod of an ordinal: its name, labels, host name and volumes.

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{
        self as whole, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume,
    },
};

use crate::{
    history::HASH,
    meta::{Map, controller_reference, label, name, namespace},
    pods::{self, Pod},
};

const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The ordinal in a pod's name, if the name is one the set gives.
pub(super) fn ordinal(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, ordinal) = name(&pod.metadata).rsplit_once('-')?;
    let canonical = ordinal == "0" || !ordinal.starts_with('0');
    (parent == name(&set.metadata) && canonical && !ordinal.starts_with('+'))
        .then(|| ordinal.parse().ok())
        .flatten()
}

/// The revision that a pod was made from.
pub(super) fn revision(pod: &Pod) -> Option<&str> {
    label(&pod.metadata, HASH)
}

fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", name(&set.metadata))
}

/// Labels that tell pods of a set apart.
pub(super) fn labels(set: &StatefulSet, ordinal: i32) -> Map {
    Map::from([(POD_NAME.to_string(), pod_name(set, ordinal)), (POD_INDEX.to_string(), ordinal.to_string())])
}

/// Whether a pod has the labels of its ordinal.
pub(super) fn is_identified(set: &StatefulSet, ordinal: i32, pod: &Pod) -> bool {
    crate::meta::contains_all(&labels(set, ordinal), pod.metadata.labels.as_ref())
}

fn claim_name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}", name(&template.metadata), pod_name(set, ordinal))
}

fn claim_templates(set: &StatefulSet) -> Vec<PersistentVolumeClaim> {
    set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.clone()).unwrap_or_default()
}

/// The claims of an ordinal.
pub(super) fn claims(set: &StatefulSet, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let spec = set.spec.clone().unwrap_or_default();
    let when_deleted = spec
        .persistent_volume_claim_retention_policy
        .as_ref()
        .and_then(|policy| policy.when_deleted.as_deref());
    let templates = claim_templates(set).into_iter();
    templates
        .map(|template| {
            let mut claim = PersistentVolumeClaim {
                metadata: template.metadata.clone(),
                spec: template.spec.clone(),
                status: None,
            };
            claim.metadata.name = Some(claim_name(set, &template, ordinal));
            claim.metadata.namespace.clone_from(&set.metadata.namespace);
            let labels = claim.metadata.labels.get_or_insert_default();
            labels.extend(spec.selector.match_labels.clone().unwrap_or_default());
            if when_deleted == Some("Delete") {
                let mut owner = controller_reference(set);
                (owner.controller, owner.block_owner_deletion) = (Some(true), None);
                claim.metadata.owner_references = Some(vec![owner]);
            }
            claim
        })
        .collect()
}

/// The pod of an ordinal.
pub(super) fn pod(set: &StatefulSet, ordinal: i32, template: &PodTemplateSpec, revision: &str) -> whole::Pod {
    let mut pod = pods::from_template(template, namespace(&set.metadata), "", controller_reference(set));
    pod.metadata.generate_name = None;
    pod.metadata.name = Some(pod_name(set, ordinal));
    let all = pod.metadata.labels.get_or_insert_default();
    all.extend(labels(set, ordinal));
    all.insert(HASH.to_string(), revision.to_string());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(pod_name(set, ordinal));
    spec.subdomain =
        set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|name| !name.is_empty());
    let templates = claim_templates(set);
    let mut volumes: Vec<Volume> = templates
        .iter()
        .map(|template| Volume {
            name: name(&template.metadata).to_string(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim_name(set, template, ordinal),
                read_only: None,
            }),
            ..Default::default()
        })
        .collect();
    // A claim template takes the place of a volume of the same name.
    let others = spec.volumes.take().unwrap_or_default().into_iter();
    volumes.extend(
        others.filter(|volume| !templates.iter().any(|template| name(&template.metadata) == volume.name)),
    );
    spec.volumes = Some(volumes).filter(|volumes| !volumes.is_empty());
    pod
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::StatefulSetSpec;
    use kube::api::ObjectMeta;

    use super::*;

    #[test]
    fn pods_have_volumes_of_their_own() {
        let template = PersistentVolumeClaim {
            metadata: ObjectMeta { name: Some("data".into()), ..Default::default() },
            ..Default::default()
        };
        let set = StatefulSet {
            metadata: ObjectMeta {
                name: Some("db".into()),
                namespace: Some("ns".into()),
                ..Default::default()
            },
            spec: Some(StatefulSetSpec {
                service_name: Some("dbs".into()),
                volume_claim_templates: Some(vec![template]),
                ..Default::default()
            }),
            status: None,
        };
        let made = pod(&set, 2, &PodTemplateSpec::default(), "rev");
        let spec = made.spec.as_ref().unwrap();
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-2"), Some("dbs")));
        let volume = &spec.volumes.as_ref().unwrap()[0];
        assert_eq!(volume.persistent_volume_claim.as_ref().unwrap().claim_name, "data-db-2");
        assert_eq!(name(&claims(&set, 2)[0].metadata), "data-db-2");
        let made = pods::tests::kept(&made);
        assert!(is_identified(&set, 2, &made) && !is_identified(&set, 1, &made));
        assert_eq!((ordinal(&set, &made), revision(&made)), (Some(2), Some("rev")));
        let check = |text: &str, expected| {
            let mut other = made.clone();
            other.metadata.name = Some(text.into());
            assert_eq!(ordinal(&set, &other), expected, "{text}");
        };
        check("db-0", Some(0));
        check("db-01", None);
        check("other-1", None);
        check("db-x", None);
    }
}
