//! Whose client certificates a server believes: by files, or as the API server publishes it in
//! `kube-system/extension-apiserver-authentication`.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use futures::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue};
use k8s_openapi::api::core::v1::ConfigMap;
use knarr_reload::{Reloaded, clients::Trust, identity::provider};
use kube::{Api, Client, runtime::watcher};
use parking_lot::RwLock;
use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;

use super::Identity;
use crate::flags::DelegatedAuthentication;

/// Where the API server says how it authenticates.
const PUBLISHED: (&str, &str) = ("kube-system", "extension-apiserver-authentication");
/// How long is waited after the API server did not tell.
const PAUSE: Duration = Duration::from_secs(5);

/// Authorities, of a file or as published.
enum Source<T> {
    File(Arc<Reloaded<T>>),
    Published(Arc<RwLock<Option<Arc<T>>>>),
}

impl<T> Clone for Source<T> {
    fn clone(&self) -> Self {
        match self {
            Self::File(file) => Self::File(file.clone()),
            Self::Published(known) => Self::Published(known.clone()),
        }
    }
}

impl<T> Source<T> {
    fn get(&self) -> Option<Arc<T>> {
        match self {
            Self::File(file) => Some(file.get()),
            Self::Published(known) => known.read().clone(),
        }
    }

    fn publish(&self, value: Option<T>) {
        if let Self::Published(known) = self {
            *known.write() = value.map(Arc::new);
        }
    }
}

/// A front proxy, which proves itself by a certificate and says in headers who is asking.
struct FrontProxy {
    trust: Trust,
    /// Common names that it may have; any where empty.
    names: Vec<String>,
    user: Vec<String>,
    uid: Vec<String>,
    groups: Vec<String>,
    extra: Vec<String>,
}

impl FrontProxy {
    /// Who is asking, if this is the proxy's certificate and it names somebody.
    fn identity(&self, chain: &[CertificateDer<'_>], headers: &HeaderMap) -> Option<Identity> {
        let proxy = Identity::of_certificate(self.trust.leaf(chain).ok()?)?;
        if !self.names.is_empty() && !self.names.contains(&proxy.user) {
            return None;
        }
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let first = |names: &[String]| names.iter().find_map(|name| headers.get(name)).map(text);
        let user = first(&self.user).filter(|name| !name.is_empty())?;
        let groups = self.groups.iter().flat_map(|name| headers.get_all(name)).map(text).collect();
        let mut identity =
            Identity { user, uid: first(&self.uid).unwrap_or_default(), groups, ..Identity::default() };
        for (name, value) in headers {
            if let Some(key) = self.extra.iter().find_map(|prefix| after(name, prefix)) {
                identity.extra.entry(key).or_default().push(text(value));
            }
        }
        Some(identity.authenticated())
    }
}

/// What follows a prefix in a header's name.
fn after(name: &HeaderName, prefix: &str) -> Option<String> {
    name.as_str().strip_prefix(&prefix.to_ascii_lowercase()).map(str::to_owned)
}

/// Whose certificates are believed.
#[derive(Clone)]
pub struct Settings {
    clients: Source<Trust>,
    proxy: Source<FrontProxy>,
}

/// What a certificate says of who is asking.
pub enum Shown {
    /// Nothing that this server would look at.
    Nothing,
    /// Somebody.
    Known(Identity),
    /// It is not of an authority that is believed.
    Unknown,
}

impl Settings {
    /// Reads the files that flags name. What they do not say is followed by `client` until `stop`, once the API server
    /// tells it.
    ///
    /// # Errors
    /// A file that cannot be read or used.
    pub fn new(
        flags: &DelegatedAuthentication,
        client: Option<Client>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let clients = match &flags.client_ca_file {
            Some(path) => file(path, trust).context("--client-ca-file")?,
            None => Source::Published(Arc::default()),
        };
        let proxy = match &flags.requestheader_client_ca_file {
            Some(path) => {
                let flags = flags.clone();
                let made = move |pem: &[u8]| front_proxy(&flags, pem);
                file(path, made).context("--requestheader-client-ca-file")?
            }
            None => Source::Published(Arc::default()),
        };
        let settings = Self { clients, proxy };
        let complete =
            [&flags.client_ca_file, &flags.requestheader_client_ca_file].iter().all(|file| file.is_some());
        if let Some(client) = client.filter(|_| !complete && !flags.authentication_skip_lookup) {
            let following = settings.clone().follow(client);
            tokio::spawn(async move { stop.run_until_cancelled(following).await });
        }
        Ok(settings)
    }

