//! The Common Expression Language as Kubernetes has it: rules of custom resources, admission policies, match
//! conditions, selectors of devices.
//!
//! An expression is [parsed](parse), [checked](check) against an [`Env`] of declared variables, [estimated](cost) where
//! the API limits what may be written, and made a [`Program`], which is evaluated over documents where they lie
//! ([`value`]). An evaluation is [counted](meter) and ends at its limit. [`schema`] declares what a structural schema
//! describes. The functions are in [`library`].
pub mod access;
pub mod admission;
pub mod ast;
pub mod check;
pub mod cost;
pub mod device;
pub mod eval;
pub mod issue;
pub mod kinds;
pub mod library;
pub mod meter;
pub mod parse;
pub mod schema;
pub mod types;
pub mod value;

pub use check::{Checked, Env};
pub use eval::{Context, EvalError, Program, Variables};
pub use issue::Issues;
pub(crate) use library::url::Url;
pub use types::{Decl, Type};
pub use value::Val;

/// What one evaluation of an expression may cost.
pub const PER_CALL_LIMIT: u64 = 1_000_000;
/// What all expressions of one request and policy, or of one custom resource, may cost.
pub const BUDGET: u64 = 10_000_000;
/// What all match conditions of one policy or webhook may cost.
pub const MATCH_CONDITIONS_BUDGET: u64 = 2_500_000;

/// Parses and checks an expression.
///
/// # Errors
/// What is wrong with it, with line and column.
pub fn compile(env: &Env, text: &str) -> Result<Checked, Issues> {
    check::check(env, parse::parse(text)?)
}

#[cfg(test)]
mod tests;
