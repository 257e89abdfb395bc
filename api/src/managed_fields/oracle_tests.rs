//! Field ownership against an oracle that knows nothing of trees: an object is a map from keys to values, a manager
//! owns a set of keys. Maps and sets of the real object are flattened into it.
use super::{Alike, Write, apply, update};
use crate::kind::Kind;
use crate::table::builtin;
use crate::time::Timestamp;
use crate::{Object, Value};
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// `data.‹k›` and its value, or a finalizer, whose value never differs.
type Fields = BTreeMap<String, String>;
/// By manager and operation.
type Owners = BTreeMap<(String, &'static str), BTreeSet<String>>;

#[derive(Clone, Debug)]
enum Step {
    Apply { manager: &'static str, fields: Fields, force: bool },
    Update { manager: &'static str, fields: Fields },
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Oracle {
    live: Fields,
    owners: Owners,
}

impl Oracle {
    /// The rules of KEP-555 for leaves; false for a conflict.
    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Apply { manager, fields, force } => {
                let own = ((*manager).to_owned(), "Apply");
                let differs = |key: &String| self.live.get(key) != fields.get(key);
                let changed: BTreeSet<String> = fields.keys().filter(|key| differs(key)).cloned().collect();
                let held = |(who, keys): (&(String, &str), &BTreeSet<String>)| {
                    *who != own && keys.intersection(&changed).next().is_some()
                };
                if !force && self.owners.iter().any(held) {
                    return false;
                }
                let last = self.owners.remove(&own).unwrap_or_default();
                self.forget(&changed);
                let kept: BTreeSet<&String> = self.owners.values().flatten().chain(fields.keys()).collect();
                let gone: Vec<String> = last.into_iter().filter(|key| !kept.contains(key)).collect();
                gone.iter().for_each(|key| drop(self.live.remove(key)));
                self.live.extend(fields.clone());
                self.owners.insert(own, fields.keys().cloned().collect());
            }
            Step::Update { manager, fields } => {
                let all = self.live.keys().chain(fields.keys());
                let changed: BTreeSet<String> =
                    all.filter(|key| self.live.get(*key) != fields.get(*key)).cloned().collect();
                self.forget(&changed);
                self.live = fields.clone();
                let new = changed.into_iter().filter(|key| fields.contains_key(key));
                self.owners.entry(((*manager).to_owned(), "Update")).or_default().extend(new);
            }
        }
        self.owners.retain(|_, keys| !keys.is_empty());
        true
    }

    fn forget(&mut self, changed: &BTreeSet<String>) {
        self.owners.values_mut().for_each(|keys| keys.retain(|key| !changed.contains(key)));
    }
}

fn kind() -> &'static Kind {
    builtin().resource("", "v1", "configmaps").expect("a kind")
}

fn object(fields: &Fields) -> Value {
    let mut object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "d"}});
    let (finalizers, data): (Vec<_>, Vec<_>) = fields.iter().partition(|(key, _)| key.starts_with("x.io/"));
    if !data.is_empty() {
        object["data"] = data.into_iter().map(|(k, v)| (k.clone(), json!(v))).collect::<Object>().into();
    }
    if !finalizers.is_empty() {
        object["metadata"]["finalizers"] = finalizers.into_iter().map(|(key, _)| json!(key)).collect();
    }
    object
}

/// The real object after a step; none for a conflict.
fn real(live: Option<&Value>, step: &Step, at: i64) -> Option<Value> {
    let now = Timestamp { seconds: 1_700_000_000 + at, nanos: 0 };
    let write = |manager| Write { manager, subresource: "", now, versions: &Alike };
    match step {
        Step::Apply { manager, fields, force } => {
            apply(builtin(), kind(), live, object(fields), &write(manager), *force).ok()
        }
        Step::Update { manager, fields } => {
            let mut new = object(fields);
            if let Some(entries) = live.and_then(|live| live["metadata"].get("managedFields")) {
                new["metadata"]["managedFields"] = entries.clone();
            }
            update(&builtin().schema, kind(), live, &mut new, &write(manager));
            Some(new)
        }
    }
}

fn flatten(object: &Value) -> Oracle {
    let mut flat = Oracle::default();
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        flat.live.insert(key.clone(), value.as_str().unwrap_or_default().to_owned());
    }
    for key in object["metadata"]["finalizers"].as_array().into_iter().flatten() {
        flat.live.insert(key.as_str().unwrap_or_default().to_owned(), String::new());
    }
    for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
        let operation = if entry["operation"] == "Apply" { "Apply" } else { "Update" };
        let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let data = members(&entry["fieldsV1"]["f:data"]).into_iter();
        let finalizers = members(&entry["fieldsV1"]["f:metadata"]["f:finalizers"]).into_iter();
        let keys = data.chain(finalizers).filter_map(|(name, _)| match name.split_once(':') {
            Some(("f", key)) => Some(key.to_owned()),
            Some(("v", value)) => serde_json::from_str(value).ok(),
            _ => None,
        });
        let keys: BTreeSet<String> = keys.collect();
        if !keys.is_empty() {
            let manager = entry["manager"].as_str().unwrap_or_default().to_owned();
            flat.owners.insert((manager, operation), keys);
        }
    }
    flat
}

fn fields() -> impl Strategy<Value = Fields> {
    let data = proptest::collection::btree_map("[abc]", "[12]", 0..4);
    let finalizers = proptest::collection::btree_set("x.io/[pq]", 0..3);
    (data, finalizers).prop_map(|(mut all, finalizers)| {
        all.extend(finalizers.into_iter().map(|key| (key, String::new())));
        all
    })
}

fn step() -> impl Strategy<Value = Step> {
    let manager = || prop::sample::select(vec!["one", "two", "three"]);
    prop_oneof![
        (manager(), fields(), any::<bool>()).prop_map(|(manager, fields, force)| Step::Apply {
            manager,
            fields,
            force
        }),
        (manager(), fields()).prop_map(|(manager, fields)| Step::Update { manager, fields }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn ownership_is_what_the_oracle_says(steps in proptest::collection::vec(step(), 1..10)) {
        let (mut oracle, mut live) = (Oracle::default(), None::<Value>);
        for (at, step) in steps.iter().enumerate() {
            let passes = oracle.step(step);
            let next = real(live.as_ref(), step, at as i64);
            prop_assert_eq!(next.is_some(), passes, "step {} {:?} on {:?}", at, step, live);
            let Some(mut next) = next else { continue };
            prop_assert_eq!(&next["metadata"]["name"], "a", "step {} {:?} on {:?}", at, step, live);
            next["metadata"]["uid"] = json!("u");
            prop_assert_eq!(&flatten(&next), &oracle, "step {} {:?} on {:?}", at, step, live);
            // An object whose entries are all gone is not tracked any more.
            if oracle.owners.is_empty() {
                break;
            }
            live = Some(next);
        }
    }
}
