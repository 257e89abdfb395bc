//! Scalars and special forms: their checks, canonical spellings and zeros.
use super::DecodeError;
use crate::schema::{Schema, Shape, Special};
use crate::time::{Timestamp, duration};
use crate::{Object, Value};
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use base64::{Engine as _, alphabet};

/// The JSON type's name in Go's error texts.
pub fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Go's idea of empty under `omitempty`.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

/// What Go has for an absent value: null for what may be nil, else the zero, members of structs included.
pub(crate) fn zero(schema: &Schema, shape: &Shape) -> Value {
    match shape {
        Shape::String => Value::String(String::new()),
        Shape::Bool => Value::Bool(false),
        Shape::Int32 | Shape::Int64 | Shape::Float64 => Value::from(0),
        Shape::Bytes | Shape::List(_) | Shape::Map(_) => Value::Null,
        Shape::Special(Special::Quantity) => Value::from("0"),
        Shape::Special(Special::Duration) => Value::from("0s"),
        Shape::Special(Special::IntOrString) => Value::from(0),
        Shape::Special(_) => Value::Null,
        Shape::Struct(ty) => {
            let mut object = Object::new();
            for field in schema.json_fields(*ty) {
                if field.always_written() && !field.pointer {
                    let member = zero(schema, &field.shape);
                    if !member.is_null() {
                        object.insert((*field.name).to_owned(), member);
                    }
                }
            }
            Value::Object(object)
        }
    }
}

/// Checks and respells a plain scalar; false: it has the wrong JSON type.
pub(super) fn normalize(shape: &Shape, value: &mut Value) -> Result<bool, DecodeError> {
    Ok(match (shape, &mut *value) {
        (Shape::String, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => true,
        (Shape::Int32, Value::Number(n)) => n.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        (Shape::Int64, Value::Number(n)) => n.is_i64(),
        (Shape::Float64, Value::Number(n)) => {
            if let Some(whole) = n.as_f64().and_then(whole) {
                *value = Value::from(whole);
            }
            true
        }
        (Shape::Bytes, Value::String(text)) => {
            respell_base64(text)?;
            true
        }
        _ => false,
    })
}

/// The integer that a double without a fraction is written as; exact below 2^53.
fn whole(number: f64) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation)]
    let exact = number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0;
    exact.then_some(number as i64)
}

/// Like [`STANDARD`], but for bits of the last symbol that mean nothing, which Go does not look at.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

fn respell_base64(text: &mut String) -> Result<(), DecodeError> {
    if STANDARD.decode(text.as_bytes()).is_ok() {
        return Ok(());
    }
    let plain = text.replace(['\r', '\n'], "");
    match LENIENT.decode(plain.as_bytes()) {
        Ok(bytes) => {
            *text = STANDARD.encode(bytes);
            Ok(())
        }
        Err(_) => Err(DecodeError::Invalid(format!(
            "illegal base64 data at input byte {}",
            corrupt_at(text.as_bytes())
        ))),
    }
}

/// Where Go finds fault with a text that is no base64: at a symbol that is none, where padding is wrong, or so many
/// bytes before the end as the last group of four has.
fn corrupt_at(text: &[u8]) -> usize {
    let mut group = 0;
    let mut rest = text.iter().enumerate().filter(|(_, byte)| !matches!(byte, b'\r' | b'\n'));
    while let Some((at, byte)) = rest.next() {
        match byte {
            b'=' if group == 2 => {
                return match rest.next() {
                    // What follows the padding.
                    Some((_, b'=')) => rest.next().map_or(text.len(), |(at, _)| at),
                    Some((at, _)) => at - 1,
                    None => text.len(),
                };
            }
            b'=' if group == 3 => return rest.next().map_or(text.len(), |(at, _)| at),
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') => group = (group + 1) % 4,
            _ => return at,
        }
    }
    text.len() - group
}

/// Checks and respells a special form other than the JSON-schema unions; false: it has the wrong JSON type.
pub(super) fn normalize_special(special: Special, value: &mut Value) -> Result<bool, DecodeError> {
    let invalid = |e: &dyn std::fmt::Display| DecodeError::Invalid(e.to_string());
    match (special, &mut *value) {
        (Special::Time, Value::String(text)) if is_plain_time(text.as_bytes()) => {}
        (Special::Time, Value::String(text)) => {
            let time = Timestamp::parse(text).map_err(|e| invalid(&e))?;
            *value = if time.is_zero() { Value::Null } else { time.to_rfc3339().into() };
        }
        (Special::MicroTime, Value::String(text)) => {
            let time = Timestamp::parse_micro(text).map_err(|e| invalid(&e))?;
            *value = if time.is_zero() { Value::Null } else { time.to_rfc3339_micro().into() };
        }
        (Special::Duration, Value::String(text)) => {
            let nanos = duration::parse(text).map_err(|e| invalid(&e))?;
            *value = duration::format(nanos).into();
        }
        (Special::Quantity, Value::String(text)) => {
            let short = text.len() < 12 && text.bytes().all(|b| b.is_ascii_digit());
            if !(short && (text == "0" || text.as_bytes().first().is_some_and(|b| *b != b'0'))) {
                *text = crate::quantity::canonical(text).map_err(|e| invalid(&e))?;
            }
        }
        (Special::Quantity, Value::Number(n)) => {
            let text = crate::quantity::canonical(&n.to_string()).map_err(|e| invalid(&e))?;
            *value = text.into();
        }
        (Special::Quantity, _) => {
            // Go's quantity reads whatever stands there as text.
            return crate::quantity::canonical(&value.to_string()).map(|_| false).map_err(|e| invalid(&e));
        }
        (Special::IntOrString, Value::String(_)) => {}
        (Special::IntOrString, Value::Number(n)) => {
            if n.as_i64().is_none_or(|n| i32::try_from(n).is_err()) {
                let text = format!("json: cannot unmarshal number {n} into Go value of type int32");
                return Err(DecodeError::Type(text));
            }
        }
        (Special::FieldsV1 | Special::RawExtension | Special::Json | Special::Any, _) => {}
        _ => return Ok(false),
    }
    Ok(true)
}

/// `2006-01-02T15:04:05Z` with a plausible date, which needs no respelling; the zero time is not plain.
fn is_plain_time(text: &[u8]) -> bool {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'Z'] = text
    else {
        return false;
    };
    let digits = [y1, y2, y3, y4, m1, m2, d1, d2, h1, h2, n1, n2, s1, s2];
    let two = |a: &u8, b: &u8| u32::from(a - b'0') * 10 + u32::from(b - b'0');
    digits.iter().all(|d| d.is_ascii_digit())
        && *y1 != b'0'
        && (1..=12).contains(&two(m1, m2))
        && (1..=28).contains(&two(d1, d2))
        && two(h1, h2) < 24
        && two(n1, n2) < 60
        && two(s1, s2) < 60
}
