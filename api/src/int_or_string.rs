//! `IntOrString`: a number or a text, used for ports (number or name) and amounts (number or percentage).
use crate::Value;
use std::fmt::{self, Display, Formatter};

/// A 32-bit number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum IntOrString {
    /// A number.
    Int(i32),
    /// A text: a port name or a percentage.
    String(String),
}

impl IntOrString {
    /// Reads a JSON value; nothing where it is neither a 32-bit number nor text.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Number(number) => number.as_i64().and_then(|n| i32::try_from(n).ok()).map(Self::Int),
            Value::String(text) => Some(Self::String(text.clone())),
            _ => None,
        }
    }

    /// The JSON value.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Int(number) => Value::from(*number),
            Self::String(text) => Value::from(text.as_str()),
        }
    }

    /// The number itself, or the percentage of `total` rounded up or down; nothing where the text is no
    /// percentage.
    pub fn scaled(&self, total: i64, round_up: bool) -> Option<i64> {
        let percent = match self {
            Self::Int(number) => return Some(i64::from(*number)),
            Self::String(_) => self.percent()?,
        };
        let product = percent.saturating_mul(total);
        let extra = i64::from(round_up && product % 100 != 0);
        Some(product / 100 + extra)
    }

    /// The number before the `%` of a percentage.
    pub fn percent(&self) -> Option<i64> {
        let Self::String(text) = self else { return None };
        text.strip_suffix('%')?.parse().ok()
    }
}

impl Display for IntOrString {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::String(text) => text.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_and_percentages() {
        assert_eq!(IntOrString::from_value(&json!(80)), Some(IntOrString::Int(80)));
        assert_eq!(IntOrString::from_value(&json!("http")), Some(IntOrString::String("http".into())));
        assert_eq!(IntOrString::from_value(&json!(1.5)), None);
        assert_eq!(IntOrString::from_value(&json!(3_000_000_000_i64)), None);
        for (text, total, up, expected) in [
            ("25%", 10, true, Some(3)),
            ("25%", 10, false, Some(2)),
            ("100%", 7, true, Some(7)),
            ("x", 1, true, None),
        ] {
            assert_eq!(IntOrString::String(text.into()).scaled(total, up), expected, "{text} of {total}");
        }
        assert_eq!(IntOrString::Int(4).scaled(100, true), Some(4));
    }
}
