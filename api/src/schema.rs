//! Types and fields: the in-memory form of the API table, the same for built-in kinds and custom resources.
//!
//! Build one with [`Schema::add`] and close it with [`Schema::index`], which proves every reference and fills
//! the look-up tables that the codecs use.
//!
//! **Invariant**: every [`TypeId`] in an indexed schema is a position in [`Schema::types`].
mod index;

use crate::kind::GroupVersionKind;
use std::collections::HashMap;
use std::sync::Arc;

pub use index::{NameTable, SchemaError};

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

    /// The type with the given OpenAPI name.
    pub fn find(&self, name: &str) -> Option<TypeId> {
        self.by_name.get(name).copied()
    }

    /// Adds a type under its name; [`Schema::index`] must follow before use.
    pub fn add(&mut self, ty: Type) -> TypeId {
        let id = TypeId(self.types.len() as u32);
        self.by_name.insert(ty.name.clone(), id);
        self.types.push(ty);
        id
    }

    /// The fields of a type's JSON object in output order, inline members in their place.
    pub fn json_fields(&self, id: TypeId) -> impl ExactSizeIterator<Item = &Field> {
        self.get(id).members.iter().map(|m| self.member(*m))
    }

    /// The field that a member of the type's JSON object belongs to, inline members included; names are
    /// case-sensitive.
    pub fn json_field(&self, id: TypeId, name: &str) -> Option<&Field> {
        self.json_position(id, name).map(|(_, field)| field)
    }

    /// Like [`Schema::json_field`], with the field's position in output order.
    pub fn json_position(&self, id: TypeId, name: &str) -> Option<(usize, &Field)> {
        let ty = self.get(id);
        ty.names.find(name, |at| {
            let field = self.member(ty.members[at]);
            (*field.name == *name).then_some((at, field))
        })
    }

    /// The field at a position of the type's JSON object.
    pub(crate) fn json_field_at(&self, id: TypeId, at: usize) -> &Field {
        self.member(self.get(id).members[at])
    }

    fn member(&self, member: Member) -> &Field {
        &self.types[member.owner.0 as usize].fields[member.index as usize]
    }
}

/// A field of a flattened JSON object: the type that declares it and its position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    owner: TypeId,
    index: u16,
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
    /// Identity of a type with type meta; group and version `*`: it exists in every group version.
    pub gvk: Option<GroupVersionKind>,
    /// Whether an API server serves the type.
    pub served: Served,
    /// When the type came and went; none where it is not marked.
    pub lifecycle: Option<Box<Lifecycle>>,
    /// `x-kubernetes-map-type: atomic` on the struct itself: merged and owned as one value.
    pub atomic: bool,
    /// A union: at most one of its members is set.
    pub union: bool,
    /// Unknown fields are kept (`x-kubernetes-preserve-unknown-fields`, custom resources only).
    pub preserve_unknown: bool,
    /// A type of a custom resource: nulls and values of another form are kept when decoding, since the structural
    /// schema judges them ([`crate::custom`]).
    pub custom: bool,
    /// `(JSON name, position in fields)`, sorted by name; inline members are not flattened here.
    pub by_name: Vec<(Arc<str>, u16)>,
    /// Positions of the fields that have a protobuf form, by field number.
    pub by_number: Vec<u16>,
    /// The flattened JSON object in output order; see [`Schema::json_fields`].
    pub members: Vec<Member>,
    /// Positions in `members` of fields that are written even where zero ([`Field::always_written`]).
    pub always: Vec<u16>,
    /// Finds positions in `members` by JSON name.
    pub names: NameTable,
}

impl Type {
    /// The field with the given JSON name among this type's own fields (inline members: see
    /// [`Schema::json_field`]).
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self.by_name.binary_search_by(|(n, _)| (**n).cmp(name)).ok()?;
        Some(&self.fields[self.by_name[at].1 as usize])
    }

    /// The field with the given protobuf number.
    pub fn numbered(&self, number: u32) -> Option<&Field> {
        let key = |i: &u16| self.fields[*i as usize].number;
        let at = self.by_number.binary_search_by_key(&number, key).ok()?;
        Some(&self.fields[self.by_number[at] as usize])
    }

    /// The last two parts of the name as Go prints a type: `v1.PodSpec`.
    pub fn go_name(&self) -> &str {
        let mut dots = self.name.rmatch_indices('.').map(|(i, _)| i + 1);
        dots.nth(1).map_or(&self.name, |i| &self.name[i..])
    }

    /// The last part of the name: `PodSpec`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('.').next().unwrap_or_default()
    }
}

