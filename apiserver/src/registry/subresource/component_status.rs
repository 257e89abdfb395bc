//! `componentstatuses`: a deprecated view of the control plane's health, computed on each read.
use super::super::answer::{Answer, Content};
use super::super::call::Call;
use super::super::{Registry, object};
use crate::request_info::Verb;
use knarr_api::Value;
use knarr_api::status::Status;
use serde_json::json;

impl Registry {
    pub(in super::super) async fn component_status(&self, call: &Call<'_>) -> Result<Answer, Status> {
        if call.context.info.verb != Verb::Get {
            return Err(super::super::route::unsupported_verb());
        }
        let statuses = self.components().await;
        let found = statuses.into_iter().find(|s| object::name(s) == call.name);
        found.map(|s| Answer::new(200, Content::Object(s))).ok_or_else(|| call.row.not_found(call.name))
    }

    /// All components: what holds the state, under the name clients know.
    pub(in super::super) async fn components(&self) -> Vec<Value> {
        let (status, message, error) = match self.store.ready().await {
            Ok(()) => ("True", "ok".to_owned(), String::new()),
            Err(error) => ("False", String::new(), error),
        };
        let mut condition = json!({"type": "Healthy", "status": status});
        if !message.is_empty() {
            condition["message"] = message.into();
        }
        if !error.is_empty() {
            condition["error"] = error.into();
        }
        vec![json!({
            "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": "etcd-0"}, "conditions": [condition],
        })]
    }
}
