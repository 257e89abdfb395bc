//! What a plain scalar means. Source: YAML 1.1 types as the original's library reads them.
use crate::Value;
use serde_json::Number;

/// The meaning of a plain scalar.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plain {
    Null,
    Bool(bool),
    Int(Number),
    Float(f64),
    /// A date or time, which stays text but is written in quotes.
    Timestamp,
    /// The merge key `<<`.
    Merge,
    Text,
}

impl Plain {
    /// The short name of the type, `int`.
    pub(super) fn tag(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float",
            Self::Timestamp => "timestamp",
            Self::Merge => "merge",
            Self::Text => "str",
        }
    }
}

/// Resolves a plain scalar.
pub(super) fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Plain::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Plain::Bool(false)
        }
        ".nan" | ".NaN" | ".NAN" => Plain::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => Plain::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => Plain::Float(f64::NEG_INFINITY),
        "<<" => Plain::Merge,
        _ => match text.as_bytes()[0] {
            b'+' | b'-' | b'.' | b'0'..=b'9' => number(text),
            _ => Plain::Text,
        },
    }
}

fn number(text: &str) -> Plain {
    if is_timestamp(text) {
        return Plain::Timestamp;
    }
    let plain = text.replace('_', "");
    if let Some(int) = integer(&plain) {
        return Plain::Int(int);
    }
    if is_float(&plain)
        && let Ok(float) = plain.parse()
    {
        return Plain::Float(float);
    }
    Plain::Text
}

/// Decimal, `0x`, `0o`, `0b` and, with a leading zero, octal.
fn integer(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let size = u64::from_str_radix(digits, radix).ok()?;
    match (negative, i64::try_from(size)) {
        (false, Ok(n)) => Some(n.into()),
        (false, Err(_)) => Some(size.into()),
        (true, Ok(n)) => Some((-n).into()),
        (true, Err(_)) if size == 1 << 63 => Some(i64::MIN.into()),
        (true, Err(_)) => None,
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let digits = |s: &str| s.bytes().take_while(u8::is_ascii_digit).count();
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let whole = digits(rest);
    let mut rest = &rest[whole..];
    if let Some(after) = rest.strip_prefix('.') {
        let fraction = digits(after);
        if whole + fraction == 0 {
            return false;
        }
        rest = &after[fraction..];
    } else if whole == 0 {
        return false;
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exponent) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
    }
}

/// `2006-1-2`, or with a time after `T`, `t` or a blank.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || bytes[4] != b'-' || !bytes[..4].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let (date, time) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((bytes[at], &text[at + 1..]))),
        None => (text, None),
    };
    let mut parts = date.split('-').skip(1);
    let (month, day) = (parts.next(), parts.next());
    if !(one_of(month, 12, 1) && one_of(day, 31, 1) && parts.next().is_none()) {
        return false;
    }
    let Some((separator, time)) = time else { return true };
    let clock_end = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(clock_end);
    let clock = clock
        .split_once('.')
        .map_or(clock, |(c, f)| if f.is_empty() || !f.bytes().all(|b| b.is_ascii_digit()) { "" } else { c });
    let mut parts = clock.split(':');
    let (hour, minute, second) = (parts.next(), parts.next(), parts.next());
    let clock =
        one_of(hour, 23, 0) && one_of(minute, 59, 0) && one_of(second, 59, 0) && parts.next().is_none();
    let zone_ok = match (separator, zone.strip_prefix(['+', '-'])) {
        (b' ', _) => zone.is_empty(),
        (_, None) => zone == "Z",
        (_, Some(offset)) => {
            offset.len() == 5
                && offset
                    .split_once(':')
                    .is_some_and(|(h, m)| one_of(Some(h), 24, 0) && one_of(Some(m), 60, 0))
        }
    };
    clock && zone_ok
}

fn one_of(part: Option<&str>, most: u32, least: u32) -> bool {
    let Some(part) = part else { return false };
    (1..=2).contains(&part.len())
        && part.bytes().all(|b| b.is_ascii_digit())
        && part.parse().is_ok_and(|n: u32| (least..=most).contains(&n))
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`: a number of base 60 for other readers, so written in quotes.
pub(super) fn is_base60(text: &str) -> bool {
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = rest.split(':');
    let head = parts.next().unwrap_or_default();
    if !head.starts_with(|c: char| c.is_ascii_digit())
        || !head.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    {
        return false;
    }
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return false;
    }
    while let Some(part) = parts.next() {
        let (digits, fraction) = part.split_once('.').map_or((part, None), |(d, f)| (d, Some(f)));
        let fraction_ok = fraction
            .is_none_or(|f| parts.peek().is_none() && f.bytes().all(|b| b.is_ascii_digit() || b == b'_'));
        if !one_of(Some(digits), 59, 0) || !fraction_ok {
            return false;
        }
    }
    true
}

/// The JSON value of a plain scalar; none where JSON has none (not a number, infinities).
pub(super) fn to_value(text: &str) -> Option<Value> {
    Some(match resolve(text) {
        Plain::Null => Value::Null,
        Plain::Bool(b) => Value::Bool(b),
        Plain::Int(n) => Value::Number(n),
        Plain::Float(f) => Value::Number(Number::from_f64(f)?),
        Plain::Timestamp | Plain::Merge | Plain::Text => Value::from(text),
    })
}
