//! Archives of images: OCI layouts and what `docker save` writes.
//!
//! An OCI layout names an image by the annotation `io.containerd.image.name` of its index, or else by
//! `org.opencontainers.image.ref.name` if that is a whole name; docker's `manifest.json` by `RepoTags`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::manifest::{self, CONFIG, Descriptor, LAYER, MANIFEST, Manifest};
use super::{Hashing, Record, Result, Store, StoreError, at, full_name};

const NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Documents of an archive that are read at all.
const MAX_DOCUMENT: u64 = 16 << 20;

/// An entry of docker's `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// The files of an archive, by their names in it.
struct Files {
    folder: tempfile::TempDir,
    /// Digest of each, as its file in the folder is named.
    digests: HashMap<PathBuf, String>,
}

impl Store {
    /// Takes over all images of an archive, plain or gzip; answers them.
    pub fn load(&self, file: &Path) -> Result<Vec<Record>> {
        let _busy = self.busy()?;
        let files = self.extract(file)?;
        let saved = files.document::<Vec<Saved>>("manifest.json")?;
        let loaded = match files.document::<Manifest>("index.json")? {
            Some(index) => self.load_layout(&files, &index, saved.as_deref().unwrap_or_default())?,
            None => {
                let none =
                    || StoreError::Invalid("neither an OCI layout nor an archive of docker".to_owned());
                let saved = saved.ok_or_else(none)?;
                saved.iter().map(|saved| self.load_saved(&files, saved)).collect::<Result<_>>()?
            }
        };
        if loaded.is_empty() {
            return Err(StoreError::Invalid("the archive has no image for this machine".to_owned()));
        }
        Ok(loaded)
    }

    fn extract(&self, file: &Path) -> Result<Files> {
        let open = || {
            let mut source = BufReader::with_capacity(128 << 10, File::open(file)?);
            let gzip = source.fill_buf()?.starts_with(&[0x1f, 0x8b]);
            let source: Box<dyn Read> =
                if gzip { Box::new(flate2::bufread::MultiGzDecoder::new(source)) } else { Box::new(source) };
            io::Result::Ok(source)
        };
        let folder = tempfile::tempdir_in(self.tmp()).map_err(at(&self.tmp()))?;
        let mut digests = HashMap::new();
        let mut links = Vec::new();
        let mut read = || {
            for entry in tar::Archive::new(open()?).entries()? {
                let entry = entry?;
                let path: PathBuf = plain_path(&entry.path()?);
                match entry.header().entry_type() {
                    tar::EntryType::Regular => {
                        digests.insert(path, put(entry, folder.path())?);
                    }
                    tar::EntryType::Symlink => {
                        links.extend(entry.link_name()?.map(|to| (path, to.into_owned())))
                    }
                    _ => {}
                }
            }
            io::Result::Ok(())
        };
        read().map_err(|error| match error.raw_os_error() {
            Some(_) => at(file)(error),
            None => StoreError::Invalid(format!("{} is no whole image archive: {error}", file.display())),
        })?;
        // Old versions of docker write a layer that occurs twice as a link.
        for (path, target) in links {
            let target = plain_path(&path.parent().unwrap_or(Path::new("")).join(target));
            if let Some(digest) = digests.get(&target).cloned() {
                digests.insert(path, digest);
            }
        }
        Ok(Files { folder, digests })
    }

    fn load_layout(&self, files: &Files, index: &Manifest, saved: &[Saved]) -> Result<Vec<Record>> {
        let mut loaded = Vec::new();
        for entry in &index.manifests {
            let Some(found) = files.resolve(entry)? else { continue };
            let digest = &found.digest;
            let manifest: Manifest = manifest::parse(&files.read(digest)?)?;
            let parts: Vec<&Descriptor> = manifest.config.iter().chain(&manifest.layers).collect();
            for part in parts.iter().map(|part| &part.digest).chain([digest]) {
                self.adopt(files, part)?;
            }
            let tags = |saved: &Saved| {
                let config =
                    manifest.config.as_ref().map(|config| config.digest.trim_start_matches("sha256:"));
                let same = config.is_some_and(|config| saved.config.contains(config));
                if same { saved.repo_tags.clone().unwrap_or_default() } else { Vec::new() }
            };
            let mut names: Vec<String> = saved.iter().flat_map(tags).collect();
            names.extend(entry.annotations.get(NAME).cloned());
            // It is a tag alone as often as a name.
            names.extend(entry.annotations.get(REF_NAME).filter(|name| name.contains('/')).cloned());
            loaded.push(self.register(digest, &whole(&names)?, &[])?);
        }
        Ok(loaded)
    }

