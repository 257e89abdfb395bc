//! Forwarded ports: a pair of streams, data and errors, for each connection.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Client;
use crate::runtime::embedded::client;
use crate::runtime::embedded::shim::protocol::Request;
use crate::streaming::spdy::Incoming;

/// What is read at once.
const CHUNK: usize = 32 << 10;

/// Serves the client until it goes.
pub async fn serve(directory: PathBuf, mut client: Client) {
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
        tokio::spawn(forward(directory.clone(), data, errors));
    }
}

async fn forward(directory: PathBuf, data: Incoming, errors: Incoming) {
    match connect(&directory, data.header("port")).await {
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

async fn connect(directory: &Path, port: &str) -> Result<TcpStream, String> {
    let text = |error: std::io::Error| error.to_string();
    let port = port.parse().map_err(|_| format!("invalid port {port:?}"))?;
    let found =
        client::call(directory, &Request::Connect { port }).await.map_err(|error| error.to_string())?;
    let socket = std::net::TcpStream::from(found.into_iter().next().ok_or("no connection came")?);
    socket.set_nonblocking(true).map_err(text)?;
    TcpStream::from_std(socket).map_err(text)
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
