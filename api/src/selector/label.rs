//! Label selectors: a conjunction of requirements, matched without allocation.
use super::{ParseError, parse};
use crate::field::{self, ErrorList};
use crate::{Object, Value, names};
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Formatter};
use std::hash::BuildHasher;
use std::str::FromStr;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `key in (a,b)`.
    In,
    /// `key notin (a,b)`; also matches where the key is absent.
    NotIn,
    /// `key=a`.
    Equals,
    /// `key==a`.
    DoubleEquals,
    /// `key!=a`; also matches where the key is absent.
    NotEquals,
    /// `key`.
    Exists,
    /// `!key`.
    DoesNotExist,
    /// `key>1`: both whole numbers.
    GreaterThan,
    /// `key<1`: both whole numbers.
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: Box<str>,
    operator: Operator,
    /// Sorted, each once.
    values: Box<[Box<str>]>,
}

/// A conjunction of requirements on labels; with none it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSelector {
    /// Sorted by key.
    requirements: Vec<Requirement>,
    /// Matches no object at all, what an absent selector of an object means.
    nothing: bool,
}

/// Where labels are looked up.
pub trait Labels {
    /// The value of the label `key`.
    fn label(&self, key: &str) -> Option<&str>;
}

impl Labels for Object {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl Labels for Value {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}

impl Labels for BTreeMap<String, String> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<S: BuildHasher> Labels for HashMap<String, String, S> {
    fn label(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<T: Labels + ?Sized> Labels for &T {
    fn label(&self, key: &str) -> Option<&str> {
        (**self).label(key)
    }
}

impl<T: Labels> Labels for Option<T> {
    fn label(&self, key: &str) -> Option<&str> {
        self.as_ref().and_then(|labels| labels.label(key))
    }
}

/// Pairs of key and value, in any order.
impl<K: AsRef<str>, V: AsRef<str>> Labels for [(K, V)] {
    fn label(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| k.as_ref() == key).map(|(_, v)| v.as_ref())
    }
}

impl Requirement {
    /// A requirement whose key and values have been checked; the paths of faults begin at `key`, `values` and
    /// `operator`.
    pub fn new(key: &str, operator: Operator, mut values: Vec<String>) -> Result<Self, ErrorList> {
        let mut errors = check_key("key", key);
        let listed = || Value::from(values.clone());
        let mut refuse = |detail: &str| errors.push(field::Error::invalid("values", &listed(), detail));
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                refuse("for 'in', 'notin' operators, values set can't be empty");
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                refuse("exact-match compatibility requires one single value");
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                refuse("values set must be empty for exists and does not exist");
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    refuse("for 'Gt', 'Lt' operators, exactly one value is required");
                }
                for (at, value) in values.iter().enumerate().filter(|(_, v)| v.parse::<i64>().is_err()) {
                    errors.push(field::Error::invalid(
                        format_args!("values[{at}]"),
                        &Value::from(value.as_str()),
                        "for 'Gt', 'Lt' operators, the value must be an integer",
                    ));
                }
            }
            _ => {}
        }
        for (at, value) in values.iter().enumerate() {
            let faults = names::label_value(value);
            if !faults.is_empty() {
                let path = format!("values[{at}][{key}]");
                errors.push(field::Error::invalid(path, &Value::from(value.as_str()), faults.join("; ")));
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        values.sort_unstable();
        values.dedup();
        Ok(Self { key: key.into(), operator, values: values.into_iter().map(Into::into).collect() })
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// How it compares.
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// What it compares with.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(AsRef::as_ref)
    }

    /// Whether the labels satisfy it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let value = labels.label(&self.key);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(|v| self.has(v)),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(|v| self.has(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan => self.compare(value).is_some_and(|(label, bound)| label > bound),
            Operator::LessThan => self.compare(value).is_some_and(|(label, bound)| label < bound),
        }
    }

    fn has(&self, value: &str) -> bool {
        self.values.iter().any(|v| **v == *value)
    }

    fn compare(&self, value: Option<&str>) -> Option<(i64, i64)> {
        Some((value?.parse().ok()?, self.values.first()?.parse().ok()?))
    }
}

