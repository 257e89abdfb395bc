//! ResourceQuota: what a namespace's quotas do not leave room for is refused; what they do is charged to them.
//!
//! The charge is a write of the quota's `status.used` in the commit group of the object, guarded by the quota's
//! revision: of writes that race for the last of a quota one is stored, and the others are admitted anew.
mod limited;

use super::config::Configurations;
use super::{Attributes, Operation, Plugin};
use crate::config_file::ConfigError;
use crate::objects::Objects;
use crate::registry::codec;
use crate::storage::{Guard, Key, Revision, Write};
use crate::strategy::Companions;
use async_trait::async_trait;
use knarr_api::quantity::Quantity;
use knarr_api::quota::{self, Usage};
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use knarr_api::{Value, table};
use limited::LimitedResource;
use std::sync::Arc;

const NAME: &str = "ResourceQuota";

/// How keys of quotas begin.
const QUOTAS: &str = "core/resourcequotas";

/// The plugin.
pub struct ResourceQuota {
    /// Where quotas are looked up.
    objects: Arc<dyn Objects>,
    limited: Vec<LimitedResource>,
}

impl ResourceQuota {
    /// The plugin with its configuration.
    ///
    /// # Errors
    /// A limit on no resource.
    pub fn new(objects: Arc<dyn Objects>, configurations: &Configurations) -> Result<Self, ConfigError> {
        let limited = limited::load(configurations, NAME)?;
        Ok(Self { objects, limited })
    }
}

#[async_trait]
impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        let (group, plural) = (&*attributes.kind.gvk.group, &*attributes.kind.plural);
        // Events tell of refusals too; they would never end.
        if !attributes.kind.namespaced || plural == "events" {
            return false;
        }
        match (operation, attributes.subresource) {
            (Operation::Create, "") => true,
            (Operation::Update, "") => {
                group.is_empty() && matches!(plural, "services" | "persistentvolumeclaims")
            }
            (Operation::Update, "resize") => attributes.kind.gvk.group.is_empty() && plural == "pods",
            _ => false,
        }
    }

    async fn charge(&self, attributes: &Attributes<'_>) -> Result<Companions, Status> {
        let mut companions = Companions::default();
        let Some(new) = &attributes.object else { return Ok(companions) };
        let now = Timestamp::now();
        let quotas = self.objects.list("", "resourcequotas", Some(attributes.namespace));
        let resource = (&*attributes.kind.gvk.group, &*attributes.kind.plural);
        let write = limited::Written { resource, new, old: attributes.old.as_ref(), now };
        limited::check(&self.limited, &quotas, &write).map_err(|uncovered| uncovered.refusal(attributes))?;
        for quota in quotas {
            let used = charge(&quota, resource, new, attributes.old.as_ref(), now)
                .map_err(|refusal| attributes.forbidden(refusal))?;
            if used.is_some() || is_awaited(&quota, resource) {
                let (guard, write) = charged(&quota, used.as_ref())?;
                companions.guards.push(guard);
                companions.writes.push(write);
            }
        }
        Ok(companions)
    }
}

/// Whether the status of a quota, which is about to be counted for the first time, will name something of this resource.
/// Then an object is charged nothing, but the quota is written along with it, as it is: who has counted before must
/// count again.
fn is_awaited(quota: &Value, resource: (&str, &str)) -> bool {
    let hard = |part: &str| quota::amounts(&quota[part]["hard"]);
    let known = hard("status");
    hard("spec").keys().any(|name| quota::counted(name) == resource && !known.contains_key(name))
}

/// What `status.used` of a quota becomes by a write of `new` over `old`; none when it stays as it is.
///
/// # Errors
/// The refusal, as the original words it.
fn charge(
    quota: &Value,
    (group, plural): (&str, &str),
    new: &Value,
    old: Option<&Value>,
    now: Timestamp,
) -> Result<Option<Usage>, String> {
    let (spec, status) = (&quota["spec"], &quota["status"]);
    let name = quota["metadata"]["name"].as_str().unwrap_or_default();
    let mut hard = quota::amounts(&status["hard"]);
    hard.retain(|name, _| quota::counted(name) == (group, plural));
    if hard.is_empty() {
        return Ok(None);
    }
    if old.is_none()
        && quota::in_scopes(spec, group, plural, new)
        && let Some(missing) = quota::missing(&status["hard"], group, plural, new)
    {
        return Err(format!("failed quota: {name}: must specify {missing}"));
    }
    let of = |object: &Value| quota::charged(spec, &status["hard"], (group, plural), object, now);
    let mut delta = of(new);
    if let Some(old) = old {
        let before = of(old).into_iter().map(|(name, amount)| (name, -amount)).collect();
        quota::add(&mut delta, before);
    }
    delta.retain(|_, amount| !amount.is_zero());
    if delta.is_empty() {
        return Ok(None);
    }
    let mut used = quota::amounts(&status["used"]);
    let unknown: Vec<&str> =
        delta.keys().map(String::as_str).filter(|name| !used.contains_key(*name)).collect();
    if !unknown.is_empty() {
        return Err(format!("status unknown for quota: {name}, resources: {}", unknown.join(",")));
    }
    let before = used.clone();
    quota::add(&mut used, delta.clone());
    let is_exceeded = |name: &String, amount: &Quantity| {
        amount.sign() > 0 && hard.get(name).is_some_and(|most| used.get(name).is_some_and(|sum| sum > most))
    };
    let exceeded: Vec<&String> =
        delta.iter().filter(|(name, amount)| is_exceeded(name, amount)).map(|(name, _)| name).collect();
    if !exceeded.is_empty() {
        let show = |amounts: &Usage| {
            let shown = exceeded.iter().map(|name| {
                let amount = amounts.get(*name).copied().unwrap_or_default();
                format!("{name}={amount}")
            });
            shown.collect::<Vec<_>>().join(",")
        };
        return Err(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            show(&delta),
            show(&before),
            show(&hard)
        ));
    }
    // The recount may not have seen what is given back here.
    used.retain(|name, _| before.contains_key(name));
    for amount in used.values_mut().filter(|amount| amount.sign() < 0) {
        *amount = Quantity::from_int(0, amount.format());
    }
    Ok(Some(used))
}

