//! Server-side apply: the fields of a configuration are merged into the live object, what its manager applied
//! before and no more is removed, and a field that others hold with another value is a conflict.
//!
//! Source: KEP-555 and the documentation of server-side apply.
mod merge;
mod prune;
mod wholes;

use super::set::Set;
use super::versions::{Differences, Other};
use super::{Entry, Operation, Write, compare, field_set, finish, put, starting_entries, take, track};
use crate::Value;
use crate::kind::Kind;
use crate::schema::Schema;
use crate::status::Status;
use crate::table::Api;

/// Who owns the fields of an object that was written before it was tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// The manager of `kubectl apply --server-side`.
const KUBECTL: &str = "kubectl";
/// Most bytes of keys and values of annotations.
const ANNOTATIONS_MAX: usize = 256 * 1024;
/// What client-side apply notes its last configuration in.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Why a configuration was not applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The configuration carries `managedFields`.
    #[error("metadata.managedFields must be nil")]
    ManagedFields,
    /// The configuration does not fit the schema.
    #[error("failed to create typed patch object ({object}): {fault}")]
    Schema {
        /// Name and kind of the object.
        object: String,
        /// What does not fit.
        fault: String,
    },
    /// Others hold fields with other values; managers come in order.
    #[error("{}", message(.0))]
    Conflicts(Vec<Conflict>),
}

/// The fields that one other manager holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The manager as messages name it: `"kubectl" using apps/v1`.
    pub manager: String,
    /// The fields, `.spec.replicas`.
    pub paths: Vec<String>,
}

fn message(conflicts: &[Conflict]) -> String {
    let count: usize = conflicts.iter().map(|c| c.paths.len()).sum();
    if let [Conflict { manager, paths }] = conflicts
        && let [path] = paths.as_slice()
    {
        return format!("Apply failed with 1 conflict: conflict with {manager}: {path}");
    }
    let each = conflicts.iter().map(|c| {
        let paths: Vec<String> = c.paths.iter().map(|path| format!("- {path}")).collect();
        format!("conflicts with {}:\n{}", c.manager, paths.join("\n"))
    });
    format!("Apply failed with {count} conflicts: {}", each.collect::<Vec<_>>().join("\n"))
}

impl From<ApplyError> for Status {
    fn from(error: ApplyError) -> Self {
        let text = error.to_string();
        match error {
            ApplyError::ManagedFields => Self::bad_request(text),
            ApplyError::Schema { .. } => Self::new(500, "", text),
            ApplyError::Conflicts(conflicts) => {
                let causes = conflicts.iter().flat_map(|c| c.paths.iter().map(move |path| (c, path)));
                causes.fold(Self::new(409, "Conflict", text), |status, (conflict, path)| {
                    let cause = format!("conflict with {}", conflict.manager);
                    status.with_cause("FieldManagerConflict", cause, path)
                })
            }
        }
    }
}

/// Merges a part of an object into the object by the rules of server-side apply, without regard to who owns what. What
/// is merged as a whole cannot be part of it: its other members would be lost without being named.
///
/// # Errors
/// A part that does not fit the schema or holds such a whole, in words.
pub fn merge_part(api: &Api, kind: &Kind, object: &mut Value, part: Value) -> Result<(), String> {
    field_set(&api.schema, kind, &part, "")
        .map_err(|fault| format!("failed to convert patch object to typed object: {fault}"))?;
    let mut found = Vec::new();
    wholes::find(&api.schema, kind.ty, &part, "", &mut found);
    if !found.is_empty() {
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {}",
            found.join(", ")
        ));
    }
    merge::merge(&api.schema, kind, object, part, "");
    Ok(())
}

/// The fields that a configuration sets, as the client sent it.
///
/// # Errors
/// `managedFields`, or what does not fit the schema.
pub fn checked(api: &Api, kind: &Kind, config: &Value, subresource: &str) -> Result<Set, ApplyError> {
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApplyError::ManagedFields);
    }
    field_set(&api.schema, kind, config, subresource)
        .map_err(|fault| ApplyError::Schema { object: describe(kind, config), fault })
}

