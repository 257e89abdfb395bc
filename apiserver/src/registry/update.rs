//! PUT, and the attempts that PUT and PATCH share.
use super::answer::{Answer, Content};
use super::call::Call;
use super::options::{WriteOptions, WriteVerb};
use super::ownership::Ownership;
use super::write::{ATTEMPTS, Ready, commit_status};
use super::{Registry, codec, create, encode, negotiate, object};
use crate::storage::{CommitError, Group, Guard, Stored, Write, WriteFacts};
use knarr_api::field::Error;
use knarr_api::status::Status;
use knarr_api::{Object, Value};
use std::sync::Arc;

/// The cause of a conflict with a newer version.
pub(super) const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

/// What a request wants an existing object to become.
pub(super) struct Wish {
    /// In the requested version, with its defaults.
    pub value: Value,
    /// Ownership is already in the object (server-side apply).
    pub applied: bool,
    /// Warnings of decoding.
    pub warnings: Vec<String>,
}

impl Registry {
    pub(super) async fn update(&self, call: &Call<'_>, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::decode(&call.query, call.headers, WriteVerb::Update, false)?;
        let format = negotiate::body_format(call.headers)?;
        let decode = || -> Result<codec::Decoded, Status> {
            let mut decoded = self.decode(call.row, format, body, options.field_validation)?;
            create::check_name(call, &decoded.value)?;
            create::set_namespace(call, &mut decoded.value)?;
            Ok(decoded)
        };
        let codec::Decoded { value: mut wanted, warnings } = decode()?;
        call.requested(&wanted);
        let creates = call.row.kind.create_on_update && call.subresource.is_empty();
        if creates && self.fetch(&call.key(), call.row.in_log).await?.is_none() {
            if !object::resource_version(&wanted).is_empty() {
                return Err(Status::conflict(call.row.subject(), call.name, MODIFIED));
            }
            self.hooks.may_create(call.context)?;
            object::set_meta(&mut wanted, "resourceVersion", None);
            let again = || decode().map(|d| d.value);
            let answer = self.create_object(call, &options, wanted, false, &again).await?;
            return Ok(answer.warn(warnings));
        }
        let versioned = !object::resource_version(&wanted).is_empty();
        let mut first = Some(wanted);
        let wish = |_: &Value| {
            let value = match first.take() {
                Some(wanted) => wanted,
                None => decode()?.value,
            };
            Ok(Wish { value, applied: false, warnings: Vec::new() })
        };
        Ok(self.change(call, &options, versioned, wish).await?.warn(warnings))
    }

    /// Reads, changes and writes the named object until nobody comes between. `wish` makes the wanted object from
    /// the present one in the requested version. `versioned`: the client named the version it changes, so losing
    /// against another write is its conflict.
    pub(super) async fn change(
        &self,
        call: &Call<'_>,
        options: &WriteOptions,
        versioned: bool,
        wish: impl FnMut(&Value) -> Result<Wish, Status> + Send,
    ) -> Result<Answer, Status> {
        self.change_owned(call, options, versioned, &Ownership::of(self.siblings(call)), wish).await
    }

    /// Like [`Registry::change`] where `wish` finds out who owns what in other versions.
    pub(super) async fn change_owned(
        &self,
        call: &Call<'_>,
        options: &WriteOptions,
        versioned: bool,
        versions: &Ownership<'_>,
        mut wish: impl FnMut(&Value) -> Result<Wish, Status> + Send,
    ) -> Result<Answer, Status> {
        let key = call.key();
        let mut turn = None;
        for attempt in 0..ATTEMPTS {
            if attempt == 1 {
                turn = Some(self.store.lock(&key).await);
            }
            let existing = self.find(call).await?;
            let old = codec::read(&call.row.api, call.row, &existing)?;
            let served = call.row.conversion.as_ref().map(|_| encode::serve(call.row, old.clone()));
            let wished = versions.settled(|| wish(served.as_ref().unwrap_or(&old))).await?;
            let Wish { value: mut wanted, applied, mut warnings } = wished?;
            if !call.row.kind.namespaced {
                object::set_meta(&mut wanted, "namespace", None);
            }
            check_versions(call, &mut wanted, &old, &existing)?;
            let ready = self.ready(call, options, wanted, Some(&old), applied).await?;
            warnings.extend(ready.warnings.iter().cloned());
            let same = ready.bytes == *existing.body() || same_but_times(&ready.value, &old);
            // What is encrypted with a former key or lies in a former version is written again, as in the original.
            let stale = self.store.encryption().is_some_and(|encryption| encryption.is_stale(&existing.key))
                || (same && self.is_of_former_version(call).await);
            if same && (!stale || options.dry_run) {
                drop(turn);
                return Ok(Answer::new(200, Content::Stored(existing)).warn(warnings));
            }
            if options.dry_run {
                let shown = encode::serve(call.row, ready.value);
                return Ok(Answer::new(200, Content::Object(shown)).warn(warnings));
            }
            match self.commit_change(call, &existing, &old, ready).await {
                Ok(Content::Stored(stored)) => {
                    let stored = call.row.incoming(stored).await?;
                    return Ok(Answer::new(200, Content::Stored(stored)).warn(warnings));
                }
                Ok(content) => return Ok(Answer::new(200, content).warn(warnings)),
                Err(CommitError::Guard { index: 0, .. }) if versioned => {
                    return Err(Status::conflict(call.row.subject(), call.name, MODIFIED));
                }
                Err(CommitError::Guard { .. }) => {}
                Err(error) => return Err(commit_status(&error)),
            }
        }
        Err(Status::conflict(call.row.subject(), call.name, MODIFIED))
    }

