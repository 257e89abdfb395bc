//! The connection to Docker Engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use parking_lot::Mutex;

use crate::runtime::{Result, RuntimeError};

/// How long Docker may take until it answers; pulling, loading and stopping take as long as they take.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
const LONG_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The API of Docker 20.10, which all later ones still have most of.
const OLDEST: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };

/// A Docker Engine. Connections are made when they are needed, so it may come and go.
#[derive(Clone, Debug)]
pub struct Engine {
    socket: PathBuf,
    /// The client that speaks the version of the API that both know.
    agreed: Arc<Mutex<Option<Docker>>>,
}

impl Engine {
    /// The engine behind a socket of this host.
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), agreed: Arc::default() }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// A client for calls that answer soon.
    pub async fn client(&self) -> Result<Docker> {
        if let Some(client) = self.agreed.lock().clone() {
            return Ok(client);
        }
        let client = Docker::connect_with_unix(
            &self.socket.to_string_lossy(),
            CALL_TIMEOUT.as_secs(),
            API_DEFAULT_VERSION,
        );
        let client = match client {
            Ok(client) => client.negotiate_version().await,
            Err(error) => Err(error),
        };
        let client = client.map_err(explain)?;
        let version = client.client_version();
        if version < OLDEST {
            return Err(RuntimeError::Failed(format!(
                "Docker Engine is too old: its API is {version}, needed is {OLDEST} (Docker 20.10)"
            )));
        }
        *self.agreed.lock() = Some(client.clone());
        Ok(client)
    }

    /// Makes a call.
    pub async fn call<T, F>(&self, call: impl FnOnce(Docker) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, Error>>,
    {
        let answer = call(self.client().await?).await.map_err(explain);
        if matches!(answer, Err(RuntimeError::Unavailable(_))) {
            // Another version may come back.
            *self.agreed.lock() = None;
        }
        answer
    }

    /// Makes a call that may take long.
    pub async fn long_call<T, F>(&self, call: impl FnOnce(Docker) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, Error>>,
    {
        self.call(|client| call(client.with_timeout(LONG_TIMEOUT))).await
    }
}

/// What a failed call means to the kubelet.
pub fn explain(error: Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError { status_code: 404, message } => RuntimeError::NotFound(message),
        Error::DockerResponseServerError { message, .. } => RuntimeError::Failed(message),
        Error::DockerStreamError { error } => RuntimeError::Failed(error),
        Error::RequestTimeoutError => RuntimeError::DeadlineExceeded("Docker does not answer".to_owned()),
        Error::SocketNotFoundError(path) => {
            RuntimeError::Unavailable(format!("no Docker Engine answers on {path}"))
        }
        Error::IOError { .. } | Error::HyperResponseError { .. } | Error::HyperLegacyError { .. } => {
            RuntimeError::Unavailable(chain(&error))
        }
        other => RuntimeError::Failed(other.to_string()),
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// What is gone, or is so already, needs nothing.
pub fn gone_is_fine<T>(result: Result<T>) -> Result<()> {
    match result {
        Ok(_) | Err(RuntimeError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
