//! The functions of expressions. A library is a table of overloads and one function that carries them out by the values
//! it is given; [`functions`] has them all by name.
mod authorizer;
mod convert;
mod format;
mod format_string;
mod lists;
mod math;
mod net;
pub mod opaque;
mod optional;
mod quantity;
mod regex;
pub(crate) mod semver;
mod sets;
mod strings;
mod time;
pub(crate) mod url;

pub use authorizer::{Access, Authorizer, Decision, authorizer, resource_check};
pub use format_string::format_double;
pub(super) use math::extend;

use super::eval::{Context, EvalError};
use super::types::Type;
use super::value::Val;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What a function gives.
pub type Out<'a> = Result<Val<'a>, EvalError>;

/// Carries out a function of a library by name; the target of a member function comes first. None when no overload
/// takes such values.
pub type Call = for<'a> fn(&mut Context<'_>, &str, &[Val<'a>]) -> Option<Out<'a>>;

/// Rows of a library: function, overload, signature. A signature is `A B -> R`, or `A . B -> R` for `a.f(b)`.
pub type Rows = &'static [(&'static str, &'static str, &'static str)];

/// One signature of a function.
#[derive(Clone, Debug)]
pub struct Overload {
    /// The original's name of it.
    pub id: &'static str,
    /// Is it called on a target?
    pub member: bool,
    /// What it takes, the target first.
    pub params: Vec<Type>,
    /// What it gives.
    pub result: Type,
}

/// A function.
#[derive(Debug, Default)]
pub struct Function {
    /// Its signatures.
    pub overloads: Vec<Overload>,
    /// Who carries it out, in this order.
    pub calls: Vec<Call>,
}

/// All functions by name.
pub fn functions() -> &'static HashMap<&'static str, Function> {
    static FUNCTIONS: LazyLock<HashMap<&'static str, Function>> = LazyLock::new(collect);
    &FUNCTIONS
}

fn collect() -> HashMap<&'static str, Function> {
    let libraries: [(Rows, Call); 17] = [
        (math::ROWS, math::call),
        (convert::ROWS, convert::call),
        (time::ROWS, time::call),
        (strings::ROWS, strings::call),
        (format_string::ROWS, format_string::call),
        (lists::ROWS, lists::call),
        (optional::ROWS, optional::call),
        (regex::ROWS, regex::call),
        (sets::ROWS, sets::call),
        (url::ROWS, url::call),
        (net::ROWS, net::call),
        (quantity::ROWS, quantity::call),
        (semver::ROWS, semver::call),
        (format::ROWS, format::call),
        (authorizer::ROWS, authorizer::call),
        (authorizer::JSON_PATCH, authorizer::json_patch),
        (math::SPECIAL, math::special),
    ];
    let mut all: HashMap<&'static str, Function> = HashMap::new();
    for (rows, call) in libraries {
        for (name, id, signature) in rows {
            let function = all.entry(name).or_default();
            function.overloads.push(overload(id, signature));
            if !function.calls.iter().any(|known| std::ptr::fn_addr_eq(*known, call)) {
                function.calls.push(call);
            }
        }
    }
    math::orders(&mut all);
    all
}

fn overload(id: &'static str, signature: &'static str) -> Overload {
    let (params, result) = signature.split_once("->").unwrap_or((signature, "dyn"));
    let member = params.split_whitespace().any(|word| word == ".");
    let params = params.split_whitespace().filter(|word| *word != ".").map(parse_type).collect();
    Overload { id, member, params, result: parse_type(result.trim()) }
}

/// A type as signatures write it; single capitals are parameters.
fn parse_type(text: &'static str) -> Type {
    let within = |text: &'static str| {
        let open = text.find('(').unwrap_or(text.len());
        text.get(open + 1..text.len().saturating_sub(1)).unwrap_or_default()
    };
    match text {
        "dyn" => Type::Dyn,
        "null" => Type::Null,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        _ if text.starts_with("list(") => Type::list(parse_type(within(text))),
        _ if text.starts_with("optional(") => Type::optional(parse_type(within(text))),
        _ if text.starts_with("type(") => Type::Type(Box::new(parse_type(within(text)))),
        _ if text.starts_with("map(") => {
            let (key, value) = within(text).split_once(',').unwrap_or(("dyn", "dyn"));
            Type::map(parse_type(key), parse_type(value))
        }
        _ if text.len() == 1 => Type::Param(u32::from(text.as_bytes()[0])),
        name => Type::Opaque(name),
    }
}

/// Names that are types.
pub fn type_named(name: &str) -> Option<Type> {
    Some(match name {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "null_type" => Type::Null,
        "list" => Type::list(Type::Dyn),
        "map" => Type::map(Type::Dyn, Type::Dyn),
        "type" => Type::Type(Box::new(Type::Dyn)),
        "optional_type" => Type::optional(Type::Dyn),
        "google.protobuf.Timestamp" => Type::Timestamp,
        "google.protobuf.Duration" => Type::Duration,
        name => Type::Opaque(opaque::TYPES.iter().copied().find(|known| *known == name)?),
    })
}

/// A value that is an error.
fn fault<'a>(message: impl Into<String>) -> Out<'a> {
    Err(EvalError::new(message))
}
