//! Encryption at rest: values of chosen resources are encrypted on their way to the database and decrypted on their way
//! back. Memory holds them in the clear, so that reading costs nothing; [`backend::Encrypted`] stands between the store
//! and any database, which sees an envelope: the original's prefix (`k8s:enc:aesgcm:v1:‹key›:`), then the cipher's bytes.
//!
//! The object's key is authenticated with the value where the cipher can (aesgcm, kms), so that nobody moves a value to
//! another key. A value that cannot be decrypted is left out of memory, and a request for its object alone fails.
//!
//! Source: the pages "Encrypting Confidential Data at Rest" and "Using a KMS provider".
mod backend;
mod ciphers;
mod config;
mod kms;
mod ledger;

pub(super) use backend::Encrypted;
pub use ledger::Tally;

use super::Key;
use crate::config_file::ConfigError;
use crate::health::Check;
use async_trait::async_trait;
use bytes::Bytes;
use ciphers::Cipher;
use config::Pattern;
use knarr_reload::Reloaded;
use ledger::Ledger;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::fmt::{self, Debug, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What every envelope begins with.
const ENVELOPE: &[u8] = b"k8s:enc:";
/// Pause before the file and the plugins are looked at again.
const LOOK: Duration = Duration::from_secs(1);

/// Ciphers of the resources that match.
struct Rule {
    patterns: Vec<Pattern>,
    /// The first writes, all read.
    ciphers: Vec<Cipher>,
}

/// What a configuration file says.
struct Rules {
    rules: Vec<Rule>,
    /// Of the file.
    hash: [u8; 32],
}

/// The configuration in force, and what is known of what is stored.
pub struct Encryption {
    path: PathBuf,
    rules: Reloaded<Rules>,
    /// Hash of the configuration that objects which could not be read were last tried with.
    tried: Mutex<[u8; 32]>,
    pub(super) ledger: Ledger,
}

impl Debug for Encryption {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Rules {
    fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read(path)
            .map_err(|error| ConfigError::Read { path: path.display().to_string(), error })?;
        Ok(Self { rules: config::load(path)?, hash: Sha256::digest(text).into() })
    }

    fn of(&self, resource: &str) -> Option<&[Cipher]> {
        let matching = |rule: &&Rule| rule.patterns.iter().any(|pattern| pattern.matches(resource));
        self.rules.iter().find(matching).map(|rule| &*rule.ciphers)
    }

    fn plugins(&self) -> impl Iterator<Item = &kms::Kms> {
        self.rules.iter().flat_map(|rule| &rule.ciphers).filter_map(Cipher::plugin)
    }
}

impl Encryption {
    /// Reads `--encryption-provider-config`; `reloads`: it is followed.
    ///
    /// # Errors
    /// A file that is none, keys that cannot be.
    pub fn load(path: &Path, reloads: bool) -> Result<Arc<Self>, ConfigError> {
        let first = Rules::load(path)?;
        let tried = Mutex::new(first.hash);
        let path = path.to_owned();
        let rules = if reloads {
            let file = path.clone();
            let first = Mutex::new(Some(first));
            let load = move || {
                let known = first.lock().take();
                known.map_or_else(|| Rules::load(&file).map_err(|error| error.to_string()), Ok)
            };
            Reloaded::new(vec![path.clone()], load).map_err(|text| ConfigError::invalid(&path, text))?
        } else {
            Reloaded::fixed(first)
        };
        Ok(Arc::new(Self { path, rules, tried, ledger: Ledger::default() }))
    }

    /// Does the configuration name the resource (`core/secrets`)?
    fn covers(&self, resource: &str) -> bool {
        self.rules.get().of(resource).is_some()
    }

    /// The envelope of a value, and what names the key it was made with.
    ///
    /// # Errors
    /// A plugin that cannot be reached.
    async fn seal(&self, key: &Key, value: &Bytes) -> Result<(Bytes, Arc<str>), String> {
        let rules = self.rules.get();
        let Some([cipher, ..]) = rules.of(key.resource()) else { return Ok((value.clone(), "".into())) };
        cipher.seal(value, key.as_str().as_bytes()).await
    }

    /// The value in an envelope, and what names the key it was made with.
    ///
    /// # Errors
    /// Why it cannot be read.
    async fn open(&self, key: &Key, stored: &Bytes) -> Result<(Bytes, Arc<str>), String> {
        let rules = self.rules.get();
        if !stored.starts_with(ENVELOPE) {
            return match rules.of(key.resource()) {
                Some(ciphers) if !ciphers.iter().any(Cipher::is_identity) => {
                    Err("no matching prefix found".to_owned())
                }
                _ => Ok((stored.clone(), "".into())),
            };
        }
        let ciphers = rules.of(key.resource()).unwrap_or_default();
        let mut failed = None;
        for cipher in ciphers.iter().filter(|cipher| cipher.is_for(stored)) {
            match cipher.open(stored, key.as_str().as_bytes()).await {
                Ok(opened) => return Ok(opened),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.unwrap_or_else(|| match ciphers.iter().all(Cipher::is_identity) {
            true => "identity transformer tried to read encrypted data".to_owned(),
            false => "no matching prefix found".to_owned(),
        }))
    }

    /// What names the key that a resource is written with now; none where that is not known (a plugin not asked yet).
    fn label(&self, resource: &str) -> Option<Arc<str>> {
        match self.rules.get().of(resource) {
            Some([cipher, ..]) => cipher.label(),
            _ => Some("".into()),
        }
    }

    /// Is a live object stored otherwise than it would be written now?
    pub fn is_stale(&self, key: &Key) -> bool {
        let wanted = self.label(key.resource());
        wanted.is_some_and(|wanted| self.ledger.label(key).is_some_and(|label| label != wanted))
    }

    /// How much is stored as it would be written now.
    pub fn tally(&self) -> Tally {
        self.ledger.tally(|resource| self.covers(resource), |resource| self.label(resource))
    }

    /// Some keys of objects that are stored otherwise than they would be written now.
    pub(super) fn stale(&self, limit: usize) -> Vec<Key> {
        self.ledger.stale(limit, |resource| self.label(resource))
    }

    /// Follows the file, where that was asked for, and the plugins; resolves when what could not be read may be readable now.
    pub(super) async fn changed(&self) {
        let mut well = self.health().await.is_ok();
        loop {
            tokio::time::sleep(LOOK).await;
            let was_well = std::mem::replace(&mut well, self.health().await.is_ok());
            let hash = self.rules.get().hash;
            let is_other = std::mem::replace(&mut *self.tried.lock(), hash) != hash;
            if is_other || well && !was_well {
                return;
            }
        }
    }

    /// Asks the plugins how they are, and for their newest keys.
    async fn health(&self) -> Result<(), String> {
        let rules = self.rules.get();
        for plugin in rules.plugins() {
            plugin.look().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Check for Encryption {
    fn name(&self) -> &str {
        "kms-providers"
    }

    async fn check(&self) -> Result<(), String> {
        let rules = self.rules.get();
        rules.plugins().try_for_each(kms::Kms::verdict)
    }
}
