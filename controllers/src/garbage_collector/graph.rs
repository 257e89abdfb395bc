//! The graph of owners and dependents, without I/O.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use knarr_component::store::{self, Key};
use kube::api::PropagationPolicy;

use crate::resources::Resource;

/// Finalizer of an owner that waits for its dependents to go.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Finalizer of an owner whose dependents are let go.
pub(super) const ORPHAN: &str = "orphan";

/// Identity of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Uid(Arc<str>);

impl From<&str> for Uid {
    fn from(uid: &str) -> Self {
        Self(uid.into())
    }
}

impl std::ops::Deref for Uid {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known of an object: a view of its metadata.
#[derive(Debug)]
pub(super) struct Object {
    pub resource: Arc<Resource>,
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Uid,
    pub version: Box<str>,
    pub owners: Box<[Owner]>,
    /// The whole references, for patches; empty in the graph, which does without them.
    pub references: Box<[OwnerReference]>,
    pub finalizers: Box<[String]>,
    pub deleting: bool,
}

/// An owner in the view of a dependent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: Uid,
    pub blocks: bool,
}

impl Object {
    /// What the graph keeps of an object.
    pub fn view(resource: &Arc<Resource>, meta: ObjectMeta) -> Self {
        Self { references: Box::default(), ..Self::new(resource, meta) }
    }

    /// All that matters of an object.
    pub fn new(resource: &Arc<Resource>, meta: ObjectMeta) -> Self {
        let references = meta.owner_references.unwrap_or_default();
        let owner = |owner: &OwnerReference| Owner {
            uid: Uid::from(owner.uid.as_str()),
            blocks: owner.block_owner_deletion == Some(true),
        };
        Self {
            resource: resource.clone(),
            namespace: meta.namespace.unwrap_or_default().into(),
            name: meta.name.unwrap_or_default().into(),
            uid: Uid::from(meta.uid.unwrap_or_default().as_str()),
            version: meta.resource_version.unwrap_or_default().into(),
            owners: references.iter().map(owner).collect(),
            references: references.into(),
            finalizers: meta.finalizers.unwrap_or_default().into(),
            deleting: meta.deletion_timestamp.is_some(),
        }
    }

    fn has_finalizer(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|have| have == finalizer)
    }

    fn waits(&self, finalizer: &str) -> bool {
        self.deleting && self.has_finalizer(finalizer)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.resource.name(), Key::new(&*self.namespace, &*self.name))
    }
}

impl store::Object for Object {
    fn key(&self) -> Key {
        Key::new(&*self.namespace, &*self.name)
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.version
    }

    fn owners(&self) -> Vec<String> {
        // The graph is the index.
        Vec::new()
    }
}

/// Something to look at.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// Its owners may be gone, or its dependents.
    Delete(Uid),
    /// Its dependents are to be let go.
    Orphan(Uid),
}

#[derive(Default)]
struct Node {
    /// `None` for an owner that no informer has shown: it may be gone.
    object: Option<Arc<Object>>,
    waits_for_dependents: bool,
    dependents: HashSet<Uid>,
}

/// A copy of what is known of a node.
pub(super) struct Snapshot {
    pub object: Arc<Object>,
    pub waits_for_dependents: bool,
    pub dependents: usize,
}

/// A dependent as its owner sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dependent {
    pub uid: Uid,
    /// The owner must wait for it.
    pub blocks: bool,
    /// It waits for dependents of its own already.
    pub waits: bool,
}

/// All objects, by UID.
#[derive(Default)]
pub(super) struct Graph {
    nodes: HashMap<Uid, Node>,
}

impl Graph {
    /// Takes in a new or changed object.
    pub fn put(&mut self, object: &Arc<Object>) -> Vec<Work> {
        let mut work = BTreeSet::new();
        let node = self.nodes.entry(object.uid.clone()).or_default();
        let old = node.object.replace(object.clone());
        let old_owners: Vec<Owner> = old.iter().flat_map(|old| old.owners.to_vec()).collect();
        self.relate(object, &old_owners, &mut work);
        if old.is_none() {
            if !object.deleting && self.may_be_garbage(object) {
                work.insert(Work::Delete(object.uid.clone()));
            }
            work.extend(self.strangers(object).into_iter().map(Work::Delete));
        }
        if old_owners != *object.owners && old.is_some() {
            work.insert(Work::Delete(object.uid.clone()));
        }
        let begins = |finalizer: &str| {
            object.waits(finalizer) && !old.as_ref().is_some_and(|old| old.waits(finalizer))
        };
        if begins(ORPHAN) {
            work.insert(Work::Orphan(object.uid.clone()));
        }
        if begins(FOREGROUND)
            && let Some(node) = self.nodes.get_mut(&object.uid)
        {
            node.waits_for_dependents = true;
            work.extend(node.dependents.iter().cloned().map(Work::Delete));
            work.insert(Work::Delete(object.uid.clone()));
        }
        work.into_iter().collect()
    }

    /// Updates the edges of an object to its owners.
    fn relate(&mut self, object: &Arc<Object>, old: &[Owner], work: &mut BTreeSet<Work>) {
        for owner in &object.owners {
            self.nodes.entry(owner.uid.clone()).or_default().dependents.insert(object.uid.clone());
        }
        for owner in old {
            let now = object.owners.iter().find(|now| now.uid == owner.uid);
            let Some(node) = self.nodes.get_mut(&owner.uid) else { continue };
            if now.is_none() {
                node.dependents.remove(&object.uid);
            }
            if owner.blocks && !now.is_some_and(|now| now.blocks) && node.waits_for_dependents {
                work.insert(Work::Delete(owner.uid.clone()));
            }
            if node.object.is_none() && node.dependents.is_empty() {
                self.nodes.remove(&owner.uid);
            }
        }
    }

