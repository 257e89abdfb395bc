//! Which devices there are, which of them are well, and who has them: without I/O.
//!
//! Choosing follows the original's device manager: devices of init containers that have ended are taken first, then
//! those on the wanted memory nodes, then the others.

use std::collections::{BTreeMap, BTreeSet};

use crate::topology::{Hint, Mask, hints_of_counts};

/// Ids of devices.
pub type Ids = BTreeSet<String>;

/// A device as its plugin describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// Whether it can be given to a container.
    pub is_healthy: bool,
    /// Memory nodes that it is near to; none: it does not matter.
    pub nodes: Vec<u32>,
}

/// What a container has of one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holding {
    /// Which devices.
    pub ids: Ids,
    /// What the plugin said must be done for them, as its message.
    pub answer: Vec<u8>,
}

/// Who holds something: uid of the pod, name of the container, resource.
pub type Holder = (String, String, String);

/// Devices of a node.
#[derive(Debug, Clone, Default)]
pub struct Books {
    /// By resource and id. A resource whose plugin went away stays for a while without healthy devices.
    pub devices: BTreeMap<String, BTreeMap<String, Device>>,
    /// What containers hold.
    pub held: BTreeMap<Holder, Holding>,
}

/// Which devices a container may get, before its plugin is asked for a preference.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// These in any case.
    pub must: Ids,
    /// So many in all.
    pub count: usize,
    /// Those that may be chosen from, the best first; [`Self::must`] is among them.
    pub tiers: Vec<Ids>,
}

impl Choice {
    /// The choice without a plugin's preference.
    pub fn first(&self) -> Ids {
        let mut chosen = self.must.clone();
        for id in self.tiers.iter().flatten() {
            if chosen.len() >= self.count {
                break;
            }
            chosen.insert(id.clone());
        }
        chosen
    }

    /// The devices that the plugin is asked about: as many tiers as the choice needs.
    pub fn available(&self) -> Ids {
        let mut all = self.must.clone();
        for tier in &self.tiers {
            if all.len() >= self.count {
                break;
            }
            all.extend(tier.iter().cloned());
        }
        all
    }

    /// The plugin's preference, filled up or cut where it is not as asked.
    pub fn preferring(&self, preferred: &Ids) -> Ids {
        let available = self.available();
        let order = preferred.intersection(&available).cloned().collect();
        Self { tiers: std::iter::once(order).chain(self.tiers.clone()).collect(), ..self.clone() }.first()
    }
}

impl Books {
    /// Whether some plugin has offered the resource.
    pub fn is_known(&self, resource: &str) -> bool {
        self.devices.contains_key(resource) || self.held.keys().any(|(_, _, held)| held == resource)
    }

    fn healthy(&self, resource: &str) -> Option<Ids> {
        let devices = self.devices.get(resource)?;
        Some(devices.iter().filter(|(_, device)| device.is_healthy).map(|(id, _)| id.clone()).collect())
    }

    fn in_use(&self, resource: &str) -> Ids {
        let holdings = self.held.iter().filter(|((_, _, held), _)| held == resource);
        holdings.flat_map(|(_, holding)| holding.ids.iter().cloned()).collect()
    }

    /// Capacity and allocatable amount of every resource.
    pub fn amounts(&self) -> BTreeMap<String, (usize, usize)> {
        let amount = |devices: &BTreeMap<String, Device>| {
            (devices.len(), devices.values().filter(|device| device.is_healthy).count())
        };
        self.devices.iter().map(|(resource, devices)| (resource.clone(), amount(devices))).collect()
    }

    fn nodes_of(&self, resource: &str, ids: &Ids) -> Vec<Mask> {
        let devices = self.devices.get(resource);
        let of = |id: &String| devices.and_then(|devices| devices.get(id)).map(|device| &device.nodes);
        ids.iter().filter_map(of).map(|nodes| nodes.iter().copied().collect()).collect()
    }

    /// Devices of a resource, and the memory nodes that they are near to.
    pub fn described(&self, resource: &str, ids: &Ids) -> (String, Vec<String>, Vec<u32>) {
        let nodes = self.nodes_of(resource, ids).into_iter().flat_map(Mask::nodes);
        let nodes: Mask = nodes.collect();
        (resource.to_owned(), ids.iter().cloned().collect(), nodes.nodes().collect())
    }

