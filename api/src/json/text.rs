//! Strings and numbers as Go's `encoding/json` spells them, and indentation.
use serde_json::Number;
use std::io::Write as _;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Bytes that stand for themselves; E2 begins the line separators, among others.
static PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < 0x20 {
        plain[byte] = false;
        byte += 1;
    }
    let special = b"\"\\<>&\xE2";
    let mut at = 0;
    while at < special.len() {
        plain[special[at] as usize] = false;
        at += 1;
    }
    plain
};

/// Appends a JSON string; `<`, `>`, `&`, U+2028 and U+2029 are escaped too.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut done = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if PLAIN[usize::from(byte)] {
            continue;
        }
        if byte == 0xE2 {
            // U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
            if let Some([0x80, last @ (0xA8 | 0xA9)]) = bytes.get(at + 1..at + 3) {
                out.extend_from_slice(&bytes[done..at]);
                out.extend_from_slice(if *last == 0xA8 { b"\\u2028" } else { b"\\u2029" });
                done = at + 3;
            }
            continue;
        }
        out.extend_from_slice(&bytes[done..at]);
        done = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&bytes[done..]);
    out.push(b'"');
}

/// Appends a number; doubles as Go spells them: no fraction where there is none, an exponent below 1e-6 and from
/// 1e21.
pub(super) fn write_number(number: &Number, out: &mut Vec<u8>) {
    if let Some(n) = number.as_i64() {
        return write_integer(n, out);
    }
    // Writing to a Vec cannot fail.
    let _ = match (number.as_u64(), number.as_f64()) {
        (Some(n), _) => write!(out, "{n}"),
        (_, Some(n)) if n != 0.0 && !(1e-6..1e21).contains(&n.abs()) => {
            let text = format!("{n:e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            match exponent.strip_prefix('-') {
                Some(digits) => write!(out, "{mantissa}e-{digits:0>2}"),
                None => write!(out, "{mantissa}e+{exponent:0>2}"),
            }
        }
        (_, Some(n)) => write!(out, "{n}"),
        _ => write!(out, "{number}"),
    };
}

fn write_integer(number: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// JSON with line breaks and indents of two blanks, as `?pretty=true` gives; the input must be JSON.
pub fn indent(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    let line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.extend(std::iter::repeat_n(b' ', depth * 2));
    };
    for (at, &byte) in json.iter().enumerate() {
        if in_string {
            out.push(byte);
            (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {}
            b'{' | b'[' => {
                out.push(byte);
                depth += 1;
                let next = json[at + 1..].iter().find(|b| !b.is_ascii_whitespace());
                if !matches!(next, Some(b'}' | b']')) {
                    line(&mut out, depth);
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if !matches!(out.last(), Some(b'{' | b'[')) {
                    line(&mut out, depth);
                }
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                line(&mut out, depth);
            }
            b':' => out.extend_from_slice(b": "),
            _ => {
                in_string = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
}
