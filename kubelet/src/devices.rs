//! Devices that programs of the node offer to pods by the device plugin interface.
//!
//! A plugin tells the socket `kubelet.sock` where it listens, or announces itself in `plugins_registry`; from then on it
//! says which devices there are and which of them are well. What pods hold is noted in a file, so that it is known
//! after a restart before any plugin has come back.
//!
//! Source: kubernetes.io, "Device Plugins". There the folder is always `/var/lib/kubelet/device-plugins`; here it is below
//! the kubelet's own directory, since a host has several kubelets.

mod books;
mod messages;
mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use prost::Message;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::grpc::{self, Socket, server};
use crate::plugins::{Handler, Plugin};
use crate::runtime::types::{CdiDevice, Device as RuntimeDevice, Mount};
use crate::topology::{Hint, Mask};

use books::{Books, Device, Holding};
pub use books::{Holder, Ids};
use messages::{AllocateResponse, Allocated, Empty, IdsOfContainers, Options, Preference, PreferredRequest};

/// The version of the interface.
const VERSION: &str = "v1beta1";
/// How long a plugin may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long the devices of a plugin that went away stay in the node's capacity.
const GRACE: Duration = Duration::from_secs(300);

/// Capacity and allocatable amount by resource; what is gone for good has none of either.
pub type Amounts = BTreeMap<String, (usize, usize)>;

/// What containers get for their devices.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extras {
    /// Variables; those of the container's own win.
    pub env: Vec<(String, String)>,
    /// Files of the host.
    pub mounts: Vec<Mount>,
    /// Device nodes of the host.
    pub devices: Vec<RuntimeDevice>,
    /// Annotations for the runtime.
    pub annotations: BTreeMap<String, String>,
    /// Devices that the runtime looks up itself.
    pub cdi_devices: Vec<CdiDevice>,
}

#[derive(Debug)]
struct Endpoint {
    socket: Socket,
    options: Options,
    /// Cancelled when another plugin takes over the resource.
    replaced: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    books: Books,
    endpoints: BTreeMap<String, Endpoint>,
}

/// The devices of a node.
#[derive(Debug)]
pub struct Devices {
    folder: PathBuf,
    state: Mutex<State>,
    amounts: watch::Sender<Amounts>,
    stop: CancellationToken,
}

impl Devices {
    /// What a kubelet before this one noted below `root`, and no plugins yet.
    pub fn open(root: &Path, stop: CancellationToken) -> Arc<Self> {
        let folder = root.join("device-plugins");
        let books = record::load(&folder).unwrap_or_else(|error| {
            tracing::warn!(%error, "what pods hold of devices is not known");
            Books::default()
        });
        let resources: Vec<String> = books.devices.keys().cloned().collect();
        let state = Mutex::new(State { books, endpoints: BTreeMap::new() });
        let devices = Arc::new(Self { folder, state, amounts: watch::Sender::default(), stop });
        for resource in resources {
            let replaced = CancellationToken::new();
            let socket = Socket::new(PathBuf::new());
            let endpoint = Endpoint { socket, options: Options::default(), replaced: replaced.clone() };
            devices.state.lock().endpoints.insert(resource.clone(), endpoint);
            devices.spawn(&replaced, Arc::clone(&devices).forget_later(resource));
        }
        devices.tell();
        devices
    }