    fn load_saved(&self, files: &Files, saved: &Saved) -> Result<Record> {
        let part = |name: &str, media_type: &str| -> Result<Descriptor> {
            let digest = files.digest(Path::new(name))?;
            let size = self.adopt(files, &digest)?;
            Ok(Descriptor { media_type: media_type.to_owned(), digest, size, ..Descriptor::default() })
        };
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config: Some(part(&saved.config, CONFIG)?),
            layers: saved.layers.iter().map(|layer| part(layer, LAYER)).collect::<Result<_>>()?,
            manifests: Vec::new(),
        };
        let bytes = serde_json::to_vec(&manifest).map_err(|error| StoreError::Invalid(error.to_string()))?;
        let digest = self.put_blob(&bytes)?;
        self.register(&digest, &whole(saved.repo_tags.as_deref().unwrap_or_default())?, &[])
    }

    /// Moves a file of an archive into the store; answers its size.
    fn adopt(&self, files: &Files, digest: &str) -> Result<u64> {
        let target = self.blob_path(digest)?;
        let source = files.folder.path().join(digest);
        if !target.exists() {
            if !source.exists() {
                return Err(StoreError::Invalid(format!("the archive lacks {digest}")));
            }
            // The same blob may belong to several images of the archive.
            std::fs::hard_link(&source, &target).map_err(at(&target))?;
        }
        Ok(std::fs::metadata(&target).map_err(at(&target))?.len())
    }

    /// Writes images as an OCI layout that docker understands too.
    pub fn save(&self, images: &[String], out: impl Write) -> Result<()> {
        let _busy = self.busy()?;
        let mut archive = tar::Builder::new(out);
        archive.sparse(false);
        let mut index = Manifest { schema_version: 2, ..Manifest::default() };
        let mut saved = Vec::new();
        let mut blobs = BTreeMap::new();
        for image in images {
            let record = self.find(image)?.ok_or_else(|| StoreError::Missing(image.clone()))?;
            let manifest = self.blob_path(&record.manifest)?;
            let size = std::fs::metadata(&manifest).map_err(at(&manifest))?.len();
            let name = full_name(image).filter(|name| record.names.contains(name));
            let name = name.or_else(|| record.names.first().cloned());
            let annotations = name.iter().map(|name| (NAME.to_owned(), name.clone())).collect();
            let (media_type, digest) = (MANIFEST.to_owned(), record.manifest.clone());
            index.manifests.push(Descriptor { media_type, digest, size, annotations, platform: None });
            let inside = |digest: &String| format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));
            saved.push(Saved {
                config: inside(&record.id),
                repo_tags: Some(name.into_iter().collect()),
                layers: record.blobs.iter().map(inside).collect(),
            });
            for digest in record.blobs.iter().chain([&record.id, &record.manifest]) {
                blobs.insert(inside(digest), self.blob_path(digest)?);
            }
        }
        let document = |value: serde_json::Result<Vec<u8>>| value.map_err(io::Error::from);
        let write = || {
            put_document(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
            put_document(&mut archive, "index.json", &document(serde_json::to_vec(&index))?)?;
            put_document(&mut archive, "manifest.json", &document(serde_json::to_vec(&saved))?)?;
            for (inside, path) in blobs {
                let mut file = File::open(path)?;
                let mut header = tar::Header::new_ustar();
                header.set_size(file.metadata()?.len());
                header.set_mode(0o644);
                archive.append_data(&mut header, inside, &mut file)?;
            }
            archive.into_inner()?.flush()
        };
        write().map_err(at(Path::new("archive")))
    }
}

impl Files {
    fn digest(&self, path: &Path) -> Result<String> {
        let found = self.digests.get(&plain_path(path)).cloned();
        found.ok_or_else(|| StoreError::Invalid(format!("the archive lacks {}", path.display())))
    }

    fn read(&self, digest: &str) -> Result<Vec<u8>> {
        let path = self.folder.path().join(digest);
        let mut bytes = Vec::new();
        let file =
            File::open(&path).map_err(|_| StoreError::Invalid(format!("the archive lacks {digest}")))?;
        file.take(MAX_DOCUMENT).read_to_end(&mut bytes).map_err(at(&path))?;
        Ok(bytes)
    }

    fn document<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let Some(digest) = self.digests.get(Path::new(path)) else { return Ok(None) };
        manifest::parse(&self.read(digest)?).map(Some)
    }

    /// The manifest for this machine that an entry of an index leads to, if any; indexes may lie in each other.
    fn resolve(&self, entry: &Descriptor) -> Result<Option<Descriptor>> {
        let mut entry = entry.clone();
        for _ in 0..4 {
            if !self.folder.path().join(&entry.digest).exists() {
                // Archives of one machine leave out what is for others.
                return Ok(None);
            }
            let document: Manifest = manifest::parse(&self.read(&entry.digest)?)?;
            if document.manifests.is_empty() {
                return Ok(Some(entry));
            }
            let Some(inner) = document.for_this_machine() else { return Ok(None) };
            entry = inner.clone();
        }
        Err(StoreError::Invalid("indexes lie too deep in each other".to_owned()))
    }
}

fn put(entry: impl Read, folder: &Path) -> io::Result<String> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let mut source = Hashing::new(entry);
    io::copy(&mut source, file.as_file_mut())?;
    let digest = source.finish()?;
    file.persist(folder.join(&digest)).map_err(|error| error.error)?;
    Ok(digest)
}

fn put_document(archive: &mut tar::Builder<impl Write>, path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, path, bytes)
}

/// A path of an archive without what means nothing.
fn plain_path(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => plain.push(part),
            std::path::Component::ParentDir => {
                plain.pop();
            }
            _ => {}
        }
    }
    plain
}

fn whole(names: &[String]) -> Result<Vec<String>> {
    let whole = |name: &String| {
        full_name(name).ok_or_else(|| StoreError::Invalid(format!("bad image name {name:?}")))
    };
    names.iter().map(whole).collect()
}
