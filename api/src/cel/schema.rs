//! Declarations from structural schemas: what fields there are, of what types, and how large they can be when a request
//! is at most [`REQUEST`] bytes long. As in the original, numbers, booleans, objects and keys count as of size 0 in
//! estimates.
use super::types::{Decl, Field, ListKind, ObjectDecl, Type};
use crate::Value;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most bytes of a request.
pub const REQUEST: u64 = 3 * 1024 * 1024;
/// Quotes, brackets or braces.
const AROUND: u64 = 2;
/// Words that CEL keeps for itself.
pub const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// The name by which expressions know a property; none for one that they cannot name.
pub fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let text = name.replace("__", "__underscores__");
    let text = text.replace('.', "__dot__").replace('-', "__dash__").replace('/', "__slash__");
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    (starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')).then_some(text)
}

/// The schema of a whole resource: it has a type and metadata, whatever it says itself.
pub fn with_metadata(schema: &Value) -> Value {
    let mut schema = schema.clone();
    let text = || json!({"type": "string"});
    if let Some(properties) =
        schema.as_object_mut().map(|members| members.entry("properties").or_insert(json!({})))
    {
        properties["kind"] = text();
        properties["apiVersion"] = text();
        properties["metadata"] =
            json!({"type": "object", "properties": {"name": text(), "generateName": text()}});
    }
    schema
}

/// The declaration of what a schema describes; `root` for a whole resource. None for values of unknown type, which
/// expressions cannot see.
pub fn declare(schema: &Value, root: bool, name: &str) -> Option<Decl> {
    let embedded = root || schema["x-kubernetes-embedded-resource"] == true;
    let owned;
    let schema = if embedded {
        owned = with_metadata(schema);
        &owned
    } else {
        schema
    };
    let decl = if schema["x-kubernetes-int-or-string"] == true {
        Decl::new(Type::Dyn, REQUEST - AROUND)
    } else {
        match schema["type"].as_str()? {
            "array" => list(schema, name)?,
            "object" if schema["additionalProperties"].is_object() => map(schema, name)?,
            "object" => object(schema, name),
            "string" => string(schema),
            "boolean" => Decl { min_serialized: 4, ..Decl::new(Type::Bool, 0) },
            "number" => Decl::new(Type::Double, 0),
            "integer" => Decl::new(Type::Int, 0),
            _ => return None,
        }
    };
    Some(Decl { nullable: schema["nullable"] == true, ..decl })
}

fn limit(schema: &Value, name: &str) -> Option<u64> {
    schema[name].as_i64().map(|n| u64::try_from(n).unwrap_or_default())
}

fn list(schema: &Value, name: &str) -> Option<Decl> {
    let item = declare(&schema["items"], false, &format!("{name}.@idx"))?;
    let most = limit(schema, "maxItems").unwrap_or((REQUEST - AROUND) / (item.min_serialized + 1));
    let keys = || schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
    let kind = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => ListKind::Set,
        Some("map") => ListKind::Map(keys().filter_map(Value::as_str).map(str::to_owned).collect()),
        _ => ListKind::Atomic,
    };
    Some(Decl { list: kind, ..Decl::list(Arc::new(item), most) })
}

fn map(schema: &Value, name: &str) -> Option<Decl> {
    let value = declare(&schema["additionalProperties"], false, &format!("{name}.@elem"))?;
    let most = limit(schema, "maxProperties").unwrap_or((REQUEST - AROUND) / (value.min_serialized + 6));
    let key = Some(Arc::new(Decl::new(Type::String, 0)));
    Some(Decl { key, ..Decl::map(Arc::new(value), most) })
}

fn object(schema: &Value, name: &str) -> Decl {
    let required =
        |name: &str| schema["required"].as_array().is_some_and(|list| list.iter().any(|known| known == name));
    let (mut fields, mut shortest) = (BTreeMap::new(), AROUND);
    for (json, property) in schema["properties"].as_object().into_iter().flatten() {
        let Some(escaped) = escape(json) else { continue };
        let Some(decl) = declare(property, false, &format!("{name}.{escaped}")) else { continue };
        let needed = required(json);
        if needed && property.get("default").is_none() {
            shortest += json.len() as u64 + decl.min_serialized + 4;
        }
        fields.insert(escaped, Field { json: json.clone(), decl: Arc::new(decl), required: needed });
    }
    let object = ObjectDecl { name: name.to_owned(), fields, open: false };
    Decl { min_serialized: shortest, ..Decl::new(Type::Object(Arc::new(object)), 0) }
}

fn string(schema: &Value) -> Decl {
    let length = limit(schema, "maxLength");
    let of = |ty: Type, most: u64, least: u64| Decl { min_serialized: least, ..Decl::new(ty, most) };
    match schema["format"].as_str() {
        Some("byte") => of(Type::Bytes, length.unwrap_or(REQUEST - AROUND), AROUND),
        Some("duration") => of(Type::Duration, 32, 3),
        Some("date") => of(Type::Timestamp, 12, 12),
        Some("date-time") => of(Type::Timestamp, 37, 21),
        _ => {
            let values = schema["enum"].as_array().filter(|values| !values.is_empty());
            let longest = values.map(|values| {
                values
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|value| value.len() as u64)
                    .max()
                    .unwrap_or_default()
            });
            let most = match length {
                // A character can take four bytes.
                Some(length) => length.saturating_mul(4),
                None => longest.unwrap_or(REQUEST - AROUND),
            };
            of(Type::String, most, AROUND)
        }
    }
}

/// How many values of a declaration fit into a request.
pub fn max_cardinality(decl: &Decl) -> u64 {
    REQUEST / (decl.min_serialized + 1)
}