    fn spawn(&self, replaced: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
        let work = replaced.clone().run_until_cancelled_owned(work);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(work));
    }

    /// Listens for plugins until told to stop. Their sockets are removed, by which they know that they must announce
    /// themselves again.
    pub fn listen(self: &Arc<Self>) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        for entry in std::fs::read_dir(&self.folder)?.flatten() {
            if entry.file_name() != record::FILE && !entry.file_type()?.is_dir() {
                std::fs::remove_file(entry.path())?;
            }
        }
        let listener = server::listen(&self.folder.join("kubelet.sock"))?;
        let calls = Registration(Arc::clone(self));
        tokio::spawn(server::serve(listener, Arc::new(calls), self.stop.clone()));
        Ok(())
    }

    /// What there is of each resource; changes wake who waits.
    pub fn amounts(&self) -> watch::Receiver<Amounts> {
        self.amounts.subscribe()
    }

    /// Whether some plugin has offered the resource.
    pub fn is_known(&self, resource: &str) -> bool {
        self.state.lock().books.is_known(resource)
    }

    fn tell(&self) {
        let now: Amounts = self.state.lock().books.amounts();
        self.amounts.send_if_modified(|told| {
            let gone = told.keys().filter(|resource| !now.contains_key(*resource)).cloned();
            let next: Amounts = gone.map(|resource| (resource, (0, 0))).chain(now.clone()).collect();
            let changed = *told != next;
            *told = next;
            changed
        });
    }

    fn note(&self) -> Result<(), String> {
        let books = self.state.lock().books.clone();
        record::store(&self.folder, &books).map_err(|error| format!("checkpoint not written: {error}"))
    }

    /// Takes a plugin; one that offered the resource before is let go.
    async fn register(
        self: &Arc<Self>,
        resource: &str,
        path: PathBuf,
        options: Option<Options>,
    ) -> Result<(), String> {
        if !crate::admission::is_extended(resource) {
            return Err(format!("the ResourceName {resource:?} is invalid"));
        }
        let socket = Socket::new(path);
        let options = match options {
            Some(options) => options,
            None => socket
                .call("/v1beta1.DevicePlugin/GetDevicePluginOptions", Empty {}, TIMEOUT)
                .await
                .map_err(|status| grpc::describe(&status))?,
        };
        let replaced = CancellationToken::new();
        let endpoint = Endpoint { socket: socket.clone(), options, replaced: replaced.clone() };
        if let Some(old) = self.state.lock().endpoints.insert(resource.to_owned(), endpoint) {
            old.replaced.cancel();
        }
        tracing::info!(resource, "device plugin registered");
        self.spawn(&replaced, Arc::clone(self).follow(resource.to_owned(), socket));
        Ok(())
    }

    /// Takes over what a plugin says of its devices, until it goes away.
    async fn follow(self: Arc<Self>, resource: String, socket: Socket) {
        let list = "/v1beta1.DevicePlugin/ListAndWatch";
        match socket.stream::<_, messages::Devices>(list, Empty {}).await {
            Ok(mut answers) => {
                while let Some(Ok(answer)) = answers.next().await {
                    self.update(&resource, answer);
                }
                tracing::info!(resource, "device plugin gone");
            }
            Err(status) => tracing::warn!(resource, error = grpc::describe(&status), "devices not listed"),
        }
        self.forget_later(resource).await;
    }

    fn update(&self, resource: &str, answer: messages::Devices) {
        let device = |device: messages::Device| {
            let nodes = device.topology.unwrap_or_default().nodes;
            let nodes = nodes.iter().filter_map(|node| u32::try_from(node.id).ok()).collect();
            (device.id, Device { is_healthy: device.health == "Healthy", nodes })
        };
        let devices = answer.devices.into_iter().map(device).collect();
        self.state.lock().books.devices.insert(resource.to_owned(), devices);
        if let Err(error) = self.note() {
            tracing::warn!(resource, error);
        }
        self.tell();
    }

    /// None of a resource's devices can be given away any more; after a while the node does not have them.
    async fn forget_later(self: Arc<Self>, resource: String) {
        if let Some(devices) = self.state.lock().books.devices.get_mut(&resource) {
            devices.values_mut().for_each(|device| device.is_healthy = false);
        }
        self.tell();
        tokio::time::sleep(GRACE).await;
        {
            let mut state = self.state.lock();
            state.books.devices.remove(&resource);
            state.endpoints.remove(&resource);
        }
        if let Err(error) = self.note() {
            tracing::warn!(resource, error);
        }
        self.tell();
    }

    /// Where a container could get its devices.
    pub fn hints(&self, holder: &Holder, count: usize, reusable: &Ids, all: Mask) -> Option<Vec<Hint>> {
        self.state.lock().books.hints(holder, count, reusable, all)
    }

    /// Gives a container its devices, unless it has them; answers which.
    pub async fn allocate(
        &self,
        holder: &Holder,
        count: usize,
        reusable: &Ids,
        affinity: Option<Mask>,
    ) -> Result<Ids, String> {
        let resource = &holder.2;
        let (choice, endpoint) = {
            let state = self.state.lock();
            let choice = state.books.choose(holder, count, reusable, affinity)?;
            let Some(choice) = choice else {
                return Ok(state.books.held.get(holder).map(|held| held.ids.clone()).unwrap_or_default());
            };
            let endpoint =
                state.endpoints.get(resource).map(|endpoint| (endpoint.socket.clone(), endpoint.options));
            (choice, endpoint)
        };
        let Some((socket, options)) = endpoint else {
            return Err(format!("unknown Device Plugin {resource}"));
        };
        let ids = if options.preferred_allocation {
            choice.preferring(&preferred(&socket, &choice).await?)
        } else {
            choice.first()
        };
        let asked =
            IdsOfContainers { containers: vec![messages::Ids { ids: ids.iter().cloned().collect() }] };
        let answer: AllocateResponse = socket
            .call("/v1beta1.DevicePlugin/Allocate", asked, TIMEOUT)
            .await
            .map_err(|status| grpc::describe(&status))?;
        let Some(answer) = answer.containers.first() else {
            return Err("no containers return in allocation response".to_owned());
        };
        let holding = Holding { ids: ids.clone(), answer: answer.encode_to_vec() };
        self.state.lock().books.held.insert(holder.clone(), holding);
        self.note()?;
        Ok(ids)
    }

    /// What a container that is about to be made must get, after its plugins have prepared the devices.
    pub async fn prepare(&self, uid: &str, container: &str) -> Result<Extras, String> {
        let held: Vec<(String, Holding)> = {
            let state = self.state.lock();
            let own = state.books.held.iter().filter(|((pod, name, _), _)| pod == uid && name == container);
            own.map(|((_, _, resource), holding)| (resource.clone(), holding.clone())).collect()
        };
        let mut extras = Extras::default();
        for (resource, holding) in held {
            let socket = {
                let state = self.state.lock();
                let endpoint =
                    state.endpoints.get(&resource).filter(|endpoint| endpoint.options.pre_start_required);
                endpoint.map(|endpoint| endpoint.socket.clone())
            };
            if let Some(socket) = socket {
                let ids = messages::Ids { ids: holding.ids.iter().cloned().collect() };
                let told: Result<Empty, _> =
                    socket.call("/v1beta1.DevicePlugin/PreStartContainer", ids, TIMEOUT).await;
                told.map_err(|status| {
                    format!(
                        "device plugin PreStartContainer rpc failed with err: {}",
                        grpc::describe(&status)
                    )
                })?;
            }
            let answer = Allocated::decode(holding.answer.as_slice()).map_err(|error| error.to_string())?;
            extras.add(answer);
        }
        Ok(extras)
    }

    /// What a container holds, by resource, with the memory nodes of that.
    pub fn held(&self, uid: &str, container: &str) -> Vec<(String, Vec<String>, Vec<u32>)> {
        let state = self.state.lock();
        let own = state.books.held.iter().filter(|((pod, name, _), _)| pod == uid && name == container);
        own.map(|((_, _, resource), holding)| state.books.described(resource, &holding.ids)).collect()
    }

    /// All devices that are well, one by one, with their memory nodes.
    pub fn healthy(&self) -> Vec<(String, Vec<String>, Vec<u32>)> {
        let state = self.state.lock();
        let mut all = Vec::new();
        for (resource, devices) in &state.books.devices {
            for (id, _) in devices.iter().filter(|(_, device)| device.is_healthy) {
                all.push(state.books.described(resource, &Ids::from([id.clone()])));
            }
        }
        all
    }

    /// Takes away what pods hold but those to keep.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        if self.state.lock().books.retain(keep)
            && let Err(error) = self.note()
        {
            tracing::warn!(error);
        }
    }
}

