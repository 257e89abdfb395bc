//! Frames of SPDY/3.1.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

const VERSION: u16 = 3;
const CONTROL: u32 = 1 << 31;
const FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// Status of a reset: the stream is not wanted.
pub const REFUSED_STREAM: u32 = 3;

/// A frame, its header block still compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// A new stream.
    SynStream { id: u32, block: Bytes },
    /// The stream is accepted.
    SynReply { id: u32, fin: bool, block: Bytes },
    /// More headers.
    Headers { block: Bytes },
    /// The stream is broken off.
    Reset { id: u32, status: u32 },
    /// Are you there?
    Ping { id: u32 },
    /// No more streams.
    GoAway,
    /// Data of a stream, possibly its last.
    Data { id: u32, fin: bool, data: Bytes },
    /// Settings, window updates and what else needs no answer.
    Other,
}

impl Frame {
    /// The frame as bytes.
    pub fn encode(&self) -> Bytes {
        match self {
            Frame::Data { id, fin, data } => {
                let mut bytes = BytesMut::with_capacity(8 + data.len());
                bytes.put_u32(id & !CONTROL);
                bytes.put_u32(u32::from(u8::from(*fin)) << 24 | data.len() as u32);
                bytes.put_slice(data);
                bytes.freeze()
            }
            Frame::Reset { id, status } => control(RST_STREAM, 0, &[*id, *status], &[]),
            Frame::Ping { id } => control(PING, 0, &[*id], &[]),
            Frame::GoAway => control(GOAWAY, 0, &[0, 0], &[]),
            Frame::SynStream { id, block } => syn_stream(*id, block),
            Frame::SynReply { id, fin, block } => control(SYN_REPLY, u8::from(*fin), &[*id], block),
            Frame::Headers { block } => control(HEADERS, 0, &[0], block),
            Frame::Other => Bytes::new(),
        }
    }
}

/// A new stream with its compressed headers.
pub fn syn_stream(id: u32, block: &[u8]) -> Bytes {
    let mut rest = Vec::with_capacity(block.len() + 2);
    // Priority and slot.
    rest.put_u16(0);
    rest.put_slice(block);
    control(SYN_STREAM, 0, &[id, 0], &rest)
}

fn control(kind: u16, flags: u8, words: &[u32], rest: &[u8]) -> Bytes {
    let length = words.len() * 4 + rest.len();
    let mut bytes = BytesMut::with_capacity(8 + length);
    bytes.put_u16(0x8000 | VERSION);
    bytes.put_u16(kind);
    bytes.put_u32(u32::from(flags) << 24 | length as u32);
    for word in words {
        bytes.put_u32(*word);
    }
    bytes.put_slice(rest);
    bytes.freeze()
}

/// Reads a frame; `None` at the end of the connection.
pub async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; 8];
    match io.read_exact(&mut head).await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    };
    let first = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let flags = head[4];
    let length = u32::from_be_bytes([0, head[5], head[6], head[7]]) as usize;
    let mut body = vec![0; length];
    io.read_exact(&mut body).await?;
    let body = Bytes::from(body);
    let fin = flags & FIN != 0;
    if first & CONTROL == 0 {
        return Ok(Some(Frame::Data { id: first, fin, data: body }));
    }
    if (first >> 16) as u16 & 0x7fff != VERSION {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not SPDY version 3"));
    }
    parse(first as u16, fin, &body).map(Some)
}

fn parse(kind: u16, fin: bool, body: &Bytes) -> io::Result<Frame> {
    let word = |at: usize| {
        let bytes = body.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
        bytes.map(u32::from_be_bytes).ok_or_else(short)
    };
    let block = |at: usize| if body.len() < at { Err(short()) } else { Ok(body.slice(at..)) };
    Ok(match kind {
        SYN_STREAM => Frame::SynStream { id: word(0)? & !CONTROL, block: block(10)? },
        SYN_REPLY => Frame::SynReply { id: word(0)? & !CONTROL, fin, block: block(4)? },
        RST_STREAM => Frame::Reset { id: word(0)? & !CONTROL, status: word(4)? },
        PING => Frame::Ping { id: word(0)? },
        GOAWAY => Frame::GoAway,
        HEADERS => Frame::Headers { block: block(4)? },
        _ => Frame::Other,
    })
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "SPDY frame is too short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_survive_the_way() {
        let block = Bytes::from_static(b"block");
        for frame in [
            Frame::Data { id: 5, fin: true, data: Bytes::from_static(b"abc") },
            Frame::Reset { id: 3, status: REFUSED_STREAM },
            Frame::Ping { id: 9 },
            Frame::GoAway,
            Frame::SynStream { id: 1, block: block.clone() },
            Frame::SynReply { id: 1, fin: false, block: block.clone() },
            Frame::Headers { block },
        ] {
            let bytes = frame.encode();
            let got = read(&mut bytes.as_ref()).await.expect("frame");
            assert_eq!(got, Some(frame));
        }
    }

    #[test]
    fn bytes_are_as_the_draft_says() {
        assert_eq!(Frame::Ping { id: 1 }.encode().as_ref(), [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1]);
        let data = Frame::Data { id: 1, fin: true, data: Bytes::from_static(b"x") };
        assert_eq!(data.encode().as_ref(), [0, 0, 0, 1, 1, 0, 0, 1, b'x']);
    }

    #[tokio::test]
    async fn refuses_nonsense() {
        assert!(read(&mut [0x80, 2, 0, 1, 0, 0, 0, 0].as_slice()).await.is_err(), "version 2");
        assert!(read(&mut [0x80, 3, 0, 1, 0, 0, 0, 0].as_slice()).await.is_err(), "too short");
        assert!(read(&mut [0x80, 3, 0, 6, 0, 0, 0, 9, 1].as_slice()).await.is_err(), "cut off");
    }
}
