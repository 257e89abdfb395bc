//! Continue tokens: opaque to clients, the key after which the next page begins and the revision it is read at.
//!
//! The form is the original's: unpadded URL-safe base64 of `{"v":"meta.k8s.io/v1","rv":…,"start":"…"}`, where
//! `start` is the last key's `namespace/name` and a zero byte; `left` is ours.
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{DecodeError, Engine};
use knarr_api::status::Status;
use serde::{Deserialize, Serialize};

/// A decoded token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Token {
    v: String,
    /// Revision of the first page; -1: take the newest state, whatever it is.
    pub rv: i64,
    start: String,
    /// Objects behind that key at that revision, where they were counted: no page after the first counts again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
}

impl Token {
    /// The token of the page after the object at `namespace/name`.
    pub fn after(revision: i64, namespace: &str, name: &str) -> Self {
        let start = if namespace.is_empty() { format!("{name}\0") } else { format!("{namespace}/{name}\0") };
        Self { v: "meta.k8s.io/v1".to_owned(), rv: revision, start, left: None }
    }

    /// Decodes a token.
    ///
    /// # Errors
    /// 400 for what is none.
    pub fn parse(text: &str) -> Result<Self, Status> {
        Self::decode(text).map_err(|e| {
            Status::bad_request(format!("invalid continue token: continue key is not valid: {e}"))
        })
    }

    fn decode(text: &str) -> Result<Self, String> {
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                DecodeError::InvalidLength(length) => length,
                DecodeError::InvalidPadding => text.find('=').unwrap_or(text.len()),
            };
            format!("illegal base64 data at input byte {at}")
        })?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        if token.v != "meta.k8s.io/v1" {
            return Err(format!("server does not recognize this encoded version {}", token.v));
        }
        if token.rv == 0 {
            return Err("incorrect encoded start resourceVersion (version meta.k8s.io/v1)".to_owned());
        }
        if token.start.is_empty() {
            return Err("encoded start key empty (version meta.k8s.io/v1)".to_owned());
        }
        let mut parts = token.start.trim_start_matches('/').split('/');
        if parts.any(|part| matches!(part, "" | "." | "..")) {
            return Err(token.start);
        }
        Ok(token)
    }

    /// Namespace (of a namespaced resource) and name of the last object of the page before.
    pub fn last(&self, namespaced: bool) -> (&str, &str) {
        let start = self.start.trim_end_matches('\0');
        if namespaced { start.split_once('/').unwrap_or(("", start)) } else { ("", start) }
    }

    /// The text clients get.
    pub fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::Token;

    #[test]
    fn both_ways() {
        let token = Token::after(7, "ns", "a.b");
        let read = Token::parse(&token.encode()).unwrap();
        assert_eq!(read, token);
        assert_eq!(read.last(true), ("ns", "a.b"));
        assert_eq!(Token::after(7, "", "node").last(false), ("", "node"));
        assert!(Token::parse("nonsense").is_err());
    }
}
