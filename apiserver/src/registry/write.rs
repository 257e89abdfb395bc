//! What create, update and patch have in common: from the object a client wants to the group that is committed.
use super::call::Call;
use super::codec::{self, Decoded};
use super::negotiate::Format;
use super::options::{FieldValidation, WriteOptions, write_document};
use super::row::Siblings;
use super::{Registry, Row, encode, object, row, scale};
use crate::admission::{Attributes, Operation};
use crate::storage::{CommitError, Group, Guard, Index, Key, Stored, Write, WriteFacts};
use crate::strategy::{self, Companions, Scene};
use bytes::Bytes;
use knarr_api::Value;
use knarr_api::field::Error;
use knarr_api::json;
use knarr_api::kind::split_api_version;
use knarr_api::managed_fields::Entry;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use std::sync::Arc;
use std::time::SystemTime;

/// How often an attempt that lost against another write is made again.
pub(super) const ATTEMPTS: usize = 100;

/// The groups of events.
const EVENTS: [&str; 2] = ["", "events.k8s.io"];
/// The place that the original names the set of its built-in kinds by.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// An object ready to be committed.
pub(super) struct Ready {
    /// In the stored version.
    pub value: Value,
    /// Canonical bytes without resourceVersion, in the version of `value`.
    pub bytes: Bytes,
    /// What is stored of it.
    pub stored: (Bytes, Index),
    /// What goes with it.
    pub companions: Companions,
    /// Warnings of validation and admission.
    pub warnings: Vec<String>,
}

/// Refuses what says that it is of another kind or version than that of the row; empty says nothing.
fn foreign(row: &Row, api_version: &str, kind: &str) -> Result<(), Status> {
    let (expected, wanted) = (row.kind.gvk.api_version(), &*row.kind.gvk.kind);
    let api_version = if api_version.is_empty() { &expected } else { api_version };
    let kind = if kind.is_empty() { wanted } else { kind };
    let (group, version) = split_api_version(api_version);
    let own = &*row.kind.gvk.group;
    // Events are the same objects in both of their groups.
    let same_group = group == own || kind == "Event" && [group, own].iter().all(|g| EVENTS.contains(g));
    let fault = if row.api.type_of_document(api_version, kind).is_none() {
        format!("no kind {kind:?} is registered for version {api_version:?} in scheme {SCHEME:?}")
    } else if kind != wanted || !same_group {
        let to = encode::internal_package(own);
        format!("converting ({version}.{kind}) to ({to}.{wanted}): unknown conversion")
    } else if api_version != expected {
        return Err(other_version(api_version, &expected));
    } else {
        return Ok(());
    };
    Err(unhandled((version, kind), wanted, &fault))
}

/// The same for custom resources, which have to say what they are.
fn foreign_custom(
    siblings: Siblings<'_>,
    value: &Value,
    shown: impl FnOnce() -> String,
) -> Result<(), Status> {
    let gvk = &siblings.row.kind.gvk;
    let (expected, wanted) = (gvk.api_version(), &*gvk.kind);
    let (api_version, kind) = (text(value, "apiVersion"), text(value, "kind"));
    if kind.is_empty() {
        return Err(unhandled((&gvk.version, wanted), wanted, &missing_kind(&shown())));
    }
    let (group, version) = split_api_version(api_version);
    if group != &*gvk.group {
        let fault = format!(
            "{group}/{version}, Kind={kind} is unstructured and is not suitable for converting to {expected:?}"
        );
        return Err(unhandled((version, kind), wanted, &fault));
    }
    if siblings.of(api_version).is_none() {
        let fault = format!("request to convert CR from an invalid group/version: {api_version}");
        return Err(unhandled((version, kind), wanted, &fault));
    }
    if api_version != expected {
        return Err(other_version(api_version, &expected));
    }
    if kind != wanted {
        let error = Error::invalid("kind", &kind.into(), format!("must be {wanted}"));
        return Err(unfit(siblings.row, value, &[error]));
    }
    Ok(())
}

/// A body as the original shows it: JSON, also where it came as YAML.
fn shown(format: Format, body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    match format {
        Format::Yaml => knarr_api::yaml::parse(&text, &mut Vec::new()).unwrap_or_default().to_string(),
        _ => text.into_owned(),
    }
}

/// What is said of a document without a kind.
pub(super) fn missing_kind(document: &str) -> String {
    format!("Object 'Kind' is missing in '{document}'")
}

