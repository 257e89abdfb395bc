//! Rules of a pod's volumes.
use super::super::cursor::At;
use super::super::{certificates, labels, metadata, sources};
use super::{Place, env, mounts};
use crate::names;

/// A volume as mounts see it.
pub(super) struct Volume<'a> {
    pub(super) name: &'a str,
    /// It can be a block device.
    pub(super) block: bool,
    /// It is a folder that the pod begins with empty.
    pub(super) empty_dir: bool,
}

const SOURCES: [&str; 30] = [
    "awsElasticBlockStore",
    "azureDisk",
    "azureFile",
    "cephfs",
    "cinder",
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "glusterfs",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "persistentVolumeClaim",
    "photonPersistentDisk",
    "portworxVolume",
    "projected",
    "quobyte",
    "rbd",
    "scaleIO",
    "secret",
    "storageos",
    "vsphereVolume",
];
const DOWNWARD_FIELDS: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const HOST_PATH_TYPES: [&str; 8] =
    ["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];

/// All volumes; gives what mounts need to know of them.
pub(super) fn volumes<'a>(list: &At<'a>, place: Place) -> Vec<Volume<'a>> {
    let mut found: Vec<Volume<'a>> = Vec::new();
    for volume in list.items() {
        let name = volume.get("name");
        name.required_format(names::dns_label);
        if !name.is_empty() && found.iter().any(|other| other.name == name.text()) {
            name.duplicate();
        }
        volume.exactly_one(&SOURCES, "may not specify more than 1 volume type", "must specify a volume type");
        source(&volume, place);
        let block = ["persistentVolumeClaim", "ephemeral"].iter().any(|n| volume.find(n).is_some());
        let empty_dir = volume.find("emptyDir").is_some();
        found.push(Volume { name: name.text(), block, empty_dir });
    }
    found
}

/// Claims that are made for ephemeral volumes have names of their own, which must be good and no other volume's.
pub(super) fn ephemeral_claims(pod: &At<'_>) {
    let name = pod.get("metadata.name").text();
    let list = pod.get("spec.volumes");
    let ephemeral = |volume: &At<'_>| volume.find("ephemeral").is_some();
    for volume in list.items().filter(|volume| !name.is_empty() && ephemeral(volume)) {
        let claim = format!("{name}-{}", volume.get("name").text());
        for fault in names::dns_subdomain(&claim) {
            volume.get("name").invalid(format!("PVC name {claim:?}: {fault}"));
        }
        for other in list.items().map(|other| other.get("persistentVolumeClaim.claimName")) {
            if other.text() == claim {
                other.invalid("must not reference a PVC that gets created for an ephemeral volume");
            }
        }
    }
}

fn source(volume: &At<'_>, place: Place) {
    sources::all(volume);
    if let Some(dir) = volume.find("emptyDir") {
        let limit = dir.get("sizeLimit");
        if limit.quantity().is_some_and(|q| q.sign() < 0) {
            limit.forbidden("SizeLimit field must be a valid resource quantity");
        }
    }
    if let Some(secret) = volume.find("secret") {
        secret.get("secretName").need();
        mode(&secret.get("defaultMode"));
        keys_to_paths(&secret.get("items"));
    }
    if let Some(map) = volume.find("configMap") {
        map.get("name").need();
        mode(&map.get("defaultMode"));
        keys_to_paths(&map.get("items"));
    }
    if let Some(claim) = volume.find("persistentVolumeClaim") {
        claim.get("claimName").need();
    }
    if let Some(downward) = volume.find("downwardAPI") {
        mode(&downward.get("defaultMode"));
        downward.get("items").items().for_each(|item| downward_item(&item));
    }
    if let Some(projected) = volume.find("projected") {
        projection(&projected);
    }
    if let Some(ephemeral) = volume.find("ephemeral") {
        let template = ephemeral.get("volumeClaimTemplate");
        if template.is_set() {
            metadata::template(&template.get("metadata"));
            super::super::storage::claim_spec(&template.get("spec"));
        } else {
            template.required("");
        }
    }
    if let Some(repository) = volume.find("gitRepo") {
        repository.get("repository").need();
        mounts::local_descending_path(&repository.get("directory"));
    }
    if let Some(image) = volume.find("image") {
        if place == Place::Pod {
            image.get("reference").need();
        }
        image.get("pullPolicy").one_of_if_set(&["Always", "IfNotPresent", "Never"]);
    }
}

