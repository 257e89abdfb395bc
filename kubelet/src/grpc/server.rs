//! Serving calls on a unix socket: one message in, one out, the outcome in the trailers.

use std::convert::Infallible;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::MAX_MESSAGE;

/// A flag and the length come before each message.
const PREFIX: usize = 5;

/// What is served.
#[async_trait]
pub trait Calls: Send + Sync + 'static {
    /// Answers the call `/package.Service/Method`.
    async fn call(&self, path: &str, request: Bytes) -> Result<Vec<u8>, Status>;
}

/// Reads a request.
pub fn decode<T: prost::Message + Default>(request: Bytes) -> Result<T, Status> {
    T::decode(request).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// What a call that nobody knows comes to.
pub fn unknown(path: &str) -> Status {
    Status::unimplemented(format!("unknown method {path}"))
}

/// Listens at `path`, which only root may reach. What was there is replaced at once, so that nobody finds a socket at
/// which nobody listens yet.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

/// Serves until told to stop.
pub async fn serve(listener: UnixListener, calls: Arc<dyn Calls>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let work = connection(stream, Arc::clone(&calls));
                tokio::spawn(stop.clone().run_until_cancelled_owned(work));
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                // Nothing tells when descriptors are free again.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, calls: Arc<dyn Calls>) {
    let service = hyper::service::service_fn(move |request| answer(Arc::clone(&calls), request));
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "gRPC connection");
    }
}

async fn outcome(calls: &dyn Calls, request: Request<Incoming>) -> Result<Vec<u8>, Status> {
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), MAX_MESSAGE).collect().await;
    let mut body = body.map_err(|error| Status::resource_exhausted(error.to_string()))?.to_bytes();
    if body.len() < PREFIX {
        return Err(Status::internal("the request has no message"));
    }
    let prefix = body.split_to(PREFIX);
    if prefix[0] != 0 {
        return Err(Status::unimplemented("compressed messages are not read"));
    }
    calls.call(&path, body).await
}

async fn answer(
    calls: Arc<dyn Calls>,
    request: Request<Incoming>,
) -> Result<Response<impl hyper::body::Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let mut trailers = HeaderMap::new();
    let mut frames = Vec::new();
    match outcome(&*calls, request).await {
        Ok(message) => {
            let mut framed = BytesMut::with_capacity(PREFIX + message.len());
            framed.put_u8(0);
            framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
            framed.extend_from_slice(&message);
            frames.push(Ok(Frame::data(framed.freeze())));
            trailers.insert("grpc-status", 0.into());
        }
        Err(status) => {
            if let Err(error) = status.add_header(&mut trailers) {
                tracing::warn!(%error, "error not told");
                trailers.insert("grpc-status", (status.code() as i32).into());
            }
        }
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let mut response = Response::new(StreamBody::new(futures::stream::iter(frames)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/grpc"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost::Message;

    use super::*;
    use crate::grpc::Socket;

    #[derive(Clone, PartialEq, Eq, ::prost::Message)]
    struct Word {
        #[prost(string, tag = "1")]
        text: String,
    }

    struct Echo;

    #[async_trait]
    impl Calls for Echo {
        async fn call(&self, path: &str, request: Bytes) -> Result<Vec<u8>, Status> {
            match path {
                "/test.Echo/Say" => Ok(decode::<Word>(request)?.encode_to_vec()),
                _ => Err(unknown(path)),
            }
        }
    }

    #[tokio::test]
    async fn calls_are_answered_and_refused() {
        let folder = tempfile::tempdir().expect("directory");
        let path = folder.path().join("echo.sock");
        let stop = CancellationToken::new();
        tokio::spawn(serve(listen(&path).expect("socket"), Arc::new(Echo), stop.clone()));
        let socket = Socket::new(path);
        let word = Word { text: "hello".to_owned() };
        let said: Word =
            socket.call("/test.Echo/Say", word.clone(), Duration::from_secs(10)).await.expect("answer");
        assert_eq!(said, word);
        let refused = socket.call::<_, Word>("/test.Echo/Sing", word, Duration::from_secs(10)).await;
        let refused = refused.expect_err("an unknown call");
        assert_eq!(
            (refused.code(), refused.message()),
            (tonic::Code::Unimplemented, "unknown method /test.Echo/Sing")
        );
        stop.cancel();
    }
}
