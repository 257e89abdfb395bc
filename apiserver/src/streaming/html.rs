//! Links in proxied pages: those to the target's own root are led through the proxy, so that its pages work in a browser.
use crate::server::{Body, Response};
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};
use futures::StreamExt;
use html5gum::Span;
use html5gum::emitters::callback::{CallbackEmitter, CallbackEvent};
use http::{HeaderMap, header};
use http_body_util::BodyDataStream;
use knarr_api::status::Status;
use std::io::{Read, Write};

/// The largest page whose links are looked at, in bytes, packed or not; larger ones pass as they are.
const MAX_PAGE: usize = 8 << 20;

/// Attributes with a link, by element (<https://html.spec.whatwg.org/multipage/indices.html#attributes-3>, with those
/// of older versions).
const LINKS: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["formaction", "src", "usemap"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// How a body is packed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Deflate,
}

/// A response with the links of its page replaced by what `link` says; one that is no page stays as it is.
///
/// # Errors
/// 503 for a page that breaks off.
pub async fn relinked(response: Response, link: impl Fn(&str) -> Option<String>) -> Result<Response, Status> {
    let Some(packing) = page(response.headers()) else { return Ok(response) };
    let (mut parts, body) = response.into_parts();
    let mut stream = BodyDataStream::new(body);
    let mut read = BytesMut::new();
    while let Some(piece) = stream.next().await {
        let broken = |error| Status::unavailable(format!("error trying to reach service: {error}"));
        read.extend_from_slice(&piece.map_err(broken)?);
        if read.len() > MAX_PAGE {
            let begin = futures::stream::iter([Ok(read.freeze())]);
            return Ok(Response::from_parts(parts, Body::stream(begin.chain(stream))));
        }
    }
    let read = read.freeze();
    let rewritten = unpacked(packing, &read).and_then(|text| packed(packing, &relink(&text, link)));
    parts.headers.remove(header::CONTENT_LENGTH);
    Ok(Response::from_parts(parts, Body::Full(rewritten.unwrap_or(read))))
}

/// How a page is packed; none for what is no page, or is packed in a way that cannot be undone here.
fn page(headers: &HeaderMap) -> Option<Packing> {
    let text = |name| headers.get(name).map_or(Ok(""), |value| value.to_str()).ok();
    let media = text(header::CONTENT_TYPE)?.split(';').next()?;
    if !media.trim().eq_ignore_ascii_case("text/html") {
        return None;
    }
    match text(header::CONTENT_ENCODING)? {
        "" => Some(Packing::None),
        "gzip" => Some(Packing::Gzip),
        "deflate" => Some(Packing::Deflate),
        _ => None,
    }
}

/// The text of a page; none where it is too large or damaged.
fn unpacked(packing: Packing, body: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let limit = MAX_PAGE as u64 + 1;
    match packing {
        Packing::None => return Some(body.to_vec()),
        Packing::Gzip => GzDecoder::new(body).take(limit).read_to_end(&mut text),
        Packing::Deflate => DeflateDecoder::new(body).take(limit).read_to_end(&mut text),
    }
    .ok()?;
    (text.len() <= MAX_PAGE).then_some(text)
}

fn packed(packing: Packing, text: &[u8]) -> Option<Bytes> {
    let level = Compression::fast();
    let packed = match packing {
        Packing::None => Ok(text.to_vec()),
        Packing::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(text).and_then(|()| encoder.finish())
        }
        Packing::Deflate => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(text).and_then(|()| encoder.finish())
        }
    };
    packed.ok().map(Bytes::from)
}

