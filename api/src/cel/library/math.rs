//! Operators.
use super::{Function, Out, Overload, Rows, fault};
use crate::cel::eval::{Context, EvalError};
use crate::cel::types::Type;
use crate::cel::value::{self, Key, List, Map, Stamp, Val};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

pub(super) const ROWS: Rows = &[
    ("_+_", "add_int64", "int int -> int"),
    ("_+_", "add_uint64", "uint uint -> uint"),
    ("_+_", "add_double", "double double -> double"),
    ("_+_", "add_string", "string string -> string"),
    ("_+_", "add_bytes", "bytes bytes -> bytes"),
    ("_+_", "add_list", "list(A) list(A) -> list(A)"),
    ("_+_", "add_timestamp_duration", "timestamp duration -> timestamp"),
    ("_+_", "add_duration_timestamp", "duration timestamp -> timestamp"),
    ("_+_", "add_duration_duration", "duration duration -> duration"),
    ("_-_", "subtract_int64", "int int -> int"),
    ("_-_", "subtract_uint64", "uint uint -> uint"),
    ("_-_", "subtract_double", "double double -> double"),
    ("_-_", "subtract_timestamp_timestamp", "timestamp timestamp -> duration"),
    ("_-_", "subtract_timestamp_duration", "timestamp duration -> timestamp"),
    ("_-_", "subtract_duration_duration", "duration duration -> duration"),
    ("_*_", "multiply_int64", "int int -> int"),
    ("_*_", "multiply_uint64", "uint uint -> uint"),
    ("_*_", "multiply_double", "double double -> double"),
    ("_/_", "divide_int64", "int int -> int"),
    ("_/_", "divide_uint64", "uint uint -> uint"),
    ("_/_", "divide_double", "double double -> double"),
    ("_%_", "modulo_int64", "int int -> int"),
    ("_%_", "modulo_uint64", "uint uint -> uint"),
    ("-_", "negate_int64", "int -> int"),
    ("-_", "negate_double", "double -> double"),
    ("!_", "logical_not", "bool -> bool"),
    ("_==_", "equals", "A A -> bool"),
    ("_!=_", "not_equals", "A A -> bool"),
    ("@in", "in_list", "A list(A) -> bool"),
    ("@in", "in_map", "A map(A,B) -> bool"),
    ("_[_]", "index_list", "list(A) int -> A"),
    ("_[_]", "index_map", "map(A,B) A -> B"),
    ("cel.@mapInsert", "cel_@mapInsert_map_key_value", "map(A,B) A B -> map(A,B)"),
    ("cel.@mapInsert", "cel_@mapInsert_map_map", "map(A,B) map(A,B) -> map(A,B)"),
];

/// What the evaluator carries out itself, for it does not always need all arguments.
pub(super) const SPECIAL: Rows = &[
    ("_?_:_", "conditional", "bool A A -> A"),
    ("_&&_", "logical_and", "bool bool -> bool"),
    ("_||_", "logical_or", "bool bool -> bool"),
    ("@not_strictly_false", "not_strictly_false", "bool -> bool"),
];

pub(super) fn special<'a>(_: &mut Context<'_>, _: &str, _: &[Val<'a>]) -> Option<Out<'a>> {
    None
}

/// `<`, `<=`, `>` and `>=` of everything that has an order; numbers are compared across their types.
pub(super) fn orders(all: &mut HashMap<&'static str, Function>) {
    let numbers = [Type::Int, Type::Uint, Type::Double];
    let names = [
        ("_<_", ["less_string", "less_bytes", "less"]),
        ("_<=_", ["less_equals_string", "less_equals_bytes", "less_equals"]),
        ("_>_", ["greater_string", "greater_bytes", "greater"]),
        ("_>=_", ["greater_equals_string", "greater_equals_bytes", "greater_equals"]),
    ];
    for (name, [of_strings, of_bytes, other]) in names {
        let function = all.entry(name).or_default();
        let mut add = |id: &'static str, a: &Type, b: &Type| {
            let params = vec![a.clone(), b.clone()];
            function.overloads.push(Overload { id, member: false, params, result: Type::Bool });
        };
        for ty in [Type::Bool, Type::Timestamp, Type::Duration] {
            add(other, &ty, &ty);
        }
        add(of_strings, &Type::String, &Type::String);
        add(of_bytes, &Type::Bytes, &Type::Bytes);
        for a in &numbers {
            numbers.iter().for_each(|b| add(other, a, b));
        }
        function.calls.push(order);
    }
}

