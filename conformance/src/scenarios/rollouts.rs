//! Rollouts of Deployments.
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};

/// A rolling update under load fails no request.
pub fn without_failed_requests(context: &Context) -> Result<()> {
    context.apply_json(&context.deployment("web", 3))?;
    context.apply_json(&context.service("web", "ClusterIP"))?;
    context.rolled_out("deployment/web")?;
    context.toolbox("client")?;
    eventually("the Service answers", || {
        context.exec("client", &["testbox", "get", "http://web/env?VERSION"])
    })?;
    let load = "while ! [ -e /tmp/stop ]; do testbox get http://web/env?VERSION 10 || exit 1; done";
    let mut load = context.background(&["exec", "client", "--", "sh", "-c", load])?;
    context.kubectl(&["set", "image", "deployment/web", &format!("web={}", context.image(2))])?;
    context.rolled_out("deployment/web")?;
    contains(&context.exec("client", &["testbox", "get", "http://web/env?VERSION"])?, "2")?;
    context.exec("client", &["touch", "/tmp/stop"])?;
    let status = load.0.wait()?;
    let mut complaint = String::new();
    if let Some(mut stderr) = load.0.stderr.take() {
        std::io::Read::read_to_string(&mut stderr, &mut complaint)?;
    }
    ensure!(status.success(), "a request failed during the update: {complaint}");
    Ok(())
}

/// Undoing brings the old template back; pausing holds a rollout.
pub fn undo(context: &Context) -> Result<()> {
    context.apply_json(&context.deployment("web", 1))?;
    context.rolled_out("deployment/web")?;
    context.kubectl(&["set", "image", "deployment/web", &format!("web={}", context.image(2))])?;
    context.rolled_out("deployment/web")?;
    contains(&context.kubectl(&["rollout", "history", "deployment/web"])?, "2")?;
    context.kubectl(&["rollout", "undo", "deployment/web"])?;
    context.rolled_out("deployment/web")?;
    let image = context.value("deployment/web", ".spec.template.spec.containers[0].image")?;
    same(image, context.image(1))?;
    context.kubectl(&["rollout", "pause", "deployment/web"])?;
    context.kubectl(&["set", "env", "deployment/web", "X=1"])?;
    context.kubectl(&["rollout", "resume", "deployment/web"])?;
    context.rolled_out("deployment/web")?;
    context.kubectl(&["rollout", "restart", "deployment/web"])?;
    context.rolled_out("deployment/web").map(|_| ())
}

/// Scaling up and down.
pub fn scale(context: &Context) -> Result<()> {
    context.apply_json(&context.deployment("web", 1))?;
    context.kubectl(&["scale", "deployment/web", "--replicas=4"])?;
    context.wait("deployment/web", "jsonpath={.status.readyReplicas}=4")?;
    context.kubectl(&["scale", "deployment/web", "--replicas=1", "--current-replicas=4"])?;
    eventually("three pods go", || {
        let pods = context.kubectl(&["get", "pods", "-o", "name"])?;
        same(pods.lines().count(), 1)
    })
}
