//! Removes tokens that were made for service accounts without being asked for and that nobody
//! uses: first they are marked invalid, and after the same time again they go.

use std::{collections::HashSet, time::Duration};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use knarr_component::store::Key;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

use crate::{
    context::Context,
    meta::{ignore_absent, label, name, namespace},
    service_account_token::secrets,
};

const PERIOD: Duration = Duration::from_secs(24 * 3600);
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// The API server writes here since when it notes the use of tokens.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";

#[derive(Debug, PartialEq)]
enum Step {
    Keep,
    /// Mark it invalid.
    Mark,
    Delete,
}

fn day(text: &str) -> Option<Timestamp> {
    let date: Date = text.parse().ok()?;
    date.to_zoned(TimeZone::UTC).ok().map(|midnight| midnight.timestamp())
}

/// What becomes of an unmounted token; `since` is when use began to be noted.
fn step(secret: &Secret, since: Timestamp, keep: Duration, now: Timestamp) -> Step {
    let used = label(&secret.metadata, LAST_USED).and_then(day).unwrap_or(since);
    if used.max(since) + keep > now {
        return Step::Keep;
    }
    match label(&secret.metadata, INVALID_SINCE).and_then(day) {
        None => Step::Mark,
        Some(marked) if marked + keep > now => Step::Keep,
        Some(_) => Step::Delete,
    }
}

/// Runs the controller: a look around every day.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let accounts = context.informers.get::<ServiceAccount>();
    let secrets = secrets(&context);
    // The shared informer leaves out which Secrets pods mount.
    let watch = async {
        futures::join!(accounts.synced(), secrets.synced());
        loop {
            if let Err(error) = clean(&context, &accounts.list(), &secrets).await {
                tracing::warn!("cannot clean up tokens of service accounts: {error:#}");
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    context.stop.run_until_cancelled(watch).await;
    Ok(())
}

async fn clean(
    context: &Context,
    accounts: &[std::sync::Arc<ServiceAccount>],
    secrets: &knarr_component::informer::Informer<Secret>,
) -> anyhow::Result<()> {
    let keep = context.args.legacy_service_account_token_clean_up_period;
    let now = Timestamp::now();
    let tracking = context.api::<ConfigMap>("kube-system").get_opt(TRACKING).await?;
    let since = tracking.and_then(|map| day(map.data?.get("since")?));
    let Some(since) = since.filter(|since| *since + keep <= now) else { return Ok(()) };
    for account in accounts {
        // Only those that an account lists were made without being asked for.
        for reference in account.secrets.iter().flatten() {
            let space = namespace(&account.metadata);
            let key = Key::new(space, reference.name.clone().unwrap_or_default());
            let Some(secret) = secrets.get(&key) else { continue };
            let step = step(&secret, since, keep, now);
            if step == Step::Keep || mounted(context, space).await?.contains(&key.name) {
                continue;
            }
            let api = context.api::<Secret>(space);
            if step == Step::Mark {
                let today = now.strftime("%Y-%m-%d").to_string();
                let patch = Patch::Merge(json!({"metadata": {
                    "uid": secret.metadata.uid, "labels": {INVALID_SINCE: today},
                }}));
                ignore_absent(api.patch(&key.name, &PatchParams::default(), &patch).await)?;
            } else {
                let precondition = Preconditions {
                    uid: secret.metadata.uid.clone(),
                    resource_version: secret.metadata.resource_version.clone(),
                };
                let parameters = DeleteParams::default().preconditions(precondition);
                ignore_absent(api.delete(name(&secret.metadata), &parameters).await)?;
            }
        }
    }
    Ok(())
}

/// Names of the Secrets that the pods of a namespace mount.
async fn mounted(context: &Context, space: &str) -> kube::Result<HashSet<String>> {
    let pods = context.api::<Pod>(space).list(&kube::api::ListParams::default()).await?;
    let volumes = pods.items.into_iter().flat_map(|pod| pod.spec.and_then(|spec| spec.volumes));
    Ok(volumes.flatten().filter_map(|volume| volume.secret?.secret_name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unused_tokens_go_in_two_steps() {
        let keep = Duration::from_secs(100 * 24 * 3600);
        let at = |text: &str| day(text).unwrap();
        let check = |used: Option<&str>, marked: Option<&str>, now: &str, expected: Step| {
            let secret = json!({"metadata": {"labels": {LAST_USED: used, INVALID_SINCE: marked}}});
            let mut secret = secret;
            let labels = secret["metadata"]["labels"].as_object_mut().unwrap();
            labels.retain(|_, value| !value.is_null());
            let secret = serde_json::from_value(secret).unwrap();
            assert_eq!(step(&secret, at("2026-01-01"), keep, at(now)), expected, "{used:?} {marked:?} {now}");
        };
        check(None, None, "2026-03-01", Step::Keep);
        check(None, None, "2026-05-01", Step::Mark);
        check(Some("2026-04-01"), None, "2026-05-01", Step::Keep);
        check(Some("2025-01-01"), None, "2026-05-01", Step::Mark);
        check(None, Some("2026-05-01"), "2026-06-01", Step::Keep);
        check(None, Some("2026-05-01"), "2026-10-01", Step::Delete);
        check(None, Some("soon"), "2026-10-01", Step::Mark);
    }
}
