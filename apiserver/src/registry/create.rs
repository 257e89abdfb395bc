//! POST: a new object.
use super::answer::{Answer, Content};
use super::call::Call;
use super::options::{WriteOptions, WriteVerb};
use super::write::{ATTEMPTS, commit_status};
use super::{Registry, negotiate, object};
use crate::storage::{CommitError, Guard};
use knarr_api::Value;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use rand::Rng;

/// Names tried for a `generateName`.
const NAME_TRIES: usize = 8;
/// Letters that generated names end with: none that form words.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// The longest prefix kept of a `generateName`.
const PREFIX: usize = 58;

/// A prefix and five random letters.
pub(super) fn generate_name(prefix: &str) -> String {
    let mut end = prefix.len().min(PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = prefix[..end].to_owned();
    let mut random = rand::rng();
    for _ in 0..5 {
        name.push(LETTERS[random.random_range(0..LETTERS.len())] as char);
    }
    name
}

impl Registry {
    pub(super) async fn create(&self, call: &Call<'_>, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::decode(&call.query, call.headers, WriteVerb::Create, false)?;
        let format = negotiate::body_format(call.headers)?;
        let decode = || self.decode(call.row, format, body, options.field_validation);
        let decoded = decode()?;
        call.requested(&decoded.value);
        let again = || decode().map(|d| d.value);
        let answer = self.create_object(call, &options, decoded.value, false, &again).await?;
        Ok(answer.warn(decoded.warnings))
    }

    /// Creates an object that is in the requested version with its defaults. `applied`: ownership is already in the
    /// object (server-side apply). `again` makes the wanted object anew for an attempt after a lost one.
    pub(super) async fn create_object(
        &self,
        call: &Call<'_>,
        options: &WriteOptions,
        wanted: Value,
        applied: bool,
        again: &(dyn Fn() -> Result<Value, Status> + Sync),
    ) -> Result<Answer, Status> {
        if call.row.terminating {
            return Err(terminating());
        }
        let mut first = Some(wanted);
        let mut names = 0;
        let mut turn = None;
        for _ in 0..ATTEMPTS {
            let mut wanted = match first.take() {
                Some(wanted) => wanted,
                None => again()?,
            };
            complete(call, &mut wanted)?;
            let generated = object::name(&wanted).is_empty();
            let namespace = self.namespace_guard(call);
            let ready = self.ready(call, options, wanted, None, applied).await?;
            let name = object::name(&ready.value).to_owned();
            let key = call.row.key(call.namespace, &name);
            if options.dry_run {
                if self.fetch(&key, call.row.in_log).await?.is_some() {
                    return Err(Status::already_exists(call.row.subject(), &name));
                }
                let warnings = ready.warnings;
                let shown = super::encode::serve(call.row, ready.value);
                return Ok(Answer::new(201, Content::Object(shown)).warn(warnings));
            }
            let warnings = ready.warnings.clone();
            let at = Guard::Absent(key.clone());
            match self.commit(call, key, at, ready, None, namespace).await {
                Ok(stored) => {
                    let stored = call.row.incoming(stored).await?;
                    return Ok(Answer::new(201, Content::Stored(stored)).warn(warnings));
                }
                Err(CommitError::Guard { index: 0, .. }) => {
                    names += 1;
                    if !generated || names >= NAME_TRIES {
                        return Err(Status::already_exists(call.row.subject(), &name));
                    }
                }
                // The namespace or a quota changed, or an address was taken by another: look again, those who look
                // for the same thing one after another.
                Err(CommitError::Guard { key, .. }) => {
                    drop(turn.take());
                    turn = Some(self.store.lock(&key).await);
                }
                Err(error) => return Err(commit_status(&error)),
            }
        }
        Err(Status::timeout("the object could not be created: what it needs changes too fast"))
    }

    /// An object may only come into a namespace that is as admission saw it.
    fn namespace_guard(&self, call: &Call<'_>) -> Option<Guard> {
        if call.namespace.is_empty() {
            return None;
        }
        let key = crate::storage::Key::new("core/namespaces", "", call.namespace);
        let stored = self.store.get(&key)?;
        Some(Guard::At(key, stored.revision))
    }
}

/// 405: what is being removed as a whole takes nothing new.
fn terminating() -> Status {
    let text = "create not allowed while custom resource definition is terminating";
    Status::new(405, "MethodNotAllowed", text)
}

/// Checks and completes the metadata of a new object.
fn complete(call: &Call<'_>, wanted: &mut Value) -> Result<(), Status> {
    set_namespace(call, wanted)?;
    if !object::resource_version(wanted).is_empty() {
        return Err(Status::new(500, "", "resourceVersion should not be set on objects to be created"));
    }
    if !call.name.is_empty() && object::name(wanted).is_empty() {
        object::set_meta(wanted, "name", Some(call.name.into()));
    }
    for cleared in ["uid", "creationTimestamp"] {
        object::set_meta(wanted, cleared, None);
    }
    clear(wanted);
    Ok(())
}

/// Admission may not move an object: its namespace and, where the path has one, its name are those of the request.
pub(super) fn keep_place(call: &Call<'_>, value: &mut Value) -> Result<(), Status> {
    set_namespace(call, value)?;
    if call.name.is_empty() { Ok(()) } else { check_name(call, value) }
}

/// The name in the body must be that of the path.
pub(super) fn check_name(call: &Call<'_>, value: &Value) -> Result<(), Status> {
    let (given, name) = (object::name(value), call.name);
    if given.is_empty() {
        return Err(Status::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != name {
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    Ok(())
}

/// Removes the metadata that no new object has.
fn clear(wanted: &mut Value) {
    for cleared in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"] {
        object::set_meta(wanted, cleared, None);
    }
}

/// Sets the metadata that only the server gives; whoever changes the object in admission sees none of it.
pub(super) fn identify(wanted: &mut Value, now: Timestamp) {
    object::set_meta(wanted, "uid", Some(uuid::Uuid::new_v4().to_string().into()));
    object::set_meta(wanted, "creationTimestamp", Some(object::time(now)));
    clear(wanted);
}

/// The namespace of the path, which a namespace in the body must equal.
pub(super) fn set_namespace(call: &Call<'_>, wanted: &mut Value) -> Result<(), Status> {
    if !call.row.kind.namespaced {
        object::set_meta(wanted, "namespace", None);
        return Ok(());
    }
    let given = object::namespace(wanted);
    if !given.is_empty() && given != call.namespace {
        return Err(Status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    object::set_meta(wanted, "namespace", Some(call.namespace.into()));
    Ok(())
}
