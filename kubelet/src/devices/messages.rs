//! The words of the device plugin interface, v1beta1.
//!
//! Numbers: <https://github.com/kubernetes/kubelet>, `deviceplugin/v1beta1`.

use std::collections::BTreeMap;

/// Nothing to say.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct Empty {}

/// What a plugin wants to be called for.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct Options {
    #[prost(bool, tag = "1")]
    pub pre_start_required: bool,
    #[prost(bool, tag = "2")]
    pub preferred_allocation: bool,
}

/// A plugin announces itself.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct RegisterRequest {
    #[prost(string, tag = "1")]
    pub version: String,
    /// Name of its socket in the folder of plugins.
    #[prost(string, tag = "2")]
    pub endpoint: String,
    #[prost(string, tag = "3")]
    pub resource_name: String,
    #[prost(message, optional, tag = "4")]
    pub options: Option<Options>,
}

/// A node of memory and CPUs.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct NumaNode {
    #[prost(int64, tag = "1")]
    pub id: i64,
}

/// Where a device is.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Topology {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<NumaNode>,
}

/// A device.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Device {
    #[prost(string, tag = "1")]
    pub id: String,
    /// `Healthy` or anything else.
    #[prost(string, tag = "2")]
    pub health: String,
    #[prost(message, optional, tag = "3")]
    pub topology: Option<Topology>,
}

/// All devices of a plugin.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Devices {
    #[prost(message, repeated, tag = "1")]
    pub devices: Vec<Device>,
}

/// Which devices the kubelet could choose from.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Preference {
    #[prost(string, repeated, tag = "1")]
    pub available: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub must_include: Vec<String>,
    #[prost(int32, tag = "3")]
    pub size: i32,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct PreferredRequest {
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Preference>,
}

/// Ids of devices for one container.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Ids {
    #[prost(string, repeated, tag = "1")]
    pub ids: Vec<String>,
}

/// Ids of devices for several containers: what is asked of `Allocate` and answered by `GetPreferredAllocation`.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct IdsOfContainers {
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Ids>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Mount {
    #[prost(string, tag = "1")]
    pub container_path: String,
    #[prost(string, tag = "2")]
    pub host_path: String,
    #[prost(bool, tag = "3")]
    pub read_only: bool,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Node {
    #[prost(string, tag = "1")]
    pub container_path: String,
    #[prost(string, tag = "2")]
    pub host_path: String,
    #[prost(string, tag = "3")]
    pub permissions: String,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct CdiName {
    #[prost(string, tag = "1")]
    pub name: String,
}

/// What a container must get to use its devices.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Allocated {
    #[prost(btree_map = "string, string", tag = "1")]
    pub envs: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "2")]
    pub mounts: Vec<Mount>,
    #[prost(message, repeated, tag = "3")]
    pub devices: Vec<Node>,
    #[prost(btree_map = "string, string", tag = "4")]
    pub annotations: BTreeMap<String, String>,
    #[prost(message, repeated, tag = "5")]
    pub cdi_devices: Vec<CdiName>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct AllocateResponse {
    #[prost(message, repeated, tag = "1")]
    pub containers: Vec<Allocated>,
}
