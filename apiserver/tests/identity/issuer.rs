//! An issuer of tokens of the test's own: a TLS server with a discovery document and keys, and what signs with them.
use crate::harness::{Client, Server};
use crate::remote::Remote;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use knarr_api::Value;
use serde_json::json;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// A key that signs.
pub struct SigningKey {
    pub id: &'static str,
    pub algorithm: Algorithm,
    key: EncodingKey,
    pem: String,
}

impl SigningKey {
    /// An RSA key; all of them are the same one.
    pub fn rsa(id: &'static str) -> Self {
        let pem = include_str!("issuer-rsa.pem").to_owned();
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self { id, algorithm: Algorithm::RS256, key, pem }
    }

    /// A new EC key.
    pub fn ec(id: &'static str) -> Self {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = pair.serialize_pem();
        let key = EncodingKey::from_ec_pem(pem.as_bytes()).unwrap();
        Self { id, algorithm: Algorithm::ES256, key, pem }
    }

    pub fn pem(&self) -> &str {
        &self.pem
    }

    pub fn public(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id = Some(self.id.to_owned());
        json!(jwk)
    }

    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(self.algorithm, Some(self.id), claims)
    }

    pub fn sign_as(&self, algorithm: Algorithm, id: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(algorithm);
        header.kid = id.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

/// The server of an issuer.
pub struct TestIssuer {
    pub remote: Remote,
    pub url: String,
    keys: Arc<Mutex<Vec<Value>>>,
}

impl TestIssuer {
    pub async fn start(keys: &[&SigningKey]) -> Self {
        let keys = Arc::new(Mutex::new(keys.iter().map(|key| key.public()).collect::<Vec<_>>()));
        let (served, port) = (keys.clone(), Arc::new(OnceLock::new()));
        let own = port.clone();
        let remote = Remote::start(move |asked| match asked.uri.as_str() {
            "/.well-known/openid-configuration" => {
                let url = format!("https://127.0.0.1:{}", own.get().unwrap());
                json!({"issuer": url, "jwks_uri": format!("{url}/keys?of=all")})
            }
            "/keys?of=all" => json!({"keys": *served.lock().unwrap()}),
            other => panic!("asked for {other}"),
        })
        .await;
        port.set(remote.port).unwrap();
        Self { url: format!("https://127.0.0.1:{}", remote.port), remote, keys }
    }

    pub fn set_keys(&self, keys: &[&SigningKey]) {
        *self.keys.lock().unwrap() = keys.iter().map(|key| key.public()).collect();
    }

    /// `issuer` of a configuration.
    pub fn settings(&self, audiences: &[&str]) -> Value {
        let mut settings = json!({"url": self.url, "audiences": audiences,
            "certificateAuthority": self.remote.authority.pem});
        if audiences.len() > 1 {
            settings["audienceMatchPolicy"] = json!("MatchAny");
        }
        settings
    }

    /// Claims of a good token, with changes.
    pub fn claims(&self, audience: &str, more: Value) -> Value {
        let now = seconds();
        let mut claims =
            json!({"iss": self.url, "aud": audience, "sub": "ann", "iat": now, "exp": now + 600});
        knarr_api::patch::merge::apply(&mut claims, more);
        claims
    }
}

pub fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token without a signature, of any header.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(header), part(claims))
}

/// An AuthenticationConfiguration.
pub fn configuration(more: Value) -> String {
    let mut file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"});
    knarr_api::patch::merge::apply(&mut file, more);
    file.to_string()
}

/// Who the server takes a token's bearer for: the code and `userInfo`.
pub async fn who(server: &Server, token: &str) -> (u16, Value) {
    let mut client = server.anonymous();
    client.token = Some(token.to_owned());
    who_is(&client).await
}

/// Who the server takes a client for.
pub async fn who_is(client: &Client) -> (u16, Value) {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let (code, review) = client.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await;
    (code, review["status"]["userInfo"].clone())
}

/// What a TokenReview says.
pub async fn review(client: &Client, token: &str, audiences: &[&str]) -> Value {
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": token, "audiences": audiences}});
    let (code, review) = client.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await;
    assert_eq!(code, 201, "{review}");
    review["status"].clone()
}
