//! EventRateLimit: so many events a second from the server as a whole, a namespace, a user or about one object.
use super::config::Configurations;
use super::{Attributes, Operation, Plugin};
use crate::config_file::ConfigError;
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::HashMap;
use std::time::Instant;

const NAME: &str = "EventRateLimit";
/// Buckets kept of one limit where its configuration does not say.
const CACHE: usize = 4096;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
enum Kind {
    Server,
    Namespace,
    User,
    SourceAndObject,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Configuration {
    #[serde(default)]
    limits: Vec<Limit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Limit {
    r#type: Kind,
    qps: i32,
    burst: i32,
    #[serde(default)]
    cache_size: i32,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

struct Enforcer {
    limit: Limit,
    buckets: Mutex<HashMap<String, Bucket>>,
}

/// The plugin.
pub struct EventRateLimit {
    enforcers: Vec<Enforcer>,
}

impl EventRateLimit {
    /// The plugin with the limits of its configuration.
    ///
    /// # Errors
    /// No limits, or ones that cannot be.
    pub fn new(configurations: &Configurations, is_enabled: bool) -> Result<Self, ConfigError> {
        let versions = ["eventratelimit.admission.k8s.io/v1alpha1"];
        let found: Option<Configuration> = configurations.of(NAME, "Configuration", &versions)?;
        let found = match found {
            Some(found) => found,
            None if is_enabled => Configuration { limits: Vec::new() },
            None => return Ok(Self { enforcers: Vec::new() }),
        };
        if found.limits.is_empty() {
            return Err(configurations.invalid(NAME, "limits: Invalid value: must not be empty"));
        }
        for (index, limit) in found.limits.iter().enumerate() {
            for (field, value) in [("burst", limit.burst), ("qps", limit.qps)] {
                if value <= 0 {
                    let text = format!("limits[{index}].{field}: Invalid value: {value}: must be positive");
                    return Err(configurations.invalid(NAME, text));
                }
            }
        }
        let enforcers = found.limits.into_iter().map(|limit| Enforcer { limit, buckets: Mutex::default() });
        Ok(Self { enforcers: enforcers.collect() })
    }
}

impl Enforcer {
    fn key(&self, attributes: &Attributes<'_>) -> String {
        match self.limit.r#type {
            Kind::Server => String::new(),
            Kind::Namespace => attributes.namespace.to_owned(),
            Kind::User => attributes.user.name.clone(),
            Kind::SourceAndObject => {
                let event = attributes.object.as_ref().unwrap_or(&Value::Null);
                let (source, object) = match event.get("regarding") {
                    Some(regarding) => (&event["deprecatedSource"], regarding),
                    None => (&event["source"], &event["involvedObject"]),
                };
                let parts = [
                    &source["component"],
                    &source["host"],
                    &object["kind"],
                    &object["namespace"],
                    &object["name"],
                    &object["uid"],
                    &object["apiVersion"],
                ];
                parts.map(|part| part.as_str().unwrap_or_default()).concat()
            }
        }
    }

    fn takes(&self, key: &str, now: Instant) -> bool {
        let (rate, burst) = (f64::from(self.limit.qps), f64::from(self.limit.burst));
        let size = usize::try_from(self.limit.cache_size).ok().filter(|size| *size > 0).unwrap_or(CACHE);
        let mut buckets = self.buckets.lock();
        if buckets.len() >= size && !buckets.contains_key(key) {
            // The longest unused one goes.
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.at).map(|(key, _)| key.clone());
            oldest.map(|oldest| buckets.remove(&oldest));
        }
        let bucket = buckets.entry(key.to_owned()).or_insert(Bucket { tokens: burst, at: now });
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * rate;
        bucket.tokens = (bucket.tokens + gained).min(burst);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

#[async_trait]
impl Plugin for EventRateLimit {
    fn name(&self) -> &'static str {
        NAME
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && &*attributes.kind.plural == "events"
            && matches!(&*attributes.kind.gvk.group, "" | "events.k8s.io")
    }

    async fn validate(&self, attributes: &Attributes<'_>) -> Result<(), Status> {
        // What is only tried costs nothing.
        if attributes.dry_run {
            return Ok(());
        }
        let now = Instant::now();
        let mut refused = Vec::new();
        for enforcer in &self.enforcers {
            let key = enforcer.key(attributes);
            if !enforcer.takes(&key, now) {
                refused.push(format!("limit reached on type {:?} for key {key}", enforcer.limit.r#type));
            }
        }
        match refused.as_slice() {
            [] => Ok(()),
            [one] => Err(Status::too_many_requests(one.clone(), 0)),
            many => Err(Status::too_many_requests(format!("[{}]", many.join(", ")), 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn buckets() {
        let limit = Limit { r#type: Kind::Namespace, qps: 1, burst: 2, cache_size: 2 };
        let enforcer = Enforcer { limit, buckets: Mutex::default() };
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let taken: Vec<bool> = [("a", 0), ("a", 0), ("a", 0), ("b", 0), ("a", 1), ("a", 1)]
            .map(|(key, time)| enforcer.takes(key, at(time)))
            .into();
        assert_eq!(taken, [true, true, false, true, true, false]);
        // A third key pushes out the one unused longest.
        assert!(enforcer.takes("c", at(2)));
        assert!(!enforcer.buckets.lock().contains_key("b"));
    }
}
