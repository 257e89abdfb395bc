//! What a server speaks: versions and cipher suites of TLS, by the names that the original's flags take.
use crate::identity::provider;
use anyhow::bail;
use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minimum {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

impl Minimum {
    /// Reads `VersionTLS12` or `VersionTLS13`.
    ///
    /// # Errors
    /// Another version, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "VersionTLS12" => Ok(Self::Tls12),
            "VersionTLS13" => Ok(Self::Tls13),
            "VersionTLS10" | "VersionTLS11" => Err("versions before TLS 1.2 are not spoken".to_owned()),
            _ => Err("known are VersionTLS12 and VersionTLS13".to_owned()),
        }
    }

    /// The versions from this one on.
    pub fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
        match self {
            Self::Tls12 => &VERSIONS,
            Self::Tls13 => &VERSIONS[..1],
        }
    }
}

/// Reads the value of `--profiling` and its like, which can only be false.
///
/// # Errors
/// Another value, in words.
pub fn no_profiles(text: &str) -> Result<bool, String> {
    match text.parse() {
        Ok(false) => Ok(false),
        Ok(true) => Err("there are no profiles of this program: they are the Go runtime's".to_owned()),
        Err(_) => Err("neither true nor false".to_owned()),
    }
}

/// The provider with only the suites of TLS 1.2 that have these names; all where none is named.
///
/// # Errors
/// A suite that is not known.
pub fn suites(names: &[String]) -> anyhow::Result<CryptoProvider> {
    let mut provider = (*provider()).clone();
    if names.is_empty() {
        return Ok(provider);
    }
    let name = |suite: &rustls::SupportedCipherSuite| {
        let name = format!("{:?}", suite.suite());
        name.strip_prefix("TLS13").map_or_else(|| name.clone(), |rest| format!("TLS{rest}"))
    };
    let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
    // Go knows these by a shorter name too.
    let wanted: Vec<String> = names
        .iter()
        .map(|name| match name.strip_suffix("_CHACHA20_POLY1305") {
            Some(_) => format!("{name}_SHA256"),
            None => name.clone(),
        })
        .collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name)) {
        bail!("--tls-cipher-suites: {unknown} is not supported; supported are {}", known.join(", "));
    }
    provider.cipher_suites.retain(|suite| suite.tls13().is_some() || wanted.contains(&name(suite)));
    Ok(provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cipher_suites_by_name() {
        let count = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            suites(&names).map(|provider| provider.cipher_suites.len()).ok()
        };
        let all = count(&[]).unwrap();
        let of_13 = count(&["TLS_AES_128_GCM_SHA256"]).unwrap();
        assert!(of_13 < all);
        assert_eq!(count(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]), Some(of_13 + 1));
        assert_eq!(count(&["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]), Some(of_13 + 1));
        assert_eq!(count(&["TLS_RSA_WITH_AES_128_CBC_SHA"]), None);
    }
}
