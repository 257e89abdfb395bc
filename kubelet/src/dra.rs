//! Devices that DRA drivers prepare for pods' claims.
//!
//! Drivers announce themselves in `plugins_registry`. Before anything of a pod is made its claims are prepared, and let
//! go when nothing of the last pod that used them runs any more; what is prepared is noted in a file, so that a new
//! kubelet can let it go. What a driver offered is withdrawn when it stays away.
//!
//! Source: KEP-4381, structured parameters.

pub mod claims;
mod messages;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::checkpoint::{self, CheckpointError};
use crate::container::ConfigError;
use crate::grpc::{self, Socket};
use crate::plugins::{Handler, Plugin};
use crate::pod;
use crate::runtime::types::CdiDevice;
use crate::volumes::Lookup;
use claims::{Device, InUse, OfDriver};
use messages::{Claim, Claims, PreparedClaims, UnpreparedClaims};

/// How long a driver may take.
const TIMEOUT: Duration = Duration::from_secs(45);
/// How long a driver may be away before what it offers is withdrawn: that is how long an update takes.
const WIPING_DELAY: Duration = Duration::from_secs(30);
/// How often withdrawing is tried again, and the first pause.
const WIPING_ATTEMPTS: u32 = 6;
const WIPING_PAUSE: Duration = Duration::from_secs(1);
/// Versions of the interface, the newest first: what drivers call them, and the paths of their two calls.
const VERSIONS: [(&str, &str, &str); 2] = [
    (
        "v1.DRAPlugin",
        "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources",
        "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodeUnprepareResources",
    ),
    (
        "v1beta1.DRAPlugin",
        "/k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin/NodePrepareResources",
        "/k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin/NodeUnprepareResources",
    ),
];
/// The original's name of the file.
const FILE: &str = "dra_manager_state";
const CHECK: &str = "Checksum";

#[derive(Debug, Clone)]
struct Driver {
    endpoint: PathBuf,
    socket: Socket,
    prepare: &'static str,
    unprepare: &'static str,
}

/// Claims by namespace and name.
type InUseClaims = BTreeMap<(String, String), InUse>;

/// The DRA drivers of a node and the claims that they have prepared.
#[derive(Debug)]
pub struct Dra {
    file: PathBuf,
    drivers: Mutex<BTreeMap<String, Driver>>,
    claims: Mutex<InUseClaims>,
    /// Held while claims are prepared or let go.
    turn: tokio::sync::Mutex<()>,
}

impl Dra {
    /// No drivers yet; what a kubelet before this one had prepared is known.
    pub fn open(root: &Path) -> Arc<Self> {
        let file = root.join(FILE);
        let claims = load(&file).unwrap_or_else(|error| {
            tracing::warn!(%error, "prepared claims are not known");
            BTreeMap::new()
        });
        let (drivers, claims) = (Mutex::default(), Mutex::new(claims));
        Arc::new(Self { file, drivers, claims, turn: tokio::sync::Mutex::default() })
    }

    fn note(&self) -> Result<(), String> {
        let claims: Vec<InUse> = self.claims.lock().values().cloned().collect();
        let data = json!({"Data": {"Version": "v2", "Entries": claims}});
        checkpoint::store(&self.file, data, CHECK).map_err(|error| format!("checkpoint not written: {error}"))
    }

    fn driver(&self, name: &str) -> Result<Driver, String> {
        let driver = self.drivers.lock().get(name).cloned();
        driver.ok_or_else(|| format!("DRA driver {name} is not registered"))
    }

