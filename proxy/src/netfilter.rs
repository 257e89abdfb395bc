//! Messages of the kernel's netfilter subsystems over netlink: a header of 16 bytes, four bytes of `nfgenmsg`,
//! attributes.

use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{RcvBufForce, SndBufForce};
use nix::sys::socket::{MsgFlags, recv, send, setsockopt};
use rtnetlink::sys::{Socket as Netlink, SocketAddr, protocols};

/// Flags of a request for one answer, for a list, and for an acknowledgement.
pub(crate) const REQUEST: u16 = 0x001;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const ACK: u16 = 0x004;
/// Flags of a request that makes something: it may be there, it must not be there, it comes last.
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const APPEND: u16 = 0x800;

pub(crate) const HEADER: usize = 16;
pub(crate) const GENERIC: usize = 4;
const TYPE_ERROR: u16 = 2;
const TYPE_DONE: u16 = 3;
/// Flags of an error: the request is not repeated in it, and attributes follow.
const CAPPED: u16 = 0x100;
const EXTENDED: u16 = 0x200;
/// The attribute of an error with the kernel's words.
const ERROR_TEXT: u16 = 1;
/// Flag of an attribute that is made of attributes.
const NESTED: u16 = 0x8000;
/// Enough for what the kernel sends at once.
const BUFFER: usize = 64 * 1024;
/// For the errors that the kernel reports of a batch; what does not fit is reported as `ENOBUFS`.
const ERRORS: usize = 1024 * 1024;

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

/// The kernel's refusal of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The message's number, as its sender gave it.
    pub(crate) sequence: u32,
    /// The error's number.
    pub(crate) errno: i32,
    /// The kernel's words, if it had any.
    pub(crate) text: String,
}

/// What the kernel sent.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) messages: Vec<Message>,
    /// The answer to a request is complete.
    pub(crate) done: bool,
    pub(crate) refusals: Vec<Refusal>,
}

/// A netfilter socket of the network namespace in which it was opened.
pub(crate) struct Socket(Netlink);

