//! How a host that knows no more than a token finds out whom to trust, as kubeadm does: the document `cluster-info` is
//! read without trusting anybody; the token's holder signed it (so whoever serves it knows the token), and the key of the
//! authority in it is one that was told beforehand.
use crate::add_ons::join::{CLUSTER_INFO, NODE_CONFIG, NODE_CONFIG_KEY, NodeConfig};
use crate::commands::token::Token;
use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::{ConfigMap, Node};
use kube::api::Api;
use kube::{Client, Config};
use ring::hmac;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;
use x509_parser::pem::Pem;

/// How long one answer of the API server may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// `sha256:` and the hash of a certificate's public key (its SubjectPublicKeyInfo) in hexadecimal digits.
pub fn key_hash(pem: &[u8]) -> Result<String> {
    let pem = Pem::iter_from_buffer(pem).next().context("no certificate")?.context("not PEM")?;
    let certificate = pem.parse_x509().context("no certificate")?;
    let digest = Sha256::digest(certificate.public_key().raw);
    Ok(format!("sha256:{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>()))
}

/// The authority of the cluster at `server`, in PEM. Without hashes any authority is believed that the token vouches for.
pub async fn authority(server: &str, token: &Token, hashes: Option<&[String]>) -> Result<Vec<u8>> {
    let mut config = Config::new(server.parse().context("the URL of the API server")?);
    config.accept_invalid_certs = true;
    let client = connect(config)?;
    let api: Api<ConfigMap> = Api::namespaced(client, "kube-public");
    let document = tokio::time::timeout(TIMEOUT, api.get(CLUSTER_INFO)).await;
    let document =
        document.with_context(|| format!("{server} does not answer"))?.map_err(said).with_context(|| {
            format!("cannot read {CLUSTER_INFO} of {server}; `knarr token create` there makes it")
        })?;
    trusted(&document.data.unwrap_or_default(), token, hashes)
}

/// The authority in the document, if token and hashes vouch for it.
fn trusted(document: &BTreeMap<String, String>, token: &Token, hashes: Option<&[String]>) -> Result<Vec<u8>> {
    let text = document.get("kubeconfig").context("cluster-info holds no kubeconfig")?;
    let Some(signature) = document.get(&format!("jws-kubeconfig-{}", token.id)) else {
        bail!("the cluster does not know a token with the id {}, or it has expired", token.id);
    };
    if !is_signed(text, signature, token) {
        bail!("cluster-info is not signed with this token: the token is wrong, or this is another server");
    }
    let config: serde_json::Value = serde_yaml_ng::from_str(text).context("cluster-info")?;
    let ca = config["clusters"][0]["cluster"]["certificate-authority-data"].as_str();
    let ca = STANDARD.decode(ca.context("cluster-info names no authority")?).context("cluster-info")?;
    let hash = key_hash(&ca)?;
    match hashes {
        Some(hashes) if !hashes.iter().any(|known| known.eq_ignore_ascii_case(&hash)) => {
            bail!(
                "the cluster's authority has the key {hash}, which is none that --discovery-token-ca-cert-hash names"
            )
        }
        _ => Ok(ca),
    }
}

/// Whether a signature without its content (RFC 7515, appendix F) is one of the text by the token.
fn is_signed(text: &str, signature: &str, token: &Token) -> bool {
    let Some((header, signature)) = signature.split_once("..") else { return false };
    let parse =
        |text: &str| serde_json::from_slice::<serde_json::Value>(&URL_SAFE_NO_PAD.decode(text).ok()?).ok();
    let fits = |header: serde_json::Value| header["alg"] == "HS256" && header["kid"] == token.id.as_str();
    let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
    let key = hmac::Key::new(hmac::HMAC_SHA256, token.to_string().as_bytes());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(text));
    parse(header).is_some_and(fits) && hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
}

/// The kubeconfig by which a token's holder works, in YAML.
pub fn kubeconfig(server: &str, ca: &[u8], token: &Token) -> Result<String> {
    let name = "bootstrap";
    Ok(serde_yaml_ng::to_string(&serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": STANDARD.encode(ca)}}],
        "users": [{"name": name, "user": {"token": token.to_string()}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }))?)
}

/// What the cluster's nodes agree on. Also refuses the name of a node that is there and ready.
pub async fn node_config(client: &Client, node: &str) -> Result<NodeConfig> {
    let system: Api<ConfigMap> = Api::namespaced(client.clone(), "kube-system");
    let found = tokio::time::timeout(TIMEOUT, system.get(NODE_CONFIG))
        .await
        .context("the API server does not answer")?;
    let data = found
        .map_err(said)
        .context("cannot read what the cluster's nodes agree on")?
        .data
        .unwrap_or_default();
    let text = data.get(NODE_CONFIG_KEY).with_context(|| format!("{NODE_CONFIG} is empty"))?;
    let config = serde_json::from_str(text)
        .with_context(|| format!("{NODE_CONFIG} is of another version of knarr"))?;
    let nodes: Api<Node> = Api::all(client.clone());
    let existing =
        nodes.get_opt(node).await.map_err(said).context("cannot look for a node of the same name")?;
    let conditions = existing.and_then(|node| node.status?.conditions).unwrap_or_default();
    if conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
        bail!("the cluster has a node {node:?}, which is Ready: delete it, or choose another --node-name");
    }
    Ok(config)
}

