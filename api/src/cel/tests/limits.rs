//! Small expressions that would be large trees, types or values.
use super::{env, show};
use crate::cel::compile;
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
