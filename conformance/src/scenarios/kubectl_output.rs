//! What kubectl shows, which the server computes in large part.
use crate::context::{Context, contains, same};
use anyhow::{Result, bail, ensure};

/// Tables, wide tables, YAML, JSONPath, custom columns, names.
pub fn forms(context: &Context) -> Result<()> {
    context.apply_json(&context.deployment("web", 1))?;
    context.rolled_out("deployment/web")?;
    let table = context.kubectl(&["get", "deployments"])?;
    same(
        table.lines().next().unwrap_or_default().split_whitespace().collect::<Vec<_>>(),
        vec!["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"],
    )?;
    contains(&table, "1/1")?;
    let wide = context.kubectl(&["get", "pods", "-o", "wide"])?;
    same(
        wide.lines().next().unwrap_or_default().split_whitespace().take(7).collect::<Vec<_>>(),
        vec!["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"],
    )?;
    contains(&wide, "Running")?;
    contains(&context.kubectl(&["get", "deployment", "web", "-o", "yaml"])?, "kind: Deployment")?;
    let columns = "custom-columns=NAME:.metadata.name,READY:.status.readyReplicas";
    contains(&context.kubectl(&["get", "deployments", "-o", columns])?, "web")?;
    contains(&context.kubectl(&["get", "all"])?, "replicaset.apps/web-")?;
    contains(&context.kubectl(&["api-resources"])?, "deployments")?;
    contains(&context.kubectl(&["get", "pods", "--show-labels"])?, "pod-template-hash=")?;
    let components = context.kubectl(&["get", "componentstatuses", "--no-headers"])?;
    let mut components: Vec<Vec<_>> =
        components.lines().map(|line| line.split_whitespace().collect()).collect();
    components.sort();
    let healthy = |name| vec![name, "Healthy", "ok"];
    same(components, ["controller-manager", "etcd-0", "scheduler"].map(healthy).to_vec())?;
    contains(&context.kubectl(&["version"])?, "Server Version: v1.36")?;
    contains(&context.kubectl(&["cluster-info"])?, "is running at")
}

/// Documentation comes from the server's OpenAPI.
pub fn explain(context: &Context) -> Result<()> {
    contains(&context.kubectl(&["explain", "pod.spec.containers.livenessProbe"])?, "httpGet")?;
    contains(&context.kubectl(&["explain", "deployment", "--recursive"])?, "matchLabels")?;
    contains(&context.kubectl(&["explain", "cronjob.spec.schedule"])?, "Cron format")
}

/// Every resource that can be listed is explained, and its table has a head.
pub fn every_resource(context: &Context) -> Result<()> {
    let resources = context.kubectl(&["api-resources", "--verbs=list,get", "--no-headers"])?;
    ensure!(resources.lines().count() > 50, "few resources: {resources}");
    for line in resources.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Between the name and these there may be short names.
        let [name, .., version, _, _] = words[..] else { bail!("no resource: {line}") };
        let explained = context.kubectl(&["explain", name, "--api-version", version])?;
        contains(&explained, "DESCRIPTION:")?;
        let resource = match version.split_once('/') {
            Some((group, _)) => format!("{name}.{group}"),
            None => name.to_owned(),
        };
        for form in ["", "wide"] {
            let table = context.kubectl(&["get", &resource, "--all-namespaces", "--output", form])?;
            // Without objects kubectl shows no head either.
            let head = table.lines().next().unwrap_or("NAME");
            ensure!(head.contains("NAME") && !head.contains(char::is_lowercase), "{resource}: {table}");
        }
    }
    Ok(())
}

/// What would change, and what is there.
pub fn diff_and_describe(context: &Context) -> Result<()> {
    let mut deployment = context.deployment("web", 1);
    context.apply_json(&deployment)?;
    context.rolled_out("deployment/web")?;
    deployment["spec"]["replicas"] = 2.into();
    // `kubectl diff` ends with 1 when there is a difference.
    let refused = context.kubectl_with(&["diff", "-f", "-"], &deployment.to_string());
    let difference = refused.unwrap_or_else(|e| format!("{e:#}"));
    contains(&difference, "-  replicas: 1")?;
    contains(&difference, "+  replicas: 2")?;
    contains(&context.kubectl(&["describe", "deployment", "web"])?, "ScalingReplicaSet")?;
    let pods = context.kubectl(&["describe", "pods"])?;
    for part in
        ["Successfully assigned", "Started", "kube-api-access-", "node.kubernetes.io/not-ready:NoExecute"]
    {
        contains(&pods, part)?;
    }
    contains(&context.kubectl(&["events"])?, "Scheduled")
}
