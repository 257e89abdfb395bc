//! Types of CEL expressions, and declarations: types with what a schema says beyond them.
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, LazyLock};

/// The type of an expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Anything; known when it is evaluated.
    Dyn,
    /// What could not be typed; a fault was already reported.
    Error,
    /// `null_type`.
    Null,
    /// `bool`.
    Bool,
    /// `int`: 64 bits with a sign.
    Int,
    /// `uint`: 64 bits without a sign.
    Uint,
    /// `double`.
    Double,
    /// `string`.
    String,
    /// `bytes`.
    Bytes,
    /// `google.protobuf.Timestamp`.
    Timestamp,
    /// `google.protobuf.Duration`.
    Duration,
    /// `list(T)`.
    List(Box<Type>),
    /// `map(K, V)`.
    Map(Box<Type>, Box<Type>),
    /// `optional_type(T)`.
    Optional(Box<Type>),
    /// The type of a type: `type(T)`.
    Type(Box<Type>),
    /// A parameter of an overload.
    Param(u32),
    /// A type with functions only: `kubernetes.Quantity`, `net.IP`.
    Opaque(&'static str),
    /// A type with fields.
    Object(Arc<ObjectDecl>),
}

impl Type {
    /// `list(item)`.
    pub fn list(item: Self) -> Self {
        Self::List(Box::new(item))
    }

    /// `map(key, value)`.
    pub fn map(key: Self, value: Self) -> Self {
        Self::Map(Box::new(key), Box::new(value))
    }

    /// `optional_type(inner)`.
    pub fn optional(inner: Self) -> Self {
        Self::Optional(Box::new(inner))
    }

    /// Is it only known at evaluation?
    pub fn is_dyn(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Has every value of the type the size 1 for the cost of operations?
    pub fn is_scalar(&self) -> bool {
        matches!(self, Self::Bool | Self::Int | Self::Uint | Self::Double | Self::Timestamp | Self::Duration)
    }

    /// Is it made of other types, or has it fields?
    pub fn has_parts(&self) -> bool {
        matches!(
            self,
            Self::List(_)
                | Self::Map(..)
                | Self::Optional(_)
                | Self::Type(_)
                | Self::Object(_)
                | Self::Opaque(_)
        )
    }

    /// How deep it is nested, not counting the keys of maps, which have no parts.
    pub fn depth(&self) -> usize {
        let (mut ty, mut depth) = (self, 1);
        while let Self::List(inner) | Self::Optional(inner) | Self::Type(inner) | Self::Map(_, inner) = ty {
            (ty, depth) = (inner, depth + 1);
        }
        depth
    }

    /// The types it is made of.
    pub fn parameters(&self) -> Vec<&Self> {
        match self {
            Self::List(inner) | Self::Optional(inner) | Self::Type(inner) => vec![inner],
            Self::Map(key, value) => vec![key, value],
            _ => Vec::new(),
        }
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Error => f.write_str("!error!"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(item) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(inner) => write!(f, "optional_type({inner})"),
            Self::Type(inner) => write!(f, "type({inner})"),
            Self::Param(_) => f.write_str("dyn"),
            Self::Opaque(name) => f.write_str(name),
            Self::Object(object) => f.write_str(&object.name),
        }
    }
}

/// How the lists of a declaration compare and merge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// Item by item.
    #[default]
    Atomic,
    /// As sets of their items.
    Set,
    /// As sets of items told apart by the named members.
    Map(Vec<String>),
}

/// What a schema says of a value: its type, how large it can be, and the same of what is in it.
#[derive(Clone, Debug)]
pub struct Decl {
    /// The type.
    pub ty: Type,
    /// The most characters, bytes, items or entries.
    pub max: u64,
    /// The shortest JSON text of a value, for estimates of how many fit into a request.
    pub min_serialized: u64,
    /// What the keys of a map are.
    pub key: Option<Arc<Decl>>,
    /// What the items of a list and the values of a map are.
    pub element: Option<Arc<Decl>>,
    /// How lists compare.
    pub list: ListKind,
    /// Is JSON null a value of its own here?
    pub nullable: bool,
}

/// Something of which nothing is known.
pub static DYN: LazyLock<Arc<Decl>> = LazyLock::new(|| Arc::new(Decl::new(Type::Dyn, u64::MAX)));

impl Decl {
    /// A declaration without parts.
    pub fn new(ty: Type, max: u64) -> Self {
        Self { ty, max, min_serialized: 1, key: None, element: None, list: ListKind::Atomic, nullable: false }
    }

    /// A list.
    pub fn list(element: Arc<Self>, max: u64) -> Self {
        let ty = Type::list(element.ty.clone());
        Self { element: Some(element), min_serialized: 2, ..Self::new(ty, max) }
    }

    /// A map from strings.
    pub fn map(element: Arc<Self>, max: u64) -> Self {
        let ty = Type::map(Type::String, element.ty.clone());
        let key = Some(Arc::new(Self::new(Type::String, u64::MAX)));
        Self { element: Some(element), key, min_serialized: 2, ..Self::new(ty, max) }
    }

