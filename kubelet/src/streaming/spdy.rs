//! SPDY/3.1 as far as Kubernetes uses it: streams opened by the client, each with headers, data both ways and a
//! half-close.
//!
//! Windows are neither kept nor announced: the servers of all runtimes (Go's spdystream) know no flow
//! control but TCP's, and waiting for their window updates would be for ever.
//! Draft: <https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/>.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

mod frame;
mod headers;

pub(super) use frame::{Frame, read, syn_stream};
pub(super) use headers::{Compressor, Decompressor};

/// Data frames of ours are at most this large.
const MAX_DATA: usize = 16 << 10;
/// Frames that wait in either direction before the other side is slowed down.
const QUEUE: usize = 16;

type Streams = Arc<Mutex<HashMap<u32, mpsc::Sender<Bytes>>>>;

/// A connection; it ends when it and all its writers are dropped.
pub struct Connection {
    out: mpsc::Sender<Command>,
    streams: Streams,
    next: AtomicU32,
}

enum Command {
    Open { id: u32, headers: Vec<(String, String)> },
    Accept { id: u32 },
    Send(Frame),
}

/// A stream that the other side has opened.
pub struct Incoming {
    /// Its headers; names are in lower case.
    pub headers: Vec<(String, String)>,
    /// What the other side writes.
    pub reader: Reader,
    /// What it reads.
    pub writer: Writer,
}

impl Incoming {
    /// The value of a header, empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

/// The half of a stream that writes.
pub struct Writer {
    id: u32,
    out: mpsc::Sender<Command>,
}

/// The half of a stream that reads: `None` at its end.
pub type Reader = mpsc::Receiver<Bytes>;

impl Connection {
    /// Speaks SPDY over a connection that was upgraded to it.
    pub fn start(io: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self::begin(io, None)
    }

    /// Serves a client: answers the streams that it opens, until it goes.
    pub fn serve(io: impl AsyncRead + AsyncWrite + Send + 'static) -> (Self, mpsc::Receiver<Incoming>) {
        let (accepted, streams) = mpsc::channel(QUEUE);
        (Self::begin(io, Some(accepted)), streams)
    }

    fn begin(
        io: impl AsyncRead + AsyncWrite + Send + 'static,
        accepted: Option<mpsc::Sender<Incoming>>,
    ) -> Self {
        let (read, write) = tokio::io::split(io);
        let (out, commands) = mpsc::channel(QUEUE);
        let streams = Streams::default();
        // The reader answers pings, but must not keep the connection alive by that.
        let weak = out.downgrade();
        let known = Arc::clone(&streams);
        let reader = tokio::spawn(async move {
            if let Err(error) = receive(read, &known, &weak, accepted).await {
                tracing::debug!(%error, "stream connection");
            }
            // Whoever still reads learns that nothing more will come.
            known.lock().clear();
        });
        tokio::spawn(async move {
            if let Err(error) = send(write, commands).await {
                tracing::debug!(%error, "stream connection");
            }
            reader.abort();
        });
        Self { out, streams, next: AtomicU32::new(1) }
    }

    /// Opens a stream.
    pub async fn open(&self, headers: &[(&str, &str)]) -> io::Result<(Reader, Writer)> {
        let id = self.next.fetch_add(2, Ordering::Relaxed);
        let (data, reader) = mpsc::channel(QUEUE);
        self.streams.lock().insert(id, data);
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.out.send(Command::Open { id, headers }).await.map_err(|_| closed())?;
        Ok((reader, Writer { id, out: self.out.clone() }))
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the stream connection is closed")
}

impl Writer {
    /// Sends data.
    pub async fn write(&self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let part = data.split_to(data.len().min(MAX_DATA));
            self.send(Frame::Data { id: self.id, fin: false, data: part }).await?;
        }
        Ok(())
    }

    /// Says that nothing more will be written; reading goes on.
    pub async fn finish(&self) -> io::Result<()> {
        self.send(Frame::Data { id: self.id, fin: true, data: Bytes::new() }).await
    }

