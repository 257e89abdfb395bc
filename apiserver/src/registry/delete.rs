//! DELETE of one object: preconditions, grace, finalizers, and at last removal.
use super::answer::{Answer, Content};
use super::call::Call;
use super::negotiate;
use super::options::{DeleteOptions, FieldValidation, Propagation};
use super::update::MODIFIED;
use super::write::{ATTEMPTS, commit_status};
use super::{Registry, codec, encode, object};
use crate::admission::Operation;
use crate::storage::{CommitError, Group, Guard, Index, Stored, Write, WriteFacts};
use bytes::Bytes;
use knarr_api::Value;
use knarr_api::status::{Resource, Status};
use knarr_api::time::Timestamp;
use serde_json::json;
use std::sync::Arc;

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// How a deletion was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// By name.
    ByName,
    /// As one of a collection: admission is told no name.
    InCollection,
    /// By an eviction, which admission has let pass.
    ByEviction,
}

/// What deletion does to an object.
#[derive(Debug, PartialEq)]
enum Step {
    /// Nothing: it is already on its way.
    Keep,
    /// It is marked, and lives on until its grace or its finalizers end.
    Mark(Value),
    /// It is removed.
    Remove,
}

impl Registry {
    pub(super) async fn delete(&self, call: &Call<'_>, body: &[u8]) -> Result<Answer, Status> {
        let options = self.delete_options(call, body)?;
        self.delete_object(call, &options, Asked::ByName).await
    }

    /// `DeleteOptions` from the body, or from the query when there is none.
    pub(super) fn delete_options(&self, call: &Call<'_>, body: &[u8]) -> Result<DeleteOptions, Status> {
        if body.is_empty() {
            return DeleteOptions::from_query(&call.query);
        }
        let format = negotiate::body_format(call.headers)?;
        let decoded = codec::decode(self.api, None, format, body, FieldValidation::Ignore)?;
        let object = decoded.value.as_object().cloned().unwrap_or_default();
        if object.get("kind").is_some_and(|k| k != "DeleteOptions" && k != "") {
            return Err(Status::bad_request("decoded object cannot be converted to DeleteOptions"));
        }
        call.requested(&decoded.value);
        let mut options = DeleteOptions::from_object(&object)?;
        options.dry_run |= DeleteOptions::from_query(&call.query)?.dry_run;
        Ok(options)
    }

    pub(super) async fn delete_object(
        &self,
        call: &Call<'_>,
        options: &DeleteOptions,
        asked: Asked,
    ) -> Result<Answer, Status> {
        let mut turn = None;
        let mut admitted = asked == Asked::ByEviction;
        for attempt in 0..ATTEMPTS {
            if attempt == 1 {
                turn = Some(self.store.lock(&call.key()).await);
            }
            let existing = self.find(call).await?;
            let old = codec::read(&call.row.api, call.row, &existing)?;
            check_preconditions(call, options, &existing, &old)?;
            if !std::mem::replace(&mut admitted, true) {
                self.admit_delete(call, options, &old, asked).await?;
            }
            let mut step = plan(call, options, &old, Timestamp::now());
            if asked == Asked::ByEviction
                && let Step::Mark(value) = &mut step
            {
                tell_eviction(value, &old, Timestamp::now());
            }
            if options.dry_run {
                return Ok(self.deleted(call, &old, matches!(step, Step::Remove)));
            }
            let outcome = match step {
                Step::Keep => return Ok(Answer::new(200, Content::Stored(existing))),
                Step::Mark(mut value) => {
                    codec::settle(&call.row.api, &call.row.stored, &mut value)?;
                    let outgoing = call.row.outgoing(&mut value).await?;
                    match self.mark(&existing, outgoing).await {
                        Ok(stored) => {
                            let stored = call.row.incoming(stored).await?;
                            Ok(Answer::new(200, Content::Stored(stored)))
                        }
                        Err(error) => Err(error),
                    }
                }
                Step::Remove => {
                    self.remove(call, &existing, &old).await.map(|()| self.deleted(call, &old, true))
                }
            };
            match outcome {
                Ok(answer) => {
                    drop(turn);
                    return Ok(answer);
                }
                Err(CommitError::Guard { index: 0, .. }) if options.resource_version.is_some() => {
                    return Err(Status::conflict(call.row.subject(), call.name, MODIFIED));
                }
                Err(CommitError::Guard { .. }) => {}
                Err(error) => return Err(commit_status(&error)),
            }
        }
        Err(Status::conflict(call.row.subject(), call.name, MODIFIED))
    }