impl Socket {
    /// Opens a socket, whose calls block.
    pub(crate) fn open() -> io::Result<Socket> {
        let mut socket = Netlink::new(protocols::NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        // Words for errors; kernels that do not know the options tell the numbers alone.
        let _ = socket.set_ext_ack(true);
        let _ = socket.set_cap_ack(true);
        Ok(Socket(socket))
    }

    /// Sends a request.
    pub(crate) fn send(&self, message: &Message, flags: u16) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEADER + GENERIC + message.attributes.len());
        write_message(&mut bytes, message.kind, flags, 0, (message.family, 0), |attributes| {
            attributes.0.extend(&message.attributes);
        });
        send(self.0.as_raw_fd(), &bytes, MsgFlags::empty())?;
        Ok(())
    }

    /// Reads what is there. An error that the kernel reports is an error here.
    pub(crate) fn receive(&self) -> io::Result<(Vec<Message>, bool)> {
        let received = self.read(MsgFlags::empty())?;
        match received.refusals.first() {
            Some(refusal) => Err(io::Error::from_raw_os_error(refusal.errno)),
            None => Ok((received.messages, received.done)),
        }
    }

    fn read(&self, flags: MsgFlags) -> io::Result<Received> {
        let mut buffer = vec![0; BUFFER];
        let length = recv(self.0.as_raw_fd(), &mut buffer, flags)?;
        Ok(parse(&buffer[..length]))
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

    /// Asks for one thing.
    pub(crate) fn get(&self, request: &Message) -> io::Result<Option<Message>> {
        self.send(request, REQUEST)?;
        Ok(self.receive()?.0.into_iter().next())
    }

    /// Sends a request and waits until the kernel has carried it out.
    pub(crate) fn command(&self, request: &Message) -> io::Result<()> {
        self.send(request, REQUEST | ACK)?;
        while !self.receive()?.1 {}
        Ok(())
    }

    /// Throws away what has come.
    pub(crate) fn drain(&self) -> io::Result<()> {
        loop {
            match self.read(MsgFlags::MSG_DONTWAIT) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.raw_os_error() != Some(Errno::ENOBUFS as i32) => return Err(error),
                _ => {}
            }
        }
    }

    /// Sends messages that the kernel takes all or none of; returns what it refused. It works while it is called, so
    /// all answers are there afterwards: one at least, as a message must ask for an acknowledgement.
    pub(crate) fn transact(&self, batch: &[u8]) -> io::Result<Vec<Refusal>> {
        // Twice the length, since the kernel counts what it keeps for itself, too.
        let room = batch.len().saturating_mul(2).max(ERRORS);
        // Without the right to it the system's own limit holds, and a batch beyond that fails as too long.
        let _ = setsockopt(&self.0, SndBufForce, &room);
        let _ = setsockopt(&self.0, RcvBufForce, &ERRORS);
        send(self.0.as_raw_fd(), batch, MsgFlags::empty())?;
        let (mut refusals, mut answered) = (Vec::new(), false);
        loop {
            match self.read(MsgFlags::MSG_DONTWAIT) {
                Ok(received) => {
                    answered |= received.done;
                    refusals.extend(received.refusals);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if refusals.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        if refusals.is_empty() && !answered {
            return Err(io::Error::other("the kernel did not acknowledge the rules"));
        }
        Ok(refusals)
    }
}

/// Takes apart what was received.
pub(crate) fn parse(mut bytes: &[u8]) -> Received {
    let mut received = Received::default();
    while let Some(length) = u32_at(bytes, 0).map(|l| l as usize) {
        let Some(message) = bytes.get(..length).filter(|_| length >= HEADER) else { break };
        match u16_at(message, 4) {
            Some(TYPE_DONE) => received.done = true,
            Some(TYPE_ERROR) => match refusal(message) {
                Some(refusal) => received.refusals.push(refusal),
                None => received.done = true,
            },
            Some(kind) if length >= HEADER + GENERIC => received.messages.push(Message {
                kind,
                family: message[HEADER],
                attributes: message[HEADER + GENERIC..].to_vec(),
            }),
            _ => {}
        }
        bytes = bytes.get(align(length)..).unwrap_or_default();
    }
    received
}

/// What an error says; nothing if it is an acknowledgement.
fn refusal(message: &[u8]) -> Option<Refusal> {
    let errno = u32_at(message, HEADER).map_or(nix::libc::EIO, |code| (code as i32).wrapping_neg());
    if errno == 0 {
        return None;
    }
    let flags = u16_at(message, 6).unwrap_or_default();
    let request = HEADER + 4;
    let length = match flags & CAPPED {
        0 => u32_at(message, request).map_or(HEADER, |length| align(length as usize)),
        _ => HEADER,
    };
    let attributes = message.get(request + length..).filter(|_| flags & EXTENDED != 0);
    let text = attributes.and_then(|attributes| attribute(attributes, ERROR_TEXT)).map(text_of);
    let sequence = u32_at(message, request + 8).unwrap_or_default();
    Some(Refusal { sequence, errno, text: text.unwrap_or_default() })
}

/// Attributes that are being written.
pub(crate) struct Attributes<'a>(pub(crate) &'a mut Vec<u8>);

impl Attributes<'_> {
    /// Adds bytes.
    pub(crate) fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.within(kind, |attributes| attributes.0.extend(value));
    }

    /// Adds a number in the network's order.
    pub(crate) fn number(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Adds a text with the zero at its end.
    pub(crate) fn text(&mut self, kind: u16, value: &str) {
        self.within(kind, |attributes| {
            attributes.0.extend(value.as_bytes());
            attributes.0.push(0);
        });
    }

    /// Adds an attribute that is made of attributes.
    pub(crate) fn nest(&mut self, kind: u16, write: impl FnOnce(&mut Attributes<'_>)) {
        self.within(kind | NESTED, write);
    }

    fn within(&mut self, kind: u16, write: impl FnOnce(&mut Attributes<'_>)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        write(&mut Attributes(self.0));
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(align(self.0.len()), 0);
    }
}

/// Appends a message, whose family and resource are those of its `nfgenmsg`. What stands before it is a multiple of
/// four bytes long.
pub(crate) fn write_message(
    bytes: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    (family, resource): (u8, u16),
    write: impl FnOnce(&mut Attributes<'_>),
) {
    let start = bytes.len();
    bytes.extend([0; 4]);
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    write(&mut Attributes(bytes));
    let length = u32::try_from(bytes.len() - start).unwrap_or(u32::MAX);
    bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
}

/// The value of an attribute among others; nested and byte-order flags of its type are ignored.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attribute_with_header(bytes, kind).and_then(|a| a.get(4..))
}

/// An attribute with its header, to be sent back as it came.
pub(crate) fn attribute_with_header(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, whole)| whole)
}

