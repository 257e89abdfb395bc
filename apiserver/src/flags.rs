//! The command line: the original's flag names. Parsed here, then [`Args::complete`]d into what the server runs with.
mod serving;

use crate::audit::AuditArgs;
use crate::authz::Mode;
use crate::runtime_config::RuntimeConfig;
use crate::streaming::Component;
use crate::zpages::Flags;
use clap::{ArgAction, Args as ClapArgs};
use ipnet::IpNet;
use serving::ServingArgs;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Flags of `apiserver`.
#[derive(ClapArgs, Clone, Debug)]
#[command(next_line_help = false)]
pub struct Args {
    /// All of these, for `/flagz`.
    #[command(flatten)]
    pub told: Flags,
    /// Where state is kept: `sqlite:DIRECTORY`, or `postgres://USER@HOST/DATABASE?sslmode=…` which any number of API
    /// servers may share. A password is better given in the variable than on the command line.
    #[arg(
        long,
        visible_alias = "datastore",
        value_name = "URL",
        env = "KNARR_STORAGE",
        hide_env_values = true
    )]
    pub storage: String,
    /// Refused, as the other flags of the original that lead to its database.
    #[arg(long, hide = true, value_parser = no_etcd, alias = "etcd-cafile", alias = "etcd-certfile", alias = "etcd-keyfile")]
    pub etcd_servers: Option<String>,
    /// How long the history of objects is kept, for watches and continued lists; 0: for ever.
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub etcd_compaction_interval: Duration,
    /// Port to serve HTTPS on; 0 picks a free one.
    #[arg(long, default_value_t = 6443)]
    pub secure_port: u16,
    /// Address to listen on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: IpAddr,
    /// Address that members of the cluster reach this server at; default: the bind address, or the host's own.
    #[arg(long)]
    pub advertise_address: Option<IpAddr>,
    /// Whether this server publishes its address as the endpoint of default/kubernetes: `lease` does, `none` leaves that
    /// to another one.
    #[arg(long, default_value = "lease", value_parser = ["lease", "none"])]
    pub endpoint_reconciler_type: String,
    /// Host name for URLs handed out to clients outside.
    #[arg(long, default_value = "")]
    pub external_hostname: String,
    /// Serving certificate, with intermediates; default: a self-signed one (see --cert-dir).
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Key of the serving certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// What is spoken on connections.
    #[command(flatten)]
    pub serving: ServingArgs,
    /// Authorities whose client certificates are users.
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Static tokens: lines of `token,user,uid,"groups"`.
    #[arg(long, value_name = "FILE")]
    pub token_auth_file: Option<PathBuf>,
    /// Requests without credentials are of `system:anonymous` instead of refused; the default.
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub anonymous_auth: Option<bool>,
    /// Tokens of the form `ID.SECRET` are looked up among the Secrets `bootstrap-token-ID` in kube-system.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub enable_bootstrap_token_auth: bool,
    /// Issuers of tokens and rules for requests without credentials: an AuthenticationConfiguration of
    /// apiserver.config.k8s.io. It is read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub authentication_config: Option<PathBuf>,
    /// One issuer of tokens.
    #[command(flatten)]
    pub oidc: OidcArgs,
    /// Kubeconfig of a webhook that knows tokens.
    #[arg(long, value_name = "FILE")]
    pub authentication_token_webhook_config_file: Option<PathBuf>,
    /// Version of the TokenReviews it is sent.
    #[arg(long, default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    pub authentication_token_webhook_version: String,
    /// How long its verdicts hold.
    #[arg(long, default_value = "2m0s", value_parser = duration)]
    pub authentication_token_webhook_cache_ttl: Duration,
    /// Authorization modes, asked in order.
    #[arg(long, value_delimiter = ',', default_value = "AlwaysAllow", value_enum)]
    pub authorization_mode: Vec<Mode>,
    /// Authorizers in order: an AuthorizationConfiguration of apiserver.config.k8s.io, in place of the modes. It is
    /// read again when it changes.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["authorization_mode", "authorization_webhook_config_file"])]
    pub authorization_config: Option<PathBuf>,
    /// Kubeconfig of the webhook of mode Webhook.
    #[arg(long, value_name = "FILE")]
    pub authorization_webhook_config_file: Option<PathBuf>,
    /// Version of the SubjectAccessReviews it is sent.
    #[arg(long, default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    pub authorization_webhook_version: String,
    /// How long its yes holds.
    #[arg(long, default_value = "5m0s", value_parser = duration)]
    pub authorization_webhook_cache_authorized_ttl: Duration,
    /// How long anything else it says holds.
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub authorization_webhook_cache_unauthorized_ttl: Duration,
    /// Paths anybody may get.
    #[arg(long, value_delimiter = ',', default_value = "/healthz,/readyz,/livez")]
    pub authorization_always_allow_paths: Vec<String>,
    /// Admission plugins to use beside the default ones.
    #[arg(long, value_delimiter = ',')]
    pub enable_admission_plugins: Vec<String>,
    /// Default admission plugins to leave out.
    #[arg(long, value_delimiter = ',')]
    pub disable_admission_plugins: Vec<String>,
    /// What single admission plugins are told (apiserver.config.k8s.io/v1 AdmissionConfiguration).
    #[arg(long, value_name = "FILE")]
    pub admission_control_config_file: Option<PathBuf>,
    /// Seconds a pod tolerates a node that is not ready, unless it says itself.
    #[arg(long, default_value_t = 300)]
    pub default_not_ready_toleration_seconds: i64,
    /// Seconds a pod tolerates a node that is unreachable, unless it says itself.
    #[arg(long, default_value_t = 300)]
    pub default_unreachable_toleration_seconds: i64,
    /// Issuers of ServiceAccount tokens: the first issues, all are accepted.
    #[arg(long, value_delimiter = ',', default_value = "https://kubernetes.default.svc.cluster.local")]
    pub service_account_issuer: Vec<String>,
    /// Keys that verify ServiceAccount tokens, public or private; default: the signing key.
    #[arg(long, value_name = "FILE")]
    pub service_account_key_file: Vec<PathBuf>,
    /// Key that signs ServiceAccount tokens.
    #[arg(long, value_name = "FILE")]
    pub service_account_signing_key_file: Option<PathBuf>,
    /// The longest life of a ServiceAccount token; 0: no limit of its own.
    #[arg(long, default_value = "0", value_parser = duration)]
    pub service_account_max_token_expiration: Duration,
    /// Pods' tokens live for a year, and use after their time is only noted.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub service_account_extend_token_expiration: bool,
    /// URI of the token keys in the issuer's discovery document.
    #[arg(long, default_value = "")]
    pub service_account_jwks_uri: String,
    /// Audiences of this server; default: the issuers.
    #[arg(long, value_delimiter = ',')]
    pub api_audiences: Vec<String>,
    /// Addresses of Services; one range, or one an address family.
    #[arg(long, value_delimiter = ',', default_value = "10.96.0.0/12")]
    pub service_cluster_ip_range: Vec<IpNet>,
    /// Ports of Services on nodes, `30000-32767` or `30000+2768`.
    #[arg(long, default_value = "30000-32767", value_parser = port_range)]
    pub service_node_port_range: RangeInclusive<u16>,
    /// Authority of kubelets' serving certificates; default: they are not verified.
    #[arg(long, value_name = "FILE")]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// Certificate to show to kubelets.
    #[arg(long, value_name = "FILE", requires = "kubelet_client_key")]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "kubelet_client_certificate")]
    pub kubelet_client_key: Option<PathBuf>,
    /// How long a kubelet may take to answer a connection.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub kubelet_timeout: Duration,
    /// Kinds of node addresses to reach kubelets at, best first.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP"
    )]
    pub kubelet_preferred_address_types: Vec<String>,
    /// Certificate to show to aggregated API servers.
    #[arg(long, value_name = "FILE")]
    pub proxy_client_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    pub proxy_client_key_file: Option<PathBuf>,
    /// Components that `componentstatuses` tells of beside the database, and where they tell of their health.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "NAME=URL",
        default_value = "scheduler=https://127.0.0.1:10259/healthz,controller-manager=https://127.0.0.1:10257/healthz"
    )]
    pub component_health: Vec<Component>,
    /// Services that extend this server are reached at their endpoints instead of their cluster addresses.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub enable_aggregator_routing: bool,
    /// Authority of front proxies whose identity headers are believed.
    #[arg(long, value_name = "FILE")]
    pub requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of such proxies; default: any.
    #[arg(long, value_delimiter = ',')]
    pub requestheader_allowed_names: Vec<String>,
    /// Headers with the user's name.
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-User")]
    pub requestheader_username_headers: Vec<String>,
    /// Headers with the user's uid.
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Uid")]
    pub requestheader_uid_headers: Vec<String>,
    /// Headers with the user's groups.
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Group")]
    pub requestheader_group_headers: Vec<String>,
    /// Prefixes of headers with further facts of the user.
    #[arg(long, value_delimiter = ',', default_value = "X-Remote-Extra-")]
    pub requestheader_extra_headers_prefix: Vec<String>,
    /// Reads worked on at once; 0: no limit.
    #[arg(long, default_value_t = 400)]
    pub max_requests_inflight: usize,
    /// Writes worked on at once; 0: no limit.
    #[arg(long, default_value_t = 200)]
    pub max_mutating_requests_inflight: usize,
    /// Requests wait by priority and fairness, for the sum of both limits; else each limit stands for itself.
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub enable_priority_and_fairness: bool,
    /// Time for a request that is no watch or stream.
    #[arg(long, default_value = "1m0s", value_parser = duration)]
    pub request_timeout: Duration,
    /// The least time a watch lasts, in seconds.
    #[arg(long, default_value_t = 1800)]
    pub min_request_timeout: u64,
    /// How long events are kept.
    #[arg(long, default_value = "1h0m0s", value_parser = duration)]
    pub event_ttl: Duration,
    /// API versions and resources to switch on or off: `api/all=true`, `api/beta=true`, `batch/v1=false`,
    /// `resource.k8s.io/v1beta1/deviceclasses=true`.
    #[arg(long, value_delimiter = ',')]
    pub runtime_config: Vec<String>,
    /// Feature gates to switch on or off, `Name=true`.
    #[arg(long, value_delimiter = ',')]
    pub feature_gates: Vec<String>,
    /// How values are encrypted in the database (apiserver.config.k8s.io/v1 EncryptionConfiguration); none: not at all.
    #[arg(long, value_name = "FILE")]
    pub encryption_provider_config: Option<PathBuf>,
    /// That file is followed.
    #[arg(long, default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub encryption_provider_config_automatic_reload: bool,
    /// The audit log.
    #[command(flatten)]
    pub audit: AuditArgs,
    /// Privileged containers are allowed (kept for old command lines: pod security decides).
    #[arg(long, default_value_t = true, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub allow_privileged: bool,
}

