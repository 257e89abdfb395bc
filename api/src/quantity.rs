//! Quantities: exact decimal numbers with a suffix (`500m`, `1536Mi`, `2e3`), as resource amounts are written.
//!
//! Source: API conventions, "Quantity". A value is held in billionths, which is the finest step the API keeps;
//! what is finer is rounded away from zero when read, so that asking for something never becomes nothing.
use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};
use std::iter::Sum;
use std::ops::{Add, Neg, Sub};
use std::str::FromStr;

/// The suffix family a quantity was written in; its canonical form stays in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// `n u m` none `k M G T P E`: powers of 1000.
    #[default]
    DecimalSi,
    /// `Ki Mi Gi Ti Pi Ei`: powers of 1024.
    BinarySi,
    /// `e3`, `E-6`: a decimal exponent.
    DecimalExponent,
}

/// An amount: a whole number of billionths and the family of suffixes it prints with.
///
/// Equality and order are those of the number; the family only matters for printing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is no quantity; the texts are the original's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a number with a suffix at all.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// A suffix that no family has.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const NANOS: i128 = 1_000_000_000;
const MILLI: i128 = NANOS / 1000;
/// Larger numbers are read as this one.
const MAX: i128 = i64::MAX as i128 * NANOS;

impl Quantity {
    /// A whole number.
    pub fn from_int(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANOS, format }
    }

    /// An amount of billionths.
    pub fn from_nanos(nanos: i128, format: Format) -> Self {
        Self { nanos, format }
    }

    /// A number of thousandths.
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * MILLI, format }
    }

    /// The number in billionths.
    pub fn nanos(&self) -> i128 {
        self.nanos
    }

    /// The suffix family.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The number rounded away from zero to a whole one; saturates at the limits of `i64`.
    pub fn value(&self) -> i64 {
        saturate(div_away(self.nanos, NANOS))
    }

    /// The number in thousandths, rounded away from zero; saturates at the limits of `i64`.
    pub fn milli_value(&self) -> i64 {
        saturate(div_away(self.nanos, MILLI))
    }

    /// The nearest double.
    #[allow(clippy::cast_precision_loss)]
    pub fn as_f64(&self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Whether it is a whole number.
    pub fn is_integer(&self) -> bool {
        self.nanos % NANOS == 0
    }

    /// Whether it is 0.
    pub fn is_zero(&self) -> bool {
        self.nanos == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.nanos.signum() as i32
    }

    /// Rounded away from zero to thousandths, which is what defaulting does to resource lists.
    pub fn round_up_to_milli(self) -> Self {
        Self { nanos: div_away(self.nanos, MILLI) * MILLI, ..self }
    }

    /// Reads a JSON value: text or a bare number; nothing for other values.
    pub fn from_value(value: &crate::Value) -> Option<Result<Self, ParseError>> {
        match value {
            crate::Value::String(text) => Some(text.trim().parse()),
            crate::Value::Number(number) => Some(number.to_string().parse()),
            _ => None,
        }
    }
}

impl Add for Quantity {
    type Output = Self;

    /// The sum; a zero takes the other's suffix family.
    fn add(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        Self { nanos: self.nanos.saturating_add(other.nanos), format }
    }
}

impl Neg for Quantity {
    type Output = Self;

    fn neg(self) -> Self {
        Self { nanos: -self.nanos, ..self }
    }
}

impl Sub for Quantity {
    type Output = Self;

    /// The difference; a zero takes the other's suffix family.
    fn sub(self, other: Self) -> Self {
        self + -other
    }
}

impl Sum for Quantity {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), Add::add)
    }
}

/// The canonical text of a quantity text: no fraction, the largest suffix that keeps a whole number.
pub fn canonical(text: &str) -> Result<String, ParseError> {
    text.parse::<Quantity>().map(|q| q.to_string())
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts = Parts::split(text)?;
        let suffix = Suffix::parse(parts.suffix)?;
        let magnitude = parts.magnitude(suffix);
        let mut format = suffix.format;
        if format == Format::BinarySi && (1..NANOS).contains(&magnitude) {
            format = Format::DecimalSi;
        }
        Ok(Self { nanos: if parts.negative { -magnitude } else { magnitude }, format })
    }
}

