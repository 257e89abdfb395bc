//! Watches over WebSocket (RFC 6455): each event is one message, text for JSON and binary for protobuf, which then
//! has no length before it. What the client sends is read only to see it go.
use super::negotiate::Format;
use crate::server::{Body, Response};
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

/// Does the client want to go on in WebSocket?
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Answers a watch as messages instead of a chunked body.
///
/// # Errors
/// 400 for a handshake that is none.
pub(super) fn accept(parts: &Parts, watch: Response, format: Format) -> Result<Response, Status> {
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY);
    let version = parts.headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let (Some(key), Some(VERSION)) = (key, version) else {
        return Err(Status::bad_request(
            "bad WebSocket handshake: Sec-WebSocket-Key or version 13 is missing",
        ));
    };
    let media = watch.headers().get(header::CONTENT_TYPE).cloned();
    let Body::Stream(pieces) = watch.into_body() else {
        return Err(Status::internal("a watch that is no stream"));
    };
    let upgraded = hyper::upgrade::on(http::Request::from_parts(parts.clone(), ()));
    tokio::spawn(async move {
        match upgraded.await {
            Ok(stream) => {
                let role = Role::Server;
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), role, None).await;
                serve(socket, pieces, format).await;
            }
            Err(error) => tracing::debug!(%error, "a watch could not be upgraded"),
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
    if let Some(protocol) = protocol(&parts.headers) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    headers.extend(media.map(|media| (header::CONTENT_TYPE, media)));
    Ok(response)
}

/// Any protocol is as good as another: the first is taken.
fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    HeaderValue::from_str(offered.split(',').next()?.trim()).ok()
}

async fn serve<S>(socket: WebSocketStream<S>, mut pieces: Pieces, format: Format)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let (mut sender, mut receiver) = socket.split();
    let mut buffer = BytesMut::new();
    loop {
        tokio::select! {
            piece = pieces.next() => {
                let Some(Ok(piece)) = piece else { break };
                buffer.extend_from_slice(&piece);
                while let Some(message) = message(&mut buffer, format) {
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

/// Takes the next whole event off the buffer.
fn message(buffer: &mut BytesMut, format: Format) -> Option<Message> {
    if format == Format::Protobuf {
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
    fn events_become_messages() {
        let mut lines = BytesMut::from(&b"{\"a\":1}\n{\"b\""[..]);
        assert_eq!(message(&mut lines, Format::Json), Some(Message::text("{\"a\":1}\n")));
        assert_eq!(message(&mut lines, Format::Json), None);
        let mut frames = BytesMut::from(&b"\0\0\0\x02ab\0\0\0\x03c"[..]);
        assert_eq!(message(&mut frames, Format::Protobuf), Some(Message::binary(&b"ab"[..])));
        assert_eq!(message(&mut frames, Format::Protobuf), None);
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
