//! Semantic versions (semver.org 2.0.0).
use super::opaque::Opaque;
use super::{Out, Rows, fault};
use crate::cel::eval::Context;
use crate::cel::value::Val;
use std::cmp::Ordering;
use std::rc::Rc;

pub(super) const ROWS: Rows = &[
    ("semver", "string_to_semver", "string -> kubernetes.Semver"),
    ("semver", "string_bool_to_semver", "string bool -> kubernetes.Semver"),
    ("isSemver", "is_semver_string", "string -> bool"),
    ("isSemver", "is_semver_string_bool", "string bool -> bool"),
    ("major", "semver_major", "kubernetes.Semver . -> int"),
    ("minor", "semver_minor", "kubernetes.Semver . -> int"),
    ("patch", "semver_patch", "kubernetes.Semver . -> int"),
    ("isGreaterThan", "semver_is_greater_than", "kubernetes.Semver . kubernetes.Semver -> bool"),
    ("isLessThan", "semver_is_less_than", "kubernetes.Semver . kubernetes.Semver -> bool"),
    ("compareTo", "semver_compare_to", "kubernetes.Semver . kubernetes.Semver -> int"),
];

/// A version; what follows `+` has no meaning for its order.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    before: Vec<String>,
}

impl Semver {
    /// Reads a version; `lenient` adds missing parts, and drops a leading `v` and leading zeros.
    /// Reads a version; `lenient` forgives a leading `v`, missing parts and leading zeros.
    pub(crate) fn parse(text: &str, lenient: bool) -> Result<Self, String> {
        let text = if lenient { text.strip_prefix('v').unwrap_or(text) } else { text };
        let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
        let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
        let mut parts: Vec<&str> = core.split('.').collect();
        while lenient && parts.len() < 3 {
            parts.push("0");
        }
        if parts.len() != 3 {
            return Err("No Major.Minor.Patch elements found".to_owned());
        }
        let mut numbers = [0; 3];
        for (number, part) in numbers.iter_mut().zip(parts) {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(format!("Invalid character(s) found in number {part:?}"));
            }
            if !lenient && part.len() > 1 && part.starts_with('0') {
                return Err(format!("number must not contain leading zeroes {part:?}"));
            }
            *number = part.parse().map_err(|_| format!("number {part:?} is too large"))?;
        }
        let before: Vec<String> = before.into_iter().flat_map(|b| b.split('.')).map(str::to_owned).collect();
        for part in before.iter().map(String::as_str).chain(build.into_iter().flat_map(|b| b.split('.'))) {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
                return Err(format!("Invalid character(s) found in prerelease or build {part:?}"));
            }
        }
        let padded = |part: &String| numeric(part).is_some() && part.len() > 1 && part.starts_with('0');
        if let Some(part) = before.iter().find(|part| padded(part)) {
            return Err(format!("Numeric PreRelease version must not contain leading zeroes {part:?}"));
        }
        Ok(Self { numbers, before })
    }
}

fn numeric(part: &str) -> Option<u64> {
    part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}

impl Ord for Semver {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_number = self.numbers.cmp(&other.numbers);
        let by_release = || self.before.is_empty().cmp(&other.before.is_empty());
        let by_parts = || {
            for (a, b) in self.before.iter().zip(&other.before) {
                let order = match (numeric(a), numeric(b)) {
                    (Some(a), Some(b)) => a.cmp(&b),
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (None, None) => a.cmp(b),
                };
                if order != Ordering::Equal {
                    return order;
                }
            }
            self.before.len().cmp(&other.before.len())
        };
        by_number.then_with(by_release).then_with(by_parts)
    }
}

impl PartialOrd for Semver {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Semver {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Semver {}

pub(super) fn call<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let parsed = |args: &[Val<'a>]| match args {
        [Val::String(text)] => Some(Semver::parse(text, false)),
        [Val::String(text), Val::Bool(lenient)] => Some(Semver::parse(text, *lenient)),
        _ => None,
    };
    let number = |n: u64| Val::Int(i64::try_from(n).unwrap_or(i64::MAX));
    Some(match (name, args) {
        ("isSemver", args) => Ok(Val::Bool(parsed(args)?.is_ok())),
        ("semver", args) => match parsed(args)? {
            Ok(version) => Ok(Val::Opaque(Opaque::Semver(Rc::new(version)))),
            Err(error) => fault(error),
        },
        ("major", [Val::Opaque(Opaque::Semver(version))]) => Ok(number(version.numbers[0])),
        ("minor", [Val::Opaque(Opaque::Semver(version))]) => Ok(number(version.numbers[1])),
        ("patch", [Val::Opaque(Opaque::Semver(version))]) => Ok(number(version.numbers[2])),
        (name, [Val::Opaque(Opaque::Semver(a)), Val::Opaque(Opaque::Semver(b))]) => {
            let order = a.cmp(b);
            Ok(match name {
                "isGreaterThan" => Val::Bool(order == Ordering::Greater),
                "isLessThan" => Val::Bool(order == Ordering::Less),
                "compareTo" => Val::Int(order as i64),
                _ => return None,
            })
        }
        _ => return None,
    })
}
