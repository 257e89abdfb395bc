//! Certificates that a node asks its cluster for: the one that it authenticates with, which a new node gets by a
//! bootstrap kubeconfig, and the one that it serves with. Each is one file of certificate and key, exchanged as a whole
//! before it ends; what uses it reads it again.

mod request;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use knarr_component::backoff::Backoff;
use kube::Client;
use kube::config::{AuthInfo, Kubeconfig, NamedAuthInfo};
use tokio_util::sync::CancellationToken;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;

use crate::args::Args;
use request::{Purpose, Wish};

/// Pauses between attempts to get a certificate.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How often a certificate is looked at, so that a clock that was set is noticed.
const LOOK: Duration = Duration::from_secs(3600);
/// The part of its life after which a certificate is exchanged: between these, so that nodes do not all ask at once.
const EARLIEST: f64 = 0.7;
const LATEST: f64 = 0.9;

/// The client certificate with its key.
pub fn client_file(args: &Args) -> PathBuf {
    args.cert_dir.join("kubelet-client-current.pem")
}

/// The server's certificate with its key.
pub fn server_file(args: &Args) -> PathBuf {
    args.cert_dir.join("kubelet-server-current.pem")
}

/// Makes sure of a kubeconfig to work with, where one can be had by a bootstrap kubeconfig. Waits for the API server
/// and for whoever approves; ends early at `stop`.
pub async fn bootstrap(args: &Args, node: &str, stop: &CancellationToken) -> Result<()> {
    let (Some(bootstrap), Some(kubeconfig)) = (&args.bootstrap_kubeconfig, &args.kubeconfig) else {
        return Ok(());
    };
    let file = client_file(args);
    if kubeconfig.exists() && read(&file).is_none_or(|current| current.is_valid(Timestamp::now())) {
        return Ok(());
    }
    anyhow::ensure!(
        bootstrap.exists(),
        "the node has no valid certificate, and there is no {} to get one with",
        bootstrap.display()
    );
    let client = knarr_component::client::connect(Some(bootstrap), "kubelet").await?;
    let wish = Wish::new(Purpose::Client, node, &[]);
    tokio::select! {
        pem = obtain(&client, &wish) => write(&file, &pem)?,
        () = stop.cancelled() => return Ok(()),
    }
    write_kubeconfig(kubeconfig, bootstrap, &file)
}