    /// Chooses `count` devices of a resource for a container; `None` if it has them already. `reusable`: devices of init
    /// containers that end before this one starts. The error is the original's.
    pub fn choose(
        &self,
        holder: &Holder,
        count: usize,
        reusable: &Ids,
        affinity: Option<Mask>,
    ) -> Result<Option<Choice>, String> {
        let (uid, container, resource) = holder;
        let before = self.held.get(holder).map(|holding| &holding.ids);
        if let Some(before) = before.filter(|before| before.len() != count) {
            return Err(format!(
                "pod {uid:?} container {container:?} changed request for resource {resource:?} from {} to {count}",
                before.len()
            ));
        }
        let Some(healthy) = self.healthy(resource) else {
            return Err(format!("cannot allocate unregistered device {resource}"));
        };
        if healthy.is_empty() {
            return Err(format!("no healthy devices present; cannot allocate unhealthy devices {resource}"));
        }
        if let Some(before) = before {
            if before.is_subset(&healthy) {
                return Ok(None);
            }
            return Err(format!(
                "previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}"
            ));
        }
        let must: Ids = reusable.intersection(&healthy).take(count).cloned().collect();
        let free: Ids = healthy.difference(&self.in_use(resource)).cloned().collect();
        let free: Ids = free.difference(&must).cloned().collect();
        if must.len() + free.len() < count {
            return Err(format!(
                "requested number of devices unavailable for {resource}. Requested: {}, Available: {}",
                count - must.len(),
                free.len()
            ));
        }
        Ok(Some(Choice { must, count, tiers: self.tiers(resource, free, affinity) }))
    }

    /// Devices on the wanted nodes, those on others, those that are nowhere.
    fn tiers(&self, resource: &str, free: Ids, affinity: Option<Mask>) -> Vec<Ids> {
        let Some(wanted) = affinity else { return vec![free] };
        let devices = &self.devices[resource];
        let rank = |id: &String| match devices[id].nodes.as_slice() {
            [] => 2,
            nodes if nodes.iter().any(|node| wanted.contains(*node)) => 0,
            _ => 1,
        };
        let mut tiers = vec![Ids::new(); 3];
        for id in free {
            let rank = rank(&id);
            tiers[rank].insert(id);
        }
        tiers
    }

    /// On which memory nodes a container could get its devices; `None`: it does not matter.
    pub fn hints(&self, holder: &Holder, count: usize, reusable: &Ids, all: Mask) -> Option<Vec<Hint>> {
        let resource = holder.2.as_str();
        let devices = self.devices.get(resource)?;
        if devices.values().all(|device| device.nodes.is_empty()) {
            return None;
        }
        let ids: Ids = devices.keys().cloned().collect();
        let every = self.nodes_of(resource, &ids);
        if let Some(before) = self.held.get(holder) {
            if before.ids.len() != count {
                return Some(Vec::new());
            }
            return Some(hints_of_counts(all, count, &every, &self.nodes_of(resource, &before.ids), &[]));
        }
        let healthy = self.healthy(resource).unwrap_or_default();
        let must: Ids = reusable.intersection(&healthy).cloned().collect();
        let free: Ids = healthy.difference(&self.in_use(resource)).cloned().collect();
        let free: Ids = free.difference(&must).cloned().collect();
        if free.len() + must.len() < count {
            return Some(Vec::new());
        }
        let (free, must) = (self.nodes_of(resource, &free), self.nodes_of(resource, &must));
        Some(hints_of_counts(all, count, &every, &free, &must))
    }

    /// Takes away what pods hold but those of `uids`; answers whether that was anything.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) -> bool {
        let before = self.held.len();
        self.held.retain(|(uid, _, _), _| keep(uid));
        self.held.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(words: &str) -> Ids {
        words.split_whitespace().map(str::to_owned).collect()
    }

    fn holder(uid: &str) -> Holder {
        (uid.to_owned(), "c".to_owned(), "r".to_owned())
    }

    /// Devices a to d; a and b on node 0, c on node 1, d nowhere; `ill` are not healthy, `taken` are in use.
    fn books(ill: &str, taken: &str) -> Books {
        let (ill, taken) = (ids(ill), ids(taken));
        let device = |id: &str, nodes: &[u32]| {
            (id.to_owned(), Device { is_healthy: !ill.contains(id), nodes: nodes.to_vec() })
        };
        let devices = [device("a", &[0]), device("b", &[0]), device("c", &[1]), device("d", &[])];
        let mut books = Books { devices: [("r".to_owned(), devices.into())].into(), ..Books::default() };
        books.held.insert(holder("other"), Holding { ids: taken, answer: Vec::new() });
        books
    }