/// What the API server said, without the whole of its Status.
fn said(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow::anyhow!("{}", status.message),
        other => other.into(),
    }
}

fn connect(config: Config) -> Result<Client> {
    Ok(knarr_component::client::from_config(config, None, "cli")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(token: &Token, ca: &str) -> BTreeMap<String, String> {
        let text = format!(
            "clusters: [{{name: '', cluster: {{certificate-authority-data: {}}}}}]",
            STANDARD.encode(ca)
        );
        let header = URL_SAFE_NO_PAD.encode(serde_json::json!({"alg": "HS256", "kid": token.id}).to_string());
        let key = hmac::Key::new(hmac::HMAC_SHA256, token.to_string().as_bytes());
        let signature = hmac::sign(&key, format!("{header}.{}", URL_SAFE_NO_PAD.encode(&text)).as_bytes());
        let signature = format!("{header}..{}", URL_SAFE_NO_PAD.encode(signature));
        BTreeMap::from([("kubeconfig".to_owned(), text), (format!("jws-kubeconfig-{}", token.id), signature)])
    }

    #[test]
    fn only_an_authority_that_token_and_hash_vouch_for_is_believed() {
        let ca = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]).unwrap().cert.pem();
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        let good = document(&token, &ca);
        let hash = vec![key_hash(ca.as_bytes()).unwrap()];
        let check = |document: &BTreeMap<String, String>,
                     token: &str,
                     hashes: Option<&[String]>,
                     expected: Result<(), &str>| {
            let found =
                trusted(document, &token.parse().unwrap(), hashes).map(drop).map_err(|e| e.to_string());
            match (&found, expected) {
                (Ok(()), Ok(())) => {}
                (Err(found), Err(expected)) if found.contains(expected) => {}
                _ => panic!("{token} {hashes:?}: {found:?}, expected {expected:?}"),
            }
        };
        check(&good, "abcdef.0123456789abcdef", Some(&hash), Ok(()));
        check(&good, "abcdef.0123456789abcdef", None, Ok(()));
        check(&good, "abcdef.0123456789abcdee", Some(&hash), Err("not signed with this token"));
        check(&good, "bbcdef.0123456789abcdef", Some(&hash), Err("does not know a token"));
        check(&good, "abcdef.0123456789abcdef", Some(&["sha256:00".to_owned()]), Err("has the key sha256:"));
        let mut changed = good;
        changed.insert("kubeconfig".to_owned(), "clusters: []".to_owned());
        check(&changed, "abcdef.0123456789abcdef", None, Err("not signed with this token"));
    }
}
