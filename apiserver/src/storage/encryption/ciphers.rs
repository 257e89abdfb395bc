//! The ciphers, each as the original lays out its bytes.
//!
//! - aesgcm: a nonce of 12 bytes, the text, a tag of 16; the object's key is authenticated.
//! - aescbc: an initialization vector of 16 bytes, the padded text; nothing is authenticated.
//! - secretbox: a nonce of 24 bytes, a tag of 16, the text; the text alone is authenticated.
use super::kms::Kms;
use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::aes::{Aes128, Aes192, Aes256};
use aes_gcm::{AesGcm, KeyInit};
use bytes::Bytes;
use cbc::cipher::block_padding::Pkcs7;
use cbc::cipher::{BlockDecryptMut, BlockEncryptMut, KeyIvInit};
use crypto_secretbox::XSalsa20Poly1305;
use std::sync::Arc;

const GCM_NONCE: usize = 12;
const CBC_VECTOR: usize = 16;
const BOX_NONCE: usize = 24;

/// A way to write or read values.
pub enum Cipher {
    /// In the clear.
    Identity,
    /// With one key.
    Local(LocalKey),
    /// With keys that a plugin keeps.
    Kms(Box<Kms>),
}

/// A kind of local cipher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// AES in Galois/counter mode.
    AesGcm,
    /// AES in CBC mode.
    AesCbc,
    /// XSalsa20 and Poly1305.
    Secretbox,
}

impl Kind {
    /// As configurations and prefixes name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesGcm => "aesgcm",
            Self::AesCbc => "aescbc",
            Self::Secretbox => "secretbox",
        }
    }

    /// Bytes that a key may have.
    pub fn key_sizes(self) -> &'static [usize] {
        match self {
            Self::AesGcm | Self::AesCbc => &[16, 24, 32],
            Self::Secretbox => &[32],
        }
    }
}

/// One key of a local cipher.
pub struct LocalKey {
    kind: Kind,
    /// `k8s:enc:‹kind›:v1:‹name›:`.
    prefix: Arc<str>,
    secret: Vec<u8>,
}

impl LocalKey {
    /// A key of a size that the cipher takes.
    pub fn new(kind: Kind, name: &str, secret: Vec<u8>) -> Self {
        Self { kind, prefix: format!("k8s:enc:{}:v1:{name}:", kind.name()).into(), secret }
    }

    fn seal(&self, text: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
        match self.kind {
            Kind::AesGcm => gcm_seal(&self.secret, text, bound),
            Kind::AesCbc => {
                let vector: [u8; CBC_VECTOR] = rand::random();
                let sealed = match self.secret.len() {
                    16 => cbc_seal::<Aes128>(&self.secret, &vector, text),
                    24 => cbc_seal::<Aes192>(&self.secret, &vector, text),
                    _ => cbc_seal::<Aes256>(&self.secret, &vector, text),
                };
                Some([&vector[..], &sealed?].concat())
            }
            Kind::Secretbox => {
                let nonce: [u8; BOX_NONCE] = rand::random();
                let cipher = XSalsa20Poly1305::new_from_slice(&self.secret).ok()?;
                let sealed = cipher.encrypt(&nonce.into(), text).ok()?;
                Some([&nonce[..], &sealed].concat())
            }
        }
    }

    fn open(&self, sealed: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
        match self.kind {
            Kind::AesGcm => gcm_open(&self.secret, sealed, bound),
            Kind::AesCbc => {
                let (vector, text) = sealed.split_at_checked(CBC_VECTOR)?;
                match self.secret.len() {
                    16 => cbc_open::<Aes128>(&self.secret, vector, text),
                    24 => cbc_open::<Aes192>(&self.secret, vector, text),
                    _ => cbc_open::<Aes256>(&self.secret, vector, text),
                }
            }
            Kind::Secretbox => {
                let (nonce, text) = sealed.split_first_chunk::<BOX_NONCE>()?;
                let cipher = XSalsa20Poly1305::new_from_slice(&self.secret).ok()?;
                cipher.decrypt(&(*nonce).into(), text).ok()
            }
        }
    }
}

/// A nonce and the sealed text.
pub fn gcm_seal(secret: &[u8], text: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
    let nonce: [u8; GCM_NONCE] = rand::random();
    let payload = Payload { msg: text, aad: bound };
    let sealed = match secret.len() {
        16 => AesGcm::<Aes128, U12>::new_from_slice(secret).ok()?.encrypt(&nonce.into(), payload),
        24 => AesGcm::<Aes192, U12>::new_from_slice(secret).ok()?.encrypt(&nonce.into(), payload),
        _ => AesGcm::<Aes256, U12>::new_from_slice(secret).ok()?.encrypt(&nonce.into(), payload),
    };
    Some([&nonce[..], &sealed.ok()?].concat())
}

/// The text of a nonce and a sealed text.
pub fn gcm_open(secret: &[u8], sealed: &[u8], bound: &[u8]) -> Option<Vec<u8>> {
    let (nonce, text) = sealed.split_first_chunk::<GCM_NONCE>()?;
    let (nonce, payload) = ((*nonce).into(), Payload { msg: text, aad: bound });
    let opened = match secret.len() {
        16 => AesGcm::<Aes128, U12>::new_from_slice(secret).ok()?.decrypt(&nonce, payload),
        24 => AesGcm::<Aes192, U12>::new_from_slice(secret).ok()?.decrypt(&nonce, payload),
        _ => AesGcm::<Aes256, U12>::new_from_slice(secret).ok()?.decrypt(&nonce, payload),
    };
    opened.ok()
}

