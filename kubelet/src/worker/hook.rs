//! Hooks after the start and before the stop of a container.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::Worker;
use crate::probes::{action, http};
use crate::runtime::SharedRuntime;

/// A hook that waits for nothing may take this long; pre-stop hooks are cut by the grace period.
const MAX_HOOK: Duration = Duration::from_secs(86_400);

impl Worker {
    /// Runs a hook of a container; the error is what its status says.
    pub(super) async fn run_hook(
        &self,
        id: &str,
        container: &Container,
        hook: &LifecycleHandler,
        ip: &str,
    ) -> Result<(), String> {
        run(&self.context.runtime, id, container, hook, ip).await
    }
}

/// Runs a hook.
pub async fn run(
    runtime: &SharedRuntime,
    id: &str,
    container: &Container,
    hook: &LifecycleHandler,
    ip: &str,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let shown = command.join(" ");
        return match runtime.exec_sync(id, command, MAX_HOOK).await {
            Ok(answer) if answer.exit_code == 0 => Ok(()),
            Ok(answer) => Err(format!(
                "Exec lifecycle hook ([{shown}]) for Container {:?} failed - error: command '{shown}' exited with {}: {}, message: {:?}",
                container.name,
                answer.exit_code,
                String::from_utf8_lossy(&answer.stderr),
                String::from_utf8_lossy(&answer.stdout),
            )),
            Err(error) => Err(format!(
                "Exec lifecycle hook ([{shown}]) for Container {:?} failed - error: {error}",
                container.name
            )),
        };
    }
    if let Some(get) = &hook.http_get {
        let port = action::port(container, &get.port)?;
        return http::hook(get, ip, port).await;
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("this kind of lifecycle hook is not supported".to_owned())
}