fn order<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let [a, b] = args else { return None };
    let order = match (a, b) {
        (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
        (Val::String(a), Val::String(b)) => Some((**a).cmp(&**b)),
        (Val::Bytes(a), Val::Bytes(b)) => Some(a.cmp(b)),
        (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.at.cmp(&b.at)),
        (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
        (Val::Int(_) | Val::Uint(_) | Val::Double(_), Val::Int(_) | Val::Uint(_) | Val::Double(_)) => {
            value::compare_numbers(a, b)
        }
        _ => return None,
    };
    let holds = match name {
        "_<_" => order == Some(Ordering::Less),
        "_<=_" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        "_>_" => order == Some(Ordering::Greater),
        _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    };
    Some(Ok(Val::Bool(holds)))
}

fn int<'a>(n: Option<i64>) -> Out<'a> {
    n.map_or_else(|| fault("integer overflow"), |n| Ok(Val::Int(n)))
}

fn uint<'a>(n: Option<u64>) -> Out<'a> {
    n.map_or_else(|| fault("unsigned integer overflow"), |n| Ok(Val::Uint(n)))
}

fn duration<'a>(n: Option<i64>) -> Out<'a> {
    n.map_or_else(|| fault("duration overflow"), |n| Ok(Val::Duration(n)))
}

fn shifted<'a>(time: Stamp, nanos: Option<i64>) -> Out<'a> {
    let moved = nanos.and_then(|nanos| time.at.checked_add(jiff::SignedDuration::from_nanos(nanos)).ok());
    moved.map_or_else(|| fault("timestamp overflow"), |at| Ok(Val::Timestamp(time.moved(at))))
}

pub(super) fn call<'a>(context: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    Some(match (name, args) {
        ("_+_", [a, b]) => return add(context, a, b),
        ("_-_", [Val::Int(a), Val::Int(b)]) => int(a.checked_sub(*b)),
        ("_-_", [Val::Uint(a), Val::Uint(b)]) => uint(a.checked_sub(*b)),
        ("_-_", [Val::Double(a), Val::Double(b)]) => Ok(Val::Double(a - b)),
        ("_-_", [Val::Duration(a), Val::Duration(b)]) => duration(a.checked_sub(*b)),
        ("_-_", [Val::Timestamp(a), Val::Duration(b)]) => shifted(*a, b.checked_neg()),
        ("_-_", [Val::Timestamp(a), Val::Timestamp(b)]) => {
            duration(i64::try_from(a.at.duration_since(b.at).as_nanos()).ok())
        }
        ("_*_", [Val::Int(a), Val::Int(b)]) => int(a.checked_mul(*b)),
        ("_*_", [Val::Uint(a), Val::Uint(b)]) => uint(a.checked_mul(*b)),
        ("_*_", [Val::Double(a), Val::Double(b)]) => Ok(Val::Double(a * b)),
        ("_/_", [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)]) => fault("division by zero"),
        ("_%_", [Val::Int(_), Val::Int(0)] | [Val::Uint(_), Val::Uint(0)]) => fault("modulus by zero"),
        ("_/_", [Val::Int(a), Val::Int(b)]) => int(a.checked_div(*b)),
        ("_/_", [Val::Uint(a), Val::Uint(b)]) => uint(a.checked_div(*b)),
        ("_/_", [Val::Double(a), Val::Double(b)]) => Ok(Val::Double(a / b)),
        ("_%_", [Val::Int(a), Val::Int(b)]) => int(a.checked_rem(*b)),
        ("_%_", [Val::Uint(a), Val::Uint(b)]) => uint(a.checked_rem(*b)),
        ("-_", [Val::Int(a)]) => int(a.checked_neg()),
        ("-_", [Val::Double(a)]) => Ok(Val::Double(-a)),
        ("!_", [Val::Bool(a)]) => Ok(Val::Bool(!a)),
        ("_==_", [a, b]) => context.equal(a, b).map(Val::Bool),
        ("_!=_", [a, b]) => context.equal(a, b).map(|same| Val::Bool(!same)),
        ("@in", [item, Val::List(list)]) => {
            context.position(list.iter(), item).map(|at| Val::Bool(at.is_some()))
        }
        ("@in", [key, Val::Map(map)]) => Ok(Val::Bool(map.get(key).is_some())),
        ("_[_]", [object, key]) => {
            return index(object, key).map(|found| match found {
                Ok(Some(value)) => Ok(value),
                Ok(None) => fault(format!("no such key: {key}")),
                Err(error) => Err(error),
            });
        }
        ("cel.@mapInsert", [Val::Map(map), rest @ ..]) => return insert(context, map, rest),
        _ => return None,
    })
}

