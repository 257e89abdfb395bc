//! From flags to authenticators.
use super::read;
use crate::authn::jwt::Algorithm;
use crate::authn::structured::{self, Active, OidcFlags};
use crate::authn::token_webhook::TokenWebhook;
use crate::authn::{Authenticator, Config, request_header::FrontProxy, token_file, x509};
use crate::flags::{Args, OidcArgs};
use crate::loopback::Late;
use crate::metrics::{Metrics, Reloads};
use crate::objects::Objects;
use crate::outbound::Outbound;
use crate::outbound::review::Webhook;
use crate::tokens::Tokens;
use anyhow::{Context, Result, anyhow};
use knarr_reload::Reloaded;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The authenticators, and the subjects of the authorities of client certificates.
///
/// # Errors
/// Files that cannot be read or used.
pub fn assemble(
    args: &Args,
    objects: &Arc<dyn Objects>,
    tokens: &Arc<Tokens>,
    outbound: &Arc<Outbound>,
    own: &Arc<Late>,
    metrics: &Metrics,
) -> Result<(Arc<Authenticator>, Vec<rustls::DistinguishedName>)> {
    let client_ca = verifier(args.client_ca_file.as_deref())?;
    let proxy_ca = verifier(args.requestheader_client_ca_file.as_deref())?;
    let hints = [&client_ca, &proxy_ca]
        .into_iter()
        .flatten()
        .flat_map(|verifier| verifier.get().subjects())
        .collect();
    let proxy = proxy_ca.map(|verifier| FrontProxy {
        verifier,
        allowed_names: args.requestheader_allowed_names.clone(),
        username_headers: args.requestheader_username_headers.clone(),
        uid_headers: args.requestheader_uid_headers.clone(),
        group_headers: args.requestheader_group_headers.clone(),
        extra_prefixes: args.requestheader_extra_headers_prefix.clone(),
    });
    let token_file = match &args.token_auth_file {
        Some(path) => token_file::parse(&String::from_utf8_lossy(&read(path)?))
            .map_err(|e| anyhow!("{}: {e}", path.display()))?,
        None => Default::default(),
    };
    let config = Config {
        client_ca,
        proxy,
        token_file,
        tokens: tokens.clone(),
        own: own.clone(),
        objects: objects.clone(),
        bootstrap_tokens: args.enable_bootstrap_token_auth,
        structured: structured(args, outbound, &metrics.reloads.authentication)?,
        webhook: token_webhook(args, objects)?,
        anonymous: args.anonymous_auth.unwrap_or(true),
        expirations: metrics.access.expirations.clone(),
        counts: metrics.access.tokens.clone(),
    };
    Ok((Arc::new(Authenticator::new(config)), hints))
}

fn verifier(path: Option<&Path>) -> Result<Option<Reloaded<x509::Verifier>>> {
    let Some(path) = path.map(Path::to_owned) else { return Ok(None) };
    let load = |path: &PathBuf| {
        let pem = read(path).map_err(|error| format!("{error:#}"))?;
        x509::Verifier::new(&pem, knarr_reload::identity::provider())
            .map_err(|error| format!("cannot use {}: {error}", path.display()))
    };
    Reloaded::new(vec![path.clone()], move || load(&path)).map(Some).map_err(|error| anyhow!(error))
}

/// Issuers and rules for anonymous requests, of the file or of flags.
fn structured(args: &Args, outbound: &Arc<Outbound>, reloads: &Reloads) -> Result<Reloaded<Active>> {
    let own = args.service_account_issuer.clone();
    if let Some(path) = args.authentication_config.clone() {
        let (outbound, flag) = (outbound.clone(), args.anonymous_auth);
        let load = move |path: &PathBuf| {
            let active = structured::load(path, &own, &outbound)?;
            if active.anonymous.is_some() && flag.is_some() {
                return Err("--anonymous-auth flag cannot be set when anonymous field is configured in \
                            authentication configuration file"
                    .to_owned());
            }
            Ok(active)
        };
        let files = vec![path.clone()];
        let state = Reloaded::new(files, reloads.counted(&args.known_as(), move || load(&path)));
        return state.map_err(|error| anyhow!("--authentication-config: {error}"));
    }
    if args.oidc.oidc_issuer_url.is_empty() {
        return Ok(Reloaded::fixed(Active::default()));
    }
    let file = oidc_flags(&args.oidc)?.file();
    let active = structured::build(&file, &own, outbound);
    let mut active = active.map_err(|errors| anyhow!("--oidc-issuer-url: {}", errors.join(", ")))?;
    for issuer in &mut active.issuers {
        issuer.algorithms = args
            .oidc
            .oidc_signing_algs
            .iter()
            .map(|name| Algorithm::named(name))
            .collect::<Option<_>>()
            .with_context(|| format!("--oidc-signing-algs: known are {:?}", Algorithm::ALL))?;
    }
    Ok(Reloaded::fixed(active))
}

fn oidc_flags(args: &OidcArgs) -> Result<OidcFlags> {
    let pair = |text: &String| {
        let pair = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        pair.with_context(|| format!("--oidc-required-claim: {text:?} is not NAME=VALUE"))
    };
    let authority = args.oidc_ca_file.as_deref().map(read).transpose()?.unwrap_or_default();
    Ok(OidcFlags {
        issuer_url: args.oidc_issuer_url.clone(),
        client_id: args.oidc_client_id.clone(),
        username_claim: args.oidc_username_claim.clone(),
        username_prefix: args.oidc_username_prefix.clone(),
        groups_claim: args.oidc_groups_claim.clone(),
        groups_prefix: args.oidc_groups_prefix.clone(),
        required_claims: args.oidc_required_claim.iter().map(pair).collect::<Result<_>>()?,
        certificate_authority: String::from_utf8(authority).context("--oidc-ca-file")?,
    })
}

fn token_webhook(args: &Args, objects: &Arc<dyn Objects>) -> Result<Option<TokenWebhook>> {
    let Some(path) = &args.authentication_token_webhook_config_file else { return Ok(None) };
    let webhook = Webhook::load(path, objects);
    let webhook = webhook.map_err(|error| anyhow!("--authentication-token-webhook-config-file: {error}"))?;
    let version = &args.authentication_token_webhook_version;
    let hold = args.authentication_token_webhook_cache_ttl;
    Ok(Some(TokenWebhook::new(webhook, version, hold)))
}

/// The data of `extension-apiserver-authentication`.
pub fn settings(args: &Args) -> knarr_api::Value {
    let mut data = json!({});
    let text = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    if let Some(path) = &args.client_ca_file {
        data["client-ca-file"] = json!(text(path));
    }
    if let Some(path) = &args.requestheader_client_ca_file {
        data["requestheader-client-ca-file"] = json!(text(path));
        for (key, list) in [
            ("requestheader-allowed-names", &args.requestheader_allowed_names),
            ("requestheader-extra-headers-prefix", &args.requestheader_extra_headers_prefix),
            ("requestheader-group-headers", &args.requestheader_group_headers),
            ("requestheader-uid-headers", &args.requestheader_uid_headers),
            ("requestheader-username-headers", &args.requestheader_username_headers),
        ] {
            data[key] = json!(json!(list).to_string());
        }
    }
    data
}
