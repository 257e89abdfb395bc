//! Pods: restarts, init containers, environment, limits.
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::json;

/// A failing liveness probe restarts the container; its last state stays visible.
pub fn restart(context: &Context) -> Result<()> {
    let mut pod = context.pod("web", &["serve"]);
    pod["spec"]["containers"][0]["livenessProbe"] =
        json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1, "failureThreshold": 1});
    context.apply_json(&pod)?;
    context.wait("pod/web", "condition=Ready")?;
    context.exec("web", &["testbox", "get", "http://127.0.0.1:8080/fail?on"])?;
    eventually("the container is restarted", || {
        same(context.value("pod/web", ".status.containerStatuses[0].restartCount")?, "1".to_owned())
    })?;
    context.wait("pod/web", "condition=Ready")?;
    contains(&context.kubectl(&["logs", "web", "--previous"])?, "listening on 8080")?;
    contains(&context.kubectl(&["describe", "pod", "web"])?, "Liveness probe failed")
}

/// Init containers run in order, sidecars stay beside the application.
pub fn init_containers(context: &Context) -> Result<()> {
    let mut pod = context.pod("app", &["serve"]);
    let mount = json!([{"name": "work", "mountPath": "/work"}]);
    let step = |name: &str, command: &str| json!({"name": name, "image": context.image(1), "command": ["sh", "-c", command], "volumeMounts": mount});
    let mut sidecar = step("sidecar", "echo sidecar >> /work/order; exec testbox serve 9090");
    sidecar["restartPolicy"] = "Always".into();
    sidecar["startupProbe"] = json!({"tcpSocket": {"port": 9090}, "periodSeconds": 1});
    pod["spec"]["initContainers"] =
        json!([step("one", "echo one > /work/order"), sidecar, step("two", "echo two >> /work/order")]);
    pod["spec"]["volumes"] = json!([{"name": "work", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = mount.clone();
    context.apply_json(&pod)?;
    context.wait("pod/app", "condition=Ready")?;
    same(context.exec("app", &["cat", "/work/order"])?.as_str(), "one\nsidecar\ntwo\n")?;
    contains(&context.exec("app", &["testbox", "get", "http://127.0.0.1:9090/hostname"])?, "app")?;
    contains(&context.kubectl(&["get", "pod", "app"])?, "2/2")
}

/// An exit code that a rule names makes all containers run again in the same sandbox, init containers first.
pub fn restart_all(context: &Context) -> Result<()> {
    let mut pod = context.pod("worker", &["serve"]);
    let mount = json!([{"name": "work", "mountPath": "/work"}]);
    let step = |name: &str, command: &str| json!({"name": name, "image": context.image(1), "command": ["sh", "-c", command], "volumeMounts": mount});
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["initContainers"] = json!([step("setup", "echo setup >> /work/order")]);
    pod["spec"]["volumes"] = json!([{"name": "work", "emptyDir": {}}]);
    let mut watcher = step(
        "watcher",
        "echo watcher >> /work/order; until [ -e /work/again ]; do sleep 0.1; done; rm /work/again; exit 88",
    );
    watcher["restartPolicyRules"] =
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [88]}}]);
    watcher["restartPolicy"] = "Never".into();
    let done = step("done", "echo done >> /work/order");
    let containers = pod["spec"]["containers"].as_array_mut().expect("containers");
    containers[0]["volumeMounts"] = mount.clone();
    containers.extend([watcher, done]);
    context.apply_json(&pod)?;
    let main = ["exec", "worker", "-c", "main", "--"];
    let in_main = |command: &[&str]| context.kubectl(&[&main, command].concat());
    eventually("all have run", || contains(&in_main(&["cat", "/work/order"])?, "done"))?;
    let address = context.value("pod/worker", ".status.podIP")?;
    in_main(&["touch", "/work/again"])?;
    eventually("all have run again", || {
        let status = context.get("pod/worker")?["status"].clone();
        let lists = ["initContainerStatuses", "containerStatuses"];
        let all = lists.iter().flat_map(|list| status[*list].as_array().cloned().unwrap_or_default());
        let counts: Vec<u64> = all.map(|one| one["restartCount"].as_u64().unwrap_or_default()).collect();
        ensure!(counts == [1, 1, 1, 1], "{status}");
        // In the order of names.
        let names = status["containerStatuses"].as_array().into_iter().flatten().map(|one| &one["name"]);
        same(names.cloned().collect::<Vec<_>>(), vec![json!("done"), json!("main"), json!("watcher")])?;
        let running = &status["containerStatuses"][1];
        ensure!(running["state"]["running"].is_object(), "{running}");
        same(running["lastState"]["terminated"]["reason"].as_str(), Some("RestartingAllContainers"))?;
        let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let of_all = conditions
            .iter()
            .find(|one| one["type"] == "AllContainersRestarting")
            .cloned()
            .unwrap_or_default();
        same(of_all["status"].as_str(), Some("False"))
    })?;
    let order = in_main(&["cat", "/work/order"])?;
    same(order.matches("setup").count(), 2)?;
    ensure!(order.lines().nth(3) == Some("setup"), "the init container comes first again: {order}");
    same(context.value("pod/worker", ".status.podIP")?, address)
}

