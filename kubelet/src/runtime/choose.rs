//! Which runtime a node has.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::cri::CriRuntime;
use super::docker::{self, DockerRuntime};
use super::embedded::{Embedded, PodNetwork, Registries, Settings};
use super::{Result, SharedRuntime};

/// The endpoint that stands for the embedded runtime.
pub const EMBEDDED: &str = "embedded";
/// The hidden subcommand that is a sandbox's process.
pub const SHIM: &str = "runtime-shim";

/// This program, also when its file has been replaced by another version's.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What is needed to reach a node's runtime.
#[derive(Clone)]
pub struct Choice {
    /// A CRI socket (a path or a `unix://` URL), Docker Engine's socket (a `docker://` URL), or [`EMBEDDED`].
    pub endpoint: String,
    /// The kubelet's `--root-dir`.
    pub root_dir: PathBuf,
    /// Directory of the embedded runtime's images.
    pub image_store_dir: PathBuf,
    /// How registries are reached by the embedded runtime.
    pub registries: Registries,
    /// Who gives pods of the embedded runtime and of Docker their network.
    pub network: Arc<dyn PodNetwork>,
}

impl std::fmt::Debug for Choice {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Choice").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// Directory of the embedded runtime's sandboxes below the kubelet's `--root-dir`.
pub fn sandboxes(root_dir: &Path) -> PathBuf {
    root_dir.join("sandboxes")
}

/// Directory of sandboxes in Docker Engine below the kubelet's `--root-dir`.
fn docker_sandboxes(root_dir: &Path) -> PathBuf {
    root_dir.join("docker")
}

/// The endpoint that a kubelet with this `--root-dir` has used, if that is known from its files.
pub fn used(root_dir: &Path) -> Option<String> {
    let embedded = || sandboxes(root_dir).is_dir().then(|| EMBEDDED.to_owned());
    docker::used(&docker_sandboxes(root_dir)).or_else(embedded)
}

/// Opens the runtime; within a tokio runtime, since some follow what runs.
pub fn open(choice: &Choice) -> Result<SharedRuntime> {
    if let Some(socket) = docker::socket(&choice.endpoint) {
        let settings = docker::Settings {
            socket,
            root_dir: choice.root_dir.clone(),
            folders: docker_sandboxes(&choice.root_dir),
            network: Arc::clone(&choice.network),
        };
        return Ok(Arc::new(DockerRuntime::open(settings)?));
    }
    if choice.endpoint != EMBEDDED {
        return Ok(Arc::new(CriRuntime::new(&choice.endpoint)?));
    }
    let settings = Settings {
        root: sandboxes(&choice.root_dir),
        store: choice.image_store_dir.clone(),
        registries: choice.registries.clone(),
        shim: vec![OWN_PROGRAM.to_owned(), SHIM.to_owned()],
        network: Arc::clone(&choice.network),
    };
    Ok(Arc::new(Embedded::open(settings)?))
}
