//! Who may use images that were pulled with credentials: records on disk of what was pulled with whose.
//!
//! The records are the original's: below `image_manager`, a file in `pulling` for each image whose pull has begun and
//! one in `pulled` for each that is there, by the image's id. An image without either is on the node by other ways.
//!
//! Source: KEP-2535, "Ensure secret pulled images"; API page "Kubelet Configuration (v1beta1)".

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::name;
use crate::hex;
use crate::runtime::types::Image;

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
/// So many secrets are noted for an image while pods are compared with them.
const MOST_WHILE_MATCHING: usize = 100;

/// Of which images on the node a pod must show that it may pull them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Verification {
    /// Of none.
    Never,
    /// Of those that the kubelet has pulled.
    #[default]
    UnlessPreloaded,
    /// Of all but those with these names.
    Unless(Vec<String>),
    /// Of all.
    Always,
}

impl Verification {
    /// From the settings of the kubelet's file.
    pub fn read(policy: &str, allowed: Vec<String>) -> Result<Self, String> {
        allowed.iter().try_for_each(|pattern| check_pattern(pattern))?;
        if !allowed.is_empty() && policy != "NeverVerifyAllowlistedImages" {
            return Err("can't set `preloadedImagesVerificationAllowlist` if \
                        `imagePullCredentialsVerificationPolicy` is not \"NeverVerifyAllowlistedImages\""
                .to_owned());
        }
        match policy {
            "NeverVerify" => Ok(Self::Never),
            "" | "NeverVerifyPreloadedImages" => Ok(Self::UnlessPreloaded),
            "NeverVerifyAllowlistedImages" => Ok(Self::Unless(allowed)),
            "AlwaysVerify" => Ok(Self::Always),
            other => Err(format!("unknown image pull credential verification policy: {other}")),
        }
    }

    /// The settings again.
    pub fn settings(&self) -> (&'static str, &[String]) {
        match self {
            Self::Never => ("NeverVerify", &[]),
            Self::UnlessPreloaded => ("NeverVerifyPreloadedImages", &[]),
            Self::Unless(allowed) => ("NeverVerifyAllowlistedImages", allowed),
            Self::Always => ("AlwaysVerify", &[]),
        }
    }

    fn asks(&self, image: &str, pulled_here: bool) -> bool {
        match self {
            Self::Never => false,
            Self::UnlessPreloaded => pulled_here,
            Self::Always => true,
            Self::Unless(allowed) => {
                let Ok(name) = name::parse(image) else { return true };
                let full = format!("{}/{}", name.registry, name.path);
                !allowed.iter().any(|pattern| match pattern.strip_suffix('*') {
                    Some(prefix) => full.starts_with(prefix),
                    None => full == *pattern,
                })
            }
        }
    }
}

/// Names of images without tag, in full, or ending with `/*`.
fn check_pattern(pattern: &str) -> Result<(), String> {
    let bad = |what: &str| Err(format!("{what}: {pattern}"));
    if pattern != pattern.trim() {
        return bad("leading/trailing spaces are not allowed");
    }
    let plain = pattern.strip_suffix("/*");
    if plain.unwrap_or(pattern).contains('*') {
        return bad("not a valid wildcard pattern, only patterns ending with '/*' are allowed");
    }
    match plain {
        Some("") => bad("at least registry hostname is required"),
        Some(_) => Ok(()),
        None => match name::parse(pattern) {
            Err(error) => bad(&format!("failed to parse as an image name: {error}")),
            Ok(name) if format!("{}/{}", name.registry, name.path) != pattern => {
                bad("neither tag nor digest is accepted in an image reference")
            }
            Ok(_) => Ok(()),
        },
    }
}

/// A secret that has pulled an image, or that a pod has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// Its uid.
    pub uid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Of what it holds for the image.
    pub credential_hash: String,
}

impl Secret {
    fn is(&self, other: &Self) -> bool {
        (&self.uid, &self.namespace, &self.name) == (&other.uid, &other.namespace, &other.name)
    }
}

/// Whose credentials have pulled an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Credentials {
    /// Those of secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_secrets: Vec<Secret>,
    /// The node's own or nobody's: all pods may have the image.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub node_pods_accessible: bool,
}

impl Credentials {
    /// All pods may have the image.
    pub fn anybodys() -> Self {
        Self { node_pods_accessible: true, ..Self::default() }
    }

    /// Those who have this secret may.
    pub fn of(secret: Secret) -> Self {
        Self { kubernetes_secrets: vec![secret], ..Self::default() }
    }