/// Asks a plugin which devices it would choose.
async fn preferred(socket: &Socket, choice: &books::Choice) -> Result<Ids, String> {
    let words = |ids: &Ids| ids.iter().cloned().collect();
    let asked = Preference {
        available: words(&choice.available()),
        must_include: words(&choice.must),
        size: i32::try_from(choice.count).unwrap_or(i32::MAX),
    };
    let asked = PreferredRequest { containers: vec![asked] };
    let answer: IdsOfContainers = socket
        .call("/v1beta1.DevicePlugin/GetPreferredAllocation", asked, TIMEOUT)
        .await
        .map_err(|status| grpc::describe(&status))?;
    Ok(answer.containers.into_iter().flat_map(|container| container.ids).collect())
}

impl Extras {
    /// Adds what one plugin wants; who came first wins.
    fn add(&mut self, answer: Allocated) {
        for (name, value) in answer.envs {
            if !self.env.iter().any(|(known, _)| *known == name) {
                self.env.push((name, value));
            }
        }
        for mount in answer.mounts {
            if !self.mounts.iter().any(|known| known.container_path == mount.container_path) {
                self.mounts.push(Mount {
                    container_path: mount.container_path,
                    host_path: mount.host_path,
                    readonly: mount.read_only,
                    ..Mount::default()
                });
            }
        }
        for node in answer.devices {
            if !self.devices.iter().any(|known| known.container_path == node.container_path) {
                self.devices.push(RuntimeDevice {
                    container_path: node.container_path,
                    host_path: node.host_path,
                    permissions: node.permissions,
                });
            }
        }
        for (name, value) in answer.annotations {
            self.annotations.entry(name).or_insert(value);
        }
        let names = answer.cdi_devices.into_iter().map(|device| CdiDevice { name: device.name });
        self.cdi_devices.extend(names);
    }
}

