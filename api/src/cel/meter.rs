//! What calls cost at evaluation, in the original's units: a step is 1, a character or byte read 0.1, and so on.
use super::library::Overload;
use super::value::{Map, Val};

/// Of reading a text or list of bytes, by character or byte.
pub const TRAVERSAL: f64 = 0.1;
/// Of the length of a regular expression.
pub const REGEX: f64 = 0.25;
/// Of asking an authorizer: two questions an expression.
pub const AUTHORIZATION: u64 = 350_000;

/// `x · factor`, rounded up.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
pub fn scale(x: u64, factor: f64) -> u64 {
    let product = (x as f64 * factor).ceil();
    if product >= u64::MAX as f64 { u64::MAX } else { product as u64 }
}

/// What values count: characters, bytes, items, entries; 1 for all else.
fn size(value: &Val<'_>) -> u64 {
    value.size().unwrap_or(1)
}

/// Is the cost of a call that of reading all of its first argument?
pub fn traverses(name: &str) -> bool {
    matches!(name, "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "sort" | "distinct")
}

/// The cost of a call that its arguments decide; charged before it is carried out.
pub fn before(name: &str, overloads: &[&'static Overload], args: &[Val<'_>]) -> u64 {
    let of = |at: usize| args.get(at).map_or(1, size);
    let read = |at: usize| scale(of(at), TRAVERSAL);
    match name {
        "check" => AUTHORIZATION,
        name if traverses(name) => args.first().map_or(0, traversal),
        "url"
        | "lowerAscii"
        | "upperAscii"
        | "substring"
        | "trim"
        | "cidr"
        | "isIP"
        | "isCIDR"
        | "quantity"
        | "isQuantity"
        | "semver"
        | "isSemver"
        | "validate"
        | "jsonpatch.escapeKey" => {
            scale(of(args.len().saturating_sub(1).min(usize::from(name == "validate"))), TRAVERSAL)
        }
        "ip" => match args.first() {
            Some(Val::String(_)) => read(0),
            _ => 1,
        },
        "replace" | "split" | "ip.isCanonical" => scale(of(0), 2.0 * TRAVERSAL),
        "join" => 0,
        "format" => read(0),
        "find" | "findAll" | "matches" => {
            scale(of(0).saturating_add(1), TRAVERSAL).saturating_mul(scale(of(1), REGEX))
        }
        "containsIP" => network(args, 0),
        "containsCIDR" => network(args, 1),
        "startsWith" | "endsWith" => read(0),
        "contains" => read(0).saturating_mul(read(1)),
        "bytes" | "string" if matches!(args, [Val::String(_) | Val::Bytes(_)]) => {
            let converts = overloads.iter().any(|o| matches!(o.id, "string_to_bytes" | "bytes_to_string"));
            if converts { read(0) } else { 1 }
        }
        "@in" => match args.get(1) {
            Some(Val::List(_)) => of(1),
            _ => 1,
        },
        "sets.contains" | "sets.intersects" => of(0).saturating_mul(of(1)),
        "sets.equivalent" => of(0).saturating_mul(of(1)).saturating_mul(2),
        "_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_" => scale(of(0).min(of(1)), TRAVERSAL),
        "_+_" if matches!(args, [Val::String(_) | Val::Bytes(_), _]) => {
            scale(of(0).saturating_add(of(1)), TRAVERSAL)
        }
        "lists.range" => match args {
            [Val::Int(n)] => u64::try_from(*n).unwrap_or_default(),
            _ => 1,
        },
        _ => 1,
    }
}

/// Comparing addresses; `more` of it for a network within a network.
fn network(args: &[Val<'_>], more: u64) -> u64 {
    let own = args.first().map_or(1, size);
    let text = match args.get(1) {
        Some(other @ Val::String(_)) => scale(size(other), TRAVERSAL),
        _ => 0,
    };
    scale(own * 2, TRAVERSAL) + text + more * (scale(own, TRAVERSAL) + 1)
}

/// The cost of a call that its result decides.
pub fn after(name: &str, result: &Val<'_>) -> u64 {
    match name {
        "join" => scale(size(result), 2.0 * TRAVERSAL),
        "flatten" | "reverse" | "slice" => size(result),
        _ => 0,
    }
}

/// Of reading all of a value.
fn traversal(value: &Val<'_>) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    let floor = |n: usize| (n as f64 * TRAVERSAL) as u64;
    match value {
        Val::String(text) => floor(text.len()),
        Val::Bytes(bytes) => floor(bytes.len()),
        Val::List(list) => list.iter().map(|item| traversal(&item)).sum(),
        Val::Map(map) => Map::entries(map).iter().map(|(key, value)| traversal(key) + traversal(value)).sum(),
        _ => 1,
    }
}
