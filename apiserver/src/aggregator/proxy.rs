//! Passing a request on.
use super::{Aggregator, Remote};
use crate::outbound::{self, OutBody};
use crate::server::{Body, Request, RequestBody, RequestContext, Response, body};
use crate::streaming::{forwarded, passed_back, switched};
use crate::user::User;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use std::error::Error as StdError;

/// The user on whose behalf this server asks by itself.
const OWN: &str = "system:kube-aggregator";

impl Aggregator {
    pub(super) async fn forward(
        &self,
        context: &RequestContext,
        remote: &Remote,
        request: Request,
    ) -> Response {
        if !remote.available {
            return unavailable("service unavailable");
        }
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
        let outcome = match remote.at(&path) {
            Ok(endpoint) if request.headers().contains_key(header::UPGRADE) => {
                self.upgrade(context, &endpoint, request).await
            }
            Ok(endpoint) => self.pass(context, &endpoint, request).await,
            Err(text) => Err(text.into()),
        };
        outcome.unwrap_or_else(|error| {
            let text = outbound::reason(&*error);
            tracing::warn!(service = remote.name, error = text, "an aggregated API could not be reached");
            unavailable(&text)
        })
    }

    async fn pass(
        &self,
        context: &RequestContext,
        endpoint: &outbound::Endpoint,
        request: Request,
    ) -> Result<Response, Box<dyn StdError + Send + Sync>> {
        let (parts, body) = request.into_parts();
        let mut out = http::Request::new(out_body(body));
        *out.method_mut() = parts.method;
        *out.uri_mut() = format!("https://{}{}", endpoint.authority, endpoint.path).parse::<Uri>()?;
        *out.headers_mut() = headers(context, &parts.headers, false)?;
        Ok(unless_redirect(self.outbound.request(endpoint, out).await?))
    }

    async fn upgrade(
        &self,
        context: &RequestContext,
        endpoint: &outbound::Endpoint,
        mut request: Request,
    ) -> Result<Response, Box<dyn StdError + Send + Sync>> {
        let client = hyper::upgrade::on(&mut request);
        let stream = self.outbound.dial(endpoint).await?;
        let (mut sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to an aggregated API ended");
            }
        });
        let mut out = http::Request::new(outbound::full(Bytes::new()));
        *out.method_mut() = request.method().clone();
        *out.uri_mut() = endpoint.path.parse::<Uri>()?;
        *out.headers_mut() = headers(context, request.headers(), true)?;
        // The request goes without its body: what follows it is the protocol switched to.
        for taken in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
            out.headers_mut().remove(taken);
        }
        out.headers_mut().insert(header::HOST, HeaderValue::from_str(&endpoint.authority)?);
        let response = sender.send_request(out).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(unless_redirect(response));
        }
        Ok(switched(client, (sender, context.audit.clone()), response))
    }
}

/// The answer of another server, which must not lead clients elsewhere: they would follow with what they show to this
/// server (CVE-2022-3172).
fn unless_redirect(response: http::Response<Incoming>) -> Response {
    if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) {
        return body::text(502, "the backend attempted to redirect this request, which is not permitted");
    }
    passed_back(response)
}

fn unavailable(text: &str) -> Response {
    body::text(503, format!("{text}\n"))
}

fn out_body(body: RequestBody) -> OutBody {
    match body {
        RequestBody::Incoming(incoming) => incoming.map_err(Into::into).boxed_unsync(),
        RequestBody::Full(bytes) => outbound::full(bytes),
    }
}

/// The client's headers with the user's identity instead of its credentials.
///
/// # Errors
/// An identity that no header can tell.
fn headers(context: &RequestContext, given: &HeaderMap, upgrade: bool) -> Result<HeaderMap, http::Error> {
    let mut out = given.clone();
    for taken in [header::AUTHORIZATION, header::HOST] {
        out.remove(taken);
    }
    if !upgrade {
        crate::streaming::HOP.iter().for_each(|name| drop(out.remove(name)));
    }
    identify(&mut out, &context.user)?;
    forwarded(&mut out, context);
    out.insert(HeaderName::from_static("x-forwarded-proto"), HeaderValue::from_static("https"));
    out.insert(HeaderName::from_static("audit-id"), HeaderValue::from_str(&context.audit_id)?);
    Ok(out)
}

/// Sets the identity headers; whatever the client said of its identity is taken away.
///
/// # Errors
/// A part of the identity that no header can tell: the user would be taken for another without it.
fn identify(out: &mut HeaderMap, user: &User) -> Result<(), http::Error> {
    let theirs: Vec<HeaderName> =
        out.keys().filter(|n| n.as_str().starts_with("x-remote-")).cloned().collect();
    theirs.iter().for_each(|name| drop(out.remove(name)));
    let mut add = |name: &str, text: &str| -> Result<(), http::Error> {
        out.append(name.parse::<HeaderName>()?, HeaderValue::from_bytes(text.as_bytes())?);
        Ok(())
    };
    add("x-remote-user", &user.name)?;
    if !user.uid.is_empty() {
        add("x-remote-uid", &user.uid)?;
    }
    user.groups.iter().try_for_each(|group| add("x-remote-group", group))?;
    for (key, values) in &user.extra {
        let name = format!("x-remote-extra-{}", escaped(key));
        values.iter().try_for_each(|value| add(&name, value))?;
    }
    Ok(())
}

/// A key of extra facts as a part of a header's name: what names cannot hold is percent-encoded.
fn escaped(key: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte);
    key.bytes().fold(String::new(), |mut out, byte| {
        if legal(byte) {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

/// Headers of a request of this server's own.
pub(super) fn own_headers(accept: &'static str) -> HeaderMap {
    let mut out = HeaderMap::new();
    out.insert(header::ACCEPT, HeaderValue::from_static(accept));
    out.insert(header::USER_AGENT, HeaderValue::from_static("kube-apiserver"));
    out.insert(HeaderName::from_static("x-remote-user"), HeaderValue::from_static(OWN));
    out.insert(HeaderName::from_static("x-remote-group"), HeaderValue::from_static(crate::user::MASTERS));
    out
}

/// Is the body one that can be read again?
pub(super) async fn whole(response: Response) -> Result<(http::response::Parts, Bytes), std::io::Error> {
    let (parts, body): (_, Body) = response.into_parts();
    Ok((parts, body.collect().await?.to_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_is_the_servers_word() {
        let mut headers = HeaderMap::new();
        headers.insert("x-remote-user", HeaderValue::from_static("eve"));
        headers.insert("x-remote-extra-scopes", HeaderValue::from_static("all"));
        let user = User {
            name: "ann".into(),
            uid: "1".into(),
            groups: vec!["a".into(), "b".into()],
            extra: [("x.io/k%".to_owned(), vec!["v".to_owned()])].into(),
        };
        identify(&mut headers, &user).unwrap();
        let all = |name: &str| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!((all("x-remote-user"), all("x-remote-group")), (vec!["ann"], vec!["a", "b"]));
        assert_eq!((all("x-remote-uid"), all("x-remote-extra-scopes")), (vec!["1"], vec![]));
        assert_eq!(all("x-remote-extra-x.io%2fk%25"), ["v"]);
        let two_lines = User { groups: vec!["a\nb".into()], ..User::default() };
        assert!(identify(&mut HeaderMap::new(), &two_lines).is_err());
    }
}
