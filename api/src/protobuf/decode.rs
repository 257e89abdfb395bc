//! Message to [`Value`].
use super::envelope::{is_envelope, open, utf8};
use super::wire::{Payload, Reader};
use super::{Decoded, Error, canonical};
use crate::schema::{Field, Shape, Special, TypeId};
use crate::table::Api;
use crate::time::{Timestamp, duration};
use crate::{Object, Value, json};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Deepest nesting of messages; a custom resource's schema is the deepest real one.
const MAX_DEPTH: usize = 100;
/// Most list items and map entries of one document.
const MAX_VALUES: usize = 1_000_000;

/// Reads a bare message of a type into canonical form.
pub fn decode_message(api: &Api, ty: TypeId, bytes: &[u8]) -> Result<Value, Error> {
    let mut value = raw_message(api, ty, bytes, 0)?;
    canonical(&api.schema, ty, &mut value)?;
    Ok(value)
}

fn raw_message(api: &Api, ty: TypeId, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    let this = api.schema.get(ty);
    if this.proto.is_none() {
        return Err(Error::NoMessage(this.name.to_string()));
    }
    let mut object = Object::new();
    Decoder { api, values: 0 }.message(ty, bytes, &mut object, depth)?;
    Ok(Value::Object(object))
}

/// Reads an envelope; `depth` is that of the document which holds it.
pub(super) fn decode_document(api: &Api, bytes: &[u8], depth: usize) -> Result<Decoded, Error> {
    let unknown = open(bytes)?;
    let ty = api.type_of_document(unknown.api_version, unknown.kind).ok_or_else(|| Error::UnknownKind {
        api_version: unknown.api_version.to_owned(),
        kind: unknown.kind.to_owned(),
    })?;
    let mut value = if unknown.content_type == "application/json" {
        json::parse(unknown.raw, &mut Vec::new())?
    } else {
        raw_message(api, ty, unknown.raw, depth + 1)?
    };
    canonical(&api.schema, ty, &mut value)?;
    if let Value::Object(object) = &mut value {
        object.insert("apiVersion".to_owned(), unknown.api_version.into());
        object.insert("kind".to_owned(), unknown.kind.into());
    }
    Ok(Decoded { ty, value })
}

struct Decoder<'a> {
    api: &'a Api,
    values: usize,
}

