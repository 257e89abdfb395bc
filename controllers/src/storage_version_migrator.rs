//! Writes all objects of a resource once more, so that they are stored as they would be stored today: in the storage
//! version, encrypted with the present key (KEP-4192). One StorageVersionMigration a resource runs at a time.
//!
//! The original reads the objects from its garbage collector's cache; here they are listed, page by page.

use std::{cmp::Ordering, sync::Arc};

use k8s_openapi::{
    api::storagemigration::v1beta1::{StorageVersionMigration, StorageVersionMigrationStatus},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta},
};
use knarr_api::gates;
use knarr_component::{
    informer::Informer,
    queue::Queue,
    runner::{Requeue, SyncResult},
    store::Key,
};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{
    context::Context,
    meta::{created, is_code, name, namespace, now, uid},
    resources::{Resource, discover},
};

const NAME: &str = "storage-version-migrator-controller";
/// Who owns what is said in definitions of custom resources.
const RUNNER: &str = "migration-runner-controller";
const RUNNING: &str = "Running";
const SUCCEEDED: &str = "Succeeded";
const FAILED: &str = "Failed";
const WORKERS: usize = 5;
/// Objects of a page.
const PAGE: u32 = 500;
/// Seconds for which a resource that is not served yet is waited for.
const NEW: i64 = 60;

fn is_true(migration: &StorageVersionMigration, kind: &str) -> bool {
    let conditions = migration.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn is_over(migration: &StorageVersionMigration) -> bool {
    is_true(migration, SUCCEEDED) || is_true(migration, FAILED)
}

fn same_resource(a: &StorageVersionMigration, b: &StorageVersionMigration) -> bool {
    let resource = |one: &StorageVersionMigration| one.spec.as_ref().map(|spec| spec.resource.clone());
    resource(a) == resource(b)
}

/// Whether it is this one's turn: none of its resource runs, and it has waited the longest.
fn is_next(migration: &StorageVersionMigration, all: &[Arc<StorageVersionMigration>]) -> bool {
    let rivals = || {
        all.iter().filter(|other| {
            name(&other.metadata) != name(&migration.metadata)
                && same_resource(other, migration)
                && !is_over(other)
        })
    };
    let earlier = |a: &ObjectMeta, b: &ObjectMeta| created(a).cmp(&created(b)).then(name(a).cmp(name(b)));
    is_true(migration, RUNNING)
        || rivals().all(|other| {
            !is_true(other, RUNNING) && earlier(&migration.metadata, &other.metadata) == Ordering::Less
        })
}

/// The migration with a condition; when it ends, it does not run any more.
fn with_condition(
    migration: &StorageVersionMigration,
    kind: &str,
    reason: &str,
    message: &str,
) -> StorageVersionMigration {
    let mut changed = migration.clone();
    let status = changed.status.get_or_insert_with(StorageVersionMigrationStatus::default);
    let conditions = status.conditions.get_or_insert_default();
    if kind != RUNNING {
        for running in conditions.iter_mut().filter(|condition| condition.type_ == RUNNING) {
            running.status = "False".to_owned();
            running.last_transition_time = now();
        }
    }
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(Condition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: now(),
        observed_generation: None,
    });
    changed
}

struct Controller {
    context: Context,
    migrations: Informer<StorageVersionMigration>,
}

/// Runs the controller, where its gate is on.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    if !gates::enabled("StorageVersionMigrator") {
        return Ok(());
    }
    let controller = Arc::new(Controller { migrations: context.informers.get(), context });
    let queue: Queue<Key> = Queue::new();
    let (added, migrations) = (queue.clone(), controller.migrations.clone());
    controller.migrations.on_change(move |change| {
        // The end of one is the turn of another.
        let all = migrations.list();
        let concerned = all.iter().filter(|other| same_resource(other, change.object()) && !is_over(other));
        concerned.for_each(|other| added.add(Key::of(&other.metadata)));
    });
    let synced = controller.migrations.synced();
    let context = controller.context.clone();
    context
        .work(NAME, synced, queue, WORKERS, move |key| {
            let controller = controller.clone();
            async move { controller.sync(key).await }
        })
        .await
}