    /// What a chain and the headers say of who is asking.
    pub fn identity(&self, chain: &[CertificateDer<'_>], headers: &HeaderMap) -> Shown {
        if chain.is_empty() {
            return Shown::Nothing;
        }
        if let Some(identity) = self.proxy.get().and_then(|proxy| proxy.identity(chain, headers)) {
            return Shown::Known(identity);
        }
        let Some(clients) = self.clients.get() else { return Shown::Nothing };
        let identity = clients.leaf(chain).ok().and_then(Identity::of_certificate);
        identity.map_or(Shown::Unknown, Shown::Known)
    }

    /// Follows what the API server publishes, for ever.
    async fn follow(self, client: Client) {
        let api: Api<ConfigMap> = Api::namespaced(client, PUBLISHED.0);
        let mut maps = std::pin::pin!(watcher::watch_object(api, PUBLISHED.1));
        while let Some(map) = maps.next().await {
            match map {
                Ok(map) => self.take(&map.and_then(|map| map.data).unwrap_or_default()),
                Err(error) => {
                    tracing::debug!(%error, "the API server does not tell how it authenticates");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn take(&self, data: &std::collections::BTreeMap<String, String>) {
        let text = |key: &str| data.get(key).filter(|text| !text.is_empty());
        let clients = text("client-ca-file").map(|pem| trust(pem.as_bytes())).transpose();
        let list = |key: &str| -> Vec<String> {
            text(key).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
        };
        let proxy = text("requestheader-client-ca-file").map(|pem| {
            Ok::<_, String>(FrontProxy {
                trust: trust(pem.as_bytes())?,
                names: list("requestheader-allowed-names"),
                user: list("requestheader-username-headers"),
                uid: list("requestheader-uid-headers"),
                groups: list("requestheader-group-headers"),
                extra: list("requestheader-extra-headers-prefix"),
            })
        });
        match (clients, proxy.transpose()) {
            (Ok(clients), Ok(proxy)) => {
                self.clients.publish(clients);
                self.proxy.publish(proxy);
            }
            // What was known before stays.
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(error, "the authorities that the API server publishes cannot be used");
            }
        }
    }
}

fn front_proxy(flags: &DelegatedAuthentication, pem: &[u8]) -> Result<FrontProxy, String> {
    Ok(FrontProxy {
        trust: trust(pem)?,
        names: flags.requestheader_allowed_names.clone(),
        user: flags.requestheader_username_headers.clone(),
        uid: flags.requestheader_uid_headers.clone(),
        groups: flags.requestheader_group_headers.clone(),
        extra: flags.requestheader_extra_headers_prefix.clone(),
    })
}

fn trust(pem: &[u8]) -> Result<Trust, String> {
    Trust::new(pem, provider()).map_err(|error| error.to_string())
}

fn file<T>(
    path: &Path,
    made: impl Fn(&[u8]) -> Result<T, String> + Send + Sync + 'static,
) -> anyhow::Result<Source<T>> {
    let own = path.to_owned();
    let read = move || {
        let pem = std::fs::read(&own).map_err(|error| format!("cannot read {}: {error}", own.display()))?;
        made(&pem)
    };
    let file = Reloaded::new(vec![path.to_owned()], read).map_err(anyhow::Error::msg)?;
    Ok(Source::File(Arc::new(file)))
}
