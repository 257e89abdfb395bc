//! A client of a command or an attached process: its streams, and what it is told of the end.

use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::Client;
use crate::runtime::Result;
use crate::streaming::spdy::{Incoming, Reader};

/// How long a client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);
/// How long output may come after the end.
const LAST_OUTPUT: Duration = Duration::from_secs(2);
/// A size that is told in more bytes is none.
const MAX_SIZE: usize = 32 << 10;

/// The streams that a client wants.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Errors; with a terminal they are output.
    pub stderr: bool,
    /// With a terminal.
    pub tty: bool,
}

/// The client's streams.
#[derive(Default)]
pub struct Opened {
    error: Option<Incoming>,
    /// Input.
    pub stdin: Option<Incoming>,
    /// Output.
    pub stdout: Option<Incoming>,
    /// Errors.
    pub stderr: Option<Incoming>,
    /// Sizes of the terminal.
    pub resize: Option<Incoming>,
}

impl Opened {
    /// Takes the streams as they come, until all that are wanted are there.
    async fn wait(client: &mut Client, wanted: Wanted) -> Option<Self> {
        let mut opened = Self::default();
        let tty = wanted.tty;
        let count = [true, wanted.stdin, wanted.stdout, wanted.stderr && !tty, tty]
            .iter()
            .filter(|one| **one)
            .count();
        for _ in 0..count {
            let stream = client.1.recv().await?;
            let place = match stream.header("streamtype") {
                "error" => &mut opened.error,
                "stdin" => &mut opened.stdin,
                "stdout" => &mut opened.stdout,
                "stderr" => &mut opened.stderr,
                "resize" => &mut opened.resize,
                other => {
                    tracing::debug!(other, "stream of an unknown type");
                    return None;
                }
            };
            *place = Some(stream);
        }
        Some(opened)
    }
}

/// Serves the client to the end: `session` carries its streams and answers the exit code, which is 0 for an attached
/// process. It is dropped when the client goes.
pub async fn serve<F>(wanted: Wanted, mut client: Client, session: impl FnOnce(Opened) -> F)
where
    F: Future<Output = Result<i32>>,
{
    let opening = Opened::wait(&mut client, wanted);
    let Ok(Some(mut opened)) = tokio::time::timeout(OPENING, opening).await else { return };
    let Some(error) = opened.error.take() else { return };
    let ended = tokio::select! {
        ended = session(opened) => ended,
        // The client went away.
        () = gone(&mut client) => return,
    };
    let status = match ended {
        Ok(0) => json!({"metadata": {}, "status": "Success"}),
        Ok(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit code {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        Err(error) => json!({
            "metadata": {}, "status": "Failure", "reason": "InternalError", "code": 500,
            "message": format!("Internal error occurred: error executing command in container: {error}"),
            "details": {"causes": [{"message": format!("error executing command in container: {error}")}]},
        }),
    };
    let _ = error.writer.write(Bytes::from(status.to_string())).await;
    let _ = error.writer.finish().await;
}

/// Returns when the client has closed its connection.
async fn gone(client: &mut Client) {
    while client.1.recv().await.is_some() {}
}

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Size {
    /// Columns.
    #[serde(rename = "Width", alias = "width")]
    pub width: u16,
    /// Lines.
    #[serde(rename = "Height", alias = "height")]
    pub height: u16,
}

/// The sizes that a client tells, each a JSON object; several may come at once, or parts of one.
pub struct Sizes {
    reader: Reader,
    text: Vec<u8>,
}

impl Sizes {
    /// Those of a stream.
    pub fn of(stream: Incoming) -> Self {
        Self { reader: stream.reader, text: Vec::new() }
    }

    /// The next one; none at the end, or where there is no sense in it.
    pub async fn next(&mut self) -> Option<Size> {
        loop {
            let mut values = serde_json::Deserializer::from_slice(&self.text).into_iter::<Size>();
            if let Some(Ok(size)) = values.next() {
                let used = values.byte_offset();
                self.text.drain(..used);
                return Some(size);
            }
            self.text.extend(self.reader.recv().await?);
            if self.text.len() > MAX_SIZE {
                return None;
            }
        }
    }
}

/// Waits for the last output; others of the command's processes may hold it open.
pub async fn finish<T>(mut output: tokio::task::JoinHandle<T>) {
    if tokio::time::timeout(LAST_OUTPUT, &mut output).await.is_err() {
        output.abort();
    }
}
