//! Canonical bytes of a [`Value`], members in the order of the schema.
use super::normalize::omitted;
use super::scalar::zero;
use super::text::{write_number, write_string};
use crate::schema::{Field, Schema, Shape, Special, TypeId};
use crate::{Object, Value};

/// Appends the document's bytes as Go's encoder writes them: `kind` and `apiVersion` first, then the schema's
/// order, zero members that are not `omitempty` also where the value lacks them, `<`, `>` and `&` escaped, no
/// blanks. Members that the type does not have are left out.
pub fn encode(schema: &Schema, ty: TypeId, value: &Value, out: &mut Vec<u8>) {
    Encoder { schema, out }.structure(ty, value);
}

/// Appends any JSON, members in key order, escaped as [`encode`] does.
pub fn encode_untyped(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(n) => write_number(n, out),
        Value::String(s) => write_string(s, out),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                comma(at, out);
                encode_untyped(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (at, (name, member)) in members.iter().enumerate() {
                comma(at, out);
                write_string(name, out);
                out.push(b':');
                encode_untyped(member, out);
            }
            out.push(b'}');
        }
    }
}

fn comma(at: usize, out: &mut Vec<u8>) {
    if at > 0 {
        out.push(b',');
    }
}

struct Encoder<'a, 'o> {
    schema: &'a Schema,
    out: &'o mut Vec<u8>,
}

impl<'a> Encoder<'a, '_> {
    fn structure(&mut self, ty: TypeId, value: &Value) {
        match value {
            Value::Object(object) => self.object(ty, object),
            // A value that was not normalised: written as it is rather than lost.
            _ => encode_untyped(value, self.out),
        }
    }

    fn object(&mut self, ty: TypeId, object: &Object) {
        let schema = self.schema;
        let this = schema.get(ty);
        self.out.push(b'{');
        let mut empty = true;
        if this.has_type_meta {
            for name in ["kind", "apiVersion"] {
                if let Some(Value::String(text)) = object.get(name)
                    && !text.is_empty()
                    && this.field(name).is_none()
                {
                    self.name(name, &mut empty);
                    write_string(text, self.out);
                }
            }
        }
        // Members in the schema's order: found by name, then sorted by position.
        let mut found: [(u16, Option<&Value>); INLINE] = [(0, None); INLINE];
        let mut count = 0;
        let mut spill = Vec::new();
        for (name, member) in object {
            if let Some((at, _)) = schema.json_position(ty, name) {
                if count < INLINE {
                    found[count] = (at as u16, Some(member));
                } else {
                    if count == INLINE {
                        spill.extend_from_slice(&found);
                    }
                    spill.push((at as u16, Some(member)));
                }
                count += 1;
            }
        }
        let keeps_null = this.custom;
        let found = if count > INLINE { &mut spill[..] } else { &mut found[..count] };
        found.sort_unstable_by_key(|(at, _)| *at);
        let mut found =
            found.iter().map(|(at, value)| (*at, value.filter(|v| keeps_null || !v.is_null()))).peekable();
        let mut always = this.always.iter().copied().peekable();
        loop {
            let (at, value) = match (found.peek(), always.peek()) {
                (Some((here, _)), Some(due)) if due < here => (*due, None),
                (Some(next), _) => *next,
                (None, Some(due)) => (*due, None),
                (None, None) => break,
            };
            found.next_if(|(here, _)| *here == at);
            always.next_if_eq(&at);
            self.field(schema.json_field_at(ty, at as usize), value, &mut empty);
        }
        if this.preserve_unknown {
            self.unknown(ty, object, &mut empty);
        }
        self.out.push(b'}');
    }

    fn field(&mut self, field: &'a Field, value: Option<&Value>, empty: &mut bool) {
        match value {
            Some(value) if omitted(field, value) => {}
            Some(value) => {
                self.name(&field.name, empty);
                self.value(&field.shape, value);
            }
            None if !field.always_written() => {}
            None if field.pointer => {
                self.name(&field.name, empty);
                self.out.extend_from_slice(b"null");
            }
            None => {
                self.name(&field.name, empty);
                self.value(&field.shape, &zero(self.schema, &field.shape));
            }
        }
    }

    fn unknown(&mut self, ty: TypeId, object: &Object, empty: &mut bool) {
        let meta = self.schema.get(ty).has_type_meta;
        for (name, member) in object {
            let known = self.schema.json_position(ty, name).is_some()
                || (meta && matches!(&**name, "kind" | "apiVersion"));
            if !known {
                if !std::mem::take(empty) {
                    self.out.push(b',');
                }
                write_string(name, self.out);
                self.out.push(b':');
                encode_untyped(member, self.out);
            }
        }
    }

    fn name(&mut self, name: &str, empty: &mut bool) {
        if !std::mem::take(empty) {
            self.out.push(b',');
        }
        // Names of the schema need no escapes.
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn value(&mut self, shape: &Shape, value: &Value) {
        match (shape, value) {
            (Shape::Struct(ty), _) => self.structure(*ty, value),
            (Shape::List(item), Value::Array(items)) => self.items(item, items),
            (Shape::Map(item), Value::Object(members)) => {
                self.out.push(b'{');
                for (at, (name, member)) in members.iter().enumerate() {
                    comma(at, self.out);
                    write_string(name, self.out);
                    self.out.push(b':');
                    self.value(item, member);
                }
                self.out.push(b'}');
            }
            (
                Shape::Special(
                    Special::SchemaOrBool(ty) | Special::SchemaOrArray(ty) | Special::SchemaOrStrings(ty),
                ),
                Value::Object(object),
            ) => self.object(*ty, object),
            (Shape::Special(Special::SchemaOrArray(ty)), Value::Array(items)) => {
                self.items(&Shape::Struct(*ty), items);
            }
            _ => encode_untyped(value, self.out),
        }
    }

    fn items(&mut self, item: &Shape, items: &[Value]) {
        self.out.push(b'[');
        for (at, value) in items.iter().enumerate() {
            comma(at, self.out);
            self.value(item, value);
        }
        self.out.push(b']');
    }
}

/// Members of an object that are sorted without an allocation.
const INLINE: usize = 24;