/// Replaces links; every other byte stays.
fn relink(page: &[u8], link: impl Fn(&str) -> Option<String>) -> Vec<u8> {
    let (mut out, mut copied) = (Vec::with_capacity(page.len() + page.len() / 8), 0);
    let mut attributes: &[&str] = &[];
    let mut is_link = false;
    let mut emitter = CallbackEmitter::new(|event: CallbackEvent<'_>, span: Span<usize>| {
        match event {
            CallbackEvent::OpenStartTag { name } => {
                let found = LINKS.iter().find(|(element, _)| element.as_bytes() == name);
                attributes = found.map_or(&[], |(_, attributes)| attributes);
            }
            CallbackEvent::AttributeName { name } => {
                is_link = attributes.iter().any(|attribute| attribute.as_bytes() == name);
            }
            CallbackEvent::AttributeValue { value } if is_link => {
                let new = std::str::from_utf8(value).ok().and_then(|text| link(text.trim()));
                if let Some(new) = new {
                    out.extend_from_slice(&page[copied..span.start]);
                    out.extend_from_slice(escaped(&new).as_bytes());
                    copied = span.end;
                }
            }
            _ => {}
        }
        None::<std::convert::Infallible>
    });
    emitter.naively_switch_states(true);
    // A tokenizer over bytes in memory has nothing that fails.
    let _ = html5gum::Tokenizer::new_with_emitter(page, emitter).finish();
    out.extend_from_slice(&page[copied..]);
    out
}

fn escaped(link: &str) -> String {
    link.replace('&', "&amp;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(text: &str) -> Option<String> {
        text.starts_with('/').then(|| format!("/base{text}"))
    }

    #[test]
    fn links_are_led_through_the_proxy() {
        let check = |page: &str, expected: &str| {
            assert_eq!(String::from_utf8(relink(page.as_bytes(), through)).unwrap(), expected);
        };
        check(
            "<!doctype html><A HREF='/a?x=1&amp;y'>/a</a>",
            "<!doctype html><A HREF='/base/a?x=1&amp;y'>/a</a>",
        );
        check(
            "<img alt=/no src=/i.png longdesc=\"/d\"/>",
            "<img alt=/no src=/base/i.png longdesc=\"/base/d\"/>",
        );
        for same in [
            "<a href='b'>x</a>",
            "<a href='http://other/'>x</a>",
            "<p href='/p'>",
            "<script>let a = \"<a href='/x'>\";</script>",
            "<!-- <a href='/x'> -->",
            "<a href='/never ends",
            "",
        ] {
            check(same, same);
        }
        assert_eq!(relink(b"\xff<a href=/x>\xfe", through), b"\xff<a href=/base/x>\xfe");
    }

    #[tokio::test]
    async fn packed_pages_stay_packed() {
        for (name, packing) in [("", Packing::None), ("gzip", Packing::Gzip), ("deflate", Packing::Deflate)] {
            let body = packed(packing, b"<a href=/x>").unwrap();
            let mut response = Response::new(Body::Full(body));
            let mut set = |name, value: &str| response.headers_mut().insert(name, value.parse().unwrap());
            set(header::CONTENT_TYPE, "text/html; charset=utf-8");
            set(header::CONTENT_LENGTH, "11");
            set(header::CONTENT_ENCODING, name);
            let response = relinked(response, through).await.unwrap();
            assert!(!response.headers().contains_key(header::CONTENT_LENGTH), "{name}");
            let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
            assert_eq!(unpacked(packing, &body).unwrap(), b"<a href=/base/x>", "{name}");
        }
    }

    #[tokio::test]
    async fn what_is_no_page_stays() {
        let large = vec![b' '; MAX_PAGE + 1];
        for (media, packing, body) in [
            ("text/plain", "", b"<a href=/x>".to_vec()),
            ("text/html", "br", b"<a href=/x>".to_vec()),
            ("text/html", "gzip", b"not packed".to_vec()),
            ("text/html", "", [large.as_slice(), b"<a href=/x>"].concat()),
        ] {
            let mut response = Response::new(Body::Full(body.clone().into()));
            response.headers_mut().insert(header::CONTENT_TYPE, media.parse().unwrap());
            response.headers_mut().insert(header::CONTENT_ENCODING, packing.parse().unwrap());
            let response = relinked(response, through).await.unwrap();
            let same = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
            assert!(same == body, "{media} {packing}");
        }
    }
}
