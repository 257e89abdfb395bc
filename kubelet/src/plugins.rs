//! Plugins of a node that announce themselves by a socket in `plugins_registry`.
//!
//! The socket answers who the plugin is and is told whether it was taken; when it goes away, so has the plugin.
//! <https://github.com/kubernetes/kubelet>, `pluginregistration/v1`.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use crate::folder::Folder;
use crate::grpc::{self, Socket};

/// How long a plugin may take to say who it is.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a plugin is asked again that did not answer or was not taken, doubled up to [`MAX_RETRY`].
const RETRY: Duration = Duration::from_millis(500);
const MAX_RETRY: Duration = Duration::from_secs(122);

/// A plugin that announced itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// The socket where it serves.
    pub endpoint: PathBuf,
    /// Versions of its interface.
    pub versions: Vec<String>,
}

/// Takes plugins of one kind.
#[async_trait]
pub trait Handler: Send + Sync {
    /// What plugins call the kind.
    fn kind(&self) -> &'static str;
    /// Takes a plugin; the error is told to it.
    async fn register(&self, plugin: &Plugin) -> Result<(), String>;
    /// A plugin is gone.
    async fn deregister(&self, plugin: &Plugin);
}

#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
struct InfoRequest {}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct PluginInfo {
    #[prost(string, tag = "1")]
    r#type: String,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    endpoint: String,
    #[prost(string, repeated, tag = "4")]
    supported_versions: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct RegistrationStatus {
    #[prost(bool, tag = "1")]
    plugin_registered: bool,
    #[prost(string, tag = "2")]
    error: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
struct RegistrationStatusResponse {}

/// A file that may be a socket: which one it is, since a plugin that starts anew makes it anew.
type Identity = (u64, i64, i64);

struct Known {
    identity: Identity,
    /// Index of the handler and the plugin, once it is taken.
    taken: Option<(usize, Plugin)>,
}

/// Takes plugins until told to stop.
pub async fn run(directory: PathBuf, handlers: Vec<Box<dyn Handler>>, stop: CancellationToken) {
    let mut folder = match std::fs::create_dir_all(&directory).and_then(|()| Folder::follow(&directory)) {
        Ok(folder) => folder,
        Err(error) => {
            tracing::error!(path = %directory.display(), %error, "plugins cannot announce themselves");
            return;
        }
    };
    let mut registry = Registry { handlers, known: BTreeMap::new() };
    let mut pause = RETRY;
    loop {
        let settled = registry.reconcile(sockets(&directory)).await;
        pause = if settled { RETRY } else { (pause * 2).min(MAX_RETRY) };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = folder.changed() => if let Err(error) = changed {
                tracing::error!(path = %directory.display(), %error, "plugins are no longer seen");
                return;
            },
            () = tokio::time::sleep(pause), if !settled => {}
        }
    }
}

/// The sockets of a directory.
fn sockets(directory: &Path) -> BTreeMap<PathBuf, Identity> {
    let Ok(entries) = std::fs::read_dir(directory) else { return BTreeMap::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(|metadata| metadata.file_type().is_socket())?;
            Some((entry.path(), (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())))
        })
        .collect()
}

struct Registry {
    handlers: Vec<Box<dyn Handler>>,
    known: BTreeMap<PathBuf, Known>,
}

impl Registry {
    /// Takes new plugins and lets go of those that are gone; answers whether all are taken.
    async fn reconcile(&mut self, found: BTreeMap<PathBuf, Identity>) -> bool {
        let gone = |path: &PathBuf, known: &Known| found.get(path) != Some(&known.identity);
        let stale: Vec<_> = self
            .known
            .iter()
            .filter(|(path, known)| gone(path, known))
            .map(|(path, _)| path.clone())
            .collect();
        for path in stale {
            if let Some((handler, plugin)) = self.known.remove(&path).and_then(|known| known.taken) {
                self.handlers[handler].deregister(&plugin).await;
            }
        }
        let mut settled = true;
        for (path, identity) in found {
            if self.known.get(&path).is_some_and(|known| known.taken.is_some()) {
                continue;
            }
            let taken = match self.take(&path).await {
                Ok(taken) => Some(taken),
                Err(error) => {
                    tracing::warn!(path = %path.display(), error, "plugin not registered");
                    settled = false;
                    None
                }
            };
            self.known.insert(path, Known { identity, taken });
        }
        settled
    }

    async fn take(&self, path: &Path) -> Result<(usize, Plugin), String> {
        let socket = Socket::new(path.to_owned());
        let describe = |status| grpc::describe(&status);
        let info: PluginInfo = socket
            .call("/pluginregistration.Registration/GetInfo", InfoRequest {}, TIMEOUT)
            .await
            .map_err(describe)?;
        let plugin = Plugin {
            endpoint: if info.endpoint.is_empty() { path.to_owned() } else { PathBuf::from(&info.endpoint) },
            name: info.name,
            versions: info.supported_versions,
        };
        let handler = self.handlers.iter().position(|handler| handler.kind() == info.r#type);
        let outcome = match handler {
            Some(handler) => self.handlers[handler].register(&plugin).await.map(|()| handler),
            None => Err(format!(
                "no handler registered for plugin type: {} at socket {}",
                info.r#type,
                path.display()
            )),
        };
        let status = RegistrationStatus {
            plugin_registered: outcome.is_ok(),
            error: outcome.as_ref().err().cloned().unwrap_or_default(),
        };
        let told: Result<RegistrationStatusResponse, _> =
            socket.call("/pluginregistration.Registration/NotifyRegistrationStatus", status, TIMEOUT).await;
        let handler = outcome?;
        told.map_err(describe)?;
        Ok((handler, plugin))
    }
}
