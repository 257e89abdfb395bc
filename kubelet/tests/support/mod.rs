//! What the tests of containers share.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use sha2::{Digest, Sha256};

/// Name of the test image.
pub const IMAGE: &str = "registry.test/busybox:1";

/// A containerd that ends with the test.
pub struct Containerd {
    process: Child,
    /// Everything of it.
    pub dir: tempfile::TempDir,
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Containerd {
    /// Starts it; it takes a moment until it answers.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\n\
             disabled_plugins = [\"io.containerd.internal.v1.opt\"]\n\
             [grpc]\n  address = {:?}\n\
             [plugins.\"io.containerd.grpc.v1.cri\"]\n  sandbox_image = \"{IMAGE}\"\n  restrict_oom_score_adj = true\n\
             [plugins.\"io.containerd.grpc.v1.cri\".cni]\n  conf_dir = {:?}\n",
            at("root"),
            at("state"),
            at("c.sock"),
            at("cni"),
        );
        std::fs::write(dir.path().join("config.toml"), config).expect("configuration");
        let log = std::fs::File::create(dir.path().join("containerd.log")).expect("log");
        let process = Command::new("containerd")
            .arg("--config")
            .arg(dir.path().join("config.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("containerd starts");
        Self { process, dir }
    }

    /// Its socket.
    pub fn socket(&self) -> String {
        self.dir.path().join("c.sock").display().to_string()
    }
}

/// Why tests that need these programs cannot run here.
pub fn obstacle(programs: &[&str]) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    for program in programs {
        let found =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return Some(format!("no {program}"));
        }
    }
    match busybox() {
        Some(_) => None,
        None => Some("no static busybox".to_owned()),
    }
}

fn busybox() -> Option<PathBuf> {
    ["/usr/bin/busybox", "/bin/busybox"].into_iter().map(PathBuf::from).find(|path| path.exists())
}

/// Programs of the image.
const TOOLS: [&str; 22] = [
    "sh", "sleep", "cat", "echo", "id", "ls", "touch", "grep", "test", "kill", "stat", "nc", "hostname",
    "mount", "head", "stty", "dd", "env", "pwd", "chroot", "ps", "true",
];

/// An archive with one image: busybox, which by default sleeps, so that it is its own pause image. It has two folders
/// for data, one of them with something in it.
pub fn archive() -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let program = std::fs::read(busybox().expect("busybox")).expect("read");
    header.set_mode(0o755);
    header.set_size(program.len() as u64);
    layer.append_data(&mut header, "bin/busybox", program.as_slice()).expect("layer");
    for name in TOOLS {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        layer.append_link(&mut header, format!("bin/{name}"), "busybox").expect("link");
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    header.set_mode(0o750);
    header.set_uid(1000);
    layer.append_data(&mut header, "data", std::io::empty()).expect("folder");
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(5);
    layer.append_data(&mut header, "data/kept", &b"kept\n"[..]).expect("file");
    let layer = layer.into_inner().expect("layer");
    let mut out = tar::Builder::new(Vec::new());
    let mut put = |path: String, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        out.append_data(&mut header, path, bytes).expect("archive");
    };
    let mut blob = |bytes: &[u8], kind: &str| {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        put(format!("blobs/sha256/{digest}"), bytes);
        serde_json::json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    };
    let layer = blob(&layer, "application/vnd.oci.image.layer.v1.tar");
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": {
            "Entrypoint": ["/bin/sleep", "100000"], "Env": ["PATH=/bin"],
            "Volumes": { "/data": {}, "/fresh/inner": {} },
        },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({ "schemaVersion": 2, "config": config, "layers": [layer] }).to_string();
    let mut entry = blob(manifest.as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = serde_json::json!({ "io.containerd.image.name": IMAGE });
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    put("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#);
    put("index.json".to_owned(), index.to_string().as_bytes());
    out.into_inner().expect("archive")
}
