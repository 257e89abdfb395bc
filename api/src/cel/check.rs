//! The type checker: every name and call is resolved, and every node gets a type, or a fault is reported where it is.
use super::ast::{Entry, Expr, Fold, Kind, Literal};
use super::issue::Issues;
use super::library::{self, Function, Overload};
use super::parse::Parsed;
use super::types::{self, Decl, Mapping, ObjectDecl, Type};
use crate::re2::Regex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What expressions may refer to.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// Variables by name; names may have dots.
    pub variables: BTreeMap<String, Arc<Decl>>,
    /// Types that expressions may construct.
    pub types: BTreeMap<String, Arc<ObjectDecl>>,
    /// May expressions construct `Object{…}` and the types of its fields?
    pub constructs_objects: bool,
}

impl Env {
    /// An environment with variables.
    pub fn new(variables: impl IntoIterator<Item = (String, Arc<Decl>)>) -> Self {
        Self { variables: variables.into_iter().collect(), ..Self::default() }
    }

    /// The same with one more variable.
    #[must_use]
    pub fn with(mut self, name: &str, decl: Arc<Decl>) -> Self {
        self.variables.insert(name.to_owned(), decl);
        self
    }

    fn object(&self, name: &str) -> Option<Arc<ObjectDecl>> {
        let open = self.constructs_objects && (name == "Object" || name.starts_with("Object."));
        if open {
            return Some(Arc::new(ObjectDecl { name: name.to_owned(), open, ..ObjectDecl::default() }));
        }
        self.types.get(name).cloned()
    }
}

/// What a name or call means.
#[derive(Clone, Debug, Default)]
pub enum Reference {
    /// Nothing, or what the tree itself says.
    #[default]
    None,
    /// A variable.
    Variable(String),
    /// A variable of a fold.
    Local,
    /// A type.
    Type(Type),
    /// A type to construct.
    Object(Arc<ObjectDecl>),
    /// A function: all that take arguments of the known types.
    Call {
        /// The function.
        function: &'static Function,
        /// Those that fit.
        overloads: Vec<&'static Overload>,
        /// Its name when the target is part of it (`ip.isCanonical`).
        namespaced: Option<String>,
    },
    /// A variable that is there when it is declared.
    Present,
}

/// An expression that makes sense.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The tree and its text.
    pub parsed: Parsed,
    /// Types by node.
    pub types: Vec<Type>,
    /// Meanings by node.
    pub references: Vec<Reference>,
}

impl Checked {
    /// The type of the whole.
    pub fn result(&self) -> &Type {
        &self.types[self.parsed.expr.id]
    }

    /// Does the expression refer to a variable?
    pub fn uses(&self, name: &str) -> bool {
        self.references.iter().any(|r| matches!(r, Reference::Variable(known) if known == name))
    }
}

/// Checks an expression.
///
/// # Errors
/// What is wrong with it, with line and column.
pub fn check(env: &Env, parsed: Parsed) -> Result<Checked, Issues> {
    let nodes = parsed.source.nodes();
    let mut checker = Checker {
        env,
        parsed: &parsed,
        issues: Issues::new(parsed.source.clone()),
        types: vec![Type::Dyn; nodes],
        references: vec![Reference::None; nodes],
        scopes: Vec::new(),
        mapping: Mapping::default(),
        fresh: 1000,
        mixed: false,
    };
    checker.expr(&parsed.expr);
    if checker.issues.is_empty() {
        checker.literals();
    }
    let Checker { issues, types, references, mapping, .. } = checker;
    if !issues.is_empty() {
        return Err(issues);
    }
    let types = types.iter().map(|ty| mapping.apply(ty, true)).collect();
    Ok(Checked { parsed, types, references })
}

/// How deep a type may be nested: types are trees that each node has a copy of.
const MAX_TYPE_DEPTH: usize = 200;

struct Checker<'e> {
    env: &'e Env,
    parsed: &'e Parsed,
    issues: Issues,
    types: Vec<Type>,
    references: Vec<Reference>,
    scopes: Vec<(String, Type)>,
    mapping: Mapping,
    fresh: u32,
    /// Inside arguments that may mix types.
    mixed: bool,
}