fn unhandled((version, kind): (&str, &str), wanted: &str, fault: &str) -> Status {
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {wanted}: {fault}"))
}

fn other_version(given: &str, expected: &str) -> Status {
    Status::bad_request(format!(
        "the API version in the data ({given}) does not match the expected API version ({expected})"
    ))
}

/// 422 for an object with faults.
fn unfit(row: &Row, value: &Value, errors: &[Error]) -> Status {
    let name = match object::name(value) {
        "" => object::meta_text(value, "generateName"),
        name => name,
    };
    Status::invalid(&row.kind.gvk.group, &row.kind.gvk.kind, name, errors)
}

impl Registry {
    /// The versions of the resource that a call concerns.
    pub(super) fn siblings<'a>(&'a self, call: &Call<'a>) -> Siblings<'a> {
        Siblings { row: call.row, rows: &self.rows, until: call.context.deadline }
    }

    /// Decodes a body that holds an object of the given kind, and applies its defaults.
    ///
    /// # Errors
    /// 400 for text that does not parse, strict faults, or another `apiVersion` or `kind`.
    pub(super) fn decode(
        &self,
        row: &Row,
        format: Format,
        body: &[u8],
        validation: FieldValidation,
    ) -> Result<Decoded, Status> {
        let kind = &*row.kind;
        let ty = kind.ty;
        let decoded = codec::decode(&row.api, Some((ty, &kind.gvk)), format, body, validation);
        let mut decoded = decoded.map_err(|status| match (format, json::type_meta(body)) {
            // That it is another kind goes before what does not fit this one.
            (Format::Json, Ok((version, name))) if row.custom().is_none() => {
                foreign(row, &version, &name).err().unwrap_or(status)
            }
            _ => status,
        })?;
        let (api_version, wanted) = (kind.gvk.api_version(), &*kind.gvk.kind);
        match row.custom() {
            Some(_) => {
                foreign_custom(Siblings { row, rows: &self.rows, until: None }, &decoded.value, || {
                    shown(format, body)
                })?
            }
            None => foreign(row, text(&decoded.value, "apiVersion"), text(&decoded.value, "kind"))?,
        }
        decoded.value["apiVersion"] = api_version.into();
        decoded.value["kind"] = wanted.into();
        codec::default(&row.api, ty, &mut decoded.value);
        Ok(decoded)
    }

    /// Runs admission, ownership, strategy, allocation and validation over the wanted object. `wanted` is in the
    /// requested version, `old` (none on create) in the stored version with its resourceVersion.
    pub(super) async fn ready(
        &self,
        call: &Call<'_>,
        options: &WriteOptions,
        mut wanted: Value,
        old: Option<&Value>,
        applied: bool,
    ) -> Result<Ready, Status> {
        let row = call.row;
        let now = Timestamp::now();
        let old_served = old.map(|o| encode::serve(row, o.clone()));
        if !applied {
            let siblings = self.siblings(call);
            let old = old_served.as_ref();
            codec::own(&row.api, siblings, call.subresource, options, old, &mut wanted, now).await;
        }
        let mut warnings: Vec<String> = dedup_owners(&mut wanted, false).into_iter().collect();
        let name = object::name(&wanted).to_owned();
        let operation = if old.is_some() { Operation::Update } else { Operation::Create };
        let mut attributes = self.attributes(call, operation, &name);
        attributes.dry_run = options.dry_run;
        let view = View::of(call);
        let value = self.mutated(call, &view, &mut attributes, (wanted, old_served), &mut warnings).await?;
        let scene = Scene {
            registry: self,
            kind: &row.kind,
            namespace: call.namespace,
            user: call.user(),
            verb: call.context.info.verb.as_str(),
            now,
            dry_run: options.dry_run,
        };
        let value = encode::store(row, value);
        let (value, mut companions) = self.prepared(call, &scene, value, old, &mut warnings)?;
        let final_name = object::name(&value).to_owned();
        attributes.name = &final_name;
        attributes.namespace = call.admission_namespace(&final_name);
        let (seen, whole) = view.enter(encode::serve(row, value));
        attributes.object = Some(seen);
        self.admission.validate(&attributes).await?;
        let charged = self.admission.charge(&attributes).await?;
        companions.guards.extend(charged.guards);
        companions.writes.extend(charged.writes);
        let checked = whole.or_else(|| attributes.object.take());
        let mut value = encode::store(row, checked.unwrap_or_default());
        if row.custom().is_some() && row.conversion.is_some() {
            // As it would be read: with what the stored version has by default.
            codec::settle(&row.api, &row.stored, &mut value)?;
            codec::default(&row.api, row.stored.ty, &mut value);
        }
        // Whatever made it so deep, its ownership included: once stored it must be read by everybody.
        if json::is_deeper(&value, json::MAX_DEPTH) {
            return Err(Status::bad_request("exceeded max depth"));
        }
        if &*row.kind.gvk.group == "rbac.authorization.k8s.io" {
            self.hooks.escalation(call.user(), &row.kind, &value, old)?;
        }
        let bytes = codec::bytes(&row.api, &row.stored, &mut value);
        let stored = match &row.converter {
            Some(_) if !options.dry_run => row.outgoing(&mut value).await?,
            _ => (bytes.clone(), row::index(&value, &row.stored.field_selectors)),
        };
        Ok(Ready { value, bytes, stored, companions, warnings })
    }

