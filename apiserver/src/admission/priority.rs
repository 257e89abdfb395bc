//! Priority: pods get the number and preemption policy of their PriorityClass, or of the default class; there is one
//! default class at most.
use super::{Attributes, Operation, Plugin};
use crate::objects::Objects;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;
use knarr_api::validation::SYSTEM_CLASSES;
use serde_json::json;
use std::sync::Arc;

const GROUP: &str = "scheduling.k8s.io";
const PREEMPT: &str = "PreemptLowerPriority";

/// The plugin.
pub struct Priority {
    /// Where classes are looked up.
    pub objects: Arc<dyn Objects>,
}

#[async_trait]
impl Plugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        let written = matches!(operation, Operation::Create | Operation::Update);
        let is_class = attributes.is(GROUP, "priorityclasses");
        written && (attributes.is("", "pods") || is_class) || operation == Operation::Delete && is_class
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        if !attributes.is("", "pods") {
            return Ok(());
        }
        let Some(mut pod) = attributes.object.take() else { return Ok(()) };
        let outcome = match attributes.operation {
            Operation::Update => {
                keep(attributes, &mut pod);
                Ok(())
            }
            _ => self.resolve(attributes, &mut pod),
        };
        attributes.object = Some(pod);
        outcome
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        if attributes.operation == Operation::Delete {
            let is_system = SYSTEM_CLASSES.iter().any(|(known, _)| *known == attributes.name);
            let refusal = || attributes.forbidden("this is a system priority class and cannot be deleted");
            return if is_system { Err(refusal()) } else { Ok(()) };
        }
        let Some(class) = attributes.object.as_ref().filter(|_| attributes.is(GROUP, "priorityclasses"))
        else {
            return Ok(());
        };
        if class["globalDefault"] != true {
            return Ok(());
        }
        match self.default_class() {
            Some(other) if other["metadata"]["name"] != class["metadata"]["name"] => {
                let name = other["metadata"]["name"].as_str().unwrap_or_default();
                Err(attributes.forbidden(format!(
                    "PriorityClass {name} is already marked as default. Only one default can exist"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl Priority {
    fn resolve(&self, attributes: &Attributes<'_>, pod: &mut Value) -> Result<(), Status> {
        let asked = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
        let class = if asked.is_empty() {
            self.default_class()
        } else {
            let class = self.objects.get(GROUP, "priorityclasses", "", &asked);
            let missing = || attributes.forbidden(format!("no PriorityClass with name {asked} was found"));
            Some(class.ok_or_else(missing)?)
        };
        let (priority, policy) = match &class {
            Some(class) => (class["value"].as_i64().unwrap_or_default(), class["preemptionPolicy"].as_str()),
            None => (0, None),
        };
        if asked.is_empty()
            && let Some(class) = &class
        {
            pod["spec"]["priorityClassName"] = class["metadata"]["name"].clone();
        }
        if pod["spec"]["priority"].as_i64().is_some_and(|given| given != priority) {
            return Err(attributes.forbidden(format!(
                "the integer value of priority ({}) must not be provided in pod spec; priority admission controller \
                 computed {priority} from the given PriorityClass name",
                pod["spec"]["priority"]
            )));
        }
        pod["spec"]["priority"] = json!(priority);
        let policy = policy.unwrap_or(PREEMPT);
        if pod["spec"]["preemptionPolicy"].as_str().is_some_and(|given| given != policy) {
            let given = pod["spec"]["preemptionPolicy"].as_str().unwrap_or_default();
            return Err(attributes.forbidden(format!(
                "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission \
                 controller computed {policy} from the given PriorityClass name"
            )));
        }
        pod["spec"]["preemptionPolicy"] = json!(policy);
        Ok(())
    }

    /// The default class; should there be several, the one of the least value.
    fn default_class(&self) -> Option<Arc<Value>> {
        let classes = self.objects.list(GROUP, "priorityclasses", None);
        classes
            .into_iter()
            .filter(|c| c["globalDefault"] == true)
            .min_by_key(|c| c["value"].as_i64().unwrap_or_default())
    }
}

/// Updates that leave the resolved fields out keep them.
fn keep(attributes: &Attributes<'_>, pod: &mut Value) {
    let Some(old) = &attributes.old else { return };
    for field in ["priority", "preemptionPolicy"] {
        if pod["spec"][field].is_null() && !old["spec"][field].is_null() {
            pod["spec"][field] = old["spec"][field].clone();
        }
    }
}
