//! Schemas of types.
use super::descriptions::{Descriptions, of_member};
use super::{Form, Source, gvk_value};
use crate::kind::{GroupVersionKind, Kind};
use crate::schema::{Field, ListType, Shape, Special, Type, TypeId};
use crate::{Object, Value};
use serde_json::json;
use std::collections::BTreeMap;

pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

/// Collects the schemas of a document: those asked for and all that they refer to.
pub(super) struct Builder<'a> {
    pub(super) form: Form,
    pub(super) source: &'a Source<'a>,
    descriptions: Descriptions,
    done: BTreeMap<String, Value>,
    open: Vec<TypeId>,
    /// Group versions of the document, for kinds that exist in all of them.
    group_versions: Vec<(String, String)>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(form: Form, source: &'a Source<'a>, kinds: &[&Kind]) -> Self {
        let types = kinds.iter().flat_map(|k| {
            std::iter::once(k.ty)
                .chain(k.subresources.iter().map(|s| s.ty))
                .map(|ty| &*source.schema.get(ty).name)
        });
        let meta = [
            "DeleteOptions",
            "Status",
            "APIResourceList",
            "APIGroup",
            "APIGroupList",
            "APIVersions",
            "ListMeta",
        ];
        let meta: Vec<String> = meta.iter().map(|name| format!("{META}.{name}")).collect();
        let descriptions = Descriptions::of(types.chain(meta.iter().map(String::as_str)));
        let mut group_versions: Vec<_> =
            kinds.iter().map(|k| (k.gvk.group.to_string(), k.gvk.version.to_string())).collect();
        group_versions.sort();
        group_versions.dedup();
        Self { form, source, descriptions, done: BTreeMap::new(), open: Vec::new(), group_versions }
    }

    /// All schemas by name.
    pub(super) fn finish(mut self) -> Object {
        while let Some(ty) = self.open.pop() {
            let schema = self.structure(ty);
            self.done.insert(self.source.schema.get(ty).name.to_string(), schema);
        }
        self.done.into_iter().collect()
    }

    /// A reference to a struct type, whose schema will be part of the document.
    pub(super) fn reference(&mut self, ty: TypeId) -> Value {
        let name = self.source.schema.get(ty).name.clone();
        if !self.done.contains_key(&*name) {
            if let Some(ready) = self.source.overrides.get(&*name) {
                self.done.insert(name.to_string(), ready.clone());
                // A ready schema is that of a custom resource, which refers to nothing else.
                self.meta("ObjectMeta");
            } else {
                self.done.insert(name.to_string(), Value::Null);
                self.open.push(ty);
            }
        }
        self.form.reference(&name)
    }

    /// A reference to a type of meta/v1.
    pub(super) fn meta(&mut self, name: &str) -> Value {
        let full = format!("{META}.{name}");
        match self.source.schema.find(&full) {
            Some(ty) => self.reference(ty),
            // The schema of custom resources alone has no such types: describe the object as just that.
            None => json!({"type": "object"}),
        }
    }

    /// A reference to the patch body.
    pub(super) fn patch(&mut self) -> Value {
        self.leaf(
            &format!("{META}.Patch"),
            json!({"type": "object"}),
            "The body of a PATCH request, in any of its forms.",
        )
    }

    fn structure(&mut self, ty: TypeId) -> Value {
        let source = self.source;
        let this = source.schema.get(ty);
        let mut schema = Object::new();
        let description =
            self.descriptions.of_type(&this.name).map(str::to_owned).or_else(|| list_description(this));
        if let Some(text) = description {
            schema.insert("description".to_owned(), text.into());
        }
        schema.insert("type".to_owned(), "object".into());
        let mut properties = Object::new();
        if this.has_type_meta {
            properties.insert(
                "apiVersion".to_owned(),
                json!({"type": "string", "description": of_member("apiVersion")}),
            );
            properties.insert("kind".to_owned(), json!({"type": "string", "description": of_member("kind")}));
        }
        let mut required = Vec::new();
        for field in source.schema.json_fields(ty) {
            let property = self.property(this, field);
            properties.insert(field.name.to_string(), property);
            if field.required {
                required.push(Value::from(&*field.name));
            }
        }
        if !properties.is_empty() {
            schema.insert("properties".to_owned(), properties.into());
        }
        if !required.is_empty() {
            schema.insert("required".to_owned(), required.into());
        }
        if let Some(gvk) = &this.gvk {
            schema.insert("x-kubernetes-group-version-kind".to_owned(), self.gvks(gvk));
        }
        if this.atomic {
            schema.insert("x-kubernetes-map-type".to_owned(), "atomic".into());
        }
        if this.union {
            schema.insert("x-kubernetes-unions".to_owned(), json!([union(this)]));
        }
        Value::Object(schema)
    }

    fn gvks(&self, gvk: &GroupVersionKind) -> Value {
        if &*gvk.group != "*" {
            return Value::Array(vec![gvk_value(gvk)]);
        }
        let everywhere = |(group, version): &(String, String)| {
            gvk_value(&GroupVersionKind::new(group, version, &gvk.kind))
        };
        self.group_versions.iter().map(everywhere).collect()
    }

    fn property(&mut self, owner: &Type, field: &Field) -> Value {
        let mut schema = self.shape(&field.shape, &field.enumeration);
        let default = (self.form == Form::V3).then(|| default(field)).flatten();
        let declared = self.source.schema.get(self.declaring(owner, field));
        let description = self
            .descriptions
            .of_field(&owner.name, &field.name)
            .or_else(|| self.descriptions.of_field(&declared.name, &field.name))
            .map(str::to_owned);
        let mut extensions = Object::new();
        if let Some(text) = description {
            extensions.insert("description".to_owned(), text.into());
        }
        if let Some(value) = default {
            extensions.insert("default".to_owned(), value);
        }
        merge_rules(field, &mut extensions);
        // In OpenAPI 3.0 nothing may stand beside a reference.
        if self.form == Form::V3 && schema.get("$ref").is_some() && !extensions.is_empty() {
            schema = json!({"allOf": [schema]});
        }
        if let Value::Object(schema) = &mut schema {
            schema.extend(extensions);
        }
        schema
    }

    /// The type that declares a field of the owner's flattened object.
    fn declaring(&self, owner: &Type, field: &Field) -> TypeId {
        let inline = owner.fields.iter().filter(|f| f.inline).filter_map(|f| f.shape.reference());
        let declares =
            |id: &TypeId| self.source.schema.get(*id).fields.iter().any(|f| std::ptr::eq(f, field));
        let own = self.source.schema.find(&owner.name).unwrap_or(TypeId(0));
        inline.into_iter().find(declares).unwrap_or(own)
    }

    pub(super) fn shape(&mut self, shape: &Shape, values: &[std::sync::Arc<str>]) -> Value {
        match shape {
            Shape::String if !values.is_empty() => {
                json!({"type": "string", "enum": values.iter().map(|v| &**v).collect::<Vec<_>>()})
            }
            Shape::String => json!({"type": "string"}),
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Int32 => json!({"type": "integer", "format": "int32"}),
            Shape::Int64 => json!({"type": "integer", "format": "int64"}),
            Shape::Float64 => json!({"type": "number", "format": "double"}),
            Shape::Bytes => json!({"type": "string", "format": "byte"}),
            Shape::Special(special) => self.special(*special),
            Shape::Struct(ty) => self.reference(*ty),
            Shape::List(item) => json!({"type": "array", "items": self.element(item, values)}),
            Shape::Map(item) => json!({"type": "object", "additionalProperties": self.element(item, values)}),
        }
    }

    fn element(&mut self, item: &Shape, values: &[std::sync::Arc<str>]) -> Value {
        let mut schema = self.shape(item, values);
        let zero = match item {
            _ if self.form == Form::V2 => return schema,
            Shape::String => json!(""),
            Shape::Bool => json!(false),
            Shape::Int32 | Shape::Int64 | Shape::Float64 => json!(0),
            Shape::Struct(_) => json!({}),
            _ => return schema,
        };
        if schema.get("$ref").is_some() {
            schema = json!({"allOf": [schema]});
        }
        schema["default"] = zero;
        schema
    }

    fn special(&mut self, special: Special) -> Value {
        let v3 = self.form == Form::V3;
        let (name, schema, text) = match special {
            Special::Time => (
                "Time",
                json!({"type": "string", "format": "date-time"}),
                "A time in RFC 3339, to the second.",
            ),
            Special::MicroTime => (
                "MicroTime",
                json!({"type": "string", "format": "date-time"}),
                "A time in RFC 3339, to the microsecond.",
            ),
            Special::Duration => ("Duration", json!({"type": "string"}), "A span of time, as 1h30m."),
            Special::FieldsV1 => (
                "FieldsV1",
                json!({"type": "object"}),
                "A set of fields in a trie, keyed by f:, k:, v: and i: segments.",
            ),
            Special::Quantity => {
                let schema = if v3 {
                    json!({"oneOf": [{"type": "string"}, {"type": "number"}]})
                } else {
                    json!({"type": "string"})
                };
                let text = "A fixed-point number with an optional suffix of decimal (m, k, M, G) or binary (Ki, Mi, Gi) size.";
                return self.leaf("io.k8s.apimachinery.pkg.api.resource.Quantity", schema, text);
            }
            Special::IntOrString => {
                let schema = if v3 {
                    json!({"oneOf": [{"type": "integer"}, {"type": "string"}], "format": "int-or-string"})
                } else {
                    json!({"type": "string", "format": "int-or-string"})
                };
                return self.leaf(
                    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
                    schema,
                    "A number or a text, such as a port's name or a percentage.",
                );
            }
            Special::RawExtension => {
                return self.leaf(
                    "io.k8s.apimachinery.pkg.runtime.RawExtension",
                    json!({"type": "object"}),
                    "Any object.",
                );
            }
            Special::Any => return json!({}),
            Special::Json => ("JSON", json!({}), "Any JSON value."),
            Special::SchemaOrBool(_) => ("JSONSchemaPropsOrBool", json!({}), "A schema or a truth value."),
            Special::SchemaOrArray(_) => ("JSONSchemaPropsOrArray", json!({}), "A schema or a list of them."),
            Special::SchemaOrStrings(_) => {
                ("JSONSchemaPropsOrStringArray", json!({}), "A schema or a list of names.")
            }
        };
        let package = match special {
            Special::Time | Special::MicroTime | Special::Duration | Special::FieldsV1 => META,
            _ => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1",
        };
        self.leaf(&format!("{package}.{name}"), schema, text)
    }

    fn leaf(&mut self, name: &str, mut schema: Value, text: &str) -> Value {
        if !self.done.contains_key(name) {
            schema["description"] = text.into();
            self.done.insert(name.to_owned(), schema);
        }
        self.form.reference(name)
    }
}