    #[test]
    fn devices_are_chosen() {
        let check = |taken: &str, reusable: &str, count, node: Option<u32>, expected: Result<&str, &str>| {
            let affinity = node.map(|node| Mask::from_iter([node]));
            let chosen = books("", taken).choose(&holder("p"), count, &ids(reusable), affinity);
            let chosen = chosen.map(|choice| choice.map(|choice| choice.first()).unwrap_or_default());
            assert_eq!(
                chosen,
                expected.map(ids).map_err(str::to_owned),
                "{taken} {reusable} {count} {node:?}"
            );
        };
        check("", "", 2, None, Ok("a b"));
        check("a", "", 1, None, Ok("b"));
        check("", "", 1, Some(1), Ok("c"));
        check("c", "", 1, Some(1), Ok("a"));
        check("", "", 2, Some(1), Ok("a c"));
        check("a b", "b", 2, None, Ok("b c"));
        check(
            "a b c",
            "",
            2,
            None,
            Err("requested number of devices unavailable for r. Requested: 2, Available: 1"),
        );
    }

    #[test]
    fn what_a_container_has_it_keeps() {
        let mut books = books("b", "");
        let mut check = |held: &str, count, expected: Result<Option<Ids>, &str>| {
            books.held.insert(holder("p"), Holding { ids: ids(held), answer: Vec::new() });
            let chosen = books.choose(&holder("p"), count, &Ids::new(), None);
            let chosen = chosen.map(|choice| choice.map(|choice| choice.first()));
            assert_eq!(chosen, expected.map_err(str::to_owned), "{held} {count}");
        };
        check("a c", 2, Ok(None));
        check(
            "a b",
            2,
            Err("previously allocated devices are no longer healthy; cannot allocate unhealthy devices r"),
        );
        check("a", 2, Err("pod \"p\" container \"c\" changed request for resource \"r\" from 1 to 2"));
    }

    #[test]
    fn devices_that_are_ill_or_unknown() {
        let error = |books: &Books, resource: &str| {
            let holder = ("p".to_owned(), "c".to_owned(), resource.to_owned());
            books.choose(&holder, 1, &Ids::new(), None).expect_err("no devices")
        };
        assert_eq!(
            error(&books("a b c d", ""), "r"),
            "no healthy devices present; cannot allocate unhealthy devices r"
        );
        assert_eq!(error(&books("", ""), "x"), "cannot allocate unregistered device x");
        assert_eq!(books("a", "b").amounts()["r"], (4, 3));
    }

    #[test]
    fn plugins_have_preferences() {
        let choice = Choice { must: ids("a"), count: 2, tiers: vec![ids("b c"), ids("d")] };
        let check = |preferred: &str, expected: &str| {
            assert_eq!(choice.preferring(&ids(preferred)), ids(expected), "{preferred}");
        };
        assert_eq!(choice.available(), ids("a b c"));
        check("a c", "a c");
        check("", "a b");
        check("d", "a b");
        check("a b c", "a b");
    }

    #[test]
    fn hints_say_where_devices_are() {
        let all = Mask::from_iter([0, 1]);
        let check = |taken: &str, count, expected: Option<&[(&[u32], bool)]>| {
            let hints = books("", taken).hints(&holder("p"), count, &Ids::new(), all);
            let expected: Option<Vec<Hint>> = expected.map(|list| {
                list.iter()
                    .map(|(nodes, preferred)| Hint {
                        nodes: Some(nodes.iter().copied().collect()),
                        is_preferred: *preferred,
                    })
                    .collect()
            });
            assert_eq!(hints, expected, "{taken} {count}");
        };
        check("", 2, Some(&[(&[0], true), (&[0, 1], false)]));
        check("", 1, Some(&[(&[0], true), (&[1], true), (&[0, 1], false)]));
        check("a", 2, Some(&[(&[0, 1], false)]));
        check("c", 2, Some(&[(&[0], true), (&[0, 1], false)]));
        check("a c d", 2, Some(&[]));
        let mut nowhere = books("", "");
        nowhere
            .devices
            .insert("r".to_owned(), [("x".to_owned(), Device { is_healthy: true, nodes: vec![] })].into());
        assert_eq!(nowhere.hints(&holder("p"), 1, &Ids::new(), all), None);
    }
}
