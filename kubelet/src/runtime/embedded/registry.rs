//! Images from registries: by tag or digest, from mirrors first, layers side by side, cut-off ones carried on with.
//!
//! Everything is verified by its digest before it counts. Source: OCI distribution specification.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, TryStreamExt};
use oci_client::Reference;
use oci_client::client::{BlobResponse, Client, ClientConfig, ClientProtocol, SizedStream};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use super::store::{Descriptor, Manifest, Store, full_name};
use crate::images::name;
use crate::runtime::types::AuthConfig;
use crate::runtime::{Result, RuntimeError};

/// Layers that are fetched at the same time.
const SIDE_BY_SIDE: usize = 4;
/// How often a blob is carried on with.
const ATTEMPTS: usize = 5;
/// Manifests and indexes that are understood.
const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// How registries are reached; the form of the file of `--registry-config`, in YAML.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Registries {
    /// By the registry's host, as in names of images.
    pub registries: BTreeMap<String, Reach>,
}

/// How one registry is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Reach {
    /// Other registries that are asked first, in this order: hosts, or `http://…` and `https://…` with a host.
    pub mirrors: Vec<String>,
    /// The registry speaks HTTP without TLS. One on this host always may.
    pub plain_http: bool,
}

impl Registries {
    /// Reads the file.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        Ok(serde_yaml_ng::from_slice(&std::fs::read(file)?)?)
    }

    /// Whom to ask for an image of `registry`, in order: hosts, with whether they speak plain HTTP, and whether they
    /// are mirrors.
    fn endpoints(&self, registry: &str) -> Vec<(String, bool, bool)> {
        let reach = self.registries.get(registry).cloned().unwrap_or_default();
        let mirror = |mirror: &String| {
            let plain = mirror.starts_with("http://");
            let host =
                mirror.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/');
            (host.to_owned(), plain || (is_local(host) && !mirror.starts_with("https://")), true)
        };
        let mut all: Vec<_> = reach.mirrors.iter().map(mirror).collect();
        all.push((registry.to_owned(), reach.plain_http || is_local(registry), false));
        all
    }
}

fn is_local(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name).trim_matches(['[', ']']);
    name == "localhost" || name.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// What the library makes of credentials.
fn credentials(auth: Option<AuthConfig>) -> Result<RegistryAuth> {
    let Some(auth) = auth else { return Ok(RegistryAuth::Anonymous) };
    if !auth.registry_token.is_empty() {
        return Ok(RegistryAuth::Bearer(auth.registry_token));
    }
    if !auth.identity_token.is_empty() {
        return Err(RuntimeError::Failed("identity tokens of registries are not supported".to_owned()));
    }
    if !auth.username.is_empty() {
        return Ok(RegistryAuth::Basic(auth.username, auth.password));
    }
    let decoded = STANDARD.decode(&auth.auth).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    Ok(pair.map_or(RegistryAuth::Anonymous, |(user, password)| {
        RegistryAuth::Basic(user.to_owned(), password.to_owned())
    }))
}

