//! What is written of a pod: its whole status as one patch, which the server merges, and in the end its deletion.

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use knarr_component::store::Key;
use kube::Client;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::world::{Uid, Written};
use crate::status::conditions::is_own;
use crate::status::write;

/// One write.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Namespace and name of the pod.
    pub key: Key,
    /// Its uid.
    pub uid: Uid,
    /// A strategic merge patch of its status.
    pub status: Option<Value>,
    /// Its object is to be removed afterwards.
    pub delete: bool,
}

fn own(status: &PodStatus) -> impl Iterator<Item = &PodCondition> {
    status.conditions.iter().flatten().filter(|condition| is_own(condition))
}

/// Whether two statuses say the same in the kubelet's conditions.
pub fn same_conditions(ours: &PodStatus, theirs: &PodStatus) -> bool {
    own(ours).all(|condition| {
        own(theirs).any(|other| other.type_ == condition.type_ && other.status == condition.status)
    })
}

/// The patch that gives a pod this status, whatever it has: the server merges conditions by their type, so that fields
/// that have gone are named, and lists of containers are replaced.
pub fn patch(uid: &str, status: &PodStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    let conditions = own(status).map(|condition| {
        let mut value = serde_json::to_value(condition).unwrap_or_default();
        for field in ["reason", "message"] {
            if value.get(field).is_none() {
                value[field] = Value::Null;
            }
        }
        value
    });
    value["conditions"] = conditions.collect();
    json!({"metadata": {"uid": uid}, "status": value})
}

/// The revision of an object, zero where it cannot be read.
pub fn revision(meta: &ObjectMeta) -> u64 {
    meta.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or_default()
}

impl Write {
    /// Sends it.
    pub async fn send(&self, client: &Client) -> Written {
        match self.attempt(client).await {
            Ok(revision) => Written::At(revision),
            // A conflict may be a lost race; if the pod was replaced, the watch ends the attempts.
            Err(kube::Error::Api(status)) if status.code == 404 => Written::Gone,
            Err(kube::Error::Api(status)) if matches!(status.code, 400 | 403 | 422) => {
                tracing::warn!(pod = %self.key, %status, "status refused");
                Written::At(0)
            }
            Err(error) => {
                tracing::info!(pod = %self.key, %error, "not written");
                Written::Failed
            }
        }
    }

    async fn attempt(&self, client: &Client) -> Result<u64, kube::Error> {
        let path = write::path(&self.key.namespace, &self.key.name);
        let mut at = 0;
        if let Some(patch) = &self.status {
            at = write::status(client, &path, patch).await?.unwrap_or_default();
        }
        if self.delete {
            write::removal(client, &path, &self.uid).await?;
        }
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::conditions::adopt;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).expect("a status")
    }

    #[test]
    fn patches_name_what_has_gone_and_leave_others_conditions_alone() {
        let status = status(json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True"}, {"type": "DisruptionTarget", "status": "True"},
        ]}));
        let expected = json!({"metadata": {"uid": "u"}, "status": {"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "reason": null, "message": null},
        ]}});
        assert_eq!(patch("u", &status), expected);
    }

    #[test]
    fn others_conditions_are_taken_over() {
        let mut ours = status(
            json!({"conditions": [{"type": "Ready", "status": "True"}, {"type": "Old", "status": "True"}]}),
        );
        let theirs = status(
            json!({"conditions": [{"type": "Ready", "status": "False"}, {"type": "New", "status": "True"}]}),
        );
        assert!(!same_conditions(&ours, &theirs));
        adopt(&mut ours, Some(&theirs));
        let expected = json!([{"type": "Ready", "status": "True"}, {"type": "New", "status": "True"}]);
        let got = serde_json::to_value(&ours.conditions).expect("JSON");
        assert_eq!(
            got.as_array().expect("a list").iter().map(|c| (&c["type"], &c["status"])).collect::<Vec<_>>(),
            expected
                .as_array()
                .expect("a list")
                .iter()
                .map(|c| (&c["type"], &c["status"]))
                .collect::<Vec<_>>()
        );
    }
}
