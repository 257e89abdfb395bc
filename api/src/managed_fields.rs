//! `metadata.managedFields`: which manager last wrote which field.
//!
//! Every write is compared with the live object under the schema; new and changed fields go to the writer and
//! leave all others, removed fields leave everybody. Source: KEP-555 and the documentation of server-side apply;
//! how lists, empty values and absent zeros count is the original's behaviour.
//!
//! **Order**: ownership belongs to what the client sent, so [`update`] comes after decoding and defaulting and
//! before mutating admission and the kind's own preparation: what those fill in belongs to nobody.
pub mod apply;
mod compare;
mod entries;
mod field_set;
mod set;
mod versions;

pub use apply::apply;
pub use compare::{Comparison, compare};
pub use entries::{Entry, EntryError, Operation};
pub use field_set::field_set;
pub use set::{ElementError, PathElement, Set};
pub use versions::{Alike, Other, Versions};

use crate::kind::Kind;
use crate::schema::Schema;
use crate::time::Timestamp;
use crate::{Object, Value};
use versions::Differences;

/// Most entries of updates (not applies) that an object keeps; older ones are thrown together.
const MAX_UPDATE_MANAGERS: usize = 10;
/// The manager of entries thrown together.
const ANCIENT: &str = "ancient-changes";
/// Longest manager name.
const MANAGER_MAX: usize = 128;

/// A write to be tracked.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    /// Who writes: the request's `fieldManager`, or [`manager_of_user_agent`].
    pub manager: &'a str,
    /// The subresource written through; empty for the main resource.
    pub subresource: &'a str,
    /// The time of the write.
    pub now: Timestamp,
    /// The versions that entries may speak of.
    pub versions: &'a dyn Versions,
}

