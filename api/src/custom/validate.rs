//! Validation of an object by its structural schema, worded as the original's schema validator words it.
//!
//! What did not change is not judged again (ratcheting, KEP-4008): lists of type map are compared by their keys, all
//! others as wholes.
use super::{Custom, embedded, formats, rules, types};
use crate::Value;
use crate::field::{Error, ErrorList, ErrorType};
use crate::re2::Regex;
use std::collections::HashMap;

/// The faults of an object; `old` is the live object, none on create. CEL rules are evaluated if the object has the
/// right shape; what they say of unchanged parts is given as warnings.
pub fn validate(custom: &Custom, object: &Value, old: Option<&Value>) -> (ErrorList, Vec<String>) {
    let mut walk = Walk { patterns: &custom.patterns, errors: ErrorList::new(), looks: 0 };
    walk.value(&custom.schema, object, old, "");
    let mut errors = walk.errors;
    let mut warnings = Vec::new();
    if let Some(rules) = custom.rules() {
        match rules::blocked(&errors) {
            Some(blocked) => errors.push(blocked),
            None => {
                let (found, told) = rules.validate(object, old);
                errors.extend(found);
                warnings = told;
            }
        }
    }
    // The object itself has no path, which the original words so.
    errors
        .iter_mut()
        .filter(|error| error.path.is_empty())
        .for_each(|error| NOWHERE.clone_into(&mut error.path));
    (errors, warnings)
}

/// The faults of a default of a schema, by the schema and its CEL rules.
pub fn validate_default(schema: &Value, default: &Value, path: &str) -> ErrorList {
    let mut patterns = HashMap::new();
    types::collect_patterns(schema, &mut patterns);
    let mut walk = Walk { patterns: &patterns, errors: ErrorList::new(), looks: 0 };
    walk.value(schema, default, None, path);
    if has_unknown(schema, default) {
        walk.errors.insert(0, Error::invalid(path, default, "must not have unknown fields"));
    }
    if !walk.errors.is_empty() {
        return walk.errors;
    }
    let rules = rules::Rules::of_part(schema);
    rules.map(|rules| rules.validate_default(default, path)).unwrap_or_default()
}

/// Whether a value holds members that pruning by the schema would take away.
fn has_unknown(schema: &Value, value: &Value) -> bool {
    let additional = &schema["additionalProperties"];
    match value {
        Value::Object(members) => members.iter().any(|(name, member)| match schema["properties"].get(name) {
            Some(property) => has_unknown(property, member),
            None if additional.is_object() => has_unknown(additional, member),
            None => {
                let whole = matches!(name.as_str(), "apiVersion" | "kind" | "metadata");
                additional != &Value::Bool(true)
                    && schema["x-kubernetes-preserve-unknown-fields"] != true
                    && !(whole && schema["x-kubernetes-embedded-resource"] == true)
            }
        }),
        Value::Array(items) => items.iter().any(|item| has_unknown(&schema["items"], item)),
        _ => false,
    }
}

/// The path of what has none.
const NOWHERE: &str = "<nil>";

struct Walk<'a> {
    patterns: &'a HashMap<String, Regex>,
    errors: ErrorList,
    /// How much was looked at: of several schemas that a value fits in none, the faults of the one that knows most of it
    /// are told.
    looks: usize,
}

