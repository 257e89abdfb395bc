//! `'…'.format([…])`.
use super::{Out, Rows};
use crate::cel::eval::{Context, EvalError};
use crate::cel::value::{List, Val};
use std::fmt::Write;

pub(super) const ROWS: Rows = &[("format", "string_format", "string . list(dyn) -> string")];

/// The most digits behind the point.
const MAX_PRECISION: usize = 1000;

pub(super) fn call<'a>(context: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let ("format", [Val::String(text), Val::List(args)]) = (name, args) else { return None };
    Some(format(context, text, args).map(Val::text))
}

fn error(text: impl Into<String>) -> EvalError {
    EvalError::new(text)
}

fn format(context: &mut Context<'_>, text: &str, args: &List<'_>) -> Result<String, EvalError> {
    let mut out = String::new();
    let mut next = 0;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut precision = None;
        let mut verb = rest.next().ok_or_else(|| error("unexpected end of string"))?;
        if verb == '%' {
            out.push('%');
            continue;
        }
        if verb == '.' {
            let mut digits = String::new();
            loop {
                verb = rest.next().ok_or_else(|| error("could not find end of precision specifier"))?;
                if !verb.is_ascii_digit() {
                    break;
                }
                digits.push(verb);
            }
            let number: usize = digits.parse().map_err(|_| {
                error("error while parsing precision: error while converting precision to integer")
            })?;
            precision = Some(number.min(MAX_PRECISION));
        }
        let arg = args.get(next).ok_or_else(|| error(format!("index {next} out of range")))?;
        next += 1;
        let before = out.len();
        context.visit(&arg)?;
        clause(&mut out, verb, precision, &arg)?;
        context.bytes(out.len() - before)?;
    }
    Ok(out)
}

fn clause(out: &mut String, verb: char, precision: Option<usize>, arg: &Val<'_>) -> Result<(), EvalError> {
    let places = precision.unwrap_or(6);
    let wrong =
        |allowed: &str| error(format!("error during formatting: {allowed}, was given {}", arg.type_name()));
    match (verb, arg) {
        ('s', arg) => plain(out, arg)?,
        ('d', Val::Int(_) | Val::Uint(_)) => out.push_str(&arg.to_string()),
        ('d', Val::Double(n)) if !n.is_finite() => out.push_str(&format_double(*n)),
        ('d', _) => return Err(wrong("decimal clause can only be used on integers")),
        ('f' | 'e', Val::Int(_) | Val::Uint(_) | Val::Double(_)) => {
            #[allow(clippy::cast_precision_loss)]
            let n = match arg {
                Val::Int(n) => *n as f64,
                Val::Uint(n) => *n as f64,
                Val::Double(n) => *n,
                _ => 0.0,
            };
            match verb {
                _ if !n.is_finite() => out.push_str(&format_double(n)),
                'f' => drop(write!(out, "{n:.places$}")),
                _ => out.push_str(&exponent(&format!("{n:.places$e}"))),
            }
        }
        ('f', _) => return Err(wrong("fixed-point clause can only be used on doubles")),
        ('e', _) => return Err(wrong("scientific clause can only be used on doubles")),
        ('b', Val::Bool(b)) => out.push(if *b { '1' } else { '0' }),
        ('b', Val::Int(n)) => out.push_str(&signed(*n, |n| format!("{n:b}"))),
        ('b', Val::Uint(n)) => drop(write!(out, "{n:b}")),
        ('b', _) => return Err(wrong("only integers and bools can be formatted as binary")),
        ('o', Val::Int(n)) => out.push_str(&signed(*n, |n| format!("{n:o}"))),
        ('o', Val::Uint(n)) => drop(write!(out, "{n:o}")),
        ('o', _) => return Err(wrong("octal clause can only be used on integers")),
        ('x' | 'X', arg) => {
            let hex = match arg {
                Val::Int(n) => signed(*n, |n| format!("{n:x}")),
                Val::Uint(n) => format!("{n:x}"),
                Val::String(text) => hex_bytes(text.as_bytes()),
                Val::Bytes(bytes) => hex_bytes(bytes),
                _ => return Err(wrong("only integers, byte buffers, and strings can be formatted as hex")),
            };
            out.push_str(&if verb == 'X' { hex.to_uppercase() } else { hex });
        }
        (verb, _) => {
            return Err(error(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{verb}\""
            )));
        }
    }
    Ok(())
}

fn signed(n: i64, digits: impl Fn(u64) -> String) -> String {
    format!("{}{}", if n < 0 { "-" } else { "" }, digits(n.unsigned_abs()))
}

fn hex_bytes(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Rust writes `1e2` where Go writes `1e+02`.
fn exponent(text: &str) -> String {
    let Some((mantissa, exponent)) = text.split_once('e') else { return text.to_owned() };
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// A double as Go prints it with the fewest digits.
pub fn format_double(n: f64) -> String {
    if n.is_nan() {
        return "NaN".to_owned();
    }
    if n.is_infinite() {
        return if n > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    if n != 0.0 && (n.abs() < 1e-4 || n.abs() >= 1e21) {
        return exponent(&format!("{n:e}"));
    }
    n.to_string()
}

/// A value as `%s` shows it.
fn plain(out: &mut String, value: &Val<'_>) -> Result<(), EvalError> {
    match value {
        Val::List(list) => {
            out.push('[');
            for (at, item) in list.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                plain(out, &item)?;
            }
            out.push(']');
        }
        Val::Map(map) => {
            out.push('{');
            let mut texts = Vec::new();
            for (key, value) in map.entries() {
                let mut text = String::new();
                plain(&mut text, &key)?;
                text.push_str(": ");
                plain(&mut text, &value)?;
                texts.push(text);
            }
            texts.sort();
            out.push_str(&texts.join(", "));
            out.push('}');
        }
        Val::Bytes(bytes) => out.push_str(&String::from_utf8_lossy(bytes)),
        Val::Optional(_) | Val::Opaque(_) => {
            return Err(error(format!(
                "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, \
                 maps, lists, types, durations, and timestamps, was given {}",
                value.type_name()
            )));
        }
        other => out.push_str(&other.to_string()),
    }
    Ok(())
}
