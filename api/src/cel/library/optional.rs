//! Optional values.
use super::{Out, Rows, fault, math};
use crate::cel::eval::Context;
use crate::cel::value::Val;

pub(super) const ROWS: Rows = &[
    ("optional.of", "optional_of", "A -> optional(A)"),
    ("optional.ofNonZeroValue", "optional_ofNonZeroValue", "A -> optional(A)"),
    ("optional.none", "optional_none", "-> optional(A)"),
    ("hasValue", "optional_hasValue", "optional(A) . -> bool"),
    ("value", "optional_value", "optional(A) . -> A"),
    ("or", "optional_or_optional", "optional(A) . optional(A) -> optional(A)"),
    ("orValue", "optional_orValue_value", "optional(A) . A -> A"),
    ("_?._", "select_optional_field", "dyn string -> optional(A)"),
    ("_[?_]", "list_optindex_optional_int", "list(A) int -> optional(A)"),
    ("_[?_]", "optional_list_optindex_optional_int", "optional(list(A)) int -> optional(A)"),
    ("_[?_]", "map_optindex_optional_value", "map(A,B) A -> optional(B)"),
    ("_[?_]", "optional_map_optindex_optional_value", "optional(map(A,B)) A -> optional(B)"),
    ("_[_]", "optional_list_index_int", "optional(list(A)) int -> optional(A)"),
    ("_[_]", "optional_map_index_value", "optional(map(A,B)) A -> optional(B)"),
    ("first", "list_first", "list(A) . -> optional(A)"),
    ("last", "list_last", "list(A) . -> optional(A)"),
    ("optional.unwrap", "optional_unwrap", "list(optional(A)) -> list(A)"),
    ("unwrapOpt", "optional_unwrapOpt", "list(optional(A)) . -> list(A)"),
];

pub(super) fn call<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    Some(match (name, args) {
        ("optional.of", [value]) => Ok(Val::optional(Some(value.clone()))),
        ("optional.ofNonZeroValue", [value]) => Ok(Val::optional((!is_zero(value)).then(|| value.clone()))),
        ("optional.none", []) => Ok(Val::optional(None)),
        ("hasValue", [Val::Optional(value)]) => Ok(Val::Bool(value.is_some())),
        ("value", [Val::Optional(value)]) => match value {
            Some(value) => Ok((**value).clone()),
            None => fault("optional.none() dereference"),
        },
        ("first", [Val::List(list)]) => Ok(Val::optional(list.get(0))),
        ("last", [Val::List(list)]) => {
            Ok(Val::optional(list.len().checked_sub(1).and_then(|at| list.get(at))))
        }
        ("optional.unwrap" | "unwrapOpt", [Val::List(list)]) => {
            let mut out = Vec::new();
            for item in list.iter() {
                match item {
                    Val::Optional(value) => out.extend(value.map(|value| (*value).clone())),
                    _ => return None,
                }
            }
            Ok(Val::list(out))
        }
        ("_[?_]" | "_?._", [object, key]) => found(object, key)?,
        ("_[_]", [object @ Val::Optional(_), key]) => found(object, key)?,
        _ => return None,
    })
}

/// What an index or field holds, as an optional value.
fn found<'a>(object: &Val<'a>, key: &Val<'a>) -> Option<Out<'a>> {
    let inner = match object {
        Val::Optional(None) => return Some(Ok(Val::optional(None))),
        Val::Optional(Some(inner)) => inner,
        other => other,
    };
    match math::index(inner, key)? {
        Ok(value) => Some(Ok(Val::optional(value))),
        // An index behind the end is nothing; one that is no number stays a fault.
        Err(_) if matches!(key, Val::Int(_) | Val::Uint(_)) => Some(Ok(Val::optional(None))),
        Err(error) => Some(Err(error)),
    }
}

fn is_zero(value: &Val<'_>) -> bool {
    match value {
        Val::Null => true,
        Val::Bool(b) => !b,
        Val::Int(n) | Val::Duration(n) => *n == 0,
        Val::Uint(n) => *n == 0,
        Val::Double(n) => *n == 0.0,
        Val::Optional(inner) => inner.is_none(),
        Val::Timestamp(time) => time.at.as_nanosecond() == 0,
        Val::String(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_) => value.size() == Some(0),
        Val::Type(_) | Val::Opaque(_) => false,
    }
}
