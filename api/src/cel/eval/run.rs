//! The walk over the tree.
use super::super::ast::{Entry, Expr, Fold, Kind, Literal};
use super::super::check::{Checked, Reference};
use super::super::library::{self, Out};
use super::super::meter;
use super::super::types::{ObjectDecl, Type};
use super::super::value::{self, Key, Map, Text, Val};
use super::{Context, EvalError, MAX_DEPTH, Variables};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// An evaluation that is under way.
pub(super) struct Run<'a, 'r, 'c> {
    checked: &'a Checked,
    variables: &'r dyn Variables<'a>,
    context: &'r mut Context<'c>,
    /// Variables of folds; an accumulator may hold a fault that a later step makes up for.
    scopes: Vec<(&'a str, Out<'a>)>,
}

impl<'a, 'r, 'c> Run<'a, 'r, 'c> {
    /// Of an expression, on the account of a context.
    pub(super) fn new(
        checked: &'a Checked,
        variables: &'r dyn Variables<'a>,
        context: &'r mut Context<'c>,
    ) -> Self {
        Self { checked, variables, context, scopes: Vec::new() }
    }

    /// The value of a node.
    pub(super) fn expr(&mut self, expr: &'a Expr) -> Out<'a> {
        if self.context.depth >= MAX_DEPTH {
            return Err(EvalError {
                message: format!("evaluation is nested deeper than {MAX_DEPTH}"),
                cancelled: true,
            });
        }
        self.context.depth += 1;
        let out = self.node(expr);
        self.context.depth -= 1;
        out
    }

    fn node(&mut self, expr: &'a Expr) -> Out<'a> {
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
            if let (true, Some(first)) = (meter::traverses(name), values.first()) {
                self.context.visit(first)?;
            }
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