fn no_etcd(_: &str) -> Result<String, String> {
    Err("there is no etcd: see --storage".to_owned())
}

/// One issuer of tokens, by flags.
#[derive(ClapArgs, Clone, Debug, Default)]
pub struct OidcArgs {
    /// `iss` of the tokens of an OpenID issuer, an https URL.
    #[arg(long, default_value = "", requires = "oidc_client_id")]
    pub oidc_issuer_url: String,
    /// `aud` of its tokens.
    #[arg(long, default_value = "", requires = "oidc_issuer_url")]
    pub oidc_client_id: String,
    /// The claim with the user's name.
    #[arg(long, default_value = "sub")]
    pub oidc_username_claim: String,
    /// What stands before the user's name; `-`: nothing; default: the issuer and `#`, nothing before email addresses.
    #[arg(long, default_value = "")]
    pub oidc_username_prefix: String,
    /// The claim with the user's groups.
    #[arg(long, default_value = "")]
    pub oidc_groups_claim: String,
    /// What stands before each group.
    #[arg(long, default_value = "")]
    pub oidc_groups_prefix: String,
    /// Claims that tokens must have, `NAME=VALUE`.
    #[arg(long, value_delimiter = ',')]
    pub oidc_required_claim: Vec<String>,
    /// Algorithms that tokens may be signed with.
    #[arg(long, value_delimiter = ',', default_value = "RS256")]
    pub oidc_signing_algs: Vec<String>,
    /// Authorities of the issuer; default: those of the system.
    #[arg(long, value_name = "FILE")]
    pub oidc_ca_file: Option<PathBuf>,
}

