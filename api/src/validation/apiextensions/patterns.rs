//! Regular expressions that no schema may have: those that the original cannot compile.
//!
//! Its syntax and the one used here differ in places, so only faults that both find are told; what only one of them
//! refuses passes.
use regex::Regex;

/// What is wrong with an expression, as the original words it.
pub(super) fn fault(pattern: &str) -> Option<String> {
    if has_nested_class(pattern) {
        return None;
    }
    let error = Regex::new(pattern).err()?.to_string();
    let kind = error.lines().last()?.strip_prefix("error: ")?;
    let (fault, part) = match kind {
        "unclosed group" => ("missing closing )", pattern),
        "unopened group" => ("unexpected )", pattern),
        "repetition operator missing expression" => {
            ("missing argument to repetition operator", repetition(marked(pattern, &error)?)?)
        }
        _ if kind.starts_with("look-around") => {
            ("invalid or unsupported Perl syntax", look_ahead(marked(pattern, &error)?)?)
        }
        _ => return None,
    };
    Some(format!("must be a valid regular expression, but isn't: error parsing regexp: {fault}: `{part}`"))
}

/// The rest of the expression from where the error points to.
fn marked<'a>(pattern: &'a str, error: &str) -> Option<&'a str> {
    const INDENT: usize = 4;
    let mut lines = error.lines().skip_while(|line| line.get(INDENT..) != Some(pattern));
    let at = lines.nth(1)?.find('^')?.checked_sub(INDENT)?;
    pattern.char_indices().nth(at).and_then(|(at, _)| pattern.get(at..))
}

fn repetition(rest: &str) -> Option<&str> {
    let long = usize::from(rest[1..].starts_with('?')) + 1;
    rest.starts_with(['*', '+', '?']).then(|| &rest[..long])
}

fn look_ahead(rest: &str) -> Option<&str> {
    ["(?=", "(?!"].into_iter().find(|start| rest.starts_with(start))
}

/// A bracket within brackets begins a class here and stands for itself there.
fn has_nested_class(pattern: &str) -> bool {
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\\' {
            characters.next();
        }
        if character != '[' {
            continue;
        }
        characters.next_if_eq(&'^');
        characters.next_if_eq(&']');
        while let Some(inner) = characters.next() {
            match inner {
                '[' => return true,
                ']' => break,
                '\\' => {
                    characters.next();
                }
                _ => {}
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn faults_that_both_syntaxes_know() {
        for (pattern, expected) in [
            ("(", Some("missing closing ): `(`")),
            ("^a(b|[)]$", Some("missing closing ): `^a(b|[)]$`")),
            ("a)b", Some("unexpected ): `a)b`")),
            ("*a", Some("missing argument to repetition operator: `*`")),
            ("ä|+?b", Some("missing argument to repetition operator: `+?`")),
            ("^(?!a).*$", Some("invalid or unsupported Perl syntax: `(?!`")),
            ("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", None),
            (r"\(", None),
            // Valid there.
            ("[[](a)", None),
            (r"\Q(\E", None),
            // Not told, for it is worded otherwise there.
            ("(?<=a)b", None),
        ] {
            let head = "must be a valid regular expression, but isn't: error parsing regexp: ";
            assert_eq!(fault(pattern), expected.map(|text| format!("{head}{text}")), "{pattern}");
        }
    }
}
