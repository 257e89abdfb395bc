//! Messages of the kernel's netfilter subsystems over netlink, as far as conntrack and the rule monitor need
//! them: a header of 16 bytes, four bytes of `nfgenmsg`, attributes.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};

/// Flags of a request for one answer, for a list, and for an acknowledgement.
pub(crate) const REQUEST: u16 = 0x001;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const ACK: u16 = 0x004;

const HEADER: usize = 16;
const GENERIC: usize = 4;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
/// Enough for what the kernel sends at once.
const BUFFER: usize = 64 * 1024;

/// A message of a subsystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// Subsystem in the high byte, message in the low one.
    pub(crate) kind: u16,
    /// Address family of the `nfgenmsg`.
    pub(crate) family: u8,
    /// Attributes, in the kernel's form.
    pub(crate) attributes: Vec<u8>,
}

/// A netfilter socket of the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Socket(OwnedFd);

impl Socket {
    /// Opens a socket, whose calls block.
    pub(crate) fn open() -> io::Result<Socket> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        Ok(Socket(fd))
    }

    /// Sends a request.
    pub(crate) fn send(&self, message: &Message, flags: u16) -> io::Result<()> {
        let length = HEADER + GENERIC + message.attributes.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
        bytes.extend(message.kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend([message.family, 0, 0, 0]);
        bytes.extend(&message.attributes);
        send(self.0.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Reads what is there: messages, and whether the answer to the last request is complete. An error that
    /// the kernel reports is an error here.
    pub(crate) fn receive(&self) -> io::Result<(Vec<Message>, bool)> {
        let mut buffer = vec![0; BUFFER];
        let length = recv(self.0.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        parse(&buffer[..length])
    }

    /// Asks for a list and reads all of it.
    pub(crate) fn dump(&self, request: &Message) -> io::Result<Vec<Message>> {
        self.send(request, REQUEST | DUMP)?;
        let mut all = Vec::new();
        loop {
            let (messages, done) = self.receive()?;
            all.extend(messages);
            if done {
                return Ok(all);
            }
        }
    }

    /// Sends a request and waits until the kernel has carried it out.
    pub(crate) fn command(&self, request: &Message) -> io::Result<()> {
        self.send(request, REQUEST | ACK)?;
        while !self.receive()?.1 {}
        Ok(())
    }
}

/// Takes apart what was received: messages, and whether the answer to a request is complete.
pub(crate) fn parse(mut bytes: &[u8]) -> io::Result<(Vec<Message>, bool)> {
    let (mut messages, mut done) = (Vec::new(), false);
    while let Some(length) = u32_at(bytes, 0).map(|l| l as usize) {
        let Some(message) = bytes.get(..length).filter(|_| length >= HEADER) else { break };
        match u16_at(message, 4) {
            Some(TYPE_DONE) => done = true,
            Some(TYPE_ERROR) => match u32_at(message, HEADER).map(|e| e as i32) {
                Some(0) => done = true,
                code => return Err(io::Error::from_raw_os_error(-code.unwrap_or(-nix::libc::EIO))),
            },
            Some(kind) if length >= HEADER + GENERIC => messages.push(Message {
                kind,
                family: message[HEADER],
                attributes: message[HEADER + GENERIC..].to_vec(),
            }),
            _ => {}
        }
        bytes = bytes.get(align(length)..).unwrap_or_default();
    }
    Ok((messages, done))
}

/// The value of an attribute among others; nested and byte-order flags of its type are ignored.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attribute_with_header(bytes, kind).and_then(|a| a.get(4..))
}

/// An attribute with its header, to be sent back as it came.
pub(crate) fn attribute_with_header(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    while let (Some(length), Some(found)) = (u16_at(bytes, 0).map(usize::from), u16_at(bytes, 2)) {
        if length < 4 || length > bytes.len() {
            return None;
        }
        if found & 0x3fff == kind {
            return bytes.get(..length);
        }
        bytes = bytes.get(align(length)..).unwrap_or_default();
    }
    None
}

fn align(length: usize) -> usize {
    length.div_ceil(4) * 4
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}