/// Why the flags make no server.
#[derive(Debug, thiserror::Error)]
pub enum FlagError {
    /// An admission plugin nobody knows.
    #[error("unknown admission plugin {0:?}")]
    UnknownPlugin(String),
    /// What admission plugins are told cannot be.
    #[error("--admission-control-config-file: {0}")]
    AdmissionConfig(#[from] crate::config_file::ConfigError),
    /// Two ranges of one family, or more than two.
    #[error("--service-cluster-ip-range takes one range, or two of different address families")]
    ServiceRanges,
    /// No key to sign with.
    #[error("--service-account-signing-key-file or --service-account-key-file is required")]
    TokenKeys,
    /// Two ways to say the same.
    #[error("--{0} and --{1} cannot be used together")]
    Exclusive(&'static str, &'static str),
    /// A `NAME=BOOL` that is none.
    #[error("--feature-gates: {0:?} is not NAME=true or NAME=false")]
    Switch(String),
    /// Versions that do not exist, or are switched to neither on nor off.
    #[error("--runtime-config: {0}")]
    RuntimeConfig(String),
}

/// The parts of `NAME=BOOL`.
fn switch(text: &str) -> Result<(&str, bool), FlagError> {
    let parts = text.split_once('=').and_then(|(name, value)| Some((name, value.parse().ok()?)));
    parts.ok_or_else(|| FlagError::Switch(text.to_owned()))
}

impl Args {
    /// Checks what one flag alone cannot show, and fills in what follows from others.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn complete(mut self) -> Result<Self, FlagError> {
        match &self.service_cluster_ip_range[..] {
            [_] => {}
            [one, two] if one.addr().is_ipv4() != two.addr().is_ipv4() => {}
            _ => return Err(FlagError::ServiceRanges),
        }
        if self.service_account_signing_key_file.is_none() && self.service_account_key_file.is_empty() {
            return Err(FlagError::TokenKeys);
        }
        if self.authentication_config.is_some() && !self.oidc.oidc_issuer_url.is_empty() {
            return Err(FlagError::Exclusive("authentication-config", "oidc-issuer-url"));
        }
        for text in &self.feature_gates {
            switch(text)?;
        }
        self.served()?;
        if self.advertise_address.is_none() {
            self.advertise_address = Some(match self.bind_address {
                address if address.is_unspecified() => host_address(),
                address => address,
            });
        }
        Ok(self)
    }

