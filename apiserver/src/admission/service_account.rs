//! ServiceAccount: pods run as a ServiceAccount (`default` unless they say), and carry its token, the cluster's root
//! certificate and their namespace in a projected volume mounted into every container.
use super::{Attributes, Operation, Plugin, array};
use crate::authz::node::is_mirror;
use crate::objects::{Change, Objects};
use async_trait::async_trait;
use futures::StreamExt;
use knarr_api::Value;
use knarr_api::status::Status;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME_PREFIX: &str = "kube-api-access-";
/// Seconds the token of the volume is valid: an hour and some, so that "an hour" can be told from it.
const TOKEN_SECONDS: u64 = 3607;
/// Letters of generated names: no vowels, nothing that reads like another.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// The account that a controller makes in each namespace.
const DEFAULT: &str = "default";
/// How long it is waited for in a namespace that may just have been made; about as long as the original does.
const WAIT: Duration = Duration::from_millis(1500);

/// The plugin.
pub struct ServiceAccount {
    /// Where ServiceAccounts are looked up.
    pub objects: Arc<dyn Objects>,
}

#[async_trait]
impl Plugin for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        operation == Operation::Create && attributes.is("", "pods")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        let Some(mut pod) = attributes.object.take() else { return Ok(()) };
        let outcome = self.prepare(attributes, &mut pod).await;
        attributes.object = Some(pod);
        outcome
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let Some(pod) = &attributes.object else { return Ok(()) };
        if is_mirror(pod) {
            return check_mirror(attributes, pod);
        }
        self.account(attributes, account_name(pod)).await.map(drop)
    }
}

impl ServiceAccount {
    async fn prepare(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        // Mirror pods are refused anything of a ServiceAccount's when they are validated.
        if is_mirror(pod) {
            return Ok(());
        }
        if account_name(pod).is_empty() {
            pod["spec"]["serviceAccountName"] = json!(DEFAULT);
        }
        // The old spelling is kept in step, as the original's conversion does.
        let name = account_name(pod).to_owned();
        pod["spec"]["serviceAccount"] = json!(name);
        let account = self.account(attributes, &name).await?;
        let wanted = pod["spec"]["automountServiceAccountToken"].as_bool();
        if wanted.or(account["automountServiceAccountToken"].as_bool()).unwrap_or(true) {
            mount_token(pod);
        }
        if array(&pod["spec"]["imagePullSecrets"]).is_empty()
            && !array(&account["imagePullSecrets"]).is_empty()
        {
            pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
        }
        Ok(())
    }

    async fn account(&self, attributes: &Attributes<'_>, name: &str) -> Result<Arc<Value>, Status> {
        let namespace = attributes.namespace;
        let mut found = self.objects.get("", "serviceaccounts", namespace, name);
        if found.is_none() && name == DEFAULT {
            found = tokio::time::timeout(WAIT, self.made(namespace)).await.ok().flatten();
        }
        found.ok_or_else(|| {
            attributes.forbidden(format!(
                "error looking up service account {namespace}/{name}: serviceaccount {name:?} not found"
            ))
        })
    }

    /// The default account of a namespace, once it is there.
    async fn made(&self, of: &str) -> Option<Arc<Value>> {
        let mut changes = self.objects.follow("", "serviceaccounts");
        while let Some(change) = changes.next().await {
            match change {
                Change::Put { namespace, name, object } if &*namespace == of && &*name == DEFAULT => {
                    return Some(object);
                }
                _ => {}
            }
        }
        None
    }
}

fn account_name(pod: &Value) -> &str {
    pod["spec"]["serviceAccountName"].as_str().unwrap_or_default()
}

fn check_mirror(attributes: &Attributes<'_>, pod: &Value) -> Result<(), Status> {
    if !account_name(pod).is_empty() {
        return Err(attributes.forbidden("a mirror pod may not reference service accounts"));
    }
    for volume in array(&pod["spec"]["volumes"]) {
        let tokens =
            array(&volume["projected"]["sources"]).iter().any(|s| s.get("serviceAccountToken").is_some());
        if tokens {
            return Err(
                attributes.forbidden("a mirror pod may not use ServiceAccountToken volume projections")
            );
        }
    }
    Ok(())
}

/// Adds the volume, and mounts it where a container has nothing at the path yet.
fn mount_token(pod: &mut Value) {
    let existing = array(&pod["spec"]["volumes"]).iter().find_map(|volume| {
        let name = volume["name"].as_str()?;
        name.starts_with(VOLUME_PREFIX).then(|| name.to_owned())
    });
    let is_new = existing.is_none();
    let name = existing.unwrap_or_else(|| {
        let letter = |_| LETTERS[rand::random_range(0..LETTERS.len())] as char;
        format!("{VOLUME_PREFIX}{}", (0..5).map(letter).collect::<String>())
    });
    let mut mounted = false;
    for field in ["initContainers", "containers"] {
        for container in pod["spec"][field].as_array_mut().into_iter().flatten() {
            let taken =
                array(&container["volumeMounts"]).iter().any(|mount| mount["mountPath"] == MOUNT_PATH);
            if !taken {
                push(
                    container,
                    "volumeMounts",
                    json!({"name": name, "readOnly": true, "mountPath": MOUNT_PATH}),
                );
                mounted = true;
            }
        }
    }
    if mounted && is_new {
        push(&mut pod["spec"], "volumes", token_volume(&name));
    }
}

fn push(parent: &mut Value, field: &str, item: Value) {
    match parent[field].as_array_mut() {
        Some(list) => list.push(item),
        None => parent[field] = json!([item]),
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{
                    "path": "namespace",
                    "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                }]}},
            ],
            "defaultMode": 0o644,
        },
    })
}