/// The largest number up to which all whole ones can be told apart as floating-point numbers.
const MAX_EXACT: f64 = 9_007_199_254_740_991.0;

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if !n.is_i64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn has_type(value: &Value, wanted: &str) -> bool {
    match (wanted, value) {
        ("number", Value::Number(_)) => true,
        ("integer", Value::Number(n)) => {
            n.is_i64() || n.as_f64().is_some_and(|n| n.fract() == 0.0 && n.abs() <= MAX_EXACT)
        }
        _ => type_name(value) == wanted,
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn limit(schema: &Value, name: &str) -> Option<usize> {
    schema[name].as_u64().and_then(|n| usize::try_from(n).ok())
}

impl Walk<'_> {
    fn invalid(&mut self, path: &str, value: &Value, text: &str) {
        self.errors.push(Error::invalid(path, value, format!("{path} in body {text}")));
    }

    fn wrong_type(&mut self, path: &str, shown: &str, wanted: &str) {
        let body = format!("Invalid value: {shown:?}: {path} in body must be of type {wanted}: {shown:?}");
        self.errors.push(Error::new(ErrorType::TypeInvalid, path, body));
    }

    fn value(&mut self, schema: &Value, value: &Value, old: Option<&Value>, path: &str) {
        if old == Some(value) {
            return;
        }
        if value.is_null() && schema["nullable"] == true {
            return;
        }
        if schema["x-kubernetes-int-or-string"] == true {
            if !(value.is_string() || has_type(value, "integer")) {
                return self.wrong_type(path, type_name(value), "integer,string");
            }
        } else if let Some(wanted) = schema["type"].as_str().filter(|wanted| !has_type(value, wanted)) {
            return self.wrong_type(path, type_name(value), wanted);
        }
        // Its form, what it is combined of, its values, its kind.
        self.looks += 4;
        self.combinations(schema, value, path);
        match value {
            Value::String(text) => self.string(schema, value, text, path),
            Value::Number(n) => self.number(schema, value, n.as_f64().unwrap_or(0.0), path),
            Value::Array(items) => self.array(schema, value, items, old, path),
            _ => {}
        }
        self.enumeration(schema, value, path);
        if value.is_object() {
            self.object(schema, value, old, path);
        }
    }

    /// Adds a fault that was not told yet.
    fn say(&mut self, fault: Error) {
        if !self.errors.contains(&fault) {
            self.errors.push(fault);
        }
    }

    fn enumeration(&mut self, schema: &Value, value: &Value, path: &str) {
        let Some(list) = schema["enum"].as_array().filter(|list| !list.contains(value)) else { return };
        let texts: Vec<String> =
            list.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        self.errors.push(Error::not_supported(path, value, &texts));
    }

    fn string(&mut self, schema: &Value, value: &Value, text: &str, path: &str) {
        let length = text.chars().count();
        if let Some(max) = limit(schema, "maxLength").filter(|max| length > *max) {
            self.errors.push(Error::too_long(path, max));
        }
        if let Some(min) = limit(schema, "minLength").filter(|min| length < *min) {
            self.invalid(path, value, &format!("should be at least {min} chars long"));
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && self.patterns.get(pattern).is_some_and(|regex| !regex.is_match(text))
        {
            self.invalid(path, value, &format!("should match '{pattern}'"));
        }
        if let Some(format) = schema["format"].as_str().filter(|format| !formats::has(format, text)) {
            self.wrong_type(path, text, format);
        }
    }

    fn number(&mut self, schema: &Value, value: &Value, n: f64, path: &str) {
        let (max, min) = (&schema["maximum"], &schema["minimum"]);
        let exclusive = |name: &str| schema[name] == true;
        if let Some(bound) = max.as_f64() {
            if exclusive("exclusiveMaximum") && n >= bound {
                self.invalid(path, value, &format!("should be less than {max}"));
            } else if n > bound {
                self.invalid(path, value, &format!("should be less than or equal to {max}"));
            }
        }
        if let Some(bound) = min.as_f64() {
            if exclusive("exclusiveMinimum") && n <= bound {
                self.invalid(path, value, &format!("should be greater than {min}"));
            } else if n < bound {
                self.invalid(path, value, &format!("should be greater than or equal to {min}"));
            }
        }
        if let Some(of) = schema["multipleOf"].as_f64().filter(|of| *of > 0.0 && !is_multiple(n, *of)) {
            self.invalid(path, value, &format!("should be a multiple of {of}"));
        }
        let fits = match schema["format"].as_str() {
            Some("int32") => value.as_i64().is_none_or(|n| i32::try_from(n).is_ok()),
            _ => true,
        };
        if !fits {
            self.invalid(path, value, "must be of type int32");
        }
    }

    fn array(&mut self, schema: &Value, value: &Value, items: &[Value], old: Option<&Value>, path: &str) {
        if let Some(max) = limit(schema, "maxItems").filter(|max| items.len() > *max) {
            self.errors.push(Error::too_many(path, items.len(), max));
        }
        if let Some(min) = limit(schema, "minItems").filter(|min| items.len() < *min) {
            self.invalid(path, value, &format!("should have at least {min} items"));
        }
        let keys: Vec<&str> = match schema["x-kubernetes-list-type"].as_str() {
            Some("map") => schema["x-kubernetes-list-map-keys"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect(),
            _ => Vec::new(),
        };
        self.duplicates(schema, items, &keys, path);
        let same = |a: &Value, b: &Value| keys.iter().all(|key| a.get(*key) == b.get(*key));
        let olds = old.and_then(Value::as_array).filter(|_| !keys.is_empty());
        for (at, item) in items.iter().enumerate() {
            let old = olds.and_then(|olds| olds.iter().find(|old| same(old, item)));
            self.value(&schema["items"], item, old, &format!("{path}[{at}]"));
        }
    }

    /// Items of sets and maps come once.
    fn duplicates(&mut self, schema: &Value, items: &[Value], keys: &[&str], path: &str) {
        let set = schema["x-kubernetes-list-type"] == "set";
        if !set && keys.is_empty() {
            return;
        }
        let identity = |item: &Value| -> Value {
            if set {
                return item.clone();
            }
            let key = |key: &&str| item.get(*key).map(|value| ((*key).to_owned(), value.clone()));
            Value::Object(keys.iter().filter_map(key).collect())
        };
        let mut seen: std::collections::HashSet<String> = std::collections::HashSet::new();
        for (at, item) in items.iter().enumerate() {
            let identity = identity(item);
            if !seen.insert(identity.to_string()) {
                self.errors.push(Error::duplicate(format!("{path}[{at}]"), identity));
            }
        }
    }

    fn object(&mut self, schema: &Value, value: &Value, old: Option<&Value>, path: &str) {
        let Value::Object(members) = value else { return };
        if schema["x-kubernetes-embedded-resource"] == true {
            self.errors.extend(embedded::validate(members, path));
        }
        if let Some(max) = limit(schema, "maxProperties").filter(|max| members.len() > *max) {
            self.errors.push(Error::too_many(path, members.len(), max));
        }
        if let Some(min) = limit(schema, "minProperties").filter(|min| members.len() < *min) {
            self.invalid(path, value, &format!("should have at least {min} properties"));
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                self.errors.push(Error::required(join(path, name), ""));
            }
        }
        for (name, member) in members {
            let child = schema["properties"].get(name);
            let additional = || Some(&schema["additionalProperties"]).filter(|a| a.is_object());
            if let Some(child) = child.or_else(additional) {
                let old = old.and_then(|old| old.get(name));
                self.value(child, member, old, &join(path, name));
            }
        }
    }

    /// What the schemas under a key say of a value, each its faults and how much it looked at.
    fn each(&self, schema: &Value, key: &str, value: &Value, path: &str) -> Option<Vec<(ErrorList, usize)>> {
        let list = schema[key].as_array().filter(|list| !list.is_empty())?;
        let judged = list.iter().map(|schema| {
            let mut walk = Walk { patterns: self.patterns, errors: ErrorList::new(), looks: 0 };
            walk.value(schema, value, None, path);
            (walk.errors, walk.looks)
        });
        Some(judged.collect())
    }

    /// What one of `anyOf`, `oneOf` and `not` says as a whole has no place.
    fn whole(&mut self, text: String) {
        self.say(Error::new(ErrorType::Invalid, NOWHERE, format!("Invalid value: \"\": {text}")));
    }

    /// `anyOf`, `oneOf`, `allOf` and `not`: that they do not hold, and why not.
    fn combinations(&mut self, schema: &Value, value: &Value, path: &str) {
        if let Some(judged) = self.each(schema, "anyOf", value, path)
            && judged.iter().all(|(faults, _)| !faults.is_empty())
        {
            self.whole(format!("{path:?} must validate at least one schema (anyOf)"));
            self.merge_best(judged);
        }
        if let Some(judged) = self.each(schema, "oneOf", value, path) {
            let text = format!("{path:?} must validate one and only one schema (oneOf).");
            match judged.iter().filter(|(faults, _)| faults.is_empty()).count() {
                0 => {
                    self.whole(format!("{text} Found none valid"));
                    self.merge_best(judged);
                }
                1 => {}
                several => self.whole(format!("{text} Found {several} valid alternatives")),
            }
        }
        if let Some(judged) = self.each(schema, "allOf", value, path) {
            let all = judged.len();
            let failed = judged.iter().filter(|(faults, _)| !faults.is_empty()).count();
            judged.into_iter().for_each(|judged| self.merge(judged));
            if failed > 0 {
                let none = if failed == all { ". None validated" } else { "" };
                self.whole(format!("{path:?} must validate all the schemas (allOf){none}"));
            }
        }
        if schema["not"].is_object() {
            let mut inner = Walk { patterns: self.patterns, errors: ErrorList::new(), looks: 0 };
            inner.value(&schema["not"], value, None, path);
            if inner.errors.is_empty() {
                self.whole(format!("{path:?} must not validate the schema (not)"));
            }
        }
    }

    fn merge(&mut self, (faults, looks): (ErrorList, usize)) {
        faults.into_iter().for_each(|fault| self.say(fault));
        self.looks += looks;
    }

    /// The first of those that looked at most.
    fn merge_best(&mut self, judged: Vec<(ErrorList, usize)>) {
        if let Some(best) = judged.into_iter().rev().max_by_key(|(_, looks)| *looks) {
            self.merge(best);
        }
    }
}

/// Whether a number is a multiple of another, as far as floating-point numbers can tell.
fn is_multiple(number: f64, of: f64) -> bool {
    let times = if of < 1.0 { 1.0 / of * number } else { number / of };
    let whole = times.trunc();
    let difference = (times - whole).abs();
    times.is_finite() && (difference == 0.0 || difference / (times.abs() + whole.abs()) < 1e-9)
}