    /// Whether no owner is there for sure, or one waits for its dependents, or is none.
    pub fn may_be_garbage(&self, object: &Object) -> bool {
        object.owners.iter().any(|owner| {
            let unsure = |node: &Node| node.object.is_none() || node.waits_for_dependents;
            self.nodes.get(&owner.uid).is_none_or(unsure) || self.is_elsewhere(object, &owner.uid)
        })
    }

    /// Whether an owner is in a namespace that is not the object's, and so cannot own it.
    pub fn is_elsewhere(&self, object: &Object, owner: &Uid) -> bool {
        let owner = self.nodes.get(owner).and_then(|node| node.object.as_ref());
        owner.is_some_and(|owner| !owner.namespace.is_empty() && owner.namespace != object.namespace)
    }

    /// Objects that took the new object for their owner before it was seen in another namespace.
    fn strangers(&self, owner: &Object) -> Vec<Uid> {
        let dependents = self.nodes.get(&owner.uid).into_iter().flat_map(|node| &node.dependents);
        let is_stranger = |uid: &&Uid| {
            let dependent = self.nodes.get(*uid).and_then(|node| node.object.as_ref());
            dependent.is_some_and(|dependent| self.is_elsewhere(dependent, &owner.uid))
        };
        dependents.filter(is_stranger).cloned().collect()
    }

    /// Takes out an object that is gone: its dependents have to be looked at, and owners that
    /// waited for it.
    pub fn remove(&mut self, uid: &Uid) -> Vec<Work> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        let mut work: BTreeSet<Work> = node.dependents.iter().cloned().map(Work::Delete).collect();
        if !node.dependents.is_empty() {
            self.nodes.insert(uid.clone(), Node { dependents: node.dependents, ..Node::default() });
        }
        for owner in node.object.iter().flat_map(|object| object.owners.iter()) {
            let Some(parent) = self.nodes.get_mut(&owner.uid) else { continue };
            parent.dependents.remove(uid);
            if parent.waits_for_dependents {
                work.insert(Work::Delete(owner.uid.clone()));
            }
            if parent.object.is_none() && parent.dependents.is_empty() {
                self.nodes.remove(&owner.uid);
            }
        }
        work.into_iter().collect()
    }

    pub fn snapshot(&self, uid: &Uid) -> Option<Snapshot> {
        let node = self.nodes.get(uid)?;
        Some(Snapshot {
            object: node.object.clone()?,
            waits_for_dependents: node.waits_for_dependents,
            dependents: node.dependents.len(),
        })
    }

    pub fn dependents(&self, uid: &Uid) -> Vec<Dependent> {
        let Some(node) = self.nodes.get(uid) else { return Vec::new() };
        let mut dependents: Vec<Dependent> = node
            .dependents
            .iter()
            .filter_map(|dependent| {
                let known = self.nodes.get(dependent)?;
                let blocks =
                    known.object.as_ref()?.owners.iter().any(|owner| owner.uid == *uid && owner.blocks);
                Some(Dependent { uid: dependent.clone(), blocks, waits: known.waits_for_dependents })
            })
            .collect();
        dependents.sort_by(|a, b| a.uid.cmp(&b.uid));
        dependents
    }

    /// Dependents that wait for dependents of their own.
    pub fn waiting_dependents(&self, uid: &Uid) -> Vec<Uid> {
        let dependents = self.dependents(uid).into_iter();
        dependents.filter(|dependent| dependent.waits).map(|dependent| dependent.uid).collect()
    }
}

/// What the server says of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OwnerState {
    Present,
    /// Gone, or another object has its name now.
    Absent,
    /// In foreground deletion.
    WaitsForDependents,
}

/// What to do about an object with owners.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    Keep,
    /// One owner at least remains: only the references to the others go.
    DropOwners(Vec<Uid>),
    Delete {
        policy: PropagationPolicy,
        /// Its dependents wait for it as it for them.
        unblock: bool,
    },
}

/// Decides about an object from the states of its owners, its number of dependents and those
/// among them that wait for dependents themselves.
pub(super) fn decide(
    object: &Object,
    owners: &HashMap<Uid, OwnerState>,
    dependents: usize,
    waiting_dependents: &[Uid],
) -> Action {
    let count = |state| owners.values().filter(|have| **have == state).count();
    if count(OwnerState::Present) > 0 {
        let gone = owners.iter().filter(|(_, state)| **state != OwnerState::Present);
        let mut gone: Vec<Uid> = gone.map(|(uid, _)| uid.clone()).collect();
        gone.sort();
        return if gone.is_empty() { Action::Keep } else { Action::DropOwners(gone) };
    }
    if count(OwnerState::WaitsForDependents) > 0 && dependents > 0 {
        return Action::Delete {
            policy: PropagationPolicy::Foreground,
            unblock: !waiting_dependents.is_empty(),
        };
    }
    let policy = if object.has_finalizer(ORPHAN) {
        PropagationPolicy::Orphan
    } else if object.has_finalizer(FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    };
    Action::Delete { policy, unblock: false }
}

#[cfg(test)]
mod tests;
