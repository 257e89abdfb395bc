//! Identity headers of a trusted front proxy, which proves itself by a certificate (`--requestheader-…`).
use super::x509::Verifier;
use crate::registry::options::unescape_path;
use crate::user::User;
use http::{HeaderMap, HeaderValue};
use knarr_reload::Reloaded;
use rustls::pki_types::CertificateDer;

/// The proxy's authority and the headers it sends.
pub struct FrontProxy {
    /// Verifies the proxy's certificate.
    pub verifier: Reloaded<Verifier>,
    /// Common names the proxy may have; empty: any.
    pub allowed_names: Vec<String>,
    /// Headers with the user name.
    pub username_headers: Vec<String>,
    /// Headers with the uid.
    pub uid_headers: Vec<String>,
    /// Headers with one group each.
    pub group_headers: Vec<String>,
    /// Prefixes of headers with extras.
    pub extra_prefixes: Vec<String>,
}

impl FrontProxy {
    /// Is this the proxy's certificate?
    pub fn trusts(&self, verifier: &Verifier, chain: &[CertificateDer<'static>]) -> bool {
        let name = verifier.common_name(chain);
        name.is_some_and(|name| self.allowed_names.is_empty() || self.allowed_names.contains(&name))
    }

    /// The user the headers name; the headers are taken away.
    pub fn user(&self, headers: &mut HeaderMap) -> Option<User> {
        let first = |names: &[String]| names.iter().find_map(|h| headers.get(h)).map(text);
        let name = first(&self.username_headers).filter(|name| !name.is_empty())?;
        let groups = self.group_headers.iter().flat_map(|h| headers.get_all(h)).map(text);
        let mut user = User {
            name,
            uid: first(&self.uid_headers).unwrap_or_default(),
            groups: groups.collect(),
            ..User::default()
        };
        collect_extra(headers, &self.extra_prefixes, &mut user);
        let own = |name: &str| {
            let is = |list: &[String]| list.iter().any(|h| h.eq_ignore_ascii_case(name));
            is(&self.username_headers)
                || is(&self.uid_headers)
                || is(&self.group_headers)
                || self.extra_prefixes.iter().any(|p| starts_with(name, p))
        };
        let names: Vec<_> = headers.keys().filter(|name| own(name.as_str())).cloned().collect();
        for name in names {
            headers.remove(name);
        }
        Some(user)
    }
}

/// Reads `‹prefix›‹key›: value` headers into `extra`; keys are lower case and may be percent-encoded.
pub fn collect_extra(headers: &HeaderMap, prefixes: &[String], user: &mut User) {
    for (name, value) in headers {
        let Some(prefix) = prefixes.iter().find(|prefix| starts_with(name.as_str(), prefix)) else {
            continue;
        };
        let key = &name.as_str()[prefix.len()..];
        user.extra.entry(unescape_path(key)).or_default().push(text(value));
    }
}

/// A header's value. Bytes that are no UTF-8 become replacement characters: a name that is there is never taken for one
/// that is not.
pub fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}