impl Controller {
    async fn sync(&self, key: Key) -> SyncResult {
        let Some(known) = self.migrations.get(&key) else { return Ok(None) };
        if is_over(&known) || !is_next(&known, &self.migrations.list()) {
            return Ok(None);
        }
        // The cache may not show yet how it ended.
        let api = self.context.api_all::<StorageVersionMigration>();
        let Some(migration) = api.get_opt(&key.name).await? else { return Ok(None) };
        let Some(spec) = migration.spec.clone().filter(|_| !is_over(&migration)) else { return Ok(None) };
        let wanted = spec.resource;
        let group = wanted.group.as_str();
        let all = discover(&self.context.client).await?;
        let resource = all.iter().find(|one| one.api.group == group && one.api.plural == wanted.resource);
        let Some(resource) = resource.filter(|one| one.can(&["list", "patch"])) else {
            let age = now().0.as_second() - created(&migration.metadata).as_second();
            if age < NEW {
                return Ok(Some(Requeue::RateLimited));
            }
            self.end(&migration, FAILED, "StorageVersionMigrationFailed", "resource not found").await?;
            return Ok(None);
        };
        let migration = self.begin(&migration, resource).await?;
        let (kind, reason, message) = match self.rewrite(&migration, resource).await {
            Ok(()) => (SUCCEEDED, "StorageVersionMigrationSucceeded", ""),
            // Trouble that passes is no failure of the migration.
            Err(error) if is_passing(&error) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(migration = key.name, %error, "not migrated");
                (FAILED, "StorageVersionMigrationFailed", "migration encountered unhandled error")
            }
        };
        self.end_of_definition(resource, kind == SUCCEEDED).await?;
        self.end(&migration, kind, reason, message).await?;
        Ok(None)
    }

    /// Says that it runs, in the definition of a custom resource too, whose generation then must not change.
    async fn begin(
        &self,
        migration: &StorageVersionMigration,
        resource: &Resource,
    ) -> anyhow::Result<StorageVersionMigration> {
        if is_true(migration, RUNNING) {
            return Ok(migration.clone());
        }
        if let Some(definition) = self.definition(resource).await? {
            let message = format!("Migration {} is running", name(&migration.metadata));
            self.tell_definition(&definition, "True", "MigrationRunning", &message, None).await?;
        }
        let listed = resource.metadata(&self.context.client).list(&ListParams::default().limit(1)).await?;
        let mut running = with_condition(migration, RUNNING, "MigrationRunning", "The migration is running");
        let status = running.status.get_or_insert_with(StorageVersionMigrationStatus::default);
        status.resource_version = listed.metadata.resource_version;
        self.write(&running).await
    }

    /// Writes each object as it is; what was changed or deleted meanwhile needs no more.
    async fn rewrite(&self, migration: &StorageVersionMigration, resource: &Resource) -> kube::Result<()> {
        tracing::info!(migration = name(&migration.metadata), resource = resource.name(), "migrating");
        let all = resource.metadata(&self.context.client);
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let listed = all.list(&page).await?;
            for object in &listed.items {
                let meta = &object.metadata;
                let same: Value = json!({
                    "apiVersion": resource.api.api_version, "kind": resource.api.kind,
                    "metadata": {"uid": uid(meta), "resourceVersion": meta.resource_version},
                });
                let api = resource.objects(&self.context.client, namespace(meta));
                match api.patch(name(meta), &PatchParams::apply(NAME), &Patch::Apply(same)).await {
                    Err(error) if !is_code(&error, 409) && !is_code(&error, 404) => return Err(error),
                    _ => {}
                }
            }
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(()),
            }
        }
    }

    async fn end(
        &self,
        migration: &StorageVersionMigration,
        kind: &str,
        reason: &str,
        message: &str,
    ) -> anyhow::Result<()> {
        self.write(&with_condition(migration, kind, reason, message)).await.map(drop)
    }

    async fn write(&self, migration: &StorageVersionMigration) -> anyhow::Result<StorageVersionMigration> {
        let api = self.context.api_all::<StorageVersionMigration>();
        Ok(api.replace_status(name(&migration.metadata), &PostParams::default(), migration).await?)
    }

    async fn definition(&self, resource: &Resource) -> kube::Result<Option<CustomResourceDefinition>> {
        if resource.api.group.is_empty() {
            return Ok(None);
        }
        self.context.api_all::<CustomResourceDefinition>().get_opt(&resource.name()).await
    }

    /// After a success only the storage version is stored, unless the definition was changed meanwhile.
    async fn end_of_definition(&self, resource: &Resource, success: bool) -> anyhow::Result<()> {
        let Some(definition) = self.definition(resource).await? else { return Ok(()) };
        let began = definition.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let began = began.into_iter().find(|condition| condition.type_ == "StorageMigrating");
        let same =
            began.and_then(|condition| condition.observed_generation) == definition.metadata.generation;
        let stored = definition.spec.versions.iter().find(|version| version.storage);
        let stored = stored.filter(|_| success && same).map(|version| version.name.clone());
        let (reason, message) = match (success, same) {
            (true, true) => (
                "MigrationSucceeded",
                "The migration has succeeded and the stored versions have been updated",
            ),
            (true, false) => (
                "MigrationSucceeded",
                "The migration has succeeded but the stored versions have not been updated due to a generation mismatch",
            ),
            (false, _) => ("MigrationFailed", "The migration has failed"),
        };
        self.tell_definition(&definition, "False", reason, message, stored).await
    }

    async fn tell_definition(
        &self,
        definition: &CustomResourceDefinition,
        status: &str,
        reason: &str,
        message: &str,
        stored: Option<String>,
    ) -> anyhow::Result<()> {
        let mut changed = json!({"conditions": [{
            "type": "StorageMigrating", "status": status, "reason": reason, "message": message,
            "lastTransitionTime": now(), "observedGeneration": definition.metadata.generation,
        }]});
        if let Some(stored) = stored {
            changed["storedVersions"] = json!([stored]);
        }
        let patch = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "status": changed,
        });
        let api = self.context.api_all::<CustomResourceDefinition>();
        let params = PatchParams::apply(RUNNER).force();
        api.patch_status(name(&definition.metadata), &params, &Patch::Apply(patch)).await?;
        Ok(())
    }
}

