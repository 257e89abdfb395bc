//! Writes of a connection that many streams share, collected.
//!
//! A stream that has something to send wakes its connection's task, and the runtime runs the task woken last first: a
//! change that concerns a thousand watches would be a thousand TLS records and system calls. So a flush lets the
//! tasks that are ready run once before it happens. Letting them costs a wake-up of another worker, so that a connection
//! on which this brings nothing, since one request is under way at a time, only tries it now and then.
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, BufWriter, ReadBuf};

/// Bytes collected at most, two TLS records.
const CAPACITY: usize = 32 << 10;

/// So many flushes in a row go out at once before it is tried again whether waiting brings more.
const TRY_AGAIN: u32 = 32;

/// A byte stream whose writes are collected until a flush or until they are many.
pub(super) struct Batched<S> {
    inner: BufWriter<S>,
    /// The others have their turn before this flush.
    waited: bool,
    /// They have written something in it.
    gained: bool,
    /// Flushes that may still go out at once, as the last wait brought nothing.
    at_once: u32,
}

impl<S: AsyncWrite> Batched<S> {
    pub fn new(stream: S) -> Self {
        Self { inner: BufWriter::with_capacity(CAPACITY, stream), waited: false, gained: false, at_once: 0 }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Batched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Batched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.gained |= self.waited;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.gained |= self.waited;
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waited && !self.inner.buffer().is_empty() {
            if self.at_once == 0 {
                self.waited = true;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.at_once -= 1;
        }
        let flushed = ready!(Pin::new(&mut self.inner).poll_flush(context));
        if std::mem::take(&mut self.waited) && !std::mem::take(&mut self.gained) {
            self.at_once = TRY_AGAIN;
        }
        Poll::Ready(flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::{Batched, TRY_AGAIN};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_flush_takes_along_what_others_write_in_between() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut stream = Batched::new(near);
        stream.write_all(b"first").await.unwrap();
        let mut flush = Box::pin(stream.flush());
        assert!(futures::poll!(flush.as_mut()).is_pending(), "the others have their turn");
        drop(flush);
        stream.write_all(b" second").await.unwrap();
        stream.flush().await.unwrap();
        let mut read = [0; 12];
        far.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"first second");
    }

    #[tokio::test]
    async fn where_waiting_brings_nothing_flushes_go_out_at_once() {
        let (near, _far) = tokio::io::duplex(1 << 10);
        let mut stream = Batched::new(near);
        let mut waits = Vec::new();
        for _ in 0..=TRY_AGAIN + 1 {
            stream.write_all(b"one").await.unwrap();
            let mut flush = Box::pin(stream.flush());
            waits.push(futures::poll!(flush.as_mut()).is_pending());
            flush.await.unwrap();
        }
        let expected: Vec<bool> = (0..=TRY_AGAIN + 1).map(|n| n == 0 || n == TRY_AGAIN + 1).collect();
        assert_eq!(waits, expected);
    }

    #[tokio::test]
    async fn nothing_waits_where_nothing_was_written() {
        let (near, _far) = tokio::io::duplex(64);
        let mut stream = Batched::new(near);
        let mut flush = Box::pin(stream.flush());
        assert!(futures::poll!(flush.as_mut()).is_ready());
    }
}
