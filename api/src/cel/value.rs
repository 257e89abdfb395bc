//! Values of expressions. What comes from a document is read where it lies: a list or map of JSON is a reference with
//! the declaration that says how its parts are to be understood.
mod compare;
mod time;

pub use compare::{Meter, compare_numbers, equal, same_type};
pub use time::{Stamp, format_duration, format_timestamp, parse_duration, parse_timestamp};

use super::library::opaque::Opaque;
use super::types::{DYN, Decl, ListKind, ObjectDecl, Type};
use crate::{Object, Value};
use base64::Engine;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// The most parts of a value's JSON, counting each place of a shared part, and texts by sixteen bytes.
const MAX_JSON: usize = 2_000_000;

/// A text that is cheap to copy.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    /// In a document.
    In(&'a str),
    /// Made by the expression.
    Made(Arc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::In(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// A list.
#[derive(Clone, Debug)]
pub enum List<'a> {
    /// In a document; the declaration is that of the list.
    Json(&'a [Value], &'a Decl),
    /// Made by the expression.
    Made(Rc<Vec<Val<'a>>>),
}

/// A key of a made map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A boolean.
    Bool(bool),
    /// An int or uint: they are equal when their numbers are.
    Number(i128),
    /// A text.
    Text(Arc<str>),
}

/// A map or an object.
#[derive(Clone, Debug)]
pub enum Map<'a> {
    /// In a document; the declaration is that of the map or object.
    Json(&'a Object, &'a Decl),
    /// Made by the expression: keys with the values they were made from.
    Made(Rc<BTreeMap<Key, (Val<'a>, Val<'a>)>>),
    /// A constructed object.
    Object(Arc<ObjectDecl>, Rc<BTreeMap<String, Val<'a>>>),
}

/// A value.
#[derive(Clone, Debug)]
pub enum Val<'a> {
    /// `null`.
    Null,
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `uint`.
    Uint(u64),
    /// `double`.
    Double(f64),
    /// `string`.
    String(Text<'a>),
    /// `bytes`.
    Bytes(Arc<[u8]>),
    /// `google.protobuf.Timestamp`.
    Timestamp(Stamp),
    /// `google.protobuf.Duration`, in nanoseconds.
    Duration(i64),
    /// A type.
    Type(Type),
    /// `list`.
    List(List<'a>),
    /// `map` or an object.
    Map(Map<'a>),
    /// `optional_type`.
    Optional(Option<Rc<Val<'a>>>),
    /// What only functions look into.
    Opaque(Opaque<'a>),
}

impl<'a> Val<'a> {
    /// A text of the expression's own.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::String(Text::Made(text.as_ref().into()))
    }

    /// A list of the expression's own.
    pub fn list(items: Vec<Self>) -> Self {
        Self::List(List::Made(Rc::new(items)))
    }

    /// `optional.of(value)`, `optional.none()`.
    pub fn optional(value: Option<Self>) -> Self {
        Self::Optional(value.map(Rc::new))
    }

    /// A value of a document without a schema.
    pub fn dynamic(value: &'a Value) -> Self {
        Self::json(value, &DYN)
    }

    /// A value of a document, understood as it is declared. What does not fit its declaration stays what it is in JSON.
    pub fn json(value: &'a Value, decl: &'a Decl) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(b) => Self::Bool(*b),
            Value::Number(n) => number(n, &decl.ty),
            Value::String(text) => string(text, &decl.ty).unwrap_or(Self::String(Text::In(text))),
            Value::Array(items) => Self::List(List::Json(items, decl)),
            Value::Object(members) => Self::Map(Map::Json(members, decl)),
        }
    }

    /// Its type as far as the value itself tells.
    pub fn ty(&self) -> Type {
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::String(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::Type(_) => Type::Type(Box::new(Type::Dyn)),
            Self::List(_) => Type::list(Type::Dyn),
            Self::Map(Map::Json(_, Decl { ty: Type::Object(object), .. }) | Map::Object(object, _)) => {
                Type::Object(object.clone())
            }
            Self::Map(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Opaque(opaque) => Type::Opaque(opaque.type_name()),
        }
    }

    /// The name of its type, as errors at evaluation show it.
    pub fn type_name(&self) -> String {
        match self {
            Self::List(_) => "list".to_owned(),
            Self::Map(Map::Made(_)) => "map".to_owned(),
            Self::Map(Map::Json(_, decl)) if !matches!(decl.ty, Type::Object(_)) => "map".to_owned(),
            Self::Optional(_) => "optional_type".to_owned(),
            Self::Type(_) => "type".to_owned(),
            Self::Null => "null_type".to_owned(),
            Self::Timestamp(_) => "google.protobuf.Timestamp".to_owned(),
            Self::Duration(_) => "google.protobuf.Duration".to_owned(),
            other => other.ty().to_string(),
        }
    }

    /// `size()`; none for what has no size.
    pub fn size(&self) -> Option<u64> {
        match self {
            Self::String(text) => Some(text.chars().count() as u64),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::List(list) => Some(list.len() as u64),
            Self::Map(map) => Some(map.len() as u64),
            Self::Opaque(opaque) => opaque.size(),
            _ => None,
        }
    }

    /// The JSON of a value.
    ///
    /// # Errors
    /// What JSON cannot hold, or more than [`MAX_JSON`] parts, in words.
    pub fn to_json(&self) -> Result<Value, String> {
        self.json_within(&mut { MAX_JSON })
    }

    fn json_within(&self, room: &mut usize) -> Result<Value, String> {
        let parts = match self {
            Self::String(text) => 1 + text.len() / 16,
            Self::Bytes(bytes) => 1 + bytes.len() / 16,
            _ => 1,
        };
        *room = room.checked_sub(parts).ok_or("the value is too large")?;
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(b) => Value::Bool(*b),
            Self::Int(n) => (*n).into(),
            Self::Uint(n) => (*n).into(),
            Self::Double(n) => serde_json::Number::from_f64(*n)
                .map(Value::Number)
                .ok_or_else(|| format!("{n} is no JSON number"))?,
            Self::String(text) => Value::String(text.to_string()),
            Self::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
            Self::Timestamp(time) => format_timestamp(*time).into(),
            Self::Duration(nanos) => format_duration(*nanos).into(),
            Self::List(List::Json(items, _)) => Value::Array(items.to_vec()),
            Self::List(List::Made(items)) => {
                Value::Array(items.iter().map(|item| item.json_within(room)).collect::<Result<_, _>>()?)
            }
            Self::Map(Map::Json(members, _)) => Value::Object((*members).clone()),
            Self::Map(Map::Made(entries)) => {
                let mut object = Object::new();
                for (key, value) in entries.values() {
                    let Self::String(key) = key else {
                        return Err(format!("map keys must be strings, not {}", key.type_name()));
                    };
                    object.insert(key.to_string(), value.json_within(room)?);
                }
                Value::Object(object)
            }
            Self::Map(Map::Object(_, fields)) => {
                let mut object = Object::new();
                for (name, value) in fields.iter() {
                    object.insert(name.clone(), value.json_within(room)?);
                }
                Value::Object(object)
            }
            Self::Optional(Some(value)) => value.json_within(room)?,
            other => return Err(format!("unsupported conversion of {} to JSON", other.type_name())),
        })
    }
}

fn number<'a>(n: &serde_json::Number, ty: &Type) -> Val<'a> {
    #[allow(clippy::cast_possible_truncation)]
    match (ty, n.as_i64()) {
        (Type::Double, _) => Val::Double(n.as_f64().unwrap_or_default()),
        (_, Some(whole)) => Val::Int(whole),
        (Type::Int, None) => Val::Int(n.as_f64().unwrap_or_default() as i64),
        _ => n.as_u64().map_or_else(|| Val::Double(n.as_f64().unwrap_or_default()), Val::Uint),
    }
}

fn string<'a>(text: &str, ty: &Type) -> Option<Val<'a>> {
    match ty {
        Type::Timestamp => parse_timestamp(text).map(Val::Timestamp),
        Type::Duration => parse_duration(text).map(Val::Duration),
        Type::Bytes => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(text).ok()?;
            Some(Val::Bytes(bytes.into()))
        }
        _ => None,
    }
}

impl<'a> List<'a> {
    /// How many items there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(items, _) => items.len(),
            Self::Made(items) => items.len(),
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An item.
    pub fn get(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Self::Json(items, decl) => items.get(index).map(|item| Val::json(item, decl.element())),
            Self::Made(items) => items.get(index).cloned(),
        }
    }

    /// All items in order.
    pub fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// What its items are declared as, where that is known.
    pub fn item_type(&self) -> Option<&'a Type> {
        match self {
            Self::Json(_, decl) => Some(&decl.element().ty),
            Self::Made(_) => None,
        }
    }

    fn kind(&self) -> &'a ListKind {
        match self {
            Self::Json(_, decl) => &decl.list,
            Self::Made(_) => &ListKind::Atomic,
        }
    }

    /// `a + b`: lists that are sets or maps by their schema are merged as such.
    pub fn concat(&self, other: &Self, meter: Meter<'_>) -> Vec<Val<'a>> {
        let mut all: Vec<Val<'a>> = self.iter().collect();
        let keys = match self.kind() {
            ListKind::Atomic => {
                all.extend(other.iter());
                return all;
            }
            ListKind::Set => None,
            ListKind::Map(keys) => Some(keys),
        };
        for item in other.iter() {
            let same = |known: &Val<'a>| match keys {
                None => equal(known, &item, meter),
                Some(keys) => same_keys(known, &item, keys, meter),
            };
            match all.iter().position(same) {
                Some(at) if keys.is_some() => all[at] = item,
                Some(_) => {}
                None => all.push(item),
            }
        }
        all
    }
}

