//! YAML as the API takes and gives it: a spelling of JSON.
//!
//! [`parse`] reads one document, [`parse_all`] several; [`decode`] reads a document of a type, [`encode`] writes
//! one and [`emit`] writes any value. Plain scalars resolve by the rules of YAML 1.1 as the original's library has
//! them (`yes` is true, `010` is 8, dates are text), aliases and merge keys are expanded within limits, and keys
//! that come twice are faults of strict mode.
mod emit;
mod faults;
mod parse;
mod resolve;

use crate::Value;
use crate::json::{self, DecodeError, StrictError};
use crate::schema::{Schema, TypeId};

pub use emit::emit;

/// Reads the first document of the text; an empty text is null.
pub fn parse(text: &str, strict: &mut Vec<StrictError>) -> Result<Value, DecodeError> {
    Ok(parse::documents(text, strict, 1)?.into_iter().next().unwrap_or(Value::Null))
}

/// Reads all documents of the text; empty ones are left out.
pub fn parse_all(text: &str, strict: &mut Vec<StrictError>) -> Result<Vec<Value>, DecodeError> {
    let mut documents = parse::documents(text, strict, usize::MAX)?;
    documents.retain(|d| !d.is_null());
    Ok(documents)
}

/// Reads a document of a type into canonical form; see [`json::decode`].
pub fn decode(
    schema: &Schema,
    ty: TypeId,
    bytes: &[u8],
    strict: &mut Vec<StrictError>,
) -> Result<Value, DecodeError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| DecodeError::Syntax("yaml: invalid leading UTF-8 octet".to_owned()))?;
    let mut value = parse(text, strict)?;
    json::normalize(schema, ty, &mut value, strict)?;
    Ok(value)
}

/// The canonical document of a type as YAML, keys sorted.
pub fn encode(schema: &Schema, ty: TypeId, value: &Value) -> String {
    // By way of JSON, which also has the members that a value leaves out.
    let bytes = json::to_vec(schema, ty, value);
    emit(&json::parse(&bytes, &mut Vec::new()).unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests;
