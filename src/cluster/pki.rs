//! Certificates and keys of a cluster, made by rcgen: ECDSA P-256, files readable by their owner only.
//!
//! Names follow the original's conventions (Kubernetes docs, "PKI certificates and requirements"): the common
//! name is the user, organisations are groups.
use super::{Cluster, Paths};
use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;

/// Clusters of CI live for minutes, but some are kept: ten years, like the original's authorities.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Clocks of other machines may be behind by this much.
const BACKDATE: Duration = Duration::from_secs(300);

/// Users of the cluster's own processes: file name, common name, organisation.
pub const CLIENTS: [(&str, &str, &str); 5] = [
    ("admin", "kubernetes-admin", "system:masters"),
    ("controllers", "system:kube-controller-manager", ""),
    ("scheduler", "system:kube-scheduler", ""),
    ("proxy", "system:kube-proxy", ""),
    ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ""),
];

/// The user that keeps simulated nodes, of which a node's own could keep only one.
pub const SIMULATED: &str = "knarr:simulated-nodes";

/// Files that a backup holds: what others trust. All else is made from them.
pub const BACKED_UP: [&str; 6] =
    ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key", "sa.pub"];

/// Makes every certificate and key of a new cluster.
pub fn create(cluster: &Cluster) -> Result<()> {
    let paths = &cluster.paths;
    let ca = Authority::create(paths, "ca", "kubernetes-ca")?;
    let front_proxy = Authority::create(paths, "front-proxy-ca", "front-proxy-ca")?;
    let signing = KeyPair::generate().context("cannot make the service account key")?;
    write_secret(&paths.pki("sa.key"), signing.serialize_pem().as_bytes())?;
    write_secret(&paths.pki("sa.pub"), signing.public_key_pem().as_bytes())?;
    issue(cluster, &ca, &front_proxy)
}

/// Reads the files of [`BACKED_UP`].
pub fn read(paths: &Paths) -> Result<BTreeMap<String, Vec<u8>>> {
    let read = |name: &str| {
        let file = paths.pki(name);
        let content = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok((name.to_owned(), content))
    };
    BACKED_UP.into_iter().map(read).collect()
}

/// Writes the files of [`BACKED_UP`] and makes the other certificates, for this host's addresses.
pub fn restore(cluster: &Cluster, files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    for (name, content) in files {
        write_secret(&cluster.paths.pki(name), content)?;
    }
    renew(cluster)
}

/// The authorities, by the name of their files.
pub const AUTHORITIES: [&str; 2] = ["ca", "front-proxy-ca"];

/// Every certificate of a cluster with the authority that signed it, by the names of their files; an authority signs
/// itself.
pub fn certificates() -> Vec<(&'static str, &'static str)> {
    let of_ca = CLIENTS.iter().map(|(file, ..)| *file).chain(["kubelet", "apiserver", "kubelet-server"]);
    let authorities = AUTHORITIES.iter().map(|authority| (*authority, *authority));
    authorities
        .chain(of_ca.map(|file| (file, "ca")))
        .chain([("front-proxy-client", "front-proxy-ca")])
        .collect()
}

/// Makes every certificate but the authorities' anew, for this host's addresses.
pub fn renew(cluster: &Cluster) -> Result<()> {
    let [ca, front_proxy] = AUTHORITIES.map(|authority| Authority::load(&cluster.paths, authority));
    issue(cluster, &ca?, &front_proxy?)
}

fn issue(cluster: &Cluster, ca: &Authority, front_proxy: &Authority) -> Result<()> {
    let paths = &cluster.paths;
    for (file, name, group) in CLIENTS {
        ca.client(paths, file, name, group)?;
    }
    let node = format!("system:node:{}", cluster.state.node_name);
    match cluster.state.simulated {
        Some(_) => ca.client(paths, "kubelet", SIMULATED, "")?,
        None => ca.client(paths, "kubelet", &node, "system:nodes")?,
    }
    front_proxy.client(paths, "front-proxy-client", "front-proxy-client", "")?;
    ca.server(paths, "apiserver", "kube-apiserver", &api_names(cluster))?;
    let node_names = [cluster.state.node_name.clone(), cluster.state.node_ip.to_string(), "127.0.0.1".into()];
    ca.server(paths, "kubelet-server", &node, &node_names)
}

/// Every name and address under which clients reach the API server.
fn api_names(cluster: &Cluster) -> Vec<String> {
    let mut names: Vec<String> = ["", ".default", ".default.svc", ".default.svc.cluster.local"]
        .iter()
        .map(|suffix| format!("kubernetes{suffix}"))
        .collect();
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    names.push(cluster.state.kubernetes_ip().to_string());
    names.push(cluster.state.node_name.clone());
    names.push(cluster.state.node_ip.to_string());
    names.extend(cluster.state.tls_sans.iter().cloned());
    names
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn create(paths: &Paths, file: &str, name: &str) -> Result<Self> {
        let mut params = params(name, "")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        save(paths, file, &certificate, &key)?;
        Ok(Self { issuer: Issuer::new(params, key) })
    }

    fn load(paths: &Paths, file: &str) -> Result<Self> {
        let read = |file: std::path::PathBuf| {
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        let key = KeyPair::from_pem(&read(paths.pki(&format!("{file}.key")))?)?;
        let issuer = Issuer::from_ca_cert_pem(&read(paths.pki(&format!("{file}.crt")))?, key)?;
        Ok(Self { issuer })
    }

    fn client(&self, paths: &Paths, file: &str, name: &str, group: &str) -> Result<()> {
        let mut params = params(name, group)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(paths, file, params)
    }

    fn server(&self, paths: &Paths, file: &str, name: &str, names: &[String]) -> Result<()> {
        let mut params = params(name, "")?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(name.as_str().try_into()?),
            });
        }
        self.issue(paths, file, params)
    }

    fn issue(&self, paths: &Paths, file: &str, mut params: CertificateParams) -> Result<()> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        save(paths, file, &certificate, &key)
    }
}

fn params(name: &str, group: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    if !group.is_empty() {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + LIFETIME).into();
    Ok(params)
}

fn save(paths: &Paths, file: &str, certificate: &Certificate, key: &KeyPair) -> Result<()> {
    write_secret(&paths.pki(&format!("{file}.crt")), certificate.pem().as_bytes())?;
    write_secret(&paths.pki(&format!("{file}.key")), key.serialize_pem().as_bytes())
}

/// Writes a file of mode 0600, whole or not at all.
pub fn write_secret(file: &Path, content: &[u8]) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let write = || -> std::io::Result<()> {
        // Of mode 0600 too, and of a name that no other writer has.
        let mut out = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        out.write_all(content)?;
        out.as_file().sync_all()?;
        out.persist(file)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", file.display()))
}
