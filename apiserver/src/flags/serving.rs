//! Flags about the connections of the server, as hardened manifests of the original carry them.
use crate::certs::NamedCertificate;
use crate::server::cors::Cors;
use crate::server::listen::Manners;
use clap::{ArgAction, Args};
use http::HeaderValue;
use knarr_reload::protocol::{Minimum, no_profiles};
use std::path::PathBuf;
use std::time::Duration;

/// What is spoken, how much of it, and how it ends.
#[derive(Args, Clone, Debug)]
pub struct ServingArgs {
    /// Cipher suites of TLS 1.2, by the names of the standard; those of TLS 1.3 are always on.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub tls_cipher_suites: Vec<String>,
    /// The oldest version of TLS that is spoken.
    #[arg(long, value_name = "VERSION", default_value = "VersionTLS12", value_parser = Minimum::parse)]
    pub tls_min_version: Minimum,
    /// Certificate and key to show to clients who ask for one of these names, `CERTIFICATE,KEY:NAME,*.DOMAIN`; without
    /// names, for those of the certificate.
    #[arg(long, value_name = "FILES:NAMES")]
    pub tls_sni_cert_key: Vec<NamedCertificate>,
    /// Where the serving certificate is kept when none is given: `apiserver.crt` and `apiserver.key`, made where they
    /// are missing; default: in memory.
    #[arg(long, value_name = "DIRECTORY")]
    pub cert_dir: Option<PathBuf>,
    /// Origins of pages that may read answers, regular expressions: `//localhost(:|$)`.
    #[arg(long, value_name = "EXPRESSION", value_delimiter = ',')]
    pub cors_allowed_origins: Vec<String>,
    /// How likely an HTTP/2 connection takes no more requests after one, 0 to 0.02, so that clients spread over several
    /// servers behind one address.
    #[arg(long, value_name = "CHANCE", default_value_t = 0.0, value_parser = chance)]
    pub goaway_chance: f64,
    /// Streams that a client may have on one HTTP/2 connection; 0 leaves it at 2000.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub http2_max_streams_per_connection: u32,
    /// Parts of the header that tells browsers to speak TLS alone: `max-age=31536000,includeSubDomains,preload`.
    #[arg(long, value_name = "DIRECTIVE", value_delimiter = ',', value_parser = directive)]
    pub strict_transport_security_directives: Vec<String>,
    /// How long requests are still served, while `/readyz` already fails, before the server ends.
    #[arg(long, default_value = "0s", value_parser = super::duration)]
    pub shutdown_delay_duration: Duration,
    /// Whether a token's ServiceAccount must still exist; it always must.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = always)]
    pub service_account_lookup: bool,
    /// Whether profiles of the process are served; they cannot be, which is the default.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = no_profiles)]
    pub profiling: bool,
    /// Whether waiting for locks is profiled; it cannot be, which is the default.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", value_parser = no_profiles)]
    pub contention_profiling: bool,
}

impl ServingArgs {
    /// What holds of all connections.
    ///
    /// # Errors
    /// Origins that are no expressions, or match what only begins or ends like the one meant.
    pub fn manners(&self) -> Result<Manners, String> {
        Ok(Manners {
            streams: self.http2_max_streams_per_connection,
            strict_transport_security: self.strict_transport_security(),
            cors: Cors::new(&self.cors_allowed_origins)?,
            goaway_chance: self.goaway_chance,
        })
    }

    /// The value of `Strict-Transport-Security`; none: it is not sent.
    fn strict_transport_security(&self) -> Option<HeaderValue> {
        let directives = &self.strict_transport_security_directives;
        (!directives.is_empty()).then(|| HeaderValue::from_str(&directives.join("; ")).ok()).flatten()
    }
}

fn directive(text: &str) -> Result<String, String> {
    let is_age = |text: &str| text.strip_prefix("max-age=").is_some_and(|age| age.parse::<u64>().is_ok());
    match text {
        "includeSubDomains" | "preload" => Ok(text.to_owned()),
        text if is_age(text) => Ok(text.to_owned()),
        _ => Err("known are max-age=SECONDS, includeSubDomains and preload".to_owned()),
    }
}

fn chance(text: &str) -> Result<f64, String> {
    let chance = text.parse::<f64>().map_err(|error| error.to_string())?;
    let is_small = (0.0..=0.02).contains(&chance);
    is_small.then_some(chance).ok_or_else(|| "can not be less than 0 or greater than 0.02".to_owned())
}

fn always(text: &str) -> Result<bool, String> {
    match text.parse() {
        Ok(true) => Ok(true),
        Ok(false) => Err("tokens of accounts that are gone are never taken".to_owned()),
        Err(_) => Err("neither true nor false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        serving: ServingArgs,
    }

    #[test]
    fn flags_of_hardened_manifests() {
        let parse = |flags: &[&str]| Only::try_parse_from(["x"].iter().chain(flags)).map(|only| only.serving);
        let found = parse(&[
            "--profiling=false",
            "--tls-min-version=VersionTLS13",
            "--service-account-lookup=true",
            "--strict-transport-security-directives=max-age=31536000,includeSubDomains",
            "--shutdown-delay-duration=5s",
        ])
        .unwrap();
        assert_eq!(
            (found.tls_min_version, found.shutdown_delay_duration),
            (Minimum::Tls13, Duration::from_secs(5))
        );
        assert_eq!(found.strict_transport_security().unwrap(), "max-age=31536000; includeSubDomains");
        assert_eq!(parse(&[]).unwrap().strict_transport_security(), None);
        for refused in [
            "--profiling=true",
            "--profiling",
            "--tls-min-version=VersionTLS11",
            "--service-account-lookup=false",
            "--goaway-chance=0.03",
            "--goaway-chance=often",
            "--tls-sni-cert-key=only.crt",
            "--strict-transport-security-directives=max-age=long",
        ] {
            assert!(parse(&[refused]).is_err(), "{refused}");
        }
    }
}
