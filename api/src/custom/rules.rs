//! CEL rules of a structural schema (`x-kubernetes-validations`), evaluated over objects.
//!
//! Rules are compiled when the first object is judged. What did not change since the live object is still evaluated, but
//! its faults are only told of: an object that was accepted once must not become a fault when something else changes.
use crate::Value;
use crate::cel::eval::COST_EXCEEDED;
use crate::cel::types::{Decl, Type};
use crate::cel::{self, BUDGET, Env, PER_CALL_LIMIT, Program, Val, schema};
use crate::field::{Error, ErrorList, ErrorType};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most bytes of a message that an expression makes.
const MESSAGE: usize = 5 * 1024;
const SPENT: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// The rules of a schema and of all below it.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Those of the value itself.
    own: Vec<Rule>,
    /// What the value is declared as.
    decl: Option<Arc<Decl>>,
    /// The schema's `type`.
    ty: String,
    /// Are members told apart, so that each has an old value? Not in atomic maps.
    granular: bool,
    /// What tells the items of a list apart; none where nothing does.
    keys: Vec<String>,
    properties: BTreeMap<String, Rules>,
    items: Option<Box<Rules>>,
    additional: Option<Box<Rules>>,
    all_of: Vec<Rules>,
}

/// One rule.
#[derive(Clone, Debug)]
struct Rule {
    text: String,
    message: String,
    program: Result<Program, String>,
    make_message: Option<(Program, String)>,
    reason: Option<String>,
    path: String,
    optional_old: bool,
    uses_old: bool,
}