/// All attributes: each one's type without flags, and the attribute with its header.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (length, kind) = (usize::from(u16_at(bytes, 0)?), u16_at(bytes, 2)?);
        let whole = bytes.get(..length).filter(|_| length >= 4)?;
        bytes = bytes.get(align(length)..).unwrap_or_default();
        Some((kind & 0x3fff, whole))
    })
}

/// A text that ends with a zero or with its attribute.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        write_message(&mut bytes, 0x0a06, CREATE, 7, (2, 10), |a| {
            a.text(1, "abc");
            a.nest(4, |a| {
                a.number(1, 0x0102_0304);
                a.bytes(2, &[9]);
            });
            a.bytes(5, &[]);
        });
        assert_eq!(bytes.len(), HEADER + GENERIC + 8 + 20 + 4);
        assert_eq!(u32_at(&bytes, 0), u32::try_from(bytes.len()).ok());
        assert_eq!(bytes[HEADER..HEADER + GENERIC], [2, 0, 0, 10]);
        let received = parse(&bytes);
        let [message] = received.messages.as_slice() else { panic!("{received:?}") };
        assert_eq!((message.kind, message.family), (0x0a06, 2));
        assert_eq!(attribute(&message.attributes, 1).map(text_of).as_deref(), Some("abc"));
        let nest = attribute(&message.attributes, 4).expect("the nest");
        assert_eq!(attribute(nest, 1), Some(&[1, 2, 3, 4][..]));
        assert_eq!(attribute(nest, 2), Some(&[9][..]));
        assert_eq!(attribute(&message.attributes, 5), Some(&[][..]));
        assert_eq!(attribute(&message.attributes, 6), None);
    }

    /// An error about a message of number 5 that had `rest` behind its header.
    fn answer(flags: u16, errno: i32, rest: &[u8], text: Option<&str>) -> Vec<u8> {
        let mut bytes = vec![0; 4];
        bytes.extend(TYPE_ERROR.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend((-errno).to_ne_bytes());
        bytes.extend(u32::try_from(HEADER + rest.len()).expect("short").to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(5_u32.to_ne_bytes());
        bytes.extend([0; 4]);
        if flags & CAPPED == 0 {
            bytes.extend(rest);
        }
        if let Some(text) = text {
            Attributes(&mut bytes).text(ERROR_TEXT, text);
        }
        let length = u32::try_from(bytes.len()).expect("short");
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn refusals_are_told_with_number_and_words() {
        let refusal = |text: &str| Refusal { sequence: 5, errno: 2, text: text.to_owned() };
        let check = |bytes: Vec<u8>, expected: Refusal| assert_eq!(parse(&bytes).refusals, [expected]);
        check(answer(CAPPED | EXTENDED, 2, &[1; 8], Some("why")), refusal("why"));
        check(answer(EXTENDED, 2, &[1; 8], Some("why")), refusal("why"));
        check(answer(0, 2, &[1; 8], None), refusal(""));
        let acknowledged = parse(&answer(CAPPED, 0, &[], None));
        assert!(acknowledged.done && acknowledged.refusals.is_empty());
        // An acknowledgement of one message and the refusal of another come together.
        let both = [answer(CAPPED, 0, &[], None), answer(CAPPED, 2, &[], None)].concat();
        let both = parse(&both);
        assert!(both.done && both.refusals == [refusal("")]);
        // What is cut off says nothing.
        assert!(parse(&answer(CAPPED, 2, &[], None)[..20]).refusals.is_empty());
    }
}