    /// Prepares all claims of a pod that are not prepared yet.
    pub async fn prepare(&self, pod: &Pod, lookup: &dyn Lookup) -> Result<(), String> {
        let names = claims::names(pod).map_err(|error| format!("prepare resource claim: {error}"))?;
        if names.is_empty() {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let mut batches: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
        for (name, made_for_pod) in names {
            let claim = fetch(lookup, pod::namespace(pod), &name).await?;
            let drivers = claims::check(pod, &claim, made_for_pod)?;
            if let Some(claim) = self.begin(pod, &claim, &drivers)? {
                drivers.into_iter().for_each(|driver| batches.entry(driver).or_default().push(claim.clone()));
            }
        }
        self.note()?;
        for (driver, batch) in &batches {
            self.prepare_batch(driver, batch).await?;
        }
        for claim in batches.into_values().flatten() {
            if let Some(claim) = self.claims.lock().get_mut(&(claim.namespace, claim.name)) {
                claim.is_prepared = true;
            }
        }
        self.note()
    }

    /// Notes that the pod uses the claim; answers what is to be prepared.
    fn begin(
        &self,
        pod: &Pod,
        claim: &ResourceClaim,
        drivers: &BTreeSet<String>,
    ) -> Result<Option<Claim>, String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let (namespace, name, uid) =
            (pod::namespace(pod), text(&claim.metadata.name), text(&claim.metadata.uid));
        let mut claims = self.claims.lock();
        let known = claims.entry((namespace.to_owned(), name.clone())).or_insert_with(|| InUse {
            uid: uid.clone(),
            name: name.clone(),
            namespace: namespace.to_owned(),
            ..InUse::default()
        });
        if known.uid != uid {
            return Err(format!(
                "old ResourceClaim with same name {name} and different UID {} still exists",
                known.uid
            ));
        }
        known.pods.insert(pod::uid(pod).to_owned());
        for driver in drivers {
            known.drivers.entry(driver.clone()).or_default();
        }
        let claim = Claim { namespace: namespace.to_owned(), uid, name };
        Ok((!known.is_prepared).then_some(claim))
    }

    async fn prepare_batch(&self, driver: &str, batch: &[Claim]) -> Result<(), String> {
        let known = self.driver(driver)?;
        let asked = Claims { claims: batch.to_vec() };
        let answer: PreparedClaims = known
            .socket
            .call(known.prepare, asked, TIMEOUT)
            .await
            .map_err(|status| format!("NodePrepareResources: {}", grpc::describe(&status)))?;
        for claim in batch {
            let Some(prepared) = answer.claims.get(&claim.uid) else {
                return Err("NodePrepareResources skipped 1 ResourceClaims".to_owned());
            };
            if !prepared.error.is_empty() {
                return Err(format!(
                    "NodePrepareResources failed for ResourceClaim {}: {}",
                    claim.name, prepared.error
                ));
            }
            let device = |device: &messages::Device| Device {
                pool_name: device.pool_name.clone(),
                device_name: device.device_name.clone(),
                share_id: device.share_id.clone(),
                request_names: device.request_names.clone(),
                cdi_devices: device.cdi_device_ids.clone(),
            };
            let devices = prepared.devices.iter().map(device).collect();
            if let Some(known) = self.claims.lock().get_mut(&(claim.namespace.clone(), claim.name.clone())) {
                known.drivers.insert(driver.to_owned(), OfDriver { devices });
            }
        }
        Ok(())
    }

    /// What the runtime must look up for a container.
    pub fn devices(&self, pod: &Pod, container: &Container) -> Result<Vec<CdiDevice>, String> {
        let claims = self.claims.lock();
        let devices = claims::of_container(pod, container, &claims)?;
        let mut names: Vec<&String> = Vec::new();
        for name in devices.iter().flat_map(|(_, _, device)| &device.cdi_devices) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        Ok(names.into_iter().map(|name| CdiDevice { name: name.clone() }).collect())
    }

    /// A copy of the claims in use.
    pub fn in_use(&self) -> InUseClaims {
        self.claims.lock().clone()
    }

    /// Lets go of what only this pod has used.
    pub async fn release(&self, uid: &str) -> Result<(), String> {
        if !self.claims.lock().values().any(|claim| claim.pods.contains(uid)) {
            return Ok(());
        }
        let _turn = self.turn.lock().await;
        let used: Vec<InUse> =
            self.claims.lock().values().filter(|claim| claim.pods.contains(uid)).cloned().collect();
        for claim in used {
            let key = (claim.namespace.clone(), claim.name.clone());
            if claim.pods.len() > 1 {
                if let Some(claim) = self.claims.lock().get_mut(&key) {
                    claim.pods.remove(uid);
                }
                continue;
            }
            for driver in claim.drivers.keys() {
                self.unprepare(driver, &claim).await?;
            }
            self.claims.lock().remove(&key);
        }
        self.note()
    }

    async fn unprepare(&self, driver: &str, claim: &InUse) -> Result<(), String> {
        let known = self.driver(driver)?;
        let told =
            Claim { namespace: claim.namespace.clone(), uid: claim.uid.clone(), name: claim.name.clone() };
        let answer: UnpreparedClaims = known
            .socket
            .call(known.unprepare, Claims { claims: vec![told] }, TIMEOUT)
            .await
            .map_err(|status| format!("NodeUnprepareResources: {}", grpc::describe(&status)))?;
        match answer.claims.get(&claim.uid) {
            None => Err("NodeUnprepareResources skipped 1 ResourceClaims".to_owned()),
            Some(answer) if !answer.error.is_empty() => Err(format!(
                "NodeUnprepareResources failed for ResourceClaim {}: {}",
                claim.name, answer.error
            )),
            Some(_) => Ok(()),
        }
    }

