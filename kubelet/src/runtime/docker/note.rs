//! What is noted on containers, in labels, and found again by any kubelet with the same root directory.

use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::labels;
use crate::runtime::PodUid;

/// Label: the root directory of the kubelet that the container belongs to.
const OWNER: &str = "knarr.dev/kubelet-root-dir";
/// Label: `podsandbox` or `container`, as the original's dockershim wrote it.
const KIND: &str = "io.kubernetes.docker.type";
/// Label: the sandbox that a container lives in, likewise.
const SANDBOX: &str = "io.kubernetes.sandbox.id";
/// Label: the rest, as JSON. Images have labels too, which containers inherit; this one is always written.
const NOTE: &str = "knarr.dev/note";

/// Which of the two a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A pod's sandbox.
    Sandbox,
    /// One of its containers.
    Container,
}

impl Kind {
    fn label(self) -> &'static str {
        match self {
            Kind::Sandbox => "podsandbox",
            Kind::Container => "container",
        }
    }
}

/// What is noted of a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SandboxNote {
    /// Name of the pod.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Which sandbox of the pod it is.
    pub attempt: u32,
    /// Labels that the kubelet gave.
    pub labels: BTreeMap<String, String>,
    /// Annotations that the kubelet gave.
    pub annotations: BTreeMap<String, String>,
    /// Name of the OCI runtime; empty: Docker's default.
    pub handler: String,
    /// Whether it shares the host's network.
    pub host_network: bool,
}

impl SandboxNote {
    /// Name of its folder.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.uid, self.attempt)
    }
}

/// What is noted of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ContainerNote {
    /// Name within the pod.
    pub name: String,
    /// How often it was made before.
    pub attempt: u32,
    /// Id of its sandbox.
    pub sandbox: String,
    /// Labels that the kubelet gave.
    pub labels: BTreeMap<String, String>,
    /// Annotations that the kubelet gave.
    pub annotations: BTreeMap<String, String>,
    /// Its log file; empty: it has none.
    pub log_path: String,
    /// The pod's control group.
    pub cgroup_parent: String,
    /// The image as it was asked for.
    pub image: String,
    /// A name of the image.
    pub image_name: String,
    /// How the image is told: by name and digest if it was pulled, else by its id.
    pub image_ref: String,
}

/// The labels of a container: the note, those that tools know, and those by which it is found.
pub fn write(
    owner: &str,
    kind: Kind,
    sandbox: Option<&str>,
    given: &BTreeMap<String, String>,
    note: &impl Serialize,
) -> HashMap<String, String> {
    let mut all: HashMap<String, String> = given.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    let text = serde_json::to_string(note).unwrap_or_default();
    let own = [(OWNER, owner), (KIND, kind.label()), (NOTE, &text)];
    let own = own.into_iter().chain(sandbox.map(|id| (SANDBOX, id)));
    all.extend(own.map(|(k, v)| (k.to_owned(), v.to_owned())));
    all
}

/// The note on a container of that kind, if it is one of the owner's.
pub fn read<T: DeserializeOwned>(owner: &str, kind: Kind, labels: &HashMap<String, String>) -> Option<T> {
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
    if !is(OWNER, owner) || !is(KIND, kind.label()) {
        return None;
    }
    serde_json::from_str(labels.get(NOTE)?).ok()
}

/// Docker's filter for containers of one kind, of one pod or of all.
pub fn of_pod(owner: &str, kind: Kind, uid: PodUid<'_>) -> Vec<String> {
    let mut all = vec![format!("{OWNER}={owner}"), format!("{KIND}={}", kind.label())];
    all.extend(uid.map(|uid| format!("{}={uid}", labels::POD_UID)));
    all
}

/// Docker's filter for the containers of a sandbox.
pub fn of_sandbox(owner: &str, id: &str) -> Vec<String> {
    let mut all = of_pod(owner, Kind::Container, None);
    all.push(format!("{SANDBOX}={id}"));
    all
}

/// Docker's filter for everything of the owner.
pub fn of_owner(owner: &str) -> Vec<String> {
    vec![format!("{OWNER}={owner}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_the_owners() {
        let note = ContainerNote { name: "a".to_owned(), attempt: 3, ..ContainerNote::default() };
        let given =
            BTreeMap::from([(NOTE.to_owned(), "forged".to_owned()), ("b".to_owned(), "c".to_owned())]);
        let labels = write("/one", Kind::Container, Some("s"), &given, &note);
        assert_eq!(read("/one", Kind::Container, &labels), Some(note));
        assert_eq!(read::<ContainerNote>("/two", Kind::Container, &labels), None);
        assert_eq!(read::<SandboxNote>("/one", Kind::Sandbox, &labels), None);
        assert_eq!(labels.get("b").map(String::as_str), Some("c"));
        let sought = of_sandbox("/one", "s");
        assert!(
            sought.iter().all(|one| one.split_once('=').is_some_and(|(k, v)| labels[k] == v)),
            "{sought:?}"
        );
    }
}
