//! Tells programs of the node which pod has which devices, CPUs and memory: `pod-resources/kubelet.sock`.
//!
//! Numbers: <https://github.com/kubernetes/kubelet>, `podresources/v1`.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::api::core::v1::{Container, Pod};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::grpc::server::{self, Calls};
use crate::manager::Manager;
use crate::memory::Block;
use crate::pod;

#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
struct NumaNode {
    #[prost(int64, tag = "1")]
    id: i64,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct Topology {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<NumaNode>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct ContainerDevices {
    #[prost(string, tag = "1")]
    resource_name: String,
    #[prost(string, repeated, tag = "2")]
    device_ids: Vec<String>,
    #[prost(message, optional, tag = "3")]
    topology: Option<Topology>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct ContainerMemory {
    #[prost(string, tag = "1")]
    memory_type: String,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(message, optional, tag = "3")]
    topology: Option<Topology>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct CdiName {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct ClaimResource {
    #[prost(message, repeated, tag = "1")]
    cdi_devices: Vec<CdiName>,
    #[prost(string, tag = "2")]
    driver_name: String,
    #[prost(string, tag = "3")]
    pool_name: String,
    #[prost(string, tag = "4")]
    device_name: String,
    #[prost(string, optional, tag = "5")]
    share_id: Option<String>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct DynamicResource {
    #[prost(string, tag = "2")]
    claim_name: String,
    #[prost(string, tag = "3")]
    claim_namespace: String,
    #[prost(message, repeated, tag = "4")]
    claim_resources: Vec<ClaimResource>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct ContainerResources {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    devices: Vec<ContainerDevices>,
    #[prost(int64, repeated, tag = "3")]
    cpu_ids: Vec<i64>,
    #[prost(message, repeated, tag = "4")]
    memory: Vec<ContainerMemory>,
    #[prost(message, repeated, tag = "5")]
    dynamic_resources: Vec<DynamicResource>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct PodResources {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(message, repeated, tag = "3")]
    containers: Vec<ContainerResources>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct ListResponse {
    #[prost(message, repeated, tag = "1")]
    pod_resources: Vec<PodResources>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct GetRequest {
    #[prost(string, tag = "1")]
    pod_name: String,
    #[prost(string, tag = "2")]
    pod_namespace: String,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct GetResponse {
    #[prost(message, optional, tag = "1")]
    pod_resources: Option<PodResources>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
struct AllocatableResponse {
    #[prost(message, repeated, tag = "1")]
    devices: Vec<ContainerDevices>,
    #[prost(int64, repeated, tag = "2")]
    cpu_ids: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    memory: Vec<ContainerMemory>,
}

struct Lister(Arc<Manager>);

/// Serves until told to stop.
pub fn serve(manager: Arc<Manager>, root: &Path, stop: CancellationToken) -> std::io::Result<()> {
    let folder = root.join("pod-resources");
    std::fs::create_dir_all(&folder)?;
    let listener = server::listen(&folder.join("kubelet.sock"))?;
    tokio::spawn(server::serve(listener, Arc::new(Lister(manager)), stop));
    Ok(())
}

#[async_trait]
impl Calls for Lister {
    async fn call(&self, path: &str, request: Bytes) -> Result<Vec<u8>, Status> {
        match path {
            "/v1.PodResourcesLister/List" => {
                let pods = self.0.pods();
                let alive = pods.iter().filter(|pod| !pod::is_terminal(pod));
                Ok(ListResponse { pod_resources: alive.map(|pod| self.of_pod(pod)).collect() }
                    .encode_to_vec())
            }
            "/v1.PodResourcesLister/Get" => {
                let asked: GetRequest = server::decode(request)?;
                let found = self.0.find(&asked.pod_namespace, &asked.pod_name, None);
                let Some(pod) = found else {
                    return Err(Status::unknown(format!(
                        "pod {} in namespace {} not found",
                        asked.pod_name, asked.pod_namespace
                    )));
                };
                Ok(GetResponse { pod_resources: Some(self.of_pod(&pod)) }.encode_to_vec())
            }
            "/v1.PodResourcesLister/GetAllocatableResources" => {
                let grants = &self.0.context().grants;
                Ok(AllocatableResponse {
                    devices: grants.devices.healthy().into_iter().map(told).collect(),
                    cpu_ids: grants.cpus.allocatable().into_iter().map(i64::from).collect(),
                    memory: grants.memory.allocatable().into_iter().map(told_memory).collect(),
                }
                .encode_to_vec())
            }
            _ => Err(server::unknown(path)),
        }
    }
}

/// Devices of a resource with their memory nodes.
fn told((resource_name, device_ids, nodes): (String, Vec<String>, Vec<u32>)) -> ContainerDevices {
    ContainerDevices { resource_name, device_ids, topology: topology(nodes) }
}

fn told_memory(block: Block) -> ContainerMemory {
    ContainerMemory { memory_type: block.r#type, size: block.size, topology: topology(block.nodes) }
}

fn topology(nodes: Vec<u32>) -> Option<Topology> {
    let nodes: Vec<NumaNode> = nodes.into_iter().map(|node| NumaNode { id: i64::from(node) }).collect();
    (!nodes.is_empty()).then_some(Topology { nodes })
}

impl Lister {
    fn of_pod(&self, pod: &Pod) -> PodResources {
        let sidecars = pod::init_containers(pod).iter().filter(|container| pod::is_sidecar(container));
        PodResources {
            name: pod::name(pod).to_owned(),
            namespace: pod::namespace(pod).to_owned(),
            containers: sidecars
                .chain(pod::containers(pod))
                .map(|container| self.of(pod, container))
                .collect(),
        }
    }

    fn of(&self, pod: &Pod, container: &Container) -> ContainerResources {
        let grants = &self.0.context().grants;
        let claims = grants.dra.in_use();
        let devices = crate::dra::claims::of_container(pod, container, &claims).unwrap_or_default();
        let mut dynamic: Vec<DynamicResource> = Vec::new();
        for (claim, driver, device) in devices {
            let resource = ClaimResource {
                cdi_devices: device.cdi_devices.iter().map(|name| CdiName { name: name.clone() }).collect(),
                driver_name: driver.to_owned(),
                pool_name: device.pool_name.clone(),
                device_name: device.device_name.clone(),
                share_id: device.share_id.clone(),
            };
            match dynamic.iter_mut().find(|known| known.claim_name == claim.name) {
                Some(known) => known.claim_resources.push(resource),
                None => dynamic.push(DynamicResource {
                    claim_name: claim.name.clone(),
                    claim_namespace: claim.namespace.clone(),
                    claim_resources: vec![resource],
                }),
            }
        }
        ContainerResources {
            name: container.name.clone(),
            devices: grants.devices.held(pod::uid(pod), &container.name).into_iter().map(told).collect(),
            cpu_ids: grants.cpus.held(pod::uid(pod), &container.name).into_iter().map(i64::from).collect(),
            memory: grants.memory.held(pod::uid(pod), &container.name).into_iter().map(told_memory).collect(),
            dynamic_resources: dynamic,
        }
    }
}
