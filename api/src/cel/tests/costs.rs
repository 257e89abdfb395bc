//! What expressions cost, before and while they are evaluated.
use super::{declared, env};
use crate::cel::eval::COST_EXCEEDED;
use crate::cel::{Program, Val, compile, cost};
use serde_json::{Value, json};

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "n": {"type": "integer"},
        "s": {"type": "string", "maxLength": 10},
        "open": {"type": "string"},
        "l": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 10}},
        "many": {"type": "array", "items": {"type": "integer"}},
    }})
}

#[test]
fn estimates_follow_the_schema() {
    let decl = declared(&schema());
    let rows: [(&str, u64, u64); 14] = [
        ("true", 0, 0),
        ("self.n", 2, 2),
        ("self.n == 1", 3, 3),
        ("has(self.n)", 1, 1),
        ("self.s == 'abc'", 3, 3),
        ("self.s == self.s", 5, 8),
        ("self.n > 1 && self.n < 5", 3, 6),
        ("self.n > 1 ? 1 : self.n", 3, 5),
        ("self.l.all(e, e == 'a')", 3, 2 + 5 * (1 + 1 + 1 + 1 + 1) + 1),
        ("self.l.size()", 3, 3),
        ("self.s.startsWith('ab')", 3, 3),
        ("self.s.contains('ab')", 2, 2 + 4),
        ("[1, 2]", 10, 10),
        ("self.s + 'ab'", 3, 2 + 5),
    ];
    let mut wrong = Vec::new();
    for (text, min, max) in rows {
        let checked = compile(&env(&schema()), text).unwrap();
        let got = cost::estimate(&checked, &|name| (name == "self").then(|| decl.clone()));
        if (got.min, got.max) != (min, max) {
            wrong.push(format!("{text}: {got:?}, wanted {min} to {max}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_is_not_limited_is_expensive() {
    let decl = declared(&schema());
    let checked = compile(&env(&schema()), "self.many.all(a, self.many.all(b, a == b))").unwrap();
    let got = cost::estimate(&checked, &|name| (name == "self").then(|| decl.clone()));
    assert!(got.max > 1_000_000_000_000, "{got:?}");
}

#[test]
fn an_evaluation_ends_at_its_limit() {
    let object = json!({"many": (0..2000).collect::<Vec<i32>>()});
    let decl = declared(&schema());
    let checked = compile(&env(&schema()), "self.many.all(a, self.many.all(b, a + b >= 0))").unwrap();
    let program = Program::new(checked);
    let variables = [("self", Val::json(&object, &decl))];
    let (out, cost) = program.evaluate(&variables, 1_000_000);
    assert_eq!(out.unwrap_err().message, COST_EXCEEDED);
    assert!((1_000_000..1_001_000).contains(&cost), "{cost}");
}

#[test]
fn lists_that_double_do_not_run_away() {
    let mut text = "[1, 2, 3]".to_owned();
    for _ in 0..40 {
        text = format!("cel.bind(a, {text}, a + a)");
    }
    let program = Program::new(compile(&env(&schema()), &text).unwrap());
    let (out, _) = program.evaluate(&[], 1_000_000);
    assert_eq!(out.unwrap_err().message, COST_EXCEEDED);
}

#[test]
fn costs_at_evaluation() {
    let object = json!({"n": 1, "s": "abcdefghij", "l": ["a", "b"]});
    let decl = declared(&schema());
    for (text, wanted) in [
        ("self.n == 1", 3),
        ("self.s == 'abcdefghijk'", 3),
        ("self.s + self.s == ''", 4 + 2),
        ("self.l.all(e, e == 'a')", 2 + 4 + 5 + 2),
        ("self.s.matches('a+b')", 2 + 2),
    ] {
        let program = Program::new(compile(&env(&schema()), text).unwrap());
        let variables = [("self", Val::json(&object, &decl))];
        let (out, cost) = program.evaluate(&variables, 1_000_000);
        out.unwrap();
        assert_eq!(cost, wanted, "{text}");
    }
}
