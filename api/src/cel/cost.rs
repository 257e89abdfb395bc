//! What an expression can cost at worst, before it is ever evaluated: from the limits that schemas set (`maxItems`,
//! `maxLength`, `maxProperties`). The arithmetic is the original's, for it decides what definitions are accepted.
mod calls;

use super::ast::{Entry, Expr, Fold, Kind, Literal};
use super::check::{Checked, Reference};
use super::meter::scale;
use super::types::{Decl, Type};
use std::collections::HashMap;
use std::sync::Arc;

/// From at least to at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// At least.
    pub min: u64,
    /// At most.
    pub max: u64,
}

const UNKNOWN: Range = Range { min: 0, max: u64::MAX };
const ONE: Range = Range { min: 1, max: 1 };

impl Range {
    fn exact(n: u64) -> Self {
        Self { min: n, max: n }
    }

    fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    fn scaled(self, factor: f64) -> Self {
        Self { min: scale(self.min, factor), max: scale(self.max, factor) }
    }

    fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

/// Sizes of the keys and values of a list or map.
type Parts = (Range, Range);
/// The way to a value: a variable, then fields, `@items`, `@keys`, `@values`.
type Path = Vec<String>;

/// What a call costs, and how large its result is.
struct Call {
    cost: Range,
    size: Option<Range>,
}

/// Estimates the cost of an expression; `root` finds what a variable is declared as.
pub fn estimate(checked: &Checked, root: &dyn Fn(&str) -> Option<Arc<Decl>>) -> Range {
    let mut coster = Coster {
        checked,
        root,
        paths: HashMap::new(),
        locals: Vec::new(),
        sizes: HashMap::new(),
        parts: HashMap::new(),
    };
    coster.cost(&checked.parsed.expr)
}

struct Local {
    name: String,
    path: Path,
    size: Option<Range>,
    parts: Option<Parts>,
}

struct Coster<'c> {
    checked: &'c Checked,
    root: &'c dyn Fn(&str) -> Option<Arc<Decl>>,
    paths: HashMap<usize, Path>,
    locals: Vec<Local>,
    sizes: HashMap<usize, Range>,
    parts: HashMap<usize, Parts>,
}

