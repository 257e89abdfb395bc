//! The entries of `managedFields`: a manager, how it wrote, and its fields.
use super::set::{ElementError, Set};
use super::versions::Differences;
use crate::{Object, Value};
use std::cmp::Ordering;

/// How a manager wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// By create, update or patch.
    Update,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The manager's name.
    pub manager: String,
    /// How it wrote.
    pub operation: Operation,
    /// The version its paths speak of.
    pub api_version: String,
    /// The subresource written through; empty for the main resource.
    pub subresource: String,
    /// When its fields last changed, RFC 3339.
    pub time: Option<String>,
    /// What it owns.
    pub fields: Set,
}

/// Why entries sent by a client cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// Not a list of objects.
    #[error("managedFields must be a list of objects")]
    Form,
    /// Neither `Apply` nor `Update`.
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    /// No `apiVersion`.
    #[error("apiVersion must not be empty")]
    ApiVersion,
    /// `fieldsType` is not `FieldsV1`.
    #[error("invalid fieldsType {0:?} in managed fields entry")]
    FieldsType(String),
    /// Bad `fieldsV1`.
    #[error(transparent)]
    Element(#[from] ElementError),
}

impl Entry {
    /// Reads entries that a client sent.
    pub fn decode(entries: Value) -> Result<Vec<Self>, EntryError> {
        Self::decode_with(entries, |fields| Set::parse(fields).map_err(EntryError::from))
    }

    /// Reads entries that the server has written before.
    pub(super) fn decode_trusted(entries: Value) -> Result<Vec<Self>, EntryError> {
        Self::decode_with(entries, |fields| Ok(Set::trusted(fields)))
    }

    fn decode_with(
        entries: Value,
        fields: fn(Value) -> Result<Set, EntryError>,
    ) -> Result<Vec<Self>, EntryError> {
        let Value::Array(entries) = entries else { return Err(EntryError::Form) };
        let decode = |entry: Value| {
            let Value::Object(mut entry) = entry else { return Err(EntryError::Form) };
            let fields = fields(entry.remove("fieldsV1").unwrap_or_else(|| Value::Object(Object::new())))?;
            let mut text = |name: &str| match entry.remove(name) {
                Some(Value::String(text)) => text,
                _ => String::new(),
            };
            let operation = match text("operation").as_str() {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return Err(EntryError::Operation),
            };
            let api_version = text("apiVersion");
            if api_version.is_empty() {
                return Err(EntryError::ApiVersion);
            }
            let fields_type = text("fieldsType");
            if fields_type != "FieldsV1" {
                return Err(EntryError::FieldsType(fields_type));
            }
            let (manager, subresource) = (text("manager"), text("subresource"));
            let time = Some(text("time")).filter(|t| !t.is_empty());
            Ok(Self { manager, operation, api_version, subresource, time, fields })
        };
        entries.into_iter().map(decode).collect()
    }

    /// The entry as it stands in the object.
    pub(super) fn encode(self) -> Value {
        let mut entry = Object::new();
        let operation = match self.operation {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        };
        let mut text = |name: &str, text: String| {
            if !text.is_empty() {
                entry.insert(name.to_owned(), Value::String(text));
            }
        };
        text("manager", self.manager);
        text("operation", operation.to_owned());
        text("apiVersion", self.api_version);
        text("time", self.time.unwrap_or_default());
        text("fieldsType", "FieldsV1".to_owned());
        text("subresource", self.subresource);
        entry.insert("fieldsV1".to_owned(), self.fields.into_value());
        Value::Object(entry)
    }

    /// Takes away what a write changed or removed; false where the entry's version is not served any more.
    pub(super) fn lose(&mut self, differences: &mut Differences<'_>) -> bool {
        let Some(found) = differences.of(&self.api_version) else { return false };
        self.fields.subtract(&found.removed);
        self.fields.subtract(&found.changed);
        true
    }

    /// Whether the other entry speaks of the same manager; an applier is the same in every version.
    pub(super) fn same_manager(&self, other: &Self) -> bool {
        self.operation == other.operation
            && self.manager == other.manager
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// The order of entries in an object: applies first, then by time.
    pub(super) fn order(a: &Self, b: &Self) -> Ordering {
        // Times are whole seconds in UTC, so that their texts sort like the times; absent ones come first.
        (a.operation, &a.time)
            .cmp(&(b.operation, &b.time))
            .then_with(|| a.manager.cmp(&b.manager))
            .then_with(|| a.api_version.cmp(&b.api_version))
            .then_with(|| a.subresource.cmp(&b.subresource))
    }
}