fn same_keys(a: &Val<'_>, b: &Val<'_>, keys: &[String], meter: Meter<'_>) -> bool {
    let (Val::Map(a), Val::Map(b)) = (a, b) else { return false };
    keys.iter().all(|key| match (a.member(key), b.member(key)) {
        (Some(a), Some(b)) => equal(&a, &b, meter),
        (a, b) => a.is_none() && b.is_none(),
    })
}

impl<'a> Map<'a> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Json(members, _) => members.len(),
            Self::Made(entries) => entries.len(),
            Self::Object(_, fields) => fields.len(),
        }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A member by its name in JSON.
    fn member(&self, name: &str) -> Option<Val<'a>> {
        match self {
            Self::Json(members, decl) => {
                let value = members.get(name)?;
                let part = match &decl.ty {
                    Type::Object(object) => {
                        object.fields.values().find(|field| field.json == name).map(|field| &*field.decl)
                    }
                    _ => None,
                };
                Some(Val::json(value, part.unwrap_or_else(|| decl.element())))
            }
            other => other.field(name),
        }
    }

    /// A member by the name that expressions use, or the value of a key that is a text.
    pub fn field(&self, name: &str) -> Option<Val<'a>> {
        match self {
            Self::Json(members, decl) => match &decl.ty {
                Type::Object(object) => {
                    let field = object.fields.get(name)?;
                    // A field of a known type that is null counts as absent.
                    let value = members.get(&field.json).filter(|value| !value.is_null());
                    value.map(|value| Val::json(value, &field.decl))
                }
                _ => members.get(name).map(|value| Val::json(value, decl.element())),
            },
            Self::Made(entries) => entries.get(&Key::Text(name.into())).map(|(_, value)| value.clone()),
            Self::Object(_, fields) => fields.get(name).cloned(),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &Val<'a>) -> Option<Val<'a>> {
        match (self, key) {
            (_, Val::String(name)) => self.field(name),
            (Self::Made(entries), key) => entries.get(&to_key(key)?).map(|(_, value)| value.clone()),
            _ => None,
        }
    }

    /// All keys in order.
    pub fn keys(&self) -> Vec<Val<'a>> {
        match self {
            Self::Json(members, _) => members.keys().map(|key| Val::String(Text::In(key))).collect(),
            Self::Made(entries) => entries.values().map(|(key, _)| key.clone()).collect(),
            Self::Object(_, fields) => fields.keys().map(Val::text).collect(),
        }
    }

    fn value_of(&self, key: &Val<'a>) -> Option<Val<'a>> {
        match (self, key) {
            (Self::Json(..), Val::String(name)) => self.member(name),
            _ => self.get(key),
        }
    }

    /// All entries in order.
    pub fn entries(&self) -> Vec<(Val<'a>, Val<'a>)> {
        self.keys().into_iter().filter_map(|key| self.value_of(&key).map(|value| (key, value))).collect()
    }
}

/// The key of a made map; none for what cannot be one.
pub fn to_key(value: &Val<'_>) -> Option<Key> {
    Some(match value {
        Val::Bool(b) => Key::Bool(*b),
        Val::Int(n) => Key::Number((*n).into()),
        Val::Uint(n) => Key::Number((*n).into()),
        #[allow(clippy::cast_possible_truncation)]
        Val::Double(n) if n.fract() == 0.0 && n.abs() < 1e19 => Key::Number(*n as i128),
        Val::String(text) => Key::Text(Arc::from(&**text)),
        _ => return None,
    })
}

impl Display for Val<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(b) => b.fmt(f),
            Self::Int(n) => n.fmt(f),
            Self::Uint(n) => n.fmt(f),
            Self::Double(n) => f.write_str(&super::library::format_double(*n)),
            Self::String(text) => f.write_str(text),
            Self::Timestamp(time) => f.write_str(&format_timestamp(*time)),
            Self::Duration(nanos) => f.write_str(&format_duration(*nanos)),
            Self::Type(ty) => ty.fmt(f),
            other => f.write_str(&other.type_name()),
        }
    }
}
