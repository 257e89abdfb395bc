//! Claims, volumes, storage classes and what nodes can attach, as the scheduler sees them.
use crate::selector::Selector;
use k8s_openapi::api::core::v1::{
    NodeSelector, PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm,
};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use knarr_component::store::Key;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Set by the volume controller when both sides of a binding are written.
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// Tells a provisioner where the first consumer of a claim will run.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The class that was chosen before the field existed.
const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// Provisioner of classes whose volumes are made by hand.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// A persistent volume claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Namespace and name.
    pub key: Key,
    /// Unique id.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// The volume it is bound or being bound to; empty while there is none.
    pub volume: String,
    /// Storage class; empty for none.
    pub class: String,
    /// Both sides of the binding are written.
    pub bound: bool,
    /// Its volume is gone.
    pub lost: bool,
    /// Being deleted.
    pub deleting: bool,
    /// Where its first consumer will run.
    pub selected_node: String,
    /// Access modes it asks for.
    pub modes: Vec<String>,
    /// Bytes it asks for.
    pub request: i64,
    /// Volumes it accepts.
    pub selector: Option<Selector>,
    /// `Filesystem` or `Block`.
    pub mode: String,
    /// The pod that a generic ephemeral volume's claim belongs to, by uid.
    pub owner: String,
}

impl Claim {
    /// The view of a claim.
    pub fn new(claim: PersistentVolumeClaim) -> Self {
        let (spec, meta) = (claim.spec.unwrap_or_default(), claim.metadata);
        let annotations = meta.annotations.clone().unwrap_or_default();
        let annotation = |name: &str| annotations.get(name).cloned().unwrap_or_default();
        let request = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
        let volume = spec.volume_name.unwrap_or_default();
        Self {
            key: Key::of(&meta),
            bound: !volume.is_empty() && annotations.contains_key(BIND_COMPLETED),
            lost: claim.status.is_some_and(|status| status.phase.as_deref() == Some("Lost")),
            deleting: meta.deletion_timestamp.is_some(),
            class: spec.storage_class_name.unwrap_or_else(|| annotation(CLASS_ANNOTATION)),
            selected_node: annotation(SELECTED_NODE),
            modes: spec.access_modes.unwrap_or_default(),
            request: amount(request.get("storage")),
            selector: spec.selector.map(|selector| Selector::new(Some(&selector))),
            mode: spec.volume_mode.unwrap_or_else(|| "Filesystem".to_owned()),
            owner: meta
                .owner_references
                .into_iter()
                .flatten()
                .find(|o| o.controller == Some(true))
                .map(|owner| owner.uid)
                .unwrap_or_default(),
            volume,
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
        }
    }
}

/// A persistent volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Volume {
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// Labels, for zones and selectors.
    pub labels: BTreeMap<String, String>,
    /// Storage class; empty for none.
    pub class: String,
    /// The claim it belongs to, with its uid where it is given.
    pub claim: Option<(Key, String)>,
    /// It may be bound: `Available`, or not seen by the controller yet.
    pub available: bool,
    /// Being deleted.
    pub deleting: bool,
    /// Nodes that can reach it.
    pub affinity: Option<NodeSelector>,
    /// Access modes it offers.
    pub modes: Vec<String>,
    /// Bytes it holds.
    pub capacity: i64,
    /// `Filesystem` or `Block`.
    pub mode: String,
    /// CSI driver and handle.
    pub csi: Option<(String, String)>,
}

impl Volume {
    /// The view of a volume.
    pub fn new(volume: PersistentVolume) -> Self {
        let (spec, meta) = (volume.spec.unwrap_or_default(), volume.metadata);
        let annotations = meta.annotations.unwrap_or_default();
        let claim = spec.claim_ref.map(|claim| {
            let key = Key::new(claim.namespace.unwrap_or_default(), claim.name.unwrap_or_default());
            (key, claim.uid.unwrap_or_default())
        });
        let phase = volume.status.and_then(|status| status.phase).unwrap_or_default();
        Self {
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
            labels: meta.labels.unwrap_or_default(),
            class: spec
                .storage_class_name
                .or_else(|| annotations.get(CLASS_ANNOTATION).cloned())
                .unwrap_or_default(),
            claim,
            available: matches!(phase.as_str(), "" | "Pending" | "Available"),
            deleting: meta.deletion_timestamp.is_some(),
            affinity: spec.node_affinity.and_then(|affinity| affinity.required),
            modes: spec.access_modes.unwrap_or_default(),
            capacity: amount(spec.capacity.unwrap_or_default().get("storage")),
            mode: spec.volume_mode.unwrap_or_else(|| "Filesystem".to_owned()),
            csi: spec.csi.map(|csi| (csi.driver, csi.volume_handle)),
        }
    }
}

/// A storage class.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Class {
    /// Name.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// Claims are bound when their first consumer is scheduled.
    pub waits: bool,
    /// Who makes its volumes.
    pub provisioner: String,
    /// Nodes on which its volumes can be made; none means all.
    pub topologies: Vec<TopologySelectorTerm>,
}

impl Class {
    /// The view of a class.
    pub fn new(class: StorageClass) -> Self {
        Self {
            name: class.metadata.name.unwrap_or_default(),
            uid: class.metadata.uid.unwrap_or_default(),
            resource_version: class.metadata.resource_version.unwrap_or_default(),
            waits: class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            provisioner: class.provisioner,
            topologies: class.allowed_topologies.unwrap_or_default(),
        }
    }
}

