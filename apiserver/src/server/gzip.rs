//! Compression of large answers for clients that ask for it.
use super::{Body, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::StreamExt;
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

/// Marks a streamed answer as a large document: it may be compressed, which a watch or a log must not be.
#[derive(Clone, Copy, Debug)]
pub struct LargeDocument;

/// Compresses a large answer, off the threads that serve.
pub async fn compress(mut response: Response) -> Response {
    if response.extensions().get::<LargeDocument>().is_some() {
        return compress_stream(response);
    }
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
            mark(response.headers_mut());
        }
        _ => *response.body_mut() = Body::Chunks(plain),
    }
    response
}

/// Compresses piece by piece while the client reads.
fn compress_stream(mut response: Response) -> Response {
    let Body::Stream(pieces) = std::mem::take(response.body_mut()) else { return response };
    let encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let compressed =
        futures::stream::try_unfold((pieces, Some(encoder)), |(mut pieces, encoder)| async move {
            let Some(mut encoder) = encoder else { return Ok(None) };
            loop {
                let piece = pieces.next().await.transpose()?;
                let last = piece.is_none();
                let work = tokio::task::spawn_blocking(move || match piece {
                    Some(piece) => {
                        encoder.write_all(&piece)?;
                        let out = std::mem::take(encoder.get_mut());
                        Ok::<_, std::io::Error>((out, Some(encoder)))
                    }
                    None => Ok((encoder.finish()?, None)),
                });
                let (out, next) = work.await.map_err(std::io::Error::other)??;
                match next {
                    Some(next) if out.is_empty() && !last => encoder = next,
                    next => return Ok(Some((Bytes::from(out), (pieces, next)))),
                }
            }
        });
    *response.body_mut() = Body::stream(compressed);
    mark(response.headers_mut());
    response
}

fn mark(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.remove(header::CONTENT_LENGTH);
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
