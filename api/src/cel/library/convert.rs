//! Conversions, `size`, `type` and `dyn`.
use super::{Out, Rows, fault};
use crate::cel::eval::Context;
use crate::cel::value::{self, Val};

pub(super) const ROWS: Rows = &[
    ("size", "size_string", "string -> int"),
    ("size", "string_size", "string . -> int"),
    ("size", "size_bytes", "bytes -> int"),
    ("size", "bytes_size", "bytes . -> int"),
    ("size", "size_list", "list(A) -> int"),
    ("size", "list_size", "list(A) . -> int"),
    ("size", "size_map", "map(A,B) -> int"),
    ("size", "map_size", "map(A,B) . -> int"),
    ("dyn", "to_dyn", "A -> dyn"),
    ("type", "type", "A -> type(A)"),
    ("bool", "bool_to_bool", "bool -> bool"),
    ("bool", "string_to_bool", "string -> bool"),
    ("int", "int64_to_int64", "int -> int"),
    ("int", "uint64_to_int64", "uint -> int"),
    ("int", "double_to_int64", "double -> int"),
    ("int", "string_to_int64", "string -> int"),
    ("int", "timestamp_to_int64", "timestamp -> int"),
    ("int", "duration_to_int64", "duration -> int"),
    ("uint", "uint64_to_uint64", "uint -> uint"),
    ("uint", "int64_to_uint64", "int -> uint"),
    ("uint", "double_to_uint64", "double -> uint"),
    ("uint", "string_to_uint64", "string -> uint"),
    ("double", "double_to_double", "double -> double"),
    ("double", "int64_to_double", "int -> double"),
    ("double", "uint64_to_double", "uint -> double"),
    ("double", "string_to_double", "string -> double"),
    ("string", "string_to_string", "string -> string"),
    ("string", "bool_to_string", "bool -> string"),
    ("string", "int64_to_string", "int -> string"),
    ("string", "uint64_to_string", "uint -> string"),
    ("string", "double_to_string", "double -> string"),
    ("string", "bytes_to_string", "bytes -> string"),
    ("string", "timestamp_to_string", "timestamp -> string"),
    ("string", "duration_to_string", "duration -> string"),
    ("bytes", "bytes_to_bytes", "bytes -> bytes"),
    ("bytes", "string_to_bytes", "string -> bytes"),
    ("timestamp", "timestamp_to_timestamp", "timestamp -> timestamp"),
    ("timestamp", "string_to_timestamp", "string -> timestamp"),
    ("timestamp", "int64_to_timestamp", "int -> timestamp"),
    ("duration", "duration_to_duration", "duration -> duration"),
    ("duration", "string_to_duration", "string -> duration"),
    ("duration", "int64_to_duration", "int -> duration"),
];

fn or_fault<'a>(found: Option<Val<'a>>, from: &str, to: &str) -> Out<'a> {
    found.map_or_else(|| fault(format!("type conversion error from '{from}' to '{to}'")), Ok)
}

pub(super) fn call<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let [arg] = args else { return None };
    Some(match name {
        "size" => match arg {
            Val::String(_) | Val::Bytes(_) | Val::List(_) | Val::Map(_) => {
                Ok(Val::Int(i64::try_from(arg.size()?).unwrap_or(i64::MAX)))
            }
            _ => return None,
        },
        "dyn" => Ok(arg.clone()),
        "type" => Ok(Val::Type(arg.ty())),
        "bool" => to_bool(arg)?,
        "int" => to_int(arg)?,
        "uint" => to_uint(arg)?,
        "double" => to_double(arg)?,
        "string" => to_text(arg)?,
        "bytes" => match arg {
            Val::Bytes(_) => Ok(arg.clone()),
            Val::String(text) => Ok(Val::Bytes(text.as_bytes().into())),
            _ => return None,
        },
        "timestamp" => to_timestamp(arg)?,
        "duration" => match arg {
            Val::Duration(_) => Ok(arg.clone()),
            Val::Int(nanos) => Ok(Val::Duration(*nanos)),
            Val::String(text) => match value::parse_duration(text) {
                Some(nanos) => Ok(Val::Duration(nanos)),
                None => fault(format!("time: invalid duration {:?}", &**text)),
            },
            _ => return None,
        },
        _ => return None,
    })
}

