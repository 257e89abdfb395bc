//! Kubeconfig files that name a webhook: `--authentication-token-webhook-config-file` and the like.
//!
//! The current context counts. Programs that fetch credentials, provider plugins and proxies are refused, since they
//! would be ignored otherwise.
use super::{CallError, Endpoint, Outbound, Post, Trust};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use knarr_api::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The largest answer that is read, in bytes.
const LIMIT: usize = 3 << 20;
/// Pauses before a call is tried again after a failure that may pass, as the original's back-off has them.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(750),
    Duration::from_millis(1125),
    Duration::from_millis(1690),
];
const AGENT: &str = concat!("kube-apiserver/knarr-", env!("CARGO_PKG_VERSION"));

/// How this server proves who it is, beside a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Credential {
    #[default]
    None,
    Header(HeaderValue),
    /// A token in a file, which is read for each call, since it is replaced now and then.
    TokenFile(PathBuf),
}

/// A webhook of a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    endpoint: Endpoint,
    credential: Credential,
}

impl Webhook {
    /// Reads a file; names of files in it are relative to its directory.
    ///
    /// # Errors
    /// A file that cannot be read, or names no server that can be called.
    pub fn load(path: &Path) -> Result<Self, String> {
        let named = |error: String| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| named(error.to_string()))?;
        let config = knarr_api::yaml::parse(&text, &mut Vec::new()).map_err(|e| named(e.to_string()))?;
        Self::of(&config, path.parent().unwrap_or(Path::new("."))).map_err(named)
    }

    fn of(config: &Value, directory: &Path) -> Result<Self, String> {
        let context = config["current-context"].as_str().unwrap_or_default();
        let context = entry(config, "contexts", "context", context)?;
        let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
        let cluster = entry(config, "clusters", "cluster", &text(context, "cluster"))?;
        let user = match text(context, "user") {
            name if name.is_empty() => &Value::Null,
            name => entry(config, "users", "user", &name)?,
        };
        refuse(cluster, &["proxy-url"])?;
        refuse(user, &["exec", "auth-provider", "as", "as-groups", "as-uid", "as-user-extra"])?;
        let data = |value: &Value, field: &str| data(value, field, directory);
        let mut trust = Trust::pem(data(cluster, "certificate-authority")?.unwrap_or_default())?;
        trust.insecure = cluster["insecure-skip-tls-verify"] == true;
        trust.shown = match (data(user, "client-certificate")?, data(user, "client-key")?) {
            (Some(certificate), Some(key)) => {
                crate::certs::from_pem(&certificate, &key).map_err(|error| format!("{error:#}"))?;
                Some(Arc::new((certificate, key)))
            }
            (None, None) => None,
            _ => return Err("client-certificate and client-key belong together".to_owned()),
        };
        let mut endpoint = Endpoint::of_url(&text(cluster, "server"), trust)?;
        let name = text(cluster, "tls-server-name");
        if !name.is_empty() {
            endpoint.server_name = name;
        }
        Ok(Self { endpoint, credential: credential(user, directory)? })
    }

    /// Sends a review and reads the answer; tries again after failures that may pass, within `timeout`.
    ///
    /// # Errors
    /// No answer, no success, or no JSON.
    pub async fn review(
        &self,
        outbound: &Outbound,
        review: &Value,
        timeout: Duration,
    ) -> Result<Value, String> {
        let deadline = tokio::time::Instant::now() + timeout;
        let body = Bytes::from(review.to_string());
        let mut pauses = PAUSES.iter();
        loop {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let post = Post {
                body: body.clone(),
                timeout: left,
                limit: LIMIT,
                agent: AGENT,
                tell_timeout: false,
                authorization: self.authorization()?,
            };
            let failed = match outbound.post(&self.endpoint, post).await {
                Ok(bytes) => return serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
                Err(error) => error,
            };
            match pauses
                .next()
                .filter(|pause| may_pass(&failed) && deadline - **pause > tokio::time::Instant::now())
            {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => return Err(failed.text),
            }
        }
    }

    fn authorization(&self) -> Result<Option<HeaderValue>, String> {
        match &self.credential {
            Credential::None => Ok(None),
            Credential::Header(value) => Ok(Some(value.clone())),
            Credential::TokenFile(path) => {
                let token = std::fs::read_to_string(path);
                let token = token.map_err(|error| format!("failed to read token file {path:?}: {error}"))?;
                bearer(token.trim()).map(Some)
            }
        }
    }
}

