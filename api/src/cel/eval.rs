//! The evaluator. Everything it does is counted: steps as the original counts them (they decide what rules of an API
//! are accepted), and beside them copied items, so that nothing that the original does lazily runs away here.
use super::ast::{Entry, Expr, Fold, Kind, Literal};
use super::check::{Checked, Reference};
use super::library::{self, Out};
use super::meter;
use super::types::{ObjectDecl, Type};
use super::value::{self, Key, Map, Text, Val};
use regex::Regex;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Formatter};
use std::rc::Rc;
use std::sync::Arc;

/// The most items and bytes (by sixteen) an evaluation may copy.
const WORK: usize = 20_000_000;
/// The text of the fault that ends an evaluation.
pub const COST_EXCEEDED: &str = "operation cancelled: actual cost limit exceeded";

/// Why an expression has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError {
    /// What is wrong.
    pub message: String,
    /// The evaluation was ended; no operator can make up for it.
    pub cancelled: bool,
}

impl EvalError {
    /// A fault of a value.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), cancelled: false }
    }

    fn exceeded() -> Self {
        Self { message: COST_EXCEEDED.to_owned(), cancelled: true }
    }
}

impl Display for EvalError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for EvalError {}

/// What an evaluation may cost and has cost, and the regular expressions it knows.
#[derive(Debug)]
pub struct Context<'p> {
    cost: u64,
    limit: u64,
    work: usize,
    known: &'p HashMap<String, Regex>,
    made: HashMap<String, Regex>,
}

impl Context<'_> {
    /// What was charged.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Charges steps.
    ///
    /// # Errors
    /// More than the limit.
    pub fn charge(&mut self, steps: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(steps);
        if self.cost > self.limit { Err(EvalError::exceeded()) } else { Ok(()) }
    }

    /// Counts copied items, which the original does not charge.
    ///
    /// # Errors
    /// More than any sensible expression copies.
    pub fn work(&mut self, items: usize) -> Result<(), EvalError> {
        self.work = self.work.saturating_add(items);
        if self.work > WORK { Err(EvalError::exceeded()) } else { Ok(()) }
    }

    /// A compiled regular expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn regex(&mut self, pattern: &str) -> Result<Regex, String> {
        if let Some(known) = self.known.get(pattern).or_else(|| self.made.get(pattern)) {
            return Ok(known.clone());
        }
        let regex = library::compile_regex(pattern)?;
        if self.made.len() < 64 {
            self.made.insert(pattern.to_owned(), regex.clone());
        }
        Ok(regex)
    }
}

/// Where variables get their values; asked each time a variable is used.
pub trait Variables<'a> {
    /// The value of a declared variable.
    ///
    /// # Errors
    /// Why it has none.
    fn get(&self, name: &str, context: &mut Context<'_>) -> Out<'a>;
}

impl<'a, const N: usize> Variables<'a> for [(&str, Val<'a>); N] {
    fn get(&self, name: &str, _: &mut Context<'_>) -> Out<'a> {
        let found = self.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        found.ok_or_else(|| EvalError::new(format!("no such attribute(s): {name}")))
    }
}

/// An expression ready to be evaluated any number of times.
#[derive(Clone, Debug)]
pub struct Program {
    checked: Checked,
    regexes: HashMap<String, Regex>,
}

impl Program {
    /// Prepares a checked expression.
    pub fn new(checked: Checked) -> Self {
        let mut regexes = HashMap::new();
        checked.parsed.expr.walk(&mut |expr| {
            if let Kind::Call { function, args, .. } = &expr.kind
                && matches!(function.as_str(), "matches" | "find" | "findAll")
            {
                for text in args.iter().filter_map(super::parse::string_literal) {
                    if let Ok(regex) = library::compile_regex(text) {
                        regexes.insert(text.to_string(), regex);
                    }
                }
            }
        });
        Self { checked, regexes }
    }

    /// What the checker knows of it.
    pub fn checked(&self) -> &Checked {
        &self.checked
    }

    /// Evaluates the expression; gives its value and what that cost.
    pub fn evaluate<'a>(&'a self, variables: &dyn Variables<'a>, limit: u64) -> (Out<'a>, u64) {
        let mut context = Context { cost: 0, limit, work: 0, known: &self.regexes, made: HashMap::new() };
        let out = self.evaluate_in(variables, &mut context);
        (out, context.cost)
    }

    /// Evaluates the expression as a part of another evaluation, on its account.
    ///
    /// # Errors
    /// Why it has no value.
    pub fn evaluate_in<'a>(&'a self, variables: &dyn Variables<'a>, context: &mut Context<'_>) -> Out<'a> {
        let mut run = Run { checked: &self.checked, variables, context, scopes: Vec::new() };
        run.expr(&self.checked.parsed.expr)
    }
}

