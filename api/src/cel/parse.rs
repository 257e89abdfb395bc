//! From text to the tree.
//!
//! The grammar, positions and syntax errors are those of the `cel` crate, which carries the original's ANTLR grammar
//! and words its errors equally. Its tree is taken over at once, so nothing else here depends on that crate. Macros
//! that it does not know (`cel.bind`, comprehensions with two variables, `optMap`) are expanded on the way.
//!
//! Parsing happens on a thread of its own with room for deep trees; what is nested deeper than [`MAX_DEPTH`] is
//! refused, so everything behind the parser may recurse.
use super::ast::{Entry, Expr, Fold, Kind, Literal};
use super::issue::{Issue, Issues, Source};
use cel::common::ast::{EntryExpr, Expr as Foreign, IdedExpr, LiteralValue, SourceInfo};
use std::sync::Arc;

/// The most characters of an expression.
const MAX_SIZE: usize = 100_000;
/// How deep an expression may be nested.
pub const MAX_DEPTH: usize = 160;
/// How many characters that can nest an expression it may have: the parser's stack is made for so many.
const MAX_OPERATORS: usize = 5000;
const STACK: usize = 256 << 20;
/// What folds carry on; expressions cannot name it.
pub const ACCUMULATOR: &str = "@result";
const UNUSED: &str = "#unused";
/// What the target of `optMap` is bound to; expressions cannot name it.
const TARGET: &str = "@target";

/// A parsed expression.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The root.
    pub expr: Expr,
    /// The text with the place of each node.
    pub source: Source,
}

/// Parses an expression.
///
/// # Errors
/// What is wrong with the text, with line and column.
pub fn parse(text: &str) -> Result<Parsed, Issues> {
    let whole = |message: String| {
        let mut issues = Issues::new(Source::new(text));
        issues.push(Issue { line: 1, column: 0, message });
        issues
    };
    let size = text.chars().count();
    if size > MAX_SIZE {
        return Err(whole(format!(
            "expression code point size exceeds limit: size: {size}, limit {MAX_SIZE}"
        )));
    }
    if text.chars().filter(|c| ".[+-*/%?<>=!(".contains(*c)).count() > MAX_OPERATORS {
        return Err(whole(format!("expression recursion limit exceeded: {MAX_DEPTH}")));
    }
    let owned = text.to_owned();
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || parse_here(&owned));
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(parsed)) => parsed,
        Ok(Err(_)) | Err(_) => Err(whole("the expression could not be parsed".to_owned())),
    }
}

fn parse_here(text: &str) -> Result<Parsed, Issues> {
    let parser = cel::parser::Parser::new()
        .max_recursion_depth(250)
        .enable_optional_syntax(true)
        .enable_ident_escape_syntax(true);
    let mut issues = Issues::new(Source::new(text));
    let (expr, info) = match parser.parse_with_source_info(text) {
        Ok(found) => found,
        Err(errors) => {
            for error in errors.errors {
                let place = |n: isize| usize::try_from(n).unwrap_or_default();
                issues.push(Issue {
                    line: place(error.pos.0).max(1),
                    column: place(error.pos.1).saturating_sub(1),
                    message: error.msg,
                });
            }
            return Err(issues);
        }
    };
    let starts = text.char_indices().map(|(at, _)| at).collect();
    let mut convert = Convert { source: Source::new(text), starts, info, issues };
    if depth(&expr, 0) > MAX_DEPTH {
        let message = format!("expression recursion limit exceeded: {MAX_DEPTH}");
        convert.issues.push(Issue { line: 1, column: 0, message });
        return Err(convert.issues);
    }
    let expr = convert.expr(expr);
    if convert.issues.is_empty() { Ok(Parsed { expr, source: convert.source }) } else { Err(convert.issues) }
}

