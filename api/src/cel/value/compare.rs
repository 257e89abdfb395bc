//! Order and equality of values.
use super::super::types::{ListKind, Type};
use super::{List, Val};
use std::cmp::Ordering;

/// The order of two numbers of any types; none when one is no number or NaN.
pub fn compare_numbers(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    #[allow(clippy::cast_precision_loss)]
    let mixed = |whole: i128, double: f64| match double {
        d if d.is_nan() => None,
        d if d >= 2f64.powi(65) => Some(Ordering::Less),
        d if d <= -(2f64.powi(65)) => Some(Ordering::Greater),
        d => {
            #[allow(clippy::cast_possible_truncation)]
            let floor = d.floor() as i128;
            Some(whole.cmp(&floor).then(if d.fract() == 0.0 { Ordering::Equal } else { Ordering::Less }))
        }
    };
    let whole = |value: &Val<'_>| match value {
        Val::Int(n) => Some(i128::from(*n)),
        Val::Uint(n) => Some(i128::from(*n)),
        _ => None,
    };
    match (a, b) {
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (a, Val::Double(b)) => mixed(whole(a)?, *b),
        (Val::Double(a), b) => mixed(whole(b)?, *a).map(Ordering::reverse),
        (a, b) => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

/// Counts what is about to be compared, in items and bytes by sixteen; false ends the comparison, whose result then
/// means nothing.
pub type Meter<'m> = &'m mut dyn FnMut(usize) -> bool;

/// `a == b`: values of different types are not equal, but numbers are compared across their types.
pub fn equal(a: &Val<'_>, b: &Val<'_>, meter: Meter<'_>) -> bool {
    let size = match a {
        Val::String(text) => 1 + text.len() / 16,
        Val::Bytes(bytes) => 1 + bytes.len() / 16,
        Val::Map(map) => 1 + map.len(),
        _ => 1,
    };
    if !meter(size) {
        return false;
    }
    match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::String(a), Val::String(b)) => a == b,
        (Val::Bytes(a), Val::Bytes(b)) => a == b,
        (Val::Timestamp(a), Val::Timestamp(b)) => a.at == b.at,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::Type(a), Val::Type(b)) => same_type(a, b),
        (Val::List(a), Val::List(b)) => equal_lists(a, b, meter),
        (Val::Map(a), Val::Map(b)) => {
            a.len() == b.len()
                && a.keys().iter().all(|key| match (a.value_of(key), b.value_of(key)) {
                    (Some(a), Some(b)) => equal(&a, &b, meter),
                    _ => false,
                })
        }
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (Some(a), Some(b)) => equal(a, b, meter),
            (a, b) => a.is_none() && b.is_none(),
        },
        (Val::Opaque(a), Val::Opaque(b)) => a == b,
        (a, b) => compare_numbers(a, b) == Some(Ordering::Equal),
    }
}

/// Types are the same without regard to what they are made of.
pub fn same_type(a: &Type, b: &Type) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
        && match (a, b) {
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            (Type::Object(a), Type::Object(b)) => a == b,
            _ => true,
        }
}

fn equal_lists(a: &List<'_>, b: &List<'_>, meter: Meter<'_>) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.kind() {
        ListKind::Atomic => a.iter().zip(b.iter()).all(|(a, b)| equal(&a, &b, meter)),
        ListKind::Set | ListKind::Map(_) => {
            let others: Vec<Val<'_>> = b.iter().collect();
            a.iter().all(|item| others.iter().any(|other| equal(&item, other, meter)))
        }
    }
}
