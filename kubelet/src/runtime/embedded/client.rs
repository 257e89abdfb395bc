//! The kubelet's side of a shim's socket.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::shim::protocol::{self, Reply, Request};
use super::state::{self, socket};
use crate::runtime::{Result, RuntimeError};

/// A connection, for one request and what belongs to it.
pub struct Connection {
    socket: AsyncFd<OwnedFd>,
}

/// Whether a shim listens in the sandbox's directory.
pub fn answers(directory: &Path) -> bool {
    socket::connected(&directory.join(state::SOCKET)).is_ok()
}

impl Connection {
    /// Connects to the shim of the sandbox in `directory`.
    pub fn open(directory: &Path) -> Result<Self> {
        #[expect(deprecated, reason = "an owned descriptor is what the newer call's contract asks for")]
        let open = || {
            let socket = socket::connected(&directory.join(state::SOCKET))?;
            super::shim::do_not_block(&socket)?;
            AsyncFd::new(socket)
        };
        let gone =
            |error: io::Error| RuntimeError::NotFound(format!("the pod's sandbox does not run: {error}"));
        Ok(Self { socket: open().map_err(gone)? })
    }

    /// Sends a request.
    pub async fn send(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<()> {
        let sent =
            self.socket.async_io(Interest::WRITABLE, |socket| protocol::send(socket, request, descriptors));
        sent.await.map_err(|error| lost(&error))
    }

    /// The next answer.
    pub async fn receive(&self) -> Result<(Reply, Vec<OwnedFd>)> {
        let received = self.socket.async_io(Interest::READABLE, protocol::receive::<Reply>).await;
        match received {
            Ok(Some((Reply::Failed(text), _))) => Err(RuntimeError::Failed(text)),
            Ok(Some((Reply::Missing(text), _))) => Err(RuntimeError::NotFound(text)),
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(lost(&io::ErrorKind::UnexpectedEof.into())),
            Err(error) => Err(lost(&error)),
        }
    }

    /// The exit code that comes at last.
    pub async fn exit_code(&self) -> Result<i32> {
        loop {
            if let (Reply::Exited(code), _) = self.receive().await? {
                return Ok(code);
            }
        }
    }
}

fn lost(error: &io::Error) -> RuntimeError {
    RuntimeError::Failed(format!("the sandbox's process is gone: {error}"))
}

/// Asks for one thing and waits until it is done; answers the descriptors that came back.
pub async fn call(directory: &Path, request: &Request) -> Result<Vec<OwnedFd>> {
    let connection = Connection::open(directory)?;
    connection.send(request, &[]).await?;
    Ok(connection.receive().await?.1)
}