/// Why a registry did not give something.
#[derive(Debug, thiserror::Error)]
enum PullError {
    #[error(transparent)]
    Registry(#[from] OciDistributionError),
    #[error(transparent)]
    Store(#[from] super::store::StoreError),
    #[error("{0}")]
    Other(String),
}

impl From<io::Error> for PullError {
    fn from(error: io::Error) -> Self {
        Self::Other(error.to_string())
    }
}

fn is_missing(error: &PullError) -> bool {
    use OciDistributionError as E;
    match error {
        PullError::Registry(E::ImageManifestNotFoundError(_) | E::ServerError { code: 404, .. }) => true,
        PullError::Registry(E::RegistryError { envelope, .. }) => {
            envelope.errors.iter().any(|error| format!("{:?}", error.code).ends_with("Unknown"))
        }
        _ => false,
    }
}

/// Fetches an image into the store; answers its id.
pub async fn pull(
    store: &Store,
    registries: &Registries,
    image: &str,
    auth: Option<AuthConfig>,
) -> Result<String> {
    let invalid = |text: String| RuntimeError::Failed(format!("failed to pull image {image:?}: {text}"));
    let parsed = name::parse(image).map_err(|error| invalid(error.to_owned()))?;
    let reference: Reference =
        parsed.with_default_tag().parse().map_err(|error| invalid(format!("{error}")))?;
    let auth = credentials(auth)?;
    let mut failure = None;
    for (host, plain, mirror) in registries.endpoints(&parsed.registry) {
        let mut reference = reference.clone();
        let mut auth = auth.clone();
        if mirror {
            reference.set_mirror_registry(host.clone());
            // What opens one registry is none of another's business.
            auth = RegistryAuth::Anonymous;
        }
        let source = Source::new(store.clone(), reference, auth, plain);
        match source.pull(image).await {
            Ok(id) => return Ok(id),
            Err(error) => {
                tracing::debug!(image, host, %error, "not pulled");
                failure = Some(error);
            }
        }
    }
    let error = failure.map_or_else(
        || "no registry".to_owned(),
        |error| {
            if is_missing(&error) { format!("{error}: not found") } else { error.to_string() }
        },
    );
    Err(RuntimeError::Failed(format!(
        "failed to pull and unpack image {image:?}: failed to resolve reference {image:?}: {error}"
    )))
}

/// One registry that is asked for one image.
struct Source {
    store: Store,
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
}

impl Source {
    fn new(store: Store, reference: Reference, auth: RegistryAuth, plain: bool) -> Self {
        let host = reference.resolve_registry().to_owned();
        let protocol = if plain { ClientProtocol::HttpsExcept(vec![host]) } else { ClientProtocol::Https };
        let client = Client::new(ClientConfig {
            protocol,
            connect_timeout: Some(std::time::Duration::from_secs(15)),
            read_timeout: Some(std::time::Duration::from_secs(60)),
            user_agent: concat!("knarr/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        Self { store, client, reference, auth }
    }

    async fn pull(&self, image: &str) -> std::result::Result<String, PullError> {
        let store = self.store.clone();
        let busy = tokio::task::spawn_blocking(move || store.busy()).await.map_err(io::Error::other)??;
        let top = self.document(self.reference.digest()).await?;
        let mut manifest = self.parse(&top)?;
        let mut digest = top.clone();
        if !manifest.manifests.is_empty() {
            let machine = format!("no match for platform in manifest of {image:?}: not found");
            let entry = manifest.for_this_machine().ok_or(PullError::Other(machine))?;
            digest = self.document(Some(&entry.digest)).await?;
            manifest = self.parse(&digest)?;
        }
        let blobs: Vec<Descriptor> = manifest.config.iter().chain(&manifest.layers).cloned().collect();
        let fetched = futures::stream::iter(blobs).map(|blob| self.blob(blob)).buffer_unordered(SIDE_BY_SIDE);
        fetched.try_collect::<Vec<()>>().await?;
        let names: Vec<String> = full_name(image).filter(|name| !name.contains('@')).into_iter().collect();
        let parsed = name::parse(image).map_err(|error| PullError::Other(error.to_owned()))?;
        let with_digest = format!("{}/{}@{top}", parsed.registry, parsed.path);
        let store = self.store.clone();
        let registered =
            tokio::task::spawn_blocking(move || store.register(&digest, &names, &[with_digest])).await;
        drop(busy);
        Ok(registered.map_err(io::Error::other)??.id)
    }

    fn parse(&self, digest: &str) -> std::result::Result<Manifest, PullError> {
        Ok(self.store.manifest(digest)?)
    }

    /// Fetches a manifest or index, by digest if one is known; answers its digest.
    async fn document(&self, digest: Option<&str>) -> std::result::Result<String, PullError> {
        let reference = match digest {
            Some(digest) => self.reference.clone_with_digest(digest.to_owned()),
            None => self.reference.clone(),
        };
        let (bytes, _) = self.client.pull_manifest_raw(&reference, &self.auth, &ACCEPTED).await?;
        Ok(self.store.add_document(&bytes, digest)?)
    }

    /// Fetches a blob that is not there yet; what breaks off goes on where it was.
    async fn blob(&self, blob: Descriptor) -> std::result::Result<(), PullError> {
        if self.store.has_blob(&blob.digest)? {
            return Ok(());
        }
        let mut file = self.store.temporary()?;
        let mut written: u64 = 0;
        let mut failure = PullError::Other("nothing came".to_owned());
        for _ in 0..ATTEMPTS {
            let carried = self.carry_on(&blob, &mut file, &mut written).await;
            match carried {
                Ok(()) => {
                    let (store, digest) = (self.store.clone(), blob.digest.clone());
                    let added = tokio::task::spawn_blocking(move || store.add_blob(file, &digest)).await;
                    return Ok(added.map_err(io::Error::other)??);
                }
                Err(error) if is_missing(&error) => return Err(error),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    async fn carry_on(
        &self,
        blob: &Descriptor,
        file: &mut tempfile::NamedTempFile,
        written: &mut u64,
    ) -> std::result::Result<(), PullError> {
        let reference = &self.reference;
        let stream: SizedStream = if *written == 0 {
            self.client.pull_blob_stream(reference, blob.digest.as_str()).await?
        } else {
            match self
                .client
                .pull_blob_stream_partial(reference, blob.digest.as_str(), *written, None)
                .await?
            {
                BlobResponse::Partial(stream) => stream,
                BlobResponse::Full(stream) => {
                    file.as_file().set_len(0)?;
                    io::Seek::rewind(file.as_file_mut())?;
                    *written = 0;
                    stream
                }
            }
        };
        let mut stream = stream.stream;
        while let Some(piece) = stream.next().await {
            let piece = piece?;
            file.write_all(&piece)?;
            *written += piece.len() as u64;
        }
        if blob.size != 0 && *written < blob.size {
            return Err(PullError::Other("unexpected EOF".to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
