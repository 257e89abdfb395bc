//! Connections to the runtime's streaming server, and clients that are joined to it as they are.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::spdy;
use crate::server::Failure;

/// Versions of the protocol within the streams, as SPDY clients negotiate them.
pub const PROTOCOL_VERSION: &str = "x-stream-protocol-version";
/// How much of an error's text is read.
const MAX_ERROR: usize = 8 << 10;

/// Joins a SPDY client to the runtime: its request is repeated there, and then bytes flow.
pub async fn join(mut request: Request, url: &str) -> Result<Response, Failure> {
    let client = hyper::upgrade::on(&mut request);
    let mut headers = request.headers().clone();
    headers.remove(header::HOST);
    headers.remove(header::AUTHORIZATION);
    let (answer, upstream) = upgrade(url, headers).await?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer;
    tokio::spawn(async move {
        let client = match client.await {
            Ok(client) => client,
            Err(error) => return tracing::debug!(%error, "client did not upgrade"),
        };
        let (mut client, mut upstream) = (TokioIo::new(client), TokioIo::new(upstream));
        if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
            tracing::debug!(%error, "stream");
        }
    });
    Ok(response)
}

/// Opens a SPDY connection of our own to the runtime.
pub async fn connect(url: &str, protocol: &'static str) -> Result<spdy::Connection, Failure> {
    Ok(spdy::Connection::start(raw(url, protocol).await?))
}

/// Opens a connection upgraded to SPDY on which someone else will speak.
pub async fn raw(url: &str, protocol: &'static str) -> Result<TokioIo<Upgraded>, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
    headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(protocol));
    let (_, upgraded) = upgrade(url, headers).await?;
    Ok(TokioIo::new(upgraded))
}

async fn upgrade(url: &str, headers: HeaderMap) -> Result<(HeaderMap, Upgraded), Failure> {
    let uri: Uri = url.parse().map_err(|_| Failure::internal(format!("runtime gave a bad URL {url:?}")))?;
    let authority = uri.authority().ok_or_else(|| Failure::internal("runtime gave a URL without host"))?;
    let address = (authority.host().to_owned(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await.map_err(Failure::internal)?;
    let _ = stream.set_nodelay(true);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Failure::internal)?;
    tokio::spawn(connection.with_upgrades());
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(header::HOST, authority.as_str())
        .body(Body::empty())
        .map_err(Failure::internal)?;
    request.headers_mut().extend(headers);
    let mut response = sender.send_request(request).await.map_err(Failure::internal)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let status = response.status();
        let text = Limited::new(response.into_body(), MAX_ERROR).collect().await;
        let text = text.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        return Err(Failure(status, String::from_utf8_lossy(&text).into_owned()));
    }
    let answer = response.headers().clone();
    let upgraded = hyper::upgrade::on(&mut response).await.map_err(Failure::internal)?;
    Ok((answer, upgraded))
}
