//! Image garbage collection: on a full disk, images that no container has go, those unused for longest first.
//!
//! Source: Kubernetes documentation, "Garbage collection of containers and images".

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ObjectReference;
use knarr_component::events::Type;
use tokio_util::sync::CancellationToken;

use super::name;
use crate::manager::Manager;
use crate::pod;
use crate::runtime::types::Image;
use crate::runtime::{Runtime, RuntimeError};

/// Time between two looks at the disk.
const PERIOD: Duration = Duration::from_secs(300);

/// When images go, and which.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Percentage of the disk in use from which on images are removed; 100: never.
    pub high: u8,
    /// Percentage to which the use of the disk is then brought down.
    pub low: u8,
    /// How long an image stays after it was first seen.
    pub min_age: Duration,
    /// Images that always stay.
    pub keep: Vec<String>,
}

/// A file system in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Disk {
    capacity: u64,
    available: u64,
}

/// What is to be removed.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plan {
    /// Bytes that are too many.
    wanted: u64,
    /// Bytes of the images below.
    found: u64,
    images: Vec<String>,
}

/// When an image was seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    first: Instant,
    used: Option<Instant>,
}

/// Knows since when images have been there and unused.
struct Collector {
    policy: Policy,
    seen: HashMap<String, Seen>,
}

/// Looks at the disk now and then until told to stop.
pub async fn run(manager: Arc<Manager>, policy: Policy, stop: CancellationToken) {
    let mut collector = Collector { policy, seen: HashMap::new() };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PERIOD) => {}
        }
        let context = manager.context();
        let at = Timestamp::now();
        match context.runtime.list_images().await {
            Ok(images) => context.pulled.prune(&images.into_iter().map(|image| image.id).collect(), at),
            Err(error) => tracing::warn!(%error, "images not listed"),
        }
        if collector.policy.high >= 100 {
            continue;
        }
        match collector.collect(context.runtime.as_ref(), &images_of_volumes(&manager)).await {
            Ok(plan) if plan.found < plan.wanted => {
                let Plan { wanted, found, .. } = plan;
                let message = format!(
                    "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, \
                     but only found {found} bytes eligible to free."
                );
                tracing::warn!("{message}");
                let name = context.facts.name.clone();
                let node = ObjectReference {
                    kind: Some("Node".to_owned()),
                    uid: Some(name.clone()),
                    name: Some(name),
                    ..ObjectReference::default()
                };
                context.events.event(node, Type::Warning, "FreeDiskSpaceFailed", message);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "images not collected"),
        }
    }
}

/// Names of the images that are volumes of pods.
fn images_of_volumes(manager: &Manager) -> Vec<String> {
    let pods = manager.pods();
    let volumes = pods.iter().flat_map(|pod| pod::spec(pod).volumes.iter().flatten());
    let references = volumes.filter_map(|volume| volume.image.as_ref()?.reference.as_deref());
    let names = |reference: &str| {
        let parsed = name::parse(reference).ok()?;
        let tag = parsed.tag.as_ref().map(|tag| format!(":{tag}"));
        let digest = parsed.digest.as_ref().map(|digest| format!("@{digest}"));
        let end = digest.or(tag).unwrap_or(":latest".to_owned());
        // Runtimes name images in full.
        Some([parsed.with_default_tag(), format!("{}/{}{end}", parsed.registry, parsed.path)])
    };
    references.filter_map(names).flatten().collect()
}

impl Collector {
    /// Removes what the policy says; answers what that was.
    async fn collect(&mut self, runtime: &dyn Runtime, volumes: &[String]) -> Result<Plan, RuntimeError> {
        let images = runtime.list_images().await?;
        let containers = runtime.list_containers(None).await?;
        let in_use: HashSet<String> = containers
            .into_iter()
            .flat_map(|one| {
                [one.image_ref, one.image_id, one.image.map(|spec| spec.image).unwrap_or_default()]
            })
            .chain(volumes.iter().cloned())
            .collect();
        self.observe(Instant::now(), &images, &in_use);
        let usage = runtime.image_fs_info().await?;
        let Some(disk) = usage.into_iter().find_map(|one| disk(Path::new(&one.fs_id?.mountpoint))) else {
            return Ok(Plan::default());
        };
        let plan = self.plan(Instant::now(), &images, &in_use, disk);
        for image in &plan.images {
            tracing::info!(image, "disk is full, removing an unused image");
            runtime.remove_image(image).await?;
        }
        Ok(plan)
    }