struct Run<'a, 'r, 'c> {
    checked: &'a Checked,
    variables: &'r dyn Variables<'a>,
    context: &'r mut Context<'c>,
    /// Variables of folds; an accumulator may hold a fault that a later step makes up for.
    scopes: Vec<(&'a str, Out<'a>)>,
}

impl<'a> Run<'a, '_, '_> {
    fn expr(&mut self, expr: &'a Expr) -> Out<'a> {
        match &expr.kind {
            Kind::Literal(literal) => Ok(constant(literal)),
            Kind::Ident(name) => self.ident(expr, name),
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
            Kind::List { items, optional } => self.list(items, optional),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { fields, .. } => self.object(expr, fields),
            Kind::Fold(fold) => self.fold(fold),
        }
    }

    fn ident(&mut self, expr: &'a Expr, name: &str) -> Out<'a> {
        let reference = &self.checked.references[expr.id];
        if let Reference::Type(ty) = reference {
            return Ok(Val::Type(ty.clone()));
        }
        self.context.charge(1)?;
        match reference {
            Reference::Variable(name) => self.variables.get(name, self.context),
            _ => {
                let found = self.scopes.iter().rev().find(|(known, _)| *known == name);
                found.map_or_else(|| Err(missing(name)), |(_, value)| value.clone())
            }
        }
    }

    fn select(&mut self, expr: &'a Expr, operand: &'a Expr, field: &'a str, test: bool) -> Out<'a> {
        match &self.checked.references[expr.id] {
            Reference::Present => return Ok(Val::Bool(true)),
            Reference::None => {}
            _ => {
                let name = expr.qualified_name().unwrap_or_default();
                return self.ident(expr, &name);
            }
        }
        let object = self.expr(operand)?;
        if test {
            return has(&object, field).map(Val::Bool);
        }
        self.context.charge(1)?;
        match &object {
            Val::Map(map) => match map.field(field) {
                Some(value) => Ok(value),
                None => Err(EvalError::new(format!("no such key: {field}"))),
            },
            Val::Optional(None) => Ok(object),
            Val::Optional(Some(inner)) => match &**inner {
                Val::Map(map) => Ok(Val::optional(map.field(field))),
                other => Err(no_field(other)),
            },
            other => Err(no_field(other)),
        }
    }

    fn call(&mut self, expr: &'a Expr, name: &'a str, target: Option<&'a Expr>, args: &'a [Expr]) -> Out<'a> {
        match (name, args) {
            ("_&&_", [a, b]) => return self.logic(a, b, false),
            ("_||_", [a, b]) => return self.logic(a, b, true),
            ("_?_:_", [condition, yes, no]) => {
                return match self.expr(condition)? {
                    Val::Bool(true) => self.branch(yes),
                    Val::Bool(false) => self.branch(no),
                    other => Err(no_overload(name, &[other])),
                };
            }
            ("@not_strictly_false", [inner]) => {
                self.context.charge(1)?;
                return match self.expr(inner) {
                    Err(error) if error.cancelled => Err(error),
                    Ok(Val::Bool(false)) => Ok(Val::Bool(false)),
                    _ => Ok(Val::Bool(true)),
                };
            }
            _ => {}
        }
        let Reference::Call { function, overloads, namespaced } = &self.checked.references[expr.id] else {
            return Err(EvalError::new(format!("unknown function: {name}")));
        };
        let name = namespaced.as_deref().unwrap_or(name);
        let mut values = Vec::with_capacity(args.len() + 1);
        let mut fault = None;
        if let Some(target) = target.filter(|_| namespaced.is_none()) {
            let value = match self.expr(target) {
                Ok(value) => value,
                Err(error) if error.cancelled => return Err(error),
                Err(error) => {
                    fault = Some(error);
                    Val::Null
                }
            };
            if let (Val::Optional(inner), "or" | "orValue", [other]) = (&value, name, args) {
                self.context.charge(1)?;
                return match inner {
                    None => self.expr(other),
                    Some(inner) if name == "orValue" => Ok((**inner).clone()),
                    Some(_) => Ok(value),
                };
            }
            values.push(value);
        }
        for (at, arg) in args.iter().enumerate() {
            let free = name == "_[_]" && at == 1;
            let value = if free { self.branch(arg) } else { self.expr(arg) };
            match value {
                Ok(value) => values.push(value),
                // All arguments are evaluated, and the call is charged, before the first fault is the result.
                Err(error) if error.cancelled || fault.is_some() => return Err(fault.unwrap_or(error)),
                Err(error) => fault = Some(error),
            }
        }
        if let Some(fault) = fault {
            self.context.charge(1)?;
            return Err(fault);
        }
        if !is_folded(name, args) {
            self.context.charge(meter::before(name, overloads, &values))?;
        }
        for call in &function.calls {
            if let Some(out) = call(self.context, name, &values) {
                let value = out?;
                self.context.charge(meter::after(name, &value))?;
                return Ok(value);
            }
        }
        Err(no_overload(name, &values))
    }

    /// An alternative or an index: where it only names something, the original does not charge it.
    fn branch(&mut self, expr: &'a Expr) -> Out<'a> {
        let before = self.context.cost;
        let out = self.expr(expr);
        if names_something(expr) && !matches!(&out, Err(error) if error.cancelled) {
            self.context.cost = before;
        }
        out
    }

    /// `&&` and `||`: what decides alone decides, whatever the other side is.
    fn logic(&mut self, a: &'a Expr, b: &'a Expr, decides: bool) -> Out<'a> {
        let first = self.expr(a);
        match &first {
            Ok(Val::Bool(value)) if *value == decides => return first,
            Err(error) if error.cancelled => return first,
            _ => {}
        }
        let second = self.expr(b);
        match (&first, &second) {
            (_, Ok(Val::Bool(value))) if *value == decides => second,
            (_, Err(error)) if error.cancelled => second,
            (Err(_), _) => first,
            (Ok(Val::Bool(_)), Ok(Val::Bool(_)) | Err(_)) => second,
            (Ok(a), Ok(b)) => {
                Err(no_overload(if decides { "_||_" } else { "_&&_" }, &[a.clone(), b.clone()]))
            }
            (Ok(a), Err(_)) => {
                Err(no_overload(if decides { "_||_" } else { "_&&_" }, std::slice::from_ref(a)))
            }
        }
    }

    fn list(&mut self, items: &'a [Expr], optional: &[usize]) -> Out<'a> {
        let mut values = Vec::with_capacity(items.len());
        for (at, item) in items.iter().enumerate() {
            let value = self.expr(item)?;
            match value {
                Val::Optional(inner) if optional.contains(&at) => {
                    values.extend(inner.map(|inner| (*inner).clone()));
                }
                value => values.push(value),
            }
        }
        if !items.iter().all(is_constant) {
            self.context.charge(10)?;
        }
        Ok(Val::list(values))
    }

    /// The value of an entry; none when it is optional and absent.
    fn entry<K>(&mut self, entry: &'a Entry<K>) -> Result<Option<Val<'a>>, EvalError> {
        let value = self.expr(&entry.value)?;
        match value {
            Val::Optional(inner) if entry.optional => Ok(inner.map(|inner| (*inner).clone())),
            value => Ok(Some(value)),
        }
    }

    fn map(&mut self, entries: &'a [Entry<Expr>]) -> Out<'a> {
        let mut made: BTreeMap<Key, (Val<'a>, Val<'a>)> = BTreeMap::new();
        for entry in entries {
            let key = self.expr(&entry.key)?;
            let Some(known) = value::to_key(&key) else {
                return Err(EvalError::new(format!("unsupported key type: {}", key.type_name())));
            };
            if let Some(value) = self.entry(entry)? {
                if made.contains_key(&known) {
                    return Err(EvalError::new(format!("Failed with repeated key: {key}")));
                }
                made.insert(known, (key, value));
            }
        }
        if !entries.iter().all(|entry| is_constant(&entry.key) && is_constant(&entry.value)) {
            self.context.charge(30)?;
        }
        Ok(Val::Map(Map::Made(Rc::new(made))))
    }

    fn object(&mut self, expr: &'a Expr, fields: &'a [Entry<String>]) -> Out<'a> {
        let mut made = BTreeMap::new();
        for field in fields {
            if let Some(value) = self.entry(field)? {
                made.insert(field.key.clone(), value);
            }
        }
        self.context.charge(40)?;
        let decl = match &self.checked.types[expr.id] {
            Type::Object(decl) => decl.clone(),
            _ => Arc::new(ObjectDecl::default()),
        };
        Ok(Val::Map(Map::Object(decl, Rc::new(made))))
    }

    fn fold(&mut self, fold: &'a Fold) -> Out<'a> {
        let range = self.expr(&fold.range)?;
        let init = self.expr(&fold.init);
        let depth = self.scopes.len();
        self.scopes.push((&fold.accumulator, init));
        let out = self.steps(fold, &range).and_then(|()| self.expr(&fold.result));
        self.scopes.truncate(depth);
        out
    }

    /// Walks the range; the accumulator is the last of the scopes before and after.
    fn steps(&mut self, fold: &'a Fold, range: &Val<'a>) -> Result<(), EvalError> {
        let at = self.scopes.len() - 1;
        let keys = match range {
            Val::List(_) => Vec::new(),
            Val::Map(map) => map.keys(),
            other => {
                let text = format!("got '{}', expected iterable type", other.type_name());
                return Err(EvalError::new(text));
            }
        };
        let count = range.size().and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
        for index in 0..count {
            self.context.work(1)?;
            let (first, second) = match (range, &fold.second) {
                (Val::List(list), None) => (list.get(index), None),
                (Val::List(list), Some(_)) => {
                    (Some(Val::Int(i64::try_from(index).unwrap_or_default())), list.get(index))
                }
                (Val::Map(_), None) => (keys.get(index).cloned(), None),
                (Val::Map(map), _) => {
                    (keys.get(index).cloned(), keys.get(index).and_then(|key| map.get(key)))
                }
                _ => (None, None),
            };
            self.scopes.push((&fold.variable, Ok(first.unwrap_or(Val::Null))));
            if let Some(name) = &fold.second {
                self.scopes.push((name, Ok(second.unwrap_or(Val::Null))));
            }
            let on = self.expr(&fold.condition)?;
            let go_on = matches!(on, Val::Bool(true));
            if go_on {
                let next = self.step(&fold.step, at);
                if let Err(error) = &next
                    && error.cancelled
                {
                    return next.map(drop);
                }
                self.scopes[at].1 = next;
            }
            self.scopes.truncate(at + 1);
            if !go_on {
                break;
            }
        }
        Ok(())
    }

    /// One step. Lists that grow by it grow in place.
    fn step(&mut self, step: &'a Expr, at: usize) -> Out<'a> {
        let Kind::Call { function, target: None, args } = &step.kind else { return self.expr(step) };
        let grows = |expr: &Expr| matches!(&expr.kind, Kind::Ident(name) if *name == *self.scopes[at].0);
        match (function.as_str(), args.as_slice()) {
            ("_+_", [carried, more]) if grows(carried) && matches!(self.scopes[at].1, Ok(Val::List(_))) => {
                let more = self.expr(more)?;
                let Val::List(more) = more else { return Err(no_overload("_+_", &[more])) };
                self.context.charge(2)?;
                let list = std::mem::replace(&mut self.scopes[at].1, Ok(Val::Null));
                match list {
                    Ok(Val::List(list)) => library::extend(self.context, list, &more),
                    other => other,
                }
            }
            ("_?_:_", [condition, yes, no]) if grows(no) => match self.expr(condition)? {
                Val::Bool(true) => self.step(yes, at),
                Val::Bool(false) => std::mem::replace(&mut self.scopes[at].1, Ok(Val::Null)),
                other => Err(no_overload("_?_:_", &[other])),
            },
            _ => self.expr(step),
        }
    }
}

/// A variable, its fields and items.
fn names_something(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Ident(_) => true,
        Kind::Select { operand, test: false, .. } => names_something(operand),
        Kind::Call { function, target: None, args } if function == "_[_]" => match args.as_slice() {
            [object, key] => {
                names_something(object) && (matches!(key.kind, Kind::Literal(_)) || names_something(key))
            }
            _ => false,
        },
        _ => false,
    }
}

/// Does the expression not depend on anything? The original evaluates such literals once, at no cost.
fn is_constant(expr: &Expr) -> bool {
    match &expr.kind {
        Kind::Literal(_) => true,
        Kind::List { items, optional } => optional.is_empty() && items.iter().all(is_constant),
        Kind::Map(entries) => {
            entries.iter().all(|entry| is_constant(&entry.key) && is_constant(&entry.value))
        }
        _ => false,
    }
}

/// Is a call carried out in advance, or by a set made in advance? Conversions of literals, and what is looked for in
/// a list of literals.
fn is_folded(name: &str, args: &[Expr]) -> bool {
    match (name, args) {
        ("@in", [_, list]) => matches!(list.kind, Kind::List { .. }) && is_constant(list),
        (
            "bool" | "bytes" | "double" | "duration" | "dyn" | "int" | "string" | "timestamp" | "uint",
            [arg],
        ) => {
            matches!(arg.kind, Kind::Literal(_))
        }
        _ => false,
    }
}

fn missing(name: &str) -> EvalError {
    EvalError::new(format!("no such attribute(s): {name}"))
}

fn no_field(value: &Val<'_>) -> EvalError {
    EvalError::new(format!("no such overload: {}.ref-resolve(*)", value.type_name()))
}

fn no_overload(name: &str, args: &[Val<'_>]) -> EvalError {
    let types: Vec<String> = args.iter().map(Val::type_name).collect();
    EvalError::new(format!("no such overload: {name}({})", types.join(", ")))
}

fn has(object: &Val<'_>, field: &str) -> Result<bool, EvalError> {
    match object {
        Val::Map(map) => Ok(map.field(field).is_some()),
        Val::Optional(None) => Ok(false),
        Val::Optional(Some(inner)) => has(inner, field),
        other => Err(no_field(other)),
    }
}

fn constant<'a>(literal: &'a Literal) -> Val<'a> {
    match literal {
        Literal::Null => Val::Null,
        Literal::Bool(b) => Val::Bool(*b),
        Literal::Int(n) => Val::Int(*n),
        Literal::Uint(n) => Val::Uint(*n),
        Literal::Double(n) => Val::Double(*n),
        Literal::String(text) => Val::String(Text::In(text)),
        Literal::Bytes(bytes) => Val::Bytes(bytes.clone()),
    }
}
