//! The plugin that containerd and CRI-O call before any other, under the name `loopback`: it sets `lo` up.
//! They cannot start a pod without a program of that name.

use serde_json::{Value, json};

use super::namespace::{self, in_namespace};
use super::{Attachment, Error};
use crate::network::netlink::{self, Netlink};

/// The `type` under which runtimes ask for it.
pub(super) const TYPE: &str = "loopback";

/// Sets the interface up; returns the result object.
pub(super) fn add(version: &str, attachment: &Attachment) -> Result<Value, Error> {
    let pod = namespace::open(attachment.namespace.as_deref().unwrap_or_default())?;
    in_namespace(Some(&pod), || async {
        let netlink = Netlink::open()?;
        let index = netlink.index(&attachment.interface).await?;
        Ok(netlink.up(index).await?)
    })?;
    let address = |address: &str, family: &str| {
        let mut entry = json!({ "interface": 0, "address": address });
        if version.starts_with("0.") {
            entry["version"] = json!(family);
        }
        entry
    };
    Ok(json!({
        "cniVersion": version,
        "interfaces": [{
            "name": attachment.interface, "mac": "00:00:00:00:00:00", "sandbox": attachment.namespace,
        }],
        "ips": [address("127.0.0.1/8", "4"), address("::1/128", "6")],
        "dns": {},
    }))
}

/// Verifies that the interface is up.
pub(super) fn check(attachment: &Attachment) -> Result<(), Error> {
    let pod = namespace::open(attachment.namespace.as_deref().unwrap_or_default())?;
    let found =
        in_namespace(Some(&pod), || async { Ok(Netlink::open()?.find(&attachment.interface).await?) })?;
    if found.as_ref().is_some_and(netlink::is_up) {
        return Ok(());
    }
    let problem = format!("{} is down", attachment.interface);
    Err(Error::Changed { container: attachment.container.clone(), problem })
}