/// Servers that are busy or broken for the moment, and connections that broke.
fn may_pass(error: &CallError) -> bool {
    match error.code {
        Some(code) => code == 429 || code >= 500,
        None => error.text.ends_with("connection reset by peer") || error.text.ends_with("EOF"),
    }
}

/// The named entry of one of the lists.
fn entry<'a>(config: &'a Value, list: &str, member: &str, name: &str) -> Result<&'a Value, String> {
    let entries = config[list].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = entries.iter().find(|entry| entry["name"] == name).map(|entry| &entry[member]);
    found.ok_or_else(|| format!("invalid configuration: {member} {name:?} does not exist"))
}

fn refuse(value: &Value, fields: &[&str]) -> Result<(), String> {
    match fields.iter().find(|field| !value[**field].is_null()) {
        Some(field) => Err(format!("{field} is not supported for webhooks")),
        None => Ok(()),
    }
}

/// `‹field›-data` in base64, else the content of the file that `‹field›` names.
fn data(value: &Value, field: &str, directory: &Path) -> Result<Option<Vec<u8>>, String> {
    if let Some(text) = value[format!("{field}-data")].as_str().filter(|text| !text.is_empty()) {
        return STANDARD.decode(text).map(Some).map_err(|error| format!("{field}-data: {error}"));
    }
    let Some(path) = value[field].as_str().filter(|text| !text.is_empty()) else { return Ok(None) };
    std::fs::read(directory.join(path))
        .map(Some)
        .map_err(|error| format!("unable to read {field} {path}: {error}"))
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

fn credential(user: &Value, directory: &Path) -> Result<Credential, String> {
    let text = |field: &str| user[field].as_str().filter(|text| !text.is_empty());
    if let Some(path) = text("tokenFile") {
        return Ok(Credential::TokenFile(directory.join(path)));
    }
    if let Some(token) = text("token") {
        return bearer(token).map(Credential::Header);
    }
    let Some(name) = text("username") else { return Ok(Credential::None) };
    let pair = STANDARD.encode(format!("{name}:{}", text("password").unwrap_or_default()));
    let mut value = HeaderValue::from_str(&format!("Basic {pair}")).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(Credential::Header(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn files() {
        let directory = tempfile::tempdir().unwrap();
        let check = |cluster: Value, user: Value, expected: Result<&str, &str>| {
            let config = json!({"current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": cluster}], "users": [{"name": "u", "user": user}]});
            let found = Webhook::of(&config, directory.path()).map(|webhook| webhook.endpoint.path);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{config}");
        };
        let server = json!({"server": "https://127.0.0.1:1/a/b?c=d"});
        check(server.clone(), json!({}), Ok("/a/b?c=d"));
        check(server.clone(), json!({"token": "t"}), Ok("/a/b?c=d"));
        check(server.clone(), json!({"exec": {}}), Err("exec is not supported for webhooks"));
        check(
            json!({"server": "http://x"}),
            json!({}),
            Err("Unparsable URL: parse \"http://x\": invalid URL"),
        );
        let pair = "client-certificate and client-key belong together";
        check(server, json!({"client-key-data": "eA=="}), Err(pair));
        let missing = "invalid configuration: context \"\" does not exist";
        assert_eq!(Webhook::of(&json!({}), directory.path()).unwrap_err(), missing);
    }
}
