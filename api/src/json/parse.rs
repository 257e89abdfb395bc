//! JSON text to [`Value`], noticing members that come twice.
use super::path::Frame;
use super::{DecodeError, StrictError};
use crate::{Object, Value};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_json::map::Entry;
use std::cell::RefCell;
use std::fmt;

/// Most strict faults that are reported of one document.
pub(super) const MAX_STRICT: usize = 100;

/// Reads one document; trailing text is an error. Characters that are none are replaced, as Go does.
pub(super) fn parse(bytes: &[u8], strict: &mut Vec<StrictError>) -> Result<Value, DecodeError> {
    let before = strict.len();
    read(bytes, strict).or_else(|error| {
        if let Some(fault) = super::syntax::fault(bytes) {
            return Err(DecodeError::Syntax(fault));
        }
        strict.truncate(before);
        // The original goes deeper, which no stack here would bear.
        let fault = |error: serde_json::Error| match error.to_string() {
            text if text.starts_with("recursion limit exceeded") => "exceeded max depth".to_owned(),
            text => text,
        };
        read(&mended(bytes), strict).map_err(|_| DecodeError::Syntax(fault(error)))
    })
}

fn read(bytes: &[u8], strict: &mut Vec<StrictError>) -> Result<Value, serde_json::Error> {
    let strict = RefCell::new(strict);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let root = Frame::root();
    let value = Seed { path: &root, strict: &strict }.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

/// A well-formed text with U+FFFD for each byte that is no part of a character, and for each half of a surrogate pair
/// that is without the other.
pub(super) fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    let text = text.into_bytes();
    let unit = |at: usize| {
        let escape = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(escape).ok()?, 16).ok()
    };
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let (length, is_whole) = match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => (12, true),
            Some(0xD800..=0xDFFF) => (6, false),
            Some(_) => (6, true),
            // Another escape, whose second character begins none.
            None if text[at] == b'\\' => (2, true),
            None => (1, true),
        };
        let end = text.len().min(at + length);
        out.extend_from_slice(if is_whole { &text[at..end] } else { b"\\ufffd" });
        at = end;
    }
    out
}

#[derive(Clone, Copy)]
struct Seed<'a, 's> {
    path: &'a Frame<'a>,
    strict: &'a RefCell<&'s mut Vec<StrictError>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) =
            items.next_element_seed(Seed { path: &self.path.index(list.len()), strict: self.strict })?
        {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Object::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = {
                let path = self.path.key(&key);
                members.next_value_seed(Seed { path: &path, strict: self.strict })?
            };
            match object.entry(key) {
                Entry::Vacant(free) => {
                    free.insert(value);
                }
                Entry::Occupied(mut taken) => {
                    let path = self.path.key(taken.key()).full();
                    report(&mut self.strict.borrow_mut(), StrictError::Duplicate(path));
                    taken.insert(value);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

/// Adds a fault once, up to the limit.
pub(crate) fn report(strict: &mut Vec<StrictError>, error: StrictError) {
    if strict.len() < MAX_STRICT && !strict.contains(&error) {
        strict.push(error);
    }
}
