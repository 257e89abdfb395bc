//! Files of variables that containers take from a volume: `NAME='value'`, a subset of what a POSIX shell reads.
//!
//! Values stand in single quotes and may have several lines; after them only a comment may follow. Source: KEP-3721.

/// The value of a key in a file's text; `None` if it is not there.
pub fn value(text: &str, key: &str) -> Result<Option<String>, String> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    let wrong = |line: usize, why: &str| format!("invalid environment variable format at line {line}: {why}");
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start_matches([' ', '\t']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, rest) = line.split_once('=').ok_or_else(|| wrong(number, "missing '='"))?;
        if name.is_empty() {
            return Err(wrong(number, "empty variable name"));
        }
        if name.contains([' ', '\t']) {
            return Err(wrong(number, "whitespace before '='"));
        }
        let found = match rest.strip_prefix('\'') {
            Some(quoted) => {
                let mut found = String::new();
                let mut part = quoted;
                let after = loop {
                    if let Some((end, after)) = part.split_once('\'') {
                        found.push_str(end);
                        break after;
                    }
                    found.push_str(part);
                    found.push('\n');
                    part = lines.next().ok_or_else(|| wrong(number, "unclosed single quote"))?.1;
                };
                let after = after.trim_start_matches([' ', '\t']);
                if !after.is_empty() && !after.starts_with('#') {
                    return Err(wrong(number, "unexpected content after closing quote"));
                }
                found
            }
            // An assignment of nothing, as in a shell.
            None if rest.is_empty() || rest.starts_with([' ', '\t', '#']) => String::new(),
            None => return Err(wrong(number, "value must be enclosed in single quotes")),
        };
        if name == key {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_files() {
        let check = |text: &str, expected: Result<Option<&str>, &str>| {
            let found = value(text, "A");
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected.map(str::to_owned)), "{text}"),
                Err(part) => {
                    assert!(found.as_ref().is_err_and(|error| error.contains(part)), "{text}: {found:?}")
                }
            }
        };
        check("# comment\n\nB='x'\n  A='y z' # more\n", Ok(Some("y z")));
        check("A='$HOME \"q\" \\n'", Ok(Some("$HOME \"q\" \\n")));
        check("A='one\ntwo'\nB='x'", Ok(Some("one\ntwo")));
        check("A= 'x'", Ok(Some("")));
        check("B='x'", Ok(None));
        check("A=x", Err("line 1: value must be enclosed"));
        check("B='x'\nA = 'x'", Err("line 2: whitespace before '='"));
        check("A='x'y", Err("unexpected content"));
        check("A='x", Err("unclosed"));
        check("text", Err("missing '='"));
    }
}
