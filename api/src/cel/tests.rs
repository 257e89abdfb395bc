//! Tables of expressions: what they are, what is wrong with them, and what they cost.
mod costs;
mod evaluation;
mod faults;
mod fuzz;
mod limits;

use super::types::DYN;
use super::{Decl, Env, Program, Val, compile, schema};
use crate::Value;
use std::sync::Arc;

/// An environment with a dynamic `x` and a typed `self`.
fn env(self_schema: &Value) -> Env {
    let decl = schema::declare(self_schema, false, "selfType").expect("a schema that can be declared");
    Env::new([("x".to_owned(), DYN.clone()), ("self".to_owned(), Arc::new(decl))])
}

/// The value of an expression, or its fault, as text.
fn show(text: &str, x: &Value) -> String {
    let env = Env::new([("x".to_owned(), DYN.clone())]);
    let program = match compile(&env, text) {
        Ok(checked) => Program::new(checked),
        Err(issues) => return format!("compile: {issues}"),
    };
    let variables = [("x", Val::dynamic(x))];
    let (out, _) = program.evaluate(&variables, super::PER_CALL_LIMIT);
    match out {
        Ok(value) => value.to_json().map_or_else(|_| value.to_string(), |json| json.to_string()),
        Err(error) => format!("error: {error}"),
    }
}

fn declared(self_schema: &Value) -> Arc<Decl> {
    Arc::new(schema::declare(self_schema, false, "selfType").expect("a schema that can be declared"))
}
