//! Server-side apply: a PATCH that names the fields its manager wants, and makes the object where there is none.
use super::answer::Answer;
use super::call::Call;
use super::options::{FieldValidation, WriteOptions, WriteVerb};
use super::ownership::Ownership;
use super::update::Wish;
use super::write::{self, ATTEMPTS};
use super::{Registry, codec, create, object};
use knarr_api::json::{StrictError, json_type};
use knarr_api::managed_fields::{self, Write};
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use knarr_api::{Value, yaml};
use std::fmt::Display;

/// What stands before the faults of a YAML text.
const HEADING: &str = "yaml: unmarshal errors:";

impl Registry {
    pub(super) async fn apply(&self, call: &Call<'_>, body: &[u8]) -> Result<Answer, Status> {
        let options = WriteOptions::decode(&call.query, call.headers, WriteVerb::Patch, true)?;
        let (config, warnings) = self.configuration(call, &options, body)?;
        let versioned = !object::resource_version(&config).is_empty();
        let creates = call.subresource.is_empty() && call.row.kind.has_verb("create");
        let versions = Ownership::of(self.siblings(call));
        for _ in 0..ATTEMPTS {
            if !creates || self.fetch(&call.key(), call.row.in_log).await?.is_some() {
                let wish = |present: &Value| self.applied(call, &options, &config, Some(present), &versions);
                let answer = self.change_owned(call, &options, versioned, &versions, wish).await?;
                return Ok(answer.warn(warnings));
            }
            let uid = object::meta_text(&config, "uid");
            if !uid.is_empty() {
                let cause = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(Status::conflict(call.row.subject(), call.name, cause));
            }
            self.hooks.may_create(call.context)?;
            let again = || self.applied(call, &options, &config, None, &versions).map(|wish| wish.value);
            match self.create_object(call, &options, again()?, true, &again).await {
                // Somebody else made it meanwhile: apply to that.
                Err(status) if status.reason == "AlreadyExists" && !options.dry_run => {}
                answer => return Ok(answer?.warn(warnings)),
            }
        }
        Err(Status::conflict(call.row.subject(), call.name, super::update::MODIFIED))
    }

    /// The body as the client wrote it, but for the spelling of its values, and the warnings of decoding it.
    fn configuration(
        &self,
        call: &Call<'_>,
        options: &WriteOptions,
        body: &[u8],
    ) -> Result<(Value, Vec<String>), Status> {
        let kind = &*call.row.kind;
        let (mut config, doubts) = document(body)?;
        let given = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
        let version = kind.gvk.api_version();
        if given("kind").is_empty() {
            return Err(Status::bad_request(write::missing_kind(&config.to_string())));
        }
        if given("apiVersion") != version {
            return Err(Status::bad_request(format!(
                "Incorrect version specified in apply patch. Specified patch version: {}, expected: {version}",
                given("apiVersion")
            )));
        }
        if given("kind") != &*kind.gvk.kind {
            return Err(Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}",
                given("kind"),
                kind.gvk.version,
                kind.gvk.kind
            )));
        }
        if !object::name(&config).is_empty() {
            create::check_name(call, &config)?;
        }
        managed_fields::apply::checked(&call.row.api, kind, &config, call.subresource)?;
        let mut canonical = config.clone();
        let mut warnings =
            codec::normalize(&call.row.api, kind.ty, &kind.gvk, &mut canonical, options.field_validation)?;
        if !doubts.is_empty() {
            // All stand below one heading.
            let mut text = "error converting YAML to JSON: ".to_owned();
            for (at, doubt) in doubts.iter().map(ToString::to_string).enumerate() {
                text.push_str(if at == 0 { &doubt } else { doubt.trim_start_matches(HEADING) });
            }
            match options.field_validation {
                FieldValidation::Strict => {
                    return Err(Status::bad_request(format!("error strict decoding YAML: {text}")));
                }
                FieldValidation::Warn => warnings.push(text),
                FieldValidation::Ignore => {}
            }
        }
        respell(&mut config, &canonical);
        Ok((config, warnings))
    }

    /// The present object (absent: none) with the configuration applied.
    fn applied(
        &self,
        call: &Call<'_>,
        options: &WriteOptions,
        config: &Value,
        present: Option<&Value>,
        versions: &Ownership<'_>,
    ) -> Result<Wish, Status> {
        let kind = &*call.row.kind;
        let write = Write {
            manager: &options.field_manager,
            subresource: call.subresource,
            now: Timestamp::now(),
            versions,
        };
        let mut wanted =
            managed_fields::apply(&call.row.api, kind, present, config.clone(), &write, options.force)?;
        codec::normalize(&call.row.api, kind.ty, &kind.gvk, &mut wanted, options.field_validation)?;
        create::check_name(call, &wanted)?;
        create::set_namespace(call, &mut wanted)?;
        codec::default(&call.row.api, kind.ty, &mut wanted);
        Ok(Wish { value: wanted, applied: true, warnings: Vec::new() })
    }
}

/// The document of an apply patch, and what strict decoding says of it.
///
/// # Errors
/// 400 for a body that is no YAML, or no map.
pub(super) fn document(body: &[u8]) -> Result<(Value, Vec<StrictError>), Status> {
    let refused = |fault: String| Status::bad_request(format!("error decoding YAML: {fault}"));
    let not_yaml = |fault: &dyn Display| refused(format!("error converting YAML to JSON: {fault}"));
    let text = std::str::from_utf8(body).map_err(|_| not_yaml(&"yaml: invalid leading UTF-8 octet"))?;
    let mut doubts = Vec::new();
    let document = yaml::parse(text, &mut doubts).map_err(|fault| not_yaml(&fault))?;
    if !document.is_object() && !document.is_null() {
        return Err(refused(format!(
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value of type \
             map[string]interface {{}}",
            json_type(&document)
        )));
    }
    Ok((document, doubts))
}

/// Takes over the canonical spelling of values (quantities, times), but no member that only the canonical document
/// has: those would come to be owned though nobody wrote them.
fn respell(given: &mut Value, canonical: &Value) {
    match (given, canonical) {
        (Value::Object(given), Value::Object(canonical)) => {
            for (name, value) in given {
                if let Some(canonical) = canonical.get(name) {
                    respell(value, canonical);
                }
            }
        }
        (Value::Array(given), Value::Array(canonical)) if given.len() == canonical.len() => {
            given.iter_mut().zip(canonical).for_each(|(value, canonical)| respell(value, canonical));
        }
        (Value::Object(_) | Value::Array(_), _) => {}
        (given, canonical) => *given = canonical.clone(),
    }
}