/// The live object (absent: a create) with `config` applied, its `managedFields` brought up to date; it still
/// needs decoding and defaulting. `config` must be as the client sent it: a decoded document would own zeros that
/// nobody wrote.
pub fn apply(
    api: &Api,
    kind: &Kind,
    live: Option<&Value>,
    config: Value,
    write: &Write<'_>,
    force: bool,
) -> Result<Value, ApplyError> {
    let schema = &api.schema;
    let set = checked(api, kind, &config, write.subresource)?;
    let mut former = starting_entries(live, None, "status").unwrap_or_default();
    if let (Some(live), true) = (live, former.is_empty()) {
        let before = Write { manager: BEFORE_FIRST_APPLY, subresource: "", ..*write };
        let differences = Differences::new(schema, kind, None, live, &before);
        former = track(Vec::new(), differences, kind, &before);
    }
    let own = Entry {
        manager: write.manager.to_owned(),
        operation: Operation::Apply,
        api_version: kind.gvk.api_version(),
        subresource: write.subresource.to_owned(),
        time: None,
        fields: set,
    };
    let mut new = live.cloned().unwrap_or_else(|| empty(&config));
    take(&mut new);
    let applied_text = (write.manager == KUBECTL).then(|| last_applied_text(&config));
    merge::merge(schema, kind, &mut new, config, write.subresource);
    let (last, others): (Vec<_>, Vec<_>) = former.into_iter().partition(|e| e.same_manager(&own));
    let last = last.into_iter().next();
    if let Some(last) = &last {
        let owners = Owners { own: &own, others: &others };
        prune_former(schema, kind, &mut new, last, &owners, write);
    }
    let mut differences = Differences::new(schema, kind, live, &new, write);
    if !force {
        check_conflicts(schema, kind, live, &others, &mut differences, write)?;
    }
    let entries = settle(others, own, last, differences, write);
    put(&mut new, entries);
    if let Some(text) = applied_text {
        renew_last_applied(&mut new, text);
    }
    Ok(new)
}

/// Who owns what after the merge: the applier what it sends, the others what they had.
struct Owners<'a> {
    own: &'a Entry,
    others: &'a [Entry],
}

impl Owners<'_> {
    /// What those own whose entries speak of a version for which `of` holds; and the object's name, of which entries
    /// do not tell, so that its metadata stay.
    fn fields(&self, of: impl Fn(&str) -> bool) -> Set {
        let mut owned = Set::trusted(serde_json::json!({"f:metadata": {"f:name": {}}}));
        let all = self.others.iter().chain(std::iter::once(self.own));
        all.filter(|e| of(&e.api_version)).for_each(|e| owned.union(e.fields.clone()));
        owned
    }
}

/// Removes what the applier applied before and nobody owns any more. Where it applied in a version of another shape,
/// the removal is worked out there, and what is owned in this version's terms stays.
fn prune_former(
    schema: &Schema,
    kind: &Kind,
    new: &mut Value,
    last: &Entry,
    owners: &Owners<'_>,
    write: &Write<'_>,
) {
    let shaped = |version: &str| match write.versions.find(version) {
        Other::Shaped(kind) if version != last.api_version => Some(kind),
        _ => None,
    };
    let here = kind.gvk.api_version();
    let there = match write.versions.find(&last.api_version) {
        Other::Shaped(there) if last.api_version != here => there,
        _ => {
            let owned = owners.fields(|version| version == here || shaped(version).is_none());
            return prune::prune(schema, kind.ty, new, &last.fields, &owned);
        }
    };
    let mut pruned = write.versions.convert(new, &there);
    let owned = owners.fields(|version| version == last.api_version);
    prune::prune(schema, there.ty, &mut pruned, &last.fields, &owned);
    let pruned = write.versions.convert(&pruned, kind);
    let removed = compare(schema, kind, Some(new), &pruned, write.subresource).removed;
    let owned = owners.fields(|version| version != last.api_version);
    prune::prune(schema, kind.ty, new, &removed, &owned);
}