/// The environment of rules of a value.
pub fn environment(decl: &Arc<Decl>, optional_old: bool) -> Env {
    let old = match optional_old {
        true => Arc::new(Decl::new(Type::optional(decl.ty.clone()), decl.max)),
        false => decl.clone(),
    };
    Env::new([("self".to_owned(), decl.clone()), ("oldSelf".to_owned(), old)])
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

impl Rule {
    fn new(rule: &Value, decl: &Arc<Decl>) -> Self {
        let optional_old = rule["optionalOldSelf"] == true;
        let env = environment(decl, optional_old);
        let compile = |text: &str| cel::compile(&env, text).map(Program::new);
        let program = compile(&text(&rule["rule"])).map_err(|issues| format!("compilation failed: {issues}"));
        let expression = text(&rule["messageExpression"]);
        let make_message = (!expression.is_empty())
            .then(|| compile(&expression).ok())
            .flatten()
            .map(|program| (program, expression));
        let uses_old = program.as_ref().is_ok_and(|program| program.checked().uses("oldSelf"));
        Self {
            text: text(&rule["rule"]).trim().to_owned(),
            message: text(&rule["message"]).trim().to_owned(),
            program,
            make_message,
            reason: rule["reason"].as_str().map(str::to_owned),
            path: text(&rule["fieldPath"]),
            optional_old,
            uses_old,
        }
    }

    /// How the rule is called in faults.
    fn name(&self) -> &str {
        if self.message.is_empty() { &self.text } else { &self.message }
    }
}

impl Rules {
    /// The rules of the schema of a custom resource; none where there are none.
    pub fn new(root: &Value) -> Option<Self> {
        has_rules(root).then(|| {
            let decl = schema::declare(root, true, "selfType").map(Arc::new);
            Self::compile(root, root, decl)
        })
    }

    /// Compiles the rules of `rules` for values that `shape` describes.
    fn compile(rules: &Value, shape: &Value, decl: Option<Arc<Decl>>) -> Self {
        let list = rules["x-kubernetes-validations"].as_array().map(Vec::as_slice).unwrap_or_default();
        let own = decl.iter().flat_map(|decl| list.iter().map(|rule| Rule::new(rule, decl))).collect();
        let below = |rules: &Value, shape: &Value, decl: Option<Arc<Decl>>| {
            let whole = shape["x-kubernetes-embedded-resource"] == true;
            let decl = decl.or_else(|| schema::declare(shape, whole, "selfType").map(Arc::new));
            has_rules(rules).then(|| Self::compile(rules, shape, decl))
        };
        let element = || decl.as_ref().and_then(|decl| decl.element.clone());
        let mut properties = BTreeMap::new();
        for (name, property) in rules["properties"].as_object().into_iter().flatten() {
            let declared = decl.as_ref().and_then(|decl| match &decl.ty {
                Type::Object(object) => object.fields.get(&schema::escape(name)?).map(|f| f.decl.clone()),
                _ => None,
            });
            if let Some(found) = below(property, &shape["properties"][name], declared) {
                properties.insert(name.clone(), found);
            }
        }
        let all_of = rules["allOf"].as_array().into_iter().flatten();
        let keys = shape["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
        Self {
            own,
            ty: text(&shape["type"]),
            granular: shape["x-kubernetes-map-type"] != "atomic",
            keys: match shape["x-kubernetes-list-type"].as_str() {
                Some("map") => keys.map(text).collect(),
                _ => Vec::new(),
            },
            properties,
            items: below(&rules["items"], &shape["items"], element()).map(Box::new),
            additional: below(&rules["additionalProperties"], &shape["additionalProperties"], element())
                .map(Box::new),
            all_of: all_of
                .filter(|rules| has_rules(rules))
                .map(|rules| Self::compile(rules, shape, decl.clone()))
                .collect(),
            decl,
        }
    }

    /// The rules of a part of a schema; none where there are none.
    pub fn of_part(part: &Value) -> Option<Self> {
        has_rules(part).then(|| {
            let decl = schema::declare(part, false, "selfType").map(Arc::new);
            Self::compile(part, part, decl)
        })
    }

    /// Judges an object; gives its faults and, as warnings, those of what did not change.
    pub fn validate(&self, object: &Value, old: Option<&Value>) -> (ErrorList, Vec<String>) {
        let known = Known { current: old, parent_same: false, root: true };
        self.walk(object, old, known, "")
    }

    /// Judges the default of a part of a schema, which is taken to have been there before.
    pub fn validate_default(&self, default: &Value, path: &str) -> ErrorList {
        let known = Known { current: None, parent_same: false, root: false };
        self.walk(default, Some(default), known, path).0
    }

    fn walk(
        &self,
        value: &Value,
        old: Option<&Value>,
        known: Known<'_>,
        path: &str,
    ) -> (ErrorList, Vec<String>) {
        let mut walk = Walk { budget: BUDGET, errors: Vec::new(), warnings: Vec::new() };
        // A spent budget ends the walk; what was found until then is told.
        let _ = walk.value(self, value, old, known, path);
        (walk.errors, walk.warnings)
    }
}

/// Does a schema have rules, in it or below?
fn has_rules(schema: &Value) -> bool {
    let listed = |name: &str| schema[name].as_array().map(Vec::as_slice).unwrap_or_default();
    !listed("x-kubernetes-validations").is_empty()
        || listed("allOf").iter().any(has_rules)
        || schema["properties"].as_object().is_some_and(|all| all.values().any(has_rules))
        || ["items", "additionalProperties"]
            .iter()
            .any(|name| schema[*name].is_object() && has_rules(&schema[*name]))
}

/// What is known of a value's predecessor, for ratcheting.
#[derive(Clone, Copy)]
struct Known<'a> {
    /// The old value at the same place, where places can be told.
    current: Option<&'a Value>,
    /// Is the nearest value around it that can be told equal to its predecessor?
    parent_same: bool,
    root: bool,
}

impl<'a> Known<'a> {
    fn is_same(&self, value: &Value) -> bool {
        self.current.map_or(self.parent_same, |old| old == value)
    }

    fn member(self, value: &Value, name: &str, granular: bool) -> Self {
        if self.root && matches!(name, "apiVersion" | "kind") {
            return Self { current: None, parent_same: false, root: false };
        }
        self.part(value, self.current.filter(|_| granular).and_then(|old| old.get(name)))
    }

    fn part(self, value: &Value, part: Option<&'a Value>) -> Self {
        match self.current {
            Some(old) => Self { current: part, parent_same: part.is_none() && old == value, root: false },
            None => Self { root: false, ..self },
        }
    }
}

/// The end of a walk whose budget is spent.
struct Spent;

struct Walk {
    budget: u64,
    errors: ErrorList,
    warnings: Vec<String>,
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Walk {
    fn value(
        &mut self,
        rules: &Rules,
        value: &Value,
        old: Option<&Value>,
        known: Known<'_>,
        path: &str,
    ) -> Result<(), Spent> {
        if value.is_null() {
            return Ok(());
        }
        self.own(rules, value, old.filter(|old| !old.is_null()), known, path)?;
        for part in &rules.all_of {
            // Conditions are not correlated: only an unchanged surrounding excuses them.
            let known = Known { current: None, ..known };
            self.value(part, value, old, known, path)?;
        }
        match value {
            Value::Array(items) => {
                let Some(of) = &rules.items else { return Ok(()) };
                let olds = old.and_then(Value::as_array).filter(|_| !rules.keys.is_empty());
                for (at, item) in items.iter().enumerate() {
                    let same = |old: &&Value| rules.keys.iter().all(|key| old.get(key) == item.get(key));
                    let old = olds.and_then(|olds| olds.iter().find(same));
                    self.value(of, item, old, known.part(value, old), &format!("{path}[{at}]"))?;
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    let (of, path) = match (&rules.additional, rules.properties.get(name)) {
                        (Some(of), _) => (&**of, format!("{path}[{name}]")),
                        (None, Some(of)) => (of, join(path, name)),
                        _ => continue,
                    };
                    let old = old.filter(|_| rules.granular).and_then(|old| old.get(name));
                    self.value(of, member, old, known.member(value, name, rules.granular), &path)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn invalid(&mut self, rules: &Rules, path: &str, detail: impl std::fmt::Display) {
        self.errors.push(Error::invalid(path, &rules.ty.as_str().into(), detail));
    }

    /// The rules of the value itself.
    fn own(
        &mut self,
        rules: &Rules,
        value: &Value,
        old: Option<&Value>,
        known: Known<'_>,
        path: &str,
    ) -> Result<(), Spent> {
        let Some(decl) = rules.decl.as_ref().filter(|_| !rules.own.is_empty()) else { return Ok(()) };
        if self.budget == 0 {
            self.invalid(rules, path, SPENT);
            return Err(Spent);
        }
        let this = Val::json(value, decl);
        for rule in &rules.own {
            let program = match &rule.program {
                Ok(program) => program,
                Err(error) => {
                    self.invalid(rules, path, format!("rule compile error: {error}"));
                    continue;
                }
            };
            if rule.uses_old && old.is_none() && !rule.optional_old {
                continue;
            }
            let before = old.map(|old| Val::json(old, decl));
            let before = if rule.optional_old { Val::optional(before) } else { before.unwrap_or(Val::Null) };
            let variables = [("self", this.clone()), ("oldSelf", before)];
            let (out, cost) = program.evaluate(&variables, PER_CALL_LIMIT);
            if cost > self.budget {
                self.invalid(rules, path, SPENT);
                return Err(Spent);
            }
            self.budget -= cost;
            match out {
                Ok(Val::Bool(true)) => {}
                Ok(_) => self.failed(rules, rule, &variables, known.is_same(value), path)?,
                Err(error) => self.fault(rules, rule, &error.message, path)?,
            }
        }
        Ok(())
    }

    fn fault(&mut self, rules: &Rules, rule: &Rule, error: &str, path: &str) -> Result<(), Spent> {
        let name = rule.name();
        if error.starts_with("no such overload") {
            self.invalid(rules, path, format!(
                "'{error}': call arguments did not match a supported operator, function or macro signature for rule: \
                 {name}"
            ));
        } else if error == COST_EXCEEDED {
            self.invalid(rules, path, format!(
                "'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {name}"
            ));
            return Err(Spent);
        } else {
            self.invalid(rules, path, format!("{error} evaluating rule: {name}"));
        }
        Ok(())
    }

    fn failed<'a>(
        &mut self,
        rules: &Rules,
        rule: &'a Rule,
        variables: &[(&str, Val<'a>); 2],
        same: bool,
        path: &str,
    ) -> Result<(), Spent> {
        let at = match rule.path.trim_start_matches('.') {
            "" => path.to_owned(),
            below if below.starts_with('[') => format!("{path}{below}"),
            below => join(path, below),
        };
        let made = match self.message(rule, variables) {
            Ok(made) => made,
            Err(detail) => {
                self.invalid(rules, &at, detail);
                return Err(Spent);
            }
        };
        let detail = made.unwrap_or_else(|| match rule.message.as_str() {
            "" => format!("failed rule: {}", rule.text),
            message => message.to_owned(),
        });
        let value = Value::from(rules.ty.as_str());
        let error = match rule.reason.as_deref() {
            Some("FieldValueForbidden") => Error::forbidden(at, detail),
            Some("FieldValueRequired") => Error::required(at, detail),
            Some("FieldValueDuplicate") => Error::duplicate(at, value),
            _ => Error::invalid(at, &value, detail),
        };
        if same && !rule.uses_old {
            self.warnings.push(error.to_string());
        } else {
            self.errors.push(error);
        }
        Ok(())
    }

    /// The message that an expression makes; none where there is none or it cannot be made.
    fn message<'a>(
        &mut self,
        rule: &'a Rule,
        variables: &[(&str, Val<'a>); 2],
    ) -> Result<Option<String>, String> {
        let Some((program, text)) = &rule.make_message else { return Ok(None) };
        let (out, cost) = program.evaluate(variables, PER_CALL_LIMIT);
        if cost > self.budget {
            return Err("messageExpression evaluation failed due to running out of cost budget, no further validation \
                        rules will be run"
                .to_owned());
        }
        self.budget -= cost;
        match out {
            Ok(Val::String(made)) => Ok(Some(made.trim().to_owned())
                .filter(|made| !made.is_empty() && made.len() <= MESSAGE && !made.contains('\n'))),
            Err(error) if error.cancelled => Err(format!(
                "no further validation rules will be run due to call cost exceeds limit for messageExpression: {text:?}"
            )),
            _ => Ok(None),
        }
    }
}

/// The fault that stands for rules which were not evaluated, where the object is not even of the right shape.
pub fn blocked(errors: &ErrorList) -> Option<Error> {
    let blocks = |error: &Error| {
        matches!(
            error.kind,
            ErrorType::Required | ErrorType::TooLong | ErrorType::TooMany | ErrorType::TypeInvalid
        )
    };
    let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                  complete validation";
    errors.iter().any(blocks).then(|| Error::invalid("<nil>", &"null".into(), detail))
}
