//! Small expressions that would be large trees, types or values.
use super::{env, show};
use crate::cel::admission::{self, Composition, Input, Options};
use crate::cel::eval::COST_EXCEEDED;
use crate::cel::{Program, compile};
use serde_json::json;

/// `cel.bind(v1, first, cel.bind(v2, …))`, each made from the one before; `last` is the innermost body.
fn chain(count: usize, first: &str, next: impl Fn(&str) -> String, last: impl Fn(&str) -> String) -> String {
    let names: Vec<String> = (0..=count).map(|n| format!("v{n}")).collect();
    let mut text = format!("cel.bind({}, {first}, ", names[0]);
    for pair in names.windows(2) {
        text.push_str(&format!("cel.bind({}, {}, ", pair[1], next(&pair[0])));
    }
    text.push_str(&last(&names[count]));
    text.push_str(&")".repeat(count + 1));
    text
}

#[test]
fn chained_optional_maps_grow_linearly() {
    for (call, wanted) in [(".optMap(v, v + 1)", "41"), (".optFlatMap(v, optional.of(v + 1))", "41")] {
        let text = format!("optional.of(1){}.value()", call.repeat(40));
        let checked = compile(&env(&json!({"type": "object"})), &text).unwrap();
        assert!(checked.parsed.source.nodes() < 2000, "{}", checked.parsed.source.nodes());
        assert_eq!(show(&text, &json!(null)), wanted);
    }
    let nested = "optional.of(1).optMap(a, optional.of(2).optMap(b, a + b).value()).value()";
    assert_eq!(show(nested, &json!(null)), "3");
    assert_eq!(show("optional.of(x).optMap(x, x + 1).value()", &json!(4)), "5");
}

#[test]
fn keys_of_maps_have_no_parts() {
    let fault = |text: &str| compile(&env(&json!({"type": "object"})), text).unwrap_err().first().to_owned();
    for (text, wanted) in [
        ("{[1]: 1}", "unsupported map key type: list(int)"),
        ("{{1: 1}: 1}", "unsupported map key type: map(int, int)"),
        ("{optional.of(1): 1}", "unsupported map key type: optional_type(int)"),
        ("{int: 1}", "unsupported map key type: type(int)"),
    ] {
        assert_eq!(fault(text), wanted, "{text}");
    }
    let doubled = chain(35, "{1: 1}", |v| format!("{{{v}: {v}}}"), str::to_owned);
    assert_eq!(fault(&doubled), "unsupported map key type: map(int, int)");
    // The key of an empty map is open, but cannot become a map either.
    assert!(fault("cel.bind(a, {}, a[[1]])").starts_with("found no matching overload for '_[_]'"));
    assert!(fault("cel.bind(a, {}, a[{}])").starts_with("found no matching overload for '_[_]'"));
    assert_eq!(show("cel.bind(a, {}, cel.bind(b, [], {} == {1: 2} ? 1 : a.size()))", &json!(null)), "0");
}

#[test]
fn types_are_not_nested_deeper_than_a_limit() {
    let deep = |each: &str| chain(120, "[1]", |v| each.replace('v', v), str::to_owned);
    assert!(compile(&env(&json!({"type": "object"})), &deep("[v]")).is_ok());
    for each in ["[[v]]", "{1: [v]}", "[optional.of(v)]"] {
        let issues = compile(&env(&json!({"type": "object"})), &deep(each)).unwrap_err();
        assert_eq!(issues.first(), "type nesting limit exceeded: 200", "{each}");
    }
}

/// What an expression without variables evaluates to, or the fault that ends it.
fn evaluate(text: &str) -> String {
    let checked = compile(&env(&json!({"type": "object"})), text).unwrap_or_else(|e| panic!("{text}: {e}"));
    let program = Program::new(checked);
    let (out, cost) = program.evaluate(&[], 10_000_000);
    assert!(cost < 5_000_000, "{text}: {cost}");
    out.map_or_else(|error| error.message, |value| value.to_string())
}

