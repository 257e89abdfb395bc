//! The client certificate of a kubeconfig file, read again when the file changes: certificates are renewed while their
//! holders run.
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use knarr_reload::identity::{Identity, Shown, from_pem};
use kube::Config;
use kube::config::{AuthInfo, Kubeconfig};
use secrecy::ExposeSecret;
use std::path::{Path, PathBuf};

/// What a client of this configuration shows; none where its user has no certificate. One that cannot be used is left to
/// the client, which says so.
pub fn shown(config: &Config, path: &Path) -> Option<Shown> {
    let has =
        config.auth_info.client_certificate.is_some() || config.auth_info.client_certificate_data.is_some();
    if !has {
        return None;
    }
    let file = path.to_owned();
    let mut paths = vec![path.to_owned()];
    paths.extend(
        [&config.auth_info.client_certificate, &config.auth_info.client_key]
            .into_iter()
            .flatten()
            .map(PathBuf::from),
    );
    Shown::followed(paths, move || identity(&file)).ok()
}

/// The certificate and key of the current context's user.
fn identity(path: &Path) -> Result<Identity> {
    let file = Kubeconfig::read_from(path)?;
    let current = file.current_context.as_deref().unwrap_or_default();
    let context = file.contexts.iter().find(|context| context.name == current);
    let user = context.and_then(|context| context.context.as_ref()?.user.as_deref());
    let user = file.auth_infos.iter().find(|info| Some(&*info.name) == user);
    let user = user.and_then(|info| info.auth_info.as_ref()).context("the current context has no user")?;
    let (certificate, key) = parts(user)?;
    from_pem(&certificate, &key)
}

fn parts(user: &AuthInfo) -> Result<(Vec<u8>, Vec<u8>)> {
    let read = |data: Option<&str>, file: Option<&String>| match (data, file) {
        (Some(data), _) => STANDARD.decode(data).context("not base64"),
        (None, Some(file)) => std::fs::read(file).with_context(|| format!("cannot read {file}")),
        (None, None) => anyhow::bail!("the user has no certificate with a key"),
    };
    let key = user.client_key_data.as_ref().map(|key| key.expose_secret());
    Ok((
        read(user.client_certificate_data.as_deref(), user.client_certificate.as_ref())?,
        read(key, user.client_key.as_ref())?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::config::KubeConfigOptions;
    use rustls::client::ResolvesClientCert;
    use std::time::{Duration, Instant};

    #[tokio::test]
    async fn a_renewed_certificate_is_shown() {
        let directory = std::env::temp_dir().join(format!("knarr-identity-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let path = directory.join("kubeconfig");
        let write = || {
            let made = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap();
            let user = serde_json::json!({"client-certificate-data": STANDARD.encode(made.cert.pem()),
                "client-key-data": STANDARD.encode(made.signing_key.serialize_pem())});
            let config = serde_json::json!({"apiVersion": "v1", "kind": "Config", "current-context": "c",
                "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1"}}],
                "users": [{"name": "other", "user": {}}, {"name": "u", "user": user}],
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]});
            let new = directory.join("new");
            std::fs::write(&new, config.to_string()).unwrap();
            std::fs::rename(new, &path).unwrap();
            made.cert.der().to_vec()
        };
        let first = write();
        let file = Kubeconfig::read_from(&path).unwrap();
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        let shown = shown(&config, &path).unwrap();
        let shows = || ResolvesClientCert::resolve(&shown, &[], &[]).unwrap().cert[0].to_vec();
        assert_eq!(shows(), first);
        let second = write();
        let deadline = Instant::now() + Duration::from_secs(20);
        while shows() != second {
            assert!(Instant::now() < deadline, "the file is looked at once a second");
            tokio::time::sleep(Duration::from_millis(20)).await; // nothing tells that the file was looked at
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
