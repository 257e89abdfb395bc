//! Answers over WebSocket (RFC 6455) in place of a body: messages that a [`Cut`] makes of its pieces. What the client sends
//! is read only to see it go.
use super::{Body, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode, request::Parts};
use http_body_util::BodyDataStream;
use hyper_util::rt::TokioIo;
use knarr_api::status::Status;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role};

/// The only version of the protocol.
const VERSION: &[u8] = b"13";

/// Takes the next whole message off what has come.
pub(crate) type Cut = fn(&mut BytesMut) -> Option<Message>;

/// Does the client want to go on in WebSocket?
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let has = |name: HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket")
}

/// Answers with messages instead of a body, in a protocol of the client's choice.
///
/// # Errors
/// 400 for a handshake that is none.
pub(crate) fn accept(
    parts: &Parts,
    answer: Response,
    cut: Cut,
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
    let pieces = BodyDataStream::new(answer.into_body());
    let upgraded = hyper::upgrade::on(http::Request::from_parts(parts.clone(), ()));
    tokio::spawn(async move {
        match upgraded.await {
            Ok(stream) => {
                let role = Role::Server;
                let socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), role, None).await;
                serve(socket, pieces, cut).await;
            }
            Err(error) => tracing::debug!(%error, "an answer could not be upgraded"),
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
    headers.extend(protocol.map(|protocol| (header::SEC_WEBSOCKET_PROTOCOL, protocol)));
    headers.extend(media.map(|media| (header::CONTENT_TYPE, media)));
    Ok(response)
}

/// The protocols that the client offers, best first.
pub(crate) fn offered(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim).collect()
}

async fn serve<S>(socket: WebSocketStream<S>, mut pieces: BodyDataStream<Body>, cut: Cut)
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
                while let Some(message) = cut(&mut buffer) {
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

/// A frame with its length before it is a binary message.
pub(crate) fn frame(buffer: &mut BytesMut) -> Option<Message> {
    let length = u32::from_be_bytes(buffer.get(..4)?.try_into().ok()?) as usize;
    if buffer.len() < 4 + length {
        return None;
    }
    buffer.advance(4);
    Some(Message::Binary(buffer.split_to(length).freeze()))
}

/// A line is a text message.
pub(crate) fn line(buffer: &mut BytesMut) -> Option<Message> {
    let end = buffer.iter().position(|byte| *byte == b'\n')?;
    let line = buffer.split_to(end + 1).freeze();
    Some(match line.try_into() {
        Ok(text) => Message::Text(text),
        // The server writes nothing but UTF-8.
        Err(_) => Message::Binary(Bytes::new()),
    })
}

/// Whatever is there is a binary message.
pub(crate) fn bytes(buffer: &mut BytesMut) -> Option<Message> {
    (!buffer.is_empty()).then(|| Message::Binary(buffer.split().freeze()))
}

/// The same as a text message in base64.
pub(crate) fn base64(buffer: &mut BytesMut) -> Option<Message> {
    (!buffer.is_empty()).then(|| Message::text(STANDARD.encode(buffer.split())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_become_messages() {
        let mut lines = BytesMut::from(&b"{\"a\":1}\n{\"b\""[..]);
        assert_eq!(line(&mut lines), Some(Message::text("{\"a\":1}\n")));
        assert_eq!(line(&mut lines), None);
        let mut frames = BytesMut::from(&b"\0\0\0\x02ab\0\0\0\x03c"[..]);
        assert_eq!(frame(&mut frames), Some(Message::binary(&b"ab"[..])));
        assert_eq!(frame(&mut frames), None);
        let mut any = BytesMut::from(&b"ab"[..]);
        assert_eq!(base64(&mut any), Some(Message::text("YWI=")));
        assert_eq!(bytes(&mut any), None);
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