impl Checker<'_> {
    fn fault(&mut self, node: usize, message: String) -> Type {
        self.issues.at(&self.parsed.source, node, message);
        Type::Error
    }

    fn undeclared(&mut self, node: usize, name: &str) -> Type {
        self.fault(node, format!("undeclared reference to '{name}' (in container '')"))
    }

    fn show(&self, ty: &Type) -> Type {
        self.mapping.apply(ty, true)
    }

    /// Types a node and remembers the type.
    fn expr(&mut self, expr: &Expr) -> Type {
        let ty = match &expr.kind {
            Kind::Literal(literal) => literal_type(literal),
            Kind::Ident(name) => self.ident(expr.id, name),
            Kind::Select { operand, field, test } => self.select(expr, operand, field, *test),
            Kind::Call { function, target, args } => self.call(expr.id, function, target.as_deref(), args),
            Kind::List { items, optional } => self.list(items, optional),
            Kind::Map(entries) => self.map(entries),
            Kind::Struct { name, fields } => self.object(expr.id, name, fields),
            Kind::Fold(fold) => self.fold(fold),
        };
        let mut ty = self.mapping.apply(&ty, false);
        if ty.depth() > MAX_TYPE_DEPTH {
            ty = self.fault(expr.id, format!("type nesting limit exceeded: {MAX_TYPE_DEPTH}"));
        }
        self.types[expr.id] = ty.clone();
        ty
    }

    fn resolve(&mut self, node: usize, name: &str) -> Option<Type> {
        if let Some((_, ty)) = self.scopes.iter().rev().find(|(known, _)| known == name) {
            self.references[node] = Reference::Local;
            return Some(ty.clone());
        }
        if let Some(decl) = self.env.variables.get(name) {
            self.references[node] = Reference::Variable(name.to_owned());
            return Some(decl.ty.clone());
        }
        let ty = match library::type_named(name) {
            Some(ty) => ty,
            None => Type::Object(self.env.object(name)?),
        };
        self.references[node] = Reference::Type(ty.clone());
        Some(Type::Type(Box::new(ty)))
    }

    fn ident(&mut self, node: usize, name: &str) -> Type {
        match self.resolve(node, name) {
            Some(ty) => ty,
            None => self.undeclared(node, name),
        }
    }

    /// Is the first name of a path one of a fold's variables?
    fn is_local(&self, expr: &Expr) -> bool {
        match &expr.kind {
            Kind::Ident(name) => self.scopes.iter().any(|(known, _)| known == name),
            Kind::Select { operand, .. } => self.is_local(operand),
            _ => false,
        }
    }

    fn select(&mut self, expr: &Expr, operand: &Expr, field: &str, test: bool) -> Type {
        if let Some(prefix) = operand.qualified_name().filter(|_| !self.is_local(operand)) {
            let name = format!("{prefix}.{field}");
            if test && self.env.variables.contains_key(&name) {
                self.references[expr.id] = Reference::Present;
                return Type::Bool;
            }
            if !test && let Some(ty) = self.resolve(expr.id, &name) {
                return ty;
            }
        }
        let object = self.expr(operand);
        let ty = self.field(expr.id, &object, field);
        if test { Type::Bool } else { ty }
    }

    fn field(&mut self, node: usize, object: &Type, field: &str) -> Type {
        match self.mapping.apply(object, false) {
            Type::Dyn | Type::Error | Type::Param(_) => Type::Dyn,
            Type::Map(_, value) => *value,
            Type::Optional(inner) => {
                let found = self.field(node, &inner, field);
                if matches!(found, Type::Optional(_)) { found } else { Type::optional(found) }
            }
            Type::Object(object) => match object.fields.get(field) {
                Some(field) => field.decl.ty.clone(),
                None if object.open => Type::Dyn,
                None => self.fault(node, format!("undefined field '{field}'")),
            },
            other => {
                let other = self.show(&other);
                self.fault(node, format!("type '{other}' does not support field selection"))
            }
        }
    }

    fn call(&mut self, node: usize, name: &str, target: Option<&Expr>, args: &[Expr]) -> Type {
        if name == "_?._" {
            return self.optional_select(node, args);
        }
        let prefix = target.filter(|target| !self.is_local(target)).and_then(Expr::qualified_name);
        if let Some(prefix) = prefix {
            let qualified = format!("{prefix}.{name}");
            if let Some(function) = library::functions().get(qualified.as_str()) {
                let types: Vec<Type> = args.iter().map(|arg| self.expr(arg)).collect();
                return self.overloads(node, &qualified, function, false, &types, Some(qualified.clone()));
            }
        }
        let function = library::functions().get(name);
        let outer = self.mixed;
        self.mixed |= name == "format";
        let mut types: Vec<Type> = args.iter().map(|arg| self.expr(arg)).collect();
        self.mixed = outer;
        if let Some(target) = target {
            types.insert(0, self.expr(target));
        }
        match function {
            Some(function) => self.overloads(node, name, function, target.is_some(), &types, None),
            None => self.undeclared(node, name),
        }
    }

    fn optional_select(&mut self, node: usize, args: &[Expr]) -> Type {
        let [object, field] = args else { return Type::Dyn };
        let ty = self.expr(object);
        self.expr(field);
        if let Some(function) = library::functions().get("_?._") {
            let overloads = function.overloads.iter().collect();
            self.references[node] = Reference::Call { function, overloads, namespaced: None };
        }
        let name = super::parse::string_literal(field).map(|name| name.to_string()).unwrap_or_default();
        let found = self.field(node, &ty, &name);
        if matches!(found, Type::Optional(_)) { found } else { Type::optional(found) }
    }

    fn overloads(
        &mut self,
        node: usize,
        name: &str,
        function: &'static Function,
        member: bool,
        args: &[Type],
        namespaced: Option<String>,
    ) -> Type {
        let mut fitting: Vec<&'static Overload> = Vec::new();
        let mut result: Option<Type> = None;
        for overload in
            function.overloads.iter().filter(|o| o.member == member && o.params.len() == args.len())
        {
            self.fresh += 1;
            let base = self.fresh * 256;
            let fresh = |ty: &Type| rename(ty, base);
            let mut tried = self.mapping.clone();
            if !overload.params.iter().zip(args).all(|(param, arg)| tried.assignable(&fresh(param), arg)) {
                continue;
            }
            self.mapping = tried;
            fitting.push(overload);
            let found = self.mapping.apply(&fresh(&overload.result), false);
            result = Some(match result {
                None => found,
                Some(known) if known.is_dyn() || known == found => known,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            if args.contains(&Type::Error) {
                return Type::Error;
            }
            let shown: Vec<String> = args.iter().map(|arg| self.show(arg).to_string()).collect();
            let signature = match shown.split_first() {
                Some((target, rest)) if member => format!("{target}.({})", rest.join(", ")),
                _ => format!("({})", shown.join(", ")),
            };
            return self
                .fault(node, format!("found no matching overload for '{name}' applied to '{signature}'"));
        };
        self.references[node] = Reference::Call { function, overloads: fitting, namespaced };
        result
    }

    /// The type of items, which must be one.
    fn uniform(&mut self, known: Option<Type>, node: usize, ty: Type) -> Option<Type> {
        let Some(known) = known else { return Some(ty) };
        let joined = types::join(&mut self.mapping, &known, &ty);
        if joined == Type::Dyn && !known.is_dyn() && !ty.is_dyn() && !self.mixed {
            let (known, ty) = (self.show(&known), self.show(&ty));
            self.fault(node, format!("expected type '{known}' but found '{ty}'"));
        }
        Some(joined)
    }

    fn unwrapped(&mut self, node: usize, ty: Type, optional: bool) -> Type {
        match ty {
            Type::Optional(inner) if optional => *inner,
            ty if optional && !ty.is_dyn() => {
                let shown = self.show(&ty);
                self.fault(node, format!("expected type 'optional_type({shown})' but found '{shown}'"))
            }
            ty => ty,
        }
    }

    fn list(&mut self, items: &[Expr], optional: &[usize]) -> Type {
        let mut known = None;
        for (at, item) in items.iter().enumerate() {
            let ty = self.expr(item);
            let ty = self.unwrapped(item.id, ty, optional.contains(&at));
            known = self.uniform(known, item.id, ty);
        }
        Type::list(known.unwrap_or_else(|| self.parameter()))
    }

    fn parameter(&mut self) -> Type {
        self.fresh += 1;
        Type::Param(self.fresh * 256)
    }

    fn key_parameter(&mut self) -> Type {
        self.fresh += 1;
        Type::Param(types::key_parameter(self.fresh * 256))
    }

    /// The type of a key. Keys with parts would make types that double with each map whose key is the map before.
    fn key(&mut self, node: usize, ty: Type) -> Type {
        match self.mapping.apply(&ty, false) {
            Type::Param(_) => Type::Dyn,
            ty if ty.has_parts() => {
                let shown = self.show(&ty);
                self.fault(node, format!("unsupported map key type: {shown}"))
            }
            ty => ty,
        }
    }

    fn map(&mut self, entries: &[Entry<Expr>]) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in entries {
            let key = self.expr(&entry.key);
            let key = self.key(entry.key.id, key);
            keys = self.uniform(keys, entry.key.id, key);
            let value = self.expr(&entry.value);
            let value = self.unwrapped(entry.value.id, value, entry.optional);
            values = self.uniform(values, entry.value.id, value);
        }
        let key = keys.unwrap_or_else(|| self.key_parameter());
        let value = values.unwrap_or_else(|| self.parameter());
        Type::map(key, value)
    }

    fn object(&mut self, node: usize, name: &str, fields: &[Entry<String>]) -> Type {
        let Some(object) = self.env.object(name) else {
            fields.iter().for_each(|field| drop(self.expr(&field.value)));
            return if library::type_named(name).is_some() {
                self.fault(node, format!("'{name}' is not a message type"))
            } else {
                self.undeclared(node, name)
            };
        };
        for field in fields {
            let given = self.expr(&field.value);
            let given = self.unwrapped(field.value.id, given, field.optional);
            let wanted = match object.fields.get(&field.key) {
                Some(known) => known.decl.ty.clone(),
                None if object.open => Type::Dyn,
                None => self.fault(field.id, format!("undefined field '{}'", field.key)),
            };
            if !self.mapping.assignable(&wanted, &given) {
                let (wanted, given) = (self.show(&wanted), self.show(&given));
                let name = &field.key;
                let text =
                    format!("expected type of field '{name}' is '{wanted}' but provided type is '{given}'");
                self.fault(field.id, text);
            }
        }
        self.references[node] = Reference::Object(object.clone());
        Type::Object(object)
    }

    fn fold(&mut self, fold: &Fold) -> Type {
        let range = self.expr(&fold.range);
        let accumulated = self.expr(&fold.init);
        let (first, second) = match self.mapping.apply(&range, false) {
            Type::List(item) if fold.second.is_some() => (Type::Int, *item),
            Type::List(item) => (*item, Type::Dyn),
            Type::Map(key, value) => (*key, *value),
            Type::Dyn | Type::Error | Type::Param(_) => (Type::Dyn, Type::Dyn),
            other => {
                let other = self.show(&other);
                let text = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                (self.fault(fold.range.id, text), Type::Error)
            }
        };
        self.scopes.push((fold.accumulator.clone(), accumulated.clone()));
        self.scopes.push((fold.variable.clone(), first));
        if let Some(name) = &fold.second {
            self.scopes.push((name.clone(), second));
        }
        let condition = self.expr(&fold.condition);
        self.must_be(fold.condition.id, &Type::Bool, &condition);
        let step = self.expr(&fold.step);
        self.must_be(fold.step.id, &accumulated, &step);
        let inner = if fold.second.is_some() { 2 } else { 1 };
        self.scopes.truncate(self.scopes.len() - inner);
        let result = self.expr(&fold.result);
        self.scopes.pop();
        result
    }

    fn must_be(&mut self, node: usize, wanted: &Type, given: &Type) {
        if !self.mapping.assignable(wanted, given) {
            let (wanted, given) = (self.show(wanted), self.show(given));
            self.fault(node, format!("expected type '{wanted}' but found '{given}'"));
        }
    }

    /// Literals that functions could never accept.
    fn literals(&mut self) {
        let mut found: Vec<(usize, &'static str)> = Vec::new();
        self.parsed.expr.walk(&mut |expr| {
            let Kind::Call { function, args, .. } = &expr.kind else { return };
            let Some(last) = args.last() else { return };
            let Some(text) = super::parse::string_literal(last) else { return };
            let fault = match (function.as_str(), args.len()) {
                ("duration", 1) => {
                    super::value::parse_duration(text).is_none().then_some("invalid duration argument")
                }
                ("timestamp", 1) => {
                    super::value::parse_timestamp(text).is_none().then_some("invalid timestamp argument")
                }
                ("matches", _) => Regex::new(text).is_err().then_some("invalid matches argument"),
                _ => None,
            };
            found.extend(fault.map(|fault| (last.id, fault)));
        });
        for (node, fault) in found {
            self.fault(node, fault.to_owned());
        }
    }
}

fn literal_type(literal: &Literal) -> Type {
    match literal {
        Literal::Null => Type::Null,
        Literal::Bool(_) => Type::Bool,
        Literal::Int(_) => Type::Int,
        Literal::Uint(_) => Type::Uint,
        Literal::Double(_) => Type::Double,
        Literal::String(_) => Type::String,
        Literal::Bytes(_) => Type::Bytes,
    }
}

/// A signature's parameters as those of one call.
fn rename(ty: &Type, base: u32) -> Type {
    let inner = |ty: &Type| Box::new(rename(ty, base));
    match ty {
        Type::Param(n) => Type::Param(base + n),
        Type::List(item) => Type::List(inner(item)),
        Type::Map(key, value) => Type::Map(inner(key), inner(value)),
        Type::Optional(of) => Type::Optional(inner(of)),
        Type::Type(of) => Type::Type(inner(of)),
        other => other.clone(),
    }
}
