//! gRPC over HTTP/2 on a unix socket, as drivers of nodes serve it: one message in, some out, the outcome in the trailers.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use futures::StreamExt;
use futures::stream::{BoxStream, once};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;

/// What a plugin tells the kubelet of itself (`pluginregistration.Registration/GetInfo`).
#[derive(Clone, PartialEq, prost::Message)]
pub struct PluginInfo {
    /// `CSIPlugin`, `DRAPlugin`, `DevicePlugin`.
    #[prost(string, tag = "1")]
    pub r#type: String,
    /// The driver's name.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Where it is called.
    #[prost(string, tag = "3")]
    pub endpoint: String,
    /// Versions of what it speaks.
    #[prost(string, repeated, tag = "4")]
    pub versions: Vec<String>,
}

/// What a call comes to: a message, or a code of gRPC and a text.
pub type Outcome = Result<Vec<u8>, (u16, String)>;

/// Answers calls.
pub trait Calls: Send + Sync + 'static {
    /// Answers a call `/package.Service/Method` with one message.
    fn call(&self, path: &str, body: &[u8]) -> Outcome;

    /// Answers a call with several messages, if it is one of those.
    fn stream(&self, path: &str) -> Option<BoxStream<'static, Vec<u8>>> {
        let _ = path;
        None
    }
}

/// Listens at a socket. It is made elsewhere and renamed, so that nobody finds a socket at which nobody listens yet.
pub fn listen(temporary: &Path, socket: &Path) -> anyhow::Result<UnixListener> {
    for path in [temporary, socket] {
        let _ = std::fs::remove_file(path);
    }
    let listener = UnixListener::bind(temporary).with_context(|| format!("{}", temporary.display()))?;
    std::fs::set_permissions(temporary, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(temporary, socket).with_context(|| format!("{}", socket.display()))?;
    Ok(listener)
}

/// Serves all who connect.
pub async fn serve<C: Calls>(listener: UnixListener, calls: Arc<C>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        let calls = Arc::clone(&calls);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&calls), request));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("a connection ended: {error}");
            }
        });
    }
}

fn framed(message: &[u8]) -> Frame<Bytes> {
    // A byte of flags and four of length come first.
    let mut framed = vec![0];
    framed.extend(u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    framed.extend(message);
    Frame::data(Bytes::from(framed))
}

fn trailers(code: u16, text: &str) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.into());
    if let Some(text) = text.parse().ok().filter(|_| !text.is_empty()) {
        trailers.insert("grpc-message", text);
    }
    Frame::trailers(trailers)
}

async fn answer<C: Calls>(
    calls: Arc<C>,
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let path = request.uri().path().to_owned();
    let frames: BoxStream<'static, Frame<Bytes>> = match calls.stream(&path) {
        Some(messages) => {
            let end = once(async { trailers(0, "") });
            messages.map(|message| framed(&message)).chain(end).boxed()
        }
        None => {
            let body = request.into_body().collect().await;
            let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let frames = match calls.call(&path, body.get(5..).unwrap_or_default()) {
                Ok(message) => vec![framed(&message), trailers(0, "")],
                Err((code, text)) => vec![trailers(code, &text)],
            };
            futures::stream::iter(frames).boxed()
        }
    };
    let mut response = Response::new(StreamBody::new(frames.map(Ok)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    Ok(response)
}
