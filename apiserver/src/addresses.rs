//! Addresses of Services that somebody has deleted: as long as a Service has one, its IPAddress comes back, so that no
//! other Service is given the same.
use crate::loopback::Loopback;
use crate::objects::{Change, Objects};
use crate::strategy::ip_address;
use futures::StreamExt;
use knarr_api::Value;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

const GROUP: &str = "networking.k8s.io";
const COLLECTION: &str = "/apis/networking.k8s.io/v1/ipaddresses";

/// Makes the IPAddresses of Services again that are deleted, for ever.
pub async fn keep(objects: Arc<dyn Objects>, client: Loopback) {
    let mut changes = objects.follow(GROUP, "ipaddresses");
    let mut owners: HashMap<Arc<str>, Owner> = HashMap::new();
    while let Some(change) = changes.next().await {
        match change {
            Change::Put { name, object, .. } => match Owner::of(&object) {
                Some(owner) => drop(owners.insert(name, owner)),
                None => drop(owners.remove(&name)),
            },
            Change::Gone { name, .. } => {
                let (Some(owner), Ok(address)) = (owners.remove(&name), name.parse()) else { continue };
                let service = objects.get("", "services", &owner.namespace, &owner.name);
                if service.is_some_and(|service| holds(&service, address)) {
                    let again = ip_address(address, &owner.namespace, &owner.name);
                    if let Err(status) = client.create(COLLECTION, &again).await {
                        tracing::warn!(%address, %status, "the address of a Service could not be taken again");
                    }
                }
            }
            Change::Synced => {}
        }
    }
}

/// The Service that an address was given to.
#[derive(Debug, PartialEq)]
struct Owner {
    namespace: String,
    name: String,
}

impl Owner {
    fn of(address: &Value) -> Option<Self> {
        let parent = &address["spec"]["parentRef"];
        let text = |field: &str| parent[field].as_str().map(str::to_owned);
        let of_core = parent["group"].as_str().is_none_or(str::is_empty);
        if !of_core || parent["resource"] != "services" {
            return None;
        }
        Some(Self { namespace: text("namespace")?, name: text("name")? })
    }
}

fn holds(service: &Value, address: IpAddr) -> bool {
    let held = service["spec"]["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    service["metadata"]["deletionTimestamp"].is_null()
        && held.filter_map(|text| text.parse::<IpAddr>().ok()).any(|held| held == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whose_addresses_come_back() {
        let address = IpAddr::from([10, 96, 0, 9]);
        let made = ip_address(address, "d", "web");
        assert_eq!(Owner::of(&made), Some(Owner { namespace: "d".to_owned(), name: "web".to_owned() }));
        let other = json!({"spec": {"parentRef": {"group": "x.io", "resource": "services", "namespace": "d", "name": "web"}}});
        assert_eq!(Owner::of(&other), None);
        let service = |spec: Value| json!({"metadata": {}, "spec": spec});
        assert!(holds(&service(json!({"clusterIPs": ["fd00::1", "10.96.0.9"]})), address));
        assert!(!holds(&service(json!({"clusterIPs": ["10.96.0.8"]})), address));
        assert!(!holds(&service(json!({"type": "ExternalName"})), address));
        let mut ending = service(json!({"clusterIPs": ["10.96.0.9"]}));
        ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert!(!holds(&ending, address));
    }
}
