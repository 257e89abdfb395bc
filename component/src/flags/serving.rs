//! Flags of a component's HTTPS server: its certificate, and who may use it.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;

use super::duration;

/// Where health and metrics are served over HTTPS. The port has no default here, since each component has its own.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Serving")]
pub struct SecureServing {
    /// Address to serve health and metrics on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Port to serve health and metrics on, over HTTPS; 0 serves none.
    #[arg(long)]
    pub secure_port: Option<u16>,
    /// Directory in which a certificate of the component's own making is kept; without it, it is in memory only.
    #[arg(long, value_name = "DIRECTORY")]
    pub cert_dir: Option<PathBuf>,
    /// Certificate to serve with, followed by intermediates; by default one is made that nobody has signed.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its private key.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Cipher suites of TLS 1.2, by the names of the standard; those of TLS 1.3 are always on.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub tls_cipher_suites: Vec<String>,
    /// The oldest version of TLS that is spoken.
    #[arg(long, value_name = "VERSION", default_value = "VersionTLS12", value_parser = minimum)]
    pub tls_min_version: Minimum,
    /// Streams that a client may have on one HTTP/2 connection; 0 leaves it at 200.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub http2_max_streams_per_connection: u32,
    /// Whether profiles of the process are served; they cannot be, which is the default.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = off)]
    pub profiling: bool,
    /// Whether waiting for locks is profiled; it cannot be, which is the default.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", value_parser = off)]
    pub contention_profiling: bool,
}

/// A version of TLS to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minimum {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

fn minimum(text: &str) -> Result<Minimum, String> {
    match text {
        "VersionTLS12" => Ok(Minimum::Tls12),
        "VersionTLS13" => Ok(Minimum::Tls13),
        "VersionTLS10" | "VersionTLS11" => Err("versions before TLS 1.2 are not spoken".to_owned()),
        _ => Err("known are VersionTLS12 and VersionTLS13".to_owned()),
    }
}

fn off(text: &str) -> Result<bool, String> {
    match text.parse() {
        Ok(false) => Ok(false),
        Ok(true) => Err("there are no profiles of this program: they are the Go runtime's".to_owned()),
        Err(_) => Err("neither true nor false".to_owned()),
    }
}

/// Who uses the server: by certificates, and by tokens that the API server knows.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Authentication")]
pub struct DelegatedAuthentication {
    /// Kubeconfig by which the API server is asked whom a token stands for; without it no token is known.
    #[arg(long, value_name = "FILE")]
    pub authentication_kubeconfig: Option<PathBuf>,
    /// Do not look up at the API server which client certificates are good.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub authentication_skip_lookup: bool,
    /// Serve before it was looked up which client certificates are good. It is always so: they are believed from then on.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", value_parser = tolerated)]
    pub authentication_tolerate_lookup_failure: bool,
    /// How long an answer about a token holds.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub authentication_token_webhook_cache_ttl: Duration,
    /// Authorities of client certificates; by default those that the API server publishes.
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Authorities of front proxies, which say in headers who is asking; by default those that the API server publishes.
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of front proxies; any by default.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers with the user's name.
    #[arg(long, value_delimiter = ',', default_value = "x-remote-user")]
    pub requestheader_username_headers: Vec<String>,
    /// Headers with the user's uid.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers with the user's groups.
    #[arg(long, value_delimiter = ',', default_value = "x-remote-group")]
    pub requestheader_group_headers: Vec<String>,
    /// Prefixes of headers with further facts of the user.
    #[arg(long, value_delimiter = ',', default_value = "x-remote-extra-")]
    pub requestheader_extra_headers_prefix: Vec<String>,
}

fn tolerated(text: &str) -> Result<bool, String> {
    match text.parse() {
        Ok(true) => Ok(true),
        Ok(false) => {
            Err("the server does not wait for the lookup; it refuses unknown certificates".to_owned())
        }
        Err(_) => Err("neither true nor false".to_owned()),
    }
}

/// What users may do with the server, which the API server says.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Authorization")]
pub struct DelegatedAuthorization {
    /// Kubeconfig by which the API server is asked what somebody may; without it only what is always allowed.
    #[arg(long, value_name = "FILE")]
    pub authorization_kubeconfig: Option<PathBuf>,
    /// Paths that anybody may get; one that ends in `*` stands for all that begin so.
    #[arg(long, value_delimiter = ',', default_value = "/healthz,/readyz,/livez")]
    pub authorization_always_allow_paths: Vec<String>,
    /// How long a yes holds.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub authorization_webhook_cache_authorized_ttl: Duration,
    /// How long a no holds.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub authorization_webhook_cache_unauthorized_ttl: Duration,
}

/// Everything that a component's server is told.
#[derive(Debug, Clone, Args)]
pub struct Server {
    /// Address and certificate.
    #[command(flatten)]
    pub serving: SecureServing,
    /// Users.
    #[command(flatten)]
    pub authentication: DelegatedAuthentication,
    /// What they may do.
    #[command(flatten)]
    pub authorization: DelegatedAuthorization,
}
