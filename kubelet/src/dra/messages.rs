//! The words of the DRA plugin interface, v1 and v1beta1, which differ in their name only.
//!
//! Numbers: <https://github.com/kubernetes/kubelet>, `dra/v1`.

use std::collections::BTreeMap;

/// A claim that the driver shall prepare or let go.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Claim {
    #[prost(string, tag = "1")]
    pub namespace: String,
    #[prost(string, tag = "2")]
    pub uid: String,
    #[prost(string, tag = "3")]
    pub name: String,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Claims {
    #[prost(message, repeated, tag = "1")]
    pub claims: Vec<Claim>,
}

/// A prepared device.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Device {
    /// Requests of the claim that it is for; none: all.
    #[prost(string, repeated, tag = "1")]
    pub request_names: Vec<String>,
    #[prost(string, tag = "2")]
    pub pool_name: String,
    #[prost(string, tag = "3")]
    pub device_name: String,
    #[prost(string, repeated, tag = "4")]
    pub cdi_device_ids: Vec<String>,
    #[prost(string, optional, tag = "5")]
    pub share_id: Option<String>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Prepared {
    #[prost(message, repeated, tag = "1")]
    pub devices: Vec<Device>,
    #[prost(string, tag = "2")]
    pub error: String,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct PreparedClaims {
    /// By uid.
    #[prost(btree_map = "string, message", tag = "1")]
    pub claims: BTreeMap<String, Prepared>,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct Unprepared {
    #[prost(string, tag = "1")]
    pub error: String,
}

#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct UnpreparedClaims {
    /// By uid.
    #[prost(btree_map = "string, message", tag = "1")]
    pub claims: BTreeMap<String, Unprepared>,
}
