//! Subresources with handlers of their own: one file each, chosen here.
mod binding;
mod component_status;
mod connect;
mod eviction;

use super::Registry;
use super::Row;
use super::answer::{Answer, Content};
use super::call::Call;
use super::negotiate;
use super::object;
use super::options::{FieldValidation, WriteOptions, WriteVerb};
use crate::admission::Operation;
use crate::request_info::Verb;
use crate::strategy::{self, Scene, certificate, namespace, pod};
use knarr_api::Value;
use knarr_api::kind::Kind;
use knarr_api::status::Status;

/// Streams and proxies: not a matter of objects.
pub(super) fn is_connection(kind: &Kind, sub: &str) -> bool {
    let core = kind.gvk.group.is_empty();
    core && match &*kind.plural {
        "pods" => matches!(sub, "attach" | "exec" | "log" | "portforward" | "proxy"),
        "nodes" | "services" => sub == "proxy",
        _ => false,
    }
}

/// What an update of a subresource takes over from the stored object.
pub(super) fn prepare_update(scene: &Scene<'_>, row: &Row, sub: &str, value: &mut Value, old: &Value) {
    match sub {
        "" | "scale" => strategy::prepare_update(scene, row.rules, value, old),
        "status" => strategy::prepare_status(scene, row.rules, value, old),
        "finalize" => namespace::prepare_finalize(value, old),
        "approval" => certificate::prepare_approval(scene, value, old),
        "ephemeralcontainers" => {
            pod::prepare_ephemeral(value, old);
            strategy::count_generation(row.rules, value, old);
        }
        "resize" => {
            pod::prepare_resize(value, old);
            strategy::count_generation(row.rules, value, old);
        }
        _ => {}
    }
}

impl Registry {
    /// Answers what generic verbs do not; none when they do.
    pub(super) async fn special(&self, call: &Call<'_>, body: &[u8]) -> Result<Option<Answer>, Status> {
        let group = &*call.row.kind.gvk.group;
        let answer = match (group, &*call.row.kind.plural, call.subresource) {
            (_, _, "scale") => self.scale(call, body).await?,
            ("", "pods", "binding") => self.bind(call, body, call.name).await?,
            ("", "bindings", "") => self.bind(call, body, "").await?,
            ("", "pods", "eviction") => self.evict(call, body).await?,
            ("", "serviceaccounts", "token") => self.token(call, body).await?,
            ("", "componentstatuses", "") => self.component_status(call).await?,
            ("authentication.k8s.io" | "authorization.k8s.io", _, "") => self.review(call, body).await?,
            _ => return Ok(None),
        };
        Ok(Some(answer))
    }

    /// Reviews are questions: nothing is stored.
    async fn review(&self, call: &Call<'_>, body: &[u8]) -> Result<Answer, Status> {
        if call.context.info.verb != Verb::Create {
            return Err(super::route::unsupported_verb());
        }
        let options = WriteOptions::decode(&call.query, call.headers, WriteVerb::Create, false)?;
        let format = negotiate::body_format(call.headers)?;
        let decoded = self.decode(call.row, format, body, options.field_validation)?;
        call.requested(&decoded.value);
        let review = self.admit_connected(call, decoded.value, Operation::Create).await?;
        let answered = self.hooks.review(call.user(), &call.row.kind, call.namespace, review).await?;
        Ok(Answer::new(201, Content::Document(answered)).warn(decoded.warnings))
    }

    /// `serviceaccounts/token`.
    async fn token(&self, call: &Call<'_>, body: &[u8]) -> Result<Answer, Status> {
        let stored = self.find(call).await?;
        let account = stored.value().map_err(Status::internal)?;
        let request = self.decode_as(call, "authentication.k8s.io", "v1", "TokenRequest", body)?;
        let request = self.admit_connected(call, request, Operation::Create).await?;
        let answered = self.hooks.token(call.user(), &account, request).await?;
        Ok(Answer::new(201, Content::Document(answered)))
    }

    /// Decodes a body of a kind that is no resource, with its defaults.
    pub(super) fn decode_as(
        &self,
        call: &Call<'_>,
        group: &str,
        version: &str,
        kind: &str,
        body: &[u8],
    ) -> Result<Value, Status> {
        let ty = self
            .api
            .type_of(group, version, kind)
            .ok_or_else(|| Status::internal(format!("no type {kind}")))?;
        let gvk = knarr_api::kind::GroupVersionKind::new(group, version, kind);
        let format = negotiate::body_format(call.headers)?;
        let decoded =
            super::codec::decode(self.api, Some((ty, &gvk)), format, body, FieldValidation::Ignore)?;
        let mut value = decoded.value;
        let given = value.get("kind").and_then(Value::as_str).unwrap_or_default();
        if !given.is_empty() && given != kind {
            return Err(Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind})"
            )));
        }
        value["apiVersion"] = gvk.api_version().into();
        value["kind"] = kind.into();
        super::codec::default(self.api, ty, &mut value);
        call.requested(&value);
        Ok(value)
    }

    /// Runs admission over the body of a subresource.
    pub(super) async fn admit_connected(
        &self,
        call: &Call<'_>,
        value: Value,
        operation: Operation,
    ) -> Result<Value, Status> {
        let mut attributes = self.attributes(call, operation, call.name);
        attributes.object = Some(value);
        self.admission.admit(&mut attributes).await?;
        self.admission.validate(&attributes).await?;
        Ok(attributes.object.take().unwrap_or_default())
    }
}

/// `Status` Success with a code.
fn success(code: u16) -> Answer {
    let value = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": code,
    });
    Answer::new(code, Content::Document(value))
}

/// Name of a decoded body.
fn body_name(value: &Value) -> &str {
    object::name(value)
}
