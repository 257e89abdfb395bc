//! A named cluster on this host: where its files lie and what was chosen for it.
pub mod home;
pub mod paths;
pub mod pki;
pub mod preflight;
pub mod state;

use anyhow::{Context, Result, bail};
use knarr_apiserver::storage::transfer::Place;
pub use paths::Paths;
pub use state::State;
use std::path::Path;

/// A cluster that has been created on this host.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where its files lie.
    pub paths: Paths,
    /// What was chosen when it was created.
    pub state: State,
}

impl Cluster {
    /// The cluster of that name below `home`; an error that says what to do when there is none.
    pub fn open(home: &Path, name: &str) -> Result<Self> {
        let Some(cluster) = Self::find(home, name)? else {
            bail!("there is no cluster {name:?} on this host; `knarr up --name {name}` creates it");
        };
        Ok(cluster)
    }

    /// The cluster of that name, if it exists.
    pub fn find(home: &Path, name: &str) -> Result<Option<Self>> {
        let paths = Paths::new(home, name);
        Ok(State::load(&paths.state_file())?.map(|state| Self { paths, state }))
    }

    /// Every cluster below `home`, by name.
    pub fn all(home: &Path) -> Result<Vec<Self>> {
        let mut clusters = Vec::new();
        for name in Self::names(home)? {
            clusters.extend(Self::find(home, &name)?);
        }
        Ok(clusters)
    }

    /// The names of all clusters below `home`, readable ones or not.
    pub fn names(home: &Path) -> Result<Vec<String>> {
        let entries = match std::fs::read_dir(home) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", home.display())),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            // What all clusters share lies there as well.
            if entry.path().is_dir() && !name.as_encoded_bytes().starts_with(b".") {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// A cluster whose state file is damaged, as far as its removal needs to know it.
    pub fn salvage(home: &Path, name: &str) -> Self {
        let paths = Paths::new(home, name);
        let ran_containers =
            std::fs::read_dir(paths.containerd()).is_ok_and(|mut files| files.next().is_some());
        let runtime_endpoint = knarr_kubelet::runtime::choose::used(&paths.kubelet());
        let api_only = !ran_containers && runtime_endpoint.is_none();
        Self { state: State { api_only, runtime_endpoint, ..State::unknown(name) }, paths }
    }

    /// Refuses a host that joined a cluster of another one, where that one's administrator is needed.
    pub fn administered(self) -> Result<Self> {
        if let Some(joined) = &self.state.joined {
            let name = &self.state.name;
            bail!(
                "{name:?} is a node of the cluster at {}: run this on the host of its API server",
                joined.server
            );
        }
        Ok(self)
    }

    /// Where its state is.
    pub fn place(&self) -> Place {
        match &self.state.datastore {
            Some(url) => Place::Postgres(url.clone()),
            None => Place::Sqlite(self.paths.database()),
        }
    }

    /// The URL of the API server, as clients on this host reach it; of the first, where there are several.
    pub fn server_url(&self) -> String {
        if let Some(joined) = &self.state.joined {
            return joined.server.clone();
        }
        server_url(self.state.ports.api)
    }

    /// The URLs of all API servers, the first one first.
    pub fn server_urls(&self) -> Vec<String> {
        self.state.api_ports().map(server_url).collect()
    }
}

fn server_url(port: u16) -> String {
    format!("https://127.0.0.1:{port}")
}
