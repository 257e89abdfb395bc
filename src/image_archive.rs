//! Image archives made without a builder or a registry: the pause image and `knarr image pack`.
//!
//! Source: OCI image specification, "Image Layout". containerd names an imported image by the annotation
//! `io.containerd.image.name`, docker and podman by `manifest.json`.
use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What a container of the image runs, unless its pod says otherwise.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Program and first arguments.
    pub entrypoint: Vec<String>,
    /// `UID[:GID]`; empty for root.
    pub user: String,
    /// Working directory; empty for `/`.
    pub working_dir: String,
    /// `NAME=VALUE` each.
    pub env: Vec<String>,
}

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

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hex)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({"mediaType": media_type, "digest": format!("sha256:{}", self.hex), "size": self.content.len()})
    }
}

/// An image of one layer, as an OCI layout in a tar archive; the same bytes from the same input.
pub fn archive(name: &str, config: &Config, layer: Vec<u8>) -> Result<Vec<u8>> {
    let layer = Blob::new(layer);
    let config = Blob::json(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "Entrypoint": config.entrypoint,
            "User": config.user,
            "WorkingDir": config.working_dir,
            "Env": config.env,
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.hex)]},
    }))?;
    let manifest = Blob::json(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": [layer.descriptor("application/vnd.oci.image.layer.v1.tar")],
    }))?;
    let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = json!({"io.containerd.image.name": name});
    let index = Blob::json(&json!({"schemaVersion": 2, "manifests": [entry]}))?;
    let docker =
        Blob::json(&json!([{"Config": config.path(), "RepoTags": [name], "Layers": [layer.path()]}]))?;

    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#, 0o644)?;
    append(&mut archive, "index.json", &index.content, 0o644)?;
    append(&mut archive, "manifest.json", &docker.content, 0o644)?;
    for blob in [layer, config, manifest] {
        append(&mut archive, &blob.path(), &blob.content, 0o644)?;
    }
    Ok(archive.into_inner()?)
}

/// A layer that holds one program.
pub fn program_layer(path: &str, program: &[u8]) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, path, program, 0o755)?;
    Ok(layer.into_inner()?)
}

/// A layer that holds the content of a folder: modes and links are kept, owners become root, times are dropped.
pub fn folder_layer(folder: &Path) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    // Container runtimes do not know the form of files with holes.
    layer.sparse(false);
    layer.mode(tar::HeaderMode::Deterministic);
    append_folder(&mut layer, folder, Path::new(""))
        .with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(layer.into_inner()?)
}

/// Adds what is below `inside` of the folder, in the order of the names.
fn append_folder(layer: &mut tar::Builder<Vec<u8>>, folder: &Path, inside: &Path) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(folder.join(inside))?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), inside.join(entry.file_name()));
        let metadata = entry.metadata()?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(&metadata, tar::HeaderMode::Deterministic);
        // That mode of headers knows but two modes of files.
        header.set_mode(metadata.permissions().mode() & 0o7777);
        if metadata.is_dir() {
            layer.append_data(&mut header, &name, std::io::empty())?;
            append_folder(layer, folder, &name)?;
        } else if metadata.is_file() {
            layer.append_data(&mut header, &name, std::fs::File::open(&path)?)?;
        } else if metadata.is_symlink() {
            layer.append_link(&mut header, &name, std::fs::read_link(&path)?)?;
        } else {
            layer.append_path_with_name(&path, &name)?;
        }
    }
    Ok(())
}

fn append(archive: &mut tar::Builder<impl Write>, path: &str, content: &[u8], mode: u32) -> Result<()> {
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
    use super::folder_layer;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn modes_and_links_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("bin")).unwrap();
        for (name, mode) in [("bin/su", 0o4755), ("bin/write", 0o2755), ("secret", 0o600), ("tmp", 0o1777)] {
            if name == "tmp" {
                std::fs::create_dir(at(name)).unwrap();
            } else {
                std::fs::write(at(name), name).unwrap();
            }
            std::fs::set_permissions(at(name), PermissionsExt::from_mode(mode)).unwrap();
        }
        symlink("../bin/su", at("bin/link")).unwrap();
        let layer = folder_layer(folder.path()).unwrap();
        assert_eq!(layer, folder_layer(folder.path()).unwrap());
        let mut archive = tar::Archive::new(layer.as_slice());
        let told = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let link = entry.link_name().unwrap().map(|link| format!(" -> {}", link.display()));
            let mode = if link.is_some() { 0 } else { entry.header().mode().unwrap() };
            format!("{} {mode:o}{}", entry.path().unwrap().display(), link.unwrap_or_default())
        });
        let told: Vec<String> = told.filter(|told| !told.starts_with("bin ")).collect();
        assert_eq!(
            told,
            ["bin/link 0 -> ../bin/su", "bin/su 4755", "bin/write 2755", "secret 600", "tmp 1777"]
        );
    }

    #[test]
    fn files_with_holes_are_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = std::fs::File::create(folder.path().join("holes")).unwrap();
        file.set_len(1 << 20).unwrap();
        let layer = folder_layer(folder.path()).unwrap();
        let mut archive = tar::Archive::new(layer.as_slice());
        let entries = archive.entries().unwrap().map(|entry| entry.unwrap().header().clone());
        let kinds: Vec<_> =
            entries.filter(|header| header.size().unwrap() > 0).map(|header| header.entry_type()).collect();
        assert_eq!(kinds, [tar::EntryType::Regular]);
    }
}
