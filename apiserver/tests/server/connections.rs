//! Connections as flags shape them: certificates by name, pages of other origins, connections that retire.
use crate::harness::{Authority, PATIENCE, Server, client_tls};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::Ipv4Addr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A connection to a server that must show a certificate of this authority for this name.
async fn connect(
    port: u16,
    authority: &str,
    name: &str,
    alpn: &[u8],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut tls = client_tls(authority, None);
    tls.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let name = name.to_owned().try_into().expect("name");
    TlsConnector::from(Arc::new(tls)).connect(name, tcp).await
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_by_name() {
    let directory = tempfile::tempdir().expect("directory");
    let other = Authority::new("other");
    let mut flags = Vec::new();
    for (name, more) in [("a.example.com", ""), ("kept", ":*.b.example.com")] {
        let (certificate, key) = other.named_server(if more.is_empty() { name } else { "x.b.example.com" });
        let path = |ending: &str| directory.path().join(format!("{name}.{ending}"));
        std::fs::write(path("crt"), certificate).expect("file");
        std::fs::write(path("key"), key).expect("file");
        flags.push(format!("--tls-sni-cert-key={},{}{more}", path("crt").display(), path("key").display()));
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let server = Server::start(directory.path(), &flags).await;
    for (authority, name, expected) in [
        (&other.pem, "a.example.com", true),
        (&other.pem, "x.b.example.com", true),
        (&other.pem, "b.example.com", false),
        (&other.pem, "127.0.0.1", false),
        (&server.authority.pem, "127.0.0.1", true),
        (&server.authority.pem, "a.example.com", false),
    ] {
        let connected = connect(server.port, authority, name, b"http/1.1").await;
        assert_eq!(connected.is_ok(), expected, "{name}: {connected:?}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &["--cors-allowed-origins=//localhost(:|$)"]).await;
    let ask = async |head: &str| {
        let mut stream =
            connect(server.port, &server.authority.pem, "127.0.0.1", b"http/1.1").await.expect("TLS");
        let request = format!("{head}Host: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answer");
        answer.to_lowercase()
    };
    let preflight = ask("OPTIONS /api/v1/pods HTTP/1.1\r\nOrigin: http://localhost:80\r\n").await;
    assert!(preflight.starts_with("http/1.1 204 "), "{preflight}");
    for header in [
        "access-control-allow-origin: http://localhost:80",
        "access-control-allow-methods: post, get, options, put, delete, patch",
        "access-control-allow-credentials: true",
        "access-control-expose-headers: date",
    ] {
        assert!(preflight.contains(header), "{header}: {preflight}");
    }
    let answer = ask("GET /livez HTTP/1.1\r\nOrigin: http://localhost:80\r\n").await;
    assert!(
        answer.starts_with("http/1.1 200 ") && answer.contains("access-control-allow-origin"),
        "{answer}"
    );
    for head in ["Origin: http://localhost.example.com\r\n", ""] {
        let answer = ask(&format!("GET /livez HTTP/1.1\r\n{head}")).await;
        assert!(answer.starts_with("http/1.1 200 ") && !answer.contains("access-control"), "{answer}");
        let options = ask(&format!("OPTIONS /api/v1/pods HTTP/1.1\r\n{head}")).await;
        assert!(!options.starts_with("http/1.1 204 "), "{options}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_retire() {
    let directory = tempfile::tempdir().expect("directory");
    let server = Server::start(directory.path(), &["--goaway-chance=0.02"]).await;
    let stream = connect(server.port, &server.authority.pem, "127.0.0.1", b"h2").await.expect("TLS");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    let connection = tokio::spawn(connection);
    let mut answered = 0;
    let retired = async {
        while sender.ready().await.is_ok() {
            let request =
                Request::get("https://127.0.0.1/livez").body(Empty::<Bytes>::new()).expect("request");
            // One that came after the server's word was not begun, and is sent again elsewhere.
            let Ok(response) = sender.send_request(request).await else { break };
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.expect("the last request is answered whole");
            answered += 1;
        }
    };
    tokio::time::timeout(PATIENCE, retired).await.expect("retires in time");
    assert!(answered > 0);
    drop(sender);
    tokio::time::timeout(PATIENCE, connection)
        .await
        .expect("ends in time")
        .expect("no panic")
        .expect("ends well");
    server.stop().await;
}