    async fn admit_delete(
        &self,
        call: &Call<'_>,
        options: &DeleteOptions,
        old: &Value,
        asked: Asked,
    ) -> Result<(), Status> {
        let mut attributes = self.attributes(call, Operation::Delete, call.name);
        if asked == Asked::InCollection {
            attributes.name = "";
        }
        attributes.dry_run = options.dry_run;
        attributes.options = options.document();
        attributes.old = Some(encode::serve(call.row, old.clone()));
        self.admission.admit(&mut attributes).await?;
        self.admission.validate(&attributes).await
    }

    async fn mark(
        &self,
        existing: &Arc<Stored>,
        (bytes, index): (Bytes, Index),
    ) -> Result<Arc<Stored>, CommitError> {
        let group = Group::update(existing.key.clone(), existing.revision, bytes);
        let facts = vec![WriteFacts { index: Some(index), previous: Some(existing.clone()) }];
        let changes = self.store.commit_with(group, facts).await?;
        let own = changes.first().and_then(|c| c.current.clone());
        own.ok_or_else(|| CommitError::Invalid("the commit returned no object".to_owned()))
    }

    async fn remove(&self, call: &Call<'_>, existing: &Arc<Stored>, old: &Value) -> Result<(), CommitError> {
        let mut group = Group::remove(existing.key.clone(), existing.revision);
        let released = self.release(call, old);
        group.guards.extend(released.guards);
        group.writes.extend(released.writes);
        debug_assert!(
            matches!(group.writes[0], Write::Delete { .. }) && matches!(group.guards[0], Guard::At(..))
        );
        let facts = vec![WriteFacts { index: None, previous: Some(existing.clone()) }];
        self.store.commit_with(group, facts).await.map(drop)
    }

    /// The answer about a deleted object: the object for kinds whose clients expect it, else `Status` Success.
    fn deleted(&self, call: &Call<'_>, old: &Value, removed: bool) -> Answer {
        if call.row.rules.returns_deleted || !removed {
            return Answer::new(200, Content::Object(encode::serve(call.row, old.clone())));
        }
        let mut details = json!({"name": call.name, "kind": &*call.row.kind.plural, "uid": object::uid(old)});
        if !call.row.kind.gvk.group.is_empty() {
            details["group"] = (*call.row.kind.gvk.group).into();
        }
        Answer::new(
            200,
            Content::Document(json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
            })),
        )
    }
}

fn check_preconditions(
    call: &Call<'_>,
    options: &DeleteOptions,
    existing: &Stored,
    old: &Value,
) -> Result<(), Status> {
    // Here, other than elsewhere, the original names the kind rather than the resource.
    let gvk = &call.row.kind.gvk;
    let subject = Resource { group: &gvk.group, plural: &gvk.kind };
    if let Some(uid) = &options.uid
        && uid != object::uid(old)
    {
        let text = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            object::uid(old)
        );
        return Err(Status::conflict(subject, call.name, text));
    }
    if let Some(version) = &options.resource_version
        && *version != existing.revision.to_string()
    {
        let text = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
            existing.revision
        );
        return Err(Status::conflict(subject, call.name, text));
    }
    Ok(())
}

/// Decides what happens to an object whose deletion is asked for.
fn plan(call: &Call<'_>, options: &DeleteOptions, old: &Value, now: Timestamp) -> Step {
    let rules = call.row.rules;
    if &*call.row.resource == "core/namespaces" {
        return plan_namespace(options, rules.propagation, old, now);
    }
    let deleting = object::deleting(old);
    let mut value = old.clone();
    if !deleting {
        rules.strategy.begin_deletion(&mut value, now);
    }
    let finalizers_change = set_finalizers(&mut value, options.propagation, rules.propagation);
    let finalized = object::finalizers(&value).is_empty();
    let grace = rules.strategy.grace(old, options.grace_period_seconds);
    if deleting {
        let left = object::deletion_grace(old).unwrap_or(0);
        if left > 0 {
            return match (grace, options.grace_period_seconds) {
                (Some(_), Some(asked)) if asked < left => shorten(value, asked, left, finalized),
                _ => Step::Keep,
            };
        }
        return match (finalized, finalizers_change) {
            (true, _) => Step::Remove,
            (false, true) => Step::Mark(value),
            (false, false) => Step::Keep,
        };
    }
    let seconds = grace.unwrap_or(0);
    if finalized && seconds == 0 {
        return Step::Remove;
    }
    mark(&mut value, now, seconds);
    Step::Mark(value)
}

