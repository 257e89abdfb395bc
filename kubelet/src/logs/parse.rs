//! The log format of the CRI: `TIME STREAM TAGS TEXT`, one line each.

use jiff::Timestamp;

/// One line of a container's log.
#[derive(Debug, Clone, PartialEq)]
pub struct Line<'a> {
    /// When it was written, as the file says it.
    pub time: &'a str,
    /// Whether it came from standard error.
    pub stderr: bool,
    /// Whether the container's line goes on in the next one.
    pub partial: bool,
    /// What the container wrote, without the line's end.
    pub text: &'a [u8],
}

impl Line<'_> {
    /// The time, if it can be read.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }
}

/// Parses a line; `None` if it is none.
pub fn line(bytes: &[u8]) -> Option<Line<'_>> {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let (time, rest) = split_space(bytes)?;
    let (stream, rest) = split_space(rest)?;
    let (tags, text) = split_space(rest).unwrap_or((rest, &[]));
    let stderr = match stream {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    // Tags are separated by colons; only the first means something.
    let partial = tags.split(|byte| *byte == b':').next() == Some(b"P");
    Some(Line { time: std::str::from_utf8(time).ok()?, stderr, partial, text })
}

fn split_space(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|byte| *byte == b' ')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |text: &str, expected: Option<(bool, bool, &str)>| {
            let got = line(text.as_bytes());
            let got = got.as_ref().map(|l| (l.stderr, l.partial, std::str::from_utf8(l.text).expect("text")));
            assert_eq!(got, expected, "{text}");
        };
        check("2026-01-01T00:00:00.5Z stdout F hello world\n", Some((false, false, "hello world")));
        check("2026-01-01T00:00:00.5Z stderr P part\n", Some((true, true, "part")));
        check("2026-01-01T00:00:00.5Z stdout F:X tagged", Some((false, false, "tagged")));
        check("2026-01-01T00:00:00.5Z stdout F \n", Some((false, false, "")));
        check("2026-01-01T00:00:00.5Z stdout F", Some((false, false, "")));
        check("garbage", None);
        check("t other F x", None);
    }

    #[test]
    fn times() {
        let parsed = line(b"2026-01-01T00:00:00.123456789+02:00 stdout F x").expect("line");
        assert_eq!(parsed.timestamp(), "2025-12-31T22:00:00.123456789Z".parse().ok());
    }
}