/// The socket at which plugins announce themselves.
struct Registration(Arc<Devices>);

#[async_trait]
impl server::Calls for Registration {
    async fn call(&self, path: &str, request: Bytes) -> Result<Vec<u8>, Status> {
        if path != "/v1beta1.Registration/Register" {
            return Err(server::unknown(path));
        }
        let request: messages::RegisterRequest = server::decode(request)?;
        if request.version != VERSION {
            return Err(Status::unknown(format!(
                "requested API version {:?} is not supported by kubelet. Supported version is {VERSION:?}",
                request.version
            )));
        }
        let path = self.0.folder.join(&request.endpoint);
        let options = Some(request.options.unwrap_or_default());
        self.0.register(&request.resource_name, path, options).await.map_err(Status::unknown)?;
        Ok(Empty {}.encode_to_vec())
    }
}

/// Takes plugins that announce themselves as other plugins do.
pub struct Registrar(pub Arc<Devices>);

#[async_trait]
impl Handler for Registrar {
    fn kind(&self) -> &'static str {
        "DevicePlugin"
    }

    async fn register(&self, plugin: &Plugin) -> Result<(), String> {
        if !plugin.versions.iter().any(|version| version == VERSION) {
            return Err(format!(
                "manager requires support for one of {VERSION}, plugin supports [{}]",
                plugin.versions.join(" ")
            ));
        }
        self.0.register(&plugin.name, plugin.endpoint.clone(), None).await
    }

    async fn deregister(&self, plugin: &Plugin) {
        // Its list of devices ends by itself.
        tracing::info!(resource = plugin.name, "the socket of a device plugin is gone");
    }
}

#[cfg(test)]
mod tests;
