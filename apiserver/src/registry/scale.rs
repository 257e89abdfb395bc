//! The `scale` subresource: a view of `spec.replicas` and the selector of kinds that have replicas.
use super::answer::{Answer, Content};
use super::call::Call;
use super::negotiate::{self, PatchType};
use super::options::{FieldValidation, WriteOptions, WriteVerb};
use super::ownership::Ownership;
use super::patch::Patch;
use super::update::Wish;
use super::{Registry, Row, codec, object};
use crate::request_info::Verb;
use knarr_api::field::Error;
use knarr_api::kind::GroupVersionKind;
use knarr_api::managed_fields;
use knarr_api::selector::LabelSelector;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use knarr_api::{Object, Value};
use serde_json::json;

/// `autoscaling/v1` `Scale` of an object; a custom resource says where its numbers are.
pub(super) fn scale_of(row: &Row, value: &Value) -> Value {
    let mut metadata = Object::new();
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(v) = object::meta(value).get(name) {
            metadata.insert(name.to_owned(), v.clone());
        }
    }
    let (spec_path, status_path) = paths(row);
    let number = |path: &[&str]| object::at(value, path).and_then(Value::as_i64).unwrap_or(0);
    let mut status = json!({"replicas": number(&status_path)});
    let selector = match row.custom().and_then(|custom| custom.scale.as_ref()) {
        Some(scale) => {
            scale.selector.as_deref().map_or("", |path| object::text(value, &texts(path))).to_owned()
        }
        None => selector_text(object::at(value, &["spec", "selector"])),
    };
    if !selector.is_empty() {
        status["selector"] = selector.into();
    }
    let mut spec = Object::new();
    let replicas = number(&spec_path);
    if replicas != 0 {
        spec.insert("replicas".into(), replicas.into());
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

/// A custom resource without the number that is to be scaled has no scale to show.
fn has_replicas(row: &Row, value: &Value) -> Result<(), Status> {
    let Some(scale) = row.custom().and_then(|custom| custom.scale.as_ref()) else { return Ok(()) };
    if object::at(value, &texts(&scale.spec)).is_some_and(|number| !number.is_null()) {
        return Ok(());
    }
    let path = scale.spec.join(".");
    Err(Status::internal(format!("the spec replicas field \".{path}\" does not exist")))
}

/// The object with the number that a scale wants.
pub(super) fn with_replicas(row: &Row, mut whole: Value, scale: &Value) -> Value {
    let replicas = object::at(scale, &["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    set(&mut whole, &paths(row).0, replicas.into());
    whole
}

fn texts(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// Where the wanted and the observed number are.
fn paths(row: &Row) -> (Vec<&str>, Vec<&str>) {
    match row.custom().and_then(|custom| custom.scale.as_ref()) {
        Some(scale) => (texts(&scale.spec), texts(&scale.status)),
        None => (vec!["spec", "replicas"], vec!["status", "replicas"]),
    }
}

/// Sets a member at a path of names, making the objects above it.
fn set(value: &mut Value, path: &[&str], to: Value) {
    match path {
        [] => *value = to,
        [name, rest @ ..] => {
            if !value.is_object() {
                *value = codec::empty();
            }
            set(&mut value[*name], rest, to);
        }
    }
}

/// A selector as text; a ReplicationController's is a plain map.
fn selector_text(selector: Option<&Value>) -> String {
    let Some(selector) = selector else { return String::new() };
    let wrapped;
    let selector = if selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none() {
        wrapped = json!({"matchLabels": selector});
        &wrapped
    } else {
        selector
    };
    LabelSelector::from_object(Some(selector)).map(|s| s.to_string()).unwrap_or_default()
}

impl Registry {
    /// Answers get, update and patch of `scale`.
    pub(super) async fn scale(&self, call: &Call<'_>, body: &[u8]) -> Result<Answer, Status> {
        if call.context.info.verb == Verb::Get {
            let stored = self.find(call).await?;
            let value = stored.value().map_err(Status::internal)?;
            has_replicas(call.row, &value)?;
            return Ok(Answer::new(200, Content::Document(scale_of(call.row, &value))));
        }
        let patching = call.context.info.verb == Verb::Patch;
        if patching && negotiate::patch_type(call.headers)? == PatchType::Apply {
            call.patched(body);
            return self.apply_scale(call, body).await;
        }
        if patching {
            call.patched(body);
        }
        let verb = if patching { WriteVerb::Patch } else { WriteVerb::Update };
        let options = WriteOptions::decode(&call.query, call.headers, verb, false)?;
        let gvk = GroupVersionKind::new("autoscaling", "v1", "Scale");
        let ty = self
            .api
            .type_of("autoscaling", "v1", "Scale")
            .ok_or_else(|| Status::internal("no type Scale"))?;
        let (patch, put) = if patching {
            let kind = negotiate::patch_type(call.headers)?;
            (Some(Patch::parse(kind, body)?), None)
        } else {
            let format = negotiate::body_format(call.headers)?;
            (
                None,
                Some(
                    codec::decode(self.api, Some((ty, &gvk)), format, body, options.field_validation)?.value,
                ),
            )
        };
        if let Some(put) = &put {
            call.requested(put);
        }
        let versioned = put.as_ref().is_some_and(|p| !object::resource_version(p).is_empty());
        let answer = self
            .change(call, &options, versioned, |present| {
                let mut scale = scale_of(call.row, present);
                match (&patch, &put) {
                    (Some(patch), _) => {
                        patch.apply(self.api, ty, &mut scale)?;
                        codec::normalize(self.api, ty, &gvk, &mut scale, FieldValidation::Ignore)?;
                    }
                    (_, Some(put)) => scale = put.clone(),
                    _ => {}
                }
                rescaled(call, present, &scale)
            })
            .await?;
        shown(call, answer)
    }

    /// Server-side apply of a scale: the applier comes to own the replicas of the object.
    async fn apply_scale(&self, call: &Call<'_>, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::decode(&call.query, call.headers, WriteVerb::Patch, true)?;
        let (scale, _) = super::apply::document(body)?;
        let given = (object::text(&scale, &["apiVersion"]), object::text(&scale, &["kind"]));
        if given != ("autoscaling/v1", "Scale") {
            return Err(Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a Scale",
                given.1, given.0
            )));
        }
        let kind = &*call.row.kind;
        let mut config = json!({"apiVersion": kind.gvk.api_version(), "kind": &*kind.gvk.kind});
        if let Some(replicas) = object::at(&scale, &["spec", "replicas"]).filter(|r| !r.is_null()) {
            set(&mut config, &paths(call.row).0, replicas.clone());
        }
        let versioned = !object::resource_version(&scale).is_empty();
        let versions = Ownership::of(self.siblings(call));
        let wish = |present: &Value| {
            // Checks name, version and number as an update does.
            let checked = rescaled(call, present, &scale)?;
            let write = managed_fields::Write {
                manager: &options.field_manager,
                subresource: "scale",
                now: Timestamp::now(),
                versions: &versions,
            };
            let mut value = managed_fields::apply(
                &call.row.api,
                kind,
                Some(present),
                config.clone(),
                &write,
                options.force,
            )?;
            codec::normalize(&call.row.api, kind.ty, &kind.gvk, &mut value, options.field_validation)?;
            for name in ["resourceVersion", "uid"] {
                object::copy_meta(&mut value, &checked.value, name);
            }
            codec::default(&call.row.api, kind.ty, &mut value);
            Ok(Wish { value, applied: true, warnings: Vec::new() })
        };
        shown(call, self.change_owned(call, &options, versioned, &versions, wish).await?)
    }
}

/// The scale of what was written.
fn shown(call: &Call<'_>, answer: Answer) -> Result<Answer, Status> {
    let value = match answer.content {
        Content::Stored(stored) => stored.value().map_err(Status::internal)?,
        Content::Object(value) | Content::Document(value) => value,
    };
    Ok(Answer { content: Content::Document(scale_of(call.row, &value)), ..answer })
}

/// The object with the replicas of a scale.
fn rescaled(call: &Call<'_>, present: &Value, scale: &Value) -> Result<Wish, Status> {
    let given = object::name(scale);
    if !given.is_empty() && given != call.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({})",
            call.name
        )));
    }
    let replicas = object::at(scale, &["spec", "replicas"]).and_then(Value::as_i64).unwrap_or(0);
    if replicas < 0 {
        let text = "must be greater than or equal to 0";
        let error = Error::invalid("spec.replicas", &replicas.into(), text);
        return Err(Status::invalid("autoscaling", "Scale", call.name, &[error]));
    }
    let mut value = present.clone();
    set(&mut value, &paths(call.row).0, replicas.into());
    // What it does not name stays that of the object, also of a kind whose updates must name their version.
    for (name, given) in [("resourceVersion", object::resource_version(scale)), ("uid", object::uid(scale))] {
        if !given.is_empty() {
            object::set_meta(&mut value, name, Some(given.into()));
        }
    }
    Ok(Wish { value, applied: false, warnings: Vec::new() })
}