    /// The feature gates to set, by name.
    ///
    /// # Errors
    /// A text that is no `NAME=BOOL`.
    pub fn gates(&self) -> Result<Vec<(&str, bool)>, FlagError> {
        self.feature_gates.iter().map(|text| switch(text)).collect()
    }

    /// The API versions and resources to serve.
    ///
    /// # Errors
    /// A version that does not exist, or is switched to neither on nor off.
    pub fn served(&self) -> Result<RuntimeConfig, FlagError> {
        let api = knarr_api::table::builtin();
        RuntimeConfig::parse(api, &self.runtime_config).map_err(FlagError::RuntimeConfig)
    }

    /// What tells this server from the others of its cluster.
    pub fn known_as(&self) -> String {
        format!("{}:{}", self.advertised(), self.secure_port)
    }

    /// [`Args::advertise_address`] after completion.
    pub fn advertised(&self) -> IpAddr {
        self.advertise_address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

/// The address of the interface with the default route: what a datagram to anywhere would be sent from. Nothing is
/// sent.
fn host_address() -> IpAddr {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0");
    let address = socket.and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::server::chain::go_duration(text)
        .ok_or_else(|| format!("{text:?} is no duration (1h, 1m30s, 250ms)"))
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let bad = || format!("{text:?} is no range of ports (30000-32767, 30000+2768)");
    let number = |text: &str| text.trim().parse::<u16>().map_err(|_| bad());
    let (first, last) = match (text.split_once('-'), text.split_once('+')) {
        (Some((first, last)), _) => (number(first)?, number(last)?),
        (None, Some((first, more))) => {
            (number(first)?, number(first)?.checked_add(number(more)?).ok_or_else(bad)?)
        }
        (None, None) => (number(text)?, number(text)?),
    };
    if first == 0 || last < first { Err(bad()) } else { Ok(first..=last) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(text: &str) -> Result<Args, String> {
        let words = std::iter::once("apiserver").chain(text.split_whitespace());
        let command = Command::try_parse_from(words).map_err(|e| e.to_string())?;
        command.args.complete().map_err(|e| e.to_string())
    }

    #[test]
    fn command_lines() {
        let base = "--storage sqlite:x --service-account-signing-key-file k";
        let args = parse(&format!("{base} --authorization-mode=Node,RBAC --anonymous-auth=false")).unwrap();
        assert_eq!(args.authorization_mode, [Mode::Node, Mode::Rbac]);
        assert!(args.anonymous_auth == Some(false) && args.service_account_extend_token_expiration);
        assert_eq!(args.service_node_port_range, 30000..=32767);
        let args =
            parse(&format!("{base} --service-node-port-range 80+20 --bind-address 127.0.0.1")).unwrap();
        assert_eq!(
            (args.service_node_port_range.clone(), args.advertised().to_string()),
            (80..=100, "127.0.0.1".into())
        );
        for bad in [
            "--storage x",
            &format!("{base} --service-node-port-range 9-8"),
            &format!("{base} --service-cluster-ip-range 10.0.0.0/8,11.0.0.0/8"),
            &format!("{base} --feature-gates X=maybe"),
            &format!("{base} --request-timeout 5"),
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
