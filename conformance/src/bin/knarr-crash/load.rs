//! Writers that never rest, and a watch that is only ever resumed.
use crate::ledger::{Ledger, Write};
use crate::{LOOK, eventually};
use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams};
use kube::{Client, ResourceExt};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Namespace of what is written.
const NAMESPACE: &str = "crash-writes";

/// Writers at once.
const WRITERS: usize = 4;

/// Write load and a watch of it; both run until the process ends.
pub struct Load {
    api: Api<ConfigMap>,
    ledger: Arc<Mutex<Ledger>>,
}

impl Load {
    /// Starts the writers and the watch.
    pub async fn start(client: Client) -> Result<Self> {
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(NAMESPACE.into()), ..Default::default() },
            ..Default::default()
        };
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        let api: Api<ConfigMap> = Api::namespaced(client, NAMESPACE);
        let list = api.list(&ListParams::default()).await?;
        let version = list.metadata.resource_version.context("a list without a revision")?;
        let ledger = Arc::new(Mutex::new(Ledger::from(version.parse()?)));
        tokio::spawn(watch(api.clone(), ledger.clone()));
        let next = Arc::new(AtomicU64::new(0));
        for _ in 0..WRITERS {
            tokio::spawn(write(api.clone(), ledger.clone(), next.clone()));
        }
        Ok(Self { api, ledger })
    }

    /// Waits until this many more writes are acknowledged.
    pub async fn progress(&self, writes: usize) -> Result<()> {
        let aim = lock(&self.ledger).count() + writes;
        eventually("writes are acknowledged", async || {
            let count = lock(&self.ledger).count();
            ensure!(count >= aim, "{count} are acknowledged, {aim} awaited");
            Ok(())
        })
        .await
    }

    /// Compares what was acknowledged and watched with what is there; returns how much that is.
    pub async fn check(&self) -> Result<usize> {
        eventually("the watch catches up", async || lock(&self.ledger).caught_up()).await?;
        let list = self.api.list(&ListParams::default().labels("load=crash")).await?;
        let held = list.items.iter().map(record).collect::<Result<Vec<_>>>()?;
        let ledger = lock(&self.ledger);
        // What was acknowledged after the list was made is not in it.
        ledger.check(&held, list.metadata.resource_version.unwrap_or_default().parse()?)?;
        Ok(ledger.count())
    }
}

async fn write(api: Api<ConfigMap>, ledger: Arc<Mutex<Ledger>>, next: Arc<AtomicU64>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let metadata = ObjectMeta {
            name: Some(format!("write-{number}")),
            labels: Some([("load".to_owned(), "crash".to_owned())].into()),
            ..Default::default()
        };
        let object = ConfigMap { metadata, ..Default::default() };
        match api
            .create(&PostParams::default(), &object)
            .await
            .map_err(Into::into)
            .and_then(|made| record(&made))
        {
            Ok(write) => lock(&ledger).acknowledge(write),
            // Not acknowledged: it may be there or not. A killed server is back in a moment.
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

async fn watch(api: Api<ConfigMap>, ledger: Arc<Mutex<Ledger>>) {
    let params = WatchParams::default().labels("load=crash");
    loop {
        let from = lock(&ledger).last().to_string();
        match api.watch(&params, &from).await {
            Ok(stream) => {
                let mut stream = std::pin::pin!(stream);
                // The stream ends with the server; an error in it is that end, too.
                while let Some(Ok(event)) = stream.next().await {
                    see(&mut lock(&ledger), event);
                }
            }
            Err(kube::Error::Api(status)) if status.code == 410 => {
                lock(&ledger).complain(format!("the watch from {from} was refused: {}", status.message));
            }
            Err(_) => {}
        }
        tokio::time::sleep(LOOK).await; // a killed server is back in a moment
    }
}

fn see(ledger: &mut Ledger, event: WatchEvent<ConfigMap>) {
    match event {
        WatchEvent::Added(object) => match record(&object) {
            Ok(write) => ledger.watch(write),
            Err(e) => ledger.complain(format!("{e:#}")),
        },
        WatchEvent::Modified(object) => ledger.complain(format!("{} was modified", object.name_any())),
        WatchEvent::Deleted(object) => ledger.complain(format!("{} was deleted", object.name_any())),
        WatchEvent::Bookmark(bookmark) => {
            if let Ok(version) = bookmark.metadata.resource_version.parse() {
                ledger.bookmark(version);
            }
        }
        WatchEvent::Error(status) => ledger.complain(format!("the watch ended with: {}", status.message)),
    }
}

fn record(object: &ConfigMap) -> Result<Write> {
    let version = object.resource_version().context("an object without a revision")?;
    let uid = object.uid().context("an object without a uid")?;
    Ok(Write { name: object.name_any(), uid, version: version.parse()? })
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
