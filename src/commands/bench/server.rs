//! An API server of the benchmark's own: the flags of a cluster's, an empty database, a temporary directory.
use super::client::{Call, Connection, Target};
use crate::cluster::state::{Reservations, Wishes, choose};
use crate::cluster::{Cluster, Paths, pki};
use crate::supervisor::components;
use anyhow::{Context, Result, bail};
use knarr_apiserver::storage::Revision;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two tries to reach a server that starts.
const LOOK: Duration = Duration::from_millis(1);

/// Everything a server is started from.
pub struct Site {
    cluster: Cluster,
    _directory: TempDir,
    _reserved: Reservations,
}

/// A running server; it is killed when dropped.
pub struct Server {
    child: Child,
    /// Where it answers.
    pub target: Target,
}

impl Site {
    /// Makes directories, certificates and keys; no database yet.
    pub fn new(datastore: Option<String>) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("knarr-bench-").tempdir()?;
        let (mut state, reserved) = choose("bench", &Wishes::default(), &[])?;
        state.api_only = true;
        state.datastore = datastore;
        let cluster = Cluster { paths: Paths::new(directory.path(), "bench"), state };
        for (folder, _) in cluster.paths.directories() {
            std::fs::create_dir_all(folder)?;
        }
        pki::create(&cluster)?;
        Ok(Self { cluster, _directory: directory, _reserved: reserved })
    }

    /// The cluster that the servers are of.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Starts a server on an empty database; returns it ready, with the time that took.
    pub async fn start(&self) -> Result<(Server, Duration)> {
        self.empty().await?;
        self.resume(&[]).await
    }

    /// Removes what the database holds; no server may run.
    pub async fn empty(&self) -> Result<()> {
        let database = self.cluster.paths.database();
        std::fs::remove_dir_all(&database)?;
        std::fs::create_dir(&database)?;
        if self.cluster.state.datastore.is_some() {
            self.cluster.place().import(Revision(1), &mut std::iter::empty(), true).await?;
        }
        Ok(())
    }

    /// Starts a server on the database as it is, with more flags; returns it ready, with the time that took.
    pub async fn resume(&self, flags: &[String]) -> Result<(Server, Duration)> {
        let plan = components(&self.cluster)?;
        let component = plan.into_iter().find(|component| component.name == "apiserver");
        let component = component.context("a cluster without an API server")?;
        let target = Target::new(&self.cluster)?;
        let log = std::fs::File::create(self.cluster.paths.log("apiserver"))?;
        let begin = Instant::now();
        let mut command = Command::new(&component.program);
        command
            .args(&component.args)
            .args(flags)
            .envs(component.env)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().context("cannot start the API server")?;
        let mut server = Server { child, target };
        server.ready().await.map_err(|e| {
            let log = std::fs::read_to_string(self.cluster.paths.log("apiserver")).unwrap_or_default();
            e.context(format!("the API server did not start:\n{log}"))
        })?;
        Ok((server, begin.elapsed()))
    }
}

impl Server {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut connection: Option<Connection> = None;
        loop {
            let outcome = async {
                let mut open = match connection.take() {
                    Some(open) => open,
                    None => self.target.connect().await?,
                };
                let answer = open.send(&Call::get("/readyz")).await;
                connection = Some(open);
                answer
            };
            match outcome.await {
                Ok(_) => return Ok(()),
                Err(e) if Instant::now() > deadline => return Err(e),
                Err(_) => {}
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            tokio::time::sleep(LOOK).await; // nothing announces a new listener
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
