//! Forwarded ports: a pair of streams, data and errors, for each connection.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Client;
use crate::streaming::spdy::Incoming;

/// What is read at once.
const CHUNK: usize = 32 << 10;

/// Serves the client until it goes; `connect` reaches a port of the pod.
pub async fn serve<C, F>(mut client: Client, connect: C)
where
    C: Fn(u16) -> F + Send + Sync + 'static,
    F: Future<Output = Result<TcpStream, String>> + Send + 'static,
{
    let connect = Arc::new(connect);
    let mut waiting: HashMap<String, Incoming> = HashMap::new();
    while let Some(stream) = client.1.recv().await {
        // Old clients number no requests: their two streams then have the port in common.
        let request = match stream.header("requestid") {
            "" => stream.header("port").to_owned(),
            id => id.to_owned(),
        };
        let Some(other) = waiting.remove(&request) else {
            waiting.insert(request, stream);
            continue;
        };
        let is_error = |stream: &Incoming| stream.header("streamtype") == "error";
        let (errors, data) = if is_error(&other) { (other, stream) } else { (stream, other) };
        let connect = Arc::clone(&connect);
        tokio::spawn(async move {
            let port = data.header("port").to_owned();
            let connection = match port.parse() {
                Ok(number) => connect(number).await,
                Err(_) => Err(format!("invalid port {port:?}")),
            };
            forward(connection, data, errors).await;
        });
    }
}

async fn forward(connection: Result<TcpStream, String>, data: Incoming, errors: Incoming) {
    match connection {
        Ok(socket) => carry(socket, data).await,
        Err(error) => {
            let port = data.header("port");
            let text = format!("an error occurred forwarding {port} -> {port}: {error}");
            let _ = errors.writer.write(Bytes::from(text)).await;
            let _ = data.writer.finish().await;
        }
    }
    let _ = errors.writer.finish().await;
}

async fn carry(socket: TcpStream, data: Incoming) {
    let (mut read, mut write) = socket.into_split();
    let Incoming { mut reader, writer, .. } = data;
    let outward = async {
        loop {
            let mut buffer = BytesMut::with_capacity(CHUNK);
            match read.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {
                    if writer.write(buffer.freeze()).await.is_err() {
                        return;
                    }
                }
            }
        }
        let _ = writer.finish().await;
    };
    let inward = async {
        while let Some(data) = reader.recv().await {
            if write.write_all(&data).await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    // The end of input is passed on, but only the program ends the connection.
    let inward = async {
        inward.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
}