/// The write of a quota, with other usage where that is given, and its guard.
fn charged(quota: &Value, used: Option<&Usage>) -> Result<(Guard, Write), Status> {
    let text = |field: &str| quota["metadata"][field].as_str().unwrap_or_default();
    let key = Key::new(QUOTAS, text("namespace"), text("name"));
    let revision = Revision(text("resourceVersion").parse().map_err(Status::internal)?);
    let mut quota = quota.clone();
    if let Some(used) = used {
        let used = used.iter().map(|(name, amount)| (name.clone(), Value::from(amount.to_string())));
        quota["status"]["used"] = Value::Object(used.collect());
    }
    let api = table::builtin();
    let kind = api.kinds.iter().find(|kind| &*kind.gvk.kind == "ResourceQuota");
    let kind = kind.ok_or_else(|| Status::internal("no kind ResourceQuota"))?;
    let value = codec::canonical(api, kind, &mut quota)?;
    Ok((Guard::At(key.clone(), revision), Write::Put { key, value, expires: None }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn quota(spec: Value, hard: Value, used: Value) -> Value {
        json!({"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}})
    }

    fn pod(requests: Value) -> Value {
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": requests}}]}})
    }

    /// Charges a write; the expectation is the usage afterwards as text, nothing, or the refusal.
    #[track_caller]
    fn check(
        quota: &Value,
        resource: (&str, &str),
        new: &Value,
        old: Option<&Value>,
        expected: Result<Option<&str>, &str>,
    ) {
        let got = charge(quota, resource, new, old, Timestamp::now()).map(|used| {
            used.map(|used| used.iter().map(|(n, a)| format!("{n}={a}")).collect::<Vec<_>>().join(","))
        });
        assert_eq!(got.as_ref().map(Option::as_deref).map_err(String::as_str), expected);
    }

    #[test]
    fn pods_are_charged() {
        let small = quota(json!({}), json!({"pods": "2", "cpu": "1"}), json!({"pods": "1", "cpu": "500m"}));
        check(&small, ("", "pods"), &pod(json!({"cpu": "500m"})), None, Ok(Some("cpu=1,pods=2")));
        check(
            &small,
            ("", "pods"),
            &pod(json!({"cpu": "600m"})),
            None,
            Err("exceeded quota: q, requested: cpu=600m, used: cpu=500m, limited: cpu=1"),
        );
        check(&small, ("", "pods"), &pod(json!({})), None, Err("failed quota: q: must specify cpu for: c"));
        check(&small, ("", "secrets"), &json!({}), None, Ok(None));
        let scoped = quota(json!({"scopes": ["BestEffort"]}), json!({"pods": "0"}), json!({"pods": "0"}));
        check(&scoped, ("", "pods"), &pod(json!({"cpu": "1"})), None, Ok(None));
        check(
            &scoped,
            ("", "pods"),
            &pod(json!({})),
            None,
            Err("exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0"),
        );
    }

    #[test]
    fn counts_are_charged() {
        let apps = quota(
            json!({}),
            json!({"count/deployments.apps": "1", "count/pods": "1", "secrets": "1"}),
            json!({"count/deployments.apps": "0", "count/pods": "0"}),
        );
        let of_deployments = "count/deployments.apps=1,count/pods=0";
        check(&apps, ("apps", "deployments"), &json!({}), None, Ok(Some(of_deployments)));
        let of_pods = "count/deployments.apps=0,count/pods=1";
        check(&apps, ("", "pods"), &pod(json!({})), None, Ok(Some(of_pods)));
        let unknown = "status unknown for quota: q, resources: secrets";
        check(&apps, ("", "secrets"), &json!({}), None, Err(unknown));
    }

    #[test]
    fn a_quota_that_was_not_counted_yet_is_written() {
        let check = |hard: Value, resource: (&str, &str), expected: bool| {
            let quota = quota(json!({"hard": {"pods": "1", "count/secrets": "1"}}), hard, json!({}));
            assert_eq!(is_awaited(&quota, resource), expected, "{quota} {resource:?}");
        };
        check(Value::Null, ("", "pods"), true);
        check(Value::Null, ("", "secrets"), true);
        check(Value::Null, ("", "services"), false);
        check(json!({"pods": "2"}), ("", "pods"), false);
        check(json!({"pods": "2"}), ("", "secrets"), true);
    }

    #[test]
    fn updates_are_charged_by_their_difference() {
        let full = quota(
            json!({}),
            json!({"services": "1", "services.nodeports": "1"}),
            json!({"services": "1", "services.nodeports": "1"}),
        );
        let service =
            |kind: &str, ports: usize| json!({"spec": {"type": kind, "ports": vec![json!({}); ports]}});
        let one = service("NodePort", 1);
        check(&full, ("", "services"), &one, Some(&one), Ok(None));
        let freed = "services=1,services.nodeports=0";
        check(&full, ("", "services"), &service("ClusterIP", 1), Some(&one), Ok(Some(freed)));
        let more = "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: \
                    services.nodeports=1";
        check(&full, ("", "services"), &service("NodePort", 2), Some(&one), Err(more));
    }
}