/// Faults of a label key at `path`, all in one error.
pub(super) fn check_key(path: &str, key: &str) -> ErrorList {
    let faults = names::qualified_name(key);
    if faults.is_empty() {
        return Vec::new();
    }
    vec![field::Error::invalid(path, &Value::from(key), faults.join("; "))]
}

/// Several faults as one text, the way the original joins them.
pub(super) fn aggregate(errors: &ErrorList) -> ParseError {
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    ParseError(if let [text] = texts.as_slice() { text.clone() } else { format!("[{}]", texts.join(", ")) })
}

impl LabelSelector {
    /// The selector that matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// The selector that matches nothing.
    pub fn nothing() -> Self {
        Self { nothing: true, ..Self::default() }
    }

    /// The conjunction of requirements.
    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// The selector of a map of labels that must all be equal (a Service's, a ReplicationController's); values
    /// are taken as they are. An absent or empty map matches everything.
    pub fn from_labels(labels: Option<&Value>) -> Self {
        let pairs = labels.and_then(Value::as_object).into_iter().flatten();
        let requirement = |(key, value): (&String, &Value)| Requirement {
            key: key.as_str().into(),
            operator: Operator::Equals,
            values: [value.as_str().unwrap_or_default().into()].into(),
        };
        Self::new(pairs.map(requirement).collect())
    }

    /// The selector of a `LabelSelector` object (`matchLabels`, `matchExpressions`): absent matches nothing,
    /// empty everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, ParseError> {
        let Some(selector) = selector.filter(|s| !s.is_null()) else { return Ok(Self::nothing()) };
        let mut requirements = Vec::new();
        for (key, value) in selector["matchLabels"].as_object().into_iter().flatten() {
            let values = vec![value.as_str().unwrap_or_default().to_owned()];
            requirements.push(Requirement::new(key, Operator::Equals, values).map_err(|e| aggregate(&e))?);
        }
        for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
            let operator = match expression["operator"].as_str().unwrap_or_default() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(ParseError(format!("{other:?} is not a valid label selector operator"))),
            };
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(ToOwned::to_owned).collect();
            let key = expression["key"].as_str().unwrap_or_default();
            requirements.push(Requirement::new(key, operator, values).map_err(|e| aggregate(&e))?);
        }
        Ok(Self::new(requirements))
    }

    /// Whether the labels satisfy every requirement.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Whether it has no requirement, so that it matches everything.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it matches nothing by construction.
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The value that the label `key` must have, where one requirement says so.
    pub fn required_value(&self, key: &str) -> Option<&str> {
        let exact = |r: &&Requirement| {
            *r.key == *key
                && r.values.len() == 1
                && matches!(r.operator, Operator::Equals | Operator::DoubleEquals | Operator::In)
        };
        self.requirements.iter().find(exact).map(|r| &*r.values[0])
    }
}

impl FromStr for LabelSelector {
    type Err = ParseError;

    /// Reads the form of query parameters: `a=b,c in (d,e),!f,g>1`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse::requirements(text).map(Self::new)
    }
}

impl Display for Requirement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let joined = || self.values.join(",");
        match self.operator {
            Operator::DoesNotExist => write!(f, "!{}", self.key),
            Operator::Exists => f.write_str(&self.key),
            Operator::Equals => write!(f, "{}={}", self.key, joined()),
            Operator::DoubleEquals => write!(f, "{}=={}", self.key, joined()),
            Operator::NotEquals => write!(f, "{}!={}", self.key, joined()),
            Operator::In => write!(f, "{} in ({})", self.key, joined()),
            Operator::NotIn => write!(f, "{} notin ({})", self.key, joined()),
            Operator::GreaterThan => write!(f, "{}>{}", self.key, joined()),
            Operator::LessThan => write!(f, "{}<{}", self.key, joined()),
        }
    }
}

