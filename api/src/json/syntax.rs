//! What is wrong with a text that is no JSON, in the words of Go's scanner.

/// The fault of a text; none where Go finds it well-formed.
pub(super) fn fault(text: &[u8]) -> Option<String> {
    let mut scan = Scan { text, at: 0 };
    match scan.document() {
        Ok(()) => None,
        Err(End::Short) => Some("unexpected end of JSON input".to_owned()),
        Err(End::At(context)) => Some(format!("invalid character {} {context}", quoted(scan.peek()))),
        Err(End::Deep) => Some("exceeded max depth".to_owned()),
    }
}

/// Most lists and objects within each other.
const MAX_DEPTH: usize = 10_000;

/// Why scanning ended early.
enum End {
    /// The text is too short.
    Short,
    /// The byte at hand is out of place; what was looked for.
    At(String),
    /// Too many lists and objects within each other.
    Deep,
}

fn misplaced<T>(context: &str) -> Result<T, End> {
    Err(End::At(context.to_owned()))
}

/// A byte as Go quotes it: as a character of Latin-1.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        7 => r"'\a'".to_owned(),
        8 => r"'\b'".to_owned(),
        9 => r"'\t'".to_owned(),
        10 => r"'\n'".to_owned(),
        11 => r"'\v'".to_owned(),
        12 => r"'\f'".to_owned(),
        13 => r"'\r'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        0x80..=0xa0 | 0xad => format!("'\\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

impl Scan<'_> {
    /// The byte at hand; 0 at the end.
    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or_default()
    }

    fn need(&self) -> Result<u8, End> {
        self.text.get(self.at).copied().ok_or(End::Short)
    }

    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn digits(&mut self) {
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
    }

    /// One document. What is open is kept in a list, not on the stack.
    fn document(&mut self) -> Result<(), End> {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.space();
            match self.need()? {
                bracket @ (b'{' | b'[') => {
                    self.at += 1;
                    if open.len() == MAX_DEPTH {
                        return Err(End::Deep);
                    }
                    open.push(bracket);
                    self.space();
                    let closing = self.need()?;
                    match bracket {
                        b'{' if closing != b'}' => {
                            self.key()?;
                            continue;
                        }
                        b'[' if closing != b']' => continue,
                        _ => {}
                    }
                }
                _ => self.scalar()?,
            }
            if self.after_value(&mut open)? {
                return Ok(());
            }
        }
    }

    /// Closes what ends behind a value, and stands before the next value then; true at the end of the document.
    fn after_value(&mut self, open: &mut Vec<u8>) -> Result<bool, End> {
        loop {
            self.space();
            let Some(bracket) = open.last() else { break };
            match (*bracket, self.need()?) {
                (b'{', b'}') | (b'[', b']') => {
                    self.at += 1;
                    open.pop();
                }
                (b'{', b',') => {
                    self.at += 1;
                    self.space();
                    self.need()?;
                    self.key()?;
                    return Ok(false);
                }
                (b'[', b',') => {
                    self.at += 1;
                    return Ok(false);
                }
                (b'{', _) => return misplaced("after object key:value pair"),
                _ => return misplaced("after array element"),
            }
        }
        if self.at < self.text.len() { misplaced("after top-level value") } else { Ok(true) }
    }

    /// A member's name and the colon.
    fn key(&mut self) -> Result<(), End> {
        if self.need()? != b'"' {
            return misplaced("looking for beginning of object key string");
        }
        self.string()?;
        self.space();
        if self.need()? != b':' {
            return misplaced("after object key");
        }
        self.at += 1;
        Ok(())
    }

    fn scalar(&mut self) -> Result<(), End> {
        match self.need()? {
            b'"' => self.string(),
            b't' => self.literal("true"),
            b'f' => self.literal("false"),
            b'n' => self.literal("null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => misplaced("looking for beginning of value"),
        }
    }

    fn literal(&mut self, word: &str) -> Result<(), End> {
        for expected in word.bytes() {
            if self.need()? != expected {
                return Err(End::At(format!("in literal {word} (expecting {})", quoted(expected))));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), End> {
        self.at += 1;
        loop {
            match self.need()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    self.escape()?;
                }
                0..0x20 => return misplaced("in string literal"),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<(), End> {
        match self.need()? {
            b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.need()?.is_ascii_hexdigit() {
                        return misplaced("in \\u hexadecimal character escape");
                    }
                    self.at += 1;
                }
            }
            _ => return misplaced("in string escape code"),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), End> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.need()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return misplaced("in numeric literal"),
        }
        if self.peek() == b'.' {
            self.at += 1;
            if !self.need()?.is_ascii_digit() {
                return misplaced("after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.need()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.need()?.is_ascii_digit() {
                return misplaced("in exponent of numeric literal");
            }
            self.digits();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn faults() {
        for (text, expected) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("{\"a\":\"", "unexpected end of JSON input"),
            ("-", "unexpected end of JSON input"),
            ("xx", "invalid character 'x' looking for beginning of value"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 2}", "invalid character '2' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("\"\n\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u00g0\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("trie", "invalid character 'i' in literal true (expecting 'u')"),
            ("-x", "invalid character 'x' in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("01", "invalid character '1' after top-level value"),
        ] {
            assert_eq!(fault(text.as_bytes()).as_deref(), Some(expected), "{text}");
        }
        assert_eq!(fault("[".repeat(10_001).as_bytes()).as_deref(), Some("exceeded max depth"));
    }

    proptest! {
        /// Faults are found where another reader finds one, and nowhere else.
        #[test]
        fn agrees(text in r#"[\[\]{},:"a1 .eE+\-\\utrfn]{0,12}"#) {
            let refused = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err();
            prop_assert_eq!(fault(text.as_bytes()).is_some(), refused, "{}", text);
        }
    }
}
