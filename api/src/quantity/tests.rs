//! Amounts as they are read, printed and reckoned with.

use super::*;
use proptest::prelude::*;

fn check(input: &str, expected: &str) {
    assert_eq!(canonical(input).as_deref(), Ok(expected), "{input}");
    assert_eq!(canonical(expected).as_deref(), Ok(expected), "canonical form of {input} is not stable");
}

#[test]
fn canonical_forms() {
    for (input, expected) in [
        ("0", "0"),
        ("0.0", "0"),
        ("-0", "0"),
        ("+", "0"),
        ("0Ki", "0"),
        ("1", "1"),
        ("+1", "1"),
        ("-1", "-1"),
        ("1.5", "1500m"),
        ("0.1", "100m"),
        (".5", "500m"),
        ("1.", "1"),
        ("1.G", "1G"),
        ("1000m", "1"),
        ("1500m", "1500m"),
        ("1000", "1k"),
        ("1024", "1024"),
        ("100000", "100k"),
        ("1000M", "1G"),
        ("1Ki", "1Ki"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("1000Ki", "1000Ki"),
        ("0.5Ki", "512"),
        (".001Ki", "1024m"),
        (".000001Ki", "1024u"),
        (".000000001Ki", "1024n"),
        (".000000000001Ki", "2n"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("-0.1n", "-1n"),
        ("1.1n", "2n"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("10e2", "1e3"),
        ("1e4", "10e3"),
        ("100e-3", "100e-3"),
        ("1e0", "1"),
        ("12e-1", "1200e-3"),
        ("1E", "1E"),
        ("8Ei", "9223372036854775807"),
        ("100Ei", "9223372036854775807"),
        ("123456789012345678901234567890", "9223372036854775807"),
        ("0.000000000000000000000000001", "1n"),
        ("1e-30", "1e-9"),
        ("7Ei", "7Ei"),
        ("10E", "9223372036854775807"),
        ("100000000000000001E2", "9223372036854775807"),
        ("0001", "1"),
    ] {
        check(input, expected);
    }
}

#[test]
fn refused_texts() {
    for (input, expected) in [
        ("", ParseError::Format),
        ("a", ParseError::Format),
        ("1.1.1", ParseError::Format),
        ("1 ", ParseError::Format),
        ("1Kib", ParseError::Format),
        ("1K", ParseError::Suffix),
        ("1e", ParseError::Suffix),
        ("1Mb", ParseError::Format),
        ("1ki", ParseError::Suffix),
        ("1m5", ParseError::Suffix),
        ("--1", ParseError::Suffix),
        ("1é", ParseError::Format),
    ] {
        assert_eq!(canonical(input), Err(expected), "{input}");
    }
}

#[test]
fn arithmetic_and_rounding() {
    let q = |text: &str| text.parse::<Quantity>().expect("a quantity");
    assert_eq!((q("500m") + q("1")).to_string(), "1500m");
    assert_eq!((q("0") + q("1Gi")).to_string(), "1Gi");
    assert_eq!((q("1Gi") - q("1Mi")).to_string(), "1023Mi");
    assert_eq!((q("1Gi") - q("2Gi")).to_string(), "-1Gi");
    assert_eq!(q("1u").round_up_to_milli().to_string(), "1m");
    assert_eq!(q("100.0001").milli_value(), 100_001);
    assert_eq!(q("1.1").value(), 2);
    assert_eq!(q("-1.1").value(), -2);
    assert_eq!(q("1Ki").cmp(&q("1024")), Ordering::Equal);
    assert_eq!(q("1k").cmp(&q("1Ki")), Ordering::Less);
}

/// A quantity text and the same number in units of 10^-27, for comparison by plain integers.
fn texts() -> impl Strategy<Value = (String, i128)> {
    let suffixes = prop_oneof![
        Just(("m", 1_i128, 1000_i128)),
        Just(("", 1, 1)),
        Just(("k", 1000, 1)),
        Just(("M", 1_000_000, 1)),
        Just(("Ki", 1024, 1)),
        Just(("Mi", 1 << 20, 1)),
        Just(("e3", 1000, 1)),
        Just(("E-3", 1, 1000)),
    ];
    (-1_000_000_i64..1_000_000, 0_u32..1000, suffixes).prop_map(|(whole, thousandths, (suffix, up, down))| {
        let sign = if whole < 0 { -1 } else { 1 };
        let number = i128::from(whole) * 1000 + sign * i128::from(thousandths);
        (format!("{whole}.{thousandths:03}{suffix}"), number * up * 1_000_000 / down)
    })
}

proptest! {
    #[test]
    fn never_panics(text in "\\PC{0,24}") {
        let _ = canonical(&text);
    }

    #[test]
    fn number_like_texts_are_idempotent(text in "[+-]?[0-9]{0,32}(\\.[0-9]{0,32})?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,3})?") {
        if let Ok(once) = canonical(&text) {
            prop_assert_eq!(canonical(&once), Ok(once));
        }
    }

    #[test]
    fn order_is_that_of_the_numbers((a, exact_a) in texts(), (b, exact_b) in texts()) {
        let (qa, qb): (Quantity, Quantity) = (a.parse().expect("a"), b.parse().expect("b"));
        prop_assert_eq!(qa.cmp(&qb), exact_a.cmp(&exact_b));
        prop_assert_eq!((qa + qb).nanos(), exact_a + exact_b);
        prop_assert_eq!((qa - qb).nanos(), exact_a - exact_b);
    }
}
