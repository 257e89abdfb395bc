//! Kubeconfig files that name a server to be called and what to show to it (audit webhooks and the like).
use super::{Endpoint, Trust};
use crate::config_file::ConfigError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use knarr_api::{Value, yaml};
use knarr_reload::Reloaded;
use knarr_reload::identity::{Shown, from_pem};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An `Authorization` header, which changes with the file that holds its token.
pub type Authorization = Reloaded<HeaderValue>;

/// A server and this one's credentials there.
pub struct Remote {
    /// Where it is, and who vouches for it.
    pub endpoint: Endpoint,
    /// The client certificate to show.
    pub identity: Option<Arc<Shown>>,
    /// The `Authorization` header to send.
    pub authorization: Option<Authorization>,
}

impl Remote {
    /// Reads the server of a kubeconfig's current context.
    ///
    /// # Errors
    /// A file that is no kubeconfig, a context that is not there, credentials that cannot be read or used.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let config = document(path)?;
        let read = || of_config(&config, path.parent().unwrap_or(Path::new("")));
        read().map_err(|text| ConfigError::invalid(path, text))
    }
}

/// What a user of a kubeconfig shows.
pub struct User {
    /// The client certificate.
    pub identity: Option<Arc<Shown>>,
    /// The `Authorization` header.
    pub authorization: Option<Authorization>,
}

/// All users of a kubeconfig, by name.
///
/// # Errors
/// A file that is no kubeconfig, credentials that cannot be read or used.
pub fn users(path: &Path) -> Result<Vec<(String, User)>, ConfigError> {
    let config = document(path)?;
    let base = path.parent().unwrap_or(Path::new(""));
    let entries = config["users"].as_array().map(Vec::as_slice).unwrap_or_default();
    let read = |entry: &Value| {
        let name = entry["name"].as_str().unwrap_or_default();
        let user = credentials(&entry["user"], base);
        user.map(|user| (name.to_owned(), user))
            .map_err(|text| ConfigError::invalid(path, format!("{name}: {text}")))
    };
    entries.iter().map(read).collect()
}

fn document(path: &Path) -> Result<Value, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Read { path: path.display().to_string(), error })?;
    yaml::parse(&text, &mut Vec::new()).map_err(|error| ConfigError::invalid(path, error.to_string()))
}

/// What a user shows; what this server could not do for them is an error.
fn credentials(user: &Value, base: &Path) -> Result<User, String> {
    for unsupported in ["exec", "auth-provider", "as", "as-uid", "as-groups", "as-user-extra"] {
        if !user[unsupported].is_null() {
            return Err(format!("users with {unsupported:?} are not supported here"));
        }
    }
    Ok(User { identity: identity(user, base)?, authorization: authorization(user, base)? })
}

fn of_config(config: &Value, base: &Path) -> Result<Remote, String> {
    let current = config["current-context"].as_str().unwrap_or_default();
    let context = named(config, "contexts", "context", current)?;
    let name = |field: &str| context[field].as_str().unwrap_or_default();
    let cluster = named(config, "clusters", "cluster", name("cluster"))?;
    let none = Value::Null;
    let user = match name("user") {
        "" => &none,
        user => named(config, "users", "user", user)?,
    };
    if cluster["proxy-url"].as_str().is_some_and(|url| !url.is_empty()) {
        return Err("clusters with a \"proxy-url\" are not supported here".to_owned());
    }
    let User { identity, authorization } = credentials(user, base)?;
    let mut trust = match data(cluster, "certificate-authority", base)? {
        Some(pem) => Trust::bundle(&STANDARD.encode(pem))?,
        None => Trust::default(),
    };
    trust.insecure = cluster["insecure-skip-tls-verify"].as_bool().unwrap_or_default();
    trust.identified = identity.is_some();
    let server = cluster["server"].as_str().unwrap_or_default();
    let mut endpoint = Endpoint::of_url(server, trust)?;
    if let Some(name) = cluster["tls-server-name"].as_str() {
        name.clone_into(&mut endpoint.server_name);
    }
    Ok(Remote { endpoint, identity, authorization })
}

/// The entry of a list of named entries.
fn named<'a>(config: &'a Value, list: &str, member: &str, name: &str) -> Result<&'a Value, String> {
    let entries = config[list].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = entries.iter().find(|entry| entry["name"].as_str() == Some(name));
    found.map(|entry| &entry[member]).ok_or_else(|| format!("{member} {name:?} does not exist in {list}"))
}

/// What `‹field›-data` holds, else the file that `‹field›` names.
fn data(entry: &Value, field: &str, base: &Path) -> Result<Option<Vec<u8>>, String> {
    if let Some(text) = entry[format!("{field}-data")].as_str() {
        return STANDARD.decode(text).map(Some).map_err(|error| format!("{field}-data: {error}"));
    }
    match entry[field].as_str() {
        Some(path) => read(base.join(path)).map(Some),
        None => Ok(None),
    }
}