impl Decoder<'_> {
    /// Reads a message's fields into an object, which holds earlier fields when a message comes in parts.
    fn message(&mut self, ty: TypeId, bytes: &[u8], object: &mut Object, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::Limit);
        }
        let api = self.api;
        let this = api.schema.get(ty);
        let mut reader = Reader::new(bytes);
        while let Some((number, payload)) = reader.field()? {
            let Some(field) = this.numbered(number) else { continue };
            if field.inline
                && let Shape::Struct(inner) = field.shape
            {
                let Payload::Bytes(bytes) = payload else { return Err(Error::Malformed) };
                self.message(inner, bytes, object, depth + 1)?;
            } else if !field.name.is_empty() {
                self.field(field, payload, object, depth)?;
            }
        }
        Ok(())
    }

    fn field(
        &mut self,
        field: &Field,
        payload: Payload<'_>,
        object: &mut Object,
        depth: usize,
    ) -> Result<(), Error> {
        let name = &*field.name;
        match (&field.shape, payload) {
            (Shape::List(item), Payload::Bytes(bytes)) if field.wrapped => {
                let list = self.wrapped(item, bytes, depth)?;
                object.insert(name.to_owned(), list);
            }
            (Shape::List(item), payload) => {
                let Value::Array(list) = slot(object, name, || Value::Array(Vec::new())) else {
                    return Err(Error::Malformed);
                };
                self.item(item, payload, list, depth)?;
            }
            (Shape::Map(item), Payload::Bytes(bytes)) => {
                self.count()?;
                let (key, value) = self.entry(item, bytes, depth)?;
                if let Value::Object(map) = slot(object, name, json::empty_object) {
                    map.insert(key, value);
                }
            }
            (Shape::Struct(ty), Payload::Bytes(bytes)) => {
                if let Value::Object(inner) = slot(object, name, json::empty_object) {
                    self.message(*ty, bytes, inner, depth + 1)?;
                }
            }
            // Most of a Go object is zeros that canonical form leaves out.
            (Shape::String, Payload::Bytes(b""))
            | (Shape::Bool | Shape::Int32 | Shape::Int64, Payload::Varint(0))
                if field.omit_empty && !field.pointer =>
            {
                object.remove(name);
            }
            (shape, payload) => {
                let value = self.single(shape, payload, depth)?;
                object.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    fn count(&mut self) -> Result<(), Error> {
        self.values += 1;
        if self.values > MAX_VALUES { Err(Error::Limit) } else { Ok(()) }
    }

    /// A list item, or a run of packed numbers.
    fn item(
        &mut self,
        item: &Shape,
        payload: Payload<'_>,
        list: &mut Vec<Value>,
        depth: usize,
    ) -> Result<(), Error> {
        self.count()?;
        if let (Shape::Int32 | Shape::Int64 | Shape::Bool | Shape::Float64, Payload::Bytes(bytes)) =
            (item, payload)
        {
            let mut packed = Reader::new(bytes);
            while !packed.is_empty() {
                self.count()?;
                let payload = match item {
                    Shape::Float64 => Payload::Fixed64(packed.fixed64()?),
                    _ => Payload::Varint(packed.varint()?),
                };
                list.push(self.single(item, payload, depth)?);
            }
            return Ok(());
        }
        list.push(self.single(item, payload, depth)?);
        Ok(())
    }

    /// A list that is a message with repeated field 1.
    fn wrapped(&mut self, item: &Shape, bytes: &[u8], depth: usize) -> Result<Value, Error> {
        let mut list = Vec::new();
        let mut reader = Reader::new(bytes);
        while let Some((number, payload)) = reader.field()? {
            if number == 1 {
                self.item(item, payload, &mut list, depth)?;
            }
        }
        Ok(Value::Array(list))
    }

    fn entry(&mut self, item: &Shape, bytes: &[u8], depth: usize) -> Result<(String, Value), Error> {
        let (mut key, mut value) = (String::new(), None);
        let mut reader = Reader::new(bytes);
        while let Some((number, payload)) = reader.field()? {
            match (number, payload) {
                (1, Payload::Bytes(text)) => utf8(text)?.clone_into(&mut key),
                (2, Payload::Bytes(bytes)) if matches!(item, Shape::List(_)) => {
                    let Shape::List(inner) = item else { continue };
                    value = Some(self.wrapped(inner, bytes, depth)?);
                }
                (2, payload) => value = Some(self.single(item, payload, depth + 1)?),
                (1, _) => return Err(Error::Malformed),
                _ => {}
            }
        }
        // Null becomes the zero of its type in canonical form.
        Ok((key, value.unwrap_or(Value::Null)))
    }

    fn single(&mut self, shape: &Shape, payload: Payload<'_>, depth: usize) -> Result<Value, Error> {
        Ok(match (shape, payload) {
            (Shape::String, Payload::Bytes(text)) => Value::from(utf8(text)?),
            (Shape::Bytes, Payload::Bytes(bytes)) => Value::from(STANDARD.encode(bytes)),
            (Shape::Bool, Payload::Varint(n)) => Value::from(n != 0),
            (Shape::Int32, Payload::Varint(n)) => Value::from(n as i32),
            (Shape::Int64, Payload::Varint(n)) => Value::from(n as i64),
            (Shape::Float64, Payload::Fixed64(bits)) => Value::from(f64::from_bits(bits)),
            (Shape::Struct(ty), Payload::Bytes(bytes)) => {
                let mut object = Object::new();
                self.message(*ty, bytes, &mut object, depth + 1)?;
                Value::Object(object)
            }
            (Shape::Special(special), Payload::Bytes(bytes)) => self.special(*special, bytes, depth + 1)?,
            _ => return Err(Error::Malformed),
        })
    }

    fn special(&mut self, special: Special, bytes: &[u8], depth: usize) -> Result<Value, Error> {
        match special {
            Special::SchemaOrBool(ty) | Special::SchemaOrArray(ty) | Special::SchemaOrStrings(ty) => {
                return self.schema_union(special, ty, bytes, depth);
            }
            _ => {}
        }
        let (mut ints, mut blob) = ([0i64; 2], None);
        let mut reader = Reader::new(bytes);
        let mut empty = true;
        while let Some((number, payload)) = reader.field()? {
            empty = false;
            match (number, payload) {
                (1 | 2, Payload::Varint(n)) => ints[number as usize - 1] = n as i64,
                (1 | 3, Payload::Bytes(bytes)) => blob = Some(bytes),
                _ => {}
            }
        }
        Ok(match special {
            Special::Time | Special::MicroTime if empty => Value::Null,
            Special::Time | Special::MicroTime => time(special, ints)?,
            Special::Duration => Value::from(duration::format(ints[0])),
            Special::Quantity => Value::from(utf8(blob.unwrap_or(b"0"))?),
            Special::IntOrString if ints[0] == 1 => Value::from(utf8(blob.unwrap_or_default())?),
            Special::IntOrString => Value::from(ints[1] as i32),
            _ => match blob {
                None | Some(b"") => Value::Null,
                Some(inner) if is_envelope(inner) && depth < MAX_DEPTH => {
                    decode_document(self.api, inner, depth)?.value
                }
                Some(json) => json::parse(json, &mut Vec::new())?,
            },
        })
    }

    fn schema_union(
        &mut self,
        special: Special,
        ty: TypeId,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Value, Error> {
        let schema = Shape::Struct(ty);
        let (mut allows, mut single, mut list) = (false, None, None::<Vec<Value>>);
        let mut reader = Reader::new(bytes);
        while let Some((number, payload)) = reader.field()? {
            match (special, number) {
                (Special::SchemaOrBool(_), 1) => allows = matches!(payload, Payload::Varint(n) if n != 0),
                (Special::SchemaOrBool(_), 2) | (_, 1) => {
                    single = Some(self.single(&schema, payload, depth)?)
                }
                (Special::SchemaOrArray(_), 2) => {
                    self.item(&schema, payload, list.get_or_insert_default(), depth)?;
                }
                (_, 2) => self.item(&Shape::String, payload, list.get_or_insert_default(), depth)?,
                _ => {}
            }
        }
        Ok(match (special, single, list) {
            (_, Some(schema), _) => schema,
            (Special::SchemaOrBool(_), None, _) => Value::from(allows),
            (_, None, Some(list)) => Value::Array(list),
            (_, None, None) => Value::Null,
        })
    }
}

/// The member of the given name, made where it is not there yet.
fn slot<'a>(object: &'a mut Object, name: &str, make: impl FnOnce() -> Value) -> &'a mut Value {
    // An entry would need an owned name even where the member is there.
    if !object.contains_key(name) {
        object.insert(name.to_owned(), make());
    }
    &mut object[name]
}

fn time(special: Special, [seconds, nanos]: [i64; 2]) -> Result<Value, Error> {
    // Years 1 to 9999; others have no RFC 3339 form.
    if !(-62_135_596_800..253_402_300_800).contains(&seconds) {
        return Err(Error::Malformed);
    }
    let time = Timestamp { seconds, nanos: nanos.clamp(0, 999_999_999) as u32 };
    Ok(Value::from(if special == Special::Time { time.to_rfc3339() } else { time.to_rfc3339_micro() }))
}
