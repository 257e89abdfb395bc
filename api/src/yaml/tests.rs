//! YAML in tables, both directions.
use super::*;
use proptest::prelude::*;
use serde_json::json;

#[track_caller]
fn check(text: &str, expected: &Value) {
    let mut strict = Vec::new();
    assert_eq!(parse(text, &mut strict).unwrap(), *expected);
    assert_eq!(strict, []);
}

#[test]
fn scalars_resolve_as_yaml_1_1() {
    check("[yes, No, on, OFF, y, true, 'yes']", &json!([true, false, true, false, true, true, "yes"]));
    check("[~, null, '', \"null\"]", &json!([null, null, "", "null"]));
    check("[1, -1, 010, 0o10, 0x1F, 0b11, 1_000, +5]", &json!([1, -1, 8, 8, 31, 3, 1000, 5]));
    check(
        "[1.5, 1e3, .5, -2., 1.2.3, 1e, 0x, 12h]",
        &json!([1.5, 1000.0, 0.5, -2.0, "1.2.3", "1e", "0x", "12h"]),
    );
    check(
        "[2001-01-01, 1:20, 18446744073709551615, 09]",
        &json!(["2001-01-01", "1:20", 18_446_744_073_709_551_615u64, 9.0]),
    );
    check("[!!str 1, !!int \"3\", !!binary aGk=]", &json!(["1", 3, "hi"]));
    check("{1: a, true: b, 1.5: c}", &json!({"1": "a", "true": "b", "1.5": "c"}));
}

#[test]
fn structure() {
    check("", &Value::Null);
    check("# only a comment\n", &Value::Null);
    check("# before\na: # beside\n  # within\n- 1 # after\n# end\n", &json!({"a": [1]}));
    check(
        "a: &x {b: 1}\nc: *x\nd:\n  <<: *x\n  b: 2\n  e: 3\n",
        &json!({"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 2, "e": 3}}),
    );
    check("d:\n  <<: [{a: 1}, {a: 2, b: 3}]\n", &json!({"d": {"a": 1, "b": 3}}));
    check("a: |\n  x\n   y\n\nb: >-\n  x\n  y\n", &json!({"a": "x\n y\n", "b": "x y"}));
    check("a:\n- b\n- - c\n", &json!({"a": ["b", ["c"]]}));
    check("{\"a\": [1, {\"b\": null}]}", &json!({"a": [1, {"b": null}]}));
    let documents = parse_all("---\na: 1\n---\n# none\n---\nb: 2\n...\n", &mut Vec::new()).unwrap();
    assert_eq!(documents, [json!({"a": 1}), json!({"b": 2})]);
    assert_eq!(parse("a: 1\n---\n][", &mut Vec::new()).unwrap(), json!({"a": 1}));
}

#[test]
fn faults() {
    let mut strict = Vec::new();
    assert_eq!(parse("a: 1\nb: 2\na: 3\n", &mut strict).unwrap(), json!({"a": 3, "b": 2}));
    assert_eq!(strict[0].to_string(), "yaml: unmarshal errors:\n  line 3: key \"a\" already set in map");
    for text in ["a: [", "a: *x", "[.nan]", "{[a]: 1}", "a: b: c", "<<: 1"] {
        assert!(parse(text, &mut Vec::new()).is_err(), "{text}");
    }
    assert!(parse(&"[".repeat(5000), &mut Vec::new()).is_err());
    // Each line is one level deeper than the line before.
    let chain = |lines: usize| {
        let next = (1..lines).map(|n| format!("a{n}: &a{n} [*a{}]\n", n - 1)).collect::<String>();
        format!("a0: &a0 [x]\n{next}")
    };
    assert!(parse(&chain(100), &mut Vec::new()).is_ok());
    for lines in [130, 1_400] {
        let refused = parse(&chain(lines), &mut Vec::new()).unwrap_err().to_string();
        assert_eq!(refused, "yaml: exceeded max depth");
    }
    // Each line holds the line before nine times.
    let mut bomb = "a0: &a0 [x]\n".to_owned();
    for n in 1..12 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 9].join(", ")));
    }
    assert!(parse(&bomb, &mut Vec::new()).is_err());
}

#[test]
fn emitted_style() {
    let check = |value: &Value, expected: &str| {
        let text = emit(value);
        assert_eq!(text, expected);
        assert_eq!(parse(&text, &mut Vec::new()).unwrap(), *value);
    };
    check(
        &json!({"b": {}, "a": [], "c": null, "d": [{"x": 1, "y": ["z"]}, ["q", ["r"]]]}),
        "a: []\nb: {}\nc: null\nd:\n- x: 1\n  \"y\":\n  - z\n- - q\n  - - r\n",
    );
    check(
        &json!(["a: b", "a #", "#a", "- a", "-a", "'a'", "a'b", "*a", "@a", "a,b", "[a", "a: ", "?a", " a"]),
        "- 'a: b'\n- 'a #'\n- '#a'\n- '- a'\n- -a\n- '''a'''\n- a'b\n- '*a'\n- '@a'\n- a,b\n- '[a'\n- 'a: '\n- ?a\n- ' a'\n",
    );
    check(
        &json!(["", "1", "yes", "null", "1:20", "2001-01-01", "0x1", "1.5", "~", "<<", "n"]),
        "- \"\"\n- \"1\"\n- \"yes\"\n- \"null\"\n- \"1:20\"\n- \"2001-01-01\"\n- \"0x1\"\n- \"1.5\"\n- \"~\"\n- \"<<\"\n- \"n\"\n",
    );
    check(
        &json!({"a": "x\ny\n", "b": "x\n\ny", "c": "x\n\n", "d": "  x\ny\n", "e": "\n", "f": "x \ny", "g": "a\tb", "h": "é\u{1F600}"}),
        "a: |\n  x\n  y\nb: |-\n  x\n\n  y\nc: |+\n  x\n\nd: |2\n    x\n  y\ne: |2+\n\nf: \"x \\ny\"\ng: \"a\\tb\"\nh: \"é\\U0001F600\"\n",
    );
    check(
        &json!({"a10": 1, "a9": 2, "a": 3, "A": 4, "-": 5, "a-b": 6, "ab": 7}),
        "'-': 5\nA: 4\na: 3\na-b: 6\na9: 2\na10: 1\nab: 7\n",
    );
    check(&json!({"k".repeat(130): 1}), &format!("? {}\n: 1\n", "k".repeat(130)));
    check(&json!("x"), "x\n");
    check(&json!([[1], {"a": [1]}]), "- - 1\n- a:\n  - 1\n");
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~\n\t]{0,12}".prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            prop::collection::btree_map("[ -~]{0,6}|\\PC{0,4}", inner, 0..5)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_emitted_reads_back(value in values()) {
        let text = emit(&value);
        prop_assert_eq!(parse(&text, &mut Vec::new()).unwrap(), value, "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[ -~\n]{0,80}|\\PC{0,40}") {
        let _ = parse(&text, &mut Vec::new());
    }
}

/// Texts with faults and what kubectl says of them, whose reader is that of the original's server.
#[test]
fn words_of_faults() {
    let table: Vec<(String, String)> = serde_json::from_str(include_str!("tests/faults.json")).unwrap();
    let told =
        |text: &str| parse(text, &mut Vec::new()).map_or_else(|e| e.to_string(), |v| format!("read: {v}"));
    let different = table.iter().filter(|(text, said)| told(text) != *said);
    let different: Vec<String> =
        different.map(|(text, said)| format!("{text:?}: {}, not {said}", told(text))).collect();
    assert!(different.is_empty(), "{}", different.join("\n"));
}