    /// Lets admission change the wanted object, which together with the old one is in the requested version, and
    /// brings what it made of it back into shape.
    async fn mutated(
        &self,
        call: &Call<'_>,
        view: &View<'_>,
        attributes: &mut Attributes<'_>,
        (wanted, old): (Value, Option<Value>),
        warnings: &mut Vec<String>,
    ) -> Result<Value, Status> {
        let row = call.row;
        let tracked = object::meta(&wanted).get("managedFields").cloned();
        let (seen, whole_old) = old.map(|old| view.enter(old)).unzip();
        attributes.old = seen;
        let (seen, whole) = view.enter(wanted);
        attributes.object = Some(seen);
        self.admission.admit(attributes).await?;
        let mut value = view.leave(attributes.object.take().unwrap_or_default(), whole);
        if attributes.operation == Operation::Create {
            super::create::keep_place(call, &mut value)?;
        }
        warnings.extend(keep_tracked(&mut value, tracked));
        warnings.extend(dedup_owners(&mut value, true));
        codec::default(&row.api, row.kind.ty, &mut value);
        let whole_old = whole_old.flatten();
        let old = whole_old.as_ref().or(attributes.old.as_ref());
        codec::drop_disabled(&row.api, row.kind.ty, &mut value, old);
        Ok(value)
    }

    /// Runs strategy, allocation and validation over an object in the stored version.
    fn prepared(
        &self,
        call: &Call<'_>,
        scene: &Scene<'_>,
        mut value: Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<(Value, Companions), Status> {
        let row = call.row;
        match old {
            None => self.prepare_create(scene, call, &mut value)?,
            Some(old) => super::subresource::prepare_update(scene, row, call.subresource, &mut value, old),
        }
        if row.custom().is_some() {
            // The status that the kind has by default, whatever came with the request.
            codec::default(&row.api, row.stored.ty, &mut value);
        }
        let main = matches!(call.subresource, "" | "scale");
        let companions = if main {
            row.rules.strategy.companions(scene, Some(&mut value), old).map_err(|unavailable| {
                // What an update may not change goes before what cannot be had for it.
                let errors = old.map(|old| codec::validate(row, call.subresource, &value, Some(old)).0);
                errors.filter(|errors| !errors.is_empty()).map_or(unavailable, |e| unfit(row, &value, &e))
            })?
        } else {
            Companions::default()
        };
        codec::settle(&row.api, &row.stored, &mut value)?;
        let (mut errors, told) = codec::validate(row, call.subresource, &value, old);
        warnings.extend(told);
        errors.extend(row.rules.strategy.check(scene, &value, old));
        if !errors.is_empty() {
            return Err(unfit(row, &value, &errors));
        }
        if call.subresource.is_empty() {
            warnings.extend(knarr_api::validation::warnings(&row.stored, &value, old));
        }
        Ok((value, companions))
    }

    fn prepare_create(&self, scene: &Scene<'_>, call: &Call<'_>, value: &mut Value) -> Result<(), Status> {
        let prefix = object::meta_text(value, "generateName");
        if object::name(value).is_empty() && !prefix.is_empty() {
            let name = super::create::generate_name(prefix);
            object::set_meta(value, "name", Some(name.into()));
        }
        super::create::identify(value, scene.now);
        strategy::prepare_create(scene, call.row.rules, value);
        Ok(())
    }

    /// A write as admission sees it, without objects yet.
    pub(super) fn attributes<'a>(
        &'a self,
        call: &'a Call<'_>,
        operation: Operation,
        name: &'a str,
    ) -> Attributes<'a> {
        let options = match operation {
            Operation::Create | Operation::Update => {
                write_document(&call.query, operation == Operation::Create)
            }
            Operation::Delete | Operation::Connect => Value::Null,
        };
        Attributes {
            operation,
            kind: &call.row.kind,
            subresource: call.subresource,
            namespace: call.admission_namespace(name),
            name,
            user: call.user(),
            is_own: call.context.is_own,
            dry_run: call.query.get("dryRun").is_some(),
            object: None,
            old: None,
            options,
            siblings: Some(self.siblings(call)),
            reinvocation: Default::default(),
            notes: call.context.notes.clone(),
        }
    }

    /// Commits an object with its companions; `at` is the guard on its own key.
    pub(super) async fn commit(
        &self,
        call: &Call<'_>,
        key: Key,
        at: Guard,
        ready: Ready,
        previous: Option<Arc<Stored>>,
        namespace: Option<Guard>,
    ) -> Result<Arc<Stored>, CommitError> {
        let expires = call.row.rules.expires.then(|| SystemTime::now() + self.settings.event_ttl);
        let mut group = Group::default().guard(at);
        group.guards.extend(namespace);
        group.guards.extend(ready.companions.guards);
        let (value, index) = ready.stored;
        group.writes.push(Write::Put { key, value, expires });
        group.writes.extend(ready.companions.writes);
        let facts = vec![WriteFacts { index: Some(index), previous }];
        let changes = self.store.commit_with(group, facts).await?;
        let own = changes.first().and_then(|c| c.current.clone());
        own.ok_or_else(|| CommitError::Invalid("the commit returned no object".to_owned()))
    }
}

