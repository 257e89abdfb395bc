//! A cursor over a document: a value, its path, and where faults are noted.
use crate::field::{Error, ErrorList};
use crate::int_or_string::IntOrString;
use crate::quantity::Quantity;
use crate::{Value, names};
use std::cell::RefCell;
use std::fmt::Display;

/// A value at a path. Absent members are null values at their path, so that rules need not ask before they
/// look.
#[derive(Clone, Debug)]
pub(super) struct At<'a> {
    value: &'a Value,
    path: String,
    report: &'a Report<'a>,
}

/// What a whole check shares: the faults found, and the object as it was.
#[derive(Debug, Default)]
pub(super) struct Report<'a> {
    errors: RefCell<ErrorList>,
    before: Option<&'a Value>,
}

impl<'a> Report<'a> {
    /// For a change; none for a new object.
    pub(super) fn new(before: Option<&'a Value>) -> Self {
        Self { errors: RefCell::default(), before }
    }

    /// All faults in the order they were found.
    pub(super) fn into_errors(self) -> ErrorList {
        self.errors.into_inner()
    }
}

static NULL: Value = Value::Null;

/// `must be greater than or equal to 0`.
pub(super) const NOT_NEGATIVE: &str = "must be greater than or equal to 0";
/// `field is immutable`.
pub(super) const IMMUTABLE: &str = "field is immutable";

impl<'a> At<'a> {
    /// The whole document.
    pub(super) fn root(value: &'a Value, report: &'a Report<'a>) -> Self {
        Self { value, path: String::new(), report }
    }

    /// A part of some document.
    pub(super) fn part(value: &'a Value, path: &str, report: &'a Report<'a>) -> Self {
        Self { value, path: path.to_owned(), report }
    }

