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

/// Reads one document; trailing text is an error.
pub(super) fn parse(bytes: &[u8], strict: &mut Vec<StrictError>) -> Result<Value, DecodeError> {
    let strict = RefCell::new(strict);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let root = Frame::root();
    let seed = Seed { path: &root, strict: &strict };
    let syntax = |e: serde_json::Error| {
        let fault = super::syntax::fault(bytes).unwrap_or_else(|| e.to_string());
        DecodeError::Syntax(fault)
    };
    let value = seed.deserialize(&mut reader).map_err(syntax)?;
    reader.end().map_err(syntax)?;
    Ok(value)
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