/// Whether an API server serves a type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Served {
    /// Without being asked.
    ByDefault,
    /// When switched on by `--runtime-config`.
    OnRequest,
    /// Not at all: removed in this release, or no part of a REST resource.
    #[default]
    Never,
}

/// Minor releases in which a type came, was deprecated and went, as `1.22`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// First release.
    pub introduced: Option<Arc<str>>,
    /// First release that warns.
    pub deprecated: Option<Arc<str>>,
    /// First release without it.
    pub removed: Option<Arc<str>>,
    /// What to use instead.
    pub replacement: Option<GroupVersionKind>,
}

/// One field of a [`Type`].
#[derive(Clone, Debug)]
pub struct Field {
    /// JSON name; empty for an inline field.
    pub name: Arc<str>,
    /// The value's form.
    pub shape: Shape,
    /// Name of the scalar's (or list's, or map's) own Go type, `v1.PullPolicy`, where it has one.
    pub alias: Option<Arc<str>>,
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
    /// How a list merges under server-side apply; none: not marked, which means atomic.
    pub list_type: ListType,
    /// The list type is written down, not just the default (OpenAPI shows it).
    pub list_type_marked: bool,
    /// Keys of a [`ListType::Map`] list.
    pub list_keys: Vec<Arc<str>>,
    /// `x-kubernetes-map-type: atomic` on this field (a map or a struct): one value for apply.
    pub atomic: bool,
    /// `x-kubernetes-map-type: granular` on this field, which overrides its type's marker.
    pub granular: bool,
    /// Strategic merge: `merge` or `replace` behaviour.
    pub patch: PatchStrategy,
    /// Strategic merge key of a merging list of objects.
    pub patch_key: Option<Arc<str>>,
    /// The `+default` marker, as JSON.
    pub default: Option<crate::Value>,
    /// Values of an enum type (of the list's or map's elements), for OpenAPI; the server does not enforce them
    /// here.
    pub enumeration: Arc<[Arc<str>]>,
    /// Tells which member of a union is set.
    pub discriminator: bool,
    /// Feature gates that guard the field: while all are off it is dropped unless the old object has it.
    pub gates: Vec<Arc<str>>,
    /// On the wire a list is a message with repeated field 1 (named Go slice types), also as a map's value.
    pub wrapped: bool,
}

impl Field {
    /// Whether Go writes the member even where it is zero (then as its zero, or null): `omitempty` does not reach
    /// what is a struct in Go, and most special forms are.
    pub fn always_written(&self) -> bool {
        let is_struct = match &self.shape {
            Shape::Struct(_) => true,
            Shape::Special(special) => *special != Special::Any,
            _ => false,
        };
        !self.omit_zero && (!self.omit_empty || (is_struct && !self.pointer))
    }

    /// A plain optional field without a protobuf form, to be filled in.
    pub fn new(name: Arc<str>, shape: Shape) -> Self {
        Self {
            name,
            shape,
            alias: None,
            number: 0,
            pointer: false,
            omit_empty: false,
            omit_zero: false,
            required: false,
            inline: false,
            list_type: ListType::Atomic,
            list_type_marked: false,
            list_keys: Vec::new(),
            atomic: false,
            granular: false,
            patch: PatchStrategy::default(),
            patch_key: None,
            default: None,
            enumeration: Arc::default(),
            discriminator: false,
            gates: Vec::new(),
            wrapped: false,
        }
    }
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

impl Shape {
    /// The struct type that values of this shape hold, through lists and maps.
    pub fn reference(&self) -> Option<TypeId> {
        match self {
            Self::Struct(id) => Some(*id),
            Self::Special(
                Special::SchemaOrBool(id) | Special::SchemaOrArray(id) | Special::SchemaOrStrings(id),
            ) => Some(*id),
            Self::List(inner) | Self::Map(inner) => inner.reference(),
            _ => None,
        }
    }
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