/// What a node's CSI drivers can attach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachable {
    /// The node's name.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// Volumes by driver; drivers without a limit are absent.
    pub limits: BTreeMap<String, i64>,
}

impl Attachable {
    /// The view of a `CSINode`.
    pub fn new(node: CSINode) -> Self {
        let limits = node.spec.drivers.into_iter().filter_map(|driver| {
            let count = driver.allocatable.and_then(|resources| resources.count)?;
            Some((driver.name, i64::from(count)))
        });
        Self {
            limits: limits.collect(),
            name: node.metadata.name.unwrap_or_default(),
            uid: node.metadata.uid.unwrap_or_default(),
            resource_version: node.metadata.resource_version.unwrap_or_default(),
        }
    }
}

/// How much a CSI driver can still provision of a class on some nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Capacity {
    /// Namespace and name.
    pub key: Key,
    /// Unique id.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// Name of the class.
    pub class: String,
    /// The largest volume that can be made, in bytes.
    pub largest: i64,
    /// The nodes; none without it.
    pub nodes: Option<Selector>,
}

impl Capacity {
    /// The view of a `CSIStorageCapacity`.
    pub fn new(capacity: CSIStorageCapacity) -> Self {
        let size = capacity.maximum_volume_size.or(capacity.capacity);
        Self {
            key: Key::of(&capacity.metadata),
            uid: capacity.metadata.uid.unwrap_or_default(),
            resource_version: capacity.metadata.resource_version.unwrap_or_default(),
            class: capacity.storage_class_name,
            largest: amount(size.as_ref()),
            nodes: capacity.node_topology.map(|selector| Selector::new(Some(&selector))),
        }
    }
}

/// A CSI driver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    /// Name, which classes have as their provisioner.
    pub name: String,
    /// Unique id.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// It says how much it can provision where.
    pub tracks_capacity: bool,
}

impl Driver {
    /// The view of a `CSIDriver`.
    pub fn new(driver: CSIDriver) -> Self {
        Self {
            name: driver.metadata.name.unwrap_or_default(),
            uid: driver.metadata.uid.unwrap_or_default(),
            resource_version: driver.metadata.resource_version.unwrap_or_default(),
            tracks_capacity: driver.spec.storage_capacity.unwrap_or_default(),
        }
    }
}

macro_rules! objects {
    ($($view:ty: |$object:ident| $key:expr;)*) => {$(
        impl knarr_component::store::Object for $view {
            fn key(&self) -> Key {
                let $object = self;
                $key
            }

            fn uid(&self) -> &str {
                &self.uid
            }

            fn resource_version(&self) -> &str {
                &self.resource_version
            }
        }
    )*};
}

objects! {
    Claim: |claim| claim.key.clone();
    Volume: |volume| Key::new("", volume.name.clone());
    Class: |class| Key::new("", class.name.clone());
    Attachable: |node| Key::new("", node.name.clone());
    Capacity: |capacity| capacity.key.clone();
    Driver: |driver| Key::new("", driver.name.clone());
}

/// All of it.
#[derive(Debug, Default)]
pub struct Storage {
    /// Claims.
    pub claims: HashMap<Key, Arc<Claim>>,
    /// Volumes, by name.
    pub volumes: BTreeMap<String, Arc<Volume>>,
    /// Classes, by name.
    pub classes: HashMap<String, Arc<Class>>,
    /// What nodes can attach, by node.
    pub attachable: HashMap<String, Arc<Attachable>>,
    /// What CSI drivers can still provision.
    pub capacities: HashMap<Key, Arc<Capacity>>,
    /// CSI drivers, by name.
    pub drivers: HashMap<String, Arc<Driver>>,
    /// Volumes that a pod's placing gives to a claim, which the API does not say yet.
    pub assumed: HashMap<String, Key>,
    /// Claims for which a pod's placing chose a node, which the API does not say yet.
    pub selected: HashMap<Key, String>,
}

impl Storage {
    /// The class of a claim.
    pub fn class_of(&self, claim: &Claim) -> Option<&Class> {
        self.classes.get(&claim.class).map(Arc::as_ref)
    }

    /// Whether a volume for a claim of a class can be made near a node, as far as its driver says.
    pub fn has_room(&self, claim: &Claim, class: &Class, labels: &BTreeMap<String, String>) -> bool {
        let tracks = self.drivers.get(&class.provisioner).is_some_and(|driver| driver.tracks_capacity);
        let fits = |capacity: &Arc<Capacity>| {
            capacity.class == class.name
                && capacity.largest >= claim.request
                && capacity.nodes.as_ref().is_some_and(|nodes| nodes.selects(labels))
        };
        !tracks || self.capacities.values().any(fits)
    }

    /// The volume that a claim is bound to.
    pub fn volume_of(&self, claim: &Claim) -> Option<&Volume> {
        self.volumes.get(&claim.volume).map(Arc::as_ref)
    }
}

fn amount(quantity: Option<&Quantity>) -> i64 {
    let parsed = quantity.and_then(|quantity| quantity.0.parse::<knarr_api::quantity::Quantity>().ok());
    parsed.map(|quantity| quantity.value()).unwrap_or_default()
}