    /// Adds others; answers whether that changes anything.
    fn merge(&mut self, other: &Self) -> bool {
        let before = self.clone();
        if self.node_pods_accessible || other.node_pods_accessible {
            *self = Self::anybodys();
        }
        for secret in other.kubernetes_secrets.iter().filter(|_| !self.node_pods_accessible) {
            self.kubernetes_secrets.retain(|known| !known.is(secret));
            self.kubernetes_secrets.push(secret.clone());
        }
        *self != before
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    kind: String,
    api_version: String,
    last_updated_time: Timestamp,
    image_ref: String,
    #[serde(default)]
    credential_mapping: BTreeMap<String, Credentials>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intent {
    kind: String,
    api_version: String,
    image: String,
}

/// The records, and what they are needed for.
pub struct Pulled {
    root: PathBuf,
    policy: Verification,
    /// How many pulls of an image are under way; held while records are read and written.
    under_way: Mutex<BTreeMap<String, usize>>,
}

fn file_name(key: &str) -> String {
    format!("sha256-{}", hex::text(&Sha256::digest(key)))
}

fn read<T: DeserializeOwned>(path: &Path) -> std::io::Result<Option<T>> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(path: &Path, record: &impl Serialize) -> std::io::Result<()> {
    let folder = path.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// The name of an image without tag and digest, as it was written.
fn without_tag(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or_default();
    let begin = image.rfind('/').map_or(0, |slash| slash + 1);
    image[begin..].find(':').map_or(image, |colon| &image[..begin + colon])
}

impl Pulled {
    /// The records below the kubelet's folder.
    pub fn open(root: &Path, policy: Verification) -> Self {
        Self { root: root.join("image_manager"), policy, under_way: Mutex::default() }
    }

    fn intent_path(&self, image: &str) -> PathBuf {
        self.root.join("pulling").join(file_name(image))
    }

    fn record_path(&self, id: &str) -> PathBuf {
        self.root.join("pulled").join(file_name(id))
    }

    /// Takes note of what a kubelet before this one was pulling: what is there by now was pulled with credentials
    /// that nobody knows.
    pub fn recover(&self, images: &[Image]) {
        for path in files(&self.root.join("pulling")) {
            let Ok(Some(intent)) = read::<Intent>(&path) else { continue };
            let mut names =
                images.iter().map(|image| (image, image.repo_tags.iter().chain(&image.repo_digests)));
            let found = names.find(|(_, names)| names.clone().any(|name| *name == intent.image));
            let Some((image, _)) = found else { continue };
            if self.note(&intent.image, &image.id, &Credentials::default()).is_ok() {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    /// A pull begins.
    pub fn begin(&self, image: &str) -> std::io::Result<()> {
        let mut under_way = self.under_way.lock();
        let (kind, api_version) = ("ImagePullIntent".to_owned(), API_VERSION.to_owned());
        write(&self.intent_path(image), &Intent { kind, api_version, image: image.to_owned() })?;
        *under_way.entry(image.to_owned()).or_default() += 1;
        Ok(())
    }

    /// A pull has failed.
    pub fn failed(&self, image: &str) {
        let mut under_way = self.under_way.lock();
        let left = under_way.get(image).map_or(0, |count| count.saturating_sub(1));
        if left > 0 {
            under_way.insert(image.to_owned(), left);
            return;
        }
        under_way.remove(image);
        let _ = std::fs::remove_file(self.intent_path(image));
    }

    /// A pull has succeeded.
    pub fn succeeded(&self, image: &str, id: &str, credentials: &Credentials) {
        match self.note(image, id, credentials) {
            Ok(()) => self.failed(image),
            // That the pull was begun stays noted: whoever wants the image must show that he may have it.
            Err(error) => tracing::error!(image, id, %error, "not noted who may use the image"),
        }
    }

    fn note(&self, image: &str, id: &str, credentials: &Credentials) -> std::io::Result<()> {
        let _under_way = self.under_way.lock();
        self.merge(image, id, credentials)
    }

    fn merge(&self, image: &str, id: &str, credentials: &Credentials) -> std::io::Result<()> {
        let path = self.record_path(id);
        // What cannot be read is written anew.
        let old = read::<Record>(&path).ok().flatten();
        let mut changed = old.is_none();
        let mut record = old.unwrap_or_else(|| Record {
            kind: "ImagePulledRecord".to_owned(),
            api_version: API_VERSION.to_owned(),
            last_updated_time: Timestamp::now(),
            image_ref: id.to_owned(),
            credential_mapping: BTreeMap::new(),
        });
        if *credentials != Credentials::default() {
            changed |= record
                .credential_mapping
                .entry(without_tag(image).to_owned())
                .or_default()
                .merge(credentials);
        }
        if !changed {
            return Ok(());
        }
        record.last_updated_time = Timestamp::now();
        write(&path, &record)
    }

    /// Whether a pod with these secrets must pull an image that is on the node already.
    pub fn must_pull(&self, image: &str, id: &str, secrets: &[Secret]) -> bool {
        let under_way = self.under_way.lock();
        let record = match read::<Record>(&self.record_path(id)) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(image, id, %error, "not known who may use the image");
                return true;
            }
        };
        let begun = || under_way.contains_key(image) || self.intent_path(image).exists();
        if !self.policy.asks(image, record.is_some() || begun()) {
            return false;
        }
        let Some(known) = record.and_then(|mut record| record.credential_mapping.remove(without_tag(image)))
        else {
            return true;
        };
        if known.node_pods_accessible {
            return false;
        }
        let matches = |mine: &&Secret| {
            let mut all = known.kubernetes_secrets.iter();
            all.any(|one| one.is(mine) || one.credential_hash == mine.credential_hash)
        };
        let Some(mine) = secrets.iter().find(matches) else { return true };
        // Its name or what it holds may be new.
        if known.kubernetes_secrets.len() < MOST_WHILE_MATCHING
            && let Err(error) = self.merge(image, id, &Credentials::of(mine.clone()))
        {
            tracing::error!(image, id, %error, "not noted who may use the image");
        }
        false
    }

    /// Forgets images that were not among those on the node at a time.
    pub fn prune(&self, images: &HashSet<String>, at: Timestamp) {
        let _under_way = self.under_way.lock();
        for path in files(&self.root.join("pulled")) {
            let Ok(Some(record)) = read::<Record>(&path) else { continue };
            if record.last_updated_time < at && !images.contains(&record.image_ref) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, hash: &str) -> Secret {
        let text = str::to_owned;
        Secret {
            uid: format!("uid-{name}"),
            namespace: text("a"),
            name: text(name),
            credential_hash: text(hash),
        }
    }

    #[test]
    fn who_must_pull() {
        let dir = tempfile::tempdir().expect("folder");
        let pulled = Pulled::open(dir.path(), Verification::UnlessPreloaded);
        let check = |image: &str, id: &str, secrets: &[Secret], expected: bool| {
            assert_eq!(pulled.must_pull(image, id, secrets), expected, "{image} {id} {secrets:?}");
        };
        check("r.test/a:1", "id", &[], false);
        pulled.begin("r.test/a:1").expect("noted");
        check("r.test/a:1", "id", &[], true);
        pulled.failed("r.test/a:1");
        check("r.test/a:1", "id", &[], false);
        pulled.begin("r.test/a:1").expect("noted");
        pulled.succeeded("r.test/a:1", "id", &Credentials::of(secret("s", "1")));
        assert!(files(&dir.path().join("image_manager/pulling")).is_empty());
        check("r.test/a:1", "id", &[], true);
        check("r.test/a:2", "id", &[secret("s", "1")], false);
        check("r.test/b:1", "id", &[secret("s", "1")], true);
        check("r.test/a:1", "id", &[secret("other", "2")], true);
        check("r.test/a:1", "id", &[secret("other", "1")], false);
        check("r.test/a:1", "id", &[secret("s", "3")], false);
        check("r.test/a:1", "id", &[secret("third", "3")], false);
        pulled.succeeded("r.test/a:1", "id", &Credentials::anybodys());
        check("r.test/a:1", "id", &[], false);
        pulled.prune(&HashSet::from(["id".to_owned()]), Timestamp::now());
        check("r.test/b:1", "id", &[], true);
        pulled.prune(&HashSet::new(), Timestamp::now());
        check("r.test/b:1", "id", &[], false);
    }

    #[test]
    fn what_a_killed_kubelet_pulled_is_nobodys() {
        let dir = tempfile::tempdir().expect("folder");
        Pulled::open(dir.path(), Verification::default()).begin("r.test/a:1").expect("noted");
        let pulled = Pulled::open(dir.path(), Verification::default());
        let repo_tags = vec!["r.test/a:1".to_owned()];
        pulled.recover(&[Image { id: "id".to_owned(), repo_tags, ..Image::default() }]);
        assert!(files(&dir.path().join("image_manager/pulling")).is_empty());
        assert!(pulled.must_pull("r.test/a:1", "id", &[secret("s", "1")]));
    }

    #[test]
    fn policies() {
        let check = |policy: &str, allowed: &[&str], image: &str, expected: (bool, bool)| {
            let allowed = allowed.iter().map(|one| (*one).to_owned()).collect();
            let policy = Verification::read(policy, allowed).expect("policy");
            assert_eq!((policy.asks(image, false), policy.asks(image, true)), expected, "{policy:?} {image}");
        };
        check("NeverVerify", &[], "a", (false, false));
        check("", &[], "a", (false, true));
        check("AlwaysVerify", &[], "a", (true, true));
        let allowed = ["r.test/a", "r.test/team/*", "docker.io/library/box"];
        let list = |image: &str, expected| check("NeverVerifyAllowlistedImages", &allowed, image, expected);
        list("r.test/a:1", (false, false));
        list("r.test/a/b:1", (true, true));
        list("r.test/team/b@sha256:00", (false, false));
        list("box", (false, false));
        let bad = |policy: &str, pattern: &str| {
            Verification::read(policy, vec![pattern.to_owned()]).expect_err(pattern);
        };
        bad("AlwaysVerify", "r.test/a");
        for pattern in [" r.test/a", "r.test/*/a", "/*", "r.test/a:1", "box"] {
            bad("NeverVerifyAllowlistedImages", pattern);
        }
        Verification::read("Sometimes", Vec::new()).expect_err("unknown");
    }

    #[test]
    fn names_without_tags() {
        for (image, expected) in [
            ("a", "a"),
            ("r.test:5000/a", "r.test:5000/a"),
            ("r.test:5000/a:1", "r.test:5000/a"),
            ("a:1@sha256:00", "a"),
        ] {
            assert_eq!(without_tag(image), expected);
        }
    }
}
