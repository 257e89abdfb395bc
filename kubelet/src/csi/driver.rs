//! One registered driver and the calls to it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tonic::Status;

use super::messages::{
    Capability, Done, NodeExpandVolumeRequest, NodeGetCapabilitiesRequest, NodeGetCapabilitiesResponse,
    NodeGetInfoRequest, NodeGetInfoResponse, NodePublishVolumeRequest, NodeStageVolumeRequest,
    NodeUnpublishVolumeRequest, NodeUnstageVolumeRequest,
};
use crate::grpc::Socket;

/// A call must be answered within this time, as in the original; the volume's pod tries again.
const TIMEOUT: Duration = Duration::from_secs(120);

macro_rules! node {
    ($name:literal) => {
        concat!("/csi.v1.Node/", $name)
    };
}

/// A driver that runs on this node.
#[derive(Debug)]
pub struct Driver {
    /// Its name, as in CSIDriver objects and volumes.
    pub name: String,
    socket: Socket,
}

impl Driver {
    /// The driver that listens at a socket.
    pub fn new(name: &str, endpoint: PathBuf) -> Self {
        Self { name: name.to_owned(), socket: Socket::new(endpoint) }
    }

    /// What the driver calls this node.
    pub async fn info(&self) -> Result<NodeGetInfoResponse, Status> {
        self.socket.call(node!("NodeGetInfo"), NodeGetInfoRequest {}, TIMEOUT).await
    }

    /// What the driver can do.
    pub async fn capabilities(&self) -> Result<BTreeSet<Capability>, Status> {
        let answer: NodeGetCapabilitiesResponse =
            self.socket.call(node!("NodeGetCapabilities"), NodeGetCapabilitiesRequest {}, TIMEOUT).await?;
        let known = answer.capabilities.iter().filter_map(|capability| capability.rpc.as_ref());
        Ok(known.map(super::messages::CapabilityRpc::r#type).collect())
    }

    /// Prepares a volume on this node.
    pub async fn stage(&self, request: NodeStageVolumeRequest) -> Result<(), Status> {
        self.socket.call(node!("NodeStageVolume"), request, TIMEOUT).await.map(|Done {}| ())
    }

    /// Undoes [`Self::stage`].
    pub async fn unstage(&self, request: NodeUnstageVolumeRequest) -> Result<(), Status> {
        self.socket.call(node!("NodeUnstageVolume"), request, TIMEOUT).await.map(|Done {}| ())
    }

    /// Gives a volume to a pod.
    pub async fn publish(&self, request: NodePublishVolumeRequest) -> Result<(), Status> {
        self.socket.call(node!("NodePublishVolume"), request, TIMEOUT).await.map(|Done {}| ())
    }

    /// Undoes [`Self::publish`].
    pub async fn unpublish(&self, request: NodeUnpublishVolumeRequest) -> Result<(), Status> {
        self.socket.call(node!("NodeUnpublishVolume"), request, TIMEOUT).await.map(|Done {}| ())
    }

    /// Lets what is on a volume grow.
    pub async fn expand(&self, request: NodeExpandVolumeRequest) -> Result<(), Status> {
        self.socket.call(node!("NodeExpandVolume"), request, TIMEOUT).await.map(|Done {}| ())
    }
}