/// What admission sees of an object: itself, or its scale.
struct View<'a> {
    scaled: Option<&'a Row>,
}

impl<'a> View<'a> {
    fn of(call: &'a Call<'_>) -> Self {
        Self { scaled: (call.subresource == "scale").then_some(&**call.row) }
    }

    /// What it sees, and the whole object where that is another one.
    fn enter(&self, object: Value) -> (Value, Option<Value>) {
        match self.scaled {
            Some(row) => (scale::scale_of(row, &object), Some(object)),
            None => (object, None),
        }
    }

    /// The whole object after admission was done with what it saw.
    fn leave(&self, seen: Value, whole: Option<Value>) -> Value {
        match (self.scaled, whole) {
            (Some(row), Some(whole)) => scale::with_replicas(row, whole, &seen),
            _ => seen,
        }
    }
}

/// A commit that failed for another reason than a guard.
pub(super) fn commit_status(error: &CommitError) -> Status {
    match error {
        CommitError::Guard { .. } | CommitError::Invalid(_) => Status::internal(error),
        CommitError::Unknown(_) => Status::timeout(error),
        CommitError::Unavailable(_) => Status::unavailable(error.to_string()),
    }
}

/// Owners named twice count once; a warning tells which.
fn dedup_owners(value: &mut Value, after_admission: bool) -> Option<String> {
    let owners = object::meta_mut(value).get_mut("ownerReferences")?.as_array_mut()?;
    let mut seen: Vec<Value> = Vec::with_capacity(owners.len());
    let mut twice: Vec<String> = Vec::new();
    owners.retain(|owner| {
        let again = seen.contains(owner);
        if again {
            let uid = owner.get("uid").and_then(Value::as_str).unwrap_or_default().to_owned();
            if !twice.contains(&uid) {
                twice.push(uid);
            }
        } else {
            seen.push(owner.clone());
        }
        !again
    });
    let when = if after_admission { " after mutating admission happens" } else { "" };
    (!twice.is_empty()).then(|| {
        format!(
            ".metadata.ownerReferences contains duplicate entries{when}; API server dedups owner references in \
             1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) \
             observed: {}",
            twice.join(", ")
        )
    })
}

/// What admission made of `managedFields` stands only if it can be read.
fn keep_tracked(value: &mut Value, tracked: Option<Value>) -> Option<String> {
    let now = object::meta(value).get("managedFields").cloned();
    if now == tracked {
        return None;
    }
    let error = Entry::decode(now.unwrap_or_else(|| Value::Array(Vec::new()))).err()?;
    object::set_meta(value, "managedFields", tracked);
    Some(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated \
         mutating admission controller; please fix your requests: {error}"
    ))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
