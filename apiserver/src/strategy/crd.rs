//! CustomResourceDefinitions: their names are accepted or refused as they are written, they remember every version that
//! objects were ever stored in, and they outlive their objects.
use super::{Scene, Strategy};
use crate::outbound::Trust;
use crate::registry::custom::{DEFINITIONS, has_condition};
use crate::registry::object;
use crate::storage::Store;
use knarr_api::field::{Error, ErrorList};
use knarr_api::time::Timestamp;
use knarr_api::{Object, Value, gates};
use serde_json::json;
use std::collections::HashSet;

/// Keeps a definition until its objects are gone.
pub const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Rules of `customresourcedefinitions`.
pub struct CustomResourceDefinition;

impl Strategy for CustomResourceDefinition {
    fn prepare_create(&self, scene: &Scene<'_>, value: &mut Value) {
        value["status"] =
            json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []});
        remember(value);
        let others = all(scene, value);
        settle(value, &others, scene.now);
        observe(value, object::generation(value));
    }

    fn prepare_update(&self, scene: &Scene<'_>, value: &mut Value, old: &Value) {
        remember(value);
        let others = all(scene, value);
        settle(value, &others, scene.now);
        // It is counted on after this.
        observe(value, object::generation(old) + i64::from(value["spec"] != old["spec"]));
    }

    /// A bundle of authorities that was good, or not there, is not exchanged for one that nobody can be vouched for by.
    fn check(&self, _: &Scene<'_>, object: &Value, old: Option<&Value>) -> ErrorList {
        let fault = old.filter(|old| bundle_fault(old).is_none()).and_then(|_| bundle_fault(object));
        let error =
            |fault| Error::invalid("spec.conversion.webhookClientConfig.caBundle", bundle(object), fault);
        fault.map(error).into_iter().collect()
    }

    fn begin_deletion(&self, value: &mut Value, now: Timestamp) {
        let mut finalizers: Vec<String> = object::finalizers(value).into_iter().map(str::to_owned).collect();
        if !finalizers.iter().any(|f| f == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
            object::set_meta(value, "finalizers", Some(json!(finalizers)));
        }
        let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
        set_condition(value, "Terminating", true, "InstanceDeletionPending", message, now);
        observe(value, object::generation(value));
    }
}

/// Who vouches for the webhook that converts.
fn bundle(crd: &Value) -> &Value {
    &crd["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"]
}

/// What is wrong with that.
fn bundle_fault(crd: &Value) -> Option<String> {
    Trust::bundle(bundle(crd).as_str().unwrap_or_default()).err()
}

fn all(scene: &Scene<'_>, crd: &Value) -> Vec<Value> {
    in_group(&scene.registry.store, object::text(crd, &["spec", "group"]))
}

/// The definitions of a group, which their names end with; no others are read.
pub fn in_group(store: &Store, group: &str) -> Vec<Value> {
    let is_in = |name: &str| name.split_once('.').is_some_and(|(_, rest)| rest == group);
    let snapshot = store.snapshot(DEFINITIONS);
    let found = snapshot.iter(None, None).filter(|stored| is_in(stored.key.name()));
    found.filter_map(|stored| stored.value().ok()).collect()
}

/// Adds the version that is stored now.
fn remember(value: &mut Value) {
    let stored = |version: &&Value| version["storage"] == true;
    let versions = object::list(value, &["spec", "versions"]);
    let Some(name) = versions.iter().find(stored).map(|version| version["name"].clone()) else { return };
    let status = object::child_mut(value, "status");
    let list = status.entry("storedVersions").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut().filter(|list| !list.contains(&name)) {
        list.push(name);
    }
}

/// Do the accepted names of a definition belong to it: has it ever been established?
pub fn owns_names(crd: &Value) -> bool {
    has_condition(crd, "Established")
}

/// The names that other definitions of the group hold: resources, then kinds.
fn taken<'v>(crd: &Value, all: &'v [Value]) -> (HashSet<&'v str>, HashSet<&'v str>) {
    let (mut resources, mut kinds) = (HashSet::new(), HashSet::new());
    let others = all.iter().filter(|other| {
        object::name(other) != object::name(crd) && other["spec"]["group"] == crd["spec"]["group"]
    });
    for names in others.map(|other| &other["status"]["acceptedNames"]) {
        resources.extend(["plural", "singular"].iter().filter_map(|name| names[*name].as_str()));
        resources.extend(object::list(names, &["shortNames"]).iter().filter_map(Value::as_str));
        kinds.extend(["kind", "listKind"].iter().filter_map(|name| names[*name].as_str()));
    }
    resources.remove("");
    kinds.remove("");
    (resources, kinds)
}

