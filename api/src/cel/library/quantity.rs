//! Quantities.
use super::opaque::Opaque;
use super::{Out, Rows, fault};
use crate::cel::eval::Context;
use crate::cel::value::Val;
use crate::quantity::{Format, Quantity};

pub(super) const ROWS: Rows = &[
    ("quantity", "string_to_quantity", "string -> kubernetes.Quantity"),
    ("isQuantity", "is_quantity_string", "string -> bool"),
    ("sign", "quantity_sign", "kubernetes.Quantity . -> int"),
    ("isInteger", "quantity_is_integer", "kubernetes.Quantity . -> bool"),
    ("asInteger", "quantity_as_integer", "kubernetes.Quantity . -> int"),
    ("asApproximateFloat", "quantity_get_float", "kubernetes.Quantity . -> double"),
    ("isGreaterThan", "quantity_is_greater_than", "kubernetes.Quantity . kubernetes.Quantity -> bool"),
    ("isLessThan", "quantity_is_less_than", "kubernetes.Quantity . kubernetes.Quantity -> bool"),
    ("compareTo", "quantity_compare_to", "kubernetes.Quantity . kubernetes.Quantity -> int"),
    ("add", "quantity_add", "kubernetes.Quantity . kubernetes.Quantity -> kubernetes.Quantity"),
    ("add", "quantity_add_int", "kubernetes.Quantity . int -> kubernetes.Quantity"),
    ("sub", "quantity_sub", "kubernetes.Quantity . kubernetes.Quantity -> kubernetes.Quantity"),
    ("sub", "quantity_sub_int", "kubernetes.Quantity . int -> kubernetes.Quantity"),
];

fn whole(amount: Quantity) -> Option<i64> {
    (amount.nanos() % 1_000_000_000 == 0)
        .then(|| i64::try_from(amount.nanos() / 1_000_000_000).ok())
        .flatten()
}

pub(super) fn call<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let made = |amount| Ok(Val::Opaque(Opaque::Quantity(amount)));
    let (amount, rest) = match (name, args) {
        ("isQuantity", [Val::String(text)]) => return Some(Ok(Val::Bool(text.parse::<Quantity>().is_ok()))),
        ("quantity", [Val::String(text)]) => {
            return Some(match text.parse::<Quantity>() {
                Ok(amount) => made(amount),
                Err(error) => fault(error.to_string()),
            });
        }
        (_, [Val::Opaque(Opaque::Quantity(amount)), rest @ ..]) => (*amount, rest),
        _ => return None,
    };
    Some(match (name, rest) {
        ("sign", []) => Ok(Val::Int(amount.sign().into())),
        ("isInteger", []) => Ok(Val::Bool(whole(amount).is_some())),
        ("asInteger", []) => {
            whole(amount).map_or_else(|| fault("cannot convert value to integer"), |n| Ok(Val::Int(n)))
        }
        ("asApproximateFloat", []) => Ok(Val::Double(amount.as_f64())),
        (name, [other]) => {
            let other = match other {
                Val::Opaque(Opaque::Quantity(other)) => *other,
                Val::Int(n) if matches!(name, "add" | "sub") => Quantity::from_int(*n, Format::DecimalSi),
                _ => return None,
            };
            match name {
                "isGreaterThan" => Ok(Val::Bool(amount > other)),
                "isLessThan" => Ok(Val::Bool(amount < other)),
                "compareTo" => Ok(Val::Int(amount.cmp(&other) as i64)),
                "add" => made(amount + other),
                "sub" => made(amount - other),
                _ => return None,
            }
        }
        _ => return None,
    })
}
