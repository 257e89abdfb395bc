//! The grammar of cron schedules: five fields, or a descriptor such as `@daily` or `@every 1h`.
use crate::time::duration;

const DESCRIPTORS: [&str; 7] =
    ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// One of the five fields.
struct Field {
    low: u32,
    high: u32,
    /// Names for numbers, the first of them for `low`.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { low: 0, high: 59, names: &[] },
    Field { low: 0, high: 23, names: &[] },
    Field { low: 1, high: 31, names: &[] },
    Field { low: 1, high: 12, names: &MONTHS },
    Field { low: 0, high: 6, names: &DAYS },
];

/// What is wrong with a schedule, in the words of the original's parser.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.starts_with('@') {
        return descriptor(text);
    }
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        let found = parts.len();
        return Err(format!("expected exactly 5 fields, found {found}: [{}]", parts.join(" ")));
    }
    FIELDS.iter().zip(parts).try_for_each(|(field, part)| {
        part.split(',').filter(|range| !range.is_empty()).try_for_each(|range| field.range(range))
    })
}

fn descriptor(text: &str) -> Result<(), String> {
    if DESCRIPTORS.contains(&text) {
        return Ok(());
    }
    match text.strip_prefix("@every ") {
        Some(every) => duration::parse(every)
            .map(drop)
            .map_err(|error| format!("failed to parse duration {text}: {error}")),
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

impl Field {
    /// `*`, `a`, `a-b`, each with an optional `/step`.
    fn range(&self, text: &str) -> Result<(), String> {
        let mut parts = text.split('/');
        let (range, step) = (parts.next().unwrap_or_default(), parts.next());
        if parts.next().is_some() {
            return Err(format!("too many slashes: {text}"));
        }
        let mut ends = range.split('-');
        let (first, last) = (ends.next().unwrap_or_default(), ends.next());
        if ends.next().is_some() {
            return Err(format!("too many hyphens: {text}"));
        }
        let (start, end) = match (first, last) {
            ("*" | "?", _) => (self.low, self.high),
            (first, Some(last)) => (self.number(first)?, self.number(last)?),
            (first, None) if step.is_some() => (self.number(first)?, self.high),
            (first, None) => (self.number(first)?, self.number(first)?),
        };
        let step = step.map_or(Ok(1), number)?;
        if start < self.low {
            return Err(format!("beginning of range ({start}) below minimum ({}): {text}", self.low));
        }
        if end > self.high {
            return Err(format!("end of range ({end}) above maximum ({}): {text}", self.high));
        }
        if start > end {
            return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
        }
        if step == 0 {
            return Err(format!("step of range should be a positive number: {text}"));
        }
        Ok(())
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        match self.names.iter().zip(self.low..).find(|(name, _)| text.eq_ignore_ascii_case(name)) {
            Some((_, number)) => Ok(number),
            None => number(text),
        }
    }
}

fn number(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if let Some(negative) = text.strip_prefix('-') {
        return Err(format!("negative number (-{negative}) not allowed: {text}"));
    }
    digits.parse().map_err(|_| {
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: invalid syntax")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn schedules() {
        for good in
            ["* * * * *", "*/5 0-3,5 1 jan-mar MON", "@daily", "@every 1h30m", "0 0 ? * 0", "5/10 * * * *"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for (bad, expected) in [
            ("x", "expected exactly 5 fields, found 1: [x]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            ("a * * * *", "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax"),
            ("1/2/3 * * * *", "too many slashes: 1/2/3"),
            ("@noon", "unrecognized descriptor: @noon"),
        ] {
            assert_eq!(check(bad), Err(expected.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[-0-9*/,?@a-z ]{0,30}") {
            let _ = check(&text);
        }
    }
}
