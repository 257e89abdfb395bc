//! Formats of names, labels, keys and ports. Every check returns what is wrong, in the original's words; an
//! empty list means the text is good.
//!
//! Sources: RFC 1035, RFC 1123; "Object Names and IDs" and "Labels and Selectors" of the Kubernetes
//! documentation. Lengths count bytes.

const SUBDOMAIN: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";

/// Longest DNS label.
pub const LABEL_MAX: usize = 63;
/// Longest DNS subdomain.
pub const SUBDOMAIN_MAX: usize = 253;

/// `must be no more than N bytes`.
pub fn max_len(limit: usize) -> String {
    format!("must be no more than {limit} bytes")
}

/// `must be between A and B, inclusive`.
pub fn in_range(low: i64, high: i64) -> String {
    format!("must be between {low} and {high}, inclusive")
}

/// A rule, its examples and its pattern in one sentence.
pub fn rule(text: &str, pattern: &str, examples: &[&str]) -> String {
    if examples.is_empty() {
        return format!("{text} (regex used for validation is '{pattern}')");
    }
    let examples = examples.iter().map(|e| format!("'{e}', ")).collect::<Vec<_>>().join(" or ");
    format!("{text} (e.g. {examples}regex used for validation is '{pattern}')")
}

/// Puts `prefix` before each message.
pub fn prefix_each(messages: Vec<String>, prefix: &str) -> Vec<String> {
    messages.into_iter().map(|m| format!("{prefix}{m}")).collect()
}

fn alnum_lower(b: u8) -> bool {
    b.is_ascii_lowercase() || b.is_ascii_digit()
}

/// Non-empty; first and last byte satisfy `ends`, the others `inner`.
fn shaped(text: &str, ends: fn(u8) -> bool, inner: fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    match (bytes.first(), bytes.last()) {
        (Some(first), Some(last)) => ends(*first) && ends(*last) && bytes.iter().all(|b| inner(*b)),
        _ => false,
    }
}

