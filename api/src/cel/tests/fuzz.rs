//! No text makes the parser, checker, estimator or evaluator panic or run away. What may run away is counted (nodes,
//! sizes of types, cost) and not timed: the texts are the same each time, and so are the counts.
use super::env;
use crate::cel::{Program, Type, Val, compile, cost};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::json;

/// More nodes than expansion makes of a character.
const NODES_PER_CHARACTER: usize = 40;

const WORDS: [&str; 67] = [
    "x",
    "self",
    "1",
    "0",
    "-",
    "2u",
    "1.5",
    "'a'",
    "\"é\"",
    "b'x'",
    "true",
    "null",
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    ".",
    "?",
    "[?",
    ".?",
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "<",
    "&&",
    "||",
    "!",
    " in ",
    ".all(i, ",
    ".map(i, ",
    ".filter(i, ",
    ".size()",
    "size(",
    "has(",
    "x.l",
    "x.m",
    "self.s",
    "self.l",
    "cel.bind(v, ",
    "cel.bind(v, [v, v], ",
    "cel.bind(v, [1], cel.bind(v, [v, v], cel.bind(v, [v, v], ",
    "{v: v}",
    "[v, v]",
    "v",
    ".optMap(v, ",
    ".optFlatMap(v, ",
    "optional.of(1).optMap(v, v)",
    "i",
    ".transformMap(k, v, ",
    ".format([",
    ".join()",
    ".split('')",
    ".replace('', ",
    "quantity('1')",
    "ip('::1')",
    "duration('1s')",
    "timestamp('2026-01-01T00:00:00Z')",
    "optional.of(",
    ".orValue(",
    "lists.range(999999)",
];

/// Compiles, estimates and evaluates.
fn run(text: &str) {
    let schema = json!({"type": "object", "properties": {
        "s": {"type": "string"}, "l": {"type": "array", "items": {"type": "integer"}}}});
    if let Ok(checked) = compile(&env(&schema), text) {
        let (nodes, length) = (checked.parsed.source.nodes(), text.chars().count());
        assert!(nodes <= NODES_PER_CHARACTER * length, "{text}: {nodes} nodes");
        let largest = checked.types.iter().map(Type::depth).max().unwrap_or_default();
        assert!(largest <= 200, "{text}: a type of depth {largest}");
        cost::estimate(&checked, &|_| None);
        let program = Program::new(checked);
        let (x, own) = (json!({"l": [1, 2, 3], "m": {"a": 1}}), json!({"s": "héé", "l": [0, -1]}));
        let variables = [("x", Val::dynamic(&x)), ("self", Val::dynamic(&own))];
        let (out, cost) = program.evaluate(&variables, 100_000);
        assert!(cost < 10_000_000, "{text}: {cost}");
        drop(out.map(|value| value.to_string()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn words(words in proptest::collection::vec(0..WORDS.len(), 0..24)) {
        let text: String = words.into_iter().map(|at| WORDS[at]).collect();
        run(&text);
    }

    #[test]
    fn characters(text in "\\PC{0,40}") {
        run(&text);
    }
}

#[test]
fn deep_and_long_texts() {
    for text in [
        "(".repeat(5000),
        format!("{}1{}", "(".repeat(90), ")".repeat(90)),
        format!("{}1{}", "[".repeat(3000), "]".repeat(3000)),
        vec!["1"; 3000].join(" + "),
        format!("x{}", ".a".repeat(20_000)),
        format!("x{}", ".a".repeat(4999)),
        vec!["1"; 4999].join("-"),
        vec!["1"; 158].join(" + "),
        (0..38).fold("1".to_owned(), |inner, n| format!("[1].map(v{n}, {inner})")),
        (0..75).fold("1".to_owned(), |inner, _| format!("[{inner}].size()")),
        format!("{}x{}", "x[".repeat(2400), "]".repeat(2400)),
        format!("{}true", "!".repeat(20_000)),
        format!("{}1", "true ? 1 : ".repeat(3000)),
        vec!["x.a == 1"; 500].join(" && "),
        "a".repeat(200_000),
        "x[0]".repeat(2000),
    ] {
        run(&text);
    }
}
