//! Selectors: conditions on labels and on fields, as requests and objects write them.
//!
//! Source: "Labels and Selectors" and "Field Selectors" of the Kubernetes documentation; error texts and
//! printed forms are the original's.
mod field;
mod label;
mod parse;

pub use field::{FieldRequirement, FieldSelector};
pub use label::{LabelSelector, Labels, Operator, Requirement};

/// Why a selector was refused; the text is the message of a 400.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub(crate) String);
