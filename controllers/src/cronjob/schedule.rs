//! Times of a cron schedule in a time zone.

use std::time::Duration;

use chrono::{DateTime, TimeZone, Utc};
use chrono_tz::Tz;
use croner::{
    Cron,
    parser::{CronParser, Seconds, Year},
};
use jiff::{SignedDuration, Timestamp};
use knarr_component::flags::duration;

/// Why a schedule cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("unparseable schedule: {schedule:?} : {reason}")]
    Unparseable { schedule: String, reason: String },
    #[error("invalid timeZone: {0:?} : unknown time zone {0}")]
    UnknownTimeZone(String),
}

impl Error {
    /// Reason of the event.
    pub fn reason(&self) -> &'static str {
        match self {
            Error::Unparseable { .. } => "UnparseableSchedule",
            Error::UnknownTimeZone(_) => "UnknownTimeZone",
        }
    }
}

/// A schedule in a time zone.
pub(super) struct Schedule {
    times: Times,
    zone: Tz,
}

enum Times {
    Cron(Box<Cron>),
    Every(Duration),
}

/// Times that have passed without a Job.
#[derive(Debug, PartialEq)]
pub(super) struct Missed {
    pub latest: Timestamp,
    /// At most a little more than a hundred.
    pub count: usize,
}

/// Counting stops here.
const COUNTED: usize = 101;

impl Schedule {
    /// Five fields, a macro such as `@daily`, or `@every DURATION`. Without a zone it is UTC.
    pub fn parse(text: &str, zone: Option<&str>) -> Result<Self, Error> {
        let zone_name = zone.unwrap_or("UTC");
        let zone: Tz = zone_name.parse().map_err(|_| Error::UnknownTimeZone(zone_name.to_string()))?;
        let wrong = |reason: String| Error::Unparseable { schedule: text.to_string(), reason };
        let times = match text.trim().strip_prefix("@every ") {
            Some(every) => {
                let every = duration(every.trim()).map_err(wrong)?;
                // Below a second nothing can be started in time.
                Times::Every(every.max(Duration::from_secs(1)))
            }
            None => {
                let parser = CronParser::builder()
                    .seconds(Seconds::Disallowed)
                    .year(Year::Disallowed)
                    .dom_and_dow(false)
                    .build();
                Times::Cron(Box::new(parser.parse(text.trim()).map_err(|error| wrong(error.to_string()))?))
            }
        };
        Ok(Self { times, zone })
    }

    fn zoned(&self, time: Timestamp) -> Option<DateTime<Tz>> {
        let time = Utc.timestamp_opt(time.as_second(), 0).single()?;
        Some(time.with_timezone(&self.zone))
    }

    /// The first time after `after`. `@every` counts from there.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Every(every) => after.checked_add(SignedDuration::try_from(*every).ok()?).ok(),
            Times::Cron(cron) => {
                let next = cron.find_next_occurrence(&self.zoned(after)?, false).ok()?;
                Timestamp::from_second(next.timestamp()).ok()
            }
        }
    }

    /// The last time at or before `until`, and how many there were since `from`; with a deadline
    /// only those it allows are looked at.
    pub fn missed(&self, from: Timestamp, until: Timestamp, deadline: Option<i64>) -> Option<Missed> {
        let earliest =
            deadline.and_then(|seconds| until.checked_sub(SignedDuration::from_secs(seconds)).ok());
        let from = earliest.map_or(from, |earliest| from.max(earliest));
        let (mut latest, mut count, mut at) = (None, 0, from);
        while let Some(next) = self.next(at).filter(|next| *next <= until) {
            (latest, at) = (Some(next), next);
            count += 1;
            if count >= COUNTED {
                latest = self.last_before(until).max(latest);
                break;
            }
        }
        latest.map(|latest| Missed { latest, count })
    }

    fn last_before(&self, until: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Every(_) => Some(until),
            Times::Cron(cron) => {
                let last = cron.find_previous_occurrence(&self.zoned(until)?, true).ok()?;
                Timestamp::from_second(last.timestamp()).ok()
            }
        }
    }

    /// A time in the schedule's zone (RFC 3339).
    pub fn local(&self, time: Timestamp) -> String {
        self.zoned(time)
            .map_or_else(|| time.to_string(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))
    }
}

/// Whether a time lies so far back that its Job must not be started any more.
pub(super) fn is_too_late(time: Timestamp, now: Timestamp, deadline: Option<i64>) -> bool {
    deadline.is_some_and(|seconds| now.duration_since(time).as_secs() > seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_of_schedules() {
        let check = |schedule: &str, zone: Option<&str>, after: &str, expected: &str| {
            let schedule = Schedule::parse(schedule, zone).unwrap();
            assert_eq!(schedule.next(at(after)), Some(at(expected)));
        };
        check("*/5 * * * *", None, "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z");
        check("@hourly", None, "2026-01-01T00:00:01Z", "2026-01-01T01:00:00Z");
        check("0 0 1 * *", None, "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
        check("0 9 * * *", Some("Europe/Oslo"), "2026-07-01T00:00:00Z", "2026-07-01T07:00:00Z");
        check("0 9 * * MON-FRI", None, "2026-11-20T10:00:00Z", "2026-11-23T09:00:00Z");
        check("@every 90s", None, "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z");
        // Day of month and day of week: either one.
        check("0 0 13 * FRI", None, "2026-11-20T10:00:00Z", "2026-11-27T00:00:00Z");
    }

    #[test]
    fn wrong_schedules_are_explained() {
        let reason = |schedule: &str, zone| Schedule::parse(schedule, zone).err().map(|error| error.reason());
        assert_eq!(reason("* * * *", None), Some("UnparseableSchedule"));
        assert_eq!(reason("0 0 * * * *", None), Some("UnparseableSchedule"));
        assert_eq!(reason("* * * * *", Some("Mars/Base")), Some("UnknownTimeZone"));
    }

    #[test]
    fn missed_times() {
        let schedule = Schedule::parse("0 * * * *", None).unwrap();
        let check = |from: &str, until: &str, deadline, expected: Option<(&str, usize)>| {
            let missed = schedule.missed(at(from), at(until), deadline);
            let expected = expected.map(|(latest, count)| Missed { latest: at(latest), count });
            assert_eq!(missed, expected, "{from} {until}");
        };
        let from = "2026-01-01T00:00:00Z";
        check(from, "2026-01-01T00:59:59Z", None, None);
        check(from, "2026-01-01T01:00:00Z", None, Some(("2026-01-01T01:00:00Z", 1)));
        check(from, "2026-01-01T03:30:00Z", None, Some(("2026-01-01T03:00:00Z", 3)));
        check(from, "2026-01-01T03:30:00Z", Some(60), None);
        check(from, "2026-02-01T03:30:00Z", None, Some(("2026-02-01T03:00:00Z", COUNTED)));
        assert!(is_too_late(at(from), at("2026-01-01T00:02:00Z"), Some(60)));
        assert!(!is_too_late(at(from), at("2026-01-01T00:02:00Z"), None));
    }
}
