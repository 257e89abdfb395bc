//! Answers for pages of other origins (`--cors-allowed-origins`; Fetch standard, section 3.2).
use http::{HeaderMap, HeaderValue, header};
use knarr_api::re2::Regex;

/// What a page of an allowed origin may do.
const METHODS: HeaderValue = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE, PATCH");
/// What it may send.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token, Authorization, X-Requested-With, If-Modified-Since",
);
/// What it may read.
const EXPOSED: HeaderValue = HeaderValue::from_static("Date");

/// Origins that pages may come from.
#[derive(Clone, Debug, Default)]
pub struct Cors(Vec<Regex>);

impl Cors {
    /// Origins as regular expressions of RE2, each of which must say where the host begins and ends: by `^` or `//`, and
    /// by `$` or `:`. Else `example.com` would be matched by `example.com.attacker.org`.
    ///
    /// # Errors
    /// The first expression that cannot be used.
    pub fn new(expressions: &[String]) -> Result<Self, String> {
        let one = |text: &String| {
            let pinned = |marks: [&str; 2]| marks.iter().any(|mark| text.contains(mark));
            if !(pinned(["^", "//"]) && pinned(["$", ":"])) {
                let fault = "regular expression does not pin to start/end of host in the origin header";
                return Err(format!("{fault} - {text:?}"));
            }
            Regex::new(text).map_err(|error| error.to_string())
        };
        expressions.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// The request's origin, if it is allowed.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN).filter(|_| !self.0.is_empty())?;
        let text = origin.to_str().ok()?;
        self.0.iter().any(|allowed| allowed.is_match(text)).then(|| origin.clone())
    }
}

/// Tells a page of an allowed origin that it may read the answer.
pub fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        let cors = |expression: &str| Cors::new(&[expression.to_owned()]);
        for refused in ["example.com", "^example.com", "example.com$", "//[", ".*"] {
            assert!(cors(refused).is_err(), "{refused}");
        }
        let allowed = |expression: &str, origin: &'static str| {
            let headers = HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static(origin))]);
            cors(expression).unwrap().origin(&headers).is_some()
        };
        let local = r"//localhost(:|$)";
        for (expression, origin, expected) in [
            (local, "http://localhost", true),
            (local, "https://localhost:8080", true),
            (local, "https://localhost.example.com", false),
            (r"^https://.*\.example\.com$", "https://a.example.com", true),
            (r"^https://.*\.example\.com$", "http://a.example.com", false),
        ] {
            assert_eq!(allowed(expression, origin), expected, "{expression} {origin}");
        }
        assert!(Cors::default().origin(&HeaderMap::new()).is_none());
    }
}
