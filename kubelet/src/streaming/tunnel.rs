//! SPDY within WebSocket: `SPDY/3.1+portforward.k8s.io`. The messages are pieces of a SPDY connection,
//! which are passed on as they are.

use bytes::BytesMut;
use futures::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

use super::websocket::Socket;

/// Bytes in one message.
const MAX_MESSAGE: usize = 32 << 10;

/// Carries bytes until either side ends.
pub async fn run(socket: Socket, upstream: impl AsyncRead + AsyncWrite + Send) {
    let (mut sink, mut source) = socket.split();
    let (mut read, mut write) = tokio::io::split(upstream);
    let outward = async {
        loop {
            let mut buffer = BytesMut::with_capacity(MAX_MESSAGE);
            match read.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    if sink.send(Message::Binary(buffer.freeze())).await.is_err() {
                        return;
                    }
                }
            }
        }
        let _ = sink.close().await;
    };
    let inward = async {
        while let Some(Ok(message)) = source.next().await {
            if let Message::Binary(data) = message
                && write.write_all(&data).await.is_err()
            {
                break;
            }
        }
        let _ = write.shutdown().await;
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}
