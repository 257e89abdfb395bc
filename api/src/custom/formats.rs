//! `format` of texts in a schema, as the package `strfmt` of kube-openapi judges them.
//!
//! Formats that are not listed here say nothing.
use crate::cel::Url;
use crate::names;
use crate::re2::Regex;
use crate::time::{Timestamp, duration};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

type Judge = fn(&str) -> bool;

/// What a text of a format is, by the format's name without hyphens.
const FORMATS: [(&str, Judge); 26] = [
    ("bsonobjectid", |text| text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit())),
    ("byte", |text| BASE64.is_match(text)),
    ("cidr", is_cidr),
    ("creditcard", is_credit_card),
    ("date", is_date),
    ("datetime", is_date_time),
    ("duration", is_duration),
    ("email", is_email),
    ("hexcolor", |text| HEX_COLOR.is_match(text)),
    ("hostname", is_hostname),
    ("ipv4", |text| text.parse::<Ipv4Addr>().is_ok()),
    ("ipv6", |text| text.parse::<Ipv6Addr>().is_ok()),
    ("isbn", |text| is_isbn10(text) || is_isbn13(text)),
    ("isbn10", is_isbn10),
    ("isbn13", is_isbn13),
    ("k8slongname", |text| names::dns_subdomain(text).is_empty()),
    ("k8sshortname", |text| names::dns_label(text).is_empty()),
    ("mac", is_mac),
    ("password", |_| true),
    ("rgbcolor", |text| RGB_COLOR.is_match(text)),
    ("ssn", |text| SSN.is_match(text)),
    ("uri", |text| Url::parse(text).is_ok()),
    ("uuid", |text| uuid(text).is_some()),
    ("uuid3", |text| uuid(text).is_some_and(|digits| digits[12] == b'3')),
    ("uuid4", |text| uuid(text).is_some_and(|digits| digits[12] == b'4' && is_variant(digits[16]))),
    ("uuid5", |text| uuid(text).is_some_and(|digits| digits[12] == b'5' && is_variant(digits[16]))),
];

/// Whether the format is one that texts are judged by.
pub fn is_known(format: &str) -> bool {
    find(format).is_some()
}

/// Whether a text has the format; formats that are not known say nothing.
pub(crate) fn has(format: &str, text: &str) -> bool {
    find(format).is_none_or(|judge| judge(text))
}

fn find(format: &str) -> Option<Judge> {
    let bare = format.replace('-', "");
    FORMATS.iter().find(|(name, _)| *name == bare).map(|(_, judge)| *judge)
}

macro_rules! pattern {
    ($name:ident, $pattern:expr) => {
        static $name: LazyLock<Regex> =
            LazyLock::new(|| Regex::new($pattern).unwrap_or_else(|error| unreachable!("{error}")));
    };
}

pattern!(BASE64, "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$");
pattern!(HEX_COLOR, "^#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})$");
pattern!(SSN, r"^\d{3}[- ]?\d{2}[- ]?\d{4}$");
pattern!(RGB_COLOR, &{
    let part = r"\s*(?:0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*";
    format!(r"^rgb\({part},{part},{part}\)$")
});
pattern!(TIME, r"^([0-9]{2}):([0-9]{2}):([0-9]{2})(?:.[0-9]+)?(?:z|[+-][0-9]{2}:[0-9]{2})$");
// A single label, or several with a last one that is no number.
pattern!(HOSTNAME, &{
    let inner = r"[a-zA-Z0-9\p{S}\p{L}]";
    format!(
        r"^(?:{inner}(?:-?{inner}{{0,62}})?|(?:{inner}(?:[a-zA-Z0-9\-\p{{S}}\p{{L}}]{{0,61}}{inner})?\.)+[a-zA-Z\p{{L}}]{{2,63}})$"
    )
});
pattern!(
    CREDIT_CARD,
    r"^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|(?:222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11}|6[27][0-9]{14})$"
);
// RFC 5322 without comments and quotes.
pattern!(EMAIL, r"^[^\x00-\x20()<>@,;:\\\x22\[\].\x7f]+(?:\.[^\x00-\x20()<>@,;:\\\x22\[\].\x7f]+)*$");
pattern!(AMOUNT, r"[0-9]+\s*[A-Za-zµ]+");

fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        let most = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    })
}

/// `2006-01-02`.
fn is_date(text: &str) -> bool {
    text.len() == 10 && Timestamp::parse(&format!("{text}T00:00:00Z")).is_ok()
}

/// RFC 3339, in letters of either case; a minute has no 61st second.
fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    is_date(date) && TIME.is_match(time) && time[..2] <= *"23" && time[3..5] <= *"59" && time[6..8] <= *"59"
}

/// Go's durations, or amounts of units in words: `2 weeks`, `3 days 1 hour`.
fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 18] = [
        "ns", "nano", "us", "µs", "micro", "ms", "milli", "s", "sec", "m", "min", "h", "hr", "hour", "d",
        "day", "w", "wk",
    ];
    /// Those that may go on: `nanoseconds`, `mins`.
    const STEMS: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    if duration::parse(text).is_ok() {
        return true;
    }
    AMOUNT.find_iter(text).any(|found| {
        let unit = text[found].trim_start_matches(|c: char| c.is_ascii_digit()).trim().to_lowercase();
        UNITS.contains(&unit.as_str()) || STEMS.iter().any(|stem| unit.starts_with(stem))
    })
}

