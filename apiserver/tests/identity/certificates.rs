//! Certificates that are replaced while the server runs.
use crate::harness::{Authority, Client, PATIENCE, Server, client_tls, eventually};
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What the server shows now to who trusts it.
async fn shown(server: &Server) -> Vec<u8> {
    let connector = TlsConnector::from(Arc::new(client_tls(&server.authority.pem, None)));
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, server.port)).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let stream = tokio::time::timeout(PATIENCE, connector.connect(name, stream)).await.unwrap().unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn serving_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let first = shown(&server).await;
    let (certificate, key) = server.authority.server();
    // A certificate without its key changes nothing, and breaks no connection.
    std::fs::write(directory.path().join("tls.crt"), certificate).unwrap();
    assert_eq!(shown(&server).await, first);
    std::fs::write(directory.path().join("tls.key"), key).unwrap();
    eventually(async || shown(&server).await != first).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn client_authority() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &[]).await;
    let next = Authority::new("ca");
    let both = [
        server.user("ann", &[]),
        Client::new(server.port, &server.authority.pem, Some(next.user("ann", &[]))),
    ];
    let codes = async || [both[0].get("/version").await.0, both[1].get("/version").await.0];
    assert_eq!(codes().await, [200, 401]);
    std::fs::write(directory.path().join("ca.crt"), format!("{}{}", server.authority.pem, next.pem)).unwrap();
    eventually(async || codes().await == [200, 200]).await;
    // Connections that are open are judged by the authorities of now.
    std::fs::write(directory.path().join("ca.crt"), &next.pem).unwrap();
    eventually(async || codes().await == [401, 200]).await;
    server.stop().await;
}
