//! Gives each node a part of the cluster's ranges of pod addresses.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use anyhow::{Context as _, bail};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use k8s_openapi::api::core::v1::Node;
use knarr_component::{events::Recorder, informer::Informer, queue::Queue, runner::SyncResult, store::Key};
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use serde_json::json;

use crate::{
    context::Context,
    meta::{ignore_absent, is_deleting, name},
};

/// The first part of `range` with this prefix length that overlaps none in use.
fn first_free(range: IpNet, prefix: u8, used: &[IpNet]) -> Option<IpNet> {
    let taken: HashSet<IpNet> = used.iter().copied().collect();
    let overlaps = |part: &IpNet| {
        taken.contains(part) || used.iter().any(|used| used.contains(part) || part.contains(used))
    };
    range.subnets(prefix).ok()?.find(|part| !overlaps(part))
}

/// Ranges of pod addresses that nodes have.
fn ranges_of(node: &Node) -> Vec<IpNet> {
    let spec = node.spec.clone().unwrap_or_default();
    let all = spec.pod_cidrs.unwrap_or_default();
    let all = if all.is_empty() { spec.pod_cidr.into_iter().collect() } else { all };
    all.iter().filter_map(|range| range.parse().ok()).collect()
}

struct Controller {
    context: Context,
    nodes: Informer<Node>,
    recorder: Recorder,
    /// Given out but not seen at the node yet.
    pending: Mutex<Vec<Given>>,
}

/// Ranges for one node: one that comes back under its name is another.
struct Given {
    node: String,
    uid: Option<String>,
    ranges: Vec<IpNet>,
}

impl Given {
    /// Whether a node's object does not show them yet.
    fn is_pending(&self, now: Option<&Node>) -> bool {
        now.is_some_and(|node| node.metadata.uid == self.uid && ranges_of(node).is_empty())
    }
}

/// Runs the controller; it has nothing to do without `--allocate-node-cidrs`.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    if !context.args.allocate_node_cidrs {
        return Ok(());
    }
    check(&context)?;
    let controller = Arc::new(Controller {
        nodes: context.informers.get(),
        recorder: context.recorder("cidrAllocator"),
        pending: Mutex::default(),
        context,
    });
    let queue = Queue::new();
    let added = queue.clone();
    controller.nodes.on_change(move |change| {
        if !change.is_deletion() && ranges_of(change.object()).is_empty() {
            added.add(Key::of(&change.object().metadata));
        }
    });
    let (context, synced) = (controller.context.clone(), controller.nodes.synced());
    // One worker: two must not give out the same part.
    context
        .work("node-ipam-controller", synced, queue, 1, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

fn check(context: &Context) -> anyhow::Result<()> {
    let args = &context.args;
    if args.cluster_cidr.is_empty() {
        bail!("--allocate-node-cidrs needs --cluster-cidr");
    }
    for range in &args.cluster_cidr {
        let prefix = prefix(range, args.node_cidr_mask_size, args.node_cidr_mask_size_ipv6);
        range
            .subnets(prefix)
            .with_context(|| format!("--cluster-cidr {range} has no parts of length {prefix}"))?;
    }
    Ok(())
}

fn prefix(range: &IpNet, v4: u8, v6: u8) -> u8 {
    match range.network() {
        IpAddr::V4(_) => v4,
        IpAddr::V6(_) => v6,
    }
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let node = self.nodes.get(&key).filter(|node| !is_deleting(&node.metadata));
        let Some(node) = node.filter(|node| ranges_of(node).is_empty()) else {
            self.pending.lock().retain(|given| given.node != key.name);
            return Ok(None);
        };
        // Nor do the addresses of Services, where they lie within the pods'.
        let mut used = self.context.args.service_cluster_ip_range.clone();
        for other in self.nodes.list() {
            used.extend(ranges_of(&other));
        }
        {
            let mut pending = self.pending.lock();
            pending.retain(|given| given.is_pending(self.nodes.get(&Key::new("", &given.node)).as_deref()));
            if pending.iter().any(|given| given.node == name(&node.metadata)) {
                return Ok(None);
            }
            used.extend(pending.iter().flat_map(|given| given.ranges.clone()));
        }
        let args = &self.context.args;
        let mut parts: Vec<IpNet> = Vec::new();
        for range in &args.cluster_cidr {
            let prefix = prefix(range, args.node_cidr_mask_size, args.node_cidr_mask_size_ipv6);
            let Some(part) = first_free(*range, prefix, &used) else {
                let text = format!("Node {} status is now: CIDRNotAvailable", key.name);
                self.recorder.normal(&*node, "CIDRNotAvailable", text);
                bail!("no free part of length {prefix} in {range}");
            };
            parts.push(canonical(part));
        }
        let texts: Vec<String> = parts.iter().map(ToString::to_string).collect();
        let patch = json!({
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": texts[0], "podCIDRs": texts},
        });
        let api = self.context.api_all::<Node>();
        ignore_absent(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await)?;
        let uid = node.metadata.uid.clone();
        self.pending.lock().push(Given { node: key.name, uid, ranges: parts });
        Ok(None)
    }
}

/// A range without bits beyond its prefix.
fn canonical(range: IpNet) -> IpNet {
    match range {
        IpNet::V4(range) => IpNet::V4(Ipv4Net::trunc(&range)),
        IpNet::V6(range) => IpNet::V6(Ipv6Net::trunc(&range)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_comes_back_is_another() {
        let node = |uid: &str, ranges: &[&str]| -> Node {
            let object = json!({"metadata": {"name": "n", "uid": uid}, "spec": {"podCIDRs": ranges}});
            serde_json::from_value(object).unwrap()
        };
        let given = Given { node: "n".to_owned(), uid: Some("1".to_owned()), ranges: Vec::new() };
        assert!(given.is_pending(Some(&node("1", &[]))));
        assert!(!given.is_pending(Some(&node("1", &["10.42.0.0/24"]))));
        assert!(!given.is_pending(Some(&node("2", &[]))));
        assert!(!given.is_pending(None));
    }

    #[test]
    fn the_first_free_part_is_taken() {
        let check = |range: &str, prefix, used: &[&str], expected: Option<&str>| {
            let used: Vec<IpNet> = used.iter().map(|range| range.parse().unwrap()).collect();
            let free = first_free(range.parse().unwrap(), prefix, &used);
            assert_eq!(free.map(|free| free.to_string()).as_deref(), expected, "{range} {used:?}");
        };
        check("10.42.0.0/16", 24, &[], Some("10.42.0.0/24"));
        check("10.42.0.0/16", 24, &["10.42.0.0/24", "10.42.2.0/24"], Some("10.42.1.0/24"));
        check("10.42.0.0/23", 24, &["10.42.0.0/24", "10.42.1.0/24"], None);
        check("10.42.0.0/22", 24, &["10.42.0.0/23"], Some("10.42.2.0/24"));
        check("10.42.0.0/22", 23, &["10.42.0.0/24"], Some("10.42.2.0/23"));
        check("fd00::/48", 64, &["fd00::/64"], Some("fd00:0:0:1::/64"));
    }
}
