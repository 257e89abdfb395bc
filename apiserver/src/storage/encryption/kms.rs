//! KMS v2: a plugin behind a gRPC socket keeps the key that the server's own seed is encrypted with. Each value is sealed
//! with a key derived from the seed, so that the plugin is asked once a seed and not once a value.
//!
//! Source: KEP-3299; messages and field numbers are those of `v2.KeyManagementService` and `v2.EncryptedObject`.
use super::ciphers::{gcm_open, gcm_seal};
use bytes::Bytes;
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use prost::Message;
use ring::hkdf;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_prost::ProstCodec;

/// Bytes of a seed, of the part of a value that its key is derived by, and of such a key.
const SEED: usize = 32;
/// Seeds that are remembered in the clear.
const SEEDS: usize = 1000;
/// The value of `encryptedDEKSourceType` for seeds.
const SEED_SOURCE: i32 = 1;

type Annotations = BTreeMap<String, Vec<u8>>;

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: Annotations,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: Annotations,
}

/// What follows the prefix of an envelope.
#[derive(Clone, PartialEq, Message)]
struct EncryptedObject {
    #[prost(bytes = "vec", tag = "1")]
    data: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(bytes = "vec", tag = "3")]
    source: Vec<u8>,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: Annotations,
    #[prost(int32, tag = "5")]
    source_type: i32,
}

/// The seed that values are written with.
struct Seed {
    secret: [u8; SEED],
    /// The seed as the plugin encrypted it.
    sealed: EncryptResponse,
}

/// A plugin.
pub struct Kms {
    name: String,
    prefix: String,
    timeout: Duration,
    channel: Channel,
    current: Mutex<Option<Arc<Seed>>>,
    /// Seeds in the clear, by a hash of them as stored.
    seeds: Mutex<HashMap<[u8; 32], Vec<u8>>>,
    verdict: Mutex<Result<(), String>>,
}

