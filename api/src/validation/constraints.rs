//! Rules as data: a path and what must hold there. Most of what a kind asks of its fields is rows of these; only what
//! looks at several fields at once is code.
use super::cursor::At;
use super::labels;

/// What must hold of a field.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// Something must be there.
    Need,
    /// Something must be there; the detail says why.
    NeedFor(&'static str),
    /// One of some texts, where there is one.
    OneOf(&'static [&'static str]),
    /// One of some texts, which must be there.
    NeedOneOf(&'static [&'static str]),
    /// A format, where there is a text.
    Format(fn(&str) -> Vec<String>),
    /// A format of a text that must be there.
    NeedFormat(fn(&str) -> Vec<String>),
    /// A number from 0.
    NotNegative,
    /// A number within limits.
    Range(i64, i64),
    /// A list or map of at most so many.
    MaxItems(usize),
    /// A text of at most so many bytes.
    MaxBytes(usize),
    /// No two items of the list have the same member; the name is empty for lists of plain values.
    Unique(&'static str),
    /// The same, noted at the item and not at its member.
    UniqueItem(&'static str),
    /// A label selector.
    Selector,
    /// Anything else.
    By(fn(&At<'_>)),
}

/// A path and a rule. Parts of a path are joined by dots: `name` is a member, `name?` one that is only looked into
/// where it is there, `name[]` every item of a list, `name{}` every value of a map.
pub(super) type Row = (&'static str, Rule);

/// Checks every row in order.
pub(super) fn check(at: &At<'_>, rows: &[Row]) {
    for (path, rule) in rows {
        at.each(path, &mut |field| rule.check(field));
    }
}

/// Notes `field is immutable` at every path whose value is not the old one.
pub(super) fn immutable(at: &At<'_>, old: &crate::Value, paths: &[&str]) {
    for path in paths {
        let before = path.split('.').fold(old, |value, name| &value[name]);
        at.get(path).immutable(before);
    }
}

impl Rule {
    fn check(self, at: &At<'_>) {
        match self {
            Self::Need => {
                at.need();
            }
            Self::NeedFor(detail) => {
                if at.is_empty() {
                    at.required(detail);
                }
            }
            Self::OneOf(texts) => at.one_of_if_set(texts),
            Self::NeedOneOf(texts) => at.need_one_of(texts),
            Self::Format(format) => at.format_if_set(format),
            Self::NeedFormat(format) => at.required_format(format),
            Self::NotNegative => at.not_negative(),
            Self::Range(low, high) => at.in_range(low, high),
            Self::MaxItems(limit) => at.at_most(limit),
            Self::MaxBytes(limit) => {
                if at.text().len() > limit {
                    at.too_long(limit);
                }
            }
            Self::Unique(member) => at.unique(member),
            Self::UniqueItem(member) => at.unique_items(member),
            Self::Selector => labels::selector(at),
            Self::By(check) => check(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cursor::Report;
    use super::*;
    use crate::names;
    use serde_json::json;

    #[track_caller]
    fn case(object: &crate::Value, rows: &[Row], expected: &[&str]) {
        let report = Report::default();
        check(&At::root(object, &report), rows);
        let found: Vec<String> = report.into_errors().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn paths_lead_to_fields() {
        let object = json!({"a": {"b": ""}, "list": [{"n": "x"}, {}, {"n": "x"}], "map": {"k": {"v": -1}}});
        case(&object, &[("a.b", Rule::Need), ("c?.d", Rule::Need)], &["a.b: Required value"]);
        case(&object, &[("c.d", Rule::NeedFor("why"))], &["c.d: Required value: why"]);
        case(&object, &[("list[].n", Rule::Need)], &["list[1].n: Required value"]);
        case(&object, &[("list", Rule::Unique("n"))], &["list[2].n: Duplicate value: \"x\""]);
        case(&object, &[("list", Rule::UniqueItem("n"))], &["list[2]: Duplicate value: \"x\""]);
        case(&object, &[("list", Rule::MaxItems(2))], &["list: Too many: 3: must have at most 2 items"]);
        case(
            &object,
            &[("map{}.v", Rule::NotNegative)],
            &["map[k].v: Invalid value: -1: must be greater than or equal to 0"],
        );
    }

    #[test]
    fn absent_fields_have_no_format() {
        let rows: &[Row] =
            &[("a", Rule::Format(names::dns_label)), ("a", Rule::OneOf(&["x"])), ("a", Rule::Range(1, 2))];
        case(&json!({}), rows, &[]);
        case(&json!({"a": "x"}), rows, &[]);
        case(&json!({"a": "y"}), rows, &["a: Unsupported value: \"y\": supported values: \"x\""]);
        case(
            &json!({"a": 3}),
            &[("a", Rule::Range(1, 2))],
            &["a: Invalid value: 3: must be between 1 and 2, inclusive"],
        );
        case(
            &json!({"a": "abc"}),
            &[("a", Rule::MaxBytes(2))],
            &["a: Too long: may not be more than 2 bytes"],
        );
    }
}
