//! The files of a cluster. Everything a cluster writes lies below one directory, so that `down` can remove it
//! whole; sockets lie in a short path of their own, because a socket's path may have at most 107 bytes.
use std::path::{Path, PathBuf};

/// The directory of all clusters: `$KNARR_HOME`, `/var/lib/knarr` for root, else the user's data directory.
pub fn home() -> PathBuf {
    if let Some(home) = std::env::var_os("KNARR_HOME") {
        return PathBuf::from(home);
    }
    if nix::unistd::geteuid().is_root() {
        return PathBuf::from("/var/lib/knarr");
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from);
    let data = data.or_else(|| std::env::home_dir().map(|home| home.join(".local/share")));
    data.unwrap_or_else(std::env::temp_dir).join("knarr")
}

/// Images of the embedded runtime in the directory of all clusters.
pub fn image_store(home: &Path) -> PathBuf {
    home.join(".images")
}

/// Where the files of one cluster lie.
#[derive(Clone, Debug)]
pub struct Paths {
    root: PathBuf,
}

impl Paths {
    /// The paths of cluster `name` below `home`.
    pub fn new(home: &Path, name: &str) -> Self {
        Self { root: home.join(name) }
    }

    /// The directory that holds everything.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What was chosen for the cluster, JSON.
    pub fn state_file(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// Certificates and keys.
    pub fn pki(&self, file: &str) -> PathBuf {
        self.root.join("pki").join(file)
    }

    /// The kubeconfig of a component or of `admin`.
    pub fn kubeconfig(&self, user: &str) -> PathBuf {
        self.root.join("kubeconfig").join(format!("{user}.yaml"))
    }

    /// The database directory.
    pub fn database(&self) -> PathBuf {
        self.root.join("db")
    }

    /// The log of a component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.root.join("logs").join(format!("{component}.log"))
    }

    /// Container logs of pods; links to them lie beside it, as on other nodes in `/var/log`.
    pub fn pod_logs(&self) -> PathBuf {
        self.root.join("var-log").join("pods")
    }

    /// The kubelet's root directory.
    pub fn kubelet(&self) -> PathBuf {
        self.root.join("kubelet")
    }

    /// Data of the volumes that the built-in provisioner makes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Static pods.
    pub fn manifests(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// What scripts simulated nodes and their pods, if anything does.
    pub fn stages(&self) -> PathBuf {
        self.root.join("stages.yaml")
    }

    /// Image archives that are imported at start.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Images of the embedded runtime, which all clusters below the same directory share. No cluster has such a name.
    pub fn image_store(&self) -> PathBuf {
        image_store(self.root.parent().unwrap_or(&self.root))
    }

    /// containerd's root (images, snapshots).
    pub fn containerd(&self) -> PathBuf {
        self.root.join("containerd")
    }

    /// CNI configuration (`conf`), plugin links (`bin`) and address reservations (`state`).
    pub fn cni(&self, part: &str) -> PathBuf {
        self.root.join("cni").join(part)
    }

    /// Lock files; a component holds its own as long as it lives.
    pub fn lock(&self, component: &str) -> PathBuf {
        self.root.join("run").join(format!("{component}.lock"))
    }

    /// Short-lived state: sockets and containerd's state. Below `/run` for root.
    pub fn run(&self) -> PathBuf {
        let Some(name) = self.root.file_name() else { return self.root.join("run") };
        let default_home = Path::new("/var/lib/knarr");
        if self.root.parent() == Some(default_home) {
            return Path::new("/run/knarr").join(name);
        }
        self.root.join("run")
    }

    /// containerd's socket.
    pub fn containerd_socket(&self) -> PathBuf {
        self.run().join("containerd.sock")
    }

    /// All directories that must exist before the components start, with whether they hold secrets.
    pub fn directories(&self) -> Vec<(PathBuf, u32)> {
        let root = |part: &str| self.root.join(part);
        vec![
            (self.root.clone(), 0o755),
            (root("pki"), 0o700),
            (root("kubeconfig"), 0o700),
            (self.database(), 0o700),
            (root("logs"), 0o755),
            (root("var-log"), 0o755),
            (self.pod_logs(), 0o755),
            (self.kubelet(), 0o755),
            (self.manifests(), 0o755),
            (self.images(), 0o755),
            (self.containerd(), 0o711),
            (self.cni("conf"), 0o755),
            (self.cni("bin"), 0o755),
            (self.cni("state"), 0o755),
            (root("run"), 0o711),
            (self.run(), 0o711),
        ]
    }
}