    /// Whether the database has a custom resource in a version that it would not be written in now; memory does not tell.
    async fn is_of_former_version(&self, call: &Call<'_>) -> bool {
        let several = call.row.custom().is_some()
            && call.row.api.kinds.iter().filter(|kind| !kind.plural.is_empty()).count() > 1;
        if !several {
            return false;
        }
        let stored = call.row.converter.as_ref().map_or(&call.row.stored, |converter| &converter.stored);
        let found = self.store.in_database(&call.key()).await.ok().flatten();
        let found = found.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
        found.is_some_and(|value| value["apiVersion"] != stored.gvk.api_version().as_str())
    }

    /// Writes the changed object, or removes it when this change took away the last thing that kept it.
    async fn commit_change(
        &self,
        call: &Call<'_>,
        existing: &Arc<Stored>,
        old: &Value,
        ready: Ready,
    ) -> Result<Content, CommitError> {
        let key = existing.key.clone();
        let at = Guard::At(key.clone(), existing.revision);
        if !vanishes(call, old, &ready.value) {
            let previous = Some(existing.clone());
            return self.commit(call, key, at, ready, previous, None).await.map(Content::Stored);
        }
        let mut group = Group::default().guard(at).delete(key);
        let released = self.release(call, &ready.value);
        group.guards.extend(released.guards);
        group.writes.extend(released.writes);
        let facts = vec![WriteFacts { index: None, previous: Some(existing.clone()) }];
        self.store.commit_with(group, facts).await?;
        Ok(Content::Object(encode::serve(call.row, ready.value)))
    }

    /// What is committed with the removal of an object. Failing to release must not keep an object alive.
    pub(super) fn release(&self, call: &Call<'_>, value: &Value) -> crate::strategy::Companions {
        let scene = crate::strategy::Scene {
            registry: self,
            kind: &call.row.kind,
            namespace: call.namespace,
            user: call.user(),
            verb: call.context.info.verb.as_str(),
            now: knarr_api::time::Timestamp::now(),
            dry_run: false,
        };
        let released = call.row.rules.strategy.companions(&scene, None, Some(value));
        let mut released = released.unwrap_or_default();
        released.writes.retain(|w| matches!(w, Write::Put { .. } | Write::Delete { .. }));
        released
    }
}

/// Is the object one that only waited for this change to be gone?
fn vanishes(call: &Call<'_>, old: &Value, new: &Value) -> bool {
    object::deleting(old)
        && object::deletion_grace(old).unwrap_or(0) == 0
        && object::finalizers(new).is_empty()
        && call.row.rules.strategy.may_vanish(new)
}

/// Optimistic concurrency, identity, and the metadata an update cannot change.
fn check_versions(call: &Call<'_>, wanted: &mut Value, old: &Value, existing: &Stored) -> Result<(), Status> {
    let row = call.row;
    let (given, stored) = (object::uid(wanted), object::uid(old));
    if !given.is_empty() && given != stored {
        let cause = row.other_uid(call.namespace, call.name, given, stored);
        return Err(Status::conflict(row.subject(), call.name, cause));
    }
    match object::resource_version(wanted) {
        "" | "0"
            if !row.kind.unconditional_update
                && call.context.info.verb == crate::request_info::Verb::Update =>
        {
            let error =
                Error::invalid("metadata.resourceVersion", &0.into(), "must be specified for an update");
            // Here, other than elsewhere, the original names the resource rather than the kind.
            return Err(Status::invalid(&row.kind.gvk.group, &row.kind.plural, call.name, &[error]));
        }
        "" | "0" => {}
        given if given == existing.revision.to_string() => {}
        given if given.parse::<u64>().is_err() => {
            let detail = format!("strconv.ParseUint: parsing {given:?}: invalid syntax");
            let error = Error::invalid("metadata.resourceVersion", &given.into(), detail);
            return Err(Status::invalid(&row.kind.gvk.group, &row.kind.gvk.kind, call.name, &[error]));
        }
        _ => return Err(Status::conflict(row.subject(), call.name, MODIFIED)),
    }
    for kept in ["uid", "creationTimestamp", "deletionTimestamp", "generation", "selfLink"] {
        object::copy_meta(wanted, old, kept);
    }
    if object::deletion_grace(wanted).is_none() {
        object::copy_meta(wanted, old, "deletionGracePeriodSeconds");
    }
    object::copy_meta(wanted, old, "resourceVersion");
    Ok(())
}

/// Are the objects equal when the times of managedFields do not count?
fn same_but_times(new: &Value, old: &Value) -> bool {
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else { return false };
    let body = |o: &Object| o.iter().filter(|(name, _)| *name != "metadata").count();
    if body(new) != body(old) || new.iter().any(|(name, v)| name != "metadata" && old.get(name) != Some(v)) {
        return false;
    }
    let (Some(Value::Object(new)), Some(Value::Object(old))) = (new.get("metadata"), old.get("metadata"))
    else {
        return false;
    };
    let counted = |name: &str| !matches!(name, "managedFields" | "resourceVersion");
    let members = |o: &Object| o.keys().filter(|n| counted(n)).count();
    if members(new) != members(old) || new.iter().any(|(name, v)| counted(name) && old.get(name) != Some(v)) {
        return false;
    }
    let (new, old) = (new.get("managedFields"), old.get("managedFields"));
    let (new, old) = (new.and_then(Value::as_array), old.and_then(Value::as_array));
    let (Some(new), Some(old)) = (new, old) else { return new == old };
    new.len() == old.len() && new.iter().zip(old).all(|(a, b)| same_entry(a, b))
}

fn same_entry(a: &Value, b: &Value) -> bool {
    ["manager", "operation", "apiVersion", "fieldsType", "fieldsV1", "subresource"]
        .iter()
        .all(|name| a.get(name) == b.get(name))
}