fn cbc_seal<C>(secret: &[u8], vector: &[u8], text: &[u8]) -> Option<Vec<u8>>
where
    C: BlockEncryptMut + cbc::cipher::BlockCipher,
    cbc::Encryptor<C>: KeyIvInit,
{
    let cipher = cbc::Encryptor::<C>::new_from_slices(secret, vector).ok()?;
    Some(cipher.encrypt_padded_vec_mut::<Pkcs7>(text))
}

fn cbc_open<C>(secret: &[u8], vector: &[u8], text: &[u8]) -> Option<Vec<u8>>
where
    C: BlockDecryptMut + cbc::cipher::BlockCipher,
    cbc::Decryptor<C>: KeyIvInit,
{
    let cipher = cbc::Decryptor::<C>::new_from_slices(secret, vector).ok()?;
    cipher.decrypt_padded_vec_mut::<Pkcs7>(text).ok()
}

impl Cipher {
    /// Does it leave values as they are?
    pub fn is_identity(&self) -> bool {
        matches!(self, Self::Identity)
    }

    /// The plugin, where there is one.
    pub fn plugin(&self) -> Option<&Kms> {
        match self {
            Self::Kms(kms) => Some(kms),
            _ => None,
        }
    }

    /// Was the envelope made by this cipher and key?
    pub fn is_for(&self, stored: &[u8]) -> bool {
        match self {
            Self::Identity => false,
            Self::Local(key) => stored.starts_with(key.prefix.as_bytes()),
            Self::Kms(kms) => stored.starts_with(kms.prefix().as_bytes()),
        }
    }

    /// What names the key of the next value; none where that is not known.
    pub fn label(&self) -> Option<Arc<str>> {
        match self {
            Self::Identity => Some("".into()),
            Self::Local(key) => Some(key.prefix.clone()),
            Self::Kms(kms) => kms.label(),
        }
    }

    /// The envelope of a text bound to a key, and what names the key it was made with.
    ///
    /// # Errors
    /// A plugin that cannot be reached.
    pub async fn seal(&self, text: &Bytes, bound: &[u8]) -> Result<(Bytes, Arc<str>), String> {
        match self {
            Self::Identity => Ok((text.clone(), "".into())),
            Self::Local(key) => {
                let sealed = key.seal(text, bound).ok_or_else(|| format!("{} failed", key.kind.name()))?;
                Ok(([key.prefix.as_bytes(), &sealed].concat().into(), key.prefix.clone()))
            }
            Self::Kms(kms) => kms.seal(text, bound).await,
        }
    }

    /// The text of an envelope that is for this cipher.
    ///
    /// # Errors
    /// Another key, a text that was changed or moved, a plugin that cannot be reached.
    pub async fn open(&self, stored: &Bytes, bound: &[u8]) -> Result<(Bytes, Arc<str>), String> {
        match self {
            Self::Identity => Ok((stored.clone(), "".into())),
            Self::Local(key) => {
                let sealed = stored.strip_prefix(key.prefix.as_bytes()).unwrap_or_default();
                let text = key.open(sealed, bound);
                let failed = || format!("{}: message authentication failed", key.kind.name());
                Ok((text.ok_or_else(failed)?.into(), key.prefix.clone()))
            }
            Self::Kms(kms) => kms.open(stored, bound).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn round_trips() {
        for (kind, size) in [
            (Kind::AesGcm, 16),
            (Kind::AesGcm, 24),
            (Kind::AesGcm, 32),
            (Kind::AesCbc, 16),
            (Kind::AesCbc, 24),
            (Kind::AesCbc, 32),
            (Kind::Secretbox, 32),
        ] {
            let cipher = |fill: u8| Cipher::Local(LocalKey::new(kind, "key1", vec![fill; size]));
            let text = Bytes::from_static(b"{\"a\":1}");
            let (sealed, label) = cipher(1).seal(&text, b"core/secrets/n/a").await.unwrap();
            assert_eq!(&*label, format!("k8s:enc:{}:v1:key1:", kind.name()));
            assert!(cipher(1).is_for(&sealed) && sealed.starts_with(label.as_bytes()));
            assert!(!sealed.windows(4).any(|part| part == b"\"a\":"));
            let (opened, _) = cipher(1).open(&sealed, b"core/secrets/n/a").await.unwrap();
            assert_eq!(opened, text, "{kind:?} {size}");
            let wrong = cipher(2).open(&sealed, b"core/secrets/n/a").await;
            assert!(wrong.is_err() || wrong.is_ok_and(|(found, _)| found != text), "{kind:?} {size}");
            let short = sealed.slice(..label.len() + 3);
            assert!(cipher(1).open(&short, b"core/secrets/n/a").await.is_err());
            let moved = cipher(1).open(&sealed, b"core/secrets/n/b").await;
            assert_eq!(moved.is_err(), kind == Kind::AesGcm, "{kind:?}");
        }
    }
}