    /// Uids of the pods that use claims.
    pub fn pods(&self) -> BTreeSet<String> {
        self.claims.lock().values().flat_map(|claim| claim.pods.iter().cloned()).collect()
    }
}

async fn fetch(lookup: &dyn Lookup, namespace: &str, name: &str) -> Result<ResourceClaim, String> {
    let failed = |error: ConfigError| format!("fetch ResourceClaim {name}: {error}");
    let found = lookup.resource_claim(namespace, name).await.map_err(failed)?;
    found.ok_or_else(|| {
        format!("fetch ResourceClaim {name}: resourceclaims.resource.k8s.io \"{name}\" not found")
    })
}

fn load(file: &Path) -> Result<InUseClaims, CheckpointError> {
    let data = checkpoint::load(file, CHECK)?;
    let entries = data.as_ref().and_then(|data| data.pointer("/Data/Entries")).cloned();
    let claims: Vec<InUse> = match entries.filter(|entries| *entries != Value::Null) {
        Some(entries) => serde_json::from_value(entries)?,
        None => Vec::new(),
    };
    Ok(claims.into_iter().map(|claim| ((claim.namespace.clone(), claim.name.clone()), claim)).collect())
}

/// Takes drivers that announce themselves.
pub struct Registrar {
    /// Where they are kept.
    pub dra: Arc<Dra>,
    /// The API server.
    pub client: Client,
    /// The node.
    pub node: String,
}

impl Registrar {
    /// Nothing is offered until the drivers are back.
    pub fn new(dra: Arc<Dra>, client: Client, node: String) -> Self {
        tokio::spawn(wipe(client.clone(), node.clone(), None));
        Self { dra, client, node }
    }
}

#[async_trait]
impl Handler for Registrar {
    fn kind(&self) -> &'static str {
        "DRAPlugin"
    }

    async fn register(&self, plugin: &Plugin) -> Result<(), String> {
        let offered =
            |(name, ..): &&(&str, &str, &str)| plugin.versions.iter().any(|version| version == name);
        let Some((_, prepare, unprepare)) = VERSIONS.iter().find(offered) else {
            return Err(format!(
                "DRA driver {}: none of the DRA gRPC interfaces [{}] is supported",
                plugin.name,
                plugin.versions.join(" ")
            ));
        };
        let endpoint = plugin.endpoint.clone();
        let driver = Driver { socket: Socket::new(endpoint.clone()), endpoint, prepare, unprepare };
        self.dra.drivers.lock().insert(plugin.name.clone(), driver);
        tracing::info!(driver = plugin.name, "DRA driver registered");
        Ok(())
    }

    async fn deregister(&self, plugin: &Plugin) {
        {
            let mut drivers = self.dra.drivers.lock();
            // Its successor may have announced itself already.
            if drivers.get(&plugin.name).is_none_or(|driver| driver.endpoint != plugin.endpoint) {
                return;
            }
            drivers.remove(&plugin.name);
        }
        tracing::info!(driver = plugin.name, "DRA driver gone");
        let (dra, client, node) = (Arc::clone(&self.dra), self.client.clone(), self.node.clone());
        let name = plugin.name.clone();
        tokio::spawn(async move {
            tokio::time::sleep(WIPING_DELAY).await;
            if dra.driver(&name).is_err() {
                wipe(client, node, Some(name)).await;
            }
        });
    }
}

/// Withdraws what a driver, or all of them, offer on the node.
async fn wipe(client: Client, node: String, driver: Option<String>) {
    let api: Api<ResourceSlice> = Api::all(client);
    let mut fields = format!("spec.nodeName={node}");
    if let Some(driver) = &driver {
        fields.push_str(&format!(",spec.driver={driver}"));
    }
    let (list, mut pause) = (ListParams::default().fields(&fields), WIPING_PAUSE);
    for _ in 0..WIPING_ATTEMPTS {
        match api.delete_collection(&DeleteParams::default(), &list).await {
            Ok(_) => return,
            Err(error) => tracing::info!(%error, driver, "ResourceSlices not removed"),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}
