//! Times and durations, and their texts.

/// A time, with the zone it was written in, which its text keeps.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// When.
    pub at: jiff::Timestamp,
    /// Seconds east of Greenwich.
    offset: i32,
}

impl From<jiff::Timestamp> for Stamp {
    fn from(at: jiff::Timestamp) -> Self {
        Self { at, offset: 0 }
    }
}

impl Stamp {
    /// Another time in the same zone.
    #[must_use]
    pub fn moved(self, at: jiff::Timestamp) -> Self {
        Self { at, ..self }
    }
}

/// A time, or the beginning of a date.
pub fn parse_timestamp(text: &str) -> Option<Stamp> {
    if text.len() == 10 {
        return format!("{text}T00:00:00Z").parse::<jiff::Timestamp>().ok().map(Stamp::from);
    }
    if text.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    let at = text.parse::<jiff::Timestamp>().ok()?;
    Some(Stamp { at, offset: zone_of(text).unwrap_or_default() })
}

/// The zone at the end of a time, `+01:00`, in seconds.
fn zone_of(text: &str) -> Option<i32> {
    let zone = text.get(text.len().checked_sub(6)?..)?;
    let sign = match zone.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    Some(sign * (hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60))
}

/// A duration as Go writes it, in nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    crate::time::duration::parse(text).ok()
}

/// `2026-01-02T03:04:05.006Z`, or with the zone it was written in.
pub fn format_timestamp(time: Stamp) -> String {
    match jiff::tz::Offset::from_seconds(time.offset) {
        Ok(offset) if time.offset != 0 => time.at.display_with_offset(offset).to_string(),
        _ => time.at.to_string(),
    }
}

/// Seconds with `s`, as `string(duration)` gives it.
pub fn format_duration(nanos: i64) -> String {
    let (sign, rest) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (seconds, fraction) = (rest / 1_000_000_000, rest % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{seconds}s");
    }
    let digits = format!("{fraction:09}");
    format!("{sign}{seconds}.{}s", digits.trim_end_matches('0'))
}
