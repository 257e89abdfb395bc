//! The pause image: an OCI archive made in memory from the program that `build.rs` compiled.
//!
//! Source: OCI image specification, "Image Layout"; containerd names an imported image by the annotation
//! `io.containerd.image.name`.
use crate::containerd::PAUSE_IMAGE;
use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The compiled program.
static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pause"));

/// A file of the archive's `blobs`, with its digest and size as a descriptor names them.
struct Blob {
    hex: String,
    content: Vec<u8>,
}

impl Blob {
    fn new(content: Vec<u8>) -> Self {
        let hex = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { hex, content }
    }

    fn json(value: &Value) -> Result<Self> {
        Ok(Self::new(serde_json::to_vec(value)?))
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.hex), "size": self.content.len()})
    }
}

/// The image as an OCI layout in a tar archive; the same bytes from the same program.
pub fn archive() -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "pause", PROGRAM, 0o755)?;
    let layer = Blob::new(layer.into_inner()?);
    let config = Blob::json(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.hex)]},
    }))?;
    let manifest = Blob::json(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    }))?;
    let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = json!({"io.containerd.image.name": PAUSE_IMAGE});
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;

    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    append(&mut archive, "index.json", &index, 0o644)?;
    for blob in [layer, config, manifest] {
        append(&mut archive, &format!("blobs/sha256/{}", blob.hex), &blob.content, 0o644)?;
    }
    Ok(archive.into_inner()?)
}

fn append(archive: &mut tar::Builder<Vec<u8>>, path: &str, content: &[u8], mode: u32) -> Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_cksum();
    archive.append_data(&mut header, path, content)?;
    Ok(())
}

/// The architecture in OCI's (Go's) words.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_small_and_reproducible() {
        let archive = archive().unwrap();
        assert!(archive.len() < 32 << 10, "{} bytes", archive.len());
        assert_eq!(archive, super::archive().unwrap());
    }
}