/// A quantity text cut at its seams.
struct Parts<'a> {
    negative: bool,
    /// Digits before the point, leading zeros dropped.
    whole: &'a str,
    /// Digits after the point.
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Format);
        }
        let negative = text.starts_with('-');
        let rest = text.strip_prefix(['-', '+']).unwrap_or(text).trim_start_matches('0');
        let (whole, rest) = split_digits(rest);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", rest),
        };
        let exponent = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        if digits.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self { negative, whole, fraction, suffix })
        } else {
            Err(ParseError::Format)
        }
    }

    /// The number without its sign, in billionths, rounded up and capped.
    fn magnitude(&self, suffix: Suffix) -> i128 {
        let fraction = self.fraction.trim_end_matches('0');
        let digits = || self.whole.bytes().chain(fraction.bytes()).map(|b| i128::from(b - b'0'));
        if digits().all(|d| d == 0) {
            return 0;
        }
        // Thirty significant digits decide everything below the cap; more only round up.
        let mut mantissa: i128 = 0;
        let mut dropped = 0_i64;
        let mut inexact = false;
        for digit in digits() {
            if mantissa < 10_i128.pow(29) {
                mantissa = mantissa * 10 + digit;
            } else {
                dropped += 1;
                inexact |= digit != 0;
            }
        }
        let shift = dropped - fraction.len() as i64 + suffix.power10 + 9;
        let mut nanos = match suffix.power2 {
            0 => scale10(mantissa, shift, &mut inexact),
            bits => scale_binary(mantissa, shift, bits, &mut inexact),
        };
        if inexact {
            nanos = nanos.map(|n| n + 1);
        }
        match nanos {
            Some(nanos) if nanos <= MAX => nanos,
            _ => MAX,
        }
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// `mantissa · 10^shift`, cut to a whole number; nothing when it does not fit.
fn scale10(mantissa: i128, shift: i64, inexact: &mut bool) -> Option<i128> {
    if shift >= 0 {
        return mantissa.checked_mul(10_i128.checked_pow(u32::try_from(shift).ok()?)?);
    }
    let Some(divisor) = u32::try_from(-shift).ok().and_then(|s| 10_i128.checked_pow(s)) else {
        *inexact = true;
        return Some(0);
    };
    *inexact |= mantissa % divisor != 0;
    Some(mantissa / divisor)
}

/// `mantissa · 10^shift · 2^bits`, cut to a whole number; nothing when it does not fit.
fn scale_binary(mantissa: i128, shift: i64, bits: u32, inexact: &mut bool) -> Option<i128> {
    if shift >= 0 {
        return scale10(mantissa, shift, inexact)?.checked_mul(1 << bits);
    }
    // Divide in two steps so that no intermediate product overflows: q·d + r = mantissa.
    let Some(divisor) = u32::try_from(-shift).ok().and_then(|s| 10_i128.checked_pow(s)) else {
        *inexact = true;
        return Some(0);
    };
    let (mut quotient, mut rest) = (mantissa / divisor, mantissa % divisor);
    for _ in 0..bits {
        quotient = quotient.checked_mul(2)?;
        rest = rest.checked_mul(2)?;
        if rest >= divisor {
            rest -= divisor;
            quotient += 1;
        }
    }
    *inexact |= rest != 0;
    Some(quotient)
}

/// What a suffix multiplies by: `10^power10 · 2^power2`.
#[derive(Clone, Copy)]
struct Suffix {
    power10: i64,
    power2: u32,
    format: Format,
}

const DECIMAL: [(&str, i64); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

impl Suffix {
    fn parse(text: &str) -> Result<Self, ParseError> {
        if let Some((_, power10)) = DECIMAL.iter().find(|(name, _)| *name == text) {
            return Ok(Self { power10: *power10, power2: 0, format: Format::DecimalSi });
        }
        if let Some(at) = BINARY.iter().position(|name| *name == text) {
            return Ok(Self { power10: 0, power2: at as u32 * 10, format: Format::BinarySi });
        }
        let exponent = text.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
        let power10 = exponent.parse::<i32>().map_err(|_| ParseError::Suffix)?;
        Ok(Self { power10: i64::from(power10), power2: 0, format: Format::DecimalExponent })
    }
}

impl Display for Quantity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANOS;
        if self.format == Format::BinarySi && !small && self.is_integer() {
            let (mut number, mut at) = (self.nanos / NANOS, 0);
            while number % 1024 == 0 && at < BINARY.len() - 1 {
                number /= 1024;
                at += 1;
            }
            return write!(f, "{number}{}", BINARY[at]);
        }
        let (mut number, mut exponent) = (self.nanos, -9);
        while number % 1000 == 0 && (exponent < 18 || self.format == Format::DecimalExponent) {
            number /= 1000;
            exponent += 3;
        }
        write!(f, "{number}")?;
        match self.format {
            Format::DecimalExponent if exponent == 0 => Ok(()),
            Format::DecimalExponent => write!(f, "e{exponent}"),
            _ => f.write_str(DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(name, _)| name)),
        }
    }
}

fn div_away(number: i128, divisor: i128) -> i128 {
    let quotient = number / divisor;
    if number % divisor == 0 { quotient } else { quotient + number.signum() }
}

fn saturate(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(if number < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests;
