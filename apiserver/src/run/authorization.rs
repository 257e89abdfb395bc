//! From flags to authorizers.
use crate::authz::webhook::{Settings, Webhook};
use crate::authz::{Authorizer, Mode, Step, Who, structured};
use crate::flags::Args;
use crate::metrics::Reloads;
use crate::objects::Objects;
use crate::outbound::review::Webhook as Remote;
use anyhow::{Context, Result, anyhow};
use knarr_reload::Reloaded;
use std::sync::Arc;
use std::time::Duration;

/// Time for a webhook of flags to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The authorizers of the configuration file, or of the modes.
///
/// # Errors
/// Files that cannot be read or used.
pub fn assemble(args: &Args, objects: &Arc<dyn Objects>, reloads: &Reloads) -> Result<Authorizer> {
    if let Some(path) = args.authorization_config.clone() {
        let objects = objects.clone();
        let files = vec![path.clone()];
        let load = move || structured::load(&path, &objects);
        let steps = Reloaded::new(files, reloads.counted(&args.known_as(), load));
        return steps.map(Authorizer::of).map_err(|error| anyhow!("--authorization-config: {error}"));
    }
    let step = |mode: &Mode| match mode {
        Mode::Webhook => Ok(Step::of(Who::Webhook(Arc::new(webhook(args, objects)?)))),
        mode => Ok(Step::of(Who::Mode(*mode))),
    };
    let steps: Result<_> = args.authorization_mode.iter().map(step).collect();
    Ok(Authorizer::of(Reloaded::fixed(steps?)))
}

fn webhook(args: &Args, objects: &Arc<dyn Objects>) -> Result<Webhook> {
    let path = args.authorization_webhook_config_file.as_deref();
    let path = path.context("--authorization-mode=Webhook needs --authorization-webhook-config-file")?;
    let settings = Settings {
        version: args.authorization_webhook_version.clone(),
        hold_allowed: Some(args.authorization_webhook_cache_authorized_ttl),
        hold_denied: Some(args.authorization_webhook_cache_unauthorized_ttl),
        timeout: TIMEOUT,
        failure_denies: false,
        conditions: Vec::new(),
    };
    Ok(Webhook::new(Remote::load(path, objects)?, settings))
}
