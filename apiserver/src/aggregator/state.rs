//! The APIServices that name another server.
use crate::outbound::{Endpoint, Trust};
use knarr_api::Value;
use std::sync::Arc;

/// All of them.
#[derive(Debug, Default)]
pub struct State {
    /// By no particular order.
    pub remotes: Vec<Arc<Remote>>,
}

/// Another server's group version.
#[derive(Debug)]
pub struct Remote {
    /// Name of the object.
    pub name: String,
    /// Group.
    pub group: String,
    /// Version.
    pub version: String,
    /// Namespace, name and port of its Service.
    pub service: (String, String, u16),
    /// Priority of the group and of the version within it.
    pub priority: (i64, i64),
    /// Where it is, but for the path; or why it cannot be called.
    pub endpoint: Result<Endpoint, String>,
    /// The status says that it can be reached.
    pub available: bool,
}

impl Remote {
    /// The server of an APIService; none where it is this one.
    pub fn of(object: &Value) -> Option<Self> {
        let spec = &object["spec"];
        let service = Some(&spec["service"]).filter(|service| service.is_object())?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        let (namespace, name) = (text(&service["namespace"]), text(&service["name"]));
        let trust = Trust::bundle(spec["caBundle"].as_str().unwrap_or_default());
        let trust = trust.map(|mut trust| {
            trust.insecure = spec["insecureSkipTLSVerify"] == true;
            trust.identified = true;
            trust
        });
        let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let available = conditions.iter().any(|c| c["type"] == "Available" && c["status"] == "True");
        let number = |value: &Value| value.as_i64().unwrap_or(0);
        Some(Self {
            name: text(&object["metadata"]["name"]),
            group: text(&spec["group"]),
            version: text(&spec["version"]),
            endpoint: trust.map(|trust| Endpoint::of_service(&namespace, &name, port, "/", trust)),
            service: (namespace, name, port),
            priority: (number(&spec["groupPriorityMinimum"]), number(&spec["versionPriority"])),
            available,
        })
    }

    /// The endpoint with a path.
    ///
    /// # Errors
    /// Why the server cannot be called.
    pub fn at(&self, path: &str) -> Result<Endpoint, String> {
        Ok(Endpoint { path: path.to_owned(), ..self.endpoint.clone()? })
    }

    /// Path of the group version.
    pub fn path(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn services_and_local_ones() {
        assert!(Remote::of(&json!({"spec": {"group": "g", "version": "v1"}})).is_none());
        let object = json!({"metadata": {"name": "v1.g"}, "spec": {"group": "g", "version": "v1",
            "service": {"namespace": "n", "name": "s", "port": 8443}, "insecureSkipTLSVerify": true,
            "groupPriorityMinimum": 100, "versionPriority": 10},
            "status": {"conditions": [{"type": "Available", "status": "True"}]}});
        let remote = Remote::of(&object).unwrap();
        let endpoint = remote.at("/apis/g/v1").unwrap();
        assert_eq!((endpoint.authority.as_str(), endpoint.path.as_str()), ("s.n.svc:8443", "/apis/g/v1"));
        assert!(remote.available && endpoint.trust.insecure && endpoint.trust.identified);
    }
}
