//! The runtime itself: its name, version and conditions.

/// Asks for the runtime's name and version.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct VersionRequest {
    #[prost(string, tag = "1")]
    pub version: String,
}

/// The runtime's name and version.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct VersionResponse {
    #[prost(string, tag = "1")]
    pub version: String,
    #[prost(string, tag = "2")]
    pub runtime_name: String,
    #[prost(string, tag = "3")]
    pub runtime_version: String,
    #[prost(string, tag = "4")]
    pub runtime_api_version: String,
}

/// One condition of the runtime: `RuntimeReady` or `NetworkReady`.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct RuntimeCondition {
    #[prost(string, tag = "1")]
    pub r#type: String,
    #[prost(bool, tag = "2")]
    pub status: bool,
    #[prost(string, tag = "3")]
    pub reason: String,
    #[prost(string, tag = "4")]
    pub message: String,
}

/// All conditions of the runtime.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct RuntimeStatus {
    #[prost(message, repeated, tag = "1")]
    pub conditions: Vec<RuntimeCondition>,
}

impl RuntimeStatus {
    /// The two conditions that there are, each with why it does not hold.
    pub fn of(runtime: Result<(), String>, network: Result<(), String>) -> Self {
        let condition = |kind: &str, result: Result<(), String>, reason: &str| RuntimeCondition {
            r#type: kind.to_owned(),
            status: result.is_ok(),
            reason: result.as_ref().err().map(|_| reason.to_owned()).unwrap_or_default(),
            message: result.err().unwrap_or_default(),
        };
        Self {
            conditions: vec![
                condition("RuntimeReady", runtime, "RuntimeNotReady"),
                condition("NetworkReady", network, "NetworkPluginNotReady"),
            ],
        }
    }
}

/// Request of the call Status.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StatusRequest {
    #[prost(bool, tag = "1")]
    pub verbose: bool,
}

/// Answer of the call Status.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub status: Option<RuntimeStatus>,
    #[prost(message, repeated, tag = "3")]
    pub runtime_handlers: Vec<RuntimeHandler>,
    #[prost(message, optional, tag = "4")]
    pub features: Option<RuntimeFeatures>,
}

impl StatusResponse {
    /// The runtime's conditions.
    pub fn conditions(&self) -> &[RuntimeCondition] {
        self.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default()
    }
}

/// What one of a runtime's handlers can do.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct RuntimeHandlerFeatures {
    #[prost(bool, tag = "1")]
    pub recursive_read_only_mounts: bool,
    #[prost(bool, tag = "2")]
    pub user_namespaces: bool,
}

/// One of the ways in which a runtime runs pods.
#[derive(Clone, PartialEq, Eq, ::prost::Message)]
pub struct RuntimeHandler {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub features: Option<RuntimeHandlerFeatures>,
}

/// What a runtime can do, whichever the handler.
#[derive(Clone, Copy, PartialEq, Eq, ::prost::Message)]
pub struct RuntimeFeatures {
    #[prost(bool, tag = "1")]
    pub supplemental_groups_policy: bool,
}
