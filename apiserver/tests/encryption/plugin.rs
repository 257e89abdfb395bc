//! A KMS v2 plugin: gRPC by hand over a Unix socket, its cipher an exclusive or.
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

/// The first field of what is asked and answered, and the key.
#[derive(Clone, PartialEq, Message)]
struct Text {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
}

#[derive(Default)]
struct State {
    key: String,
    is_ill: bool,
    encrypted: usize,
}

/// A running plugin.
pub struct Plugin {
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Plugin {
    pub fn start(socket: &Path) -> Self {
        let state = Arc::new(Mutex::new(State { key: "k1".to_owned(), ..State::default() }));
        let listener = UnixListener::bind(socket).expect("socket");
        let shared = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = shared.clone();
                let service = service_fn(move |request| answer(request, state.clone()));
                let serving =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Self { state, task }
    }

    /// The key that it encrypts with from now on.
    pub fn set_key(&self, name: &str) {
        name.clone_into(&mut self.state.lock().expect("lock").key);
    }

    /// Does it do what it is asked?
    pub fn set_well(&self, well: bool) {
        self.state.lock().expect("lock").is_ill = !well;
    }

    /// How often it was asked to encrypt.
    pub fn encrypted(&self) -> usize {
        self.state.lock().expect("lock").encrypted
    }
}

fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| byte ^ 0x5a).collect()
}

async fn answer(
    request: http::Request<Incoming>,
    state: Arc<Mutex<State>>,
) -> Result<http::Response<impl http_body::Body<Data = Bytes, Error = Infallible>>, hyper::Error> {
    let path = request.uri().path().to_owned();
    let asked = request.into_body().collect().await?.to_bytes();
    let asked = Text::decode(asked.get(5..).unwrap_or_default()).unwrap_or_default();
    let message = {
        let mut state = state.lock().expect("lock");
        let key_id = state.key.clone();
        match path.rsplit('/').next() {
            _ if state.is_ill => None,
            Some("Status") => {
                Some(Status { version: "v2".to_owned(), healthz: "ok".to_owned(), key_id }.encode_to_vec())
            }
            Some("Encrypt") => {
                state.encrypted += 1;
                Some(Text { bytes: turned(&asked.bytes), key_id }.encode_to_vec())
            }
            _ => Some(Text { bytes: turned(&asked.bytes), ..Text::default() }.encode_to_vec()),
        }
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", if message.is_some() { "0" } else { "14" }.parse().expect("code"));
    let mut frames = Vec::new();
    if let Some(message) = message {
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(message.len() as u32);
        framed.put_slice(&message);
        frames.push(Ok(Frame::data(framed.freeze())));
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let body = StreamBody::new(futures::stream::iter(frames));
    Ok(http::Response::builder().header("content-type", "application/grpc").body(body).expect("response"))
}
