//! Parts of times and durations.
use super::{Out, Rows, fault};
use crate::cel::eval::Context;
use crate::cel::value::Val;
use jiff::tz::{Offset, TimeZone};

pub(super) const ROWS: Rows = &[
    ("getFullYear", "timestamp_to_year", "timestamp . -> int"),
    ("getFullYear", "timestamp_to_year_with_tz", "timestamp . string -> int"),
    ("getMonth", "timestamp_to_month", "timestamp . -> int"),
    ("getMonth", "timestamp_to_month_with_tz", "timestamp . string -> int"),
    ("getDayOfYear", "timestamp_to_day_of_year", "timestamp . -> int"),
    ("getDayOfYear", "timestamp_to_day_of_year_with_tz", "timestamp . string -> int"),
    ("getDayOfMonth", "timestamp_to_day_of_month", "timestamp . -> int"),
    ("getDayOfMonth", "timestamp_to_day_of_month_with_tz", "timestamp . string -> int"),
    ("getDate", "timestamp_to_day_of_month_1_based", "timestamp . -> int"),
    ("getDate", "timestamp_to_day_of_month_1_based_with_tz", "timestamp . string -> int"),
    ("getDayOfWeek", "timestamp_to_day_of_week", "timestamp . -> int"),
    ("getDayOfWeek", "timestamp_to_day_of_week_with_tz", "timestamp . string -> int"),
    ("getHours", "timestamp_to_hours", "timestamp . -> int"),
    ("getHours", "timestamp_to_hours_with_tz", "timestamp . string -> int"),
    ("getHours", "duration_to_hours", "duration . -> int"),
    ("getMinutes", "timestamp_to_minutes", "timestamp . -> int"),
    ("getMinutes", "timestamp_to_minutes_with_tz", "timestamp . string -> int"),
    ("getMinutes", "duration_to_minutes", "duration . -> int"),
    ("getSeconds", "timestamp_to_seconds", "timestamp . -> int"),
    ("getSeconds", "timestamp_to_seconds_tz", "timestamp . string -> int"),
    ("getSeconds", "duration_to_seconds", "duration . -> int"),
    ("getMilliseconds", "timestamp_to_milliseconds", "timestamp . -> int"),
    ("getMilliseconds", "timestamp_to_milliseconds_with_tz", "timestamp . string -> int"),
    ("getMilliseconds", "duration_to_milliseconds", "duration . -> int"),
];

/// A zone by name, or an offset like `-08:00`.
fn zone(name: &str) -> Option<TimeZone> {
    if let Some((hours, minutes)) = name.split_once(':') {
        let negative = hours.starts_with('-');
        let hours: i32 = hours.trim_start_matches(['-', '+']).parse().ok()?;
        let seconds =
            hours.checked_mul(3600)?.checked_add(minutes.parse::<u8>().ok().map(i32::from)? * 60)?;
        return Offset::from_seconds(if negative { -seconds } else { seconds }).ok().map(TimeZone::fixed);
    }
    match name {
        "UTC" | "" => Some(TimeZone::UTC),
        name => TimeZone::get(name).ok(),
    }
}

pub(super) fn call<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let (time, zone) = match args {
        [Val::Duration(nanos)] => {
            let part = match name {
                "getHours" => nanos / 3_600_000_000_000,
                "getMinutes" => nanos / 60_000_000_000,
                "getSeconds" => nanos / 1_000_000_000,
                "getMilliseconds" => nanos / 1_000_000,
                _ => return None,
            };
            return Some(Ok(Val::Int(part)));
        }
        [Val::Timestamp(time)] => (time, TimeZone::UTC),
        [Val::Timestamp(time), Val::String(name)] => match zone(name) {
            Some(zone) => (time, zone),
            None => return Some(fault(format!("unknown time zone {}", &**name))),
        },
        _ => return None,
    };
    let local = time.at.to_zoned(zone);
    let part = match name {
        "getFullYear" => i64::from(local.year()),
        "getMonth" => i64::from(local.month()) - 1,
        "getDayOfYear" => i64::from(local.day_of_year()) - 1,
        "getDayOfMonth" => i64::from(local.day()) - 1,
        "getDate" => i64::from(local.day()),
        "getDayOfWeek" => i64::from(local.weekday().to_sunday_zero_offset()),
        "getHours" => i64::from(local.hour()),
        "getMinutes" => i64::from(local.minute()),
        "getSeconds" => i64::from(local.second()),
        "getMilliseconds" => i64::from(local.millisecond()),
        _ => return None,
    };
    Some(Ok(Val::Int(part)))
}
