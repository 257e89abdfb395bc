//! What a scenario works with: a namespace of its own and stock kubectl.
use crate::Args;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long a scenario waits for something to become true.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Time between two looks at something that kubectl cannot wait for.
const LOOK: Duration = Duration::from_millis(150);

/// A scenario's view of the cluster.
#[derive(Clone)]
pub struct Context {
    kubectl: PathBuf,
    kubeconfig: PathBuf,
    image: String,
    /// More environment of kubectl.
    environment: Vec<(&'static str, &'static str)>,
    /// The scenario's own namespace.
    pub namespace: String,
}

impl Context {
    /// Makes the scenario's namespace.
    pub fn open(args: &Args, scenario: &str) -> Result<Self> {
        let context = Self {
            kubectl: args.kubectl.clone(),
            kubeconfig: args.kubeconfig.clone(),
            image: args.image.clone(),
            environment: Vec::new(),
            namespace: format!("{}-{}", scenario.replace('_', "-"), std::process::id()),
        };
        context.kubectl(&["create", "namespace", &context.namespace])?;
        Ok(context)
    }

    /// The same with a kubectl that opens streams as SPDY/3.1, not as WebSockets.
    pub fn over_spdy(&self) -> Self {
        let environment = vec![
            ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false"),
            ("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false"),
        ];
        Self { environment, ..self.clone() }
    }

    /// Removes the namespace, without waiting for it.
    pub fn close(&self) {
        if let Err(e) =
            self.kubectl(&["delete", "namespace", &self.namespace, "--wait=false", "--ignore-not-found"])
        {
            println!("{}: {e:#}", self.namespace);
        }
    }

    /// Prints what helps to understand a failure.
    pub fn explain(&self) {
        for arguments in [
            ["get", "pods,services,endpointslices", "-o", "wide"],
            ["get", "events", "--sort-by", ".lastTimestamp"],
        ] {
            let text = self.kubectl(&arguments).unwrap_or_else(|e| format!("{e:#}"));
            println!("--- {}: kubectl {}\n{text}", self.namespace, arguments.join(" "));
        }
    }

    /// A tag of the test image.
    pub fn image(&self, tag: u8) -> String {
        format!("{}:{tag}", self.image)
    }

    /// A kubectl command in the scenario's namespace, ready to be run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command.arg("--kubeconfig").arg(&self.kubeconfig).args(["--namespace", &self.namespace]);
        command.args(arguments).stdin(Stdio::null()).envs(self.environment.iter().copied());
        command
    }

    /// Runs kubectl and returns what it printed; an error holds what it complained of.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output().context("cannot run kubectl")?;
        text_of(output).with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// Runs kubectl, which must fail; returns what it complained of.
    pub fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.command(arguments).output().context("cannot run kubectl")?;
        ensure!(!output.status.success(), "kubectl {} was not refused", arguments.join(" "));
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Runs kubectl with text on standard input.
    pub fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).context("kubectl does not read its input")?;
        }
        text_of(child.wait_with_output()?).with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// Applies a manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_with(&["apply", "-f", "-"], manifest)
    }

    /// Applies an object.
    pub fn apply_json(&self, object: &Value) -> Result<String> {
        self.apply(&object.to_string())
    }

    /// Applies an object of another namespace.
    pub fn apply_json_in(&self, namespace: &str, object: &Value) -> Result<String> {
        self.kubectl_with(&["apply", "--namespace", namespace, "-f", "-"], &object.to_string())
    }

    /// An object as JSON.
    pub fn get(&self, resource: &str) -> Result<Value> {
        let text = self.kubectl(&["get", resource, "-o", "json"])?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// One value of an object, by JSONPath.
    pub fn value(&self, resource: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", resource, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// Waits for a condition with `kubectl wait`.
    pub fn wait(&self, resource: &str, condition: &str) -> Result<String> {
        let limit = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["wait", resource, &format!("--for={condition}"), &limit])
    }

    /// Waits until a rollout is complete.
    pub fn rolled_out(&self, resource: &str) -> Result<String> {
        self.kubectl(&["rollout", "status", resource, &format!("--timeout={}s", PATIENCE.as_secs())])
    }

    /// Runs a command in a pod and returns what it printed.
    pub fn exec(&self, pod: &str, command: &[&str]) -> Result<String> {
        let mut arguments = vec!["exec", pod, "--"];
        arguments.extend(command);
        self.kubectl(&arguments)
    }

    /// A pod that stays, to play from.
    pub fn toolbox(&self, name: &str) -> Result<()> {
        self.apply_json(&self.pod(name, &["serve"]))?;
        self.wait(&format!("pod/{name}"), "condition=Ready")?;
        Ok(())
    }

    /// A pod of the test image.
    pub fn pod(&self, name: &str, arguments: &[&str]) -> Value {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [
                {"name": "main", "image": self.image(1), "imagePullPolicy": "IfNotPresent", "args": arguments},
            ]},
        })
    }

    /// A Deployment of the web server with a readiness probe.
    pub fn deployment(&self, name: &str, replicas: u32) -> Value {
        serde_json::json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": {
                    "terminationGracePeriodSeconds": 5,
                    "containers": [{
                        "name": "web", "image": self.image(1), "args": ["serve"],
                        "ports": [{"containerPort": 8080, "name": "http"}],
                        "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
                        // Requests that are under way, or were sent before rules changed, are still answered.
                        "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
                    }],
                }},
            },
        })
    }

    /// A Service for the pods labelled `app=name`.
    pub fn service(&self, name: &str, kind: &str) -> Value {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": name},
            "spec": {"type": kind, "selector": {"app": name},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}]},
        })
    }

    /// Starts kubectl beside the scenario; it is ended when dropped.
    pub fn background(&self, arguments: &[&str]) -> Result<Background> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Background(command.spawn().context("cannot run kubectl")?))
    }
}

/// A kubectl that runs beside the scenario.
pub struct Background(pub Child);

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `look` is satisfied; the error says what was seen last.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(seen) => return Ok(seen),
            Err(e) if Instant::now() > deadline => {
                return Err(e).with_context(|| format!("waited in vain: {what}"));
            }
            Err(_) => std::thread::sleep(LOOK), // what is looked at lies behind other programs: nothing to wait on
        }
    }
}

/// Fails unless `text` contains `part`.
pub fn contains(text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "{part:?} is missing in: {text}");
    Ok(())
}

/// Fails unless both are equal.
pub fn same<T: PartialEq + std::fmt::Debug>(found: T, expected: T) -> Result<()> {
    ensure!(found == expected, "found {found:?}, expected {expected:?}");
    Ok(())
}

fn text_of(output: Output) -> Result<String> {
    if !output.status.success() {
        bail!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
