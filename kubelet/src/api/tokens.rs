//! Tokens of service accounts, bound to their pods and renewed in time.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;

use crate::container::ConfigError;
use crate::pod;
use crate::volumes::Token;

/// A token is renewed at the latest after this time, however long it is valid.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(24);

/// The tokens in use.
pub struct Tokens {
    client: Client,
    held: Mutex<HashMap<Wanted, Held>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Wanted {
    uid: String,
    audience: String,
    seconds: i64,
}

#[derive(Clone, Debug)]
struct Held {
    token: Token,
    renew: Timestamp,
}

impl Tokens {
    /// None yet.
    pub fn new(client: Client) -> Self {
        Self { client, held: Mutex::default() }
    }

    /// A token for the pod: the one in use while it is young, else a new one.
    pub async fn get(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<Token, ConfigError> {
        let wanted = Wanted { uid: pod::uid(pod).to_owned(), audience: audience.to_owned(), seconds };
        let now = Timestamp::now();
        let held = self.held.lock().get(&wanted).cloned();
        if let Some(held) = held.as_ref().filter(|held| now < held.renew) {
            return Ok(held.token.clone());
        }
        match self.request(pod, audience, seconds).await {
            Ok(fresh) => {
                let token = fresh.token.clone();
                let mut all = self.held.lock();
                all.retain(|_, held| now < held.token.expires);
                all.insert(wanted, fresh);
                Ok(token)
            }
            // The old one still serves while the API server does not answer.
            Err(error) => match held.filter(|held| now < held.token.expires) {
                Some(held) => Ok(held.token),
                None => Err(error),
            },
        }
    }

    async fn request(&self, pod: &Pod, audience: &str, seconds: i64) -> Result<Held, ConfigError> {
        let account = pod::spec(pod).service_account_name.as_deref().unwrap_or("default");
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(audience)
                    .filter(|audience| !audience.is_empty())
                    .map(|audience| vec![audience.to_owned()]),
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(pod::name(pod).to_owned()),
                    uid: Some(pod::uid(pod).to_owned()),
                }),
            }),
            ..Default::default()
        };
        let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), pod::namespace(pod));
        let now = Timestamp::now();
        let fail = |error: &dyn std::fmt::Display| {
            ConfigError::Unavailable(format!("failed to fetch token: {error}"))
        };
        let answer = api
            .create_token_request(account, &PostParams::default(), &request)
            .await
            .map_err(|error| fail(&error))?;
        let status = answer.status.ok_or_else(|| fail(&"empty answer"))?;
        let (Some(token), Some(expires)) = (status.token, status.expiration_timestamp) else {
            return Err(fail(&"empty answer"));
        };
        let expires = expires.0;
        Ok(Held { token: Token { token, expires }, renew: renew_at(now, expires) })
    }
}

/// After four fifths of its time, or a day.
fn renew_at(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let age = expires.duration_since(issued);
    let age = SignedDuration::from_millis(i64::try_from(age.as_millis() * 4 / 5).unwrap_or(0)).min(MAX_AGE);
    issued.checked_add(age).unwrap_or(issued)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewal() {
        let check = |seconds: i64, expected: i64| {
            let issued = Timestamp::from_second(1_000_000).expect("time");
            let expires = Timestamp::from_second(1_000_000 + seconds).expect("time");
            assert_eq!(renew_at(issued, expires).as_second() - 1_000_000, expected);
        };
        check(3600, 2880);
        check(600, 480);
        check(31_536_000, 86_400);
    }
}