/// Whether another try may help: the server is away or busy.
fn is_passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 410 | 429 | 500..),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(name: &str, second: i64, resource: &str, condition: &str) -> Arc<StorageVersionMigration> {
        let time = jiff::Timestamp::from_second(second).expect("a time").to_string();
        let conditions = match condition {
            "" => json!([]),
            kind => json!([{"type": kind, "status": "True", "reason": "R", "message": "",
                            "lastTransitionTime": time}]),
        };
        let object = json!({
            "metadata": {"name": name, "creationTimestamp": time},
            "spec": {"resource": {"group": "", "resource": resource}}, "status": {"conditions": conditions},
        });
        Arc::new(serde_json::from_value(object).expect("a migration"))
    }

    #[test]
    fn one_of_a_resource_runs_at_a_time() {
        let check = |all: &[Arc<StorageVersionMigration>], expected: &[&str]| {
            let next = all.iter().filter(|one| !is_over(one) && is_next(one, all));
            assert_eq!(next.map(|one| name(&one.metadata)).collect::<Vec<_>>(), expected);
        };
        let (a, b) = (migration("a", 2, "secrets", ""), migration("b", 1, "secrets", ""));
        check(&[a.clone(), b.clone(), migration("c", 9, "pods", "")], &["b", "c"]);
        check(&[a.clone(), migration("b", 1, "secrets", SUCCEEDED)], &["a"]);
        check(&[a.clone(), migration("b", 1, "secrets", FAILED)], &["a"]);
        check(&[migration("a", 2, "secrets", RUNNING), b], &["a"]);
        check(&[a, migration("z", 2, "secrets", "")], &["a"]);
    }

    #[test]
    fn what_ends_does_not_run() {
        let ended = with_condition(&migration("a", 1, "pods", RUNNING), SUCCEEDED, "R", "");
        assert!(is_over(&ended) && !is_true(&ended, RUNNING));
        assert_eq!(ended.status.expect("a status").conditions.expect("conditions").len(), 2);
    }
}
