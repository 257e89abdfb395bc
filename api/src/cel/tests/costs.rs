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
    let rows: [(&str, u64, u64); 15] = [
        ("true", 0, 0),
        ("'x' + string(self.n)", 2 + 1 + 1, 2 + 1 + 5),
        ("self.n", 2, 2),
        ("self.n == 1", 2, 2),
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

/// Worst costs of rules without and with a limit of size, known from the original.
#[test]
fn worst_costs() {
    let list = |item: Value| {
        move |max: Option<u64>| match max {
            Some(max) => json!({"type": "array", "items": item.clone(), "maxItems": max}),
            None => json!({"type": "array", "items": item.clone()}),
        }
    };
    let map = |value: Value| {
        move |max: Option<u64>| match max {
            Some(max) => {
                json!({"type": "object", "additionalProperties": value.clone(), "maxProperties": max})
            }
            None => json!({"type": "object", "additionalProperties": value.clone()}),
        }
    };
    let of = |ty: &str| json!({"type": ty});
    let text = |format: &str| json!({"type": "string", "format": format});
    let string = |max: Option<u64>| match max {
        Some(max) => json!({"type": "string", "maxLength": max}),
        None => json!({"type": "string"}),
    };
    let check = |schema: &dyn Fn(Option<u64>) -> Value, rule: &str, open: u64, max: u64, limited: u64| {
        for (max, wanted) in [(None, open), (Some(max), limited)] {
            let schema = schema(max);
            let (env, decl) = (env(&schema), declared(&schema));
            let got =
                cost::estimate(&compile(&env, rule).unwrap(), &|name| (name == "self").then(|| decl.clone()));
            assert_eq!(got.max, wanted, "{rule} over {schema}");
        }
    };
    let all = "self.all(x, true)";
    check(&list(of("number")), all, 4_718_591, 10, 32);
    check(&list(of("string")), all, 3_145_727, 20, 62);
    check(&list(of("boolean")), all, 1_887_437, 5, 17);
    check(&list(json!({"x-kubernetes-int-or-string": true})), all, 4_718_591, 10, 32);
    check(&list(text("duration")), all, 2_359_295, 5, 17);
    check(&list(text("date")), all, 725_936, 15, 47);
    check(&list(text("date-time")), all, 428_963, 25, 77);
    check(&map(of("number")), all, 1_348_169, 10, 32);
    check(&map(of("boolean")), all, 943_718, 100, 302);
    check(&map(text("duration")), all, 1_048_577, 5, 17);
    check(&list(of("number")), "self[1] == 0.0", 2, 5000, 2);
    check(&list(of("string")), "self[1] == self[1]", 314_577, 8, 314_577);
    check(&list(text("duration")), "self[0].getHours() == 2", 4, 5, 4);
    check(&list(of("number")), "self.all(x, x == 0.0)", 6_291_454, 6_291_456, 25_165_826);
    check(&map(of("number")), "self[\"x\"] == 0.0", 2, 0, 2);
    check(&string, "self.contains('test')", 314_574, 10, 5);
    check(&string, "size(self + \"hello\") > size(\"hello\")", 314_578, 4, 7);
    check(&string, "self.matches(\"x\")", 314_574, 50, 22);
    check(&string, "self.find('[0-9]+') == ''", 629_147, 10, 11);
    check(&string, "self == \"x\"", 2, 0, 1);
    check(&string, "self.lowerAscii() == 'lower!'", 314_575, 10, 6);
    let texts = |max: Option<u64>| match max {
        Some(max) => json!({"type": "array", "maxItems": max, "items": string(Some(max))}),
        None => json!({"type": "array", "items": string(None)}),
    };
    check(&texts, "self.join(' ') == 'aa bb'", 329_853_068_905, 10, 43);
    check(&texts, "self.isSorted() == true", 329_854_432_052, 10, 52);
    let parts = |max: Option<u64>| {
        json!({"type": "object", "properties": {"str": string(max), "separator": string(max),
            "before": string(Some(2)), "after": string(Some(4))}})
    };
    check(&parts, "self.str.replace(self.before, self.after) == 'does not matter'", 629_154, 4, 12);
    check(&parts, "self.str.split(self.separator) == []", 629_160, 10, 22);
    check(&map(text("date-time")), "self[\"a\"] == self[\"b\"]", 8, 7, 8);
    check(&map(text("duration")), "self[\"c\"] == self[\"d\"]", 8, 42, 8);
    let value = |max: Option<u64>| match max {
        Some(max) => json!({"type": "string", "enum": ["A", "LongValue"], "maxLength": max}),
        None => json!({"type": "string", "enum": ["A", "LongValue"]}),
    };
    check(&value, "self.contains('A')", 2, 1000, 401);
}

/// Costs at evaluation, known from the original.
#[test]
fn actual_costs() {
    let text = || json!({"type": "string"});
    let item = || json!({"type": "object", "properties": {"k": text(), "v": text(), "v2": text()}});
    let schema = json!({"type": "object", "properties": {
        "n": {"type": "integer"}, "s": text(), "wait": {"type": "string", "format": "duration"},
        "either": {"x-kubernetes-int-or-string": true},
        "map": {"type": "object", "additionalProperties": {"type": "integer"}},
        "array": {"type": "array", "items": {"type": "integer"}},
        "items": {"type": "array", "items": item()},
    }});
    let object = json!({"n": 5, "s": "Rook takes \u{1f451}", "wait": "1h2m3s4ms", "either": "25%", "map": {"b": 1, "d": 2},
        "array": [1, 1, 2, 2, 3, 3, 4, 5],
        "items": [{"k": "a1", "v": "b1"}, {"k": "a2", "v": "b2"}, {"k": "a3", "v": "b3", "v2": "z"}]});
    let decl = declared(&schema);
    let mut wrong = Vec::new();
    for (text, wanted) in [
        ("type(self.n) == int", 4),
        ("double(5) < 10.0", 1),
        ("double(self.n) < 10.0", 4),
        ("self.s.startsWith('Rook')", 4),
        ("!self.s.startsWith('knight')", 5),
        ("self.s.matches('^[^0-9]*$')", 8),
        ("self.s.indexOf('o') == 1", 4),
        ("self.s.replace(' ', 'x') == 'Rookxtakesx\u{1f451}'", 7),
        ("self.s.split(' ') == ['Rook', 'takes', '\u{1f451}']", 6),
        ("self.s.substring(4, 10).trim() == 'takes'", 6),
        ("self.s in ['Pending', 'Available']", 2),
        ("self.wait == duration('1h2m') + duration('3s4ms')", 4),
        ("type(self.either) == int ? self.either == 1 : self.either == '25%'", 7),
        ("self.map == {'b': 1, 'd': 2}", 3),
        ("self.map.all(k, self.map[k] > 0)", 17),
        ("self.map.exists_one(k, self.map[k] == 2)", 14),
        ("size(self.map.filter(k, self.map[k] > 1)) == 1", 26),
        ("self.items.all(m, m.k.startsWith('a'))", 21),
        ("self.items.all(m, !has(m.v2) || m.v2 == 'z')", 21),
        ("self.items.exists(m, m.k.endsWith('1'))", 13),
        ("!self.items.all(m, m.k.endsWith('1'))", 18),
        ("self.items.map(m, m.v).exists(v, v == 'b1')", 55),
        ("self.items.exists(m, m.v2 == 'z')", 24),
        ("!self.items.all(m, m.v2 != 'z')", 22),
        ("self.array.all(e, e > 0)", 43),
        ("size(self.array.filter(e, e%2 == 0)) == 3", 68),
        ("self.array.map(e, e * 20).filter(e, e > 50).exists(e, e == 60)", 194),
    ] {
        let program = Program::new(compile(&env(&schema), text).unwrap());
        let variables = [("self", Val::json(&object, &decl))];
        let (out, cost) = program.evaluate(&variables, 1_000_000);
        out.unwrap();
        if cost != wanted {
            wrong.push(format!("{text} costs {cost}, wanted {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Regular expressions out of data are compiled each time, at no charge of their own.
#[test]
fn compiling_expressions_does_not_run_away() {
    let schema = json!({"type": "array", "items": {"type": "string"}});
    let patterns: Vec<Value> = (1..5000).map(|n| format!("(a{{1,50}}){{{n}}}").into()).collect();
    let (object, decl) = (Value::from(patterns), declared(&schema));
    let program = Program::new(compile(&env(&schema), "self.all(p, !'b'.matches(p))").unwrap());
    let started = std::time::Instant::now();
    let (out, _) = program.evaluate(&[("self", Val::json(&object, &decl))], 1_000_000);
    assert_eq!(out.unwrap_err().message, COST_EXCEEDED);
    assert!(started.elapsed() < std::time::Duration::from_secs(60));
}