    /// An object with fields.
    pub fn object(name: &str, fields: BTreeMap<String, Field>) -> Self {
        Self::new(Type::Object(Arc::new(ObjectDecl { name: name.to_owned(), fields, open: false })), u64::MAX)
    }

    /// The declaration of what lists and maps hold.
    pub fn element(&self) -> &Arc<Self> {
        self.element.as_ref().unwrap_or(&DYN)
    }
}

/// A field of an object type.
#[derive(Clone, Debug)]
pub struct Field {
    /// The member's name in JSON; the field's name is escaped where it is no identifier.
    pub json: String,
    /// What it holds.
    pub decl: Arc<Decl>,
    /// Must it be there?
    pub required: bool,
}

/// A type with fields, known by its name.
#[derive(Clone, Debug, Default)]
pub struct ObjectDecl {
    /// The name.
    pub name: String,
    /// Fields by the name that expressions use.
    pub fields: BTreeMap<String, Field>,
    /// Any other field exists too, with a type like `‹name›.‹field›`, when such an object is constructed.
    pub open: bool,
}

impl PartialEq for ObjectDecl {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for ObjectDecl {}

impl Hash for ObjectDecl {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The number of a parameter that stands for the key of a map only, from one that ends in a zero byte. Parameters of
/// signatures are capital letters behind such a number, so no other parameter has it.
pub fn key_parameter(base: u32) -> u32 {
    base + 1
}

fn is_key_parameter(param: u32) -> bool {
    param % 256 == 1
}

/// What type parameters stand for.
#[derive(Clone, Debug, Default)]
pub struct Mapping(Vec<(u32, Type)>);

impl Mapping {
    fn find(&self, param: u32) -> Option<&Type> {
        self.0.iter().find(|(known, _)| *known == param).map(|(_, ty)| ty)
    }

    fn set(&mut self, param: u32, ty: Type) {
        self.0.retain(|(known, _)| *known != param);
        self.0.push((param, ty));
    }

    /// The type with its parameters replaced; unknown ones become `dyn` when `settle`.
    pub fn apply(&self, ty: &Type, settle: bool) -> Type {
        let inner = |ty: &Type| Box::new(self.apply(ty, settle));
        match ty {
            Type::Param(param) => match self.find(*param) {
                Some(found) => self.apply(found, settle),
                None if settle => Type::Dyn,
                None => ty.clone(),
            },
            Type::List(item) => Type::List(inner(item)),
            Type::Map(key, value) => Type::Map(inner(key), inner(value)),
            Type::Optional(of) => Type::Optional(inner(of)),
            Type::Type(of) => Type::Type(inner(of)),
            other => other.clone(),
        }
    }

    fn occurs(&self, param: u32, ty: &Type) -> bool {
        match ty {
            Type::Param(other) => {
                *other == param || self.find(*other).is_some_and(|found| self.occurs(param, found))
            }
            other => other.parameters().iter().any(|part| self.occurs(param, part)),
        }
    }

    /// Can a value of type `from` stand where `to` is wanted? Parameters are bound on the way.
    pub fn assignable(&mut self, to: &Type, from: &Type) -> bool {
        let mut tried = self.clone();
        let fits = tried.unify(to, from);
        if fits {
            *self = tried;
        }
        fits
    }

    fn bind(&mut self, param: u32, to: &Type, from_side: bool) -> bool {
        if let Type::Param(other) = to
            && *other == param
        {
            return true;
        }
        if let Some(found) = self.find(param).cloned() {
            let fits = if from_side { self.unify(&found, to) } else { self.unify(to, &found) };
            if fits && !found.is_dyn() && to.is_dyn() {
                self.set(param, Type::Dyn);
            }
            return fits;
        }
        if is_key_parameter(param) {
            match self.apply(to, false) {
                Type::Param(other) if other == param => return true,
                Type::Param(other) => {
                    self.set(other, Type::Param(param));
                    return true;
                }
                to if to.has_parts() => return false,
                _ => {}
            }
        }
        if self.occurs(param, to) {
            return false;
        }
        self.set(param, to.clone());
        true
    }

    fn unify(&mut self, to: &Type, from: &Type) -> bool {
        match (to, from) {
            (Type::Param(param), from) => self.bind(*param, from, true),
            (to, Type::Param(param)) => self.bind(*param, to, false),
            (Type::Dyn | Type::Error, _) | (_, Type::Dyn | Type::Error) => true,
            (Type::List(a), Type::List(b)) | (Type::Optional(a), Type::Optional(b)) => self.unify(a, b),
            // Types compare whatever they are types of.
            (Type::Type(a), Type::Type(b)) => {
                self.unify(a, b);
                true
            }
            (Type::Map(ak, av), Type::Map(bk, bv)) => self.unify(ak, bk) && self.unify(av, bv),
            (Type::Object(_) | Type::Opaque(_) | Type::Timestamp | Type::Duration, Type::Null) => true,
            (a, b) => a == b,
        }
    }
}

/// The type that holds both; `dyn` where there is none.
pub fn join(mapping: &mut Mapping, a: &Type, b: &Type) -> Type {
    if mapping.assignable(a, b) {
        return if b.is_dyn() { Type::Dyn } else { a.clone() };
    }
    if mapping.assignable(b, a) {
        return b.clone();
    }
    Type::Dyn
}
