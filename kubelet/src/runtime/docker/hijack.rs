//! Calls of Docker's API that turn the connection into a stream: started commands and attached processes.
//!
//! The client library takes the first byte of a terminal's output for the head of a frame if it is small, so these
//! calls are made here.

use std::path::Path;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;

use crate::runtime::{Result, RuntimeError};

/// What is read at once.
const CHUNK: usize = 32 << 10;
/// Length of a frame's head: the stream, three zeros, the length.
const HEAD: usize = 8;

fn failed(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed(error.to_string())
}

/// Makes the call; answers the connection.
pub async fn open(socket: &Path, path: &str, body: &Value) -> Result<TokioIo<Upgraded>> {
    let unavailable = |error: std::io::Error| RuntimeError::Unavailable(error.to_string());
    let stream = UnixStream::connect(socket).await.map_err(unavailable)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection.with_upgrades());
    let request = Request::post(path)
        .header(header::HOST, "docker")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "tcp")
        .body(Full::new(Bytes::from(body.to_string())))
        .map_err(failed)?;
    let response = sender.send_request(request).await.map_err(failed)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(TokioIo::new(hyper::upgrade::on(response).await.map_err(failed)?));
    }
    let status = response.status();
    let text = response.into_body().collect().await.map_err(failed)?.to_bytes();
    let message = serde_json::from_slice::<Value>(&text).ok();
    let message = message.and_then(|value| Some(value.get("message")?.as_str()?.to_owned()));
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(&text).into_owned());
    Err(if status == StatusCode::NOT_FOUND { RuntimeError::NotFound(message) } else { failed(message) })
}

/// Reads what a container or command writes.
pub struct Output<R> {
    source: R,
    /// With a terminal there are no frames: all is output.
    tty: bool,
    /// What is left of the frame, and whether it is of errors.
    frame: (usize, bool),
}

impl<R: AsyncRead + Unpin> Output<R> {
    /// Output of a connection.
    pub fn new(source: R, tty: bool) -> Self {
        Self { source, tty, frame: (0, false) }
    }

    /// The next piece, and whether it is of errors; none at the end.
    pub async fn next(&mut self) -> std::io::Result<Option<(bool, Bytes)>> {
        while !self.tty && self.frame.0 == 0 {
            let mut head = [0; HEAD];
            match self.source.read_exact(&mut head).await {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                other => other.map(drop)?,
            }
            let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]);
            self.frame = (usize::try_from(length).map_err(std::io::Error::other)?, head[0] == 2);
        }
        let room = if self.tty { CHUNK } else { self.frame.0.min(CHUNK) };
        let mut buffer = vec![0; room];
        let count = self.source.read(&mut buffer).await?;
        if count == 0 {
            return Ok(None);
        }
        buffer.truncate(count);
        self.frame.0 = self.frame.0.saturating_sub(count);
        Ok(Some((self.frame.1, Bytes::from(buffer))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8], tty: bool) -> Vec<(bool, Vec<u8>)> {
        let mut output = Output::new(bytes, tty);
        let mut all = Vec::new();
        while let Some((is_error, piece)) = output.next().await.expect("read") {
            all.push((is_error, piece.to_vec()));
        }
        all
    }

    #[tokio::test]
    async fn frames_are_taken_apart_but_not_a_terminals_output() {
        let text = b"\x01\0\0\0\0\0\0\x02ab\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x01c";
        assert_eq!(read(text, false).await, [(false, b"ab".to_vec()), (true, b"c".to_vec())]);
        assert_eq!(read(text, true).await, [(false, text.to_vec())]);
        assert_eq!(read(b"\x01\0\0\0", false).await, []);
    }
}
