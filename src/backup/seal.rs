//! Encryption of a file with a passphrase: PBKDF2-HMAC-SHA256 (RFC 8018) makes the key, ChaCha20-Poly1305 (RFC 8439)
//! encrypts chunks. A chunk's nonce holds its number and whether it is the last one, so chunks can be neither
//! reordered nor cut off without notice (the STREAM construction).
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::pbkdf2;
use ring::rand::{SecureRandom, SystemRandom};
use std::io::{self, Read, Write};
use std::num::NonZeroU32;

/// Begin of an encrypted file; salt and number of rounds follow.
const MAGIC: &[u8; 15] = b"knarr-sealed-1\n";

const SALT: usize = 16;

/// As OWASP recommends for this function; tests are not kept waiting.
const ROUNDS: NonZeroU32 = NonZeroU32::new(if cfg!(test) { 1_000 } else { 600_000 }).unwrap();

/// Files that ask for more are refused: they would only burn time.
const MOST_ROUNDS: u32 = 100_000_000;

/// Bytes of plain text in a chunk; all but the last are full.
const CHUNK: usize = 64 << 10;

const TAG: usize = 16;

/// Encrypts what is written to it. [`Sealer::finish`] must be called.
pub struct Sealer<W: Write> {
    out: W,
    key: LessSafeKey,
    chunk: Vec<u8>,
    number: u32,
}

/// Decrypts what it reads; an error where the passphrase is wrong or the file was changed or cut.
pub struct Opener<R: Read> {
    from: R,
    key: LessSafeKey,
    /// The next chunk, still encrypted: only what follows it tells whether it is the last.
    ahead: Vec<u8>,
    plain: Vec<u8>,
    read: usize,
    number: u32,
    done: bool,
}

/// Whether a file that begins so is encrypted.
pub fn is_sealed(begin: &[u8]) -> bool {
    begin.starts_with(MAGIC)
}

/// Bytes of the begin that [`is_sealed`] needs.
pub const BEGIN: usize = MAGIC.len();

impl<W: Write> Sealer<W> {
    /// Writes the begin of the file.
    pub fn new(mut out: W, passphrase: &[u8]) -> io::Result<Self> {
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).map_err(|_| io::Error::other("no randomness"))?;
        out.write_all(MAGIC)?;
        out.write_all(&salt)?;
        out.write_all(&ROUNDS.get().to_be_bytes())?;
        let key = key(passphrase, &salt, ROUNDS)?;
        Ok(Self { out, key, chunk: Vec::with_capacity(CHUNK + TAG), number: 0 })
    }

    /// Writes the last chunk; returns what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.seal(true)?;
        Ok(self.out)
    }

    fn seal(&mut self, last: bool) -> io::Result<()> {
        let nonce = nonce(self.number, last);
        self.number = self.number.checked_add(1).ok_or_else(|| io::Error::other("too large"))?;
        self.key
            .seal_in_place_append_tag(nonce, Aad::empty(), &mut self.chunk)
            .map_err(|_| io::Error::other("encryption failed"))?;
        self.out.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits for more: it may be the last.
        if self.chunk.len() == CHUNK {
            self.seal(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.chunk.len());
        self.chunk.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<R: Read> Opener<R> {
    /// Reads the begin of the file, after [`MAGIC`] was found.
    pub fn new(mut from: R, passphrase: &[u8]) -> io::Result<Self> {
        let (mut magic, mut salt, mut rounds) = ([0; MAGIC.len()], [0; SALT], [0; 4]);
        from.read_exact(&mut magic)?;
        from.read_exact(&mut salt)?;
        from.read_exact(&mut rounds)?;
        let rounds = NonZeroU32::new(u32::from_be_bytes(rounds)).filter(|rounds| rounds.get() <= MOST_ROUNDS);
        let rounds = rounds.filter(|_| &magic == MAGIC).ok_or_else(damaged)?;
        let key = key(passphrase, &salt, rounds)?;
        let mut opener =
            Self { from, key, ahead: Vec::new(), plain: Vec::new(), read: 0, number: 0, done: false };
        opener.ahead = opener.fetch()?;
        Ok(opener)
    }

    fn fetch(&mut self) -> io::Result<Vec<u8>> {
        let mut chunk = Vec::with_capacity(CHUNK + TAG);
        (&mut self.from).take((CHUNK + TAG) as u64).read_to_end(&mut chunk)?;
        Ok(chunk)
    }

    fn open(&mut self) -> io::Result<()> {
        let next = if self.ahead.len() == CHUNK + TAG { self.fetch()? } else { Vec::new() };
        self.done = next.is_empty();
        self.plain = std::mem::replace(&mut self.ahead, next);
        let opened = self.key.open_in_place(nonce(self.number, self.done), Aad::empty(), &mut self.plain);
        let length = opened.map_err(|_| damaged())?.len();
        self.plain.truncate(length);
        (self.read, self.number) = (0, self.number.wrapping_add(1));
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.read == self.plain.len() {
            if self.done {
                return Ok(0);
            }
            self.open()?;
        }
        let length = into.len().min(self.plain.len() - self.read);
        into[..length].copy_from_slice(&self.plain[self.read..self.read + length]);
        self.read += length;
        Ok(length)
    }
}

fn damaged() -> io::Error {
    let text = "cannot be decrypted: the passphrase is wrong, or the file is damaged";
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn key(passphrase: &[u8], salt: &[u8], rounds: NonZeroU32) -> io::Result<LessSafeKey> {
    let mut key = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, passphrase, &mut key);
    let key = UnboundKey::new(&CHACHA20_POLY1305, &key).map_err(|_| io::Error::other("no key"))?;
    Ok(LessSafeKey::new(key))
}

/// Unique for a key, since each file has a salt of its own.
fn nonce(number: u32, last: bool) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[7..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(plain: &[u8]) -> Vec<u8> {
        let mut sealer = Sealer::new(Vec::new(), b"secret").unwrap();
        sealer.write_all(plain).unwrap();
        sealer.finish().unwrap()
    }

    fn open(sealed: &[u8], passphrase: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Opener::new(sealed, passphrase)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn what_was_sealed_is_opened() {
        for length in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK] {
            let plain: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            let sealed = seal(&plain);
            assert!(is_sealed(&sealed));
            assert_eq!(open(&sealed, b"secret").unwrap(), plain, "{length}");
        }
    }

    #[test]
    fn changed_cut_and_reordered_files_are_refused() {
        let sealed = seal(&vec![7; 2 * CHUNK + 9]);
        let begin = MAGIC.len() + SALT + 4;
        let chunk = CHUNK + TAG;
        assert!(open(&sealed, b"wrong").is_err());
        let mut changed = sealed.clone();
        changed[begin + 5] ^= 1;
        assert!(open(&changed, b"secret").is_err());
        for length in [0, 3, begin, begin + chunk, begin + 2 * chunk, sealed.len() - 1] {
            assert!(open(&sealed[..length], b"secret").is_err(), "cut at {length}");
        }
        let mut reordered = sealed.clone();
        reordered[begin..begin + chunk].copy_from_slice(&sealed[begin + chunk..begin + 2 * chunk]);
        reordered[begin + chunk..begin + 2 * chunk].copy_from_slice(&sealed[begin..begin + chunk]);
        assert!(open(&reordered, b"secret").is_err());
    }
}
