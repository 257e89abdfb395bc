//! What is wrong with expressions, as the original words it.
use super::env;
use crate::cel::compile;
use serde_json::json;

#[test]
fn faults_have_places() {
    let schema = json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "s": {"type": "string"}, "l": {"type": "array", "items": {"type": "string"}}}});
    let rows = [
        ("nope", "ERROR: <input>:1:1: undeclared reference to 'nope' (in container '')\n | nope\n | ^"),
        (
            "1 == nope.a",
            "ERROR: <input>:1:6: undeclared reference to 'nope' (in container '')\n | 1 == nope.a\n | .....^",
        ),
        ("self.nope", "ERROR: <input>:1:5: undefined field 'nope'\n | self.nope\n | ....^"),
        (
            "self.n.a",
            "ERROR: <input>:1:7: type 'int' does not support field selection\n | self.n.a\n | ......^",
        ),
        (
            "self.n + self.s",
            "ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(int, string)'\n | self.n + self.s\n | .......^",
        ),
        (
            "self.n.contains('a')",
            "ERROR: <input>:1:16: found no matching overload for 'contains' applied to 'int.(string)'\n | self.n.contains('a')\n | ...............^",
        ),
        (
            "nope(1)",
            "ERROR: <input>:1:5: undeclared reference to 'nope' (in container '')\n | nope(1)\n | ....^",
        ),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'\n | [1, 'a']\n | ....^"),
        (
            "self.s.all(c, true)",
            "ERROR: <input>:1:5: expression of type 'string' cannot be range of a comprehension (must be list, map, or dynamic)\n | self.s.all(c, true)\n | ....^",
        ),
        (
            "self.l.all(c, 1)",
            "ERROR: <input>:1:11: found no matching overload for '_&&_' applied to '(bool, int)'\n | self.l.all(c, 1)\n | ..........^",
        ),
        ("true &&\n  self.x", "ERROR: <input>:2:7: undefined field 'x'\n |   self.x\n | ......^"),
        (
            "'é' + nope",
            "ERROR: <input>:1:7: undeclared reference to 'nope' (in container '')\n | 'é' + nope\n | .．....^",
        ),
        (
            "Object{}",
            "ERROR: <input>:1:7: undeclared reference to 'Object' (in container '')\n | Object{}\n | ......^",
        ),
        (
            "duration('x') == duration('1s')",
            "ERROR: <input>:1:10: invalid duration argument\n | duration('x') == duration('1s')\n | .........^",
        ),
        (
            "'a'.matches('[')",
            "ERROR: <input>:1:13: invalid matches argument\n | 'a'.matches('[')\n | ............^",
        ),
        ("has(self)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(self)\n | ....^"),
        (
            "self.l.all(c + 1, true)",
            "ERROR: <input>:1:14: argument must be a simple name\n | self.l.all(c + 1, true)\n | .............^",
        ),
        ("if", "ERROR: <input>:1:1: reserved identifier: if\n | if\n | ^"),
    ];
    let mut wrong = Vec::new();
    for (text, wanted) in rows {
        let got =
            compile(&env(&schema), text).map_or_else(|issues| issues.to_string(), |_| "nothing".to_owned());
        if got != wanted {
            wrong.push(format!("{text}\n   gives {got}\n  wanted {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn syntax_errors_are_the_grammars() {
    let got = compile(&env(&json!({"type": "object"})), "1 +").unwrap_err().to_string();
    assert!(
        got.starts_with("ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {"),
        "{got}"
    );
    let got = compile(&env(&json!({"type": "object"})), "a = 1").unwrap_err().to_string();
    assert!(got.contains("Syntax error: token recognition error at: '= '"), "{got}");
}

#[test]
fn types_of_expressions() {
    let schema = json!({"type": "object", "properties": {
        "l": {"type": "array", "items": {"type": "string"}}, "m": {"type": "object", "additionalProperties": {"type": "integer"}}}});
    for (text, wanted) in [
        ("self.l.map(s, s.size())", "list(int)"),
        ("self.m['a']", "int"),
        ("self.?m['a']", "optional_type(int)"),
        ("self.l[?0].orValue('')", "string"),
        ("{'a': [1]}", "map(string, list(int))"),
        ("[]", "list(dyn)"),
        ("self.l.size() > 0 ? self.l[0] : ''", "string"),
        ("optional.none()", "optional_type(dyn)"),
        ("x.a.b", "dyn"),
        ("self.m.transformMap(k, v, string(v))", "map(string, string)"),
        ("cel.bind(a, self.l, a[0])", "string"),
        ("string", "type(string)"),
    ] {
        let checked = compile(&env(&schema), text).unwrap_or_else(|issues| panic!("{text}: {issues}"));
        assert_eq!(checked.result().to_string(), wanted, "{text}");
    }
}
