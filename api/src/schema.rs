//! Types and fields: the in-memory form of the API table, the same for built-in kinds and custom resources.
//!
//! **Invariant**: every [`TypeId`] in a schema indexes a type of the same schema; `Schema::check` proves it.
use std::collections::HashMap;
use std::sync::Arc;

/// An index into [`Schema::types`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TypeId(pub u32);

/// A closed set of types that refer to each other by [`TypeId`].
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// All types; a [`TypeId`] is a position here.
    pub types: Vec<Type>,
    /// OpenAPI name (`io.k8s.api.core.v1.Pod`) to position.
    pub by_name: HashMap<Arc<str>, TypeId>,
}

impl Schema {
    /// The type at `id`.
    pub fn get(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// The field with the given JSON name in `ty`, inline members included.
    pub fn member(&self, ty: TypeId, name: &str) -> Option<&Field> {
        let ty = self.get(ty);
        ty.field(name).filter(|f| !f.inline).or_else(|| {
            ty.fields.iter().filter(|f| f.inline).find_map(|f| match &f.shape {
                Shape::Struct(inner) => self.member(*inner, name),
                _ => None,
            })
        })
    }

    /// The type with the given OpenAPI name.
    pub fn find(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }
}

/// A struct type.
#[derive(Clone, Debug, Default)]
pub struct Type {
    /// OpenAPI name, `io.k8s.api.core.v1.PodSpec`.
    pub name: Arc<str>,
    /// Protobuf message name (`k8s.io.api.core.v1.PodSpec`); none where the type has no protobuf form.
    pub proto: Option<Arc<str>>,
    /// Fields in Go declaration order, which is JSON output order.
    pub fields: Vec<Field>,
    /// The object carries `apiVersion` and `kind`, which come first in JSON and are not in the protobuf message.
    pub has_type_meta: bool,
    /// `x-kubernetes-map-type: atomic` on the struct itself: merged and owned as one value.
    pub atomic: bool,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`, custom resources only).
    pub preserve_unknown: bool,
    /// `(JSON name, position in fields)`, sorted by name; inline members are not flattened here.
    pub by_name: Vec<(Arc<str>, u16)>,
}

impl Type {
    /// The field with the given JSON name among this type's own fields (inline members: see [`Field::inline`]).
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self.by_name.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        Some(&self.fields[self.by_name[at].1 as usize])
    }
}

/// One field of a [`Type`].
#[derive(Clone, Debug)]
pub struct Field {
    /// JSON name; empty for an inline field.
    pub name: Arc<str>,
    /// The value's form.
    pub shape: Shape,
    /// Protobuf field number; 0 where the field has no protobuf form.
    pub number: u32,
    /// A nullable Go pointer: absent and zero differ, in JSON and on the wire.
    pub pointer: bool,
    /// Go's `omitempty`: false, 0, "", null, empty lists and maps are not written in JSON.
    pub omit_empty: bool,
    /// Go's `omitzero`: a zero struct (a zero time) is not written in JSON.
    pub omit_zero: bool,
    /// Listed in OpenAPI's `required`.
    pub required: bool,
    /// JSON members lie in the parent object; on the wire a message of its own where `number` is not 0.
    pub inline: bool,
    /// How a list merges under server-side apply.
    pub list_type: ListType,
    /// Keys of a [`ListType::Map`] list.
    pub list_keys: Vec<Arc<str>>,
    /// `x-kubernetes-map-type: atomic` on this field (a map or a struct): one value for apply.
    pub atomic: bool,
    /// Strategic merge: `merge` or `replace` behaviour.
    pub patch: PatchStrategy,
    /// Strategic merge key of a merging list of objects.
    pub patch_key: Option<Arc<str>>,
    /// The `+default` marker, as JSON.
    pub default: Option<crate::Value>,
    /// Values of an enum type, for OpenAPI (the server does not enforce them here).
    pub enumeration: Vec<Arc<str>>,
    /// Feature gates that guard the field: while all are off it is dropped unless the old object has it.
    pub gates: Vec<Arc<str>>,
    /// On the wire a list is a message with repeated field 1 (named Go slice types).
    pub wrapped: bool,
}

/// The form of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// UTF-8 text.
    String,
    /// true or false.
    Bool,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// IEEE double.
    Float64,
    /// Bytes, base64 in JSON.
    Bytes,
    /// A form whose JSON is not that of a struct.
    Special(Special),
    /// A struct type.
    Struct(TypeId),
    /// A list of one shape.
    List(Box<Shape>),
    /// A map from string keys to one shape.
    Map(Box<Shape>),
}

/// Forms whose JSON differs from a plain struct's; see the module of each for its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// RFC 3339, whole seconds; null when zero.
    Time,
    /// RFC 3339, six fractional digits; null when zero.
    MicroTime,
    /// Go duration text.
    Duration,
    /// Kubernetes quantity text.
    Quantity,
    /// Number or text.
    IntOrString,
    /// A field set of `managedFields`, kept verbatim.
    FieldsV1,
    /// Any JSON, kept verbatim; on the wire its bytes in field 1.
    RawExtension,
    /// Any JSON of apiextensions, kept verbatim.
    Json,
    /// Any JSON without a wire form.
    Any,
    /// `JSONSchemaProps` or bool (the id is the schema type).
    SchemaOrBool(TypeId),
    /// `JSONSchemaProps` or a list of them.
    SchemaOrArray(TypeId),
    /// `JSONSchemaProps` or a list of strings.
    SchemaOrStrings(TypeId),
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Owned and replaced as a whole.
    #[default]
    Atomic,
    /// Scalars owned one by one.
    Set,
    /// Objects owned by their keys.
    Map,
}

/// `x-kubernetes-patch-strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists merge by key or as a set instead of being replaced.
    pub merge: bool,
    /// Keys not named in the patch's `$retainKeys` are removed.
    pub retain_keys: bool,
    /// `replace`: an object is replaced instead of merged.
    pub replace: bool,
}