    async fn send(&self, frame: Frame) -> io::Result<()> {
        self.out.send(Command::Send(frame)).await.map_err(|_| closed())
    }
}

async fn send(mut io: impl AsyncWrite + Unpin, mut commands: mpsc::Receiver<Command>) -> io::Result<()> {
    let mut compressor = Compressor::new()?;
    while let Some(command) = commands.recv().await {
        let bytes = match command {
            Command::Open { id, headers } => syn_stream(id, &compressor.compress(&headers)?),
            Command::Accept { id } => {
                Frame::SynReply { id, fin: false, block: compressor.compress(&[])?.into() }.encode()
            }
            Command::Send(frame) => frame.encode(),
        };
        io.write_all(&bytes).await?;
        io.flush().await?;
    }
    io.shutdown().await
}

async fn receive(
    mut io: impl AsyncRead + Unpin,
    streams: &Streams,
    out: &mpsc::WeakSender<Command>,
    accepted: Option<mpsc::Sender<Incoming>>,
) -> io::Result<()> {
    let mut decompressor = Decompressor::new();
    while let Some(frame) = read(&mut io).await? {
        match frame {
            Frame::Data { id, fin, data } => {
                let sender = streams.lock().get(&id).cloned();
                if let (Some(sender), false) = (sender, data.is_empty()) {
                    // A reader that was dropped does not want the rest.
                    let _ = sender.send(data).await;
                }
                if fin {
                    streams.lock().remove(&id);
                }
            }
            Frame::SynReply { id, fin, block } => {
                // Its headers say nothing, but the compression's state must be kept.
                decompressor.decompress(&block)?;
                if fin {
                    streams.lock().remove(&id);
                }
            }
            Frame::SynStream { id, block } => {
                let headers = decompressor.headers(&block)?;
                let (Some(accepted), Some(out)) = (&accepted, out.upgrade()) else {
                    answer(out, Frame::Reset { id, status: frame::REFUSED_STREAM }).await;
                    continue;
                };
                let (data, reader) = mpsc::channel(QUEUE);
                streams.lock().insert(id, data);
                let _ = out.send(Command::Accept { id }).await;
                let _ = accepted.send(Incoming { headers, reader, writer: Writer { id, out } }).await;
            }
            Frame::Headers { block } => decompressor.decompress(&block)?,
            Frame::Reset { id, .. } => drop(streams.lock().remove(&id)),
            Frame::Ping { id } => answer(out, Frame::Ping { id }).await,
            Frame::GoAway | Frame::Other => {}
        }
    }
    Ok(())
}

async fn answer(out: &mpsc::WeakSender<Command>, frame: Frame) {
    if let Some(out) = out.upgrade() {
        let _ = out.send(Command::Send(frame)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn streams_carry_data_both_ways() {
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        let connection = Connection::start(ours);
        let (mut reader, writer) = connection.open(&[("streamtype", "stdin")]).await.expect("open");
        let Some(Frame::SynStream { id, block }) = read(&mut theirs).await.expect("frame") else {
            panic!("no SYN_STREAM")
        };
        let names = Decompressor::new().headers(&block).expect("headers");
        assert_eq!((id, names), (1, vec![("streamtype".to_owned(), "stdin".to_owned())]));

        writer.write(Bytes::from_static(b"hello")).await.expect("write");
        writer.finish().await.expect("finish");
        let data = read(&mut theirs).await.expect("frame");
        assert_eq!(data, Some(Frame::Data { id: 1, fin: false, data: Bytes::from_static(b"hello") }));
        let end = read(&mut theirs).await.expect("frame");
        assert_eq!(end, Some(Frame::Data { id: 1, fin: true, data: Bytes::new() }));

        for frame in [
            Frame::Ping { id: 7 },
            Frame::Data { id: 1, fin: false, data: Bytes::from_static(b"world") },
            Frame::Data { id: 1, fin: true, data: Bytes::new() },
        ] {
            theirs.write_all(&frame.encode()).await.expect("written");
        }
        assert_eq!(reader.recv().await.as_deref(), Some(b"world".as_slice()));
        assert_eq!(reader.recv().await, None, "half-closed by the other side");
        assert_eq!(read(&mut theirs).await.expect("frame"), Some(Frame::Ping { id: 7 }));
        drop((connection, writer));
        assert_eq!(read(&mut theirs).await.expect("end"), None);
    }
}
