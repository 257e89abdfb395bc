//! From flags to a serving API server.
//!
//! Order: open the store, start listening, then bootstrap while already answering (health says what is missing), so
//! that a client that polls `/readyz` sees the server as soon as it is.
mod authentication;
mod authorization;
mod milestones;

use crate::addresses;
use crate::admission::{Chain as Admission, Parts, webhook};
use crate::aggregator::{Aggregator, usage::UsageApi};
use crate::audit::Audit;
use crate::authn::impersonation::Impersonation;
use crate::authz::{Authorizer, rbac};
use crate::certs::{self, ByName};
use crate::election;
use crate::flags::Args;
use crate::flowcontrol::{self, Counts, FlowControl};
use crate::health::{Health, Step};
use crate::hooks::ServerHooks;
use crate::loopback::{Late, Loopback};
use crate::metrics::Metrics;
use crate::objects::{Change, Objects};
use crate::outbound::Outbound;
use crate::own_paths::OwnPaths;
use crate::registry::{self, Registry, Settings};
use crate::server::chain::Chain;
use crate::server::limits::Limits;
use crate::server::listen::{self, Manners};
use crate::storage::encryption::Encryption;
use crate::storage::postgres::Postgres;
use crate::storage::sqlite::Sqlite;
use crate::storage::transfer::Place;
use crate::storage::{Backend, Options, Store, Watched};
use crate::streaming::{Config as UpstreamConfig, Prober, Streaming, Upstream};
use crate::tokens::{Config as TokenConfig, Tokens};
use crate::zpages::Pages;
use crate::{aggregator, bootstrap, custom};
use anyhow::{Context, Result, anyhow, bail};
use futures::StreamExt;
use knarr_api::status::Status;
use knarr_reload::identity::{self, Shown};
use milestones::Milestones;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Pause before a failed start-up step is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Time between two looks at what every cluster must have, as in the original.
const REPAIR: Duration = Duration::from_secs(10);
/// Pause before the objects are counted again.
const COUNT: Duration = Duration::from_secs(10);

