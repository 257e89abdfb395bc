//! WebSocket clients: the handshake, and the protocols spoken within.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::server::Failure;

/// An accepted client.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Whether the request asks for a WebSocket.
pub fn wanted(headers: &HeaderMap) -> bool {
    words(headers, header::UPGRADE).any(|word| word.eq_ignore_ascii_case("websocket"))
}

fn words(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// The first of the client's protocols that is known here; empty if it named none.
pub fn negotiate<'a>(headers: &HeaderMap, known: &[&'a str]) -> Result<&'a str, Failure> {
    let mut asked = words(headers, header::SEC_WEBSOCKET_PROTOCOL).peekable();
    if asked.peek().is_none() {
        return Ok("");
    }
    let chosen = asked.find_map(|asked| known.iter().find(|known| **known == asked));
    chosen.copied().ok_or_else(|| {
        Failure(
            StatusCode::FORBIDDEN,
            format!("none of the requested protocols is supported; known: {known:?}"),
        )
    })
}

/// Accepts the client; `serve` gets it once the answer has been sent.
pub fn accept<F>(
    mut request: Request,
    protocol: &str,
    serve: impl FnOnce(Socket) -> F + Send + 'static,
) -> Result<Response, Failure>
where
    F: Future<Output = ()> + Send,
{
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let key = key.ok_or_else(|| Failure::bad_request("Sec-WebSocket-Key is missing"))?;
    let accept = derive_accept_key(key.as_bytes());
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                serve(WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await)
                    .await;
            }
            Err(error) => tracing::debug!(%error, "client did not upgrade"),
        }
    });
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, HeaderValue::from_static("Upgrade"))
        .header(header::UPGRADE, HeaderValue::from_static("websocket"))
        .header(header::SEC_WEBSOCKET_ACCEPT, accept);
    if !protocol.is_empty() {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response.body(Body::empty()).map_err(Failure::internal)
}

/// How a protocol writes messages: the channel's number first, then data; either as bytes or as text
/// with the data in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Data in base64.
    pub base64: bool,
    /// Version of the protocol, from 1.
    pub version: u8,
}

/// A protocol that tells when a channel is closed uses this number.
const CLOSE: u8 = 255;

/// A message of the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Data of a channel.
    Data(u8, Bytes),
    /// Nothing more will come on a channel.
    End(u8),
}

impl Codec {
    /// The codec of a `…channel.k8s.io` protocol.
    pub fn of(protocol: &str) -> Self {
        let version = match protocol.strip_prefix('v').and_then(|rest| rest.split('.').next()) {
            Some(number) => number.parse().unwrap_or(1),
            None => 1,
        };
        Self { base64: protocol.contains("base64"), version }
    }

    /// A message to the client.
    pub fn encode(self, channel: u8, data: &[u8]) -> Message {
        if self.base64 {
            return Message::text(format!("{}{}", char::from(b'0' + channel), STANDARD.encode(data)));
        }
        let mut bytes = Vec::with_capacity(data.len() + 1);
        bytes.push(channel);
        bytes.extend_from_slice(data);
        Message::binary(bytes)
    }

    /// A message of the client; `None` for those that mean nothing here.
    pub fn decode(self, message: &Message) -> Option<Input> {
        match message {
            Message::Binary(bytes) => {
                let (channel, data) = bytes.split_first()?;
                if *channel == CLOSE && self.version >= 5 {
                    return Some(Input::End(*data.first()?));
                }
                Some(Input::Data(*channel, Bytes::copy_from_slice(data)))
            }
            Message::Text(text) => {
                let (channel, data) = text.as_bytes().split_first()?;
                let channel = channel.checked_sub(b'0')?;
                let data = if self.base64 { STANDARD.decode(data).ok()? } else { data.to_vec() };
                Some(Input::Data(channel, Bytes::from(data)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        let v5 = Codec::of("v5.channel.k8s.io");
        assert_eq!(v5, Codec { base64: false, version: 5 });
        assert_eq!(Codec::of("base64.channel.k8s.io"), Codec { base64: true, version: 1 });
        assert_eq!(Codec::of("v4.base64.channel.k8s.io"), Codec { base64: true, version: 4 });
        let data = |text: &'static str| Bytes::from_static(text.as_bytes());
        assert_eq!(v5.decode(&Message::binary(vec![0, b'x'])), Some(Input::Data(0, data("x"))));
        assert_eq!(v5.decode(&Message::binary(vec![255, 0])), Some(Input::End(0)));
        assert_eq!(v5.decode(&Message::binary(vec![])), None);
        assert_eq!(v5.encode(1, b"y"), Message::binary(vec![1, b'y']));
        let base64 = Codec { base64: true, version: 4 };
        assert_eq!(base64.encode(1, b"hi"), Message::text("1aGk="));
        assert_eq!(base64.decode(&Message::text("0aGk=")), Some(Input::Data(0, data("hi"))));
        assert_eq!(base64.decode(&Message::text("0!")), None);
    }

    #[test]
    fn protocols() {
        let check = |asked: Option<&str>, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(asked) = asked {
                headers.insert(header::SEC_WEBSOCKET_PROTOCOL, asked.parse().expect("value"));
            }
            assert_eq!(negotiate(&headers, &["a", "b"]).ok(), expected, "{asked:?}");
        };
        check(None, Some(""));
        check(Some("x, b, a"), Some("b"));
        check(Some("x"), None);
    }
}
