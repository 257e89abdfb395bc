//! The evaluator. Everything it does is counted: steps as the original counts them (they decide what rules of an API
//! are accepted), and beside them copied items, so that nothing that the original does lazily runs away here.
mod run;

use super::ast::Kind;
use super::check::Checked;
use super::library::Out;
use super::value::{self, Val};
use crate::re2::Regex;
use run::Run;
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

/// The most items and bytes (by sixteen) an evaluation may copy.
const WORK: usize = 2_000_000;
/// How deep nodes may be evaluated within nodes, those of used variables included: what is safe in a build without
/// optimisation on a stack of 2 MiB.
const MAX_DEPTH: usize = 400;
/// What compiling a regular expression counts as copied items.
const COMPILATION: usize = 20_000;
/// How long an evaluation may take: for what is charged little and takes long, as comparing large documents does.
const TIME: Duration = Duration::from_secs(5);
/// After how many charges the clock is looked at.
const CLOCK_EVERY: u32 = 256;
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
    depth: usize,
    charges: u32,
    started: Instant,
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
        self.go_on()
    }

    /// Counts copied and visited items, which the original does not charge.
    ///
    /// # Errors
    /// More than any sensible expression copies.
    pub fn work(&mut self, items: usize) -> Result<(), EvalError> {
        self.work = self.work.saturating_add(items);
        self.go_on()
    }

    fn go_on(&mut self) -> Result<(), EvalError> {
        self.charges = self.charges.wrapping_add(1);
        let late = self.charges.is_multiple_of(CLOCK_EVERY) && self.started.elapsed() > TIME;
        let spent = self.cost > self.limit || self.work > WORK || late;
        if spent { Err(EvalError::exceeded()) } else { Ok(()) }
    }

    /// Counts copied or read bytes as work.
    ///
    /// # Errors
    /// More than any sensible expression copies.
    pub fn bytes(&mut self, count: usize) -> Result<(), EvalError> {
        self.work(1 + count / 16)
    }

    /// Counts everything in a value as work, as often as it is in it: parts may be shared, so that a value of a few
    /// lists may have more parts than can ever be visited.
    ///
    /// # Errors
    /// More than any sensible expression visits.
    pub fn visit(&mut self, value: &Val<'_>) -> Result<(), EvalError> {
        match value {
            Val::String(text) => self.bytes(text.len()),
            Val::Bytes(bytes) => self.bytes(bytes.len()),
            Val::List(list) => {
                self.work(1)?;
                list.iter().try_for_each(|item| self.visit(&item))
            }
            Val::Map(map) => {
                self.work(1 + map.len())?;
                map.entries().iter().try_for_each(|(key, value)| {
                    self.visit(key)?;
                    self.visit(value)
                })
            }
            Val::Optional(Some(inner)) => {
                self.work(1)?;
                self.visit(inner)
            }
            _ => self.work(1),
        }
    }

    /// `a == b`, counted as work.
    ///
    /// # Errors
    /// More than any sensible expression compares.
    pub fn equal(&mut self, a: &Val<'_>, b: &Val<'_>) -> Result<bool, EvalError> {
        let mut fault = None;
        let same = value::equal(a, b, &mut |count| match self.work(count) {
            Ok(()) => true,
            Err(error) => {
                fault = Some(error);
                false
            }
        });
        fault.map_or(Ok(same), Err)
    }

    /// The index of the first item that is equal to another.
    ///
    /// # Errors
    /// More than any sensible expression compares.
    pub fn position<'a>(
        &mut self,
        items: impl IntoIterator<Item = Val<'a>>,
        wanted: &Val<'a>,
    ) -> Result<Option<usize>, EvalError> {
        for (at, item) in items.into_iter().enumerate() {
            if self.equal(&item, wanted)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// A compiled regular expression.
    ///
    /// # Errors
    /// What is wrong with it, or too many were compiled.
    pub fn regex(&mut self, pattern: &str) -> Result<Regex, EvalError> {
        if let Some(known) = self.known.get(pattern).or_else(|| self.made.get(pattern)) {
            return Ok(known.clone());
        }
        self.work(COMPILATION)?;
        let regex = Regex::new(pattern).map_err(|error| EvalError::new(error.to_string()))?;
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
                    if let Ok(regex) = Regex::new(text) {
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
        let mut context = Context {
            cost: 0,
            limit,
            work: 0,
            depth: 0,
            charges: 0,
            started: Instant::now(),
            known: &self.regexes,
            made: HashMap::new(),
        };
        let out = self.evaluate_in(variables, &mut context);
        (out, context.cost)
    }

    /// Evaluates the expression as a part of another evaluation, on its account.
    ///
    /// # Errors
    /// Why it has no value.
    pub fn evaluate_in<'a>(&'a self, variables: &dyn Variables<'a>, context: &mut Context<'_>) -> Out<'a> {
        Run::new(&self.checked, variables, context).expr(&self.checked.parsed.expr)
    }
}
