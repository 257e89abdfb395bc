//! `pods/binding` and the older `bindings`: a scheduler assigns a pod to a node.
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::options::{WriteOptions, WriteVerb};
use super::super::write::{ATTEMPTS, commit_status};
use super::super::{Registry, codec, object, row};
use super::{body_name, success};
use crate::admission::Operation;
use crate::storage::{CommitError, Group, WriteFacts};
use knarr_api::Value;
use knarr_api::field::Error;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use serde_json::json;

impl Registry {
    /// Binds the pod `name`, or the one the body names.
    pub(in super::super) async fn bind(
        &self,
        call: &Call<'_>,
        body: &[u8],
        name: &str,
    ) -> Result<Answer, Status> {
        let options = WriteOptions::decode(&call.query, call.headers, WriteVerb::Create, false)?;
        let binding = self.decode_as(call, "", "v1", "Binding", body)?;
        let binding = self.admit_connected(call, binding, Operation::Create).await?;
        let name = if name.is_empty() { body_name(&binding).to_owned() } else { name.to_owned() };
        if body_name(&binding) != name {
            return Err(Status::bad_request("name in URL does not match name in Binding object"));
        }
        let node = checked_target(&binding)?;
        let pods = self.rows.find("", "v1", "pods").ok_or_else(|| Status::internal("pods are not served"))?;
        let pods = &pods;
        let key = pods.key(call.namespace, &name);
        for _ in 0..ATTEMPTS {
            let stored = self.store.get(&key).ok_or_else(|| pods.not_found(&name))?;
            let mut pod = codec::read(self.api, pods, &stored)?;
            may_bind(&binding, &pod, &name)?;
            assign(&mut pod, &binding, &node);
            if options.dry_run {
                return Ok(success(201));
            }
            let bytes = codec::canonical(self.api, &pods.stored, &mut pod)?;
            let group = Group::update(key.clone(), stored.revision, bytes);
            let index = row::index(&pod, &pods.stored.field_selectors);
            let facts = vec![WriteFacts { index: Some(index), previous: Some(stored) }];
            match self.store.commit_with(group, facts).await {
                Ok(_) => return Ok(success(201)),
                Err(CommitError::Guard { .. }) => {}
                Err(error) => return Err(commit_status(&error)),
            }
        }
        Err(Status::conflict(pods.subject(), &name, super::super::update::MODIFIED))
    }
}

/// The node; faults are told as an error of no kind, as the original does here.
fn checked_target(binding: &Value) -> Result<String, Status> {
    let kind = object::text(binding, &["target", "kind"]);
    let mut errors = Vec::new();
    if !matches!(kind, "" | "Node") {
        errors.push(Error::not_supported("target.kind", &kind.into(), &["Node", "<empty>"]));
    }
    let node = object::text(binding, &["target", "name"]);
    if node.is_empty() {
        errors.push(Error::required("target.name", ""));
    }
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match &texts[..] {
        [] => Ok(node.to_owned()),
        [one] => Err(Status::new(500, "", one.clone())),
        several => Err(Status::new(500, "", format!("[{}]", several.join(", ")))),
    }
}

fn may_bind(binding: &Value, pod: &Value, name: &str) -> Result<(), Status> {
    let pods = knarr_api::status::Resource { group: "", plural: "pods" };
    let subject = knarr_api::status::Resource { group: "", plural: "pods/binding" };
    let uid = object::uid(binding);
    if !uid.is_empty() && uid != object::uid(pod) {
        let text = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::uid(pod)
        );
        return Err(Status::conflict(pods, name, text));
    }
    let refuse = |text: String| Err(Status::conflict(subject, name, text));
    if object::deleting(pod) {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = object::text(pod, &["spec", "nodeName"]);
    if !node.is_empty() {
        return refuse(format!("pod {name} is already assigned to node {node:?}"));
    }
    if !object::list(pod, &["spec", "schedulingGates"]).is_empty() {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    Ok(())
}

/// Sets the node (which leaves the generation as it is and belongs to no field manager), the annotations of the binding and the condition `PodScheduled`.
fn assign(pod: &mut Value, binding: &Value, node: &str) {
    object::child_mut(pod, "spec").insert("nodeName".into(), node.into());
    for map in ["annotations", "labels"] {
        let Some(Value::Object(added)) = object::meta(binding).get(map) else { continue };
        let members = object::meta_mut(pod).entry(map).or_insert_with(|| json!({}));
        let Some(members) = members.as_object_mut() else { continue };
        // Labels of the pod win, as only new ones may be added that way.
        for (name, value) in added {
            if map == "annotations" || !members.contains_key(name) {
                members.insert(name.clone(), value.clone());
            }
        }
    }
    let now = object::time(Timestamp::now());
    let scheduled =
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    let status = object::child_mut(pod, "status");
    // What was a hint while the pod waited would mislead now.
    status.remove("nominatedNodeName");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else { return };
    match conditions.iter_mut().find(|c| c["type"] == "PodScheduled") {
        Some(condition) => *condition = scheduled,
        None => conditions.push(scheduled),
    }
}
