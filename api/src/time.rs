//! Points in time and durations: `Time` (whole seconds), `MicroTime` (six decimals), Go duration text.
//!
//! Sources: RFC 3339; Go's `time` package for the accepted forms, the duration grammar and the error texts.
pub mod duration;

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time, UTC, between the years 0 and 9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

/// Why a text is no time; the text is the original's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("parsing time {text:?}{fault}")]
pub struct ParseError {
    text: String,
    fault: String,
}

const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICRO_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

impl Timestamp {
    /// Go's zero time, 0001-01-01T00:00:00Z, which the API treats as unset.
    pub const ZERO: Self = Self { seconds: -62_135_596_800, nanos: 0 };

    /// The present.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX), nanos: since.subsec_nanos() }
    }

    /// Reads RFC 3339 with any or no fraction of a second, the form of `Time`.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        Reader { text, rest: text, layout: LAYOUT }.read(false)
    }

    /// Reads RFC 3339 with exactly six decimals, the form of `MicroTime`.
    pub fn parse_micro(text: &str) -> Result<Self, ParseError> {
        Reader { text, rest: text, layout: MICRO_LAYOUT }.read(true)
    }

    /// Whether it is Go's zero time.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    /// `2006-01-02T15:04:05Z`: the JSON form of `Time`; the fraction is dropped.
    pub fn to_rfc3339(&self) -> String {
        let [year, month, day, hour, minute, second] = self.civil();
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// `2006-01-02T15:04:05.000000Z`: the JSON form of `MicroTime`.
    pub fn to_rfc3339_micro(&self) -> String {
        let mut text = self.to_rfc3339();
        text.truncate(text.len() - 1);
        fmt::Write::write_fmt(&mut text, format_args!(".{:06}Z", self.nanos / 1000)).unwrap_or_default();
        text
    }

    /// Seconds from `earlier` to this, negative when it lies before; the fraction is cut.
    pub fn seconds_since(&self, earlier: Self) -> i64 {
        let nanos = i128::from(self.seconds - earlier.seconds) * 1_000_000_000 + i128::from(self.nanos)
            - i128::from(earlier.nanos);
        i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX)
    }

    /// The point `seconds` later.
    pub fn plus_seconds(&self, seconds: i64) -> Self {
        Self { seconds: self.seconds.saturating_add(seconds), nanos: self.nanos }
    }

    /// Year, month, day, hour, minute, second.
    fn civil(&self) -> [i64; 6] {
        let (days, second) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        // Eras of 400 years that begin on 1 March, so that the leap day is the last of a year.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        [year, month, day, second / 3600, second / 60 % 60, second % 60]
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Reads a time piece by piece, so that a fault names the piece of the layout it stopped at.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl Reader<'_> {
    fn read(mut self, micro: bool) -> Result<Timestamp, ParseError> {
        let year = self.number(4, "2006")?;
        self.literal("-")?;
        let month = self.number(2, "01")?;
        self.in_range(month, 1, 12, "month")?;
        self.literal("-")?;
        let day = self.number(2, "02")?;
        self.literal("T")?;
        let hour = self.number(2, "15")?;
        self.in_range(hour, 0, 23, "hour")?;
        self.literal(":")?;
        let minute = self.number(2, "04")?;
        self.in_range(minute, 0, 59, "minute")?;
        self.literal(":")?;
        let second = self.number(2, "05")?;
        self.in_range(second, 0, 59, "second")?;
        let nanos = self.fraction(micro)?;
        let offset = self.zone()?;
        if !self.rest.is_empty() {
            return Err(self.fault(format!(": extra text: {:?}", self.rest)));
        }
        self.in_range(day, 1, days_in_month(year, month), "day")?;
        let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        Ok(Timestamp { seconds: seconds - offset, nanos })
    }

    fn number(&mut self, digits: usize, piece: &str) -> Result<i64, ParseError> {
        match self.rest.as_bytes().get(..digits) {
            Some(bytes) if bytes.iter().all(u8::is_ascii_digit) => {
                let number = bytes.iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
                self.rest = &self.rest[digits..];
                Ok(number)
            }
            _ => Err(self.stopped(piece)),
        }
    }

    fn literal(&mut self, piece: &str) -> Result<(), ParseError> {
        self.rest = self.rest.strip_prefix(piece).ok_or_else(|| self.stopped(piece))?;
        Ok(())
    }

    fn fraction(&mut self, micro: bool) -> Result<u32, ParseError> {
        let Some(after) = self.rest.strip_prefix(['.', ',']) else {
            return if micro { Err(self.stopped(".000000")) } else { Ok(0) };
        };
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 || micro && digits < 6 {
            return Err(self.stopped(if micro { ".000000" } else { "Z07:00" }));
        }
        let digits = if micro { 6 } else { digits };
        let nanos = after[..digits].bytes().chain(std::iter::repeat(b'0')).take(9);
        self.rest = &after[digits..];
        Ok(nanos.fold(0, |n, b| n * 10 + u32::from(b - b'0')))
    }

    /// Seconds east of UTC.
    fn zone(&mut self) -> Result<i64, ParseError> {
        if let Some(after) = self.rest.strip_prefix('Z') {
            self.rest = after;
            return Ok(0);
        }
        let bytes = self.rest.as_bytes();
        let at = |i: usize| bytes.get(i).filter(|b| b.is_ascii_digit()).map(|b| i64::from(b - b'0'));
        let parts = (bytes.first(), at(1), at(2), bytes.get(3), at(4), at(5));
        let (Some(sign @ (b'+' | b'-')), Some(h1), Some(h2), Some(b':'), Some(m1), Some(m2)) = parts else {
            return Err(self.stopped("Z07:00"));
        };
        let (hour, minute) = (h1 * 10 + h2, m1 * 10 + m2);
        self.in_range(hour, 0, 24, "time zone offset hour")?;
        self.in_range(minute, 0, 60, "time zone offset minute")?;
        self.rest = &self.rest[6..];
        let offset = hour * 3600 + minute * 60;
        Ok(if *sign == b'-' { -offset } else { offset })
    }

    fn in_range(&self, number: i64, low: i64, high: i64, what: &str) -> Result<(), ParseError> {
        if (low..=high).contains(&number) {
            Ok(())
        } else {
            Err(self.fault(format!(": {what} out of range")))
        }
    }

    fn stopped(&self, piece: &str) -> ParseError {
        self.fault(format!(" as {:?}: cannot parse {:?} as {piece:?}", self.layout, self.rest))
    }

    fn fault(&self, fault: String) -> ParseError {
        ParseError { text: self.text.to_owned(), fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_and_writes() {
        for (input, seconds, micro) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
            ("2024-02-29T23:59:59.123456789Z", "2024-02-29T23:59:59Z", "2024-02-29T23:59:59.123456Z"),
            ("2024-01-01T00:30:00+01:00", "2023-12-31T23:30:00Z", "2023-12-31T23:30:00.000000Z"),
            ("2024-12-31T23:30:00-01:00", "2025-01-01T00:30:00Z", "2025-01-01T00:30:00.000000Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ] {
            let time = Timestamp::parse(input).expect(input);
            assert_eq!(time.to_rfc3339(), seconds);
            assert_eq!(time.to_rfc3339_micro(), micro);
        }
        assert!(Timestamp::parse("0001-01-01T00:00:00Z").expect("zero").is_zero());
        assert!(Timestamp::parse_micro("2024-01-01T00:00:00.000001Z").is_ok());
    }

    #[test]
    fn faults_name_the_piece() {
        for (input, expected) in [
            ("", r#"parsing time "" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#),
            ("2024-13-01T00:00:00Z", r#"parsing time "2024-13-01T00:00:00Z": month out of range"#),
            ("2023-02-29T00:00:00Z", r#"parsing time "2023-02-29T00:00:00Z": day out of range"#),
            (
                "2024-01-01",
                r#"parsing time "2024-01-01" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#,
            ),
            ("2024-01-01T00:00:00Zx", r#"parsing time "2024-01-01T00:00:00Zx": extra text: "x""#),
        ] {
            assert_eq!(Timestamp::parse(input).expect_err(input).to_string(), expected);
        }
        let expected = concat!(
            r#"parsing time "2024-01-01T00:00:00Z" as "2006-01-02T15:04:05.000000Z07:00": "#,
            r#"cannot parse "Z" as ".000000""#
        );
        assert_eq!(Timestamp::parse_micro("2024-01-01T00:00:00Z").expect_err("micro").to_string(), expected);
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = (Timestamp::parse(&text), Timestamp::parse_micro(&text));
        }

        #[test]
        fn round_trips(seconds in -62_135_596_800_i64..253_402_300_800, micros in 0_u32..1_000_000) {
            let time = Timestamp { seconds, nanos: micros * 1000 };
            prop_assert_eq!(Timestamp::parse_micro(&time.to_rfc3339_micro()), Ok(time));
            prop_assert_eq!(Timestamp::parse(&time.to_rfc3339()), Ok(Timestamp { seconds, nanos: 0 }));
        }
    }
}