/// Exchanges certificates before they end, until `stop`.
pub fn keep(args: &Args, node: &str, addresses: &[IpAddr], client: &Client, stop: &CancellationToken) {
    let client_wish =
        args.rotate_certificates.then(|| (client_file(args), Wish::new(Purpose::Client, node, &[])));
    let server_wish = args
        .rotate_server_certificates
        .then(|| (server_file(args), Wish::new(Purpose::Server, node, addresses)));
    for (file, wish) in client_wish.into_iter().chain(server_wish) {
        let (client, stop) = (client.clone(), stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = exchange(&client, &wish, &file) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Writes a certificate that nobody has signed where there is none to serve with: the server starts with it.
pub fn ensure_server(args: &Args, names: &[String]) -> Result<()> {
    let file = server_file(args);
    if read(&file).is_some_and(|current| current.is_valid(Timestamp::now())) {
        return Ok(());
    }
    let made = rcgen::generate_simple_self_signed(names.to_vec()).context("cannot make a certificate")?;
    write(&file, &(made.cert.pem() + &made.signing_key.serialize_pem()))
}

/// Gets a new certificate whenever one is due.
async fn exchange(client: &Client, wish: &Wish, file: &Path) {
    let part = EARLIEST + (LATEST - EARLIEST) * rand::random::<f64>();
    loop {
        let wait = read(file).map_or(Duration::ZERO, |current| current.due(wish, part, Timestamp::now()));
        if !wait.is_zero() {
            tokio::time::sleep(wait.min(LOOK)).await;
            continue;
        }
        let pem = obtain(client, wish).await;
        if let Err(error) = write(file, &pem) {
            tracing::error!(error = format!("{error:#}"), "a new certificate cannot be kept");
            tokio::time::sleep(LONGEST_RETRY).await;
        }
    }
}

/// Asks until it is given.
async fn obtain(client: &Client, wish: &Wish) -> String {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    loop {
        match request::certificate(client, wish).await {
            Ok(pem) => {
                tracing::info!(signer = wish.purpose.signer(), "got a certificate");
                return pem;
            }
            Err(error) => {
                tracing::warn!(
                    signer = wish.purpose.signer(),
                    error = format!("{error:#}"),
                    "no certificate yet"
                );
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// What matters of a certificate that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Current {
    from: Timestamp,
    until: Timestamp,
    /// Nobody but itself has signed it.
    own: bool,
    names: Vec<String>,
}

impl Current {
    fn is_valid(&self, now: Timestamp) -> bool {
        self.from <= now && now < self.until
    }

    /// How long it is still good for a wish.
    fn due(&self, wish: &Wish, part: f64, now: Timestamp) -> Duration {
        let covers = wish.names().iter().all(|name| self.names.contains(name));
        if self.own || !covers {
            return Duration::ZERO;
        }
        let life = Duration::try_from(self.until.duration_since(self.from)).unwrap_or_default();
        let age = Duration::try_from(now.duration_since(self.from)).unwrap_or_default();
        life.mul_f64(part).saturating_sub(age)
    }
}

/// The certificate of a file; none where there is none that can be read.
fn read(file: &Path) -> Option<Current> {
    let content = std::fs::read(file).ok()?;
    let pem = Pem::iter_from_buffer(&content).flatten().find(|pem| pem.label == "CERTIFICATE")?;
    let certificate = pem.parse_x509().ok()?;
    let time = |seconds| Timestamp::from_second(seconds).ok();
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|names| &names.value.general_names).filter_map(name);
    Some(Current {
        from: time(certificate.validity().not_before.timestamp())?,
        until: time(certificate.validity().not_after.timestamp())?,
        own: certificate.subject() == certificate.issuer(),
        names: names.collect(),
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from).ok();
            v4.or_else(|| <[u8; 16]>::try_from(*bytes).map(IpAddr::from).ok()).map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// Writes a file that only its owner reads, whole or not at all.
fn write(file: &Path, text: &str) -> Result<()> {
    let failed = || format!("cannot write {}", file.display());
    let folder = file.parent().with_context(failed)?;
    std::fs::create_dir_all(folder).with_context(failed)?;
    let new = tempfile::NamedTempFile::new_in(folder).with_context(failed)?;
    std::fs::write(new.path(), text).with_context(failed)?;
    new.as_file().sync_all().with_context(failed)?;
    new.persist(file).map(drop).with_context(failed)
}

/// The bootstrap kubeconfig with the client certificate in place of its user.
fn write_kubeconfig(kubeconfig: &Path, bootstrap: &Path, certificate: &Path) -> Result<()> {
    let mut config = Kubeconfig::read_from(bootstrap)?;
    let path = Some(certificate.display().to_string());
    let user = AuthInfo { client_certificate: path.clone(), client_key: path, ..AuthInfo::default() };
    for info in &mut config.auth_infos {
        *info = NamedAuthInfo { auth_info: Some(user.clone()), ..info.clone() };
    }
    write(kubeconfig, &serde_yaml_ng::to_string(&config)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_exchanged_before_they_end() {
        let at = |text: &str| text.parse::<Timestamp>().expect("time");
        let wish = Wish::new(Purpose::Server, "n", &["192.0.2.1".parse().expect("address")]);
        let names = vec!["n".to_owned(), "192.0.2.1".to_owned()];
        let (from, until) = (at("2026-01-01T00:00:00Z"), at("2026-01-11T00:00:00Z"));
        let good = Current { from, until, own: false, names };
        let day = Duration::from_secs(86_400);
        let check = |current: &Current, now: &str, expected: Duration| {
            assert_eq!(current.due(&wish, 0.8, at(now)), expected, "{now}");
        };
        check(&good, "2026-01-01T00:00:00Z", 8 * day);
        check(&good, "2026-01-08T00:00:00Z", day);
        check(&good, "2026-01-09T00:00:00Z", Duration::ZERO);
        check(&good, "2026-02-01T00:00:00Z", Duration::ZERO);
        check(&Current { own: true, ..good.clone() }, "2026-01-01T00:00:00Z", Duration::ZERO);
        let moved = Current { names: vec!["n".to_owned(), "192.0.2.9".to_owned()], ..good };
        check(&moved, "2026-01-01T00:00:00Z", Duration::ZERO);
    }

    #[test]
    fn a_file_tells_of_its_certificate() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("a/pair.pem");
        assert_eq!(read(&file), None);
        let made = rcgen::generate_simple_self_signed(vec!["n".to_owned(), "192.0.2.1".to_owned()])
            .expect("certificate");
        write(&file, &(made.signing_key.serialize_pem() + &made.cert.pem())).expect("written");
        let found = read(&file).expect("a certificate");
        assert!(found.own && found.is_valid(Timestamp::now()));
        assert_eq!(found.names, ["n", "192.0.2.1"]);
        std::fs::write(&file, "nothing").expect("written");
        assert_eq!(read(&file), None);
    }

    #[test]
    fn the_kubeconfig_keeps_the_server_and_drops_the_token() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name);
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: k, cluster: {server: 'https://192.0.2.1:6443'}}]\n\
            users: [{name: u, user: {token: abcdef.0123456789abcdef}}]\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n";
        std::fs::write(path("bootstrap"), text).expect("written");
        write_kubeconfig(&path("kubeconfig"), &path("bootstrap"), &path("pair.pem")).expect("written");
        let config = Kubeconfig::read_from(path("kubeconfig")).expect("a kubeconfig");
        let user = config.auth_infos[0].auth_info.clone().expect("a user");
        assert!(user.token.is_none());
        assert_eq!(user.client_certificate, user.client_key);
        assert_eq!(user.client_key, Some(path("pair.pem").display().to_string()));
        let server = config.clusters[0].cluster.as_ref().and_then(|cluster| cluster.server.as_deref());
        assert_eq!(server, Some("https://192.0.2.1:6443"));
    }
}
