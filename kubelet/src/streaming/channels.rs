//! Commands and attached processes over WebSocket: numbered channels to SPDY streams and back.

use bytes::Bytes;
use futures::stream::SelectAll;
use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use std::time::Duration;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::spdy::{Connection, Reader, Writer};
use super::websocket::{Codec, Input, Socket};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// From this version on the error channel carries a `Status` and not plain text.
const STATUS_SINCE: u8 = 4;
/// How long the client may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Which streams the client wants.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Input.
    pub stdin: bool,
    /// Output.
    pub stdout: bool,
    /// Errors; a terminal has none of its own.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// The runtime's side.
pub struct Streams {
    error: Reader,
    stdin: Option<Writer>,
    stdout: Option<Reader>,
    stderr: Option<Reader>,
    resize: Option<Writer>,
    _connection: Connection,
}

impl Streams {
    /// Opens the streams, in the order in which Go clients do.
    pub async fn open(connection: Connection, wanted: Wanted) -> std::io::Result<Self> {
        let (error, error_writer) = connection.open(&[("streamtype", "error")]).await?;
        error_writer.finish().await?;
        let mut stdin = None;
        if wanted.stdin {
            stdin = Some(connection.open(&[("streamtype", "stdin")]).await?.1);
        }
        let mut stdout = None;
        if wanted.stdout {
            stdout = Some(connection.open(&[("streamtype", "stdout")]).await?.0);
        }
        let mut stderr = None;
        if wanted.stderr && !wanted.tty {
            stderr = Some(connection.open(&[("streamtype", "stderr")]).await?.0);
        }
        let mut resize = None;
        if wanted.tty {
            resize = Some(connection.open(&[("streamtype", "resize")]).await?.1);
        }
        Ok(Self { error, stdin, stdout, stderr, resize, _connection: connection })
    }
}

/// Carries messages until the process has ended or the client has gone.
pub async fn run(socket: Socket, codec: Codec, mut streams: Streams, wanted: Wanted) {
    let (mut sink, mut source) = socket.split();
    let tagged = |channel: u8, reader: Reader| {
        futures::stream::unfold(reader, move |mut reader| async move {
            reader.recv().await.map(|data| ((channel, data), reader))
        })
        .boxed()
    };
    let mut output = SelectAll::new();
    let readers =
        [(STDOUT, streams.stdout.take()), (STDERR, streams.stderr.take()), (ERROR, Some(streams.error))];
    for (channel, reader) in readers {
        output.extend(reader.map(|reader| tagged(channel, reader)));
    }
    let first = match wanted {
        Wanted { stdout: true, .. } => STDOUT,
        Wanted { stderr: true, tty: false, .. } => STDERR,
        _ => ERROR,
    };
    let outward = async {
        // An empty message tells the client that all is set up.
        sink.send(codec.encode(first, &[])).await?;
        while let Some((channel, data)) = output.next().await {
            let data = if channel == ERROR && codec.version < STATUS_SINCE { plain(&data) } else { data };
            sink.send(codec.encode(channel, &data)).await?;
        }
        let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        sink.send(Message::Close(Some(normal))).await
    };
    let (mut stdin, resize) = (streams.stdin.take(), streams.resize.take());
    let inward = async {
        while let Some(Ok(message)) = source.next().await {
            match codec.decode(&message) {
                Some(Input::Data(STDIN, data)) => {
                    if let Some(stdin) = &stdin
                        && stdin.write(data).await.is_err()
                    {
                        return;
                    }
                }
                Some(Input::Data(RESIZE, data)) => {
                    if let Some(resize) = &resize {
                        let _ = resize.write(data).await;
                    }
                }
                Some(Input::End(STDIN)) => {
                    if let Some(stdin) = stdin.take() {
                        let _ = stdin.finish().await;
                    }
                }
                _ => {}
            }
        }
    };
    let mut inward = std::pin::pin!(inward);
    tokio::select! {
        result = outward => {
            if result.is_ok() {
                // Closing at once could cut off what the client has not read yet.
                let _ = tokio::time::timeout(GOODBYE, inward).await;
            }
        }
        () = &mut inward => {}
    }
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    status: String,
    #[serde(default)]
    message: String,
}

/// The text of a `Status`, empty for a success.
fn plain(data: &Bytes) -> Bytes {
    match serde_json::from_slice::<Status>(data) {
        Ok(status) if status.status == "Success" => Bytes::new(),
        Ok(status) => Bytes::from(status.message),
        Err(_) => data.clone(),
    }
}
