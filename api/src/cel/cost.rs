//! What an expression can cost at worst, before it is ever evaluated: from the limits that schemas set (`maxItems`,
//! `maxLength`, `maxProperties`). The arithmetic is the original's, for it decides what definitions are accepted.
use super::ast::{Entry, Expr, Fold, Kind, Literal};
use super::check::{Checked, Reference};
use super::library::Overload;
use super::meter::{AUTHORIZATION, REGEX, TRAVERSAL, scale};
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
        self.declared(path).map(|decl| Range { min: 0, max: decl.max })
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

    fn overload(
        &mut self,
        expr: &Expr,
        name: &str,
        overload: &Overload,
        target: Option<&Expr>,
        args: &[Expr],
        costs: &[Range],
    ) -> Call {
        let all = costs.iter().fold(Range::default(), |sum, cost| sum.plus(*cost));
        let call = match target {
            Some(target) => self.member(name, overload, target, args),
            None => self.global(expr, name, overload, args, costs),
        };
        match (name, target) {
            ("_&&_" | "_||_" | "_?_:_", None) => call,
            _ => Call { cost: call.cost.plus(all), ..call },
        }
    }

    fn member(&self, name: &str, overload: &Overload, target: &Expr, args: &[Expr]) -> Call {
        let of = self.size_or_unknown(target);
        let arg = |at: usize| args.get(at).map_or(Range::default(), |arg| self.size_or_unknown(arg));
        let plain = |cost| Call { cost, size: None };
        let compared = Range { min: 4, max: 16 };
        match name {
            "check" => plain(Range::exact(AUTHORIZATION)),
            "isSorted" | "sum" | "max" | "min" | "indexOf" | "lastIndexOf" | "sort" | "distinct" => {
                let Type::List(item) = self.ty(target) else { return plain(of.scaled(TRAVERSAL)) };
                let mut each = ONE;
                if matches!(**item, Type::String | Type::Bytes) {
                    each = each.plus(self.item_size(target).unwrap_or(UNKNOWN).scaled(TRAVERSAL));
                }
                plain(of.times(each))
            }
            "lowerAscii" | "upperAscii" | "substring" | "trim" => {
                Call { cost: of.scaled(TRAVERSAL), size: Some(of) }
            }
            "replace" => Call { cost: of.scaled(2.0 * TRAVERSAL), size: Some(replaced(of, arg(0), arg(1))) },
            "split" => Call { cost: of.scaled(2.0 * TRAVERSAL), size: Some(Range { min: 0, max: of.max }) },
            "join" => {
                let mut size = self.item_size(target).map_or(Range::default(), |item| of.times(item));
                if !args.is_empty() {
                    let between = Range { min: of.min.saturating_sub(1), max: of.max.saturating_sub(1) };
                    size = size.plus(arg(0).times(between));
                }
                Call { cost: size.scaled(TRAVERSAL), size: Some(size) }
            }
            "find" | "findAll" => Call {
                cost: of.plus(ONE).scaled(TRAVERSAL).times(arg(0).scaled(REGEX)),
                size: Some(Range { min: 0, max: of.max }),
            },
            "matches" => plain(of.plus(ONE).scaled(TRAVERSAL).times(arg(0).scaled(REGEX))),
            "contains" => plain(of.scaled(TRAVERSAL).times(arg(0).scaled(TRAVERSAL))),
            "startsWith" | "endsWith" => plain(arg(0).scaled(TRAVERSAL)),
            "format" => plain(of.scaled(TRAVERSAL)),
            "validate" => plain(arg(0).scaled(TRAVERSAL)),
            "containsIP" | "containsCIDR" => {
                let mut cost = compared.plus(compared).scaled(TRAVERSAL);
                if name == "containsCIDR" {
                    cost = cost.plus(compared.scaled(TRAVERSAL)).plus(ONE);
                }
                if overload.id.ends_with("_string") {
                    cost = cost.plus(arg(0).scaled(TRAVERSAL));
                }
                plain(cost)
            }
            _ => plain(ONE),
        }
    }

    fn global(
        &mut self,
        expr: &Expr,
        name: &str,
        overload: &Overload,
        args: &[Expr],
        costs: &[Range],
    ) -> Call {
        let of = |at: usize| args.get(at).map_or(UNKNOWN, |arg| self.size_or_unknown(arg));
        let plain = |cost| Call { cost, size: None };
        match (name, costs) {
            ("_&&_" | "_||_", [a, b]) => plain(Range { min: a.min, max: a.plus(*b).max }),
            ("_?_:_", [condition, yes, no]) => {
                let size = of(1).union(of(2));
                if let (Some(a), Some(b)) = (self.parts_of(&args[1]), self.parts_of(&args[2])) {
                    self.parts.insert(expr.id, (a.0.union(b.0), a.1.union(b.1)));
                }
                Call { cost: condition.plus(yes.union(*no)), size: Some(size) }
            }
            ("_+_", _) if matches!(overload.id, "add_string" | "add_bytes" | "add_list") => {
                let size = of(0).plus(of(1));
                if let (Some(a), Some(b)) = (self.parts_of(&args[0]), self.parts_of(&args[1])) {
                    self.parts.insert(expr.id, (a.0.union(b.0), a.1.union(b.1)));
                }
                let cost = if overload.id == "add_list" { ONE } else { size.scaled(TRAVERSAL) };
                Call { cost, size: Some(size) }
            }
            ("bytes", _) if overload.id == "string_to_bytes" => {
                let size = Range { min: of(0).min, max: of(0).max.saturating_mul(4) };
                Call { cost: of(0).scaled(TRAVERSAL), size: Some(size) }
            }
            ("string", _) if overload.id == "bytes_to_string" => {
                let size = Range { min: of(0).min / 4, max: of(0).max };
                Call { cost: of(0).scaled(TRAVERSAL), size: Some(size) }
            }
            ("strings.quote", _) => {
                let size = of(0).times(Range { min: 1, max: 2 }).plus(Range::exact(2));
                Call { cost: of(0).scaled(TRAVERSAL), size: Some(size) }
            }
            ("@in", _) if overload.id == "in_list" => plain(of(1)),
            ("matches", _) => plain(of(0).plus(ONE).scaled(TRAVERSAL).times(of(1).scaled(REGEX))),
            ("_==_" | "_!=_", _) => plain(compared(of(0), of(1))),
            ("_<_" | "_<=_" | "_>_" | "_>=_", _)
                if overload.id.ends_with("_string") || overload.id.ends_with("_bytes") =>
            {
                plain(compared(of(0), of(1)))
            }
            ("url", _) => plain(of(0).scaled(TRAVERSAL)),
            ("sets.contains" | "sets.intersects", _) => plain(of(0).times(of(1)).plus(ONE)),
            ("sets.equivalent", _) => plain(of(0).times(of(1)).times(Range::exact(2)).plus(ONE)),
            _ => plain(ONE),
        }
    }
}

/// Of comparing two values: as long as the shorter one.
fn compared(a: Range, b: Range) -> Range {
    let max = a.max.min(b.max);
    Range { min: u64::from(max > 0), max }.scaled(TRAVERSAL)
}

fn replaced(of: Range, from: Range, to: Range) -> Range {
    let ratio = |a: u64, b: u64| a.div_ceil(b.max(1));
    let (most, kept_most) = if from.min == 0 {
        (of.max.saturating_add(1), of.max)
    } else if to.max <= from.min {
        (0, of.max)
    } else {
        (ratio(of.max, from.min), 0)
    };
    let (least, kept_least) = if from.max == 0 {
        (of.min.saturating_add(1), of.min)
    } else if from.max <= to.min {
        (0, of.min)
    } else {
        (ratio(of.min, from.max), 0)
    };
    Range { min: least, max: most }.times(to).plus(Range { min: kept_least, max: kept_most })
}

fn is_binding(fold: &Fold) -> bool {
    matches!(&fold.range.kind, Kind::List { items, .. } if items.is_empty())
        && fold.condition.kind == Kind::Literal(Literal::Bool(false))
        && fold.accumulator != super::parse::ACCUMULATOR
}
