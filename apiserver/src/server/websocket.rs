//! Streams over WebSocket (RFC 6455). Of a watch each event is one message, text for JSON and binary for protobuf, which
//! then has no length before it; of a log each message is as much as came. What the client sends is read only to see it
//! go.
use super::{Body, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{SinkExt, StreamExt};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode, request::Parts};
use hyper_util::rt::TokioIo;
use knarr_api::status::Status;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

/// The only version of the protocol.
const VERSION: &[u8] = b"13";

type Pieces = BoxStream<'static, Result<Bytes, std::io::Error>>;

/// What becomes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// A line.
    Lines,
    /// What a length precedes.
    Lengths,
    /// Whatever came, as it is.
    Binary,
    /// Whatever came, in base64.
    Base64,
}

impl Framing {
    /// How a log is sent, by the subprotocols that the client offers, with the one that is chosen. Those of
    /// `k8s.io/apimachinery/pkg/util/httpstream/wsstream`, `NewDefaultReaderProtocols`.
    ///
    /// # Errors
    /// 403 if none of the offered is known.
    pub(crate) fn of_log(headers: &HeaderMap) -> Result<(Self, Option<HeaderValue>), Status> {
        let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok());
        let Some(offered) = offered else { return Ok((Self::Binary, None)) };
        let known = |name: &str| match name {
            "binary.k8s.io" => Some((Self::Binary, HeaderValue::from_static("binary.k8s.io"))),
            "base64.binary.k8s.io" => Some((Self::Base64, HeaderValue::from_static("base64.binary.k8s.io"))),
            _ => None,
        };
        let chosen = offered.split(',').find_map(|name| known(name.trim()));
        let (framing, name) =
            chosen.ok_or_else(|| Status::new(403, "Forbidden", "bad WebSocket protocol"))?;
        Ok((framing, Some(name)))
    }

    /// Whether each piece of the stream is a message.
    fn is_of_pieces(self) -> bool {
        matches!(self, Self::Binary | Self::Base64)
    }
}

/// Does the client want to go on in WebSocket?
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Answers a stream as messages instead of a chunked body, with the subprotocol that was chosen.
///
/// # Errors
/// 400 for a handshake that is none.
pub(crate) fn accept(
    parts: &Parts,
    answer: Response,
    framing: Framing,
    protocol: Option<HeaderValue>,
) -> Result<Response, Status> {
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY);
    let version = parts.headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let (Some(key), Some(VERSION)) = (key, version) else {
        return Err(Status::bad_request(
            "bad WebSocket handshake: Sec-WebSocket-Key or version 13 is missing",
        ));
    };
    let media = answer.headers().get(header::CONTENT_TYPE).cloned();
    let Body::Stream(pieces) = answer.into_body() else {
        return Err(Status::internal("an answer that is no stream"));
    };
    let upgraded = hyper::upgrade::on(http::Request::from_parts(parts.clone(), ()));
    tokio::spawn(async move {
        match upgraded.await {
            Ok(stream) => {
                let role = Role::Server;
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), role, None).await;
                serve(socket, pieces, framing).await;
            }
            Err(error) => tracing::debug!(%error, "a stream could not be upgraded"),
        }
    });
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key.as_bytes())) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if let Some(protocol) = protocol {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    headers.extend(media.map(|media| (header::CONTENT_TYPE, media)));
    Ok(response)
}

/// For a watch any subprotocol is as good as another: the first is taken.
pub(crate) fn first_protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    HeaderValue::from_str(offered.split(',').next()?.trim()).ok()
}

