//! Lists as sets.
use super::{Out, Rows};
use crate::cel::eval::Context;
use crate::cel::value::{List, Val};

pub(super) const ROWS: Rows = &[
    ("sets.contains", "list_sets_contains_list", "list(A) list(A) -> bool"),
    ("sets.equivalent", "list_sets_equivalent_list", "list(A) list(A) -> bool"),
    ("sets.intersects", "list_sets_intersects_list", "list(A) list(A) -> bool"),
];

pub(super) fn call<'a>(context: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let [Val::List(a), Val::List(b)] = args else { return None };
    // What is looked for in the other list: all of one must be there, or one.
    let mut all = |list: &List<'a>, other: &List<'a>, there: bool| {
        for item in other.iter() {
            if context.position(list.iter(), &item)?.is_some() != there {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let holds = match name {
        "sets.contains" => all(a, b, true),
        "sets.equivalent" => match all(a, b, true) {
            Ok(true) => all(b, a, true),
            other => other,
        },
        "sets.intersects" => all(a, b, false).map(|none| !none),
        _ => return None,
    };
    Some(holds.map(Val::Bool))
}