fn depth(expr: &IdedExpr, above: usize) -> usize {
    let here = above + 1;
    let each = |parts: &mut dyn Iterator<Item = &IdedExpr>| {
        parts.map(|part| depth(part, here)).max().unwrap_or(here)
    };
    match &expr.expr {
        Foreign::Unspecified | Foreign::Ident(_) | Foreign::Literal(_) => here,
        Foreign::Call(call) => each(&mut call.target.iter().map(AsRef::as_ref).chain(&call.args)),
        Foreign::Comprehension(fold) => {
            each(&mut [&fold.iter_range, &fold.accu_init, &fold.loop_step, &fold.result].into_iter())
        }
        Foreign::List(list) => each(&mut list.elements.iter()),
        Foreign::Map(map) => each(&mut map.entries.iter().flat_map(|entry| entry_parts(&entry.expr))),
        Foreign::Select(select) => depth(&select.operand, here),
        Foreign::Struct(of) => each(&mut of.entries.iter().flat_map(|entry| entry_parts(&entry.expr))),
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

struct Convert {
    source: Source,
    /// Where each character starts, in bytes.
    starts: Vec<usize>,
    info: SourceInfo,
    issues: Issues,
}

impl Convert {
    /// A new number for the place of a node of the foreign tree.
    fn number(&mut self, foreign: u64) -> usize {
        let bytes = self.info.offset_for(foreign).map_or(0, |(start, _)| start as usize);
        self.source.place(self.starts.partition_point(|at| *at < bytes))
    }

    fn expr(&mut self, expr: IdedExpr) -> Expr {
        let id = self.number(expr.id);
        let kind = match expr.expr {
            Foreign::Unspecified => Kind::Literal(Literal::Null),
            Foreign::Ident(name) => Kind::Ident(name.trim_start_matches('.').to_owned()),
            Foreign::Literal(literal) => Kind::Literal(self.literal(literal)),
            Foreign::Select(select) => Kind::Select {
                operand: Box::new(self.expr(*select.operand)),
                field: select.field,
                test: select.test,
            },
            Foreign::Call(call) => {
                let target = call.target.map(|target| Box::new(self.expr(*target)));
                let args: Vec<Expr> = call.args.into_iter().map(|arg| self.expr(arg)).collect();
                let function = call.func_name.trim_start_matches('.').to_owned();
                return self.expand(id, function, target, args);
            }
            Foreign::List(list) => Kind::List {
                items: list.elements.into_iter().map(|item| self.expr(item)).collect(),
                optional: list.optional_indices,
            },
            Foreign::Map(map) => Kind::Map(
                map.entries
                    .into_iter()
                    .filter_map(|entry| {
                        let id = self.number(entry.id);
                        let EntryExpr::MapEntry(entry) = entry.expr else { return None };
                        let (key, value) = (self.expr(entry.key), self.expr(entry.value));
                        Some(Entry { id, key, value, optional: entry.optional })
                    })
                    .collect(),
            ),
            Foreign::Struct(of) => Kind::Struct {
                name: of.type_name.trim_start_matches('.').to_owned(),
                fields: of
                    .entries
                    .into_iter()
                    .filter_map(|entry| {
                        let id = self.number(entry.id);
                        let EntryExpr::StructField(field) = entry.expr else { return None };
                        let value = self.expr(field.value);
                        Some(Entry { id, key: field.field, value, optional: field.optional })
                    })
                    .collect(),
            },
            Foreign::Comprehension(fold) => {
                let fold = *fold;
                Kind::Fold(Box::new(Fold {
                    range: self.expr(fold.iter_range),
                    variable: fold.iter_var,
                    second: fold.iter_var2,
                    accumulator: fold.accu_var,
                    init: self.expr(fold.accu_init),
                    condition: self.expr(fold.loop_cond),
                    step: self.expr(fold.loop_step),
                    result: self.expr(fold.result),
                }))
            }
        };
        Expr { id, kind }
    }

    fn literal(&self, literal: LiteralValue) -> Literal {
        match literal {
            LiteralValue::Null => Literal::Null,
            LiteralValue::Boolean(b) => Literal::Bool(b.into_inner()),
            LiteralValue::Int(n) => Literal::Int(n.into_inner()),
            LiteralValue::UInt(n) => Literal::Uint(n.into_inner()),
            LiteralValue::Double(n) => Literal::Double(n.into_inner()),
            LiteralValue::String(text) => Literal::String(text.inner().into()),
            LiteralValue::Bytes(bytes) => Literal::Bytes(bytes.inner().into()),
        }
    }

    /// A call, or what the macro of that name makes of it.
    fn expand(
        &mut self,
        id: usize,
        function: String,
        target: Option<Box<Expr>>,
        mut args: Vec<Expr>,
    ) -> Expr {
        let on_cel = target.as_ref().is_some_and(|t| matches!(&t.kind, Kind::Ident(name) if name == "cel"));
        match (function.as_str(), target, args.len()) {
            ("bind", Some(_), 3) if on_cel => {
                let (body, init) = (args.pop(), args.pop());
                let name = self.simple(args.pop(), "cel.bind() variable names must be simple identifiers");
                match (name, init, body) {
                    (Some(name), Some(init), Some(body)) => self.bind(id, name, init, body),
                    _ => self.literal_at(id, Literal::Null),
                }
            }
            ("optMap" | "optFlatMap", Some(target), 2) => self.optional(id, &function, *target, args),
            ("all" | "exists" | "existsOne" | "exists_one", Some(target), 3)
            | ("transformList" | "transformMap", Some(target), 3 | 4)
            | ("transformMapEntry", Some(target), 3 | 4) => self.two_variables(id, &function, *target, args),
            (_, target, _) => Expr { id, kind: Kind::Call { function, target, args } },
        }
    }

    fn simple(&mut self, expr: Option<Expr>, message: &str) -> Option<String> {
        match expr {
            Some(Expr { kind: Kind::Ident(name), .. }) => Some(name),
            other => {
                let id = other.map_or(0, |expr| expr.id);
                self.issues.at(&self.source, id, message.to_owned());
                None
            }
        }
    }

    /// A new node at the place of another.
    fn node(&mut self, at: usize, kind: Kind) -> Expr {
        Expr { id: self.source.same_place(at), kind }
    }

    fn literal_at(&mut self, at: usize, literal: Literal) -> Expr {
        self.node(at, Kind::Literal(literal))
    }

    fn ident(&mut self, at: usize, name: &str) -> Expr {
        self.node(at, Kind::Ident(name.to_owned()))
    }

    fn call(&mut self, at: usize, function: &str, args: Vec<Expr>) -> Expr {
        self.node(at, Kind::Call { function: function.to_owned(), target: None, args })
    }

    fn bind(&mut self, at: usize, name: String, init: Expr, result: Expr) -> Expr {
        let range = self.node(at, Kind::List { items: Vec::new(), optional: Vec::new() });
        let condition = self.literal_at(at, Literal::Bool(false));
        let step = self.ident(at, &name);
        let fold = Fold {
            range,
            variable: UNUSED.to_owned(),
            second: None,
            accumulator: name,
            init,
            condition,
            step,
            result,
        };
        self.node(at, Kind::Fold(Box::new(fold)))
    }

    fn optional(&mut self, at: usize, function: &str, target: Expr, mut args: Vec<Expr>) -> Expr {
        let body = args.pop();
        let message = format!("{function}() variable name must be a simple identifier");
        let (Some(name), Some(body)) = (self.simple(args.pop(), &message), body) else {
            return self.literal_at(at, Literal::Null);
        };
        // The expansion names its target twice. Only a name may be copied, or chained calls would double the tree.
        let (known, bound) = match target.kind {
            Kind::Ident(known) => (known, None),
            kind => (TARGET.to_owned(), Some(Expr { id: target.id, kind })),
        };
        let member = |this: &mut Self, name: &str| {
            let target = Some(Box::new(this.ident(at, &known)));
            this.node(at, Kind::Call { function: name.to_owned(), target, args: Vec::new() })
        };
        let (has, value) = (member(self, "hasValue"), member(self, "value"));
        let mut some = self.bind(at, name, value, body);
        if function == "optMap" {
            some = self.call(at, "optional.of", vec![some]);
        }
        let none = self.call(at, "optional.none", Vec::new());
        let chosen = self.call(at, "_?_:_", vec![has, some, none]);
        match bound {
            Some(init) => self.bind(at, known, init, chosen),
            None => chosen,
        }
    }

    /// Folds with an index or key and a value.
    fn two_variables(&mut self, at: usize, function: &str, range: Expr, mut args: Vec<Expr>) -> Expr {
        let simple = "argument must be a simple name";
        let body = args.pop();
        let filter = if args.len() == 3 { args.pop() } else { None };
        let second = self.simple(args.pop(), simple);
        let first = self.simple(args.pop(), simple);
        let (Some(first), Some(second), Some(body)) = (first, second, body) else {
            return self.literal_at(at, Literal::Null);
        };
        let accu = self.ident(at, ACCUMULATOR);
        let always = self.literal_at(at, Literal::Bool(true));
        let plain = self.ident(at, ACCUMULATOR);
        let (init, condition, step, result) = match function {
            "all" => {
                let condition = self.call(at, "@not_strictly_false", vec![accu]);
                let carried = self.ident(at, ACCUMULATOR);
                let step = self.call(at, "_&&_", vec![carried, body]);
                (self.literal_at(at, Literal::Bool(true)), condition, step, plain)
            }
            "exists" => {
                let not = self.call(at, "!_", vec![accu]);
                let condition = self.call(at, "@not_strictly_false", vec![not]);
                let carried = self.ident(at, ACCUMULATOR);
                let step = self.call(at, "_||_", vec![carried, body]);
                (self.literal_at(at, Literal::Bool(false)), condition, step, plain)
            }
            "existsOne" | "exists_one" => {
                let one = self.literal_at(at, Literal::Int(1));
                let more = self.call(at, "_+_", vec![accu, one]);
                let same = self.ident(at, ACCUMULATOR);
                let step = self.call(at, "_?_:_", vec![body, more, same]);
                let one = self.literal_at(at, Literal::Int(1));
                let result = self.call(at, "_==_", vec![plain, one]);
                (self.literal_at(at, Literal::Int(0)), always, step, result)
            }
            "transformList" => {
                let item = self.node(at, Kind::List { items: vec![body], optional: Vec::new() });
                let more = self.call(at, "_+_", vec![accu, item]);
                let step = self.filtered(at, filter, more);
                let init = self.node(at, Kind::List { items: Vec::new(), optional: Vec::new() });
                (init, always, step, plain)
            }
            other => {
                let mut args = vec![accu, body];
                if other == "transformMap" {
                    args.insert(1, self.ident(at, &first));
                }
                let more = self.call(at, "cel.@mapInsert", args);
                let step = self.filtered(at, filter, more);
                (self.node(at, Kind::Map(Vec::new())), always, step, plain)
            }
        };
        let accumulator = ACCUMULATOR.to_owned();
        let fold =
            Fold { range, variable: first, second: Some(second), accumulator, init, condition, step, result };
        self.node(at, Kind::Fold(Box::new(fold)))
    }

    fn filtered(&mut self, at: usize, filter: Option<Expr>, step: Expr) -> Expr {
        let Some(filter) = filter else { return step };
        let same = self.ident(at, ACCUMULATOR);
        self.call(at, "_?_:_", vec![filter, step, same])
    }
}

/// The text of a literal string, where the node is one.
pub fn string_literal(expr: &Expr) -> Option<&Arc<str>> {
    match &expr.kind {
        Kind::Literal(Literal::String(text)) => Some(text),
        _ => None,
    }
}