    /// Notes which images are there, and which of them are in use.
    fn observe(&mut self, now: Instant, images: &[Image], in_use: &HashSet<String>) {
        self.seen.retain(|id, _| images.iter().any(|image| image.id == *id));
        for image in images {
            let seen = self.seen.entry(image.id.clone()).or_insert(Seen { first: now, used: None });
            if is_used(image, in_use) {
                seen.used = Some(now);
            }
        }
    }

    fn plan(&self, now: Instant, images: &[Image], in_use: &HashSet<String>, disk: Disk) -> Plan {
        let used = disk.capacity.saturating_sub(disk.available);
        if disk.capacity == 0
            || u128::from(used) * 100 < u128::from(disk.capacity) * u128::from(self.policy.high)
        {
            return Plan::default();
        }
        let free = disk.capacity / 100 * u64::from(100 - self.policy.low.min(100));
        let wanted = free.saturating_sub(disk.available);
        let mut unused: Vec<(&Image, Seen)> = images
            .iter()
            .filter(|image| !image.pinned && !is_used(image, in_use) && !self.stays(image))
            .filter_map(|image| Some((image, *self.seen.get(&image.id)?)))
            .filter(|(_, seen)| now.duration_since(seen.first) >= self.policy.min_age)
            .collect();
        // Never used comes before used.
        unused.sort_by_key(|(_, seen)| (seen.used, seen.first));
        let mut plan = Plan { wanted, ..Plan::default() };
        for (image, _) in unused {
            if plan.found >= wanted {
                break;
            }
            plan.found += image.size;
            plan.images.push(image.id.clone());
        }
        plan
    }

    fn stays(&self, image: &Image) -> bool {
        self.policy.keep.iter().any(|name| image.id == *name || image.repo_tags.contains(name))
    }
}

fn is_used(image: &Image, in_use: &HashSet<String>) -> bool {
    let mut names = std::iter::once(&image.id).chain(&image.repo_tags).chain(&image.repo_digests);
    names.any(|name| in_use.contains(name))
}

fn disk(path: &Path) -> Option<Disk> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let unit = stat.fragment_size();
    Some(Disk { capacity: stat.blocks() * unit, available: stat.blocks_available() * unit })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, size: u64) -> Image {
        Image { id: id.to_owned(), repo_tags: vec![format!("{id}:1")], size, ..Image::default() }
    }

    /// What goes at `available` of 1000 bytes: `old` was used first, `late` came last.
    fn check(policy: &Policy, available: u64, in_use: &[&str], expected: (&[&str], bool)) {
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(60 * minutes);
        let mut collector = Collector { policy: policy.clone(), seen: HashMap::new() };
        let mut images = vec![image("recent", 100), image("old", 100), image("never", 50)];
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<HashSet<_>>();
        collector.observe(at(0), &images, &names(&["old"]));
        collector.observe(at(5), &images, &names(&["recent:1"]));
        images.push(image("late", 100));
        collector.observe(at(10), &images, &names(in_use));
        let plan = collector.plan(at(11), &images, &names(in_use), Disk { capacity: 1000, available });
        assert_eq!((plan.images.iter().map(String::as_str).collect::<Vec<_>>(), plan.found < plan.wanted), {
            (expected.0.to_vec(), expected.1)
        });
    }

    #[test]
    fn the_least_recently_used_go_until_enough_is_free() {
        let policy = Policy { high: 85, low: 80, min_age: Duration::from_secs(120), keep: Vec::new() };
        check(&policy, 200, &[], (&[], false));
        check(&policy, 150, &[], (&["never"], false));
        check(&policy, 100, &[], (&["never", "old"], false));
        check(&policy, 0, &[], (&["never", "old", "recent"], false));
        check(&policy, 0, &["recent", "old:1"], (&["never"], true));
        let keeps = Policy { keep: vec!["never:1".to_owned()], ..policy };
        check(&keeps, 150, &[], (&["old"], false));
        let eager = Policy { min_age: Duration::ZERO, ..policy };
        check(&eager, 0, &["recent", "old"], (&["never", "late"], true));
    }
}
