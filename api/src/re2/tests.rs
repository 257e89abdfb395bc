use super::Regex;

fn fault(pattern: &str) -> String {
    let error = Regex::new(pattern).expect_err(pattern).to_string();
    error.strip_prefix("error parsing regexp: ").expect(pattern).to_owned()
}

#[test]
fn what_matches() {
    for (pattern, matching, other) in [
        (r"^\d+$", "12", "\u{661}\u{662}"),
        (r"^\w+$", "a_1", "é"),
        (r"^\S+$", "\u{a0}", "a b"),
        (r"^\s$", "\u{c}", "\u{b}"),
        (r"^[[]$", "[", "]"),
        (r"^[^[]+$", "a]", "["),
        (r"^[a-z[\]]+$", "a[]", "A"),
        (r"^[]a]+$", "]a", "["),
        (r"^[^]a]+$", "b", "]"),
        (r"^{.*}$", "{a}", "a"),
        (r"^x{a}$", "x{a}", "xa"),
        (r"^a{,3}$", "a{,3}", "aa"),
        (r"^a{2,3}$", "aa", "a"),
        (r"^a{02}$", "a{02}", "aa"),
        (r"^\Qa.b\E$", "a.b", "axb"),
        (r"^\Qa.b", "a.b", "axb"),
        (r"^[\<\>]+$", "<>", "a"),
        (r"^\<a\>$", "<a>", "a"),
        (r"^\101$", "A", "a"),
        (r"^\x41\x{42}$", "AB", "ab"),
        (r"^[&&a]+$", "&a", "b"),
        (r"^[!--]+$", "!,-", "."),
        (r"^[~~]$", "~", "a"),
        (r"^[a-z&&[^b]]+$", "&]]", "&b]"),
        (r"^[[:alpha:]-]+$", "a-", "1"),
        (r"^[[:^alpha:]]$", "1", "a"),
        (r"^[a-]+$", "a-", "b"),
        (r"^\pL\p{Greek}\P{Greek}\p{^Greek}$", "äαaa", "1αaa"),
        (r"^\p{Lu}$", "Ä", "ä"),
        (r"^(?i)straße$", "STRAßE", "strasse"),
        (r"^(?i:a)b$", "Ab", "AB"),
        (r"(?i)^[^x]$", "a", "X"),
        (r"(?s)^.$", "\n", ""),
        (r"^.$", "a", "\n"),
        (r"(?m)^b$", "a\nb", "ab"),
        (r"^b$", "b", "a\nb"),
        (r"\bé", "aé", "éé"),
        (r"^(?P<n>a)(?<m>b)$", "ab", "a"),
        (r"^(?:|a)$", "", "b"),
        (r"^[\w][\w.-]{0,127}$", "v1.2-3", "-v"),
        (r"^[\p{L}\p{N}_]{1,1000}$", "äß_1", "-"),
        (r"^(?U)a+?$", "aa", "b"),
        (r"^\_\-\%$", "_-%", "a"),
        (r"\A\z", "", "a"),
    ] {
        let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
        assert!(regex.is_match(matching), "{pattern} does not match {matching:?}");
        assert!(!regex.is_match(other), "{pattern} matches {other:?}");
    }
}

#[test]
fn where_it_is_found() {
    let regex = Regex::new(r"a+?|(?U)b+").unwrap();
    let text = "éaabb";
    let all: Vec<&str> = regex.find_iter(text).map(|found| &text[found]).collect();
    assert_eq!(all, ["a", "a", "b", "b"]);
    // Places that are no words' bounds lie between characters.
    let places: Vec<usize> = Regex::new(r"\B").unwrap().find_iter("éé").map(|found| found.start).collect();
    assert_eq!(places, [0, 2, 4]);
}

#[test]
fn what_is_refused() {
    for (pattern, expected) in [
        ("(", "missing closing ): `(`"),
        ("^a(b|[)]$", "missing closing ): `^a(b|[)]$`"),
        ("a)b", "unexpected ): `a)b`"),
        ("*a", "missing argument to repetition operator: `*`"),
        ("ä|+?b", "missing argument to repetition operator: `+?`"),
        ("(?i)(?s)*", "missing argument to repetition operator: `*`"),
        ("a**", "invalid nested repetition operator: `**`"),
        ("a*??", "invalid nested repetition operator: `*??`"),
        ("a{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
        ("a{1001}", "invalid repeat count: `{1001}`"),
        ("a{2,1}", "invalid repeat count: `{2,1}`"),
        ("a{99999999999}", "invalid repeat count: `{99999999999}`"),
        ("(a{100}){11}", "invalid repeat count: `{11}`"),
        ("[z-a]", "invalid character class range: `z-a`"),
        ("[a", "missing closing ]: `[a`"),
        ("x[", "missing closing ]: `[`"),
        (r"[a\", "trailing backslash at end of expression: ``"),
        (r"\", "trailing backslash at end of expression: ``"),
        (r"\8", r"invalid escape sequence: `\8`"),
        (r"\1", r"invalid escape sequence: `\1`"),
        (r"\u0041", r"invalid escape sequence: `\u`"),
        (r"\h", r"invalid escape sequence: `\h`"),
        (r"\é", r"invalid escape sequence: `\é`"),
        (r"\C", r"invalid escape sequence: `\C`"),
        (r"[\b]", r"invalid escape sequence: `\b`"),
        (r"\xg1", r"invalid escape sequence: `\xg1`"),
        (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
        (r"\p{Alphabetic}", r"invalid character class range: `\p{Alphabetic}`"),
        (r"\p{Greek", r"invalid character class range: `\p{Greek`"),
        ("[[:word", "missing closing ]: `[[:word`"),
        ("[[:words:]]", "invalid character class range: `[:words:]`"),
        ("[a--b]", "invalid character class range: `a--`"),
        ("(?x) a", "invalid or unsupported Perl syntax: `(?x`"),
        ("^(?!a).*$", "invalid or unsupported Perl syntax: `(?!`"),
        ("(?-)", "invalid or unsupported Perl syntax: `(?-)`"),
        ("(?i--s:a)", "invalid or unsupported Perl syntax: `(?i--`"),
        ("(?<=a)b", "invalid named capture: `(?<=a)b`"),
        ("(?P<x y>a)", "invalid named capture: `(?P<x y>`"),
        ("(?i", "invalid or unsupported Perl syntax: `(?i`"),
    ] {
        assert_eq!(fault(pattern), expected, "{pattern}");
    }
    let deep = "(".repeat(1001) + &")".repeat(1001);
    assert!(fault(&deep).starts_with("expression nests too deeply: "));
    assert!(Regex::new(&("(".repeat(1000) + "a" + &")".repeat(1000))).is_ok());
}
