//! Field selectors: `metadata.name=a,spec.nodeName!=b`; `\`, `,` and `=` in values are escaped by `\`.
use super::ParseError;
use crate::kind::Kind;
use std::fmt::{self, Display, Formatter, Write};
use std::str::FromStr;

/// One field that must, or must not, have a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FieldRequirement {
    /// Field label, `spec.nodeName`.
    pub field: Box<str>,
    /// The value compared with; an absent field has the empty value.
    pub value: Box<str>,
    /// `!=`.
    pub negated: bool,
}

/// A conjunction of conditions on fields; with none it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// The conjunction of requirements.
    pub fn new(requirements: Vec<FieldRequirement>) -> Self {
        Self { requirements }
    }

    /// The requirements.
    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    /// Whether it has no requirement.
    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object satisfies it, whose fields `field` gives by label; absent fields are empty.
    pub fn matches<'v>(&self, field: impl Fn(&str) -> Option<&'v str>) -> bool {
        let holds = |r: &FieldRequirement| (field(&r.field).unwrap_or_default() == &*r.value) != r.negated;
        self.requirements.iter().all(holds)
    }

    /// The value that `field` must have, where a requirement says so.
    pub fn required_value(&self, field: &str) -> Option<&str> {
        self.requirements.iter().find(|r| !r.negated && *r.field == *field).map(|r| &*r.value)
    }

    /// The selector in the field labels of a kind, older spellings replaced; refuses labels that the kind does
    /// not know, in the words that the original has for kinds of definitions (`custom`) and for others.
    pub fn resolve(mut self, kind: &Kind, custom: bool) -> Result<Self, ParseError> {
        for requirement in &mut self.requirements {
            if let Some((_, label)) =
                kind.field_selector_aliases.iter().find(|(old, _)| **old == *requirement.field)
            {
                requirement.field = (**label).into();
            }
            let field = &*requirement.field;
            if !kind.field_selectors.iter().any(|known| **known == *field) {
                let own = custom || kind.field_selectors.iter().any(|known| !known.starts_with("metadata."));
                return Err(ParseError(if own {
                    format!("field label not supported: {field}")
                } else {
                    format!(
                        "{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                    )
                }));
            }
        }
        Ok(self)
    }
}

impl FromStr for FieldSelector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|t| !t.is_empty()) {
            let Some((field, negated, value)) = split_term(term) else {
                return Err(ParseError(format!("invalid selector: '{text}'; can't understand '{term}'")));
            };
            requirements.push(FieldRequirement {
                field: field.into(),
                value: unescape(value)?.into(),
                negated,
            });
        }
        requirements.sort();
        Ok(Self { requirements })
    }
}

/// Cuts at commas that no backslash escapes.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    let at_comma = move |c: char| {
        let cut = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        cut
    };
    text.split(at_comma).collect()
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let at = term.char_indices().map(|(at, _)| at).find(|at| {
        let rest = &term[*at..];
        rest.starts_with("!=") || rest.starts_with('=')
    })?;
    let (field, rest) = term.split_at(at);
    let negated = rest.starts_with('!');
    let value = rest.strip_prefix("!=").or_else(|| rest.strip_prefix("==")).unwrap_or_else(|| &rest[1..]);
    Some((field, negated, value))
}

fn unescape(value: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(escaped @ ('\\' | ',' | '=')) => out.push(escaped),
                other => {
                    let sequence: String = std::iter::once('\\').chain(other).collect();
                    let text = format!("invalid field selector: invalid escape sequence: {sequence}");
                    return Err(ParseError(text));
                }
            },
            ',' | '=' => {
                let text = format!("invalid field selector: unescaped character in value: {}", u32::from(c));
                return Err(ParseError(text));
            }
            _ => out.push(c),
        }
    }
    Ok(out)
}

impl Display for FieldSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, r) in self.requirements.iter().enumerate() {
            let separator = if at == 0 { "" } else { "," };
            write!(f, "{separator}{}{}", r.field, if r.negated { "!=" } else { "=" })?;
            for c in r.value.chars() {
                if matches!(c, '\\' | ',' | '=') {
                    f.write_char('\\')?;
                }
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parses_prints_and_matches() {
        let fields = |name: &str| match name {
            "a" => Some("1"),
            "odd" => Some("x,y=z\\"),
            _ => None,
        };
        for (text, printed, matches) in [
            ("", "", true),
            ("a=1", "a=1", true),
            ("a==1", "a=1", true),
            ("a!=1", "a!=1", false),
            ("b=2,a=1", "a=1,b=2", false),
            ("a==b,a=a", "a=a,a=b", false),
            ("none=", "none=", true),
            ("none!=x,,a=1", "a=1,none!=x", true),
            (r"odd=x\,y\=z\\", r"odd=x\,y\=z\\", true),
        ] {
            let selector: FieldSelector = text.parse().expect(text);
            assert_eq!(selector.to_string(), printed, "{text}");
            assert_eq!(selector.matches(fields), matches, "{text}");
        }
    }

    #[test]
    fn refused_texts() {
        for (text, expected) in [
            ("a", "invalid selector: 'a'; can't understand 'a'"),
            (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
            ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        ] {
            assert_eq!(text.parse::<FieldSelector>().expect_err(text).to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn printed_form_reads_back(text in "[a-c!=,\\\\é]{0,20}") {
            if let Ok(selector) = text.parse::<FieldSelector>() {
                prop_assert_eq!(selector.to_string().parse::<FieldSelector>().map(|s| s.to_string()), Ok(selector.to_string()));
            }
        }
    }
}