fn read(path: PathBuf) -> Result<Vec<u8>, String> {
    std::fs::read(&path).map_err(|error| format!("unable to read {}: {error}", path.display()))
}

/// The client certificate; where files hold it, they may be replaced.
fn identity(user: &Value, base: &Path) -> Result<Option<Arc<Shown>>, String> {
    let (field, other) = ("client-certificate", "client-key");
    let files: Vec<PathBuf> = [field, other]
        .into_iter()
        .filter(|field| user[format!("{field}-data")].is_null())
        .filter_map(|field| user[field].as_str().map(|path| base.join(path)))
        .collect();
    let (user, base) = (user.clone(), base.to_owned());
    if data(&user, field, &base)?.is_none() || data(&user, other, &base)?.is_none() {
        return Ok(None);
    }
    let load = move || {
        let part = |field: &str| data(&user, field, &base).map_err(anyhow::Error::msg);
        from_pem(&part(field)?.unwrap_or_default(), &part(other)?.unwrap_or_default())
    };
    let shown = Shown::followed(files, load).map_err(|error| format!("{error:#}"))?;
    Ok(Some(Arc::new(shown)))
}

fn authorization(user: &Value, base: &Path) -> Result<Option<Authorization>, String> {
    let text = |field: &str| user[field].as_str().filter(|text| !text.is_empty());
    if let Some(path) = text("tokenFile").map(|path| base.join(path)) {
        let load = {
            let path = path.clone();
            move || header(format!("Bearer {}", String::from_utf8_lossy(&read(path.clone())?).trim()))
        };
        match (Authorization::new(vec![path], load), text("token")) {
            // What the file says goes before the token, which is for want of it.
            (Err(_), Some(_)) => {}
            (followed, _) => return followed.map(Some),
        }
    }
    let value = match (text("token"), text("username")) {
        (Some(token), _) => format!("Bearer {token}"),
        (None, Some(name)) => {
            let pair = format!("{name}:{}", text("password").unwrap_or_default());
            format!("Basic {}", STANDARD.encode(pair))
        }
        (None, None) => return Ok(None),
    };
    header(value).map(|value| Some(Authorization::fixed(value)))
}

fn header(value: String) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(value).map_err(|error| format!("credentials: {error}"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn configurations() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), "secret\n").unwrap();
        let config = |cluster: Value, user: Value| {
            json!({
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": cluster}],
                "users": [{"name": "u", "user": user}],
            })
        };
        let check = |cluster: Value, user: Value, expected: Result<&str, &str>| {
            let config = config(cluster, user);
            match (of_config(&config, directory.path()), expected) {
                (Ok(remote), Ok(header)) => {
                    let found = remote.authorization.map(|header| header.get());
                    let found = found.as_ref().map_or("", |value| value.to_str().unwrap());
                    assert_eq!(found, header, "{config}");
                }
                (Err(text), Err(part)) => assert!(text.contains(part), "{config}: {text}"),
                (found, _) => panic!("{config}: {:?}", found.err()),
            }
        };
        let server = json!({"server": "https://audit.example:8443/events", "tls-server-name": "other"});
        check(server.clone(), json!({"token": "t"}), Ok("Bearer t"));
        check(server.clone(), json!({"tokenFile": "token"}), Ok("Bearer secret"));
        check(server.clone(), json!({"token": "t", "tokenFile": "token"}), Ok("Bearer secret"));
        check(server.clone(), json!({"token": "t", "tokenFile": "nowhere"}), Ok("Bearer t"));
        check(server.clone(), json!({"username": "a", "password": "b"}), Ok("Basic YTpi"));
        check(server.clone(), json!({}), Ok(""));
        check(server.clone(), json!({"exec": {"command": "x"}}), Err("not supported"));
        check(
            server.clone(),
            json!({"as": "other", "token": "t"}),
            Err("users with \"as\" are not supported"),
        );
        let proxied = json!({"server": "https://a", "proxy-url": "http://proxy"});
        check(proxied, json!({}), Err("clusters with a \"proxy-url\" are not supported"));
        check(server.clone(), json!({"tokenFile": "nowhere"}), Err("unable to read"));
        check(json!({"server": "http://plain"}), json!({}), Err("Unparsable URL"));
        let remote = of_config(&config(server, json!({})), directory.path()).unwrap();
        assert_eq!(
            (&*remote.endpoint.authority, &*remote.endpoint.path, &*remote.endpoint.server_name),
            ("audit.example:8443", "/events", "other")
        );
        let missing = of_config(&json!({"current-context": "x"}), Path::new("")).err();
        assert_eq!(missing.as_deref(), Some("context \"x\" does not exist in contexts"));
    }
}