fn is_label(text: &str) -> bool {
    shaped(text, alnum_lower, |b| alnum_lower(b) || b == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_name_part(text: &str) -> bool {
    shaped(text, |b| b.is_ascii_alphanumeric(), |b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// DNS label (RFC 1123): `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63.
pub fn dns_label(text: &str) -> Vec<String> {
    let mut errors = too_long(text, LABEL_MAX);
    if !is_label(text) {
        errors.push(if is_subdomain(text) {
            "must not contain dots".to_owned()
        } else {
            rule(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character",
                "[a-z0-9]([-a-z0-9]*[a-z0-9])?",
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// DNS subdomain (RFC 1123): labels joined by dots, at most 253 in all.
pub fn dns_subdomain(text: &str) -> Vec<String> {
    let mut errors = too_long(text, SUBDOMAIN_MAX);
    if !is_subdomain(text) {
        errors.push(rule(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character",
            SUBDOMAIN,
            &["example.com"],
        ));
    }
    errors
}

/// `*.` and a DNS subdomain.
pub fn wildcard_subdomain(text: &str) -> Vec<String> {
    let mut errors = too_long(text, SUBDOMAIN_MAX);
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        errors.push(rule(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
             consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{SUBDOMAIN}"),
            &["*.example.com"],
        ));
    }
    errors
}

/// DNS label (RFC 1035): `[a-z]([-a-z0-9]*[a-z0-9])?`, at most 63.
pub fn dns1035_label(text: &str) -> Vec<String> {
    let mut errors = too_long(text, LABEL_MAX);
    if !is_label(text) || !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        errors.push(rule(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// A name with an optional DNS subdomain and `/` before it: label keys, finalizers, taint keys.
pub fn qualified_name(text: &str) -> Vec<String> {
    let format = || {
        rule(
            "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric \
             character",
            "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]",
            &["MyName", "my.name", "123-abc"],
        )
    };
    let mut errors = Vec::new();
    let mut parts = text.split('/');
    let name = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, _) => name,
        (Some(prefix), Some(name), None) => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(prefix_each(dns_subdomain(prefix), "prefix part "));
            }
            name
        }
        _ => {
            let tail = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a qualified name {} {tail}", format())];
        }
    };
    if name.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else {
        errors.extend(prefix_each(too_long(name, LABEL_MAX), "name part "));
    }
    if !is_name_part(name) {
        errors.push(format!("name part {}", format()));
    }
    errors
}

/// Empty, or at most 63 of alphanumerics, `-`, `_`, `.` between alphanumerics.
pub fn label_value(text: &str) -> Vec<String> {
    let mut errors = too_long(text, LABEL_MAX);
    if !text.is_empty() && !is_name_part(text) {
        errors.push(rule(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// A part of a URL path: not `.` or `..`, without `/` and `%`.
pub fn path_segment(text: &str) -> Vec<String> {
    if let Some(name) = [".", ".."].into_iter().find(|n| *n == text) {
        return vec![format!("may not be '{name}'")];
    }
    path_segment_prefix(text)
}

/// The beginning of a part of a URL path: without `/` and `%`.
pub fn path_segment_prefix(text: &str) -> Vec<String> {
    let illegal = ['/', '%'].into_iter().filter(|c| text.contains(*c));
    illegal.map(|c| format!("may not contain '{c}'")).collect()
}

/// `domain/path`, not empty: what is wrong, each with the part that is.
pub fn domain_prefixed_path(text: &str) -> Vec<(&str, String)> {
    let Some((host, path)) = text.split_once('/').filter(|(host, path)| !host.is_empty() && !path.is_empty())
    else {
        return vec![(text, "must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned())];
    };
    let mut faults: Vec<_> = dns_subdomain(host).into_iter().map(|fault| (host, fault)).collect();
    let good = |b: u8| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b);
    if !path.bytes().all(good) {
        faults.push((path, rule("Invalid path", "[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+", &[])));
    }
    faults
}

/// A port number as text: 1 to 65535.
pub fn port_number(number: i64) -> Vec<String> {
    if (1..=65535).contains(&number) { Vec::new() } else { vec![in_range(1, 65535)] }
}

/// A port name (RFC 6335): at most 15 of `[-a-z0-9]`, with a letter, no `--`, no `-` at the ends.
pub fn port_name(text: &str) -> Vec<String> {
    let mut errors = too_long(text, 15);
    if text.is_empty() || !text.bytes().all(|b| alnum_lower(b) || b == b'-') {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !text.bytes().any(|b| b.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if text.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if text.starts_with('-') || text.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// An environment variable name: printable ASCII without `=`.
pub fn env_var_name(text: &str) -> Vec<String> {
    if text.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .to_owned(),
    ]
}

/// A key of a ConfigMap or Secret: `[-._a-zA-Z0-9]+`, at most 253, usable as a file name.
pub fn config_map_key(text: &str) -> Vec<String> {
    let mut errors = too_long(text, SUBDOMAIN_MAX);
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        errors.push(rule(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." => errors.push("must not be '.'".to_owned()),
        ".." => errors.push("must not be '..'".to_owned()),
        _ if text.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

/// A percentage: `[0-9]+%`.
pub fn percent(text: &str) -> Vec<String> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Vec::new();
    }
    vec![rule(
        "a valid percent string must be a numeric string followed by an ending '%'",
        "[0-9]+%",
        &["1%", "93%"],
    )]
}

/// An HTTP header name: `[-A-Za-z0-9]+`.
pub fn http_header_name(text: &str) -> Vec<String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Vec::new();
    }
    vec![rule(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// A C identifier: `[A-Za-z_][A-Za-z0-9_]*`.
pub fn c_identifier(text: &str) -> Vec<String> {
    let good = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if good {
        return Vec::new();
    }
    vec![rule(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
         characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// A user or group id: 0 to 2147483647.
pub fn id(number: i64) -> Vec<String> {
    if (0..=i64::from(i32::MAX)).contains(&number) { Vec::new() } else { vec![in_range(0, i32::MAX.into())] }
}

/// The prefix of `generateName` as its format checks it: a trailing hyphen and what is before it give way to a
/// letter, since more will follow.
pub fn mask_trailing_dash(text: &str) -> String {
    let mut head = text.strip_suffix('-').unwrap_or_default().chars();
    match head.next_back() {
        Some(_) => format!("{}a", head.as_str()),
        None => text.to_owned(),
    }
}

fn too_long(text: &str, limit: usize) -> Vec<String> {
    if text.len() > limit { vec![max_len(limit)] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Check = fn(&str) -> Vec<String>;

    #[test]
    fn good_and_bad_names() {
        let table: [(Check, &[&str], &[&str]); 11] = [
            (dns_label, &["a", "1", "a-b", "0-0"], &["", "-a", "a-", "A", "a.b", "a_b", "é"]),
            (dns_subdomain, &["a", "a.b", "1.2"], &["", ".", "a.", ".a", "a..b", "A.b"]),
            (dns1035_label, &["a", "a-1"], &["", "1a", "a-", "a.b"]),
            (qualified_name, &["a", "A_b.c", "x.io/a"], &["", "/a", "a/", "a/b/c", "-a", "X/a", "a/-"]),
            (label_value, &["", "a", "A_b.c-d"], &["-", "a-", "a b", "é"]),
            (path_segment, &["a", "a:b", "system:node", ""], &[".", "..", "a/b", "a%b"]),
            (port_name, &["http", "a1", "1a"], &["", "1", "A", "a--b", "-a", "a-", "abcdefghijklmnop"]),
            (env_var_name, &["A", "a.b", "1", "a b"], &["", "a=b", "é", "\n"]),
            (config_map_key, &["a", ".a", "a.b", "A-_"], &["", ".", "..", "..a", "a/b"]),
            (percent, &["1%", "100%"], &["", "%", "1", "-1%", "1.5%"]),
            (wildcard_subdomain, &["*.a.b", "*.a"], &["*", "a.b", "*.*.a", "*."]),
        ];
        for (at, (check, good, bad)) in table.into_iter().enumerate() {
            for text in good {
                assert_eq!(check(text), Vec::<String>::new(), "row {at}: {text}");
            }
            for text in bad {
                assert_ne!(check(text), Vec::<String>::new(), "row {at}: {text}");
            }
        }
    }

    #[test]
    fn texts() {
        assert_eq!(
            dns_label("A"),
            [
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
              and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
              '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ]
        );
        assert_eq!(dns_label("a.b"), ["must not contain dots"]);
        assert_eq!(dns_label(&"a".repeat(64)), ["must be no more than 63 bytes"]);
        assert_eq!(
            qualified_name("/"),
            [
                "prefix part must be non-empty",
                "name part must be non-empty",
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                 alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                 '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ]
        );
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            for check in [dns_label, dns_subdomain, qualified_name, label_value, port_name, config_map_key] {
                check(&text);
            }
            mask_trailing_dash(&text);
        }
    }
}