/// Says in the conditions of a pod that it is deleted because of an eviction.
fn tell_eviction(pod: &mut Value, old: &Value, now: Timestamp) {
    let condition = serde_json::json!({
        "type": "DisruptionTarget",
        "observedGeneration": object::generation(old),
        "status": "True",
        "lastProbeTime": null,
        "lastTransitionTime": object::time(now),
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    });
    let conditions =
        object::child_mut(pod, "status").entry("conditions").or_insert_with(|| Value::Array(vec![]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|other| other["type"] != condition["type"]);
        conditions.push(condition);
    }
}

/// A Namespace is marked and waits for its contents to be gone.
fn plan_namespace(
    options: &DeleteOptions,
    default: Option<Propagation>,
    old: &Value,
    now: Timestamp,
) -> Step {
    let mut value = old.clone();
    let changed = set_finalizers(&mut value, options.propagation, default);
    if !object::deleting(old) {
        object::set_meta(&mut value, "deletionTimestamp", Some(object::time(now)));
        object::child_mut(&mut value, "status").insert("phase".into(), "Terminating".into());
        return Step::Mark(value);
    }
    let empty =
        object::list(&value, &["spec", "finalizers"]).is_empty() && object::finalizers(&value).is_empty();
    match (empty, changed) {
        (true, _) => Step::Remove,
        (false, true) => Step::Mark(value),
        (false, false) => Step::Keep,
    }
}

/// A shorter grace counts from when the deletion was first asked for.
fn shorten(mut value: Value, asked: i64, left: i64, finalized: bool) -> Step {
    if asked == 0 && finalized {
        return Step::Remove;
    }
    let time = object::meta_text(&value, "deletionTimestamp");
    if let Ok(time) = Timestamp::parse(time) {
        object::set_meta(
            &mut value,
            "deletionTimestamp",
            Some(object::time(time.plus_seconds(asked - left))),
        );
    }
    object::set_meta(&mut value, "deletionGracePeriodSeconds", Some(asked.into()));
    Step::Mark(value)
}

fn mark(value: &mut Value, now: Timestamp, seconds: i64) {
    object::set_meta(value, "deletionTimestamp", Some(object::time(now.plus_seconds(seconds))));
    object::set_meta(value, "deletionGracePeriodSeconds", Some(seconds.into()));
    let generation = object::generation(value);
    if generation > 0 {
        object::set_meta(value, "generation", Some((generation + 1).into()));
    }
}

/// Sets the finalizers that garbage collection works by; returns whether they changed.
fn set_finalizers(value: &mut Value, asked: Option<Propagation>, default: Option<Propagation>) -> bool {
    let before: Vec<String> = object::finalizers(value).into_iter().map(str::to_owned).collect();
    let has = |name: &str| before.iter().any(|f| f == name);
    let wanted = match (default, asked) {
        (None, _) => None,
        (_, Some(Propagation::Orphan)) => Some(ORPHAN),
        (_, Some(Propagation::Foreground)) => Some(FOREGROUND),
        (_, Some(Propagation::Background)) => None,
        _ if has(ORPHAN) => Some(ORPHAN),
        _ if has(FOREGROUND) => Some(FOREGROUND),
        (Some(Propagation::Orphan), None) => Some(ORPHAN),
        _ => None,
    };
    let mut after: Vec<String> =
        before.iter().filter(|f| *f != ORPHAN && *f != FOREGROUND).cloned().collect();
    after.extend(wanted.map(str::to_owned));
    let changed = before.len() != after.len() || before.iter().any(|f| !after.contains(f));
    if changed {
        object::set_meta(value, "finalizers", (!after.is_empty()).then(|| json!(after)));
    }
    changed
}
