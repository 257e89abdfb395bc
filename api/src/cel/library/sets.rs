//! Lists as sets.
use super::{Out, Rows};
use crate::cel::eval::Context;
use crate::cel::value::{self, List, Val};

pub(super) const ROWS: Rows = &[
    ("sets.contains", "list_sets_contains_list", "list(A) list(A) -> bool"),
    ("sets.equivalent", "list_sets_equivalent_list", "list(A) list(A) -> bool"),
    ("sets.intersects", "list_sets_intersects_list", "list(A) list(A) -> bool"),
];

pub(super) fn call<'a>(context: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let [Val::List(a), Val::List(b)] = args else { return None };
    if let Err(error) = context.work(a.len().saturating_mul(b.len())) {
        return Some(Err(error));
    }
    let has = |list: &List<'a>, item: &Val<'a>| list.iter().any(|known| value::equal(&known, item));
    let holds = |list: &List<'a>, other: &List<'a>| other.iter().all(|item| has(list, &item));
    Some(Ok(Val::Bool(match name {
        "sets.contains" => holds(a, b),
        "sets.equivalent" => holds(a, b) && holds(b, a),
        "sets.intersects" => b.iter().any(|item| has(a, &item)),
        _ => return None,
    })))
}
