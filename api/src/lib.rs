//! The Kubernetes API as data, without I/O.
//!
//! One [`schema::Schema`] describes every type, one list of [`kind::Kind`] rows describes every resource, and
//! every mechanism (codecs, patches, field ownership, defaults, OpenAPI, columns) reads those. Documents are
//! [`Value`]s: JSON, with maps in key order; [`json::encode`] output is ordered by the schema.
pub mod cel;
pub mod columns;
pub mod custom;
pub mod defaults;
pub mod field;
pub mod fuzzing;
pub mod gates;
pub mod go_text;
pub mod int_or_string;
pub mod json;
pub mod kind;
pub mod managed_fields;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod quota;
pub mod re2;
pub mod schema;
pub mod selector;
pub mod status;
pub mod table;
#[cfg(test)]
mod testing;
pub mod time;
pub mod validation;
pub mod yaml;

/// A decoded API object or a part of one.
pub use serde_json::Value;
/// The members of a decoded JSON object.
pub type Object = serde_json::Map<String, Value>;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod roundtrip;
