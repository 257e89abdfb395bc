//! Connects a world to the API server: one watch in, bounded parallel writes out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, PodStatus};
use knarr_component::health::Health;
use knarr_component::informer::{Change, Informer};
use knarr_component::store::{Key, Object};
use knarr_component::view_of;
use kube::api::ObjectMeta;
use kube::runtime::watcher;
use kube::{Api, Client};
use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Deserialize;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::Args;
use super::addresses::Addresses;
use super::keeper::Keeper;
use super::nodes::{Machine, Node, Nodes};
use super::stages::Stages;
use super::world::{World, Written};

/// Port of health and metrics by default: the original kubelet's.
const PORT: u16 = 10250;
/// Statuses under way at once; more would only queue in the server.
const PARALLEL: usize = 64;
/// Changes taken in before writing goes on.
const BURST: usize = 256;
/// Pause of a write that failed.
const RETRY: Duration = Duration::from_secs(1);

/// A pod as it comes, decoded without its managed fields.
#[derive(Clone, Debug, Deserialize)]
struct Seen {
    #[serde(deserialize_with = "knarr_component::meta::without_managers")]
    metadata: ObjectMeta,
    spec: Option<PodSpec>,
    status: Option<PodStatus>,
}

view_of!(Seen => Pod);

impl From<Seen> for Pod {
    fn from(seen: Seen) -> Self {
        Self { metadata: seen.metadata, spec: seen.spec, status: seen.status }
    }
}

/// What the informer keeps of a pod; the pod itself goes to the world.
struct View {
    key: Key,
    uid: String,
    version: String,
}

impl Object for View {
    fn key(&self) -> Key {
        self.key.clone()
    }

    fn uid(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.version
    }
}

impl View {
    fn of(pod: &Seen) -> Self {
        Self {
            key: Key::of(&pod.metadata),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            version: pod.metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// What happened to a pod.
enum News {
    Apply(Box<Pod>),
    Remove(String),
}

/// Keeps the nodes until `shutdown`; their objects and pods stay.
pub async fn run(args: Args, shutdown: CancellationToken) -> anyhow::Result<()> {
    knarr_component::log::init(&args.logging);
    let stages = args.stages.as_deref().map(Stages::read).transpose()?.unwrap_or_default();
    let seed = args.seed.unwrap_or_else(rand::random);
    tracing::info!(nodes = args.nodes, seed, "simulating");
    let client = knarr_component::client::connect(args.connection.kubeconfig.as_deref(), "simulated").await?;
    let health = Health::new();
    let world = Arc::new(Mutex::new(world(&args, stages, StdRng::seed_from_u64(seed))?));
    let registered = Arc::new(AtomicBool::new(false));
    let told = registered.clone();
    health.ready("nodes", move || match told.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err("not all are registered".to_owned()),
    });
    health.start(&args.serving, PORT, shutdown.clone()).await?;
    let machine = Machine { capacity: args.capacity(), port: args.serving.secure_port.unwrap_or(PORT) };
    let changed = Arc::new(Notify::new());
    let keeper = Keeper::new(client.clone(), world.clone(), machine, changed.clone());
    if shutdown.run_until_cancelled(keeper.register()).await.is_none() {
        return Ok(());
    }
    registered.store(true, Ordering::Relaxed);
    tracing::info!(nodes = args.nodes, "registered");
    let keeping = tokio::spawn(keeper.run(shutdown.clone()));
    live(client, &world, &changed, shutdown).await;
    keeping.await?;
    Ok(())
}

fn world(args: &Args, stages: Stages, mut random: StdRng) -> anyhow::Result<World> {
    let now = Timestamp::now();
    let mut ips = Addresses::new(args.node_cidr);
    let nodes: Option<Vec<Node>> = (0..args.nodes)
        .map(|index| {
            let mut labels = args.node_labels.clone();
            if args.zones > 0 {
                let zone = format!("zone-{}", index % args.zones + 1);
                labels.insert("topology.kubernetes.io/zone".to_owned(), zone);
            }
            Some(Node::new(format!("{}{}", args.node_prefix, index + 1), &labels, ips.take()?, now))
        })
        .collect();
    let Some(nodes) = nodes else {
        anyhow::bail!("--node-cidr: {} has not enough addresses for {} nodes", args.node_cidr, args.nodes)
    };
    let nodes = Nodes::new(nodes, &stages.nodes, now, &mut random);
    Ok(World::new(stages, nodes, Addresses::new(args.cluster_cidr), random))
}

/// Follows all pods that have a node; those of other nodes are told apart by the world. A pod is passed on before the
/// informer compares it with what it knows, so that it keeps none.
fn follow(client: Client, stop: CancellationToken) -> mpsc::UnboundedReceiver<News> {
    let bound = watcher::Config::default().fields("spec.nodeName!=");
    let (send, news) = mpsc::unbounded_channel();
    let seen = send.clone();
    // Nobody listens only when the process ends.
    let informer = Informer::start_mapped(Api::<Seen>::all(client), bound, stop, move |pod| {
        let view = View::of(&pod);
        drop(seen.send(News::Apply(Box::new(pod.into()))));
        view
    });
    informer.on_change(move |change| {
        if let Change::Deleted(view) = &change {
            drop(send.send(News::Remove(view.uid.clone())));
        }
    });
    news
}

/// Lets time pass in the world until told to stop.
async fn live(client: Client, world: &Mutex<World>, changed: &Notify, stop: CancellationToken) {
    let mut news = follow(client.clone(), stop.clone());
    let mut writes = FuturesUnordered::new();
    loop {
        let next = {
            let mut world = world.lock();
            let next = world.pass(Timestamp::now());
            while writes.len() < PARALLEL
                && let Some(write) = world.next_write()
            {
                let client = client.clone();
                writes.push(async move {
                    let how = write.send(&client).await;
                    if how == Written::Failed {
                        tokio::time::sleep(RETRY).await; // nothing tells when the server will have it
                    }
                    (write, how)
                });
            }
            if world.nodes.any_changed() {
                changed.notify_one();
            }
            next
        };
        tokio::select! {
            () = stop.cancelled() => return,
            Some(first) = news.recv() => take_in(world, first, &mut news),
            Some((write, how)) = writes.next() => world.lock().written(&write, how),
            () = until(next) => {}
        }
    }
}

fn take_in(world: &Mutex<World>, first: News, news: &mut mpsc::UnboundedReceiver<News>) {
    let mut world = world.lock();
    let now = Timestamp::now();
    let more = std::iter::from_fn(|| news.try_recv().ok()).take(BURST);
    for one in std::iter::once(first).chain(more) {
        match one {
            News::Apply(pod) => world.apply(*pod, now),
            News::Remove(uid) => world.remove(&uid),
        }
    }
}

/// Waits for a moment; for ever if there is none.
async fn until(moment: Option<Timestamp>) {
    match moment {
        Some(at) => {
            let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            tokio::time::sleep(left).await;
        }
        None => std::future::pending().await,
    }
}