/// The entries after an apply: others lose what changed and what is gone; the time of the applier's entry only
/// changes with the object or the entry.
fn settle(
    mut others: Vec<Entry>,
    mut own: Entry,
    last: Option<Entry>,
    mut differences: Differences<'_>,
    write: &Write<'_>,
) -> Vec<Entry> {
    others.retain_mut(|entry| entry.lose(&mut differences));
    let nothing = differences.found.is_empty();
    let unchanged =
        last.filter(|last| nothing && last.fields == own.fields && last.api_version == own.api_version);
    own.time = unchanged.map_or_else(|| Some(write.now.to_rfc3339()), |last| last.time);
    others.push(own);
    finish(others)
}

fn check_conflicts(
    schema: &Schema,
    kind: &Kind,
    live: Option<&Value>,
    others: &[Entry],
    differences: &mut Differences<'_>,
    write: &Write<'_>,
) -> Result<(), ApplyError> {
    let allowed = live.filter(|_| write.manager == KUBECTL).map(|live| last_applied(schema, kind, live));
    let mut conflicts: Vec<Conflict> = Vec::new();
    for entry in others {
        let Some(found) = differences.of(&entry.api_version) else { continue };
        let mut held = entry.fields.intersection(&found.changed);
        if let Some(allowed) = &allowed {
            held.subtract(allowed);
        }
        if !held.is_empty() {
            conflicts.push(Conflict { manager: print_manager(entry), paths: held.paths() });
        }
    }
    conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
    if conflicts.is_empty() { Ok(()) } else { Err(ApplyError::Conflicts(conflicts)) }
}

/// What kubectl's client-side apply wrote last and nobody changed since: kubectl may take it over.
fn last_applied(schema: &Schema, kind: &Kind, live: &Value) -> Set {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap_or_default();
    let Ok(document) = serde_json::from_str::<Value>(text) else { return Set::default() };
    let mut set = field_set(schema, kind, &document, "").unwrap_or_default();
    let since = compare(schema, kind, Some(&document), live, "");
    set.subtract(&since.changed);
    set.subtract(&since.removed);
    set
}

/// The configuration as client-side apply notes it down: JSON and a line feed, without the note itself.
fn last_applied_text(config: &Value) -> String {
    let mut config = config.clone();
    let annotations = config["metadata"].get_mut("annotations").and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.remove(LAST_APPLIED);
    }
    let mut text = Vec::new();
    crate::json::encode_untyped(&config, &mut text);
    text.push(b'\n');
    String::from_utf8_lossy(&text).into_owned()
}

/// Where client-side apply has left its note, kubectl's server-side apply keeps it current, so that both ways can be
/// mixed; the note goes where the annotations would become too large.
fn renew_last_applied(object: &mut Value, text: String) {
    let annotations = object["metadata"].get_mut("annotations").and_then(Value::as_object_mut);
    let Some(annotations) = annotations else { return };
    if annotations.get(LAST_APPLIED).and_then(Value::as_str).is_none_or(str::is_empty) {
        return;
    }
    annotations.insert(LAST_APPLIED.to_owned(), Value::String(text));
    let size: usize = annotations.iter().map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > ANNOTATIONS_MAX {
        annotations.remove(LAST_APPLIED);
    }
}

fn print_manager(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        text = format!("{text} with subresource {:?}", entry.subresource);
    }
    match entry.operation {
        Operation::Update => format!("{text} using {}", entry.api_version),
        Operation::Apply => text,
    }
}

fn describe(kind: &Kind, config: &Value) -> String {
    let text = |name: &str| config["metadata"][name].as_str().unwrap_or_default();
    let gvk = &kind.gvk;
    format!("{}/{}; {}/{}, Kind={}", text("namespace"), text("name"), gvk.group, gvk.version, gvk.kind)
}

/// The beginning of an object that is created by an apply.
fn empty(config: &Value) -> Value {
    let mut object = crate::Object::new();
    for name in ["apiVersion", "kind"] {
        object.extend(config.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests;
