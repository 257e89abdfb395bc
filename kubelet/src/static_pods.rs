//! Pods from manifests on the node.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Toleration};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::folder::Folder;
use crate::hex;
use crate::labels;
use crate::manager::Manager;
use crate::pod;

/// How often the folder is looked at where the kernel does not tell of its changes.
const PERIOD: Duration = Duration::from_secs(2);

/// Follows the folder (or single file) until told to stop. `changed` is called with all static pods
/// whenever they change.
pub async fn run(
    path: PathBuf,
    node: String,
    manager: Arc<Manager>,
    changed: impl Fn(Vec<Arc<Pod>>),
    stop: CancellationToken,
) {
    let mut known: BTreeMap<String, Arc<Pod>> = BTreeMap::new();
    let mut seen = None;
    // A single file, or a folder that is made later, is looked at now and then.
    let mut folder = Folder::follow(&path).ok();
    loop {
        let stamp = stamp(&path);
        if seen.as_ref() != Some(&stamp) {
            let pods = read(&path, &node);
            for uid in known.keys().filter(|uid| !pods.contains_key(*uid)) {
                manager.remove(uid);
            }
            for (_, pod) in pods.iter().filter(|(uid, _)| !known.contains_key(*uid)) {
                manager.apply(Arc::clone(pod));
            }
            changed(pods.values().cloned().collect());
            known = pods;
            seen = Some(stamp);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = changes(folder.as_mut()) => {}
        }
    }
}

/// Returns when manifests may have changed.
async fn changes(folder: Option<&mut Folder>) {
    let told = match folder {
        Some(folder) => folder.changed().await.is_ok(),
        None => false,
    };
    if !told {
        tokio::time::sleep(PERIOD).await;
    }
}

/// Names, sizes and times of the manifests: enough to see a change.
fn stamp(path: &Path) -> Vec<(PathBuf, u64, Option<std::time::SystemTime>)> {
    files(path)
        .into_iter()
        .filter_map(|file| {
            let metadata = std::fs::metadata(&file).ok()?;
            Some((file, metadata.len(), metadata.modified().ok()))
        })
        .collect()
}

fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else {
        return if path.is_file() { vec![path.to_owned()] } else { Vec::new() };
    };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let hidden =
                path.file_name().and_then(|name| name.to_str()).is_none_or(|name| name.starts_with('.'));
            path.is_file() && !hidden
        })
        .collect();
    files.sort();
    files
}

fn read(path: &Path, node: &str) -> BTreeMap<String, Arc<Pod>> {
    let mut pods = BTreeMap::new();
    for file in files(path) {
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) => {
                tracing::warn!(path = %file.display(), %error, "manifest not read");
                continue;
            }
        };
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            match Pod::deserialize(document) {
                Ok(pod) => {
                    let pod = complete(pod, &file, &text, node);
                    pods.insert(pod::uid(&pod).to_owned(), Arc::new(pod));
                }
                Err(error) => {
                    tracing::warn!(path = %file.display(), %error, "manifest is no pod");
                    // A reader that has lost its way finds the same error for ever.
                    break;
                }
            }
        }
    }
    pods
}

/// Gives a pod from a file what the API server would have given it, and an identity that changes with
/// its text.
fn complete(mut pod: Pod, file: &Path, text: &str, node: &str) -> Pod {
    let mut hash = Sha256::new();
    for part in [node, &file.to_string_lossy(), text, pod::name(&pod)] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let uid = hex::text(&hash.finalize()[..16]);
    let name = pod::name(&pod).to_owned();
    let metadata = &mut pod.metadata;
    metadata.name = Some(format!("{name}-{node}"));
    metadata.namespace.get_or_insert_with(|| "default".to_owned());
    metadata.uid = Some(uid.clone());
    metadata.resource_version = None;
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(labels::CONFIG_SOURCE.to_owned(), "file".to_owned());
    annotations.insert(labels::CONFIG_HASH.to_owned(), uid);
    annotations.insert(labels::CONFIG_SEEN.to_owned(), Timestamp::now().to_string());
    pod.status = None;
    let spec = pod.spec.get_or_insert_default();
    spec.node_name = Some(node.to_owned());
    spec.restart_policy.get_or_insert_with(|| "Always".to_owned());
    spec.dns_policy.get_or_insert_with(|| "ClusterFirst".to_owned());
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    // A static pod stays where its file is.
    spec.tolerations.get_or_insert_default().push(Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Default::default()
    });
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_follows_the_text() {
        let dir = tempfile::tempdir().expect("directory");
        let file = dir.path().join("a.yaml");
        let write = |image: &str| {
            let text = format!(
                "kind: Pod\nmetadata: {{name: p}}\nspec: {{containers: [{{name: c, image: {image}}}]}}\n"
            );
            std::fs::write(&file, text).expect("written");
            read(dir.path(), "n1").into_values().next().expect("a pod")
        };
        let (first, same, other) = (write("x"), write("x"), write("y"));
        assert_eq!(pod::name(&first), "p-n1");
        assert_eq!(pod::uid(&first), pod::uid(&same));
        assert_ne!(pod::uid(&first), pod::uid(&other));
        assert!(pod::is_static(&first));
        std::fs::write(dir.path().join(".hidden"), "x").expect("written");
        std::fs::write(dir.path().join("b.yaml"), "not: [a").expect("written");
        assert_eq!(read(dir.path(), "n1").len(), 1);
    }
}
