//! Label selectors, compiled, and matching of node selector terms.
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// How a requirement compares a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// The value is one of the list.
    In,
    /// The label is absent or has another value.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Requirement {
    key: String,
    operator: Operator,
    values: Vec<String>,
}

/// A label selector in a form that compares, hashes and matches fast. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Selects nothing: an absent or malformed selector.
    nothing: bool,
    requirements: Vec<Requirement>,
}

impl Selector {
    /// A selector of the API; none selects nothing.
    pub fn new(selector: Option<&LabelSelector>) -> Self {
        let Some(selector) = selector else { return Self { nothing: true, requirements: Vec::new() } };
        let mut compiled = Self::default();
        for (key, value) in selector.match_labels.iter().flatten() {
            compiled.require(key, Operator::In, vec![value.clone()]);
        }
        for requirement in selector.match_expressions.iter().flatten() {
            let operator = match requirement.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                _ => {
                    compiled.nothing = true;
                    continue;
                }
            };
            compiled.require(&requirement.key, operator, requirement.values.clone().unwrap_or_default());
        }
        compiled
    }

    /// A selector of exact labels.
    pub fn of_labels(labels: &Labels) -> Self {
        let mut compiled = Self::default();
        for (key, value) in labels {
            compiled.require(key, Operator::In, vec![value.clone()]);
        }
        compiled
    }

    /// Selects what it selected and meets the requirement too.
    pub fn require(&mut self, key: &str, operator: Operator, mut values: Vec<String>) {
        values.sort();
        let requirement = Requirement { key: key.to_owned(), operator, values };
        if !self.requirements.contains(&requirement) {
            self.requirements.push(requirement);
        }
    }

    /// Selects what both select.
    pub fn and(&mut self, other: Self) {
        self.nothing |= other.nothing;
        for Requirement { key, operator, values } in other.requirements {
            self.require(&key, operator, values);
        }
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// Whether it selects these labels.
    pub fn selects(&self, labels: &Labels) -> bool {
        !self.nothing
            && self.requirements.iter().all(|Requirement { key, operator, values }| {
                let found = labels.get(key);
                match operator {
                    Operator::In => found.is_some_and(|value| values.contains(value)),
                    Operator::NotIn => found.is_none_or(|value| !values.contains(value)),
                    Operator::Exists => found.is_some(),
                    Operator::DoesNotExist => found.is_none(),
                }
            })
    }
}

/// Whether a node matches a term: all of its expressions and fields. An empty term matches no node.
pub fn term_matches(term: &NodeSelectorTerm, name: &str, labels: &Labels) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let name = name.to_owned();
    let requirement = |requirement: &NodeSelectorRequirement, value: Option<&String>| {
        holds(&requirement.operator, requirement.values.as_deref().unwrap_or_default(), value)
    };
    let field = |key: &str| (key == "metadata.name").then_some(&name);
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|expression| requirement(expression, labels.get(&expression.key)))
        && fields.iter().all(|expression| requirement(expression, field(&expression.key)))
}

fn holds(operator: &str, values: &[String], found: Option<&String>) -> bool {
    let number = |text: &String| text.parse::<i64>().ok();
    let compare = |f: fn(&i64, &i64) -> bool| {
        let wanted = values.first().and_then(number);
        found.and_then(number).zip(wanted).is_some_and(|(found, wanted)| f(&found, &wanted))
    };
    match operator {
        "In" => found.is_some_and(|value| values.contains(value)),
        "NotIn" => found.is_none_or(|value| !values.contains(value)),
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators() {
        let check = |operator: &str, values: &[&str], found: Option<&str>, expected: bool| {
            let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
            let found = found.map(str::to_owned);
            assert_eq!(holds(operator, &values, found.as_ref()), expected, "{found:?} {operator} {values:?}");
        };
        check("In", &["a", "b"], Some("a"), true);
        check("In", &["a"], None, false);
        check("NotIn", &["a"], None, true);
        check("NotIn", &["a"], Some("a"), false);
        check("Exists", &[], Some(""), true);
        check("DoesNotExist", &[], None, true);
        check("Gt", &["5"], Some("6"), true);
        check("Gt", &["5"], Some("5"), false);
        check("Lt", &["5"], Some("x"), false);
        check("Near", &["5"], Some("5"), false);
    }
}
