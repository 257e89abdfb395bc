//! Commands, attached processes and forwarded ports: between a client's streams and a sandbox's process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;

use super::client::{self, Connection};
use super::shim::protocol::{Request, Streams};
use super::shim::{do_not_block, resize};
use crate::runtime::streams::command::{Opened, Size, Sizes, finish};
use crate::runtime::{Result, RuntimeError};
use crate::streaming::spdy::{Incoming, Writer};

/// What is read at once.
const CHUNK: usize = 32 << 10;

/// What is to be streamed.
pub struct Session {
    /// The sandbox's process.
    pub connection: Connection,
    /// The container's id.
    pub container: String,
    /// The command; none: the container's first process.
    pub command: Option<Vec<String>>,
    /// Which streams the client wants.
    pub streams: Streams,
    /// With a terminal.
    pub tty: bool,
}

/// One side of a pipe or terminal.
struct End(AsyncFd<OwnedFd>);

impl End {
    fn new(descriptor: OwnedFd) -> Result<Self> {
        #[expect(deprecated, reason = "an owned descriptor is what the newer call's contract asks for")]
        let made = do_not_block(&descriptor).and_then(|()| AsyncFd::new(descriptor));
        made.map(Self).map_err(|error| RuntimeError::Failed(error.to_string()))
    }

    async fn read(&self) -> std::io::Result<Bytes> {
        let read = |descriptor: &OwnedFd| {
            let mut buffer = vec![0; CHUNK];
            let count = nix::unistd::read(descriptor, &mut buffer)?;
            buffer.truncate(count);
            Ok(Bytes::from(buffer))
        };
        self.0.async_io(Interest::READABLE, read).await
    }

    async fn write(&self, mut data: Bytes) -> std::io::Result<()> {
        while !data.is_empty() {
            let write = |descriptor: &OwnedFd| Ok(nix::unistd::write(descriptor, &data)?);
            let count = self.0.async_io(Interest::WRITABLE, write).await?;
            let _ = data.split_to(count);
        }
        Ok(())
    }

    /// Carries everything to the client.
    async fn copy_to(&self, to: Option<Incoming>) {
        let Some(to) = to else { return };
        let writer: Writer = to.writer;
        while let Ok(data) = self.read().await {
            if data.is_empty() || writer.write(data).await.is_err() {
                break;
            }
        }
        let _ = writer.finish().await;
    }
}

/// Carries the client's input; dropping the end then tells the process that there is no more.
async fn feed(end: End, from: Option<Incoming>) {
    let Some(mut from) = from else { return };
    while let Some(data) = from.reader.recv().await {
        if end.write(data).await.is_err() {
            return;
        }
    }
}

fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|errno| RuntimeError::Failed(errno.to_string()))
}

impl Session {
    /// Streams until the end; answers the exit code, which is 0 for an attached process.
    pub async fn stream(self, opened: Opened) -> Result<i32> {
        match &self.command {
            Some(_) if self.tty => self.terminal(opened).await,
            _ => self.pipes(opened).await,
        }
    }

    fn request(&self, streams: Streams) -> Request {
        let container = self.container.clone();
        match &self.command {
            Some(args) => Request::Exec { container, args: args.clone(), tty: self.tty, streams },
            None => Request::Attach { container, streams },
        }
    }

    async fn pipes(&self, opened: Opened) -> Result<i32> {
        let mut theirs: Vec<OwnedFd> = Vec::new();
        let mut ends = Vec::new();
        let wanted = [self.streams.stdin, self.streams.stdout, self.streams.stderr && !self.tty];
        for (index, wanted) in wanted.into_iter().enumerate() {
            if !wanted {
                ends.push(None);
                continue;
            }
            let (read, write) = pipe()?;
            let (ours, their) = if index == 0 { (write, read) } else { (read, write) };
            theirs.push(their);
            ends.push(Some(End::new(ours)?));
        }
        let streams = Streams { stdin: wanted[0], stdout: wanted[1], stderr: wanted[2] };
        let descriptors: Vec<BorrowedFd<'_>> = theirs.iter().map(AsFd::as_fd).collect();
        self.connection.send(&self.request(streams), &descriptors).await?;
        drop(theirs);
        self.connection.receive().await?;
        let (stderr, stdout, stdin) = (ends.pop().flatten(), ends.pop().flatten(), ends.pop().flatten());
        if let Some(stdin) = stdin {
            tokio::spawn(feed(stdin, opened.stdin));
        }
        let output = tokio::spawn(async move {
            let out = async {
                if let Some(end) = stdout {
                    end.copy_to(opened.stdout).await
                }
            };
            let err = async {
                if let Some(end) = stderr {
                    end.copy_to(opened.stderr).await
                }
            };
            tokio::join!(out, err)
        });
        let mut sizes = opened.resize.map(Sizes::of);
        let code = loop {
            let size = async {
                match &mut sizes {
                    Some(sizes) => sizes.next().await,
                    None => None,
                }
            };
            let has_sizes = self.command.is_none();
            tokio::select! {
                code = self.connection.exit_code() => break code?,
                size = size, if has_sizes => match size {
                    Some(Size { width, height }) => self.connection.send(&Request::Resize { width, height }, &[]).await?,
                    None => break self.connection.exit_code().await?,
                },
            }
        };
        finish(output).await;
        Ok(if self.command.is_some() { code } else { 0 })
    }

    async fn terminal(&self, opened: Opened) -> Result<i32> {
        self.connection.send(&self.request(Streams::default()), &[]).await?;
        let (_, descriptors) = self.connection.receive().await?;
        let missing = || RuntimeError::Failed("the sandbox's process sent no terminal".to_owned());
        let terminal = descriptors.into_iter().next().ok_or_else(missing)?;
        let copy = || terminal.try_clone().map_err(|error| RuntimeError::Failed(error.to_string()));
        let (input, output, control) = (End::new(copy()?)?, End::new(copy()?)?, copy()?);
        drop(terminal);
        let feeding = tokio::spawn(feed(input, opened.stdin));
        let output = tokio::spawn(async move { output.copy_to(opened.stdout).await });
        let sizing = tokio::spawn(async move {
            let Some(resize_stream) = opened.resize else { return };
            let mut sizes = Sizes::of(resize_stream);
            while let Some(size) = sizes.next().await {
                resize(&control, size.width, size.height);
            }
        });
        let code = self.connection.exit_code().await;
        finish(output).await;
        feeding.abort();
        sizing.abort();
        code
    }
}

/// Connects to a port of the sandbox in a directory.
pub async fn connect(directory: &Path, port: u16) -> std::result::Result<TcpStream, String> {
    let text = |error: std::io::Error| error.to_string();
    let found =
        client::call(directory, &Request::Connect { port }).await.map_err(|error| error.to_string())?;
    let socket = std::net::TcpStream::from(found.into_iter().next().ok_or("no connection came")?);
    socket.set_nonblocking(true).map_err(text)?;
    TcpStream::from_std(socket).map_err(text)
}
