//! Algorithms that sign tokens of issuers (RFC 7518, section 3.1), and public keys that verify them.
//!
//! Those that need a shared secret and `none` do not exist here, so that a public key can never be taken for one. ES512
//! is verified here, as the library for tokens does not know its curve.
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk};
use jsonwebtoken::{Algorithm as Known, DecodingKey, Validation};
use knarr_api::Value;
use p521::ecdsa::signature::Verifier;
use p521::ecdsa::{Signature, VerifyingKey};

/// Bytes of a coordinate on P-521 (RFC 7518, section 6.2.1.2).
const P521_BYTES: usize = 66;

/// An algorithm that may sign, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RFC 7518's")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    ES256,
    ES384,
    ES512,
    PS256,
    PS384,
    PS512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
    ];

    /// The algorithm of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| format!("{known:?}") == name)
    }

    fn known(self) -> Option<Known> {
        Some(match self {
            Self::RS256 => Known::RS256,
            Self::RS384 => Known::RS384,
            Self::RS512 => Known::RS512,
            Self::ES256 => Known::ES256,
            Self::ES384 => Known::ES384,
            Self::ES512 => return None,
            Self::PS256 => Known::PS256,
            Self::PS384 => Known::PS384,
            Self::PS512 => Known::PS512,
        })
    }
}

/// What a token's header says about its signature.
#[derive(Debug)]
pub struct Header {
    /// Signed so.
    pub algorithm: Algorithm,
    /// By the key of this name.
    pub key: Option<String>,
}

impl Header {
    /// The header of a token, which may be anything.
    ///
    /// # Errors
    /// It is none, or names an algorithm that is not known.
    pub fn of(token: &str) -> Result<Self, String> {
        let header = token.split('.').next().and_then(decoded).ok_or("malformed jwt")?;
        let name = header["alg"].as_str().unwrap_or_default();
        let algorithm =
            Algorithm::named(name).ok_or_else(|| format!("unexpected signature algorithm {name:?}"))?;
        Ok(Self { algorithm, key: header["kid"].as_str().map(str::to_owned) })
    }
}

/// A key that verifies.
#[derive(Clone)]
pub enum PublicKey {
    /// One that the library knows.
    Known(DecodingKey),
    /// One on the curve P-521.
    P521(Box<VerifyingKey>),
}

impl PublicKey {
    /// The key that a JSON Web Key is; none where it is a shared secret or cannot verify.
    pub fn of(jwk: &Jwk) -> Option<Self> {
        match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P521 => {
                p521(point).map(Box::new).map(Self::P521)
            }
            AlgorithmParameters::RSA(_) | AlgorithmParameters::EllipticCurve(_) => {
                DecodingKey::from_jwk(jwk).ok().map(Self::Known)
            }
            _ => None,
        }
    }

    /// Can it verify what is signed so?
    pub fn suits(&self, algorithm: Algorithm) -> bool {
        match (self, algorithm.known()) {
            (Self::Known(key), Some(known)) => key.family().algorithms().contains(&known),
            (Self::P521(_), None) => true,
            _ => false,
        }
    }

    /// The claims of a token, if this key has signed it so.
    pub fn verify(&self, token: &str, algorithm: Algorithm) -> Option<Value> {
        match (self, algorithm.known()) {
            (Self::Known(key), Some(known)) => {
                let mut validation = Validation::new(known);
                validation.validate_exp = false;
                validation.validate_aud = false;
                validation.required_spec_claims.clear();
                jsonwebtoken::decode(token, key, &validation).ok().map(|data| data.claims)
            }
            (Self::P521(key), None) => {
                let (signed, signature) = token.rsplit_once('.')?;
                let (_, claims) = signed.split_once('.')?;
                let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).ok()?;
                let signature = Signature::from_slice(&signature).ok()?;
                key.verify(signed.as_bytes(), &signature).ok()?;
                decoded(claims)
            }
            _ => None,
        }
    }
}

fn p521(point: &EllipticCurveKeyParameters) -> Option<VerifyingKey> {
    // SEC 1, section 2.3.3: a point that is not compressed.
    let mut encoded = vec![4];
    for coordinate in [&point.x, &point.y] {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(coordinate).ok()?;
        encoded.extend((bytes.len() == P521_BYTES).then_some(bytes)?);
    }
    VerifyingKey::from_sec1_bytes(&encoded).ok()
}

/// The JSON in a part of a token.
fn decoded(part: &str) -> Option<Value> {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Signed by Python's `cryptography`.
    const TOKEN: [&str; 3] = [
        "eyJhbGciOiJFUzUxMiIsImtpZCI6ImZpdmUiLCJ0eXAiOiJKV1QifQ",
        "eyJpc3MiOiJodHRwczovL2lzc3VlciIsInN1YiI6ImFubiJ9",
        "AIFLkKVRpsiGqixMdzPznzpsG7PWd6SA1ZsUqik4GeIBfzVCvl-IIEVdQbUBwWtwbwth49Pb42LRoIWOHp9XL1GBAJEgaSAgLUYncknCUmIZTFMNYj8Tbe8y0ql939KN57oQCASNptQ8ziMEuDTV5moVzf5YwkR2W4itjLCPrmdPMk6W",
    ];

    fn key() -> PublicKey {
        let jwk = json!({"kty": "EC", "crv": "P-521", "kid": "five", "alg": "ES512",
            "x": "AbL_ROP21X3ZIgOlbz4wG61QSjTKIowMogBM35tGdo4NLdQzgNyK08chMIWi1Fzlnso7hYl9aLBmToQwXmi82FO0",
            "y": "AKIDcwZqH8xD4SLNmJqZYY17uG5MnY8WDsybpsHjlEGelsuNSk2eiStHOMwKPGfv0uzA4oCRFG5-8ojayGydpAyy"});
        PublicKey::of(&serde_json::from_value(jwk).unwrap()).unwrap()
    }

    #[test]
    fn es512() {
        let token = TOKEN.join(".");
        let Header { algorithm, key: id } = Header::of(&token).unwrap();
        assert_eq!((algorithm, id.as_deref()), (Algorithm::ES512, Some("five")));
        let claims = json!({"iss": "https://issuer", "sub": "ann"});
        assert_eq!(key().verify(&token, algorithm), Some(claims));
        assert!(key().suits(Algorithm::ES512) && !key().suits(Algorithm::ES256));
        assert_eq!(key().verify(&token, Algorithm::ES256), None);
        let [header, claims, signature] = TOKEN;
        let other = BASE64_URL_SAFE_NO_PAD.encode(r#"{"sub":"admin"}"#);
        for refused in [
            format!("{header}.{other}.{signature}"),
            format!("{header}.{claims}."),
            format!("{header}.{claims}.{}", &signature[..signature.len() - 4]),
            format!("{header}.{claims}.{}", "A".repeat(176)),
        ] {
            assert_eq!(key().verify(&refused, Algorithm::ES512), None, "{refused}");
        }
    }

    #[test]
    fn names() {
        for (name, expected) in
            [("ES512", true), ("HS256", false), ("none", false), ("es512", false), ("", false)]
        {
            assert_eq!(Algorithm::named(name).is_some(), expected, "{name}");
        }
        for malformed in ["", "..", "a.b.c", "e30.e30.", "bnVsbA.e30."] {
            assert!(Header::of(malformed).is_err(), "{malformed}");
        }
    }
}
