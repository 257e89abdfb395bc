//! `pods/eviction`: a deletion that respects PodDisruptionBudgets.
use super::super::answer::Answer;
use super::super::call::Call;
use super::super::delete::Asked;
use super::super::options::{DeleteOptions, WriteOptions, WriteVerb};
use super::super::write::{ATTEMPTS, commit_status};
use super::super::{Registry, codec, object};
use super::{body_name, success};
use crate::admission::Operation;
use crate::storage::{CommitError, Group, Stored};
use knarr_api::selector::LabelSelector;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use knarr_api::{Object, Value};
use serde_json::json;
use std::sync::Arc;

/// Entries of `status.disruptedPods` beyond which a budget's controller is taken to be gone.
const MAX_DISRUPTED: usize = 2000;

impl Registry {
    pub(in super::super) async fn evict(&self, call: &Call<'_>, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::decode(&call.query, call.headers, WriteVerb::Create, false)?;
        let eviction = self.decode_as(call, "policy", "v1", "Eviction", body)?;
        if body_name(&eviction) != call.name {
            return Err(Status::bad_request("name in URL does not match name in Eviction object"));
        }
        let eviction = self.admit_connected(call, eviction, Operation::Create).await?;
        let mut delete = match eviction.get("deleteOptions").and_then(Value::as_object) {
            Some(object) => DeleteOptions::from_object(object)?,
            None => DeleteOptions::default(),
        };
        delete.dry_run |= options.dry_run;
        for _ in 0..ATTEMPTS {
            let stored = self.find(call).await?;
            let pod = stored.value().map_err(Status::internal)?;
            if !needs_budget(&pod) {
                break;
            }
            let Some((budget, value)) = self.budget_of(call, &pod)? else { break };
            let Some(mut charged) = charge(call.name, &pod, &value)? else { break };
            if delete.dry_run {
                break;
            }
            let row = self.rows.find("policy", "v1", "poddisruptionbudgets");
            let row = row.ok_or_else(|| Status::internal("budgets are not served"))?;
            let bytes = codec::canonical(self.api, &row.stored, &mut charged)?;
            match self.store.commit(Group::update(budget.key.clone(), budget.revision, bytes)).await {
                Ok(_) => break,
                Err(CommitError::Guard { .. }) => {}
                Err(error) => return Err(commit_status(&error)),
            }
        }
        let pods = self.rows.find("", "v1", "pods").ok_or_else(|| Status::internal("pods are not served"))?;
        let pods = &pods;
        let target = Call {
            row: pods,
            context: call.context,
            headers: call.headers,
            query: call.query.clone(),
            accepted: call.accepted,
            namespace: call.namespace,
            name: call.name,
            subresource: "",
        };
        self.delete_object(&target, &delete, Asked::ByEviction).await?;
        Ok(success(201))
    }

    /// The budget that selects a pod.
    fn budget_of(&self, call: &Call<'_>, pod: &Value) -> Result<Option<(Arc<Stored>, Value)>, Status> {
        let labels = object::meta(pod).get("labels").cloned().unwrap_or_else(|| Value::Object(Object::new()));
        let mut found = Vec::new();
        for budget in self.store.snapshot("policy/poddisruptionbudgets").iter(Some(call.namespace), None) {
            let value = budget.value().map_err(Status::internal)?;
            let selector = object::at(&value, &["spec", "selector"]).cloned().unwrap_or_default();
            let selects = LabelSelector::from_object(Some(&selector)).is_ok_and(|s| s.matches(&labels));
            if selects && !selector.is_null() {
                found.push((budget.clone(), value));
            }
        }
        if found.len() > 1 {
            return Err(Status::internal(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            ));
        }
        Ok(found.pop())
    }
}

/// Pods that do not serve need no budget.
fn needs_budget(pod: &Value) -> bool {
    let phase = object::text(pod, &["status", "phase"]);
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && !object::deleting(pod)
}

fn is_ready(pod: &Value) -> bool {
    object::list(pod, &["status", "conditions"]).iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The budget after this eviction; none when the pod may go without being counted; 429 when it may not.
fn charge(name: &str, pod: &Value, budget: &Value) -> Result<Option<Value>, Status> {
    let number = |path: &[&str]| object::at(budget, path).and_then(Value::as_i64).unwrap_or(0);
    let always = object::text(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
    let healthy = number(&["status", "currentHealthy"]);
    let desired = number(&["status", "desiredHealthy"]);
    if !is_ready(pod) && (always || (healthy >= desired && desired > 0)) {
        return Ok(None);
    }
    let refuse = |message: &str, seconds: u32, cause: &str| {
        let text = "Cannot evict pod as it would violate the pod's disruption budget.";
        let status = Status::too_many_requests(text, seconds);
        Err(status.with_cause("DisruptionBudget", format!("{cause}{message}"), ""))
    };
    let budget_name = object::name(budget);
    if number(&["status", "observedGeneration"]) < object::generation(budget) {
        return refuse(
            "is still being processed by the server.",
            10,
            &format!("The disruption budget {budget_name} "),
        );
    }
    let allowed = number(&["status", "disruptionsAllowed"]);
    if allowed < 1 {
        let text = format!("needs {desired} healthy pods and has {healthy} currently");
        return refuse(&text, 0, &format!("The disruption budget {budget_name} "));
    }
    let mut value = budget.clone();
    let status = object::child_mut(&mut value, "status");
    status.insert("disruptionsAllowed".into(), (allowed - 1).into());
    let disrupted = status.entry("disruptedPods").or_insert_with(|| json!({}));
    if let Some(members) = disrupted.as_object_mut() {
        if members.len() > MAX_DISRUPTED {
            return Err(Status::internal(
                "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            ));
        }
        members.insert(name.to_owned(), object::time(Timestamp::now()));
    }
    Ok(Some(value))
}
