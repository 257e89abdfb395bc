//! What pods hold of devices, on the disk: the original's file `kubelet_internal_checkpoint`.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::books::{Books, Holding};
use crate::checkpoint::{self, CheckpointError};

/// Its name.
pub const FILE: &str = "kubelet_internal_checkpoint";
/// The member with the check.
const CHECK: &str = "Checksum";
/// Stands for the node of devices that are nowhere.
const NOWHERE: i64 = -1;

#[derive(Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "PodUID")]
    uid: String,
    #[serde(rename = "ContainerName")]
    container: String,
    #[serde(rename = "ResourceName")]
    resource: String,
    /// Devices by their first memory node.
    #[serde(rename = "DeviceIDs")]
    ids: BTreeMap<i64, Vec<String>>,
    #[serde(rename = "AllocResp")]
    answer: String,
}

#[derive(Serialize, Deserialize, Default)]
struct Data {
    #[serde(rename = "PodDeviceEntries", default)]
    entries: Vec<Entry>,
    #[serde(rename = "RegisteredDevices", default)]
    registered: BTreeMap<String, Vec<String>>,
}

/// Writes the file.
pub fn store(folder: &Path, books: &Books) -> Result<(), CheckpointError> {
    let entry = |((uid, container, resource), holding): (&super::Holder, &Holding)| {
        let mut ids: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for id in &holding.ids {
            let device = books.devices.get(resource).and_then(|devices| devices.get(id));
            let node = device.and_then(|device| device.nodes.first().map(|node| i64::from(*node)));
            ids.entry(node.unwrap_or(NOWHERE)).or_default().push(id.clone());
        }
        Entry {
            uid: uid.clone(),
            container: container.clone(),
            resource: resource.clone(),
            ids,
            answer: STANDARD.encode(&holding.answer),
        }
    };
    let healthy = |devices: &BTreeMap<String, super::Device>| {
        devices.iter().filter(|(_, device)| device.is_healthy).map(|(id, _)| id.clone()).collect()
    };
    let data = Data {
        entries: books.held.iter().map(entry).collect(),
        registered: books.devices.iter().map(|(name, devices)| (name.clone(), healthy(devices))).collect(),
    };
    checkpoint::store(&folder.join(FILE), json!({ "Data": data }), CHECK)
}

/// Reads the file. Which of the devices are well only their plugins know, so the resources are there without any.
pub fn load(folder: &Path) -> Result<Books, CheckpointError> {
    let data = checkpoint::load(&folder.join(FILE), CHECK)?;
    let data: Data = match data.and_then(|mut data| data.get_mut("Data").map(Value::take)) {
        Some(data) => serde_json::from_value(data)?,
        None => Data::default(),
    };
    let mut books = Books::default();
    for resource in data.registered.into_keys() {
        books.devices.insert(resource, BTreeMap::new());
    }
    for entry in data.entries {
        let answer = STANDARD.decode(&entry.answer).map_err(|_| CheckpointError::Corrupted)?;
        let holding = Holding { ids: entry.ids.into_values().flatten().collect(), answer };
        books.held.insert((entry.uid, entry.container, entry.resource), holding);
    }
    Ok(books)
}