impl Coster<'_> {
    fn ty(&self, expr: &Expr) -> &Type {
        &self.checked.types[expr.id]
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn path(&self, expr: &Expr) -> Path {
        if let Kind::Ident(name) = &expr.kind
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&expr.id).cloned().unwrap_or_default()
    }

    fn cost(&mut self, expr: &Expr) -> Range {
        match &expr.kind {
            Kind::Literal(_) => Range::default(),
            Kind::Ident(name) => {
                let path = self.local(name).map_or_else(|| vec![name.clone()], |local| local.path.clone());
                self.paths.insert(expr.id, path);
                ONE
            }
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { function, target, args } => self.call(expr, function, target.as_deref(), args),
            Kind::List { items, .. } => self.list(expr, items),
            Kind::Map(entries) => self.map(expr, entries),
            Kind::Struct { fields, .. } => {
                fields.iter().fold(Range::exact(40), |sum, field| sum.plus(self.cost(&field.value)))
            }
            Kind::Fold(fold) if is_binding(fold) => self.binding(expr, fold),
            Kind::Fold(fold) => self.fold(expr, fold),
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Range {
        match &self.checked.references[expr.id] {
            Reference::Present => return Range::default(),
            Reference::Variable(name) => {
                self.paths.insert(expr.id, vec![name.clone()]);
                return ONE;
            }
            Reference::Type(_) => return ONE,
            _ => {}
        }
        let mut sum = self.cost(operand);
        if test {
            return sum;
        }
        if matches!(self.ty(operand), Type::Map(..) | Type::Object(_) | Type::Param(_)) {
            sum = sum.plus(ONE);
        }
        let mut path = self.path(operand);
        path.push(field.to_owned());
        self.paths.insert(expr.id, path);
        sum
    }

    fn call(&mut self, expr: &Expr, name: &str, target: Option<&Expr>, args: &[Expr]) -> Range {
        let costs: Vec<Range> = args.iter().map(|arg| self.cost(arg)).collect();
        let Reference::Call { overloads, namespaced, .. } = &self.checked.references[expr.id] else {
            return costs.into_iter().fold(ONE, Range::plus);
        };
        if let ("dyn", [arg]) = (name, args) {
            self.copy_sizes(expr, arg);
            return costs[0].plus(ONE);
        }
        let name = namespaced.clone().unwrap_or_else(|| name.to_owned());
        let target = target.filter(|_| namespaced.is_none());
        let mut sum = Range::default();
        if let Some(target) = target {
            sum = self.cost(target);
        }
        let overloads = overloads.clone();
        let mut cost = Range { min: u64::MAX, max: 0 };
        let mut size: Option<Range> = None;
        for overload in overloads {
            let call = self.overload(expr, &name, overload, target, args, &costs);
            cost = cost.union(call.cost);
            if let Some(found) = call.size {
                size = Some(size.map_or(found, |known| known.union(found)));
            }
            if let (Some(part), Some(first)) = (
                match overload.id {
                    "index_list" => Some("@items"),
                    "index_map" => Some("@values"),
                    _ => None,
                },
                args.first(),
            ) {
                size = self.parts_of(first).map(|(_, value)| value);
                let mut path = self.path(first);
                path.push(part.to_owned());
                self.paths.insert(expr.id, path);
            }
            if size.is_none() {
                size = self.size(expr);
            }
        }
        if let Some(size) = size {
            self.sizes.insert(expr.id, size);
        }
        sum.plus(cost)
    }

    fn list(&mut self, expr: &Expr, items: &[Expr]) -> Range {
        let mut sum = Range::exact(10);
        let mut size = Range { min: if items.is_empty() { 0 } else { u64::MAX }, max: 0 };
        for item in items {
            sum = sum.plus(self.cost(item));
            size = size.union(self.size_or_unknown(item));
        }
        self.parts.insert(expr.id, (ONE, size));
        sum
    }

    fn map(&mut self, expr: &Expr, entries: &[Entry<Expr>]) -> Range {
        let mut sum = Range::exact(30);
        let start = Range { min: if entries.is_empty() { 0 } else { u64::MAX }, max: 0 };
        let (mut keys, mut values) = (start, start);
        for entry in entries {
            sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
            keys = keys.union(self.size_or_unknown(&entry.key));
            values = values.union(self.size_or_unknown(&entry.value));
        }
        self.parts.insert(expr.id, (keys, values));
        sum
    }

    fn fold(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let mut sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_accumulator(fold);
        let parts = self.parts_of(&fold.range);
        let of_list = matches!(self.ty(&fold.range), Type::List(_));
        let at = |part: &str| {
            let mut path = self.path(&fold.range);
            path.push(part.to_owned());
            path
        };
        let local = |name: &str, path: Path, size: Option<Range>| Local {
            name: name.to_owned(),
            path,
            size,
            parts: None,
        };
        let (key, value) = (parts.map(|(key, _)| key), parts.map(|(_, value)| value));
        let values = if of_list { "@items" } else { "@values" };
        let locals = match &fold.second {
            Some(second) => {
                let keys = if of_list { "@indices" } else { "@keys" };
                vec![local(&fold.variable, at(keys), key), local(second, at(values), value)]
            }
            None if of_list => vec![local(&fold.variable, at(values), value)],
            None => vec![local(&fold.variable, at("@keys"), key)],
        };
        let inner = locals.len();
        self.locals.extend(locals);
        let each = self.cost(&fold.condition).plus(self.cost(&fold.step));
        self.locals.truncate(self.locals.len() - inner);
        sum = sum.plus(self.cost(&fold.result));
        self.locals.pop();
        let count = self.size_or_unknown(&fold.range);
        sum = sum.plus(count.times(each));
        match &fold.init.kind {
            Kind::Literal(_) => {
                if let Some(size) = self.size(&fold.init) {
                    self.sizes.insert(expr.id, size);
                }
            }
            Kind::List { .. } | Kind::Map(_) => {
                self.sizes.insert(expr.id, count);
                if let Some(parts) = self.parts_of(&fold.step) {
                    self.parts.insert(expr.id, parts);
                }
            }
            _ => {}
        }
        sum
    }

    fn push_accumulator(&mut self, fold: &Fold) {
        let (path, size) = (self.path(&fold.init), self.size(&fold.init));
        let parts = self.parts_of(&fold.init);
        self.locals.push(Local { name: fold.accumulator.clone(), path, size, parts });
    }

    fn binding(&mut self, expr: &Expr, fold: &Fold) -> Range {
        let sum = self.cost(&fold.range).plus(self.cost(&fold.init));
        self.push_accumulator(fold);
        let sum = sum.plus(self.cost(&fold.result));
        self.copy_sizes(expr, &fold.result);
        self.locals.pop();
        sum
    }

    fn copy_sizes(&mut self, to: &Expr, from: &Expr) {
        if let Some(size) = self.size(from) {
            self.sizes.insert(to.id, size);
        }
        if let Some(parts) = self.parts_of(from) {
            self.parts.insert(to.id, parts);
        }
    }

    fn parts_of(&self, expr: &Expr) -> Option<Parts> {
        if let Some(parts) = self.parts.get(&expr.id) {
            return Some(*parts);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.parts),
            _ => None,
        }
    }

    /// What is declared at a path.
    fn declared(&self, path: &[String]) -> Option<Arc<Decl>> {
        let (first, rest) = path.split_first()?;
        let mut decl = (self.root)(first)?;
        for name in rest {
            decl = match name.as_str() {
                "@items" | "@values" => decl.element.clone()?,
                "@keys" => decl.key.clone()?,
                "@indices" => return Some(Arc::new(Decl::new(Type::Int, 1))),
                field => match &decl.ty {
                    Type::Object(object) => object.fields.get(field)?.decl.clone(),
                    _ => return None,
                },
            };
        }
        Some(decl)
    }

    fn size_at(&self, path: &[String]) -> Option<Range> {
        // A name that stands alone and is no variable is that of a type, for which the original takes the size of
        // what is validated.
        let whole = || (path.len() == 1).then(|| (self.root)("self")).flatten();
        self.declared(path).or_else(whole).map(|decl| Range { min: 0, max: decl.max })
    }

    fn size(&self, expr: &Expr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&expr.id) {
            return Some(*size);
        }
        match &expr.kind {
            Kind::Literal(Literal::String(text)) => return Some(Range::exact(text.chars().count() as u64)),
            Kind::Literal(Literal::Bytes(bytes)) => return Some(Range::exact(bytes.len() as u64)),
            Kind::Literal(_) => return Some(ONE),
            Kind::List { items, .. } => return Some(Range::exact(items.len() as u64)),
            Kind::Map(entries) => return Some(Range::exact(entries.len() as u64)),
            _ => {}
        }
        if let Some(size) = self.size_at(&self.path(expr)) {
            return Some(size);
        }
        if self.ty(expr).is_scalar() {
            return Some(ONE);
        }
        match &expr.kind {
            Kind::Ident(name) => self.local(name).and_then(|local| local.size),
            _ => None,
        }
    }

    fn size_or_unknown(&self, expr: &Expr) -> Range {
        self.size(expr).unwrap_or(UNKNOWN)
    }

    /// The size of a list's items.
    fn item_size(&self, list: &Expr) -> Option<Range> {
        if let Some((_, value)) = self.parts_of(list) {
            return Some(value);
        }
        let mut path = self.path(list);
        path.push("@items".to_owned());
        self.size_at(&path)
    }
}

fn is_binding(fold: &Fold) -> bool {
    matches!(&fold.range.kind, Kind::List { items, .. } if items.is_empty())
        && fold.condition.kind == Kind::Literal(Literal::Bool(false))
        && fold.accumulator != super::parse::ACCUMULATOR
}
