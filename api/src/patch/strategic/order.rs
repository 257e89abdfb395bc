//! The order of merged lists: items that the patch names in the patch's order, the others in the server's, woven
//! together so that an item stays before those it was before.
use super::{Error, PATCH, SET_ORDER};
use crate::Value;

/// Whether two items are the same item: equal merge keys, or equal values without one.
fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        Some(key) => a.get(key).is_some() && a.get(key) == b.get(key),
        None => a == b,
    }
}

fn position(item: &Value, order: &[Value], key: Option<&str>) -> Option<usize> {
    order.iter().position(|other| same(item, other, key))
}

/// Brings merged items into order: `patch` gives that of the items it names, `server` that of the others.
pub(super) fn arrange(
    merged: Vec<Value>,
    patch: &[Value],
    server: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let (mut named, mut others): (Vec<_>, Vec<_>) =
        merged.into_iter().partition(|item| position(item, patch, key).is_some());
    named.sort_by_key(|item| position(item, patch, key));
    others.sort_by_key(|item| position(item, server, key));
    let before = |a: &Value, b: &Value| match (position(a, server, key), position(b, server, key)) {
        (Some(a), Some(b)) => a < b,
        _ => false,
    };
    let mut out = Vec::with_capacity(named.len() + others.len());
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (Some(other), Some(item)) => before(other, item),
            (Some(_), None) => true,
            (None, _) => false,
        };
        match if other_first { others.next() } else { named.next() } {
            Some(item) => out.push(item),
            None => return out,
        }
    }
}

/// Refuses a patch list whose items are missing from its `$setElementOrder`, or stand in another order there.
pub(super) fn check(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Error> {
    let mut rest = order.iter();
    let kept = patch.iter().filter(|item| item.get(PATCH).is_none_or(|directive| directive != "delete"));
    for item in kept {
        if !rest.any(|other| same(item, other, key)) {
            let (patch, order) = (Value::from(patch), Value::from(order));
            return Err(Error::Unprocessable(format!(
                "The order in patch list:\n{patch}\n doesn't match {SET_ORDER} list:\n{order}\n"
            )));
        }
    }
    Ok(())
}
