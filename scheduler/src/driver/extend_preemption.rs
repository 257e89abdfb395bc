//! Extenders in preemption: they see which pods would have to leave which node, and may spare nodes and pods.
use super::extend::{Connected, ExtenderError, lower_case};
use super::{Scheduler, Waiting};
use crate::algorithm::{Algorithm, Unschedulable};
use crate::pod::PodView;
use crate::preemption::{Eviction, smallest};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Instant;

impl Scheduler {
    /// Makes room as the extenders that choose victims allow; they are asked without holding the state.
    pub(super) async fn make_room_extended(
        &self,
        algorithm: &Algorithm,
        pod: &Arc<PodView>,
        failure: Box<Unschedulable>,
    ) -> Result<Waiting, ExtenderError> {
        let found = {
            let mut state = self.state.lock();
            algorithm.evictions(pod, state.cache.world_mut(), &failure)
        };
        let found = match found {
            Ok(found) => smallest(self.ask_about_victims(pod, found).await?),
            Err(no_room) => Err(no_room),
        };
        Ok(self.state.lock().put_off(pod, *failure, found, Instant::now()))
    }

    async fn ask_about_victims(
        &self,
        pod: &PodView,
        mut found: Vec<Eviction>,
    ) -> Result<Vec<Eviction>, ExtenderError> {
        let extenders = || self.extenders_for(pod).filter(|one| !one.settings.preempt_verb.is_empty());
        if extenders().next().is_none() {
            return Ok(found);
        }
        let object = self.whole_pod(pod).await?;
        for extender in extenders() {
            let arguments = self.victims(extender, &object, &found).await?;
            match extender.call(&extender.settings.preempt_verb, &arguments).await {
                Ok(answer) => {
                    let left = spared(&answer, &found);
                    found = left.map_err(|node| {
                        ExtenderError::NoVictims(extender.settings.url_prefix.clone(), node)
                    })?;
                }
                Err(error) if extender.settings.ignorable => {
                    tracing::warn!(%error, "extender ignored");
                    continue;
                }
                Err(error) => return Err(error),
            }
            if found.is_empty() {
                break;
            }
        }
        Ok(found)
    }

    /// Pod and victims, as an extender is sent them: identities for one that knows nodes, whole pods for others.
    async fn victims(
        &self,
        extender: &Connected,
        pod: &Value,
        found: &[Eviction],
    ) -> Result<Value, ExtenderError> {
        let mut by_node = Map::new();
        for eviction in found {
            let mut pods = Vec::new();
            for victim in &eviction.victims {
                pods.push(match extender.settings.node_cache_capable {
                    true => json!({"UID": victim.uid}),
                    false => self.whole_pod(victim).await?,
                });
            }
            let victims = json!({"Pods": pods, "NumPDBViolations": eviction.violations});
            by_node.insert(eviction.node.clone(), victims);
        }
        let (whole, meta) = match extender.settings.node_cache_capable {
            true => (Value::Null, Value::Object(by_node)),
            false => (Value::Object(by_node), Value::Null),
        };
        Ok(json!({"Pod": pod, "NodeNameToVictims": whole, "NodeNameToMetaVictims": meta}))
    }
}

/// What an extender has left of the ways to make room; the error is a node where it left no victim.
fn spared(answer: &Value, found: &[Eviction]) -> Result<Vec<Eviction>, String> {
    let nodes = answer["nodenametometavictims"].as_object();
    let mut left = Vec::new();
    for eviction in found {
        let Some(chosen) = nodes.and_then(|nodes| nodes.get(&eviction.node)) else { continue };
        let mut chosen = lower_case(chosen.clone());
        let pods = lower_case(chosen["pods"].take());
        let uids: Vec<&str> =
            pods.as_array().into_iter().flatten().filter_map(|pod| pod["uid"].as_str()).collect();
        let victims: Vec<Arc<PodView>> =
            eviction.victims.iter().filter(|victim| uids.contains(&victim.uid.as_str())).cloned().collect();
        if victims.is_empty() {
            return Err(eviction.node.clone());
        }
        let violations = chosen["numpdbviolations"].as_u64().unwrap_or_default();
        let violations = usize::try_from(violations).unwrap_or(usize::MAX);
        left.push(Eviction { node: eviction.node.clone(), victims, violations });
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pod;

    #[test]
    fn extenders_spare_nodes_and_pods() {
        let victim = |name: &str| Arc::new(pod(name, json!({"nodeName": "n"})));
        let found = [
            Eviction { node: "a".into(), victims: vec![victim("p"), victim("q")], violations: 1 },
            Eviction { node: "b".into(), victims: vec![victim("r")], violations: 0 },
        ];
        let check = |answer: Value, expected: Result<&str, &str>| {
            let left = spared(&answer, &found).map(|left| {
                let line = |one: &Eviction| {
                    let pods: Vec<&str> = one.victims.iter().map(|pod| pod.uid.as_str()).collect();
                    format!("{}:{}:{}", one.node, pods.join("+"), one.violations)
                };
                left.iter().map(line).collect::<Vec<_>>().join(" ")
            });
            assert_eq!(left.as_deref().map_err(String::as_str), expected, "{answer}");
        };
        check(
            json!({"nodenametometavictims": {"a": {"Pods": [{"UID": "q"}], "NumPDBViolations": 0},
                                             "b": {"pods": [{"uid": "r"}]}}}),
            Ok("a:q:0 b:r:0"),
        );
        check(json!({"nodenametometavictims": {"b": {"pods": [{"uid": "r"}]}}}), Ok("b:r:0"));
        check(json!({"nodenametometavictims": {"a": {"pods": []}}}), Err("a"));
        check(json!({}), Ok(""));
    }
}
