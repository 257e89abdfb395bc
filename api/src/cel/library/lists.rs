//! Functions of lists.
use super::{Out, Rows, fault};
use crate::cel::eval::{Context, EvalError};
use crate::cel::types::Type;
use crate::cel::value::{self, List, Val};
use std::cmp::Ordering;

pub(super) const ROWS: Rows = &[
    ("isSorted", "list_int_is_sorted_bool", "list(int) . -> bool"),
    ("isSorted", "list_uint_is_sorted_bool", "list(uint) . -> bool"),
    ("isSorted", "list_double_is_sorted_bool", "list(double) . -> bool"),
    ("isSorted", "list_bool_is_sorted_bool", "list(bool) . -> bool"),
    ("isSorted", "list_string_is_sorted_bool", "list(string) . -> bool"),
    ("isSorted", "list_bytes_is_sorted_bool", "list(bytes) . -> bool"),
    ("isSorted", "list_duration_is_sorted_bool", "list(duration) . -> bool"),
    ("isSorted", "list_timestamp_is_sorted_bool", "list(timestamp) . -> bool"),
    ("sum", "list_int_sum_int", "list(int) . -> int"),
    ("sum", "list_uint_sum_uint", "list(uint) . -> uint"),
    ("sum", "list_double_sum_double", "list(double) . -> double"),
    ("sum", "list_duration_sum_duration", "list(duration) . -> duration"),
    ("min", "list_int_min_int", "list(int) . -> int"),
    ("min", "list_uint_min_uint", "list(uint) . -> uint"),
    ("min", "list_double_min_double", "list(double) . -> double"),
    ("min", "list_bool_min_bool", "list(bool) . -> bool"),
    ("min", "list_string_min_string", "list(string) . -> string"),
    ("min", "list_bytes_min_bytes", "list(bytes) . -> bytes"),
    ("min", "list_duration_min_duration", "list(duration) . -> duration"),
    ("min", "list_timestamp_min_timestamp", "list(timestamp) . -> timestamp"),
    ("max", "list_int_max_int", "list(int) . -> int"),
    ("max", "list_uint_max_uint", "list(uint) . -> uint"),
    ("max", "list_double_max_double", "list(double) . -> double"),
    ("max", "list_bool_max_bool", "list(bool) . -> bool"),
    ("max", "list_string_max_string", "list(string) . -> string"),
    ("max", "list_bytes_max_bytes", "list(bytes) . -> bytes"),
    ("max", "list_duration_max_duration", "list(duration) . -> duration"),
    ("max", "list_timestamp_max_timestamp", "list(timestamp) . -> timestamp"),
    ("indexOf", "list_a_index_of_int", "list(A) . A -> int"),
    ("lastIndexOf", "list_a_last_index_of_int", "list(A) . A -> int"),
    ("distinct", "list_distinct", "list(A) . -> list(A)"),
    ("flatten", "list_flatten", "list(list(A)) . -> list(A)"),
    ("flatten", "list_flatten_int", "list(dyn) . int -> list(dyn)"),
    ("slice", "list_slice", "list(A) . int int -> list(A)"),
    ("reverse", "list_reverse", "list(A) . -> list(A)"),
    ("sort", "list_int_sort", "list(int) . -> list(int)"),
    ("sort", "list_uint_sort", "list(uint) . -> list(uint)"),
    ("sort", "list_double_sort", "list(double) . -> list(double)"),
    ("sort", "list_bool_sort", "list(bool) . -> list(bool)"),
    ("sort", "list_string_sort", "list(string) . -> list(string)"),
    ("sort", "list_bytes_sort", "list(bytes) . -> list(bytes)"),
    ("sort", "list_duration_sort", "list(duration) . -> list(duration)"),
    ("sort", "list_timestamp_sort", "list(timestamp) . -> list(timestamp)"),
    ("lists.range", "lists_range", "int -> list(int)"),
];

pub(super) fn call<'a>(context: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let list = match (name, args) {
        ("lists.range", [Val::Int(n)]) => return Some(range(context, *n)),
        (_, [Val::List(list), ..]) => list,
        _ => return None,
    };
    Some(match (name, &args[1..]) {
        ("isSorted", []) => sorted(list),
        ("sum", []) => return sum(context, list),
        ("min", []) => extreme(list, name, Ordering::Less),
        ("max", []) => extreme(list, name, Ordering::Greater),
        ("indexOf", [item]) => context.position(list.iter(), item).map(position),
        ("lastIndexOf", [item]) => {
            let mut items: Vec<Val<'a>> = list.iter().collect();
            items.reverse();
            let found = context.position(items, item);
            found.map(|at| position(at.map(|at| list.len() - 1 - at)))
        }
        ("distinct", []) => distinct(context, list),
        ("flatten", []) => flatten(context, list, 1),
        ("flatten", [Val::Int(depth)]) => {
            if *depth < 0 {
                fault("level must be non-negative")
            } else {
                flatten(context, list, *depth)
            }
        }
        ("slice", [Val::Int(from), Val::Int(to)]) => slice(context, list, *from, *to),
        ("reverse", []) => {
            let mut items: Vec<Val<'a>> = list.iter().collect();
            items.reverse();
            context.work(items.len()).map(|()| Val::list(items))
        }
        ("sort", []) => sort(context, list),
        _ => return None,
    })
}

