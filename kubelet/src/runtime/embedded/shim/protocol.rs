//! What the kubelet and a shim say to each other: packets of JSON with descriptors beside them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A packet may be this large; the words of a command are the largest thing in one.
const MAX_PACKET: usize = 192 << 10;
/// Descriptors in one packet.
const MAX_DESCRIPTORS: usize = 3;

/// Which of the standard streams come with a request, in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    /// A descriptor to read from.
    pub stdin: bool,
    /// One to write to.
    pub stdout: bool,
    /// One to write to; a terminal has none of its own.
    pub stderr: bool,
}

/// What a shim is asked. A connection carries one request; what belongs to it follows on the same connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Make the sandbox's namespaces.
    SetUp,
    /// Start a container whose files lie in the sandbox's directory.
    Start {
        /// Its id.
        container: String,
    },
    /// Send a signal to a container's first process, or to all.
    Signal {
        /// Its id.
        container: String,
        /// The signal's number.
        signal: i32,
        /// To every process.
        all: bool,
    },
    /// Run a command in a container, with descriptors. Answered by [`Reply::Started`], then by [`Reply::Exited`].
    Exec {
        /// Its id.
        container: String,
        /// The command.
        args: Vec<String>,
        /// With a terminal, whose descriptor comes with the first answer.
        tty: bool,
        /// Which descriptors come along.
        streams: Streams,
    },
    /// Kill the command of this connection.
    Kill,
    /// Stream the first process's input and output. Answered by [`Reply::Done`], then by [`Reply::Exited`].
    Attach {
        /// Its id.
        container: String,
        /// Which descriptors come along.
        streams: Streams,
    },
    /// The size of the terminal that is attached to on this connection.
    Resize {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// Open the log file anew.
    ReopenLog {
        /// Its id.
        container: String,
    },
    /// Change limits.
    Update {
        /// Its id.
        container: String,
        /// Resources as in the OCI specification.
        resources: serde_json::Value,
    },
    /// Connect to a port of the pod. Answered with the connection.
    Connect {
        /// The port.
        port: u16,
    },
    /// Tell of every container that ends.
    Watch,
    /// Kill everything and end.
    Stop,
}

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It is done.
    Done,
    /// It could not be done.
    Failed(String),
    /// What it is about is not there or does not run.
    Missing(String),
    /// A command was started.
    Started,
    /// The command or container has ended.
    Exited(i32),
    /// Some container has ended.
    Changed,
}

/// Sends a packet; a socket that does not block may refuse it.
pub fn send(socket: &impl AsFd, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > MAX_PACKET {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "argument list too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
    }
    sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives a packet; `None` when the other side is gone.
pub fn receive<T: DeserializeOwned>(socket: &impl AsFd) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut buffer = vec![0; MAX_PACKET];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message =
        recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            descriptors.extend(received);
        }
    }
    if message.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&buffer[..message.bytes])?, descriptors)))
}

/// Receives the one descriptor that a peer sends.
pub fn receive_descriptor(socket: &impl AsFd) -> io::Result<OwnedFd> {
    let mut buffer = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(socket, &mut [IoSliceMut::new(&mut buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut received) = part
            && let Some(descriptor) = received.next()
        {
            return Ok(descriptor);
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "no descriptor came"))
}
