//! Changes of objects by update. The roles of several controllers of the original do not allow patches, and ours are to
//! work with these roles too.

use std::fmt::Debug;

use k8s_openapi::Metadata;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::meta::is_code;

/// How often a change is tried while others write to the object.
const TRIES: usize = 5;

/// What is written of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// All but its status.
    Object,
    /// Its status only.
    Status,
}

/// Merges `change` into an object as it is known, and writes that (RFC 7396). Where somebody else has written meanwhile it is
/// read again, unless `change` names the version that it is meant for; `None` if the object is gone.
pub(crate) async fn merge<K>(api: &Api<K>, known: &K, change: &Value, part: Part) -> kube::Result<Option<K>>
where
    K: Metadata<Ty = ObjectMeta> + Clone + Debug + Serialize + DeserializeOwned,
{
    // Objects are large: what holds several of them at once is kept on the heap.
    Box::pin(merge_in_place(api, known, change, part)).await
}

async fn merge_in_place<K>(api: &Api<K>, known: &K, change: &Value, part: Part) -> kube::Result<Option<K>>
where
    K: Metadata<Ty = ObjectMeta> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = known.metadata().name.clone().unwrap_or_default();
    let exact = change["metadata"]["resourceVersion"].is_string();
    let mut current = known.clone();
    for attempt in 0.. {
        let mut wanted = serde_json::to_value(&current).map_err(kube::Error::SerdeError)?;
        apply(&mut wanted, change);
        let wanted: K = serde_json::from_value(wanted).map_err(kube::Error::SerdeError)?;
        let written = match part {
            Part::Object => api.replace(&name, &PostParams::default(), &wanted).await,
            Part::Status => api.replace_status(&name, &PostParams::default(), &wanted).await,
        };
        match written {
            Ok(written) => return Ok(Some(written)),
            Err(error) if is_code(&error, 404) => return Ok(None),
            Err(error) if !is_code(&error, 409) || exact || attempt + 1 == TRIES => return Err(error),
            Err(_) => {}
        }
        match api.get_opt(&name).await? {
            Some(fresh) if fresh.metadata().uid == known.metadata().uid => current = fresh,
            _ => return Ok(None),
        }
    }
    Ok(None)
}

/// Takes a finalizer from an object.
pub(crate) async fn release<K>(api: &Api<K>, known: &K, finalizer: &str) -> kube::Result<()>
where
    K: Metadata<Ty = ObjectMeta> + Clone + Debug + Serialize + DeserializeOwned,
{
    Box::pin(release_in_place(api, known, finalizer)).await
}

async fn release_in_place<K>(api: &Api<K>, known: &K, finalizer: &str) -> kube::Result<()>
where
    K: Metadata<Ty = ObjectMeta> + Clone + Debug + Serialize + DeserializeOwned,
{
    let name = known.metadata().name.clone().unwrap_or_default();
    let mut current = known.clone();
    for attempt in 0.. {
        let finalizers = current.metadata_mut().finalizers.get_or_insert_default();
        let before = finalizers.len();
        finalizers.retain(|other| other != finalizer);
        if finalizers.len() == before {
            return Ok(());
        }
        match api.replace(&name, &PostParams::default(), &current).await {
            Ok(_) => return Ok(()),
            Err(error) if is_code(&error, 404) => return Ok(()),
            Err(error) if !is_code(&error, 409) || attempt + 1 == TRIES => return Err(error),
            Err(_) => {}
        }
        match api.get_opt(&name).await? {
            Some(fresh) if fresh.metadata().uid == known.metadata().uid => current = fresh,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// Merges as RFC 7396 says: null removes.
fn apply(into: &mut Value, change: &Value) {
    let Value::Object(fields) = change else {
        *into = change.clone();
        return;
    };
    if !into.is_object() {
        *into = Value::Object(serde_json::Map::new());
    }
    let Value::Object(known) = into else { return };
    for (name, value) in fields {
        match value {
            Value::Null => drop(known.remove(name)),
            value => apply(known.entry(name.clone()).or_insert(Value::Null), value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn changes_are_merged() {
        let mut object =
            json!({"metadata": {"annotations": {"a": "1"}}, "status": {"phase": "Pending", "message": "m"}});
        let change = json!({"metadata": {"annotations": {"b": "2"}}, "status": {"phase": "Bound", "message": null}, "spec": {"x": [1]}});
        apply(&mut object, &change);
        let expected = json!({"metadata": {"annotations": {"a": "1", "b": "2"}}, "status": {"phase": "Bound"}, "spec": {"x": [1]}});
        assert_eq!(object, expected);
    }
}
