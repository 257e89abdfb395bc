//! The evaluator. Everything it does is counted: steps as the original counts them (they decide what rules of an API
//! are accepted), and beside them copied items, so that nothing that the original does lazily runs away here.
mod run;

use super::ast::Kind;
use super::check::Checked;
use super::library::{self, Out};
use super::value::Val;
use regex::Regex;
use run::Run;
use std::collections::HashMap;
use std::fmt::{self, Display, Formatter};
use std::time::{Duration, Instant};

/// The most items and bytes (by sixteen) an evaluation may copy.
const WORK: usize = 20_000_000;
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
        self.charges = self.charges.wrapping_add(1);
        let late = self.charges.is_multiple_of(CLOCK_EVERY) && self.started.elapsed() > TIME;
        if self.cost > self.limit || late { Err(EvalError::exceeded()) } else { Ok(()) }
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
    /// What is wrong with it, or too many were compiled.
    pub fn regex(&mut self, pattern: &str) -> Result<Regex, EvalError> {
        if let Some(known) = self.known.get(pattern).or_else(|| self.made.get(pattern)) {
            return Ok(known.clone());
        }
        self.work(COMPILATION)?;
        let regex = library::compile_regex(pattern).map_err(EvalError::new)?;
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
        let mut context = Context {
            cost: 0,
            limit,
            work: 0,
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
