//! Commands, attached processes and forwarded ports of runtimes that have no server of their own, offered as those
//! with a CRI socket offer them: a URL that is good for one connection, which is upgraded to SPDY/3.1.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::hex;
use crate::streaming::join::PROTOCOL_VERSION;
use crate::streaming::spdy::{Connection, Incoming};

pub mod command;
pub mod ports;

/// How long a URL is good for.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// What is spoken about commands and attached processes.
pub const COMMANDS: &str = "v4.channel.k8s.io";
/// What is spoken about ports.
pub const PORTS: &str = "portforward.k8s.io";

/// A client that has come: its connection, and the streams that it opens.
pub type Client = (Connection, mpsc::Receiver<Incoming>);

/// Waits on a port of this host for one client who knows the path, and serves him; answers the URL.
pub async fn offer<F>(
    protocol: &'static str,
    serve: impl FnOnce(Client) -> F + Send + 'static,
) -> std::io::Result<String>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let secret = hex::text(&rand::random::<[u8; 16]>());
    let url = format!("http://{}/{secret}", listener.local_addr()?);
    let offer = Offer { path: format!("/{secret}"), protocol, serve: Arc::new(Mutex::new(Some(serve))) };
    tokio::spawn(async move {
        let taken = async {
            while let Ok((stream, _)) = listener.accept().await {
                offer.answer(stream).await;
                if offer.serve.lock().is_none() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(GOOD_FOR, taken).await;
    });
    Ok(url)
}

struct Offer<S> {
    path: String,
    protocol: &'static str,
    /// Taken by the one client.
    serve: Arc<Mutex<Option<S>>>,
}

impl<S, F> Offer<S>
where
    S: FnOnce(Client) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    async fn answer(&self, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
            std::future::ready(Ok::<_, Infallible>(self.upgrade(request)))
        });
        let served =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        if let Err(error) = served.with_upgrades().await {
            tracing::debug!(%error, "stream client");
        }
    }

    fn upgrade(&self, mut request: Request<hyper::body::Incoming>) -> Response<Body> {
        let refuse = |status: StatusCode, text: String| {
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = status;
            response
        };
        if request.uri().path() != self.path {
            return refuse(StatusCode::NOT_FOUND, "404 page not found".to_owned());
        }
        let offered =
            request.headers().get_all(PROTOCOL_VERSION).into_iter().filter_map(|value| value.to_str().ok());
        let offered: Vec<&str> = offered.flat_map(|value| value.split(',')).map(str::trim).collect();
        if !offered.is_empty() && !offered.contains(&self.protocol) {
            let text = format!(
                "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {:?}",
                [self.protocol]
            );
            return refuse(StatusCode::FORBIDDEN, text);
        }
        let Some(serve) = self.serve.lock().take() else {
            return refuse(StatusCode::NOT_FOUND, "404 page not found".to_owned());
        };
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            match upgrade.await {
                Ok(upgraded) => serve(Connection::serve(TokioIo::new(upgraded))).await,
                Err(error) => tracing::debug!(%error, "client did not upgrade"),
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        headers.insert(PROTOCOL_VERSION, HeaderValue::from_static(self.protocol));
        response
    }
}