impl Display for LabelSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.requirements.iter().enumerate() {
            write!(f, "{}{requirement}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn parses_prints_and_matches() {
        let labels = json!({"app": "web", "tier": "front", "n": "5", "empty": ""});
        for (text, printed, matches) in [
            ("", "", true),
            ("app", "app", true),
            ("!app", "!app", false),
            ("! nope", "!nope", true),
            ("app=web", "app=web", true),
            ("app==web", "app==web", true),
            ("app = web , tier=front", "app=web,tier=front", true),
            ("tier=front,app=web", "app=web,tier=front", true),
            ("app!=web", "app!=web", false),
            ("nope!=web", "nope!=web", true),
            ("app in (b,web,a,a)", "app in (a,b,web)", true),
            ("app notin (web)", "app notin (web)", false),
            ("nope notin (x)", "nope notin (x)", true),
            ("n>4,n<6", "n>4,n<6", true),
            ("n>5", "n>5", false),
            ("app>1", "app>1", false),
            ("empty=", "empty=", true),
            ("empty in (,)", "empty in ()", true),
            ("in in (in,notin)", "in in (in,notin)", false),
            ("x.io/a", "x.io/a", false),
        ] {
            let selector: LabelSelector = text.parse().expect(text);
            assert_eq!(selector.to_string(), printed, "{text}");
            assert_eq!(selector.matches(&labels), matches, "{text}");
        }
    }

    #[test]
    fn refused_texts() {
        for (text, expected) in [
            (",", "found ',', expected: !, identifier, or 'end of string'"),
            ("a,", "found '', expected: identifier after ','"),
            ("!", "unable to parse requirement: found '', expected: identifier"),
            ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            ("a=b c", "found 'c', expected: ',' or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'"),
            (
                "a in ()",
                "unable to parse requirement: values: Invalid value: []: for 'in', 'notin' operators, values set \
                 can't be empty",
            ),
            (
                "a>x",
                "unable to parse requirement: values[0]: Invalid value: \"x\": for 'Gt', 'Lt' operators, the value \
                 must be an integer",
            ),
        ] {
            assert_eq!(text.parse::<LabelSelector>().expect_err(text).to_string(), expected, "{text}");
        }
        let text = "-a=b".parse::<LabelSelector>().expect_err("bad key").to_string();
        assert!(
            text.starts_with("unable to parse requirement: <nil>: Invalid value: \"-a\": name part must"),
            "{text}"
        );
        let text = "a=-".parse::<LabelSelector>().expect_err("bad value").to_string();
        assert!(
            text.starts_with(
                "unable to parse requirement: values[0][a]: Invalid value: \"-\": a valid label must"
            ),
            "{text}"
        );
    }

    #[test]
    fn objects() {
        let selector = json!({
            "matchLabels": {"b": "1"},
            "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "Exists"}],
        });
        let selector = LabelSelector::from_object(Some(&selector)).expect("a selector");
        assert_eq!(selector.to_string(), "a in (x,y),b=1,c");
        assert!(selector.matches(&json!({"a": "x", "b": "1", "c": ""})));
        assert_eq!(selector.required_value("b"), Some("1"));
        assert!(!LabelSelector::from_object(None).expect("nothing").matches(&json!({})));
        assert!(LabelSelector::from_object(Some(&json!({}))).expect("everything").matches(&json!({})));
        let bad = json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]});
        assert_eq!(
            LabelSelector::from_object(Some(&bad)).expect_err("operator").to_string(),
            "\"Gt\" is not a valid label selector operator"
        );
        assert_eq!(LabelSelector::from_labels(Some(&json!({"b": "2", "a": "1"}))).to_string(), "a=1,b=2");
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-a-z0-9!=<>(), /.]{0,30}") {
            if let Ok(selector) = text.parse::<LabelSelector>() {
                let printed = selector.to_string();
                prop_assert_eq!(printed.parse::<LabelSelector>().map(|s| s.to_string()), Ok(printed));
            }
        }
    }
}