/// A path from the root of a server.
pub(in super::super) fn absolute_path(path: &At<'_>) {
    if path.need() && !path.text().starts_with('/') {
        path.invalid("must be an absolute path");
    }
}

/// A path of the host, in pods and persistent volumes.
pub(in super::super) fn host_path(source: &At<'_>) {
    let path = source.get("path");
    if path.need() {
        mounts::no_backsteps(&path);
    }
    source.get("type").one_of_if_set(&HOST_PATH_TYPES);
}

fn mode(mode: &At<'_>) {
    if mode.int().is_some_and(|bits| !(0..=0o777).contains(&bits)) {
        mode.invalid("must be a number between 0 and 0777 (octal), both inclusive");
    }
}

fn keys_to_paths(items: &At<'_>) {
    for item in items.items() {
        item.get("key").need();
        item_path(&item);
        mode(&item.get("mode"));
    }
}

fn item_path(item: &At<'_>) {
    let path = item.get("path");
    if path.need() {
        mounts::local_non_reserved_path(&path);
    }
}

fn downward_item(item: &At<'_>) {
    item_path(item);
    match (item.find("fieldRef"), item.find("resourceFieldRef")) {
        (Some(field), None) => env::field_ref(&field, &DOWNWARD_FIELDS),
        (None, Some(resource)) => env::resource_field_ref(&resource, true),
        (Some(field), Some(_)) => {
            env::field_ref(&field, &DOWNWARD_FIELDS);
            item.invalid_text(
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            );
        }
        (None, None) => item.required("one of fieldRef and resourceFieldRef is required"),
    }
    mode(&item.get("mode"));
}

fn projection(projected: &At<'_>) {
    mode(&projected.get("defaultMode"));
    let mut paths: Vec<String> = Vec::new();
    for source in projected.get("sources").items() {
        source.exactly_one(
            &[
                "secret",
                "configMap",
                "downwardAPI",
                "serviceAccountToken",
                "clusterTrustBundle",
                "podCertificate",
            ],
            "may not specify more than 1 volume type",
            "must specify a volume source",
        );
        let mut conflict = |at: &At<'_>, path: &At<'_>| {
            if !path.is_empty() && paths.iter().any(|other| other == path.text()) {
                at.invalid_text(path.text(), "conflicting duplicate paths");
            }
            paths.push(path.text().to_owned());
        };
        for files in ["secret", "configMap"].iter().filter_map(|name| source.find(name)) {
            files.get("name").need();
            keys_to_paths(&files.get("items"));
            files.get("items").items().for_each(|item| conflict(&files, &item.get("path")));
        }
        if let Some(downward) = source.find("downwardAPI") {
            for item in downward.get("items").items() {
                downward_item(&item);
                conflict(&downward, &item.get("path"));
            }
        }
        if let Some(token) = source.find("serviceAccountToken") {
            // Files in its place are only warned about.
            token_projection(&token);
        }
        if let Some(bundle) = source.find("clusterTrustBundle") {
            trust_bundle_projection(&bundle);
            conflict(&bundle, &bundle.get("path"));
        }
    }
}

fn token_projection(token: &At<'_>) {
    let seconds = token.get("expirationSeconds");
    if seconds.int().is_some_and(|s| s < 600) {
        seconds.invalid("may not specify a duration less than 10 minutes");
    }
    if seconds.int().is_some_and(|s| s > 1 << 32) {
        seconds.invalid("may not specify a duration larger than 2^32 seconds");
    }
    let path = token.get("path");
    if path.need() {
        mounts::local_descending_path(&path);
    }
}

/// Trust bundles come by name, or by signer and labels.
fn trust_bundle_projection(bundle: &At<'_>) {
    let (name, signer, selector) =
        (bundle.get("name"), bundle.get("signerName"), bundle.get("labelSelector"));
    match (name.is_set(), signer.is_set()) {
        (true, true) => bundle.invalid("only one of name and signerName may be used"),
        (true, false) if selector.is_set() => {
            selector.invalid("labelSelector must be unset if name is specified")
        }
        (true, false) => name.required_format(names::path_segment),
        (false, true) => {
            certificates::signer_name(&signer);
            labels::selector(&selector);
        }
        (false, false) => bundle.required("either name or signerName must be specified"),
    }
    item_path(bundle);
}
