//! The registry: every resource of the API table served by the same code over erased objects.
//!
//! A request is routed to a [`Row`] and a verb; each verb is one file. A kind's own rules are behind
//! [`crate::strategy::Strategy`]; nothing here asks which kind it handles, but for the few special subresources
//! in `subresource/`.
//!
//! A write goes: decode → default → mutate (admission) → default again → own fields → prepare (strategy) →
//! allocate companions → validate → admit → commit group → encode. An update or patch reruns all of it for each
//! attempt.
mod answer;
mod apply;
mod call;
pub mod codec;
mod conversion;
mod convert;
mod create;
pub mod custom;
mod delete;
mod delete_collection;
pub mod encode;
mod get;
pub mod hooks;
mod list;
mod list_body;
mod messages;
pub mod negotiate;
pub mod object;
pub mod options;
mod ownership;
pub(crate) mod paging;
mod patch;
mod restored;
mod route;
mod row;
mod scale;
mod select;
pub(crate) mod subresource;
mod table;
mod update;
mod watch;
mod write;

use messages::Messages;

pub use hooks::{Hooks, NoHooks};
pub(crate) use route::warn;
pub use row::{NODE_PORTS, Row, Rows, Siblings, resources};

use crate::admission::Chain;
use crate::discovery::{Discovery, RemoteVersion};
use crate::metrics::ServedMetrics;
use crate::openapi::OpenApi;
use crate::runtime_config::RuntimeConfig;
use crate::server::{Handler, Request, RequestContext, Response};
use crate::storage::{ReadError, Store};
use arc_swap::ArcSwap;
use async_trait::async_trait;
use ipnet::IpNet;
use knarr_api::status::Status;
use knarr_api::table::{Api, ApiRef};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// How long a request waits for a revision that this server has not reached yet.
const FUTURE_WAIT: Duration = Duration::from_secs(3);

/// What the registry is told by flags.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Ranges of service addresses, one or one a family; the first gives the default family.
    pub service_ranges: Vec<IpNet>,
    /// Ports that node-port Services may use.
    pub node_ports: RangeInclusive<u16>,
    /// Address and port that discovery names to clients.
    pub address: String,
    /// A watch without a timeout of its own lasts this long at least, and twice as long at most.
    pub min_watch: Duration,
    /// How long events are kept.
    pub event_ttl: Duration,
    /// Time between bookmarks of a watch.
    pub bookmarks: Duration,
    /// The versions and resources that are served.
    pub runtime_config: RuntimeConfig,
    /// Where it is counted what was served.
    pub served: ServedMetrics,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_ranges: vec![IpNet::V4(ipnet::Ipv4Net::new_assert(
                std::net::Ipv4Addr::new(10, 96, 0, 0),
                12,
            ))],
            node_ports: 30000..=32767,
            address: "127.0.0.1:6443".to_owned(),
            min_watch: Duration::from_secs(1800),
            event_ttl: Duration::from_secs(3600),
            bookmarks: Duration::from_secs(60),
            runtime_config: RuntimeConfig::default(),
            served: ServedMetrics::default(),
        }
    }
}

/// Serves all resources.
pub struct Registry {
    /// The API table.
    pub api: &'static Api,
    /// The objects.
    pub store: Store,
    /// The served resources.
    pub rows: Rows,
    /// Flags.
    pub settings: Settings,
    admission: Chain,
    /// The rest of the server.
    pub(crate) hooks: Arc<dyn Hooks>,
    discovery: ArcSwap<Discovery>,
    /// Group versions that others answer.
    remote: ArcSwap<Vec<RemoteVersion>>,
    /// Held while discovery is made of custom and remote resources: whoever exchanges either sees the other's newest.
    publishing: parking_lot::Mutex<()>,
    /// Changes with what is served.
    published: tokio::sync::watch::Sender<()>,
    openapi: OpenApi,
    messages: Arc<Messages>,
    custom: tokio::sync::Mutex<custom::Loaded>,
}

impl Registry {
    /// A registry over an open store. `hooks` answer what is not a matter of objects (reviews, tokens, streams).
    pub fn new(
        api: &'static Api,
        store: Store,
        admission: Chain,
        hooks: Arc<dyn Hooks>,
        settings: Settings,
    ) -> Self {
        let discovery = Discovery::new(settings.runtime_config.kinds(api), &settings.address, Arc::default());
        let mut documented = settings.runtime_config.kinds(api);
        documented.extend(ApiRef::from(api).rows().filter(|kind| kind.external));
        let openapi = OpenApi::new(documented);
        Self {
            api,
            store,
            rows: Rows::new(api, &settings.runtime_config),
            settings,
            admission,
            hooks,
            discovery: ArcSwap::from_pointee(discovery),
            remote: ArcSwap::default(),
            publishing: parking_lot::Mutex::default(),
            published: tokio::sync::watch::Sender::new(()),
            openapi,
            messages: Arc::default(),
            custom: tokio::sync::Mutex::default(),
        }
    }

    /// Tells of every change of what this server serves.
    pub fn published(&self) -> tokio::sync::watch::Receiver<()> {
        self.published.subscribe()
    }

    /// Waits until a revision is reached, but not for long.
    ///
    /// # Errors
    /// 504 with cause `ResourceVersionTooLarge`.
    async fn reach(&self, revision: crate::storage::Revision) -> Result<(), Status> {
        if self.store.revision() >= revision {
            return Ok(());
        }
        match tokio::time::timeout(FUTURE_WAIT, self.store.wait_for(revision)).await {
            Ok(()) => Ok(()),
            Err(_) => Err(too_large_version(revision.0, self.store.revision().0)),
        }
    }

    /// Makes the following reads see every write acknowledged before.
    async fn fresh(&self) -> Result<(), Status> {
        self.store.fresh().await.map(drop).map_err(|e| read_status(&e))
    }
}

fn too_large_version(requested: u64, current: u64) -> Status {
    Status::timeout(format_args!("Too large resource version: {requested}, current: {current}"))
        .with_cause("ResourceVersionTooLarge", "Too large resource version", "")
        .retry_after(1)
}

/// A failed read as the client sees it.
fn read_status(error: &ReadError) -> Status {
    match error {
        ReadError::Compacted { requested, oldest } => Status::expired(format!(
            "The resourceVersion for the provided list is too old: {requested} ({oldest})"
        )),
        ReadError::Future { requested, current } => too_large_version(requested.0, current.0),
        ReadError::Unknown(_) => Status::internal(error),
        ReadError::Unavailable(_) => Status::unavailable(error.to_string()),
    }
}

#[async_trait]
impl Handler for Registry {
    async fn handle(&self, context: RequestContext, request: Request) -> Response {
        self.route(context, request).await
    }
}