/// Accepts the names that nobody else has and sets the conditions that say so.
pub fn settle(crd: &mut Value, all: &[Value], now: Timestamp) {
    let (resources, kinds) = taken(crd, all);
    let wanted = crd["spec"]["names"].clone();
    let mut accepted = crd["status"]["acceptedNames"].clone();
    let mut conflict: Option<(&str, String)> = None;
    let rows = [
        ("plural", &resources, "PluralConflict"),
        ("singular", &resources, "SingularConflict"),
        ("shortNames", &resources, "ShortNamesConflict"),
        ("kind", &kinds, "KindConflict"),
        ("listKind", &kinds, "ListKindConflict"),
    ];
    for (member, used, reason) in rows {
        let names: Vec<&str> = match &wanted[member] {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        match names.into_iter().find(|name| used.contains(name)) {
            Some(name) if accepted[member] != wanted[member] => {
                conflict = Some((reason, format!("{name:?} is already in use")));
            }
            _ => take(&mut accepted, &wanted, member),
        }
    }
    take(&mut accepted, &wanted, "categories");
    object::child_mut(crd, "status").insert("acceptedNames".to_owned(), accepted);
    match conflict {
        None => {
            set_condition(crd, "NamesAccepted", true, "NoConflicts", "no conflicts found", now);
            if !has_condition(crd, "Established") {
                let (is_sound, reason, message) = match bundle_fault(crd) {
                    None => (true, "InitialNamesAccepted", "the initial names have been accepted"),
                    Some(_) => (false, "InvalidCABundle", "The conversion webhook CABundle is invalid"),
                };
                set_condition(crd, "Established", is_sound, reason, message, now);
            }
        }
        Some((reason, message)) => {
            set_condition(crd, "NamesAccepted", false, reason, &message, now);
            if !has_condition(crd, "Established") {
                let message = "not all names are accepted";
                set_condition(crd, "Established", false, "NotAccepted", message, now);
            }
        }
    }
}

/// Notes the generation that status and conditions were found out of, or with its gate off that it is not known.
pub fn observe(crd: &mut Value, generation: i64) {
    let is_tracked = gates::enabled("CRDObservedGenerationTracking");
    let note = |status: &mut Object| match is_tracked {
        true => drop(status.insert("observedGeneration".to_owned(), generation.into())),
        false => drop(status.remove("observedGeneration")),
    };
    let status = object::child_mut(crd, "status");
    note(status);
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    conditions.into_iter().flatten().filter_map(Value::as_object_mut).for_each(note);
}

fn take(accepted: &mut Value, wanted: &Value, member: &str) {
    match wanted.get(member) {
        Some(value) => accepted[member] = value.clone(),
        None => object::remove(accepted, member),
    }
}

/// Sets a condition; its time changes only with its status.
pub fn set_condition(crd: &mut Value, name: &str, status: bool, reason: &str, message: &str, now: Timestamp) {
    let list = object::child_mut(crd, "status").entry("conditions").or_insert_with(|| json!([]));
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(list) = list.as_array_mut() else { return };
    let status = if status { "True" } else { "False" };
    let mut condition = json!({"type": name, "status": status, "reason": reason, "message": message});
    match list.iter_mut().find(|c| c["type"] == name) {
        Some(known) => {
            condition["lastTransitionTime"] = match known["status"] == status {
                true => known["lastTransitionTime"].clone(),
                false => object::time(now),
            };
            let mut merged = known.clone();
            for (member, value) in condition.as_object().into_iter().flatten() {
                merged[member] = value.clone();
            }
            *known = merged;
        }
        None => {
            condition["lastTransitionTime"] = object::time(now);
            list.push(condition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{observe, settle};
    use knarr_api::Value;
    use knarr_api::time::Timestamp;
    use serde_json::json;

    fn crd(name: &str, short: &str, kind: &str) -> Value {
        json!({"metadata": {"name": format!("{name}.example.com")}, "spec": {"group": "example.com", "names": {
            "plural": name, "singular": kind.to_lowercase(), "shortNames": [short], "kind": kind,
            "listKind": format!("{kind}List")}},
            "status": {"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}})
    }

    fn conditions(crd: &Value) -> Vec<String> {
        let list = crd["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let text = |c: &Value, name: &str| c[name].as_str().unwrap_or_default().to_owned();
        list.iter()
            .map(|c| format!("{}={} {}", text(c, "type"), text(c, "status"), text(c, "reason")))
            .collect()
    }

    #[test]
    fn free_names_are_accepted_and_taken_ones_are_not() {
        let now = Timestamp::now();
        let mut first = crd("widgets", "w", "Widget");
        settle(&mut first, &[], now);
        assert_eq!(
            conditions(&first),
            ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"]
        );
        assert_eq!(first["status"]["acceptedNames"], first["spec"]["names"]);
        let mut second = crd("whales", "w", "Whale");
        settle(&mut second, &[first.clone()], now);
        assert_eq!(
            conditions(&second),
            ["NamesAccepted=False ShortNamesConflict", "Established=False NotAccepted"]
        );
        assert_eq!(second["status"]["acceptedNames"]["plural"], "whales");
        settle(&mut second, &[], now);
        assert_eq!(
            conditions(&second),
            ["NamesAccepted=True NoConflicts", "Established=True InitialNamesAccepted"]
        );
        let settled = second.clone();
        settle(&mut second, &[], now);
        assert_eq!(second, settled);
        observe(&mut second, 4);
        let seen = |at: &Value| at["observedGeneration"].as_i64();
        assert_eq!(seen(&second["status"]), Some(4));
        assert!(second["status"]["conditions"].as_array().unwrap().iter().all(|c| seen(c) == Some(4)));
    }
}
