//! Certificates that are shown to clients who ask for a name (`--tls-sni-cert-key`; RFC 6066, section 3).
use anyhow::{Result, ensure};
use knarr_reload::identity::Shown;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// `CERTIFICATE,KEY`, or `CERTIFICATE,KEY:NAME,NAME`: the files, and the names they are shown for; without names, those
/// of the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedCertificate {
    certificate: PathBuf,
    key: PathBuf,
    /// `example.com`, or `*.example.com` for whatever is one label longer.
    names: Vec<String>,
}

impl FromStr for NamedCertificate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (files, names) = text.split_once(':').unwrap_or((text, ""));
        let Some((certificate, key)) = files.split_once(',').filter(|(_, key)| !key.contains(',')) else {
            return Err("expected comma separated certificate and key file paths".to_owned());
        };
        if certificate.is_empty() || key.is_empty() {
            return Err("certificate and key file paths must not be empty".to_owned());
        }
        let names: Vec<_> = names.split(',').filter(|name| !name.is_empty()).map(str::to_lowercase).collect();
        match names.iter().find(|name| !is_pattern(name)) {
            Some(bad) => Err(format!("{bad:?} is no domain name, nor *. and one")),
            None => Ok(Self { certificate: certificate.into(), key: key.into(), names }),
        }
    }
}

/// What the server shows: of the first certificate that has the name asked for, those told for it before those that
/// only hold it, whole names before `*`; else the default.
#[derive(Debug)]
pub struct ByName {
    default: Shown,
    /// Each of `by_name` points here.
    named: Vec<Shown>,
    by_name: HashMap<String, usize>,
}

impl ByName {
    /// Reads the certificates, which are followed as the default one is.
    ///
    /// # Errors
    /// Files that hold none.
    pub fn new(default: Shown, given: &[NamedCertificate]) -> Result<Self> {
        let mut named = Vec::with_capacity(given.len());
        let mut by_name = HashMap::new();
        let mut held = Vec::new();
        for (index, given) in given.iter().enumerate() {
            let shown = Shown::of_files(&given.certificate, &given.key)?;
            if given.names.is_empty() {
                let names = names(&shown.now().cert[0])?;
                ensure!(!names.is_empty(), "{} names no domain", given.certificate.display());
                held.extend(names.into_iter().map(|name| (name, index)));
            }
            for name in &given.names {
                by_name.entry(name.clone()).or_insert(index);
            }
            named.push(shown);
        }
        for (name, index) in held {
            by_name.entry(name).or_insert(index);
        }
        Ok(Self { default, named, by_name })
    }

    fn chosen(&self, name: Option<&str>) -> &Shown {
        let found = name.and_then(|name| {
            let name = name.to_lowercase();
            let wild = || name.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            self.by_name.get(&name).or_else(|| self.by_name.get(&wild()?))
        });
        found.map_or(&self.default, |index| &self.named[*index])
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.chosen(hello.server_name()).now())
    }
}

/// The domains of a certificate: its alternative names, or its common name where it has none.
fn names(certificate: &CertificateDer<'_>) -> Result<Vec<String>> {
    let (_, parsed) = X509Certificate::from_der(certificate)?;
    let mut names = Vec::new();
    if let Some(alternative) = parsed.subject_alternative_name()? {
        names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_lowercase()),
            _ => None,
        }));
    } else {
        names.extend(
            parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok()).map(str::to_lowercase),
        );
    }
    names.retain(|name| is_pattern(name));
    Ok(names)
}

fn is_pattern(name: &str) -> bool {
    let domain = name.strip_prefix("*.").unwrap_or(name);
    // Clients ask for names; an address never comes in this way.
    domain.parse::<IpAddr>().is_err() && knarr_api::names::dns_subdomain(domain).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn write(directory: &Path, name: &str, domains: &[&str]) -> String {
        let made =
            rcgen::generate_simple_self_signed(domains.iter().map(|d| (*d).to_owned()).collect::<Vec<_>>());
        let made = made.unwrap();
        let path = |ending: &str| directory.join(format!("{name}.{ending}"));
        std::fs::write(path("crt"), made.cert.pem()).unwrap();
        std::fs::write(path("key"), made.signing_key.serialize_pem()).unwrap();
        format!("{},{}", path("crt").display(), path("key").display())
    }

    #[test]
    fn the_name_asked_for_decides() {
        let directory = tempfile::tempdir().unwrap();
        let default = write(directory.path(), "default", &["localhost"]);
        let default: NamedCertificate = default.parse().unwrap();
        let default = Shown::of_files(&default.certificate, &default.key).unwrap();
        let own = write(directory.path(), "own", &["a.example.com", "b.example.com", "*.c.example.com"]);
        let told = write(directory.path(), "told", &["elsewhere"]) + ":b.example.com,*.Example.com";
        let given = [own.parse().unwrap(), told.parse().unwrap()];
        let shown = ByName::new(default, &given).unwrap();
        let is = |name: Option<&str>| match shown.chosen(name) {
            chosen if std::ptr::eq(chosen, &shown.named[0]) => "own",
            chosen if std::ptr::eq(chosen, &shown.named[1]) => "told",
            _ => "default",
        };
        for (name, expected) in [
            (Some("a.example.com"), "own"),
            (Some("A.Example.com"), "own"),
            (Some("b.example.com"), "told"),
            (Some("x.example.com"), "told"),
            (Some("x.c.example.com"), "own"),
            (Some("y.x.c.example.com"), "default"),
            (Some("example.com"), "default"),
            (None, "default"),
        ] {
            assert_eq!(is(name), expected, "{name:?}");
        }
    }

    #[test]
    fn texts() {
        for refused in ["", "crt", ",key", "crt,", "a,b,c", "crt,key:*", "crt,key:a..b", "crt,key:10.0.0.1:1"]
        {
            assert!(refused.parse::<NamedCertificate>().is_err(), "{refused}");
        }
    }
}