fn to_bool<'a>(arg: &Val<'a>) -> Option<Out<'a>> {
    Some(match arg {
        Val::Bool(_) => Ok(arg.clone()),
        Val::String(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Val::Bool(false)),
            _ => or_fault(None, "string", "bool"),
        },
        _ => return None,
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn to_int<'a>(arg: &Val<'a>) -> Option<Out<'a>> {
    Some(match arg {
        Val::Int(_) => Ok(arg.clone()),
        Val::Uint(n) => i64::try_from(*n).map_or_else(|_| fault("integer overflow"), |n| Ok(Val::Int(n))),
        Val::Double(n) if n.is_finite() && *n > i64::MIN as f64 && *n < i64::MAX as f64 => {
            Ok(Val::Int(*n as i64))
        }
        Val::Double(_) => fault("integer overflow"),
        Val::String(text) => or_fault(parse_int(text).map(Val::Int), "string", "int"),
        Val::Timestamp(time) => Ok(Val::Int(time.at.as_second())),
        Val::Duration(nanos) => Ok(Val::Int(*nanos)),
        _ => return None,
    })
}

/// A whole number as Go reads it.
fn parse_int(text: &str) -> Option<i64> {
    text.parse().ok()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
fn to_uint<'a>(arg: &Val<'a>) -> Option<Out<'a>> {
    Some(match arg {
        Val::Uint(_) => Ok(arg.clone()),
        Val::Int(n) => {
            u64::try_from(*n).map_or_else(|_| fault("unsigned integer overflow"), |n| Ok(Val::Uint(n)))
        }
        Val::Double(n) if *n >= 0.0 && *n < u64::MAX as f64 => Ok(Val::Uint(*n as u64)),
        Val::Double(_) => fault("unsigned integer overflow"),
        Val::String(text) if !text.starts_with('+') => {
            or_fault(text.parse().ok().map(Val::Uint), "string", "uint")
        }
        Val::String(_) => or_fault(None, "string", "uint"),
        _ => return None,
    })
}

#[allow(clippy::cast_precision_loss)]
fn to_double<'a>(arg: &Val<'a>) -> Option<Out<'a>> {
    Some(match arg {
        Val::Double(_) => Ok(arg.clone()),
        Val::Int(n) => Ok(Val::Double(*n as f64)),
        Val::Uint(n) => Ok(Val::Double(*n as f64)),
        Val::String(text) => or_fault(text.parse().ok().map(Val::Double), "string", "double"),
        _ => return None,
    })
}

fn to_text<'a>(arg: &Val<'a>) -> Option<Out<'a>> {
    Some(match arg {
        Val::String(_) => Ok(arg.clone()),
        Val::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Val::text(text)),
            Err(_) => fault("invalid UTF-8 in bytes, cannot convert to string"),
        },
        Val::Bool(_) | Val::Int(_) | Val::Uint(_) | Val::Double(_) | Val::Timestamp(_) | Val::Duration(_) => {
            Ok(Val::text(arg.to_string()))
        }
        _ => return None,
    })
}

fn to_timestamp<'a>(arg: &Val<'a>) -> Option<Out<'a>> {
    Some(match arg {
        Val::Timestamp(_) => Ok(arg.clone()),
        Val::String(text) if text.len() > 10 => {
            or_fault(value::parse_timestamp(text).map(Val::Timestamp), "string", "google.protobuf.Timestamp")
        }
        Val::String(_) => or_fault(None, "string", "google.protobuf.Timestamp"),
        Val::Int(seconds) => {
            let time = jiff::Timestamp::from_second(*seconds).ok().map(|time| Val::Timestamp(time.into()));
            time.map_or_else(|| fault("timestamp overflow"), Ok)
        }
        _ => return None,
    })
}