/// The same by the exit code of an init container: sidecars and init containers before it run again, the pod has not
/// failed meanwhile, and each container tells how it ended before.
pub fn restart_all_from_init(context: &Context) -> Result<()> {
    let mut pod = context.pod("worker", &["serve"]);
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["volumes"] = json!([{"name": "work", "emptyDir": {}}]);
    let step = |name: &str, command: &str| json!({"name": name, "image": context.image(1), "command": ["sh", "-c", command], "volumeMounts": [{"name": "work", "mountPath": "/work"}]});
    let mut sidecar = step("sidecar", "sleep 10000");
    sidecar["restartPolicy"] = "Always".into();
    let mut source = step("source", "[ -e /work/ran ] || { touch /work/ran; exit 42; }");
    source["restartPolicy"] = "Never".into();
    source["restartPolicyRules"] =
        json!([{"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [42]}}]);
    pod["spec"]["initContainers"] = json!([sidecar, step("setup", "exit 0"), source]);
    context.apply_json(&pod)?;
    context.wait("pod/worker", "condition=Ready")?;
    for index in 0..3 {
        let of = format!(".status.initContainerStatuses[{index}]");
        same(context.value("pod/worker", &format!("{of}.restartCount"))?.as_str(), "1")?;
        let ended = context.value("pod/worker", &format!("{of}.lastState.terminated.exitCode"))?;
        ensure!(!ended.is_empty(), "container {index} does not tell how it ended");
    }
    same(context.value("pod/worker", ".status.containerStatuses[0].restartCount")?.as_str(), "0")
}

/// A container for debugging sees the processes of its target, and none where its target is not there.
pub fn debug(context: &Context) -> Result<()> {
    context.apply_json(&context.pod("web", &["serve"]))?;
    context.wait("pod/web", "condition=Ready")?;
    let image = context.image(1);
    let debug = |name: &str, target: &str, command: &str| {
        let arguments =
            ["debug", "web", "--image", &image, "--target", target, "-c", name, "--", "sh", "-c", command];
        context.kubectl(&arguments)
    };
    debug("look", "main", "tr '\\0' ' ' < /proc/1/cmdline; ls -d /proc/1/root/bin")?;
    eventually("it has looked", || contains(&context.kubectl(&["logs", "web", "-c", "look"])?, "serve"))?;
    let patch = json!({"spec": {"ephemeralContainers": [{"name": "lost", "image": image, "targetContainerName": "nobody"}]}});
    context.refused(&[
        "patch",
        "pod",
        "web",
        "--subresource",
        "ephemeralcontainers",
        "-p",
        &patch.to_string(),
    ])?;
    Ok(())
}

/// Variables from every source.
pub fn environment(context: &Context) -> Result<()> {
    context.kubectl(&["create", "configmap", "settings", "--from-literal=COLOR=red"])?;
    context.kubectl(&["create", "secret", "generic", "keys", "--from-literal=KEY=s3cret"])?;
    let mut pod = context.pod("env", &[]);
    pod["spec"]["restartPolicy"] = "Never".into();
    let main = &mut pod["spec"]["containers"][0];
    main["command"] = json!(["sh", "-c", "echo $(GREETING) $COLOR $KEY $NAME $CPU; exit $(CODE)"]);
    main["envFrom"] = json!([{"configMapRef": {"name": "settings"}}]);
    main["resources"] = json!({"limits": {"cpu": "250m"}});
    main["env"] = json!([
        {"name": "WHO", "value": "world"},
        {"name": "GREETING", "value": "hello-$(WHO)-$$(WHO)"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "KEY"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
        {"name": "CODE", "value": "0"},
    ]);
    context.apply_json(&pod)?;
    context.wait("pod/env", "jsonpath={.status.phase}=Succeeded")?;
    contains(&context.kubectl(&["logs", "env"])?, "red s3cret env 250")?;
    contains(&context.kubectl(&["logs", "env"])?, "hello-world-")
}

/// A container that takes more than it may is killed, and says why.
pub fn memory_limit(context: &Context) -> Result<()> {
    let mut pod = context.pod("eater", &["eat", "64"]);
    pod["spec"]["restartPolicy"] = "OnFailure".into();
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "24Mi"}});
    context.apply_json(&pod)?;
    // A runtime that does not watch the container yet when it is killed tells of a plain error; the next start is the same.
    eventually("the container is killed for its memory", || {
        let status = context.get("pod/eater")?["status"]["containerStatuses"][0].clone();
        let ended = [&status["state"]["terminated"], &status["lastState"]["terminated"]];
        ensure!(ended.iter().any(|e| e["reason"] == "OOMKilled" && e["exitCode"] == 137), "{status}");
        Ok(())
    })
}

/// A running container's limits change in place; what the node does not have is refused and changes nothing.
pub fn resize(context: &Context) -> Result<()> {
    let mut pod = context.pod("elastic", &["serve"]);
    pod["spec"]["containers"][0]["resources"] =
        json!({"requests": {"cpu": "10m"}, "limits": {"cpu": "200m"}});
    context.apply_json(&pod)?;
    context.wait("pod/elastic", "condition=Ready")?;
    let resize = |cpu: &str| {
        let name = pod["spec"]["containers"][0]["name"].clone();
        let resources = json!({"requests": {"cpu": cpu}, "limits": {"cpu": cpu.replace("20m", "300m")}});
        let patch = json!({"spec": {"containers": [{"name": name, "resources": resources}]}}).to_string();
        context.kubectl(&["patch", "pod", "elastic", "--subresource=resize", "-p", &patch])
    };
    resize("5k")?;
    context.wait("pod/elastic", "condition=PodResizePending")?;
    let condition = r#".status.conditions[?(@.type=="PodResizePending")]"#;
    same(context.value("pod/elastic", &format!("{condition}.reason"))?.as_str(), "Infeasible")?;
    let message = context.value("pod/elastic", &format!("{condition}.message"))?;
    contains(&message, "Node didn't have enough capacity: cpu, requested: 5000000, capacity: ")?;
    let quota = || {
        context.exec(
            "elastic",
            &[
                "sh",
                "-c",
                "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2> /dev/null || true",
            ],
        )
    };
    contains(&quota()?, "20000")?;
    resize("20m")?;
    eventually("the limits are changed", || contains(&quota()?, "30000"))?;
    eventually("the resize is over", || {
        same(context.value("pod/elastic", condition)?.as_str(), "")?;
        same(
            context.value("pod/elastic", ".status.containerStatuses[0].resources.limits.cpu")?.as_str(),
            "300m",
        )?;
        contains(&context.kubectl(&["describe", "pod", "elastic"])?, "Pod resize completed: ")
    })?;
    same(context.value("pod/elastic", ".status.containerStatuses[0].restartCount")?.as_str(), "0")
}

/// An image that cannot be had is said to be so.
pub fn image_missing(context: &Context) -> Result<()> {
    let mut pod = context.pod("lost", &["serve"]);
    pod["spec"]["containers"][0]["image"] = "127.0.0.1:1/nothing:1".into();
    context.apply_json(&pod)?;
    eventually("the pull fails", || {
        let reason = context.value("pod/lost", ".status.containerStatuses[0].state.waiting.reason")?;
        ensure!(["ErrImagePull", "ImagePullBackOff"].contains(&reason.as_str()), "{reason}");
        Ok(())
    })?;
    let mut never = context.pod("never", &["serve"]);
    never["spec"]["containers"][0]["image"] = "127.0.0.1:1/nothing:1".into();
    never["spec"]["containers"][0]["imagePullPolicy"] = "Never".into();
    context.apply_json(&never)?;
    eventually("the policy forbids to pull", || {
        let reason = context.value("pod/never", ".status.containerStatuses[0].state.waiting.reason")?;
        same(reason.as_str(), "ErrImageNeverPull")
    })
}

/// A seccomp profile that the node does not have is waited for: the container is not made, and the pod has not failed.
pub fn profile_missing(context: &Context) -> Result<()> {
    let mut pod = context.pod("profiled", &["serve"]);
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["containers"][0]["securityContext"] =
        json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "none.json"}});
    context.apply_json(&pod)?;
    eventually("the container is not made", || {
        let waiting = ".status.containerStatuses[0].state.waiting";
        same(context.value("pod/profiled", &format!("{waiting}.reason"))?.as_str(), "CreateContainerError")?;
        contains(
            &context.value("pod/profiled", &format!("{waiting}.message"))?,
            "cannot load seccomp profile",
        )
    })?;
    same(context.value("pod/profiled", ".status.phase")?.as_str(), "Pending")
}