/// An address alone, without a name of whose it is.
fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| EMAIL.is_match(local) && EMAIL.is_match(domain))
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 255 && text.split('.').all(|label| label.len() <= 63) && HOSTNAME.is_match(text)
}

/// 6, 8 or 20 bytes, by colons, hyphens, or dots between pairs of bytes.
fn is_mac(text: &str) -> bool {
    let groups = |separator: char, digits: usize| {
        let mut count = 0;
        let well = text.split(separator).all(|group| {
            count += digits / 2;
            group.len() == digits && group.bytes().all(|b| b.is_ascii_hexdigit())
        });
        well && [6, 8, 20].contains(&count)
    };
    groups(':', 2) || groups('-', 2) || groups('.', 4)
}

/// The digits of a UUID; each of its hyphens may be left out.
fn uuid(text: &str) -> Option<Vec<u8>> {
    let (mut digits, mut bytes) = (Vec::with_capacity(32), text.bytes().peekable());
    for length in [8, 4, 4, 4, 12] {
        if !digits.is_empty() {
            bytes.next_if_eq(&b'-');
        }
        digits.extend(bytes.by_ref().take(length).map(|b| b.to_ascii_lowercase()));
    }
    (digits.len() == 32 && bytes.next().is_none() && digits.iter().all(u8::is_ascii_hexdigit))
        .then_some(digits)
}

fn is_variant(digit: u8) -> bool {
    matches!(digit, b'8' | b'9' | b'a' | b'b')
}

/// The text without blanks and hyphens.
fn compact(text: &str) -> Vec<u8> {
    text.bytes().filter(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0c | b'-')).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = compact(text);
    let value = |at: usize, digit: u8| match digit {
        b'0'..=b'9' => Some(usize::from(digit - b'0')),
        b'X' if at == 9 => Some(10),
        _ => None,
    };
    let sum: Option<usize> =
        digits.iter().enumerate().map(|(at, digit)| value(at, *digit).map(|value| (at + 1) * value)).sum();
    digits.len() == 10 && sum.is_some_and(|sum| sum % 11 == 0)
}

fn is_isbn13(text: &str) -> bool {
    let digits = compact(text);
    let weighted = |(at, digit): (usize, &u8)| usize::from(*digit - b'0') * if at % 2 == 0 { 1 } else { 3 };
    digits.len() == 13
        && digits.iter().all(u8::is_ascii_digit)
        && digits.iter().enumerate().map(weighted).sum::<usize>() % 10 == 0
}

fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let doubled = |(at, digit): (usize, u8)| {
        let value = u32::from(digit - b'0') * if at % 2 == 1 { 2 } else { 1 };
        value / 10 + value % 10
    };
    CREDIT_CARD.is_match(&digits) && digits.bytes().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_each_format() {
        for (format, good, bad) in [
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f1f77bcf86cd79943901g"),
            ("byte", "aGVsbG8=", "!!!!"),
            ("byte", "aGVs", ""),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("cidr", "fd00::/64", "fd00::"),
            ("creditcard", "4111-1111-1111-1111", "4111111111111112"),
            ("date", "2024-02-29", "2023-02-29"),
            ("date-time", "2024-01-01t00:00:00.123z", "2024-01-01T23:59:60Z"),
            ("datetime", "2024-01-01T00:00:00+02:00", "2024-01-01 00:00:00Z"),
            ("duration", "1h30m", "abc"),
            ("duration", "2 weeks", "2 parsecs"),
            ("duration", "3 days", ""),
            ("email", "a.b@example.com", "Bob <bob@example.com>"),
            ("email", "ä@example", "a..b@example.com"),
            ("hexcolor", "#ff00AA", "#ff00a"),
            ("hostname", "a-b.example.com", "a_b"),
            ("hostname", "münchen.example", "example..com"),
            ("ipv4", "10.0.0.1", "10.0.0"),
            ("ipv6", "::1", "10.0.0.1"),
            ("isbn", "978-3-16-148410-0", "978-3-16-148410-1"),
            ("isbn10", "0-8044-2957-X", "0-8044-2957-1"),
            ("isbn13", "9783161484100", "080442957X"),
            ("k8s-long-name", "a.b-c", "A"),
            ("k8s-short-name", "a-b", "a.b"),
            ("mac", "01:23:45:67:89:ab", "01:23:45:67:89"),
            ("mac", "0123.4567.89ab", "01:23-45:67:89:ab"),
            ("rgbcolor", "rgb(0, 12,255)", "rgb(256,0,0)"),
            ("ssn", "111-11-1111", "111-11-111"),
            ("uri", "https://example.com/a?b=c", "foo bar"),
            ("uri", "/a", "a/b"),
            ("uuid", "550E8400-e29b41d4a716-446655440000", "550e8400"),
            ("uuid3", "bcd02e22-68f0-3046-a512-327cca9def8f", "025b0d74-00a2-4048-bf57-227c5111bb34"),
            ("uuid4", "025b0d74-00a2-4048-bf57-227c5111bb34", "886313e1-3b8a-5372-9b90-0c9aee199e5d"),
            ("uuid5", "886313e1-3b8a-5372-9b90-0c9aee199e5d", "025b0d74-00a2-4048-bf57-227c5111bb34"),
        ] {
            assert!(has(format, good), "{format}: {good}");
            assert!(!has(format, bad), "{format}: {bad}");
        }
        assert!(has("unheard-of", "x") && has("password", "") && !is_known("unheard-of"));
    }
}
