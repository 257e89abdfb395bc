//! URLs, as Go's `url.ParseRequestURI` reads them: absolute, or a path from the root.
use super::opaque::Opaque;
use super::{Out, Rows, fault};
use crate::cel::eval::Context;
use crate::cel::value::{Key, Map, Val};
use std::collections::BTreeMap;
use std::rc::Rc;

pub(super) const ROWS: Rows = &[
    ("url", "string_to_url", "string -> kubernetes.URL"),
    ("isURL", "is_url_string", "string -> bool"),
    ("getScheme", "url_get_scheme", "kubernetes.URL . -> string"),
    ("getHost", "url_get_host", "kubernetes.URL . -> string"),
    ("getHostname", "url_get_hostname", "kubernetes.URL . -> string"),
    ("getPort", "url_get_port", "kubernetes.URL . -> string"),
    ("getEscapedPath", "url_get_escaped_path", "kubernetes.URL . -> string"),
    ("getQuery", "url_get_query", "kubernetes.URL . -> map(string,list(string))"),
];

/// The parts of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    host: String,
    path: String,
    query: String,
}

impl Url {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong, as Go words it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("parse {text:?}: {what}");
        if text.is_empty() {
            return Err(wrong("empty url"));
        }
        if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
            return Err(wrong("net/url: invalid control character in URL"));
        }
        let (scheme, rest) = scheme(text).map_err(wrong)?;
        let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        if !rest.starts_with('/') {
            if scheme.is_empty() {
                return Err(wrong("invalid URI for request"));
            }
            let (scheme, host, path) = (scheme.to_lowercase(), String::new(), String::new());
            return Ok(Self { scheme, host, path, query: query.to_owned() });
        }
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() => match rest.find('/') {
                Some(at) => rest.split_at(at),
                None => (rest, ""),
            },
            _ => ("", rest),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        check_host(host).map_err(|what| wrong(&what))?;
        if let Some(at) = bad_escape(path) {
            return Err(wrong(&format!("invalid URL escape {at:?}")));
        }
        let scheme = scheme.to_lowercase();
        Ok(Self { scheme, host: host.to_owned(), path: escape(path), query: query.to_owned() })
    }

    fn split_host(&self) -> (&str, &str) {
        let host = self.host.as_str();
        match host.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((name, port)) => (name, port.trim_start_matches(':')),
            None => host.split_once(':').unwrap_or((host, "")),
        }
    }

    fn query<'a>(&self) -> Val<'a> {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for part in self.query.split('&').filter(|part| !part.is_empty() && !part.contains(';')) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if let (Some(name), Some(value)) = (decode(name), decode(value)) {
                all.entry(name).or_default().push(value);
            }
        }
        let entries = all.into_iter().map(|(name, values)| {
            let values = Val::list(values.iter().map(Val::text).collect());
            (Key::Text(name.as_str().into()), (Val::text(&name), values))
        });
        Val::Map(Map::Made(Rc::new(entries.collect())))
    }
}

fn scheme(text: &str) -> Result<(&str, &str), &'static str> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme"),
            ':' => return Ok((&text[..at], &text[at + 1..])),
            _ => break,
        }
    }
    Ok(("", text))
}

fn check_host(host: &str) -> Result<(), String> {
    let port = match host.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((_, port)) => port,
            None => return Err("missing ']' in host".to_owned()),
        },
        None => host.find(':').map_or("", |at| &host[at..]),
    };
    let numeric = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    if !numeric {
        return Err(format!("invalid port {port:?} after host"));
    }
    let bad = |c: &char| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' | '#');
    if let Some(c) = host.chars().find(bad) {
        return Err(format!("invalid character {:?} in host name", c.to_string()));
    }
    Ok(())
}

fn bad_escape(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    (0..bytes.len()).filter(|at| bytes[*at] == b'%').find_map(|at| {
        let escape = &bytes[at..bytes.len().min(at + 3)];
        let valid = escape.len() == 3 && escape[1..].iter().all(u8::is_ascii_hexdigit);
        (!valid).then(|| String::from_utf8_lossy(escape).into_owned())
    })
}

/// Characters that a path may not hold as they are.
fn escape(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~$&+,/:;=@!'()*%[]".contains(c);
    path.chars().fold(String::new(), |mut out, c| {
        if plain(c) {
            out.push(c);
        } else {
            let mut buffer = [0; 4];
            for byte in c.encode_utf8(&mut buffer).bytes() {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    })
}

fn decode(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        match bytes[at] {
            b'%' => {
                let digit = |at: usize| char::from(*bytes.get(at)?).to_digit(16);
                out.push(u8::try_from(digit(at + 1)? * 16 + digit(at + 2)?).ok()?);
                at += 2;
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
        at += 1;
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

pub(super) fn call<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    Some(match (name, args) {
        ("isURL", [Val::String(text)]) => Ok(Val::Bool(Url::parse(text).is_ok())),
        ("url", [Val::String(text)]) => match Url::parse(text) {
            Ok(url) => Ok(Val::Opaque(Opaque::Url(Rc::new(url)))),
            Err(error) => fault(format!("URL parse error during conversion from string: {error}")),
        },
        (name, [Val::Opaque(Opaque::Url(url))]) => Ok(match name {
            "getScheme" => Val::text(&url.scheme),
            "getHost" => Val::text(&url.host),
            "getHostname" => Val::text(url.split_host().0),
            "getPort" => Val::text(url.split_host().1),
            "getEscapedPath" => Val::text(&url.path),
            "getQuery" => url.query(),
            _ => return None,
        }),
        _ => return None,
    })
}
