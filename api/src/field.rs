//! Field errors of validation: path, kind of fault, value and detail, worded as the original words them.
use crate::Value;
use std::fmt::{self, Display, Formatter};

/// What is wrong with a field; the name is the `reason` of the cause in `Status.details`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// `FieldValueInvalid`.
    Invalid,
    /// `FieldValueRequired`.
    Required,
    /// `FieldValueNotSupported`.
    NotSupported,
    /// `FieldValueDuplicate`.
    Duplicate,
    /// `FieldValueNotFound`.
    NotFound,
    /// `FieldValueForbidden`.
    Forbidden,
    /// `FieldValueTooLong`.
    TooLong,
    /// `FieldValueTooMany`.
    TooMany,
    /// `FieldValueTypeInvalid`.
    TypeInvalid,
    /// `InternalError`.
    Internal,
}

impl ErrorType {
    /// The `reason` of a cause.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Invalid => "FieldValueInvalid",
            Self::Required => "FieldValueRequired",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::NotFound => "FieldValueNotFound",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::Internal => "InternalError",
        }
    }
}

/// One fault of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorType,
    /// Path, `spec.containers[0].name`.
    pub path: String,
    /// The text after the path: `Required value: name is needed`.
    pub body: String,
}

impl Error {
    /// `Invalid value: ‹value›: ‹detail›`.
    pub fn invalid(path: impl Display, value: &Value, detail: impl Display) -> Self {
        Self::new(ErrorType::Invalid, path, format!("Invalid value: {value}: {detail}"))
    }

    /// `Required value[: ‹detail›]`.
    pub fn required(path: impl Display, detail: impl Display) -> Self {
        Self::new(ErrorType::Required, path, with_detail("Required value", &detail.to_string()))
    }

    /// `Unsupported value: ‹value›: supported values: "A", "B"`.
    pub fn not_supported(path: impl Display, value: &Value, supported: &[&str]) -> Self {
        let list = supported.iter().map(|s| format!("{s:?}")).collect::<Vec<_>>().join(", ");
        Self::new(
            ErrorType::NotSupported,
            path,
            format!("Unsupported value: {value}: supported values: {list}"),
        )
    }

    /// `Duplicate value: ‹value›`.
    pub fn duplicate(path: impl Display, value: impl Display) -> Self {
        Self::new(ErrorType::Duplicate, path, format!("Duplicate value: {value}"))
    }

    /// `Not found: ‹value›`.
    pub fn not_found(path: impl Display, value: &Value) -> Self {
        Self::new(ErrorType::NotFound, path, format!("Not found: {value}"))
    }

    /// `Forbidden[: ‹detail›]`.
    pub fn forbidden(path: impl Display, detail: impl Display) -> Self {
        Self::new(ErrorType::Forbidden, path, with_detail("Forbidden", &detail.to_string()))
    }

    /// `Too long: may not be more than ‹limit› bytes`.
    pub fn too_long(path: impl Display, limit: usize) -> Self {
        Self::new(ErrorType::TooLong, path, format!("Too long: may not be more than {limit} bytes"))
    }

    /// `Too many: ‹n›: must have at most ‹limit› items`.
    pub fn too_many(path: impl Display, n: usize, limit: usize) -> Self {
        Self::new(ErrorType::TooMany, path, format!("Too many: {n}: must have at most {limit} items"))
    }

    /// An error of the given type with its body already worded.
    pub fn new(kind: ErrorType, path: impl Display, body: String) -> Self {
        Self { kind, path: path.to_string(), body }
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body)
    }
}

fn with_detail(head: &str, detail: &str) -> String {
    if detail.is_empty() { head.to_owned() } else { format!("{head}: {detail}") }
}

/// All faults of one object, in the order they were found.
pub type ErrorList = Vec<Error>;