#[test]
fn shared_parts_are_counted_each_time_they_are_visited() {
    for last in [
        "Z == Z",
        "Z != Z",
        "Z in [Z]",
        "[Z].indexOf(Z) == 0",
        "[Z].lastIndexOf(Z) == 0",
        "[Z, Z].distinct().size() == 1",
        "sets.contains([Z], [Z])",
        "sets.equivalent([Z], [Z])",
        "sets.intersects([Z], [Z])",
        "'%s'.format([Z])",
        "{'a': Z} == {'a': Z}",
        "optional.of(Z) == optional.of(Z)",
    ] {
        let text = chain(60, "[1, 1]", |v| format!("[{v}, {v}]"), |v| last.replace('Z', v));
        assert_eq!(evaluate(&text), COST_EXCEEDED, "{last}");
    }
    let small = chain(5, "[1, 1]", |v| format!("[{v}, {v}]"), |v| format!("{v} == {v}"));
    assert_eq!(evaluate(&small), "true");
}

#[test]
fn values_with_too_many_parts_have_no_json() {
    let text = chain(60, "[1, 1]", |v| format!("[{v}, {v}]"), str::to_owned);
    let checked = compile(&env(&json!({"type": "object"})), &text).unwrap();
    let program = Program::new(checked);
    let (out, _) = program.evaluate(&[], 10_000_000);
    assert_eq!(out.unwrap().to_json(), Err("the value is too large".to_owned()));
}

#[test]
fn doubled_values_end_the_evaluation() {
    for (first, last) in [("[1]", "Z.size()"), ("'a'", "Z.size()"), ("b'a'", "Z.size()")] {
        let text = chain(40, first, |v| format!("{v} + {v}"), |v| last.replace('Z', v));
        assert_eq!(evaluate(&text), COST_EXCEEDED, "{first}");
    }
    let replaced = chain(12, "'aaaa'", |v| format!("{v}.replace('', {v})"), |v| format!("{v}.size()"));
    assert_eq!(evaluate(&replaced), COST_EXCEEDED);
}

/// A policy of variables, each of which uses the one before it.
fn used_variables(count: usize, next: &str) -> Result<String, String> {
    let list: Vec<(String, String)> = (0..count)
        .map(|n| {
            (
                format!("v{n}"),
                if n == 0 { "1".to_owned() } else { next.replace('V', &format!("variables.v{}", n - 1)) },
            )
        })
        .collect();
    let (composition, env) = Composition::new(admission::environment(Options::default()), &list);
    let program = admission::compile(&env, &format!("variables.v{}", count - 1), &[])?;
    let request = json!({});
    let input =
        Input { object: None, old: None, request: &request, namespace: None, params: None, authorizer: None };
    let (out, _) = program.evaluate(&composition.over(input), 10_000_000);
    out.map(|value| value.to_string()).map_err(|error| error.message)
}

#[test]
fn variables_do_not_nest_without_limit() {
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let all = || {
        assert_eq!(used_variables(100, "V + 1").as_deref(), Ok("100"));
        for next in
            ["V + 1", "[1].map(i, V)[0]", "[1].all(i, V > 0) ? 1 : 2", "{'a': [V]}.a[0]", "cel.bind(a, V, a)"]
        {
            let deep = used_variables(300, next);
            assert_eq!(deep, Err("evaluation is nested deeper than 400".to_owned()), "{next}");
        }
    };
    thread.spawn(all).unwrap().join().unwrap();
}

#[test]
fn cut_off_and_odd_texts_are_refused() {
    for (text, wanted) in [
        ("isURL('/%')", "false"),
        ("isURL('/%4')", "false"),
        ("isURL('/%zz')", "false"),
        ("isURL('/%41')", "true"),
        ("url('https://a/?q=%+1').getQuery()", "{}"),
        ("url('https://a/?q=%41').getQuery()", "{\"q\":[\"A\"]}"),
        ("isSemver('v1.2.3', true)", "true"),
        ("isSemver('vv1.2.3', true)", "false"),
    ] {
        assert_eq!(show(text, &json!(null)), wanted, "{text}");
    }
}

#[test]
fn places_are_counted_in_characters() {
    let text = format!("'{}' + nope", "é".repeat(3));
    let issues = compile(&env(&json!({"type": "object"})), &text).unwrap_err().to_string();
    assert!(issues.starts_with("ERROR: <input>:1:9: undeclared reference to 'nope'"), "{issues}");
}
