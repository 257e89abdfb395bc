//! Header blocks: names and values with their lengths, compressed by zlib with a dictionary that both
//! sides know. One compression goes on through all blocks of a direction.

use std::io;

use bytes::BufMut;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// A block, once decompressed, may be this large.
const MAX_BLOCK: usize = 256 << 10;

/// Words of the dictionary, each of which stands in it after its length.
const WORDS: [&str; 65] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// What follows the words.
const TAIL: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,\
text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

/// The dictionary of SPDY/3, section 2.6.10.1 of the draft.
fn dictionary() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1423);
    for word in WORDS {
        bytes.put_u32(word.len() as u32);
        bytes.put_slice(word.as_bytes());
    }
    bytes.put_slice(TAIL.as_bytes());
    bytes
}

fn invalid(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("SPDY header block: {}", what.to_string()))
}

/// Compresses the blocks of one direction.
pub struct Compressor(Compress);

impl Compressor {
    /// A fresh compression.
    pub fn new() -> io::Result<Self> {
        let mut compress = Compress::new(Compression::best(), true);
        compress.set_dictionary(&dictionary()).map_err(invalid)?;
        Ok(Self(compress))
    }

    /// One block.
    pub fn compress(&mut self, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        plain.put_u32(headers.len() as u32);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(plain.len() + 64);
        let before = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - before).map_err(invalid)?;
            self.0.compress_vec(&plain[done..], &mut block, FlushCompress::Sync).map_err(invalid)?;
            // Room left over means that everything, the flush's mark included, has come out.
            if block.len() < block.capacity() {
                return Ok(block);
            }
            block.reserve(256);
        }
    }
}

/// Decompresses the blocks of one direction.
pub struct Decompressor(Decompress);

impl Decompressor {
    /// A fresh decompression.
    pub fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// Takes one block and drops it: only the state of the compression goes on.
    pub fn decompress(&mut self, block: &[u8]) -> io::Result<()> {
        self.plain(block).map(drop)
    }

    fn plain(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::with_capacity(1024);
        let before = self.0.total_in();
        loop {
            let done = usize::try_from(self.0.total_in() - before).map_err(invalid)?;
            match self.0.decompress_vec(&block[done..], &mut plain, FlushDecompress::Sync) {
                Ok(Status::Ok | Status::BufError | Status::StreamEnd) => {}
                Err(error) if error.needs_dictionary().is_some() => {
                    self.0.set_dictionary(&dictionary()).map_err(invalid)?;
                    continue;
                }
                Err(error) => return Err(invalid(error)),
            }
            if plain.len() < plain.capacity() {
                return Ok(plain);
            }
            if plain.len() > MAX_BLOCK {
                return Err(invalid("too large"));
            }
            plain.reserve(1024);
        }
    }

    /// Names and values of one block.
    pub fn headers(&mut self, block: &[u8]) -> io::Result<Vec<(String, String)>> {
        let plain = self.plain(block)?;
        let mut rest = plain.as_slice();
        let number = |rest: &mut &[u8]| -> io::Result<usize> {
            let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(|| invalid("too short"))?;
            *rest = tail;
            Ok(u32::from_be_bytes(*head) as usize)
        };
        let count = number(&mut rest)?;
        let text = |rest: &mut &[u8]| -> io::Result<String> {
            let length = number(rest)?;
            let (head, tail) = rest.split_at_checked(length).ok_or_else(|| invalid("too short"))?;
            *rest = tail;
            String::from_utf8(head.to_vec()).map_err(invalid)
        };
        (0..count).map(|_| Ok((text(&mut rest)?, text(&mut rest)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_drafts() {
        let bytes = dictionary();
        assert_eq!(bytes.len(), 1423);
        let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65_521;
            (a, (b + a) % 65_521)
        });
        // The checksum by which every SPDY/3 compression begins.
        assert_eq!(b << 16 | a, 0xe3c6_a7c2);
    }

    #[test]
    fn one_compression_through_many_blocks() {
        let mut compressor = Compressor::new().expect("compressor");
        let mut decompressor = Decompressor::new();
        for round in 0..50 {
            let headers = vec![
                ("streamtype".to_owned(), "data".to_owned()),
                ("requestid".to_owned(), round.to_string()),
                ("long".to_owned(), "x".repeat(round * 100)),
            ];
            let block = compressor.compress(&headers).expect("compressed");
            assert_eq!(decompressor.headers(&block).expect("headers"), headers);
        }
        assert!(decompressor.plain(&[1, 2, 3]).is_err() || decompressor.plain(&[0xff; 64]).is_err());
    }
}
