//! What flows between a container's first process, its log and those who are attached to it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::output::{Log, Stream};
use super::protocol::Streams;

/// Who reads so slowly that this much waits for him is let go, so that the container is not held up.
const MAX_WAITING: usize = 1 << 20;
/// What is read at once.
pub const CHUNK: usize = 32 << 10;

/// Makes reads and writes return at once.
pub fn do_not_block(descriptor: &OwnedFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(descriptor, FcntlArg::F_GETFL)?);
    fcntl(descriptor, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

/// What a read brought.
pub enum Read {
    /// Data.
    Data(Vec<u8>),
    /// Nothing now.
    Later,
    /// Nothing any more.
    End,
}

/// Reads what is there.
pub fn read(descriptor: &OwnedFd) -> Read {
    let mut buffer = vec![0; CHUNK];
    match nix::unistd::read(descriptor, &mut buffer) {
        Ok(0) => Read::End,
        Ok(count) => {
            buffer.truncate(count);
            Read::Data(buffer)
        }
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => Read::Later,
        // A terminal that nobody has open any more says so by an error.
        Err(_) => Read::End,
    }
}

/// A descriptor that is written to as fast as it takes it.
pub struct Sink {
    descriptor: OwnedFd,
    waiting: VecDeque<u8>,
}

impl Sink {
    /// Writes to a descriptor.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        do_not_block(&descriptor)?;
        Ok(Self { descriptor, waiting: VecDeque::new() })
    }

    /// Whether something waits.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What is written to.
    pub fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Takes data; an error if nobody takes it.
    pub fn put(&mut self, data: &[u8]) -> io::Result<()> {
        self.waiting.extend(data);
        self.flush()?;
        if self.waiting.len() > MAX_WAITING {
            return Err(io::Error::other("too slow"));
        }
        Ok(())
    }

    /// Writes what waits, as far as that goes.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            let (first, _) = self.waiting.as_slices();
            match nix::unistd::write(&self.descriptor, first) {
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(nix::errno::Errno::EAGAIN) => break,
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }
}

/// Someone attached.
pub struct Attached {
    /// His connection.
    pub client: u64,
    /// What he sends.
    pub stdin: Option<OwnedFd>,
    stdout: Option<Sink>,
    stderr: Option<Sink>,
}

impl Attached {
    /// Takes the descriptors that came with a request, in order.
    pub fn new(client: u64, streams: Streams, descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let mut descriptors = descriptors.into_iter();
        let mut next = |wanted: bool| if wanted { descriptors.next() } else { None };
        let (stdin, stdout, stderr) = (next(streams.stdin), next(streams.stdout), next(streams.stderr));
        if let Some(stdin) = &stdin {
            do_not_block(stdin)?;
        }
        let sink = |descriptor: Option<OwnedFd>| descriptor.map(Sink::new).transpose();
        Ok(Self { client, stdin, stdout: sink(stdout)?, stderr: sink(stderr)? })
    }

    fn sink(&mut self, stream: Stream) -> &mut Option<Sink> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Sinks that wait.
    pub fn waiting(&self) -> impl Iterator<Item = &Sink> {
        self.stdout.iter().chain(&self.stderr).filter(|sink| sink.is_waiting())
    }

    /// Writes what waits.
    pub fn flush(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let sink = self.sink(stream);
            if sink.as_mut().is_some_and(|sink| sink.flush().is_err()) {
                *sink = None;
            }
        }
    }
}

/// The streams of a container.
#[derive(Default)]
pub struct Flow {
    /// Its log.
    pub log: Option<Log>,
    /// What it writes; with a terminal there is one only.
    pub outputs: Vec<(Stream, OwnedFd)>,
    /// What it reads.
    pub stdin: Option<Sink>,
    /// Its terminal, for changes of size.
    pub terminal: Option<OwnedFd>,
    /// Who is attached.
    pub attached: Vec<Attached>,
}

impl Flow {
    /// Carries on what an output has; whether it goes on.
    pub fn pump(&mut self, stream: Stream, descriptor: &OwnedFd) -> Option<bool> {
        match read(descriptor) {
            Read::Data(data) => {
                self.put(stream, &data);
                Some(true)
            }
            Read::Later => None,
            Read::End => Some(false),
        }
    }

    fn put(&mut self, stream: Stream, data: &[u8]) {
        if let Some(log) = &mut self.log
            && let Err(error) = log.write(stream, data)
        {
            tracing::warn!(%error, "log not written");
        }
        for attached in &mut self.attached {
            let sink = attached.sink(stream);
            if sink.as_mut().is_some_and(|sink| sink.put(data).is_err()) {
                *sink = None;
            }
        }
    }

    /// Carries on what is left of an ended container.
    pub fn drain(&mut self) {
        for (stream, descriptor) in std::mem::take(&mut self.outputs) {
            while self.pump(stream, &descriptor) == Some(true) {}
            if let Some(log) = &mut self.log
                && let Err(error) = log.finish(stream)
            {
                tracing::warn!(%error, "log not written");
            }
        }
    }

    /// Carries input of whoever is attached to the container; answers whether it has ended.
    pub fn feed(&mut self, client: u64) -> bool {
        let Some(attached) = self.attached.iter_mut().find(|attached| attached.client == client) else {
            return true;
        };
        let Some(source) = &attached.stdin else { return true };
        match read(source) {
            Read::Data(data) => {
                if self.stdin.as_mut().is_some_and(|stdin| stdin.put(&data).is_err()) {
                    self.stdin = None;
                }
                false
            }
            Read::Later => false,
            Read::End => {
                attached.stdin = None;
                true
            }
        }
    }

    /// Sets the size of the terminal.
    pub fn resize(&self, width: u16, height: u16) {
        if let Some(terminal) = &self.terminal {
            resize(terminal, width, height);
        }
    }
}

/// Sets the size of a terminal.
pub fn resize(terminal: &impl AsFd, width: u16, height: u16) {
    let size = rustix::termios::Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
    if let Err(error) = rustix::termios::tcsetwinsize(terminal, size) {
        tracing::debug!(%error, "terminal not resized");
    }
}