/// The manager of a request without `fieldManager`: its user agent up to the first `/`.
pub fn manager_of_user_agent(agent: &str) -> &str {
    let name = agent.split('/').next().unwrap_or_default();
    let unprintable = |c: char| c.is_control() || c.is_whitespace() && c != ' ';
    let name = &name[..name.find(unprintable).unwrap_or(name.len())];
    let mut end = name.len().min(MANAGER_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// Records the ownership of a create (`live` absent), update or patch in `new`'s `managedFields`.
///
/// An object that is not tracked (its `managedFields` were reset) stays so.
pub fn update(schema: &Schema, kind: &Kind, live: Option<&Value>, new: &mut Value, write: &Write<'_>) {
    let requested = take(new);
    let Some(entries) = starting_entries(live, requested, write.subresource) else { return };
    if entries.is_empty() && live.is_some() {
        return;
    }
    let entries = track(entries, Differences::new(schema, kind, live, new, write), kind, write);
    put(new, entries);
}

/// The entries that a write starts from: those of the request, since clients may edit them, else the live ones;
/// through a subresource always the live ones. None: tracking is to be dropped.
fn starting_entries(live: Option<&Value>, requested: Option<Value>, subresource: &str) -> Option<Vec<Entry>> {
    let lived = live.and_then(|o| o["metadata"].get("managedFields"));
    let lived = || lived.and_then(|fields| Entry::decode_trusted(fields.clone()).ok()).unwrap_or_default();
    match requested {
        Some(requested) if subresource.is_empty() => {
            if live.is_some_and(|o| o["metadata"]["managedFields"] == requested) {
                return Some(lived());
            }
            let reset = |list: &Vec<Value>| match list.as_slice() {
                [] => true,
                [Value::Object(only)] => only.is_empty(),
                _ => false,
            };
            if requested.as_array().is_some_and(reset) {
                return live.is_none().then(Vec::new);
            }
            match Entry::decode(requested) {
                Ok(entries) if !entries.is_empty() => Some(entries),
                _ => Some(lived()),
            }
        }
        _ => Some(lived()),
    }
}

/// The entries after a write that made these differences.
fn track(
    mut entries: Vec<Entry>,
    mut differences: Differences<'_>,
    kind: &Kind,
    write: &Write<'_>,
) -> Vec<Entry> {
    if differences.found.is_empty() {
        return entries;
    }
    entries.retain_mut(|entry| entry.lose(&mut differences));
    let found = differences.found;
    if !found.changed.is_empty() {
        let own = Entry {
            manager: write.manager.to_owned(),
            operation: Operation::Update,
            api_version: kind.gvk.api_version(),
            subresource: write.subresource.to_owned(),
            time: Some(write.now.to_rfc3339()),
            fields: found.changed,
        };
        match entries.iter_mut().find(|entry| entry.same_manager(&own)) {
            Some(entry) => {
                entry.fields.union(own.fields);
                entry.time = own.time;
            }
            None => entries.push(own),
        }
    }
    finish(entries)
}

/// Drops entries that own nothing, throws old ones together and brings the rest into order.
fn finish(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.retain(|entry| !entry.fields.is_empty());
    cap(&mut entries);
    entries.sort_by(Entry::order);
    entries
}

/// Throws the oldest update entries together, a bucket an API version, until few enough are left.
fn cap(entries: &mut Vec<Entry>) {
    let updates = |entries: &[Entry]| entries.iter().filter(|e| e.operation == Operation::Update).count();
    if updates(entries) <= MAX_UPDATE_MANAGERS {
        return;
    }
    entries.sort_by(Entry::order);
    let mut at = 0;
    while updates(entries) > MAX_UPDATE_MANAGERS && at < entries.len() {
        let version = &entries[at].api_version;
        let older = (0..at)
            .find(|i| entries[*i].operation == Operation::Update && entries[*i].api_version == *version);
        match older {
            Some(older) if entries[at].operation == Operation::Update => {
                let merged = entries.remove(at);
                let bucket = &mut entries[older];
                ANCIENT.clone_into(&mut bucket.manager);
                bucket.subresource.clear();
                bucket.time = merged.time;
                bucket.fields.union(merged.fields);
            }
            _ => at += 1,
        }
    }
}

/// Whether two versions of an object differ in nothing but the times of `managedFields` and the
/// `resourceVersion`: then nothing needs to be written.
pub fn equal_but_for_times(old: &Value, new: &Value) -> bool {
    same_members(old.as_object(), new.as_object(), &["metadata"])
        && same_members(
            old["metadata"].as_object(),
            new["metadata"].as_object(),
            &["managedFields", "resourceVersion"],
        )
        && same_entries(&old["metadata"]["managedFields"], &new["metadata"]["managedFields"])
}

/// Entries are sorted by time, so the same ones may stand in another order.
fn same_entries(old: &Value, new: &Value) -> bool {
    let same = |a: &Value, b: &Value| same_members(a.as_object(), b.as_object(), &["time"]);
    old == new
        || match (old.as_array(), new.as_array()) {
            (Some(old), Some(new)) => {
                old.len() == new.len() && old.iter().all(|a| new.iter().any(|b| same(a, b)))
            }
            _ => false,
        }
}

fn same_members(old: Option<&Object>, new: Option<&Object>, skip: &[&str]) -> bool {
    fn kept<'o>(
        object: Option<&'o Object>,
        skip: &'o [&str],
    ) -> impl Iterator<Item = (&'o String, &'o Value)> {
        object.into_iter().flatten().filter(|(name, _)| !skip.contains(&name.as_str()))
    }
    kept(old, skip).eq(kept(new, skip))
}

fn take(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

fn put(object: &mut Value, entries: Vec<Entry>) {
    let Some(object) = object.as_object_mut() else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Object::new()));
    if let (Some(metadata), false) = (metadata.as_object_mut(), entries.is_empty()) {
        let entries = entries.into_iter().map(Entry::encode).collect();
        metadata.insert("managedFields".to_owned(), Value::Array(entries));
    }
}

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;