    /// The whole object before the change; none while it is created. What was accepted once must not become a fault
    /// when something else is changed.
    pub(super) fn before(&self) -> Option<&'a Value> {
        self.report.before
    }

    /// A member, by name or by dotted names.
    pub(super) fn get(&self, names: &str) -> Self {
        let value = names.split('.').try_fold(self.value, |value, name| value.get(name)).unwrap_or(&NULL);
        Self { value, path: self.join(names), report: self.report }
    }

    /// The value of one name, told of by another: clients of one version hear of the fields of all.
    pub(super) fn get_as(&self, name: &str, shown: &str) -> Self {
        Self { path: self.join(shown), ..self.get(name) }
    }

    /// A member that is there.
    pub(super) fn find(&self, name: &str) -> Option<Self> {
        self.value.get(name).filter(|value| !value.is_null()).map(|value| Self {
            value,
            path: self.join(name),
            report: self.report,
        })
    }

    /// The entry of a map under a key; its path is `path[key]`.
    pub(super) fn key(&self, key: &str) -> Self {
        let value = self.value.get(key).unwrap_or(&NULL);
        Self { value, path: format!("{}[{key}]", self.path), report: self.report }
    }

    /// The same path with another value, for faults that speak of a part or of something derived.
    pub(super) fn with(&self, value: &'a Value) -> Self {
        Self { value, path: self.path.clone(), report: self.report }
    }

    /// Calls `check` for every field that a path of [`super::constraints::Row`] leads to.
    pub(super) fn each(&self, path: &str, check: &mut dyn FnMut(&Self)) {
        if path.is_empty() {
            return check(self);
        }
        let (part, rest) = path.split_once('.').unwrap_or((path, ""));
        if let Some(name) = part.strip_suffix("[]") {
            self.get(name).items().for_each(|item| item.each(rest, check));
        } else if let Some(name) = part.strip_suffix("{}") {
            self.get(name).entries().for_each(|(_, value)| value.each(rest, check));
        } else if let Some(name) = part.strip_suffix('?') {
            if let Some(found) = self.find(name) {
                found.each(rest, check);
            }
        } else {
            self.get(part).each(rest, check);
        }
    }

    fn join(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// The items of a list.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> + use<'a> {
        let (path, report) = (self.path.clone(), self.report);
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().enumerate().map(move |(at, value)| Self { value, path: format!("{path}[{at}]"), report })
    }

    /// The entries of a map; their paths are `path[key]`.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&'a str, Self)> + use<'a> {
        let (path, report) = (self.path.clone(), self.report);
        let entries = self.value.as_object().into_iter().flatten();
        entries
            .map(move |(key, value)| (key.as_str(), Self { value, path: format!("{path}[{key}]"), report }))
    }

    /// How many faults were found so far.
    pub(super) fn faults(&self) -> usize {
        self.report.errors.borrow().len()
    }

    /// The value itself.
    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// The path, `spec.containers[0].name`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether there is a value.
    pub(super) fn is_set(&self) -> bool {
        !self.value.is_null()
    }

    /// The text; empty where there is none.
    pub(super) fn text(&self) -> &'a str {
        self.value.as_str().unwrap_or_default()
    }

    /// The number, where there is one.
    pub(super) fn int(&self) -> Option<i64> {
        self.value.as_i64()
    }

    /// Whether the value is true.
    pub(super) fn is_true(&self) -> bool {
        *self.value == Value::Bool(true)
    }

    /// Number of items or entries.
    pub(super) fn len(&self) -> usize {
        match self.value {
            Value::Array(items) => items.len(),
            Value::Object(entries) => entries.len(),
            _ => 0,
        }
    }

    /// Whether there is nothing: no value, or an empty text, list or map.
    pub(super) fn is_empty(&self) -> bool {
        is_empty(self.value)
    }

    /// The quantity, where there is a good one.
    pub(super) fn quantity(&self) -> Option<Quantity> {
        Quantity::from_value(self.value)?.ok()
    }

    /// The number or text.
    pub(super) fn int_or_string(&self) -> Option<IntOrString> {
        IntOrString::from_value(self.value)
    }

    /// Notes a fault.
    pub(super) fn push(&self, error: Error) {
        self.report.errors.borrow_mut().push(error);
    }

    /// Notes `Invalid value` with the value at hand.
    pub(super) fn invalid(&self, detail: impl Display) {
        self.push(Error::invalid(&self.path, self.value, detail));
    }

    /// Notes `Invalid value` with a text.
    pub(super) fn invalid_text(&self, text: &str, detail: impl Display) {
        self.push(Error::invalid(&self.path, &Value::from(text), detail));
    }

    /// Notes `Required value`.
    pub(super) fn required(&self, detail: impl Display) {
        self.push(Error::required(&self.path, detail));
    }

    /// Notes `Forbidden`.
    pub(super) fn forbidden(&self, detail: impl Display) {
        self.push(Error::forbidden(&self.path, detail));
    }

    /// Notes `Duplicate value` with the value at hand.
    pub(super) fn duplicate(&self) {
        self.push(Error::duplicate(&self.path, self.value));
    }

    /// Notes `Duplicate value` with a value as the original prints one of its own.
    pub(super) fn duplicate_shown(&self, shown: impl Display) {
        self.push(Error::duplicate(&self.path, shown));
    }

    /// Notes `Duplicate value` with a text.
    pub(super) fn duplicate_text(&self, text: &str) {
        self.push(Error::duplicate(&self.path, Value::from(text)));
    }

    /// Notes `Duplicate value` at every item whose `member` an earlier item has too; without a name the items
    /// themselves are compared.
    pub(super) fn unique(&self, member: &str) {
        let mut seen: Vec<&Value> = Vec::new();
        for item in self.items() {
            let at = if member.is_empty() { item } else { item.get(member) };
            if at.is_empty() {
                continue;
            }
            if seen.contains(&at.value()) {
                at.duplicate();
            }
            seen.push(at.value());
        }
    }

    /// The same, noted at the item itself with what makes it the same.
    pub(super) fn unique_items(&self, member: &str) {
        let mut seen: Vec<&Value> = Vec::new();
        for item in self.items() {
            let key = item.get(member);
            if seen.contains(&key.value()) {
                item.push(Error::duplicate(item.path(), key.value()));
            }
            seen.push(key.value());
        }
    }

    /// Whether one of the texts of the list is `text`.
    pub(super) fn has(&self, text: &str) -> bool {
        self.items().any(|item| item.text() == text)
    }

    /// Notes `Not found` with the value at hand.
    pub(super) fn not_found(&self) {
        self.push(Error::not_found(&self.path, self.value));
    }

    /// Notes `Unsupported value`.
    pub(super) fn not_supported(&self, supported: &[&str]) {
        let text = Value::from("");
        let value = if self.value.is_null() { &text } else { self.value };
        self.push(Error::not_supported(&self.path, value, supported));
    }

    /// Notes `Too long`.
    pub(super) fn too_long(&self, limit: usize) {
        self.push(Error::too_long(&self.path, limit));
    }

    /// Notes `Too many` where the list or map has more than `limit`.
    pub(super) fn at_most(&self, limit: usize) {
        if self.len() > limit {
            self.push(Error::too_many(&self.path, self.len(), limit));
        }
    }

    /// The text in a format; each fault of the format is one of the field.
    pub(super) fn format(&self, format: impl Fn(&str) -> Vec<String>) {
        for fault in format(self.text()) {
            self.invalid_text(self.text(), fault);
        }
    }

    /// As [`At::format`], for texts that may be absent.
    pub(super) fn format_if_set(&self, format: impl Fn(&str) -> Vec<String>) {
        if !self.is_empty() {
            self.format(format);
        }
    }

    /// A text that must be there and have a format.
    pub(super) fn required_format(&self, format: impl Fn(&str) -> Vec<String>) {
        if self.need() {
            self.format(format);
        }
    }

    /// Notes `Required value` where there is nothing; true where there is something.
    pub(super) fn need(&self) -> bool {
        if self.is_empty() {
            self.required("");
        }
        !self.is_empty()
    }

    /// One of a few texts, which must be there.
    pub(super) fn need_one_of(&self, supported: &[&str]) {
        if self.need() {
            self.one_of(supported);
        }
    }

    /// One of a few texts where there is one.
    pub(super) fn one_of_if_set(&self, supported: &[&str]) {
        if !self.is_empty() {
            self.one_of(supported);
        }
    }

    /// One of a few texts.
    pub(super) fn one_of(&self, supported: &[&str]) {
        if !supported.contains(&self.text()) {
            self.not_supported(supported);
        }
    }

    /// A number that is not negative, where there is one.
    pub(super) fn not_negative(&self) {
        if self.int().is_some_and(|number| number < 0) {
            self.invalid(NOT_NEGATIVE);
        }
    }

    /// A number within limits, where there is one.
    pub(super) fn in_range(&self, low: i64, high: i64) {
        if self.int().is_some_and(|number| !(low..=high).contains(&number)) {
            self.invalid(names::in_range(low, high));
        }
    }

    /// A number above 0, where there is one.
    pub(super) fn positive(&self) {
        if self.int().is_some_and(|number| number <= 0) {
            self.invalid("must be greater than 0");
        }
    }

    /// A port number.
    pub(super) fn port(&self) {
        for fault in names::port_number(self.int().unwrap_or(0)) {
            self.invalid(fault);
        }
    }

    /// A port number or name.
    pub(super) fn port_or_name(&self) {
        match self.value {
            Value::String(_) => self.format(names::port_name),
            _ => self.port(),
        }
    }

    /// A number that is not negative, or a percentage; where there is one.
    pub(super) fn positive_or_percent(&self) {
        match self.value {
            Value::String(_) => self.format(names::percent),
            _ => self.not_negative(),
        }
    }

    /// A percentage must not be above 100.
    pub(super) fn at_most_100_percent(&self) {
        if self.int_or_string().and_then(|v| v.percent()).is_some_and(|percent| percent > 100) {
            self.invalid("must not be greater than 100%");
        }
    }

    /// Notes a fault where the value is not the old one.
    pub(super) fn immutable(&self, old: &Value) {
        if !same(self.value, old) {
            self.invalid(IMMUTABLE);
        }
    }

    /// The members of which at most one may be set. The first is left out of the faults; all others get
    /// `too_many`; without any the parent gets `none`.
    pub(super) fn exactly_one(&self, members: &[&str], too_many: &str, none: &str) -> Option<Self> {
        let mut set = members.iter().filter_map(|name| self.find(name));
        let first = set.next();
        set.for_each(|extra| extra.forbidden(too_many));
        if first.is_none() {
            self.required(none);
        }
        first
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
        _ => false,
    }
}

/// Equality in which an absent value and an empty one are the same.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    a == b || is_empty(a) && is_empty(b)
}
