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

    /// All components; what holds the state goes under the name clients know.
    pub(in super::super) async fn components(&self) -> Vec<Value> {
        let state = async { self.store.ready().await.map(|()| "ok".to_owned()) };
        let (mut all, state) = tokio::join!(self.hooks.components(), state);
        all.push(("etcd-0".to_owned(), state));
        all.into_iter().map(|(name, answer)| component(&name, answer)).collect()
    }
}

fn component(name: &str, answer: Result<String, String>) -> Value {
    let (status, message) = match answer {
        Ok(message) => ("True", message),
        Err(message) => ("False", message),
    };
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": status, "message": message}],
    })
}
