//! Request and response bodies without boxing on the common paths, and the encoding of `Status` answers.
use crate::registry::encode;
use crate::registry::negotiate::{self, Accepted, Scope};
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use http::{HeaderMap, HeaderValue, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use knarr_api::status::Status;
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The largest request body that is read, in bytes.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// The body of an answer.
#[derive(Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// One piece.
    Full(Bytes),
    /// Pieces to be written one after the other (a list assembled from cached objects).
    Chunks(VecDeque<Bytes>),
    /// Pieces as they come (watches, logs); ends with the stream. An error breaks the connection off.
    Stream(BoxStream<'static, Result<Bytes, std::io::Error>>),
}

impl Body {
    /// A streaming body.
    pub fn stream(
        stream: impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static,
    ) -> Self {
        Self::Stream(stream.boxed())
    }

    /// Bytes in all, where known.
    pub fn len(&self) -> Option<usize> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len()),
            Self::Chunks(chunks) => Some(chunks.iter().map(Bytes::len).sum()),
            Self::Stream(_) => None,
        }
    }

    /// Is it known to hold nothing?
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

impl<B: Into<Bytes>> From<B> for Body {
    fn from(bytes: B) -> Self {
        Self::Full(bytes.into())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let next = match &mut *self {
            Self::Empty => None,
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                (!bytes.is_empty()).then_some(bytes)
            }
            Self::Chunks(chunks) => chunks.pop_front(),
            Self::Stream(stream) => {
                let next = ready!(stream.poll_next_unpin(context));
                return Poll::Ready(next.map(|piece| piece.map(Frame::data)));
            }
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Chunks(chunks) => chunks.is_empty(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::default, |n| SizeHint::with_exact(n as u64))
    }
}

/// The body of a request.
#[derive(Debug)]
pub enum RequestBody {
    /// From the connection.
    Incoming(Upload),
    /// Already in memory (tests, requests the server makes to itself).
    Full(Bytes),
}

impl RequestBody {
    /// Reads the whole body.
    ///
    /// # Errors
    /// 413 above [`MAX_BODY`], 400 when the client broke off.
    pub async fn read(self) -> Result<Bytes, Status> {
        let mut incoming = match self {
            Self::Full(bytes) if bytes.len() > MAX_BODY => return Err(too_large()),
            Self::Full(bytes) => return Ok(bytes),
            Self::Incoming(incoming) => incoming,
        };
        if incoming.size_hint().lower() > MAX_BODY as u64 {
            return Err(too_large());
        }
        let mut first = Bytes::new();
        let mut rest = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|e| Status::bad_request(format!("error reading request body: {e}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
            if rest.len() > MAX_BODY {
                return Err(too_large());
            }
        }
        Ok(if rest.is_empty() { first } else { rest.freeze() })
    }
}

/// The body of a request as the client sends it. What nobody has read of it when the answer begins is still taken for
/// a while: some clients know no answer that comes before they have sent everything.
#[derive(Debug)]
pub struct Upload {
    /// None once it has ended.
    incoming: Option<Incoming>,
}

/// How long what a client goes on sending is thrown away.
const DRAIN_TIME: Duration = Duration::from_secs(5);
/// How many bytes of it.
const DRAIN_BYTES: usize = 16 * MAX_BODY;

impl Upload {
    /// The body of a request.
    pub fn new(incoming: Incoming) -> Self {
        Self { incoming: Some(incoming) }
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let next = ready!(Pin::new(incoming).poll_frame(context));
        if !matches!(next, Some(Ok(_))) {
            self.incoming = None;
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let rest = self.incoming.take().filter(|rest| !rest.is_end_stream());
        if let (Some(rest), Ok(runtime)) = (rest, tokio::runtime::Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(DRAIN_TIME, drain(rest)));
        }
    }
}

async fn drain(mut rest: Incoming) {
    let mut room = DRAIN_BYTES;
    while let Some(Ok(frame)) = rest.frame().await {
        let Some(left) = room.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { break };
        room = left;
    }
}

fn too_large() -> Status {
    Status::too_large(format_args!("limit is {MAX_BODY}"))
}

/// An answer of one JSON document.
pub fn json(code: u16, bytes: impl Into<Bytes>) -> super::Response {
    typed(code, HeaderValue::from_static("application/json"), bytes)
}

/// An answer of plain text.
pub fn text(code: u16, bytes: impl Into<Bytes>) -> super::Response {
    typed(code, HeaderValue::from_static("text/plain; charset=utf-8"), bytes)
}

/// The plain 500 of filters that could not find something out: it names the request as it was sent.
pub fn filter_failed(uri: &http::Uri, error: &str) -> super::Response {
    let asked = uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    let text = format!("Internal Server Error: {asked:?}: {error}\n");
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut response = self::text(500, text);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn typed(code: u16, media_type: HeaderValue, bytes: impl Into<Bytes>) -> super::Response {
    let mut response = http::Response::new(Body::Full(bytes.into()));
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// An error as the client asked for it by its headers; `Retry-After` where the error names a time.
pub fn status(status: &Status, request_headers: &HeaderMap) -> super::Response {
    status_as(status, request_headers, None)
}

/// The same of a request that may have the option `pretty`.
pub fn status_as(status: &Status, request_headers: &HeaderMap, pretty: Option<&str>) -> super::Response {
    // Who accepts no form that there is gets JSON all the same.
    let accepted = negotiate::accept(request_headers, pretty, Scope::Plain).unwrap_or(Accepted::JSON);
    let encoded = (accepted != Accepted::JSON).then(|| encoded(status, accepted)).flatten();
    let mut response = encoded.unwrap_or_else(|| json(status.code, status.to_json()));
    let seconds = status.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if seconds > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn encoded(status: &Status, accepted: Accepted) -> Option<super::Response> {
    let value = serde_json::from_slice(&status.to_json()).ok()?;
    let mut response = encode::document(&value, accepted).ok()?;
    *response.status_mut() = http::StatusCode::from_u16(status.code).ok()?;
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_in_the_form_asked_for() {
        let error = Status::not_found(knarr_api::status::Resource { group: "", plural: "pods" }, "x");
        let check = |accept: &'static str, expected: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            let response = status(&error, &headers);
            assert_eq!(response.status(), 404);
            assert_eq!(response.headers()[header::CONTENT_TYPE], expected, "{accept}");
            response.into_body()
        };
        check("application/json", "application/json");
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/json");
        check("text/html, */*", "application/json");
        let protobuf = "application/vnd.kubernetes.protobuf";
        let Body::Full(yaml) = check("application/yaml", "application/yaml") else { panic!("one piece") };
        assert!(yaml.starts_with(b"apiVersion: v1\ncode: 404\n"), "{yaml:?}");
        for pretty in [status_as(&error, &HeaderMap::new(), Some("true")), {
            let agent = HeaderMap::from_iter([(header::USER_AGENT, HeaderValue::from_static("curl/8.5.0"))]);
            status(&error, &agent)
        }] {
            let Body::Full(bytes) = pretty.into_body() else { panic!("one piece") };
            assert!(bytes.starts_with(b"{\n  \"kind\": \"Status\",\n"), "{bytes:?}");
        }
        let Body::Full(bytes) = check("application/vnd.kubernetes.protobuf,application/json", protobuf)
        else {
            panic!("one piece")
        };
        let decoded = knarr_api::protobuf::decode(knarr_api::table::builtin(), &bytes).unwrap();
        assert_eq!(decoded.value["reason"], "NotFound");
    }
}
