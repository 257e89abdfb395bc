//! `Status`, the error object of the API: built only here, so that code, reason, message and details agree.
//!
//! Source: API conventions, "Response Status Kind"; the message forms are the original's.
use crate::field;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display, Formatter};

/// A failed request, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason, `NotFound`; empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Text for people.
    pub message: String,
    /// What the error is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Details>>,
    /// `metadata.continue`: where a list whose token expired may go on.
    #[serde(skip)]
    pub next: String,
}

/// `Status.details`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// Object name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Plural resource name, or the kind for `Invalid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID in conflicts.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Single faults.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds after which a retry makes sense; 0 when unset.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// One entry of `Status.details.causes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// Reason, `FieldValueInvalid`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Field path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The resource an error speaks of: group and plural name.
#[derive(Clone, Copy, Debug)]
pub struct Resource<'a> {
    /// API group.
    pub group: &'a str,
    /// Plural name (`deployments`).
    pub plural: &'a str,
}

impl Display for Resource<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(self.plural)
        } else {
            write!(f, "{}.{}", self.plural, self.group)
        }
    }
}

impl Status {
    /// An error without details.
    pub fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), details: None, next: String::new() }
    }

    /// 400 `BadRequest`.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 401 `Unauthorized`.
    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    /// 403 `Forbidden` on an object: `pods "x" is forbidden: ‹cause›`.
    pub fn forbidden(resource: Resource<'_>, name: &str, cause: impl Display) -> Self {
        let subject = if name.is_empty() { format!("{resource}") } else { format!("{resource} \"{name}\"") };
        Self::about(resource, name, Self::new(403, "Forbidden", format!("{subject} is forbidden: {cause}")))
    }

    /// A refusal like [`Status::forbidden`] for another reason that an admission policy gives: `Forbidden`,
    /// `Unauthorized`, `RequestEntityTooLarge`; all else is `Invalid`.
    pub fn refused(resource: Resource<'_>, name: &str, cause: impl Display, reason: &str) -> Self {
        let code = match reason {
            "Forbidden" => 403,
            "Unauthorized" => 401,
            "RequestEntityTooLarge" => 413,
            _ => 422,
        };
        let text = cause.to_string();
        let status = Self { code, reason: reason.to_owned(), ..Self::forbidden(resource, name, &text) };
        status.with_cause("", text, "")
    }

    /// 404 `NotFound`.
    pub fn not_found(resource: Resource<'_>, name: &str) -> Self {
        Self::about(resource, name, Self::new(404, "NotFound", format!("{resource} \"{name}\" not found")))
    }

    /// 405 `MethodNotAllowed`.
    pub fn method_not_allowed(resource: Resource<'_>, action: &str) -> Self {
        let text = format!("{action} is not supported on resources of kind \"{resource}\"");
        Self::about(resource, "", Self::new(405, "MethodNotAllowed", text))
    }

    /// 406 `NotAcceptable`.
    pub fn not_acceptable(accepted: &str) -> Self {
        Self::new(406, "NotAcceptable", format!("only the following media types are accepted: {accepted}"))
    }

    /// 409 `AlreadyExists`.
    pub fn already_exists(resource: Resource<'_>, name: &str) -> Self {
        Self::about(
            resource,
            name,
            Self::new(409, "AlreadyExists", format!("{resource} \"{name}\" already exists")),
        )
    }

    /// 409 `Conflict`.
    pub fn conflict(resource: Resource<'_>, name: &str, cause: impl Display) -> Self {
        let text = format!("Operation cannot be fulfilled on {resource} \"{name}\": {cause}");
        Self::about(resource, name, Self::new(409, "Conflict", text))
    }

    /// 410 `Expired`.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 413 `RequestEntityTooLarge`.
    pub fn too_large(message: impl Display) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: {message}"))
    }

    /// 415 `UnsupportedMediaType`.
    pub fn unsupported_media_type(accepted: &str) -> Self {
        Self::new(
            415,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {accepted}"
            ),
        )
    }

    /// 422 `Invalid`: all faults of one object; `kind` is the Kind, not the plural.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &[field::Error]) -> Self {
        let mut texts: Vec<String> = Vec::new();
        for text in errors.iter().map(ToString::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let listed = if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) };
        let dotted = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let mut status = Self::new(422, "Invalid", format!("{dotted} \"{name}\" is invalid: {listed}"));
        let causes = errors.iter().map(|e| Cause {
            reason: e.kind.reason().to_owned(),
            message: e.body.clone(),
            field: e.path.clone(),
        });
        status.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes: causes.collect(),
            ..Details::default()
        }));
        status
    }

    /// 429 `TooManyRequests`, to be retried after `seconds`.
    pub fn too_many_requests(message: impl Into<String>, seconds: u32) -> Self {
        Self::new(429, "TooManyRequests", message).retry_after(seconds)
    }

    /// 500 `InternalError`.
    pub fn internal(message: impl Display) -> Self {
        Self::new(500, "InternalError", format!("Internal error occurred: {message}"))
    }

    /// 503 `ServiceUnavailable`.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// 504 `Timeout`.
    pub fn timeout(message: impl Display) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {message}"))
    }

    /// Sets `details.retryAfterSeconds`.
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Adds a cause.
    pub fn with_cause(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let cause = Cause { reason: reason.to_owned(), message: message.into(), field: field.to_owned() };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    fn about(resource: Resource<'_>, name: &str, mut status: Self) -> Self {
        let details = status.details.get_or_insert_default();
        details.name = name.to_owned();
        details.group = resource.group.to_owned();
        details.kind = resource.plural.to_owned();
        status
    }

    /// The `Status` object as JSON, members in the original's order.
    pub fn to_json(&self) -> Vec<u8> {
        #[derive(Serialize)]
        struct Wire<'a> {
            kind: &'static str,
            #[serde(rename = "apiVersion")]
            api_version: &'static str,
            metadata: serde_json::Map<String, serde_json::Value>,
            status: &'static str,
            message: &'a str,
            #[serde(skip_serializing_if = "str::is_empty")]
            reason: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            details: Option<&'a Details>,
            code: u16,
        }
        let mut metadata = serde_json::Map::new();
        if !self.next.is_empty() {
            metadata.insert("continue".into(), self.next.clone().into());
        }
        let wire = Wire {
            kind: "Status",
            api_version: "v1",
            metadata,
            status: "Failure",
            message: &self.message,
            reason: &self.reason,
            details: self.details.as_deref(),
            code: self.code,
        };
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

impl Display for Status {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}