async fn serve<S>(socket: WebSocketStream<S>, mut pieces: Pieces, framing: Framing)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sender, mut receiver) = socket.split();
    let mut buffer = BytesMut::new();
    // Tells that the log is there, before anything of it is.
    if framing.is_of_pieces() && sender.send(piece(Bytes::new(), framing)).await.is_err() {
        return;
    }
    loop {
        tokio::select! {
            piece = pieces.next() => {
                let Some(Ok(piece)) = piece else { break };
                buffer.extend_from_slice(&piece);
                while let Some(message) = message(&mut buffer, framing) {
                    if sender.feed(message).await.is_err() {
                        return;
                    }
                }
                if sender.flush().await.is_err() {
                    return;
                }
            }
            message = receiver.next() => match message {
                None | Some(Err(_) | Ok(Message::Close(_))) => break,
                Some(Ok(_)) => {}
            },
        }
    }
    // The client may be gone already.
    let _ = sender.close().await;
}

/// A part of a stream as a message.
fn piece(bytes: Bytes, framing: Framing) -> Message {
    if framing == Framing::Base64 { Message::text(STANDARD.encode(bytes)) } else { Message::Binary(bytes) }
}

/// Takes the next whole message off the buffer.
fn message(buffer: &mut BytesMut, framing: Framing) -> Option<Message> {
    if framing.is_of_pieces() {
        return (!buffer.is_empty()).then(|| piece(buffer.split().freeze(), framing));
    }
    if framing == Framing::Lengths {
        let length = u32::from_be_bytes(buffer.get(..4)?.try_into().ok()?) as usize;
        if buffer.len() < 4 + length {
            return None;
        }
        buffer.advance(4);
        return Some(Message::Binary(buffer.split_to(length).freeze()));
    }
    let end = buffer.iter().position(|byte| *byte == b'\n')?;
    let line = buffer.split_to(end + 1).freeze();
    Some(match line.try_into() {
        Ok(text) => Message::Text(text),
        // The server writes nothing but UTF-8.
        Err(_) => Message::Binary(Bytes::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_become_messages() {
        let mut lines = BytesMut::from(&b"{\"a\":1}\n{\"b\""[..]);
        assert_eq!(message(&mut lines, Framing::Lines), Some(Message::text("{\"a\":1}\n")));
        assert_eq!(message(&mut lines, Framing::Lines), None);
        let mut frames = BytesMut::from(&b"\0\0\0\x02ab\0\0\0\x03c"[..]);
        assert_eq!(message(&mut frames, Framing::Lengths), Some(Message::binary(&b"ab"[..])));
        assert_eq!(message(&mut frames, Framing::Lengths), None);
        let mut log = BytesMut::from(&b"a\nb"[..]);
        assert_eq!(message(&mut log.clone(), Framing::Binary), Some(Message::binary(&b"a\nb"[..])));
        assert_eq!(message(&mut log, Framing::Base64), Some(Message::text("YQpi")));
        assert_eq!(message(&mut log, Framing::Base64), None);
    }

    #[test]
    fn protocols_of_logs() {
        let check = |offered: Option<&str>, expected: Option<(Framing, Option<&'static str>)>| {
            let headers = offered.map(|offered| {
                let value = HeaderValue::from_str(offered).expect("a value");
                HeaderMap::from_iter([(header::SEC_WEBSOCKET_PROTOCOL, value)])
            });
            let found = Framing::of_log(&headers.unwrap_or_default()).ok();
            let expected = expected.map(|(framing, name)| (framing, name.map(HeaderValue::from_static)));
            assert_eq!(found, expected, "{offered:?}");
        };
        check(None, Some((Framing::Binary, None)));
        check(Some("binary.k8s.io"), Some((Framing::Binary, Some("binary.k8s.io"))));
        check(Some("x, base64.binary.k8s.io"), Some((Framing::Base64, Some("base64.binary.k8s.io"))));
        check(Some("x"), None);
    }

    #[test]
    fn handshakes() {
        let check = |connection: &str, upgrade: &str, expected: bool| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::CONNECTION, connection), (header::UPGRADE, upgrade)] {
                headers.insert(name, HeaderValue::from_str(value).expect("a value"));
            }
            assert_eq!(is_wanted(&headers), expected, "{connection} {upgrade}");
        };
        check("Upgrade", "websocket", true);
        check("keep-alive, upgrade", "WebSocket", true);
        check("keep-alive", "websocket", false);
        check("Upgrade", "SPDY/3.1", false);
    }
}
