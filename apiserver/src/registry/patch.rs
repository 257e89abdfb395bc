//! PATCH: JSON Patch, JSON Merge Patch and Strategic Merge Patch over the present object; for apply patches see
//! `apply`.
use super::answer::Answer;
use super::call::Call;
use super::negotiate::{self, PatchType};
use super::options::{WriteOptions, WriteVerb};
use super::update::Wish;
use super::{Registry, codec, create, object, restored};
use knarr_api::Value;
use knarr_api::field::Error;
use knarr_api::go_text;
use knarr_api::json::{self, StrictError};
use knarr_api::patch::{json::Patch as JsonPatch, merge, strategic};
use knarr_api::status::Status;

/// A parsed patch.
pub(super) struct Patch {
    change: Change,
    /// What only strict decoding finds wrong with its text.
    doubts: Vec<String>,
}

enum Change {
    /// RFC 6902.
    Json(JsonPatch),
    /// RFC 7386.
    Merge(Value),
    /// Strategic merge.
    Strategic(Value),
}

/// Members of an operation of a JSON patch.
const OPERATION: [&str; 4] = ["op", "path", "from", "value"];

impl Patch {
    /// Parses a patch body.
    ///
    /// # Errors
    /// 400 for text that is no patch; 413 for too many operations.
    pub(super) fn parse(kind: PatchType, body: &[u8]) -> Result<Self, Status> {
        let mut strict = Vec::new();
        let document = json::parse(body, &mut strict).map_err(|e| undecodable(kind, &e.to_string()))?;
        let mut doubts: Vec<String> = strict.iter().map(ToString::to_string).collect();
        let change = match kind {
            PatchType::Json => {
                doubts.extend(unknown(&document));
                doubts.iter_mut().for_each(|doubt| doubt.insert_str(0, "json patch "));
                Change::Json(JsonPatch::decode(&document).map_err(Status::from)?)
            }
            PatchType::Apply => return Err(unsupported_apply()),
            _ if !document.is_object() => {
                let what = json::json_type(&document);
                let fault =
                    format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}");
                return Err(undecodable(kind, &fault));
            }
            PatchType::Merge => Change::Merge(document),
            PatchType::Strategic => Change::Strategic(document),
        };
        Ok(Self { change, doubts })
    }

    /// Does it insist on a version of the object?
    fn is_versioned(&self) -> bool {
        match &self.change {
            Change::Merge(patch) | Change::Strategic(patch) => !object::resource_version(patch).is_empty(),
            Change::Json(_) => false,
        }
    }

    /// Applies it to a document of a type.
    ///
    /// # Errors
    /// 422 where it does not fit.
    pub(super) fn apply(
        &self,
        api: &knarr_api::table::Api,
        ty: knarr_api::schema::TypeId,
        target: &mut Value,
    ) -> Result<(), Status> {
        match &self.change {
            Change::Json(patch) => patch.apply(target).map_err(Status::from),
            Change::Merge(patch) => {
                merge::apply(target, patch.clone());
                Ok(())
            }
            Change::Strategic(patch) => {
                strategic::apply(&api.schema, ty, target, patch.clone()).map_err(Status::from)
            }
        }
    }
}

impl Patch {
    /// 422 for a patch that makes something of the object that its type cannot hold: it shows the document that a JSON
    /// or merge patch leads to, but a strategic patch itself.
    fn misfit(&self, call: &Call<'_>, present: &Value, fault: String) -> Status {
        let mut fault = fault;
        let shown = match &self.change {
            Change::Strategic(patch) => {
                fault = restored::words(&call.row.api.schema, &fault);
                go_text::plain(patch)
            }
            Change::Json(_) | Change::Merge(_) => {
                let mut made = present.clone();
                match self.apply(&call.row.api, call.row.kind.ty, &mut made) {
                    Ok(()) => made.to_string(),
                    Err(status) => return status,
                }
            }
        };
        Status::invalid("", "", "", &[Error::invalid("patch", &shown.into(), fault)])
    }
}

/// Members of operations that are none of theirs.
fn unknown(operations: &Value) -> Vec<String> {
    let members = |(at, operation): (usize, &Value)| {
        let names = operation.as_object().into_iter().flat_map(|members| members.keys());
        let unknown = names.filter(|name| !OPERATION.contains(&name.as_str()));
        unknown.map(|name| StrictError::Unknown(format!("[{at}].{name}")).to_string()).collect::<Vec<_>>()
    };
    operations.as_array().into_iter().flatten().enumerate().flat_map(members).collect()
}

fn undecodable(kind: PatchType, fault: &str) -> Status {
    match kind {
        PatchType::Strategic => Status::bad_request(fault),
        _ => Status::bad_request(format!("error decoding patch: {fault}")),
    }
}

fn unsupported_apply() -> Status {
    Status::unsupported_media_type(
        "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json",
    )
}

impl Registry {
    pub(super) async fn patch(&self, call: &Call<'_>, body: &[u8]) -> Result<Answer, Status> {
        let kind = negotiate::patch_type(call.headers)?;
        call.patched(body);
        if kind == PatchType::Apply {
            return self.apply(call, body).await;
        }
        if kind == PatchType::Strategic && call.row.custom().is_some() {
            return Err(Status::unsupported_media_type(
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        let options = WriteOptions::decode(&call.query, call.headers, WriteVerb::Patch, false)?;
        let patch = Patch::parse(kind, body)?;
        // A version in the patch is one the client insists on: a conflict is then its own.
        self.change(call, &options, patch.is_versioned(), |present| {
            self.patched(call, &options, &patch, present)
        })
        .await
    }

    fn patched(
        &self,
        call: &Call<'_>,
        options: &WriteOptions,
        patch: &Patch,
        present: &Value,
    ) -> Result<Wish, Status> {
        let kind = &*call.row.kind;
        let mut wanted = present.clone();
        patch.apply(&call.row.api, kind.ty, &mut wanted)?;
        let validation = options.field_validation;
        let doubts = &patch.doubts;
        let warnings = codec::normalize_patched(&call.row.api, kind.ty, &mut wanted, validation, doubts)
            .map_err(|fault| patch.misfit(call, present, fault))?;
        unchanged(call, &wanted, present)?;
        create::set_namespace(call, &mut wanted)?;
        wanted["apiVersion"] = kind.gvk.api_version().into();
        wanted["kind"] = (*kind.gvk.kind).into();
        codec::default(&call.row.api, kind.ty, &mut wanted);
        Ok(Wish { value: wanted, applied: false, warnings })
    }
}

/// What names the object cannot be patched.
fn unchanged(call: &Call<'_>, wanted: &Value, present: &Value) -> Result<(), Status> {
    create::check_name(call, wanted)?;
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    for name in ["apiVersion", "kind"] {
        let (new, old) = (text(wanted, name), text(present, name));
        if !new.is_empty() && new != old {
            return Err(Status::bad_request(format!(
                "{name} of the object ({old}) cannot be changed to {new}"
            )));
        }
    }
    Ok(())
}
