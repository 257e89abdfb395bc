//! Jobs and CronJobs.
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

fn job(context: &Context, name: &str, arguments: &[&str], spec: Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec});
    job["spec"]["template"]["spec"] = json!({"restartPolicy": "Never", "containers": [
        {"name": "main", "image": context.image(1), "args": arguments},
    ]});
    job
}

/// Completions in parallel, by index too.
pub fn run(context: &Context) -> Result<()> {
    context.apply_json(&job(context, "many", &["exit", "0"], json!({"completions": 4, "parallelism": 2})))?;
    context.wait("job/many", "condition=Complete")?;
    same(context.value("job/many", ".status.succeeded")?, "4".to_owned())?;
    contains(&context.kubectl(&["logs", "job/many"])?, "exit 0")?;
    let indexed = json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed"});
    context.apply_json(&job(context, "indexed", &["exit", "0"], indexed))?;
    context.wait("job/indexed", "condition=Complete")?;
    same(context.value("job/indexed", ".status.completedIndexes")?, "0,1".to_owned())?;
    contains(&context.kubectl(&["get", "job", "many"])?, "4/4")
}

/// A Job that cannot succeed says so and stops.
pub fn fail(context: &Context) -> Result<()> {
    context.apply_json(&job(context, "broken", &["exit", "3"], json!({"backoffLimit": 1})))?;
    context.wait("job/broken", "condition=Failed")?;
    let failed = context.get("job/broken")?;
    let conditions = failed["status"]["conditions"].as_array().cloned().unwrap_or_default();
    ensure!(conditions.iter().any(|one| one["reason"] == "BackoffLimitExceeded"), "{conditions:?}");
    let codes = context.kubectl(&[
        "get",
        "pods",
        "-l",
        "job-name=broken",
        "-o",
        "jsonpath={.items[*].status.containerStatuses[0].state.terminated.exitCode}",
    ])?;
    same(codes.as_str(), "3 3")
}

/// A CronJob can be started by hand and keeps its schedule.
pub fn cron(context: &Context) -> Result<()> {
    let image = context.image(1);
    context.kubectl(&[
        "create",
        "cronjob",
        "tick",
        "--schedule=* * * * *",
        "--image",
        &image,
        "--",
        "testbox",
        "exit",
        "0",
    ])?;
    context.kubectl(&["create", "job", "now", "--from=cronjob/tick"])?;
    context.wait("job/now", "condition=Complete")?;
    eventually("the schedule starts a Job", || {
        let owned = context.kubectl(&["get", "jobs", "-o", "jsonpath={.items[*].metadata.name}"])?;
        ensure!(owned.contains("tick-"), "{owned}");
        Ok(())
    })
}
