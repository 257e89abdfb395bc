//! The example application, as the README's first command runs it.
use crate::context::{Context, contains, eventually};
use anyhow::Result;

/// The manifest that users get, with its image replaced by the one under test.
const MANIFEST: &str = include_str!("../../../docs/examples/three-tier.yaml");

/// Everything comes up and the pieces reach each other by name.
pub fn play(context: &Context) -> Result<()> {
    context.apply(&MANIFEST.replace("test.local/testbox:1", &context.image(1)))?;
    context.rolled_out("deployment/web")?;
    context.rolled_out("statefulset/store")?;
    context.rolled_out("daemonset/agent")?;
    context.wait("job/migrate", "condition=Complete")?;
    context.toolbox("client")?;
    eventually("the Service answers by name", || {
        context.exec("client", &["testbox", "get", "http://web/hostname"])
    })?;
    let greeting = context.exec("client", &["testbox", "get", "http://web/env?GREETING"])?;
    contains(&greeting, "hello")?;
    let password = context.exec("client", &["testbox", "get", "http://web/file?/etc/secret/password"])?;
    contains(&password, "correct horse")?;
    contains(&context.exec("client", &["testbox", "get", "http://store-0.store:8080/hostname"])?, "store-0")?;
    let again = context.apply(&MANIFEST.replace("test.local/testbox:1", &context.image(1)))?;
    contains(&again, "deployment.apps/web unchanged")
}
