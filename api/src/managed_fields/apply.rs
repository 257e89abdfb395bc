//! Server-side apply: the fields of a configuration are merged into the live object, what its manager applied
//! before and no more is removed, and a field that others hold with another value is a conflict.
//!
//! Source: KEP-555 and the documentation of server-side apply.
mod merge;
mod prune;

use super::set::Set;
use super::{
    Comparison, Entry, Operation, Write, compare, field_set, finish, put, starting_entries, take, track,
};
use crate::Value;
use crate::kind::Kind;
use crate::schema::Schema;
use crate::status::Status;
use crate::table::Api;

/// Who owns the fields of an object that was written before it was tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
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
    if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
        return Err(ApplyError::ManagedFields);
    }
    let set = field_set(schema, kind, &config, write.subresource)
        .map_err(|fault| ApplyError::Schema { object: describe(kind, &config), fault })?;
    let mut former = starting_entries(live, None, "status").unwrap_or_default();
    if let (Some(live), true) = (live, former.is_empty()) {
        let before = Write { manager: BEFORE_FIRST_APPLY, subresource: "", ..*write };
        former = track(Vec::new(), compare(schema, kind, None, live, ""), kind, &before);
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
    merge::merge(schema, kind, &mut new, config, write.subresource);
    let last = former.iter().find(|entry| entry.same_manager(&own)).cloned();
    if let Some(last) = &last {
        let mut owned = own.fields.clone();
        former.iter().filter(|e| !e.same_manager(&own)).for_each(|e| owned.union(e.fields.clone()));
        prune::prune(schema, kind.ty, &mut new, &last.fields, &owned);
    }
    let found = compare(schema, kind, live, &new, write.subresource);
    let others: Vec<Entry> = former.iter().filter(|e| !e.same_manager(&own)).cloned().collect();
    if !force {
        check_conflicts(schema, kind, live, &others, &found, write)?;
    }
    let entries = settle(others, own, last, &found, write);
    put(&mut new, entries);
    Ok(new)
}

/// The entries after an apply: others lose what changed and what is gone; the time of the applier's entry only
/// changes with the object or the entry.
fn settle(
    mut others: Vec<Entry>,
    mut own: Entry,
    last: Option<Entry>,
    found: &Comparison,
    write: &Write<'_>,
) -> Vec<Entry> {
    for entry in &mut others {
        entry.fields.subtract(&found.changed);
        entry.fields.subtract(&found.removed);
    }
    let unchanged = last
        .filter(|last| found.is_empty() && last.fields == own.fields && last.api_version == own.api_version);
    own.time = unchanged.map_or_else(|| Some(write.now.to_rfc3339()), |last| last.time);
    others.push(own);
    finish(others)
}

fn check_conflicts(
    schema: &Schema,
    kind: &Kind,
    live: Option<&Value>,
    others: &[Entry],
    found: &Comparison,
    write: &Write<'_>,
) -> Result<(), ApplyError> {
    let mut all = Set::default();
    let mut conflicts: Vec<Conflict> = Vec::new();
    for entry in others {
        let held = entry.fields.intersection(&found.changed);
        if !held.is_empty() {
            conflicts.push(Conflict { manager: print_manager(entry), paths: held.paths() });
            all.union(held);
        }
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    conflicts.sort_by(|a, b| a.manager.cmp(&b.manager));
    let allowed = live.filter(|_| write.manager == "kubectl").map(|live| last_applied(schema, kind, live));
    if let Some(allowed) = allowed {
        all.subtract(&allowed);
        if all.is_empty() {
            return Ok(());
        }
    }
    Err(ApplyError::Conflicts(conflicts))
}

/// What kubectl's client-side apply wrote last and nobody changed since: kubectl may take it over.
fn last_applied(schema: &Schema, kind: &Kind, live: &Value) -> Set {
    let text = live["metadata"]["annotations"][LAST_APPLIED].as_str().unwrap_or_default();
    let Ok(document) = serde_json::from_str::<Value>(text) else { return Set::default() };
    let mut set = field_set(schema, kind, &document, "").unwrap_or_default();
    set.subtract(&compare(schema, kind, Some(&document), live, "").changed);
    set
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
    format!("{}/{}; {}, Kind={}", text("namespace"), text("name"), kind.gvk.api_version(), kind.gvk.kind)
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