impl Kms {
    /// A plugin at a socket; it is asked when it is needed.
    pub fn new(name: &str, socket: &str, timeout: Duration) -> Self {
        let path = socket.to_owned();
        let connect = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { dial(&path).await.map(TokioIo::new) }
        });
        Self {
            name: name.to_owned(),
            prefix: format!("k8s:enc:kms:v2:{name}:"),
            timeout,
            channel: Endpoint::from_static("http://kms.local").connect_with_connector_lazy(connect),
            current: Mutex::default(),
            seeds: Mutex::default(),
            verdict: Mutex::new(Err(format!("{name}: not asked yet"))),
        }
    }

    /// What its envelopes begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// What names the plugin's key that values are written with; none while that is not known.
    pub fn label(&self) -> Option<Arc<str>> {
        self.current.lock().as_ref().map(|seed| self.label_of(&seed.sealed.key_id))
    }

    /// How it was when it was last looked at.
    pub fn verdict(&self) -> Result<(), String> {
        self.verdict.lock().clone()
    }

    fn label_of(&self, key_id: &str) -> Arc<str> {
        format!("{}{key_id}", self.prefix).into()
    }

    /// Asks how it is; if its key is another one, a new seed is made.
    ///
    /// # Errors
    /// It cannot be reached, or is not well.
    pub async fn look(&self) -> Result<(), String> {
        let found = self.ask().await.map_err(|error| format!("kms-providers {}: {error}", self.name));
        *self.verdict.lock() = found.clone();
        found
    }

    async fn ask(&self) -> Result<(), String> {
        let status: StatusResponse = self.call("/v2.KeyManagementService/Status", StatusRequest {}).await?;
        if status.healthz != "ok" {
            return Err(format!("got unexpected healthz status: {}", status.healthz));
        }
        if !matches!(status.version.as_str(), "v2" | "v2beta1") {
            return Err(format!("got unexpected version {:?}", status.version));
        }
        let known = self.current.lock().as_ref().map(|seed| seed.sealed.key_id.clone());
        if known.as_ref() != Some(&status.key_id) {
            self.renew().await?;
        }
        Ok(())
    }

    /// Makes a new seed.
    async fn renew(&self) -> Result<Arc<Seed>, String> {
        let secret: [u8; SEED] = rand::random();
        let request = EncryptRequest { plaintext: secret.to_vec(), uid: uid() };
        let sealed: EncryptResponse = self.call("/v2.KeyManagementService/Encrypt", request).await?;
        if sealed.ciphertext.is_empty() || sealed.key_id.is_empty() {
            return Err("failed to validate encrypt response: no ciphertext or no key ID".to_owned());
        }
        let seed = Arc::new(Seed { secret, sealed });
        *self.current.lock() = Some(seed.clone());
        Ok(seed)
    }

    /// The envelope of a text, and what names the key it was made with.
    ///
    /// # Errors
    /// There is no seed yet, and the plugin cannot be reached.
    pub async fn seal(&self, text: &Bytes, bound: &[u8]) -> Result<(Bytes, Arc<str>), String> {
        let known = self.current.lock().clone();
        let seed = match known {
            Some(seed) => seed,
            None => self.renew().await.map_err(|error| format!("failed to encrypt DEK, error: {error}"))?,
        };
        let info: [u8; SEED] = rand::random();
        let data = derived(&seed.secret, &info).and_then(|key| gcm_seal(&key, text, bound));
        let data = data.ok_or("failed to encrypt the value")?;
        let object = EncryptedObject {
            data: [&info[..], &data].concat(),
            key_id: seed.sealed.key_id.clone(),
            source: seed.sealed.ciphertext.clone(),
            annotations: seed.sealed.annotations.clone(),
            source_type: SEED_SOURCE,
        };
        let label = self.label_of(&seed.sealed.key_id);
        Ok(([self.prefix.as_bytes(), &object.encode_to_vec()].concat().into(), label))
    }

    /// The text of an envelope.
    ///
    /// # Errors
    /// An envelope that was changed or moved, a plugin that cannot be reached or does not know the key any more.
    pub async fn open(&self, stored: &Bytes, bound: &[u8]) -> Result<(Bytes, Arc<str>), String> {
        let object = stored.strip_prefix(self.prefix.as_bytes()).unwrap_or_default();
        let object = EncryptedObject::decode(object)
            .map_err(|error| format!("failed to read the envelope: {error}"))?;
        if object.source_type != SEED_SOURCE {
            return Err(format!("unknown encryptedDEKSourceType: {}", object.source_type));
        }
        let label = self.label_of(&object.key_id);
        let seed =
            self.seed(&object).await.map_err(|error| format!("failed to decrypt DEK, error: {error}"))?;
        let (info, data) =
            object.data.split_at_checked(SEED).ok_or("the stored data was shorter than the required size")?;
        let text = derived(&seed, info).and_then(|key| gcm_open(&key, data, bound));
        Ok((text.ok_or("cipher: message authentication failed")?.into(), label))
    }

    async fn seed(&self, object: &EncryptedObject) -> Result<Vec<u8>, String> {
        let EncryptedObject { key_id, source, annotations, .. } = object;
        let request = DecryptRequest {
            ciphertext: source.clone(),
            uid: String::new(),
            key_id: key_id.clone(),
            annotations: annotations.clone(),
        };
        let hash: [u8; 32] = Sha256::digest(request.encode_to_vec()).into();
        if let Some(seed) = self.seeds.lock().get(&hash) {
            return Ok(seed.clone());
        }
        let request = DecryptRequest { uid: uid(), ..request };
        let answer: DecryptResponse = self.call("/v2.KeyManagementService/Decrypt", request).await?;
        let mut seeds = self.seeds.lock();
        if seeds.len() >= SEEDS {
            seeds.clear();
        }
        seeds.insert(hash, answer.plaintext.clone());
        Ok(answer.plaintext)
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, String>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        let work = async {
            grpc.ready().await.map_err(|error| format!("rpc error: code = Unavailable desc = {error}"))?;
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            let answer =
                grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await;
            answer.map(tonic::Response::into_inner).map_err(|status| {
                format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
            })
        };
        let answer = tokio::time::timeout(self.timeout, work).await;
        answer
            .map_err(|_| "rpc error: code = DeadlineExceeded desc = context deadline exceeded".to_owned())?
    }
}

/// Connects to a path, or to an abstract name after `@`.
async fn dial(path: &str) -> io::Result<UnixStream> {
    use std::os::linux::net::SocketAddrExt;
    let Some(name) = path.strip_prefix('@') else { return UnixStream::connect(path).await };
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
    let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn uid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// The key of one value.
fn derived(seed: &[u8], info: &[u8]) -> Option<[u8; SEED]> {
    let mut key = [0; SEED];
    let seed = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, seed);
    seed.expand(&[info], hkdf::HKDF_SHA256).ok()?.fill(&mut key).ok()?;
    Some(key)
}
