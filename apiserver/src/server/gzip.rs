//! Compression of large answers for clients that ask for it.
use super::{Body, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, header};
use std::collections::VecDeque;
use std::io::Write;

/// Answers smaller than this, in bytes, go out as they are.
const LEAST: usize = 128 * 1024;

/// Does the client take gzip?
pub fn is_wanted(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    value.split(',').any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|p| matches!(p, "q=0" | "q=0.0"))
    })
}

/// Compresses a large answer, off the threads that serve.
pub async fn compress(mut response: Response) -> Response {
    let large = response.body().len().is_some_and(|n| n >= LEAST);
    if !large || !response.status().is_success() || response.headers().contains_key(header::CONTENT_ENCODING)
    {
        return response;
    }
    let chunks = match std::mem::take(response.body_mut()) {
        Body::Full(bytes) => VecDeque::from([bytes]),
        Body::Chunks(chunks) => chunks,
        other => {
            *response.body_mut() = other;
            return response;
        }
    };
    let plain = chunks.clone();
    match tokio::task::spawn_blocking(move || deflate(&chunks)).await {
        Ok(Ok(bytes)) => {
            *response.body_mut() = Body::Full(bytes);
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
            headers.remove(header::CONTENT_LENGTH);
        }
        _ => *response.body_mut() = Body::Chunks(plain),
    }
    response
}

fn deflate(chunks: &VecDeque<Bytes>) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(LEAST / 2), Compression::fast());
    for chunk in chunks {
        encoder.write_all(chunk)?;
    }
    Ok(encoder.finish()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn wishes() {
        let check = |value: &'static str, expected: bool| {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            assert_eq!(is_wanted(&headers), expected, "{value}");
        };
        check("gzip", true);
        check("br, gzip;q=0.8", true);
        check("gzip;q=0", false);
        check("identity", false);
    }

    #[tokio::test]
    async fn large_answers_shrink() {
        let large = vec![b'x'; LEAST];
        let response = compress(super::super::body::json(200, large.clone())).await;
        assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
        let Body::Full(bytes) = response.into_body() else { panic!("one piece") };
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut plain).unwrap();
        assert_eq!(plain, large);
        let small = compress(super::super::body::json(200, "{}")).await;
        assert!(!small.headers().contains_key(header::CONTENT_ENCODING));
    }
}
