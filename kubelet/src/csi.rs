//! Volumes of CSI drivers: programs of the node that stage volumes and give them to pods.
//!
//! Drivers announce themselves by a socket in `plugins_registry` ([`crate::plugins`]). [`mount`] gives a volume to a pod,
//! [`unmount`] takes it away; [`places`] says where volumes are and what is noted beside them. [`node`] tells the
//! cluster which drivers a node has.
//!
//! Of one volume at a time only one thing is done on a node. What was begun is carried on when its pod is told to stop
//! meanwhile; the pod's end waits for it.

mod driver;
mod messages;
mod mount;
pub mod node;
pub mod places;
mod unmount;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use driver::Driver;
use places::Places;

/// A volume of a driver, as its pod wants it.
#[derive(Clone, Debug, PartialEq)]
pub struct CsiVolume {
    /// Name of the PersistentVolume, or of the volume in the pod.
    pub spec_name: String,
    /// The driver.
    pub driver: String,
    /// What the driver calls the volume.
    pub handle: String,
    /// It lives with its pod.
    pub is_ephemeral: bool,
    /// It is used as a device.
    pub is_block: bool,
    /// Nobody may write to it.
    pub read_only: bool,
    /// File system to make or expect; empty: the driver's choice.
    pub fs_type: String,
    /// Options of its mount.
    pub mount_options: Vec<String>,
    /// The first of its access modes, such as `ReadWriteOnce`.
    pub access_mode: String,
    /// What the driver noted when it made the volume.
    pub attributes: BTreeMap<String, String>,
    /// Namespace and name of the secret for staging.
    pub stage_secret: Option<(String, String)>,
    /// Namespace and name of the secret for publishing.
    pub publish_secret: Option<(String, String)>,
    /// It has become larger, and what is on it has not yet.
    pub growth: Option<Growth>,
}

/// A volume that was made larger and waits for its node.
#[derive(Clone, Debug, PartialEq)]
pub struct Growth {
    /// The claim, as it was read.
    pub claim: PersistentVolumeClaim,
    /// How large the volume is.
    pub size: Quantity,
}

impl CsiVolume {
    /// The volume in the words of a node's status.
    pub fn unique_name(&self) -> String {
        places::unique_name(&self.driver, &self.handle)
    }
}

/// The drivers of a node and their volumes.
#[derive(Debug)]
pub struct Csi {
    places: Places,
    node: String,
    drivers: Mutex<BTreeMap<String, Arc<Driver>>>,
    /// By the unique names of volumes; those that nobody holds are forgotten.
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Volumes that must not be detached from this node.
    in_use: watch::Sender<BTreeSet<String>>,
    /// Those of them that the node's status says.
    reported: watch::Sender<BTreeSet<String>>,
}

impl Csi {
    /// No drivers yet; volumes are found again on the disk.
    pub fn new(root: PathBuf, node: &str) -> Arc<Self> {
        let places = Places { root };
        let persistent = |note: &places::Note| note.volume_lifecycle_mode == mount::PERSISTENT;
        let found = places.notes().into_iter().filter(|(_, note)| persistent(note));
        let in_use = found.map(|(_, note)| note.unique_name()).collect();
        Arc::new(Self {
            places,
            node: node.to_owned(),
            drivers: Mutex::default(),
            locks: Mutex::default(),
            in_use: watch::Sender::new(in_use),
            reported: watch::Sender::default(),
        })
    }

    /// Volumes that must not be detached, for the node's status; changes wake who waits.
    pub fn in_use(&self) -> watch::Receiver<BTreeSet<String>> {
        self.in_use.subscribe()
    }

    /// The node's status says so now.
    pub fn set_reported(&self, names: BTreeSet<String>) {
        self.reported.send_if_modified(|old| {
            let changed = *old != names;
            *old = names;
            changed
        });
    }

    fn driver(&self, name: &str) -> Option<Arc<Driver>> {
        self.drivers.lock().get(name).cloned()
    }

    /// The registered drivers, by name.
    pub fn drivers(&self) -> Vec<Arc<Driver>> {
        self.drivers.lock().values().cloned().collect()
    }

    /// Waits until nothing else is done with a volume.
    async fn lock(&self, volume: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock();
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(volume.to_owned()).or_default())
        };
        lock.lock_owned().await
    }
}

/// Takes drivers that announce themselves.
pub struct Registrar {
    /// Where they are kept.
    pub csi: Arc<Csi>,
    /// Tells the cluster.
    pub node: node::CsiNodeKeeper,
}

#[async_trait]
impl crate::plugins::Handler for Registrar {
    fn kind(&self) -> &'static str {
        "CSIPlugin"
    }

    async fn register(&self, plugin: &crate::plugins::Plugin) -> Result<(), String> {
        let usable = |version: &String| version.trim_start_matches('v').starts_with("1.");
        if !plugin.versions.iter().any(usable) {
            return Err(format!(
                "driver {:?} supports versions [{}], of which none is 1.x",
                plugin.name,
                plugin.versions.join(" ")
            ));
        }
        let driver = Arc::new(Driver::new(&plugin.name, plugin.endpoint.clone()));
        let info = driver.info().await.map_err(|status| crate::grpc::describe(&status))?;
        self.csi.drivers.lock().insert(plugin.name.clone(), Arc::clone(&driver));
        self.node
            .announce(&plugin.name, info)
            .await
            .map_err(|error| format!("error updating CSINode object with CSI driver node info: {error}"))?;
        tracing::info!(driver = plugin.name, "CSI driver registered");
        Ok(())
    }

    async fn deregister(&self, plugin: &crate::plugins::Plugin) {
        let name = plugin.name.as_str();
        self.csi.drivers.lock().remove(name);
        match self.node.withdraw(name).await {
            Ok(()) => tracing::info!(driver = name, "CSI driver gone"),
            Err(error) => tracing::warn!(driver = name, %error, "CSINode not updated"),
        }
    }
}
