//! Bytes to a server and back, as no client library would send them.
use crate::harness::{PATIENCE, Server, client_tls};
use rustls::pki_types::ServerName;
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A TLS connection of the administrator's, or of nobody.
pub struct Raw {
    pub stream: TlsStream<TcpStream>,
}

impl Raw {
    pub async fn admin(server: &Server) -> Self {
        Self::open(server, Some(server.authority.user("admin", &["system:masters"])), &[]).await
    }

    pub async fn open(server: &Server, identity: Option<(String, String)>, protocols: &[&[u8]]) -> Self {
        let mut tls = client_tls(&server.authority.pem, identity);
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp);
        Self { stream: tokio::time::timeout(PATIENCE, stream).await.expect("in time").expect("TLS") }
    }

    /// Sends; whether the other side still reads shows in what it answers.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// Everything until the server closes the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        let reading = async {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = self.stream.read(&mut piece).await {
                all.extend_from_slice(&piece[..count]);
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("the connection is closed in time");
        all
    }

    /// Sends a request and gives the codes of all answers until the connection is closed.
    pub async fn codes(&mut self, request: impl AsRef<[u8]>) -> Vec<u16> {
        self.send(request).await;
        codes(&self.rest().await)
    }
}

/// The codes of the answers in a stream of bytes.
pub fn codes(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    text.split("HTTP/1.").skip(1).filter_map(|answer| answer.get(2..5)?.parse().ok()).collect()
}