/// What an index finds: nothing for an absent key, a fault for an index that is out of bounds; none for what has no
/// index of the kind.
pub(in crate::cel) fn index<'a>(
    object: &Val<'a>,
    key: &Val<'a>,
) -> Option<Result<Option<Val<'a>>, EvalError>> {
    match (object, key) {
        (Val::List(list), Val::Int(_) | Val::Uint(_) | Val::Double(_)) => {
            let Some(Key::Number(at)) = value::to_key(key) else {
                return Some(Err(EvalError::new(format!("unsupported index value {key} in list"))));
            };
            let found = usize::try_from(at).ok().and_then(|at| list.get(at));
            Some(found.map(Some).ok_or_else(|| EvalError::new(format!("index out of bounds: {at}"))))
        }
        (Val::Map(map), key) => Some(Ok(map.get(key))),
        _ => None,
    }
}

fn add<'a>(context: &mut Context<'_>, a: &Val<'a>, b: &Val<'a>) -> Option<Out<'a>> {
    Some(match (a, b) {
        (Val::Int(a), Val::Int(b)) => int(a.checked_add(*b)),
        (Val::Uint(a), Val::Uint(b)) => uint(a.checked_add(*b)),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(a + b)),
        (Val::String(a), Val::String(b)) => {
            context.bytes(a.len() + b.len()).map(|()| Val::text(format!("{}{}", &**a, &**b)))
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            context.bytes(a.len() + b.len()).map(|()| Val::Bytes([&**a, &**b].concat().into()))
        }
        (Val::List(a), Val::List(b)) => concat(context, a, b),
        (Val::Duration(a), Val::Duration(b)) => duration(a.checked_add(*b)),
        (Val::Timestamp(time), Val::Duration(by)) | (Val::Duration(by), Val::Timestamp(time)) => {
            shifted(*time, Some(*by))
        }
        _ => return None,
    })
}

fn concat<'a>(context: &mut Context<'_>, a: &List<'a>, b: &List<'a>) -> Out<'a> {
    context.work(a.len() + b.len())?;
    let all = a.concat(b, &mut |count| context.work(count).is_ok());
    context.work(0)?;
    Ok(Val::list(all))
}

/// A list with more items, in place where nobody else holds it.
pub(in crate::cel) fn extend<'a>(context: &mut Context<'_>, list: List<'a>, more: &List<'a>) -> Out<'a> {
    match list {
        List::Made(items) => {
            let mut items = match Rc::try_unwrap(items) {
                Ok(items) => items,
                Err(shared) => {
                    context.work(shared.len())?;
                    (*shared).clone()
                }
            };
            context.work(more.len())?;
            items.extend(more.iter());
            Ok(Val::list(items))
        }
        other => concat(context, &other, more),
    }
}

fn insert<'a>(context: &mut Context<'_>, map: &Map<'a>, rest: &[Val<'a>]) -> Option<Out<'a>> {
    let added: Vec<(Val<'a>, Val<'a>)> = match rest {
        [key, value] => vec![(key.clone(), value.clone())],
        [Val::Map(other)] => other.entries(),
        _ => return None,
    };
    let mut entries: BTreeMap<Key, (Val<'a>, Val<'a>)> = BTreeMap::new();
    if let Err(error) = context.work(map.len() + added.len()) {
        return Some(Err(error));
    }
    let kept = map.entries();
    for (fresh, (key, value)) in
        kept.into_iter().map(|entry| (false, entry)).chain(added.into_iter().map(|entry| (true, entry)))
    {
        let Some(known) = value::to_key(&key) else {
            return Some(fault(format!("unsupported key type: {}", key.type_name())));
        };
        if entries.contains_key(&known) && fresh {
            return Some(fault(format!("insert failed: key {key} already exists")));
        }
        entries.insert(known, (key, value));
    }
    Some(Ok(Val::Map(Map::Made(Rc::new(entries)))))
}
