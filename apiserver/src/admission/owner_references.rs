//! OwnerReferencesPermissionEnforcement: owners are named by who could delete the object, and block an owner's deletion
//! only by who could put a finalizer on it.
use super::{Attributes, Operation, Plugin, array};
use crate::authz::{self, Authorizer};
use async_trait::async_trait;
use knarr_api::status::Status;
use knarr_api::{Value, table};

/// The plugin.
pub struct OwnerReferences {
    /// Says who may delete and finalize.
    pub authorizer: Authorizer,
}

#[async_trait]
impl Plugin for OwnerReferences {
    fn name(&self) -> &'static str {
        "OwnerReferencesPermissionEnforcement"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        let by_kubelet = attributes.subresource == "status" && &*attributes.kind.plural == "pods";
        matches!(operation, Operation::Create | Operation::Update) && !by_kubelet
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        let Some(new) = &attributes.object else { return Ok(()) };
        let none = Value::Null;
        let old = attributes.old.as_ref().map_or(&none, |old| &old["metadata"]["ownerReferences"]);
        let new = array(&new["metadata"]["ownerReferences"]);
        let old = array(old);
        if changes_owners(new, old) {
            let delete = authz::Attributes {
                verb: "delete",
                group: &attributes.kind.gvk.group,
                version: &attributes.kind.gvk.version,
                resource: &attributes.kind.plural,
                namespace: attributes.namespace,
                name: attributes.name,
                is_resource: true,
                ..Default::default()
            };
            self.require(attributes, &delete, "cannot set an ownerRef on a resource you can't delete")?;
        }
        for owner in newly_blocking(new, old) {
            self.may_block(attributes, owner)?;
        }
        Ok(())
    }
}

impl OwnerReferences {
    fn may_block(&self, attributes: &Attributes<'_>, owner: &Value) -> Result<(), Status> {
        const CAUSE: &str = "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
        let text = |field: &str| owner[field].as_str().unwrap_or_default();
        let mut kinds = table::builtin().kinds.iter();
        let kind = kinds
            .find(|kind| &*kind.gvk.kind == text("kind") && kind.gvk.api_version() == text("apiVersion"));
        let Some(kind) = kind else {
            let cause = format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for \
                 APIVersion {} Kind {}",
                text("apiVersion"),
                text("kind")
            );
            return Err(attributes.forbidden(cause));
        };
        let update = authz::Attributes {
            verb: "update",
            group: &kind.gvk.group,
            version: &kind.gvk.version,
            resource: &kind.plural,
            subresource: "finalizers",
            namespace: if kind.namespaced { attributes.namespace } else { "" },
            name: text("name"),
            is_resource: true,
            ..Default::default()
        };
        self.require(attributes, &update, CAUSE)
    }

    fn require(
        &self,
        attributes: &Attributes<'_>,
        wanted: &authz::Attributes<'_>,
        cause: &str,
    ) -> Result<(), Status> {
        let decision = self.authorizer.authorize(attributes.user, wanted);
        if decision.is_allowed() {
            return Ok(());
        }
        Err(attributes.forbidden(format!("{cause}: {}, <nil>", decision.reason())))
    }
}

fn is_blocking(owner: &Value) -> bool {
    owner["blockOwnerDeletion"] == true
}

/// Are owners other than they were, whatever they block?
fn changes_owners(new: &[Value], old: &[Value]) -> bool {
    let plain = |owner: &Value| {
        let mut owner = owner.clone();
        owner.as_object_mut().map(|members| members.remove("blockOwnerDeletion"));
        owner
    };
    new.len() != old.len() || new.iter().any(|owner| !old.iter().any(|known| plain(known) == plain(owner)))
}

/// The owners whose deletion is blocked and was not before.
fn newly_blocking<'a>(new: &'a [Value], old: &'a [Value]) -> impl Iterator<Item = &'a Value> {
    let blocked =
        move |owner: &Value| old.iter().any(|known| is_blocking(known) && known["uid"] == owner["uid"]);
    new.iter().filter(move |owner| is_blocking(owner) && !blocked(owner))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_to_be_asked() {
        let plain = json!({"uid": "1", "name": "a"});
        let blocking = json!({"uid": "1", "name": "a", "blockOwnerDeletion": true});
        let other = json!({"uid": "2", "name": "b"});
        let check = |new: &[&Value], old: &[&Value], changes: bool, blocks: usize| {
            let list = |all: &[&Value]| all.iter().map(|v| (*v).clone()).collect::<Vec<_>>();
            let (new, old) = (list(new), list(old));
            assert_eq!(changes_owners(&new, &old), changes, "{new:?} {old:?}");
            assert_eq!(newly_blocking(&new, &old).count(), blocks, "{new:?} {old:?}");
        };
        check(&[], &[], false, 0);
        check(&[&plain], &[], true, 0);
        check(&[&blocking], &[], true, 1);
        check(&[&blocking], &[&plain], false, 1);
        check(&[&blocking], &[&blocking], false, 0);
        check(&[&other], &[&plain], true, 0);
        check(&[], &[&plain], true, 0);
    }
}