fn position<'a>(at: Option<usize>) -> Val<'a> {
    Val::Int(at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1))
}

/// The order of two values of one type that has one.
fn order(a: &Val<'_>, b: &Val<'_>) -> Result<Ordering, EvalError> {
    let found = match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::String(a), Val::String(b)) => Some((**a).cmp(&**b)),
        (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.at.cmp(&b.at)),
        (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
        (a, b) => value::compare_numbers(a, b),
    };
    found.ok_or_else(|| EvalError::new("no such overload"))
}

fn sorted<'a>(list: &List<'a>) -> Out<'a> {
    let mut before: Option<Val<'a>> = None;
    for item in list.iter() {
        if let Some(before) = &before
            && order(before, &item)? == Ordering::Greater
        {
            return Ok(Val::Bool(false));
        }
        before = Some(item);
    }
    Ok(Val::Bool(true))
}

fn sum<'a>(context: &mut Context<'_>, list: &List<'a>) -> Option<Out<'a>> {
    let mut total: Option<Val<'a>> = None;
    for item in list.iter() {
        total = Some(match total {
            None => item,
            Some(before) => match super::math::call(context, "_+_", &[before, item])? {
                Ok(value) => value,
                Err(error) => return Some(Err(error)),
            },
        });
    }
    let zero = || match list.item_type() {
        Some(Type::Duration) => Val::Duration(0),
        Some(Type::Double) => Val::Double(0.0),
        Some(Type::Uint) => Val::Uint(0),
        _ => Val::Int(0),
    };
    Some(Ok(total.unwrap_or_else(zero)))
}

fn extreme<'a>(list: &List<'a>, name: &str, wanted: Ordering) -> Out<'a> {
    let mut best: Option<Val<'a>> = None;
    for item in list.iter() {
        let better = match &best {
            None => true,
            Some(best) => order(&item, best)? == wanted,
        };
        if better {
            best = Some(item);
        }
    }
    best.map_or_else(|| fault(format!("{name} called on empty list")), Ok)
}

fn distinct<'a>(context: &mut Context<'_>, list: &List<'a>) -> Out<'a> {
    let mut out: Vec<Val<'a>> = Vec::new();
    for item in list.iter() {
        context.work(1)?;
        if context.position(out.iter().cloned(), &item)?.is_none() {
            out.push(item);
        }
    }
    Ok(Val::list(out))
}

fn flatten<'a>(context: &mut Context<'_>, list: &List<'a>, depth: i64) -> Out<'a> {
    fn add<'a>(
        context: &mut Context<'_>,
        list: &List<'a>,
        depth: i64,
        out: &mut Vec<Val<'a>>,
    ) -> Result<(), EvalError> {
        for item in list.iter() {
            context.work(1)?;
            match item {
                Val::List(inner) if depth > 0 => add(context, &inner, depth - 1, out)?,
                other => out.push(other),
            }
        }
        Ok(())
    }
    let mut out = Vec::new();
    add(context, list, depth, &mut out)?;
    Ok(Val::list(out))
}

fn slice<'a>(context: &mut Context<'_>, list: &List<'a>, from: i64, to: i64) -> Out<'a> {
    let size = i64::try_from(list.len()).unwrap_or(i64::MAX);
    if from < 0 || to < 0 {
        return fault(format!("cannot slice({from}, {to}), negative indexes not supported"));
    }
    if from > to {
        return fault(format!(
            "cannot slice({from}, {to}), start index must be less than or equal to end index"
        ));
    }
    if to > size {
        return fault(format!("cannot slice({from}, {to}), list is length {size}"));
    }
    let index = |n: i64| usize::try_from(n).unwrap_or_default();
    context.work(index(to - from))?;
    Ok(Val::list((index(from)..index(to)).filter_map(|at| list.get(at)).collect()))
}

fn sort<'a>(context: &mut Context<'_>, list: &List<'a>) -> Out<'a> {
    let mut items: Vec<Val<'a>> = list.iter().collect();
    context.work(items.len().saturating_mul(8))?;
    for item in &items {
        order(&items[0], item)?;
    }
    items.sort_by(|a, b| order(a, b).unwrap_or(Ordering::Equal));
    Ok(Val::list(items))
}

fn range<'a>(context: &mut Context<'_>, n: i64) -> Out<'a> {
    context.work(usize::try_from(n).unwrap_or_default())?;
    Ok(Val::list((0..n).map(Val::Int).collect()))
}
