//! A client of streaming servers, as Go programs are.

use bytes::Bytes;
use knarr_kubelet::streaming::spdy::{Connection, Reader, Writer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that was upgraded.
async fn connect(url: &str, protocol: &str) -> Connection {
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("url");
    let mut stream = TcpStream::connect(host).await.expect("connected");
    let request = format!(
        "POST /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
         X-Stream-Protocol-Version: {protocol}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("head"));
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    Connection::start(stream)
}

/// A command's streams.
pub struct Streams {
    error: Reader,
    stdin: Option<Writer>,
    stdout: Reader,
    stderr: Option<Reader>,
    resize: Option<Writer>,
    _connection: Connection,
}

/// How it ended.
pub struct Ended {
    pub stdout: String,
    pub stderr: String,
    pub status: serde_json::Value,
}

impl Streams {
    /// Opens all of them.
    pub async fn open(url: &str, tty: bool) -> Self {
        let connection = connect(url, "v4.channel.k8s.io").await;
        let open = async |kind: &str| connection.open(&[("streamtype", kind)]).await.expect("stream");
        let (error, writer) = open("error").await;
        writer.finish().await.expect("finished");
        let stdin = Some(open("stdin").await.1);
        let stdout = open("stdout").await.0;
        let stderr = if tty { None } else { Some(open("stderr").await.0) };
        let resize = if tty { Some(open("resize").await.1) } else { None };
        Self { error, stdin, stdout, stderr, resize, _connection: connection }
    }

    pub async fn write(&self, text: &str) {
        let stdin = self.stdin.as_ref().expect("input");
        stdin.write(Bytes::copy_from_slice(text.as_bytes())).await.expect("written");
    }

    pub async fn end_input(&mut self) {
        self.stdin.take().expect("input").finish().await.expect("finished");
    }

    pub async fn resize(&self, width: u16, height: u16) {
        let size = format!("{{\"Width\":{width},\"Height\":{height}}}\n");
        self.resize.as_ref().expect("terminal").write(size.into()).await.expect("written");
    }

    /// Everything until the end.
    pub async fn finish(self) -> Ended {
        let stderr = async {
            match self.stderr {
                Some(stderr) => all(stderr).await,
                None => String::new(),
            }
        };
        let (stdout, stderr, status) = tokio::join!(all(self.stdout), stderr, all(self.error));
        // No status is a success in old versions of the protocol.
        let status = serde_json::from_str(&status).unwrap_or(serde_json::json!({"status": "Success"}));
        Ended { stdout, stderr, status }
    }
}

async fn all(mut reader: Reader) -> String {
    let mut bytes = Vec::new();
    while let Some(piece) = reader.recv().await {
        bytes.extend(piece);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends text to a port and answers what came back, and the error.
pub async fn forwarded(url: &str, port: u16, text: &str) -> (String, String) {
    let connection = connect(url, "portforward.k8s.io").await;
    let port = port.to_string();
    let headers = |kind| [("streamtype", kind), ("port", port.as_str()), ("requestid", "0")];
    let (error, writer) = connection.open(&headers("error")).await.expect("stream");
    writer.finish().await.expect("finished");
    let (data, writer) = connection.open(&headers("data")).await.expect("stream");
    // It may have failed by then. Nothing more is written, but containerd would take the end of input for the end.
    let _ = writer.write(Bytes::copy_from_slice(text.as_bytes())).await;
    tokio::join!(all(data), all(error))
}
