//! Entry points for fuzzing of what the server reads beside documents; see [`knarr_api::fuzzing`].
use crate::registry::paging::Token;
use crate::request_info::{RequestInfo, query_pairs};
use futures::StreamExt;
use http::{Method, Uri};
use knarr_api::fuzzing::Target;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

/// All of this crate.
pub const TARGETS: &[Target] = &[
    Target { name: "request_path", body: request_path, seeds: request_path_seeds },
    Target { name: "continue_tokens", body: continue_tokens, seeds: continue_token_seeds },
    Target { name: "websocket", body: websocket, seeds: websocket_seeds },
];

/// Text as the target of a request: what is a request's path is read the same from its parts, and never leaves the
/// resource it names.
pub fn request_path(input: &[u8]) {
    let Ok(uri) = Uri::try_from(input) else { return };
    query_pairs(uri.query().unwrap_or_default()).for_each(drop);
    for method in [Method::GET, Method::POST, Method::DELETE, Method::PATCH] {
        let Ok(info) = RequestInfo::new(&method, &uri) else { continue };
        if info.is_resource_request {
            let parts = [info.namespace(), info.resource(), info.name(), info.subresource()];
            for part in parts.iter().filter(|part| !part.is_empty()) {
                assert!(!part.contains('/'), "{uri} has the part {part}");
            }
        }
        let _ = (info.field_selector(), info.label_selector(), info.is_long_running(), info.rest());
    }
}

fn request_path_seeds() -> Vec<Vec<u8>> {
    [
        "/api/v1/namespaces/default/pods/a/exec?command=a&stdin=true",
        "/apis/apps/v1/deployments?watch=true&fieldSelector=metadata.name%3Da",
        "/api/v1/watch/namespaces/x/pods/y",
        "/api/v1/namespaces/default/services/https:web:443/proxy/a/../b%2F?q=%00",
        "/apis/example.com/v1/namespaces/a%2Fb/widgets//c/status",
        "/healthz/etcd?exclude=a",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Text as a continue token: what is one is read the same after it was written.
pub fn continue_tokens(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(token) = Token::parse(text) {
        assert_eq!(Token::parse(&token.encode()).as_ref(), Ok(&token), "{text}");
        let _ = (token.last(true), token.last(false));
    }
}

fn continue_token_seeds() -> Vec<Vec<u8>> {
    let tokens = [Token::after(7, "ns", "a.b"), Token::after(-1, "", "node")];
    let mut seeds: Vec<Vec<u8>> = tokens.iter().map(|token| token.encode().into_bytes()).collect();
    seeds.push(b"eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi9hIn0".to_vec());
    seeds
}

/// Bytes as what a client of a watch over WebSocket sends: they end, well or ill.
pub fn websocket(input: &[u8]) {
    let input = input.to_vec();
    let read = async move {
        let stream = tokio::io::join(std::io::Cursor::new(input), tokio::io::sink());
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            drop(message);
        }
    };
    // All that is read is there: nothing waits.
    futures::executor::block_on(read);
}

fn websocket_seeds() -> Vec<Vec<u8>> {
    let mask = [1, 2, 3, 4];
    let frame = |first: u8, data: &[u8]| {
        let mut bytes = vec![first, 0x80 | data.len() as u8];
        bytes.extend(mask);
        bytes.extend(data.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    };
    let fragments = [frame(0x02, b"ab"), frame(0x89, b"p"), frame(0x80, b"cd")].concat();
    vec![
        frame(0x81, b"text"),
        fragments,
        frame(0x88, &[3, 232, b'b', b'y', b'e']),
        vec![0x82, 0xff, 0xff, 0xff],
    ]
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_moment_of_each() {
        knarr_api::fuzzing::moment(super::TARGETS);
    }
}