fn list_description(ty: &Type) -> Option<String> {
    let kind = ty.gvk.as_ref()?.kind.strip_suffix("List")?;
    Some(format!("A list of {kind} objects."))
}

/// What OpenAPI names as default: the marker, or the zero that Go writes.
fn default(field: &Field) -> Option<Value> {
    if let Some(value) = &field.default {
        return Some(value.clone());
    }
    if field.pointer {
        return None;
    }
    match field.shape {
        Shape::Struct(_) => Some(json!({})),
        Shape::String if !field.omit_empty => Some(json!("")),
        Shape::Bool if !field.omit_empty => Some(json!(false)),
        Shape::Int32 | Shape::Int64 | Shape::Float64 if !field.omit_empty => Some(json!(0)),
        _ => None,
    }
}

/// The extensions that say how a field merges.
fn merge_rules(field: &Field, out: &mut Object) {
    let mut put = |name: &str, value: Value| out.insert(format!("x-kubernetes-{name}"), value);
    if field.list_type_marked {
        let list_type = match field.list_type {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        put("list-type", list_type.into());
    }
    if !field.list_keys.is_empty() {
        put("list-map-keys", field.list_keys.iter().map(|k| Value::from(&**k)).collect());
    }
    if field.atomic {
        put("map-type", "atomic".into());
    } else if field.granular {
        put("map-type", "granular".into());
    }
    let patch = &field.patch;
    let names = [(patch.merge, "merge"), (patch.retain_keys, "retainKeys"), (patch.replace, "replace")];
    let strategy: Vec<&str> = names.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
    if !strategy.is_empty() {
        put("patch-strategy", strategy.join(",").into());
    }
    if let Some(key) = &field.patch_key {
        put("patch-merge-key", (&**key).into());
    }
}

/// The members of a union, of which one is set, with the one that tells which.
fn union(ty: &Type) -> Value {
    let mut union = Object::new();
    if let Some(field) = ty.fields.iter().find(|f| f.discriminator) {
        union.insert("discriminator".to_owned(), (&*field.name).into());
    }
    let go_name = |name: &str| {
        let mut chars = name.chars();
        chars.next().map(|c| c.to_uppercase().chain(chars).collect::<String>()).unwrap_or_default()
    };
    let members = ty.fields.iter().filter(|f| !f.discriminator && f.pointer);
    let fields: Object = members.map(|f| (f.name.to_string(), go_name(&f.name).into())).collect();
    union.insert("fields-to-discriminateBy".to_owned(), fields.into());
    Value::Object(union)
}
