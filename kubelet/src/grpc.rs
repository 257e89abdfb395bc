//! gRPC with other programs of the node, over their unix sockets.
//!
//! Calls are made by path with messages of our own, so no generated client is needed.

use std::path::PathBuf;
use std::time::Duration;

pub mod server;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::service_fn;

/// An answer may be as large as this: lists of containers on a full node exceed gRPC's default 4 MiB.
const MAX_MESSAGE: usize = 16 << 20;

/// A connection to a socket. It is made lazily and again after every loss.
#[derive(Clone, Debug)]
pub struct Socket(Channel);

impl Socket {
    /// The program that listens at `path`.
    pub fn new(path: PathBuf) -> Self {
        let connect = move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        };
        Self(Endpoint::from_static("http://socket.local").connect_with_connector_lazy(service_fn(connect)))
    }

    /// Makes one call, `/package.Service/Method`. What cannot be reached is `Unavailable`, what does not answer in
    /// time `DeadlineExceeded`.
    pub async fn call<Q, A>(&self, path: &'static str, request: Q, timeout: Duration) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let work = async {
            let mut grpc = self.ready().await?;
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            let answer = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec);
            answer.await.map(tonic::Response::into_inner)
        };
        match tokio::time::timeout(timeout, work).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded("context deadline exceeded")),
        }
    }

    /// Makes a call whose answers come one by one.
    pub async fn stream<Q, A>(&self, path: &'static str, request: Q) -> Result<Streaming<A>, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let mut grpc = self.ready().await?;
        let codec: ProstCodec<Q, A> = ProstCodec::default();
        let answer =
            grpc.server_streaming(tonic::Request::new(request), PathAndQuery::from_static(path), codec);
        answer.await.map(tonic::Response::into_inner)
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = Grpc::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE);
        grpc.ready().await.map_err(|error| Status::unavailable(source_text(&error)))?;
        Ok(grpc)
    }
}

/// The innermost reason of an error.
fn source_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = inner.to_string();
        source = inner.source();
    }
    text
}

/// An error in the words of the original, which end up in events and conditions.
pub fn describe(status: &Status) -> String {
    format!("rpc error: code = {} desc = {}", code_name(status.code()), status.message())
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}
