//! The words of the Container Storage Interface, v1, as far as a node speaks them: identity and node services.
//!
//! Numbers: <https://github.com/container-storage-interface/spec>, `csi.proto`.

use std::collections::BTreeMap;

/// How a volume may be used at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum Mode {
    Unknown = 0,
    SingleNodeWriter = 1,
    SingleNodeReaderOnly = 2,
    MultiNodeReaderOnly = 3,
    MultiNodeSingleWriter = 4,
    MultiNodeMultiWriter = 5,
    SingleNodeSingleWriter = 6,
    SingleNodeMultiWriter = 7,
}

/// What a driver can do on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ::prost::Enumeration)]
#[repr(i32)]
pub enum Capability {
    Unknown = 0,
    /// Volumes are staged once on a node before they are published to pods.
    StageUnstageVolume = 1,
    GetVolumeStats = 2,
    ExpandVolume = 3,
    VolumeCondition = 4,
    /// The modes that tell one pod of a node from several.
    SingleNodeMultiWriter = 5,
    /// The driver itself gives volumes to the pod's `fsGroup`.
    VolumeMountGroup = 6,
}

/// A volume used as a block device.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct BlockVolume {}

/// A volume used as a directory.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct MountVolume {
    #[prost(string, tag = "1")]
    pub fs_type: String,
    #[prost(string, repeated, tag = "2")]
    pub mount_flags: Vec<String>,
    #[prost(string, tag = "3")]
    pub volume_mount_group: String,
}

/// Directory or device.
#[derive(Clone, PartialEq, Eq, ::prost::Oneof)]
pub enum AccessType {
    #[prost(message, tag = "1")]
    Block(BlockVolume),
    #[prost(message, tag = "2")]
    Mount(MountVolume),
}

/// See [`Mode`].
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct AccessMode {
    #[prost(enumeration = "Mode", tag = "1")]
    pub mode: i32,
}

/// How a volume is to be used.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct VolumeCapability {
    #[prost(oneof = "AccessType", tags = "1, 2")]
    pub access_type: Option<AccessType>,
    #[prost(message, optional, tag = "3")]
    pub access_mode: Option<AccessMode>,
}

/// Asks what the node service can do.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct NodeGetCapabilitiesRequest {}

/// See [`Capability`].
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct CapabilityRpc {
    #[prost(enumeration = "Capability", tag = "1")]
    pub r#type: i32,
}

/// One thing that the node service can do.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct NodeServiceCapability {
    #[prost(message, optional, tag = "1")]
    pub rpc: Option<CapabilityRpc>,
}

/// What the node service can do.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct NodeGetCapabilitiesResponse {
    #[prost(message, repeated, tag = "1")]
    pub capabilities: Vec<NodeServiceCapability>,
}

/// Asks what the driver calls this node.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct NodeGetInfoRequest {}

/// Where a node is, by domains such as `zone`.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Topology {
    #[prost(btree_map = "string, string", tag = "1")]
    pub segments: BTreeMap<String, String>,
}

/// What the driver calls this node.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct NodeGetInfoResponse {
    #[prost(string, tag = "1")]
    pub node_id: String,
    /// How many volumes the node can have; 0: unknown.
    #[prost(int64, tag = "2")]
    pub max_volumes_per_node: i64,
    #[prost(message, optional, tag = "3")]
    pub accessible_topology: Option<Topology>,
}

/// Prepares a volume on the node.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct NodeStageVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub publish_context: BTreeMap<String, String>,
    #[prost(string, tag = "3")]
    pub staging_target_path: String,
    #[prost(message, optional, tag = "4")]
    pub volume_capability: Option<VolumeCapability>,
    #[prost(btree_map = "string, string", tag = "5")]
    pub secrets: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "6")]
    pub volume_context: BTreeMap<String, String>,
}

/// Undoes [`NodeStageVolumeRequest`].
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct NodeUnstageVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(string, tag = "2")]
    pub staging_target_path: String,
}

/// Gives a volume to a pod.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct NodePublishVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(btree_map = "string, string", tag = "2")]
    pub publish_context: BTreeMap<String, String>,
    #[prost(string, tag = "3")]
    pub staging_target_path: String,
    #[prost(string, tag = "4")]
    pub target_path: String,
    #[prost(message, optional, tag = "5")]
    pub volume_capability: Option<VolumeCapability>,
    #[prost(bool, tag = "6")]
    pub readonly: bool,
    #[prost(btree_map = "string, string", tag = "7")]
    pub secrets: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "8")]
    pub volume_context: BTreeMap<String, String>,
}

/// Undoes [`NodePublishVolumeRequest`].
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct NodeUnpublishVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(string, tag = "2")]
    pub target_path: String,
}

/// How large a volume should be, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct CapacityRange {
    #[prost(int64, tag = "1")]
    pub required_bytes: i64,
    #[prost(int64, tag = "2")]
    pub limit_bytes: i64,
}

/// Lets what is on a volume grow to the volume's size.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct NodeExpandVolumeRequest {
    #[prost(string, tag = "1")]
    pub volume_id: String,
    #[prost(string, tag = "2")]
    pub volume_path: String,
    #[prost(message, optional, tag = "3")]
    pub capacity_range: Option<CapacityRange>,
    #[prost(string, tag = "4")]
    pub staging_target_path: String,
    #[prost(message, optional, tag = "5")]
    pub volume_capability: Option<VolumeCapability>,
    #[prost(btree_map = "string, string", tag = "6")]
    pub secrets: BTreeMap<String, String>,
}

/// The answer of calls that only succeed or fail.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct Done {}