/// Serves until `shutdown`, then until open requests are done.
///
/// # Errors
/// Contradictory flags, files that cannot be read, a database that cannot be opened, a port in use.
pub async fn run(args: Args, shutdown: CancellationToken) -> Result<()> {
    let address = SocketAddr::new(args.bind_address, args.secure_port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    run_on(listener, args, shutdown).await
}

/// The same on a listener that exists (tests: port 0).
///
/// # Errors
/// As [`run`].
pub async fn run_on(listener: TcpListener, args: Args, shutdown: CancellationToken) -> Result<()> {
    let started = Instant::now();
    let mut args = args.complete()?;
    if !args.feature_gates.is_empty() {
        knarr_api::gates::set(&args.gates()?).context("--feature-gates")?;
    }
    args.secure_port = listener.local_addr()?.port();
    // The store outlives the requests; it ends in any case when this function does.
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let metrics = Arc::new(Metrics::default());
    let store = open_store(&args, &metrics, stop.clone()).await?;
    let ended = CancellationToken::new();
    let server = assemble(&args, store.clone(), metrics, ended.clone())?;
    server.registry.sync_custom().await.context("cannot load the custom resources")?;
    tracing::info!(address = %listener.local_addr()?, took = ?started.elapsed(), "serving");
    let tasks = TaskTracker::new();
    let background = CancellationToken::new();
    let _background = background.clone().drop_guard();
    server.start_feeds(&tasks, &background);
    tasks.spawn(background.clone().run_until_cancelled_owned(server.clone().bootstrap(started)));
    tasks.spawn(background.clone().run_until_cancelled_owned(server.clone().keep_flows()));
    tasks.spawn(background.clone().run_until_cancelled_owned(server.clone().count()));
    let aggregation = aggregator::keep(
        server.aggregator.clone(),
        server.client.clone(),
        server.milestones.registered.clone(),
    );
    tasks.spawn(background.clone().run_until_cancelled_owned(aggregation));
    let addresses = addresses::keep(server.objects.clone(), server.client.clone());
    tasks.spawn(background.clone().run_until_cancelled_owned(addresses));
    let custom = custom::keep(server.registry.clone(), server.client.clone());
    tasks.spawn(background.clone().run_until_cancelled_owned(custom));
    if knarr_api::gates::enabled("CoordinatedLeaderElection") {
        let objects: Arc<dyn Objects> = Arc::new(store.clone());
        let election = election::keep(objects, server.client.clone());
        tasks.spawn(background.clone().run_until_cancelled_owned(election));
    }
    let ending = server.clone();
    let (stopping, delay) = (shutdown.clone(), args.serving.shutdown_delay_duration);
    tasks.spawn(async move {
        stopping.cancelled().await;
        ending.milestones.stopping.done();
        tokio::time::sleep(delay).await;
        ended.cancel();
    });
    listen::serve(listener, server.tls.clone(), server.chain.clone(), server.manners.clone()).await;
    background.cancel();
    tasks.close();
    tasks.wait().await;
    if let Some(audit) = &server.chain.audit {
        audit.close().await;
    }
    drop(server);
    stop.cancel();
    store.closed().await;
    tracing::info!("API server stopped");
    Ok(())
}

/// Where the database of the flags lies; none for one that goes with the process.
fn place(args: &Args) -> Option<Place> {
    match args.storage.strip_prefix("sqlite:").map(|rest| rest.trim_start_matches("//")) {
        None => Some(Place::Postgres(args.storage.clone())),
        Some("" | ":memory:") => None,
        Some(path) => Some(Place::Sqlite(path.into())),
    }
}

/// The database, with what is told of its use.
async fn open_store(args: &Args, metrics: &Metrics, shutdown: CancellationToken) -> Result<Store> {
    let Some((scheme, rest)) = args.storage.split_once(':') else {
        bail!("--storage is no URL (sqlite:DIRECTORY, postgres://HOST/DATABASE)");
    };
    let backend: Arc<dyn Backend> = match (scheme, rest.trim_start_matches("//")) {
        ("sqlite", ":memory:" | "") => Arc::new(Sqlite::ephemeral().await?),
        ("sqlite", path) => {
            let opened = Sqlite::open(Path::new(path)).await;
            Arc::new(opened.with_context(|| format!("cannot open the database in {path}"))?)
        }
        ("postgres" | "postgresql", _) => {
            let opened = Postgres::open(&args.storage).await;
            Arc::new(opened.context("cannot open the database")?)
        }
        (scheme, _) => bail!("--storage: there is no backend {scheme:?} (known: sqlite, postgres)"),
    };
    let resources = registry::resources(knarr_api::table::builtin(), &args.served()?);
    let history = match args.etcd_compaction_interval {
        Duration::ZERO => Duration::MAX,
        interval => interval,
    };
    let watched: Arc<dyn Watched> = Arc::new(metrics.storage.clone());
    let encryption = args.encryption_provider_config.as_deref();
    let reloads = args.encryption_provider_config_automatic_reload;
    let encryption = encryption.map(|path| Encryption::load(path, reloads)).transpose();
    let encryption = encryption.context("--encryption-provider-config")?;
    let options = Options { history, encryption, watched: Some(watched), ..Options::default() };
    Store::open(backend, resources, options, shutdown).await.context("cannot load the database")
}

/// A server put together.
struct Server {
    chain: Arc<Chain>,
    tls: Arc<rustls::ServerConfig>,
    manners: Arc<Manners>,
    objects: Arc<dyn Objects>,
    authorizer: Authorizer,
    client: Loopback,
    registry: Arc<Registry>,
    aggregator: Arc<Aggregator>,
    args: Args,
    milestones: Milestones,
    store: Store,
    counts: Counts,
    /// Where the database lies; none where that is a temporary directory.
    place: Option<Place>,
}

fn assemble(
    args: &Args,
    store: Store,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<Arc<Server>> {
    let provider = identity::provider();
    let objects: Arc<dyn Objects> = Arc::new(store.clone());
    let authorizer = authorization::assemble(args, &objects, &metrics.reloads.authorization)?
        .counted(metrics.access.decided.clone());
    authorizer.node.read_from(objects.clone());
    let tokens = Arc::new(Tokens::load(&token_config(args))?);
    let outbound = Arc::new(outbound(args, &objects, &provider)?);
    let own: Arc<Late> = Arc::default();
    let (authenticator, hints) =
        authentication::assemble(args, &objects, &tokens, &outbound, &own, &metrics)?;
    let webhooks = webhook::Caller {
        objects: objects.clone(),
        outbound: outbound.clone(),
        metrics: metrics.webhooks.clone(),
        authorizer: authorizer.clone(),
        credentials: Arc::default(),
    };
    let parts = Parts {
        args,
        objects: &objects,
        authorizer: &authorizer,
        webhooks: &webhooks,
        metrics: &metrics.admission,
        own: &own,
    };
    let admission = Admission::from_flags(&parts)?;
    let upstream = Arc::new(Upstream::new(upstream_config(args)?, &provider)?);
    let hooks = ServerHooks {
        authorizer: authorizer.clone(),
        authenticator: authenticator.clone(),
        tokens: tokens.clone(),
        objects: objects.clone(),
        outbound: outbound.clone(),
        streaming: Streaming::new(upstream.clone(), objects.clone()),
        prober: Prober::new(upstream.clone(), args.component_health.clone()),
    };
    let advertised = authority(args.advertised(), args.secure_port);
    let settings = Settings {
        service_ranges: args.service_cluster_ip_range.clone(),
        node_ports: args.service_node_port_range.clone(),
        address: advertised.clone(),
        min_watch: Duration::from_secs(args.min_request_timeout),
        event_ttl: args.event_ttl,
        runtime_config: args.served()?,
        served: metrics.served.clone(),
        ..Settings::default()
    };
    let api = knarr_api::table::builtin();
    let registry = Arc::new(Registry::new(api, store.clone(), admission, Arc::new(hooks), settings));
    let usage = UsageApi::new(objects.clone(), upstream);
    let aggregator =
        Aggregator::new(registry.clone(), objects.clone(), outbound, usage, metrics.aggregator.clone());
    let aggregator = Arc::new(aggregator);
    let counts = Counts::default();
    let seats = args.max_requests_inflight + args.max_mutating_requests_inflight;
    let flow = (args.enable_priority_and_fairness && seats > 0)
        .then(|| Arc::new(FlowControl::new(seats, args.request_timeout / 4, counts.clone(), &metrics)));
    let milestones = Milestones::default();
    let health = Arc::new(Health::default());
    milestones.checks(&store).into_iter().for_each(|check| health.add(check));
    if let Some(encryption) = store.encryption() {
        health.add(encryption.clone());
    }
    let jwks_uri = match args.service_account_jwks_uri.as_str() {
        "" => format!("https://{advertised}/openid/v1/jwks"),
        given => given.to_owned(),
    };
    let audit = Audit::from_flags(&args.audit, &objects, &provider, metrics.audit.clone())?;
    let chain = Chain {
        audit,
        authenticator,
        authorizer: authorizer.clone(),
        impersonation: Impersonation::new(metrics.impersonation.clone()),
        limits: Limits::new(args.max_requests_inflight, args.max_mutating_requests_inflight, &metrics),
        flow,
        health,
        metrics,
        own_paths: OwnPaths::new(
            &tokens.key_set(),
            tokens.configuration(&jwks_uri).as_ref(),
            Pages::new(args.told.clone()),
        ),
        handler: aggregator.clone(),
        open_paths: args.authorization_always_allow_paths.clone(),
        timeout: args.request_timeout,
        shutdown: shutdown.clone(),
    };
    let manners = args.serving.manners().map_err(|error| anyhow!("--cors-allowed-origins: {error}"))?;
    let client = Loopback::new(registry.clone(), shutdown);
    own.set(&client);
    Ok(Arc::new(Server {
        chain: Arc::new(chain),
        tls: certs::server_config(
            shown(args)?,
            hints,
            &args.serving.tls_cipher_suites,
            args.serving.tls_min_version,
        )?,
        manners: Arc::new(manners),
        objects,
        client,
        registry,
        aggregator,
        authorizer,
        args: args.clone(),
        milestones,
        store,
        counts,
        place: place(args),
    }))
}

impl Server {
    /// Keeps the authorizers current.
    fn start_feeds(self: &Arc<Self>, tasks: &TaskTracker, stop: &CancellationToken) {
        let synced = Arc::new(tokio::sync::Semaphore::new(0));
        let feeds = [
            (rbac::GROUP, "clusterroles"),
            (rbac::GROUP, "roles"),
            (rbac::GROUP, "clusterrolebindings"),
            (rbac::GROUP, "rolebindings"),
            ("", "pods"),
        ];
        for (group, resource) in feeds {
            let (server, synced) = (self.clone(), synced.clone());
            let feed = async move {
                let mut changes = server.objects.follow(group, resource);
                while let Some(change) = changes.next().await {
                    match change {
                        Change::Put { namespace, name, object } => {
                            server.learn(resource, &namespace, &name, Some(&object))
                        }
                        Change::Gone { namespace, name } => server.learn(resource, &namespace, &name, None),
                        Change::Synced => synced.add_permits(1),
                    }
                }
            };
            tasks.spawn(stop.clone().run_until_cancelled_owned(feed));
        }
        let step = self.milestones.synced.clone();
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move {
            if synced.acquire_many(feeds.len() as u32).await.is_ok() {
                step.done();
            }
        }));
    }

    /// Counts the objects of every resource now and then.
    async fn count(self: Arc<Self>) {
        loop {
            let mut counts = std::collections::HashMap::new();
            for (resource, _) in self.store.resources() {
                let count = self.store.snapshot(&resource).iter(None, None).count() as u64;
                self.chain.metrics.storage.objects(&resource, count);
                counts.insert(resource, count);
            }
            if let Some(place) = &self.place {
                match place.size().await {
                    Ok(bytes) => self.chain.metrics.storage.size(bytes),
                    Err(error) => tracing::debug!(%error, "the size of the database is not known"),
                }
            }
            self.counts.store(Arc::new(counts));
            tokio::time::sleep(COUNT).await;
        }
    }

    /// Publishes the configuration of priority and fairness, then follows it.
    async fn keep_flows(self: Arc<Self>) {
        self.until_done("flow control", &self.milestones.flows, || flowcontrol::publish(&self.client)).await;
        if let Some(flow) = &self.chain.flow {
            let follow = flowcontrol::follow(flow.clone(), self.objects.clone(), self.client.clone());
            futures::join!(follow, flowcontrol::keep(&self.client));
        }
    }

    fn learn(&self, resource: &str, namespace: &str, name: &str, object: Option<&knarr_api::Value>) {
        match resource {
            "pods" => self.authorizer.node.set_pod(namespace, name, object),
            "roles" | "clusterroles" => self.authorizer.rbac.set_role(namespace, name, object),
            _ => self.authorizer.rbac.set_binding(namespace, name, object),
        }
    }

    /// Makes what every cluster has, trying again until it is there.
    async fn bootstrap(self: Arc<Self>, started: Instant) {
        let client = &self.client;
        self.until_done("namespaces", &self.milestones.namespaces, || bootstrap::namespaces(client)).await;
        let advertised = bootstrap::Advertised {
            address: SocketAddr::new(self.args.advertised(), self.args.secure_port),
            ranges: self.args.service_cluster_ip_range.clone(),
            publish: self.args.endpoint_reconciler_type != "none",
        };
        let data = authentication::settings(&self.args);
        futures::join!(
            self.until_done("default/kubernetes", &self.milestones.service, || {
                bootstrap::kubernetes_service(client, &advertised)
            }),
            self.until_done("roles", &self.milestones.roles, || bootstrap::rbac(client, &*self.objects)),
            self.until_done("priority classes", &self.milestones.classes, || bootstrap::priority_classes(
                client
            )),
            self.until_done("authentication settings", &self.milestones.settings, || {
                bootstrap::authentication_settings(client, &data)
            }),
        );
        tracing::info!(took = ?started.elapsed(), "ready");
        let tracked = Step::default();
        let today = jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC).date();
        self.until_done("token tracking", &tracked, || bootstrap::token_tracking(client, today)).await;
        if advertised.publish && advertised.address.ip().is_loopback() {
            let address = advertised.address;
            tracing::warn!(%address, "not published as an endpoint of default/kubernetes: pods cannot reach it");
        }
        self.repair(&advertised, &data).await
    }

    /// Makes again, for ever, what no cluster can do without and somebody has deleted or spoilt.
    async fn repair(&self, advertised: &bootstrap::Advertised, settings: &knarr_api::Value) {
        loop {
            tokio::time::sleep(REPAIR).await;
            let client = &self.client;
            let repaired = async {
                bootstrap::namespaces(client).await?;
                bootstrap::kubernetes_service(client, advertised).await?;
                bootstrap::authentication_settings(client, settings).await
            };
            if let Err(status) = repaired.await {
                tracing::warn!(%status, "what every cluster has could not be looked after");
            }
        }
    }

    async fn until_done<F>(&self, what: &str, step: &Step, mut work: impl FnMut() -> F)
    where
        F: Future<Output = Result<(), Status>>,
    {
        loop {
            match work().await {
                Ok(()) => return step.done(),
                Err(status) => tracing::warn!(what, %status, "bootstrap failed, trying again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

fn token_config(args: &Args) -> TokenConfig {
    TokenConfig {
        signing_key_file: args.service_account_signing_key_file.clone(),
        key_files: args.service_account_key_file.clone(),
        issuers: args.service_account_issuer.clone(),
        audiences: args.api_audiences.clone(),
        max_seconds: args.service_account_max_token_expiration.as_secs(),
        extend: args.service_account_extend_token_expiration,
    }
}

fn upstream_config(args: &Args) -> Result<UpstreamConfig> {
    let identity = match (&args.kubelet_client_certificate, &args.kubelet_client_key) {
        (Some(certificate), Some(key)) => Some(Shown::of_files(certificate, key)?),
        _ => None,
    };
    Ok(UpstreamConfig {
        kubelet_ca: args.kubelet_certificate_authority.as_deref().map(read).transpose()?,
        kubelet_identity: identity,
        patience: args.kubelet_timeout,
        address_types: args.kubelet_preferred_address_types.clone(),
    })
}

/// What the listener shows to those who connect.
fn shown(args: &Args) -> Result<Arc<ByName>> {
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), args.advertised()];
    let default = match (&args.tls_cert_file, &args.tls_private_key_file, &args.serving.cert_dir) {
        (Some(certificate), Some(key), _) => Shown::of_files(certificate, key)?,
        (_, _, Some(directory)) => certs::kept(directory, &addresses)?,
        _ => certs::passing(&addresses)?,
    };
    Ok(Arc::new(ByName::new(default, &args.serving.tls_sni_cert_key).context("--tls-sni-cert-key")?))
}

/// The client of webhooks and aggregated servers.
fn outbound(
    args: &Args,
    objects: &Arc<dyn Objects>,
    provider: &Arc<rustls::crypto::CryptoProvider>,
) -> Result<Outbound> {
    let identity = match (&args.proxy_client_cert_file, &args.proxy_client_key_file) {
        (Some(certificate), Some(key)) => Some(Arc::new(Shown::of_files(certificate, key)?)),
        _ => None,
    };
    let own = SocketAddr::new(args.advertised(), args.secure_port);
    Ok(Outbound::new(objects.clone(), args.enable_aggregator_routing, Some(own), identity, provider.clone()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn authority(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}
