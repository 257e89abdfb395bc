//! Taints keep pods away that do not tolerate them.
use crate::node::NodeInfo;
use crate::plugin::{Event, Filter, Normalize, Prepared, Rating, Refusal, Score};
use crate::pod::PodView;
use crate::world::World;
use k8s_openapi::api::core::v1::{Taint, Toleration};

/// Taints and tolerations.
pub struct TaintToleration;

/// Whether a toleration covers a taint.
///
/// Source: API documentation of `Toleration`: an empty key with `Exists` covers all, an empty effect covers every
/// effect.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if !(effect.is_empty() || effect == taint.effect) || !(key.is_empty() || key == taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => {
            toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default()
        }
        _ => false,
    }
}

fn untolerated<'n>(pod: &PodView, info: &'n NodeInfo, effects: &[&str]) -> impl Iterator<Item = &'n Taint> {
    let covered = |taint: &Taint| pod.tolerations.iter().any(|toleration| tolerates(toleration, taint));
    let matching = info.node.taints.iter().filter(|taint| effects.contains(&taint.effect.as_str()));
    matching.filter(|taint| !covered(taint)).collect::<Vec<_>>().into_iter()
}

impl Filter for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World) -> Prepared<'a> {
        Prepared::check(|info| {
            let mut taints = untolerated(pod, info, &["NoSchedule", "NoExecute"]);
            let taint = taints.next();
            taint.map(|_| Refusal::lasting("node(s) had untolerated taint(s)"))
        })
    }

    fn events(&self) -> &'static [Event] {
        &[Event::Node]
    }
}

impl Score for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, _: &'a World, _: &[&NodeInfo]) -> Option<Rating<'a>> {
        let score = |info: &NodeInfo| untolerated(pod, info, &["PreferNoSchedule"]).count() as i64;
        Some(Rating { score: Box::new(score), normalize: Normalize::Smaller })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toleration_rules() {
        let check = |toleration: serde_json::Value, taint: serde_json::Value, expected: bool| {
            let parsed = (serde_json::from_value(toleration.clone()), serde_json::from_value(taint.clone()));
            let (Ok(t), Ok(n)) = parsed else { panic!("{toleration} {taint}") };
            assert_eq!(tolerates(&t, &n), expected, "{toleration} {taint}");
        };
        let taint = || serde_json::json!({"key": "k", "value": "v", "effect": "NoSchedule"});
        check(serde_json::json!({"operator": "Exists"}), taint(), true);
        check(serde_json::json!({"key": "k", "operator": "Exists"}), taint(), true);
        check(serde_json::json!({"key": "k", "value": "v"}), taint(), true);
        check(serde_json::json!({"key": "k", "value": "w"}), taint(), false);
        check(serde_json::json!({"key": "k", "value": "v", "effect": "NoExecute"}), taint(), false);
        check(serde_json::json!({"key": "x", "operator": "Exists"}), taint(), false);
    }
}
