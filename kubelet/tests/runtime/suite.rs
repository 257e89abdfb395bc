//! The behaviours that every runtime has, in the order in which they run.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use knarr_kubelet::runtime::RuntimeError;
use knarr_kubelet::runtime::types::*;

use crate::client::Streams;
use crate::embedded;
use crate::fixture::{Fixture, security};

type Behaviour = for<'a> fn(&'a Fixture) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! behaviours {
    ($($name:ident)*) => { [$((stringify!($name), (|fixture| Box::pin($name(fixture))) as Behaviour)),*] };
}

/// Runs all of them.
pub async fn run(fixture: &Fixture) {
    for (name, behaviour) in behaviours! {
        life what_is_gone exec_sync users capabilities restrictions paths mounts image_volumes arguments start_errors memory
        signals shared_processes terminal logs limits files commands attached ports
    } {
        println!("{name}");
        behaviour(fixture).await;
    }
    if fixture.reopen.is_some() {
        println!("what only the embedded runtime shows");
        embedded::namespaces(fixture).await;
        embedded::adoption(fixture).await;
        embedded::loss(fixture).await;
        embedded::users(fixture).await;
        embedded::volumes_of_images(fixture).await;
        embedded::users_share_processes(fixture).await;
    }
    images(fixture).await;
}

/// A container is made, runs, speaks, is stopped with its signal, and leaves nothing.
async fn life(fixture: &Fixture) {
    let runtime = &fixture.runtime;
    let pod = fixture.pod("life");
    let sandbox = fixture.sandbox(&pod).await;
    let listed = runtime.list_pod_sandboxes(Some("uid-life")).await.expect("list");
    assert_eq!(listed.iter().map(|one| one.id.as_str()).collect::<Vec<_>>(), [sandbox.as_str()]);
    assert_eq!(listed[0].annotations.get("note").map(String::as_str), Some("kept"));
    let script = "trap 'echo bye; exit 3' TERM; echo out; echo err >&2; while true; do sleep 0.05; done";
    let id =
        runtime.create_container(&sandbox, fixture.script(&pod, script), pod.clone()).await.expect("created");
    let status = runtime.container_status(&id).await.expect("status");
    assert_eq!((status.state(), status.started_at), (ContainerState::Created, 0));
    runtime.start_container(&id).await.expect("started");
    fixture.hears(&pod, "err").await;
    let status = runtime.container_status(&id).await.expect("status");
    assert_eq!(status.state(), ContainerState::Running);
    assert!(status.started_at >= status.created_at && status.created_at > 0);
    let begun = Instant::now();
    runtime.stop_container(&id, Duration::from_secs(20)).await.expect("stopped");
    assert!(begun.elapsed() < Duration::from_secs(10), "it ends on its signal");
    let status = fixture.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (3, "Error"));
    assert!(status.finished_at >= status.started_at);
    let log = std::fs::read_to_string(&status.log_path).expect("log");
    for line in ["stdout F out", "stderr F err", "stdout F bye"] {
        assert!(log.contains(line), "{line:?} in {log}");
    }
    fixture.remove(&sandbox).await;
    assert!(runtime.list_containers(Some("uid-life")).await.expect("list").is_empty());
    assert!(runtime.list_pod_sandboxes(Some("uid-life")).await.expect("list").is_empty());
}

/// Stopping and removing what is gone succeeds; looking at it does not.
async fn what_is_gone(fixture: &Fixture) {
    let (runtime, gone) = (&fixture.runtime, "0123456789abcdef");
    runtime.stop_pod_sandbox(gone).await.expect("stop sandbox");
    runtime.remove_pod_sandbox(gone).await.expect("remove sandbox");
    runtime.stop_container(gone, Duration::ZERO).await.expect("stop container");
    runtime.remove_container(gone).await.expect("remove container");
    let missing = |error: RuntimeError| assert!(matches!(error, RuntimeError::NotFound(_)), "{error}");
    missing(runtime.pod_sandbox_status(gone).await.expect_err("sandbox"));
    missing(runtime.container_status(gone).await.expect_err("container"));
    missing(runtime.start_container(gone).await.expect_err("start"));
    missing(runtime.exec_sync(gone, vec!["true".to_owned()], Duration::ZERO).await.expect_err("exec"));
}

async fn exec_sync(fixture: &Fixture) {
    let pod = fixture.pod("exec");
    let sandbox = fixture.sandbox(&pod).await;
    let mut config = fixture.script(&pod, "sleep 1000");
    config.working_dir = "/bin".to_owned();
    config.envs.push(KeyValue { key: "GREETING".to_owned(), value: "hello".to_owned() });
    security(&mut config).run_as_user = Some(Int64Value { value: 1000 });
    let id = fixture.start(&sandbox, &pod, config).await;
    let exec = |script: &str, timeout: u64| {
        let words = vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()];
        fixture.runtime.exec_sync(&id, words, Duration::from_secs(timeout))
    };
    let answer = exec("echo $GREETING; pwd; id -u; echo bad >&2; exit 5", 10).await.expect("exec");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "hello\n/bin\n1000\n");
    assert_eq!((String::from_utf8_lossy(&answer.stderr).as_ref(), answer.exit_code), ("bad\n", 5));
    let answer = exec("head -c 300000 /dev/zero", 10).await.expect("exec");
    assert_eq!((answer.stdout.len(), answer.exit_code), (300_000, 0));
    let begun = Instant::now();
    let error = exec("sleep 100", 1).await.expect_err("too slow");
    assert!(matches!(error, RuntimeError::DeadlineExceeded(_)), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
    let left = exec("ps | grep -c 'sleep 10[0]$'", 10).await.expect("exec");
    assert_eq!(String::from_utf8_lossy(&left.stdout), "0\n", "it was killed");
    let error = fixture.runtime.exec_sync(&id, vec!["nothing".to_owned()], Duration::from_secs(9)).await;
    let error = error.expect_err("no such program").to_string();
    assert!(error.contains("nothing") && error.contains("executable file not found in $PATH"), "{error}");
    fixture.remove(&sandbox).await;
}

async fn users(fixture: &Fixture) {
    let check = async |name: &str, uid: Option<i64>, gid: Option<i64>, groups: &[i64], expected: &str| {
        let pod = fixture.pod(name);
        let mut config = fixture.script(&pod, "echo $(id -u) $(id -g) $(id -G)");
        let number = |value: Option<i64>| value.map(|value| Int64Value { value });
        let context = security(&mut config);
        (context.run_as_user, context.run_as_group) = (number(uid), number(gid));
        context.supplemental_groups = groups.to_vec();
        let (status, said) = fixture.outcome(pod, config).await;
        assert_eq!(said, expected);
        // Not every runtime tells it.
        let told = status.user.and_then(|user| user.linux).map(|user| {
            let groups: Vec<String> = user.supplemental_groups.iter().map(ToString::to_string).collect();
            format!("{} {} {}", user.uid, user.gid, groups.join(" "))
        });
        if fixture.reopen.is_some() || told.is_some() {
            assert_eq!(told.as_deref(), Some(expected));
        }
    };
    check("user-root", None, None, &[], "0 0 0").await;
    check("user-1000", Some(1000), None, &[7], "1000 0 0 7").await;
    check("user-group", Some(1000), Some(50), &[7, 8], "1000 50 50 7 8").await;
}

/// Runs a script that prints fields of its own status.
async fn own_status(
    fixture: &Fixture,
    name: &str,
    fields: &str,
    change: impl FnOnce(&mut LinuxContainerSecurityContext),
) -> String {
    let pod = fixture.pod(name);
    let script = format!("grep -E '^({fields}):' /proc/self/status | while read k v; do echo $k$v; done");
    let mut config = fixture.script(&pod, &script);
    change(security(&mut config));
    fixture.outcome(pod, config).await.1
}

async fn capabilities(fixture: &Fixture) {
    let capability = |add: &[&str], drop: &[&str]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Some(Capability { add_capabilities: own(add), drop_capabilities: own(drop) })
    };
    let check = async |name: &str, wished: Option<Capability>, uid: Option<i64>, expected: &str| {
        let change = |security: &mut LinuxContainerSecurityContext| {
            security.capabilities = wished;
            security.run_as_user = uid.map(|value| Int64Value { value });
        };
        assert_eq!(own_status(fixture, name, "CapEff|CapBnd", change).await, expected, "{name}");
    };
    check("caps-default", None, None, "CapEff:00000000a80425fb\nCapBnd:00000000a80425fb").await;
    check("caps-none", capability(&[], &["ALL"]), None, "CapEff:0000000000000000\nCapBnd:0000000000000000")
        .await;
    let one = capability(&["NET_BIND_SERVICE"], &["ALL"]);
    check("caps-one", one, None, "CapEff:0000000000000400\nCapBnd:0000000000000400").await;
    check(
        "caps-more",
        capability(&["NET_ADMIN"], &["KILL"]),
        None,
        "CapEff:00000000a80435db\nCapBnd:00000000a80435db",
    )
    .await;
    check("caps-user", None, Some(1000), "CapEff:0000000000000000\nCapBnd:00000000a80425fb").await;
}

async fn restrictions(fixture: &Fixture) {
    let seccomp =
        |kind: ProfileType| Some(SecurityProfile { profile_type: kind as i32, localhost_ref: String::new() });
    let fields = "NoNewPrivs|Seccomp|CapEff";
    let caps = "00000000a80425fb";
    let free =
        own_status(fixture, "free", fields, |security| security.seccomp = seccomp(ProfileType::Unconfined))
            .await;
    assert_eq!(free, format!("CapEff:{caps}\nNoNewPrivs:0\nSeccomp:0"));
    let filter = |security: &mut LinuxContainerSecurityContext| {
        security.seccomp = seccomp(ProfileType::RuntimeDefault)
    };
    assert_eq!(
        own_status(fixture, "filtered", fields, filter).await,
        format!("CapEff:{caps}\nNoNewPrivs:0\nSeccomp:2")
    );
    let both = |security: &mut LinuxContainerSecurityContext| {
        filter(security);
        security.no_new_privs = true;
        security.run_as_user = Some(Int64Value { value: 1000 });
    };
    assert_eq!(
        own_status(fixture, "restricted", fields, both).await,
        "CapEff:0000000000000000\nNoNewPrivs:1\nSeccomp:2"
    );
    let pod = fixture.pod("no-profile");
    let sandbox = fixture.sandbox(&pod).await;
    let mut config = fixture.script(&pod, "true");
    let localhost_ref = "/no/such/profile.json".to_owned();
    security(&mut config).seccomp =
        Some(SecurityProfile { profile_type: ProfileType::Localhost as i32, localhost_ref });
    let error = fixture.runtime.create_container(&sandbox, config, pod.clone()).await;
    let error = error.expect_err("no profile").to_string();
    assert!(error.contains("cannot load seccomp profile \"/no/such/profile.json\""), "{error}");
    fixture.remove(&sandbox).await;
    // The filter also holds for commands.
    let pod = fixture.pod("filtered-exec");
    let sandbox = fixture.sandbox(&pod).await;
    let mut config = fixture.script(&pod, "sleep 1000");
    filter(security(&mut config));
    let id = fixture.start(&sandbox, &pod, config).await;
    let words = ["grep", "Seccomp:", "/proc/self/status"].map(str::to_owned).to_vec();
    let answer = fixture.runtime.exec_sync(&id, words, Duration::from_secs(10)).await.expect("exec");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "Seccomp:\t2\n");
    fixture.remove(&sandbox).await;
}

async fn paths(fixture: &Fixture) {
    let pod = fixture.pod("paths");
    let script = "exec 2>/dev/null; touch /x || echo no root; (echo 1 > /proc/sys/vm/swappiness) || echo no sysctl; \
                  echo $(head -c 1 /proc/timer_list)end; ls /proc/fs";
    let mut config = fixture.script(&pod, script);
    let context = security(&mut config);
    context.readonly_rootfs = true;
    context.masked_paths = ["/proc/timer_list", "/proc/fs"].map(str::to_owned).to_vec();
    context.readonly_paths = vec!["/proc/sys".to_owned()];
    let said = fixture.outcome(pod, config).await.1;
    assert_eq!(said, "no root\nno sysctl\nend");

    let mut pod = fixture.pod("privileged");
    let linux = pod.linux.get_or_insert_default();
    linux.security_context.get_or_insert_default().privileged = true;
    let mut config = fixture.script(
        &pod,
        "test -b /dev/loop0 -o -c /dev/kmsg && echo device; mount -t tmpfs t /tmp && echo mounted",
    );
    security(&mut config).privileged = true;
    config.mounts.push(Mount {
        container_path: "/tmp".to_owned(),
        host_path: fixture.folder("tmp"),
        ..Mount::default()
    });
    assert_eq!(fixture.outcome(pod, config).await.1, "device\nmounted");
}

async fn mounts(fixture: &Fixture) {
    let (shared, fixed) = (fixture.folder("shared"), fixture.folder("fixed"));
    std::fs::write(format!("{fixed}/file"), "content").expect("file");
    let mount = |container_path: &str, host_path: &str, readonly: bool| Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_owned(),
        readonly,
        ..Mount::default()
    };
    let pod = fixture.pod("mounts");
    let script = "echo made > /data/new; cat /data/inner/file; touch /data/inner/x 2>/dev/null || echo fixed";
    let mut config = fixture.script(&pod, script);
    // The deeper one is named first.
    config.mounts = vec![mount("/data/inner", &fixed, true), mount("/data", &shared, false)];
    config.mounts.push(mount("/single", &format!("{fixed}/file"), true));
    assert_eq!(fixture.outcome(pod, config).await.1, "contentfixed");
    assert_eq!(std::fs::read_to_string(format!("{shared}/new")).expect("file"), "made\n");
}

/// Folders that the image names for data can be written where nothing else can, and begin with what the image has there;
/// mounts of the pod take their place.
async fn image_volumes(fixture: &Fixture) {
    let pod = fixture.pod("image-volumes");
    let script = "cat /data/kept; stat -c '%a %u' /data; for dir in /data /fresh/inner /; do \
                  (echo new > $dir/new) 2> /dev/null && cat $dir/new || echo refused; done";
    let mut config = fixture.script(&pod, script);
    security(&mut config).readonly_rootfs = true;
    assert_eq!(fixture.outcome(pod, config).await.1, "kept\n750 1000\nnew\nnew\nrefused");
    let pod = fixture.pod("image-volumes-covered");
    let mut config = fixture.script(&pod, "ls /data; echo done");
    let host_path = fixture.folder("covering");
    config.mounts.push(Mount { container_path: "/data/".to_owned(), host_path, ..Mount::default() });
    assert_eq!(fixture.outcome(pod, config).await.1, "done");
}

async fn arguments(fixture: &Fixture) {
    let check = async |name: &str, command: &[&str], args: &[&str], dir: &str, expected: &str| {
        let pod = fixture.pod(name);
        let mut config = fixture.script(&pod, "");
        let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        (config.command, config.args, config.working_dir) = (own(command), own(args), dir.to_owned());
        assert_eq!(fixture.outcome(pod, config).await.1, expected, "{name}");
    };
    check("args-both", &["echo", "a"], &["b c"], "", "a b c").await;
    check("args-path", &["pwd"], &[], "/made/for/it", "/made/for/it").await;
}

async fn start_errors(fixture: &Fixture) {
    let check = async |name: &str, command: &str, expected: &str| {
        let pod = fixture.pod(name);
        let sandbox = fixture.sandbox(&pod).await;
        let config = ContainerConfig { command: vec![command.to_owned()], ..fixture.script(&pod, "") };
        let id = fixture.runtime.create_container(&sandbox, config, pod.clone()).await.expect("created");
        let error = fixture.runtime.start_container(&id).await.expect_err("start").to_string();
        assert!(error.contains(expected), "{error}");
        let status = fixture.ended(&id).await;
        assert_eq!((status.exit_code, status.reason.as_str()), (128, "StartError"));
        assert!(status.message.contains(expected), "{}", status.message);
        fixture.remove(&sandbox).await;
    };
    check("no-program", "nothing", "exec: \"nothing\": executable file not found in $PATH").await;
    check("no-file", "/no/file", "exec: \"/no/file\": stat /no/file: no such file or directory").await;
}

async fn memory(fixture: &Fixture) {
    let pod = fixture.pod("memory");
    let eat = "until [ -e /go ]; do sleep 0.05; done; exec dd if=/dev/zero of=/dev/null bs=200M count=1";
    let mut config = fixture.script(&pod, eat);
    let linux = config.linux.get_or_insert_default();
    linux.resources.get_or_insert_default().memory_limit_in_bytes = 20 << 20;
    let sandbox = fixture.sandbox(&pod).await;
    let id = fixture.start(&sandbox, &pod, config).await;
    // Runtimes watch a container once it is started: one that is killed before is told of as any other.
    let go = vec!["touch".to_owned(), "/go".to_owned()];
    fixture.runtime.exec_sync(&id, go, Duration::from_secs(9)).await.expect("told to go on");
    fixture
        .until("the container was killed for its memory", || async {
            let status = fixture.runtime.container_status(&id).await.expect("status");
            (status.exit_code == 137 && status.reason == "OOMKilled").then_some(())
        })
        .await;
    fixture.remove(&sandbox).await;
}

async fn signals(fixture: &Fixture) {
    let pod = fixture.pod("signals");
    let sandbox = fixture.sandbox(&pod).await;
    let deaf = "trap 'echo deaf' TERM; echo ready; while true; do sleep 0.05; done";
    let id = fixture.start(&sandbox, &pod, fixture.script(&pod, deaf)).await;
    fixture.hears(&pod, "ready").await;
    let begun = Instant::now();
    fixture.runtime.stop_container(&id, Duration::from_secs(1)).await.expect("stopped");
    assert!(begun.elapsed() >= Duration::from_millis(900), "it had its time");
    let status = fixture.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (137, "Error"));
    assert!(fixture.said(&pod).contains("deaf"));
    fixture.remove(&sandbox).await;
}

async fn shared_processes(fixture: &Fixture) {
    let mut pod = fixture.pod("shared");
    let share = |context: Option<&mut NamespaceOption>| {
        if let Some(options) = context {
            options.pid = NamespaceMode::Pod as i32;
        }
    };
    let context = pod.linux.as_mut().and_then(|linux| linux.security_context.as_mut());
    share(context.and_then(|context| context.namespace_options.as_mut()));
    let sandbox = fixture.sandbox(&pod).await;
    let mut config = fixture.script(&pod, "exec sleep 7777");
    share(security(&mut config).namespace_options.as_mut());
    let first = fixture.start(&sandbox, &pod, config).await;
    let mut config = fixture.script(&pod, "ps; exec sleep 8888");
    share(security(&mut config).namespace_options.as_mut());
    config.metadata.get_or_insert_default().name = "second".to_owned();
    config.log_path = "main/0.log".to_owned();
    let second = fixture.start(&sandbox, &pod, config).await;
    fixture.hears(&pod, "sleep 7777").await;
    fixture.runtime.stop_container(&first, Duration::ZERO).await.expect("stopped");
    assert_eq!(fixture.ended(&first).await.exit_code, 137);
    let status = fixture.runtime.container_status(&second).await.expect("status");
    assert_eq!(status.state(), ContainerState::Running, "one ends alone");
    fixture.remove(&sandbox).await;
}

async fn terminal(fixture: &Fixture) {
    let pod = fixture.pod("terminal");
    let mut config = fixture.script(&pod, "test -t 0 && test -t 1 && test -c /dev/console && echo $TERM");
    config.tty = true;
    let said = fixture.outcome(pod, config).await.1;
    assert_eq!(said.trim_end(), "xterm");
}

async fn logs(fixture: &Fixture) {
    let pod = fixture.pod("logs");
    let sandbox = fixture.sandbox(&pod).await;
    // Not a signal: the shell of busybox was seen to miss one.
    let script = "echo before; while ! test -e /data/go; do sleep 0.05; done; echo after; sleep 1000";
    let id = fixture.start(&sandbox, &pod, fixture.script(&pod, script)).await;
    fixture.hears(&pod, "before").await;
    let path = fixture.runtime.container_status(&id).await.expect("status").log_path;
    let moved = format!("{path}.moved");
    std::fs::rename(&path, &moved).expect("moved");
    fixture.runtime.reopen_container_log(&id).await.expect("reopened");
    let words = ["touch", "/data/go"].map(str::to_owned).to_vec();
    let answer = fixture.runtime.exec_sync(&id, words, Duration::from_secs(10)).await.expect("exec");
    assert_eq!(answer.exit_code, 0, "{}", String::from_utf8_lossy(&answer.stderr));
    fixture.hears(&pod, "after").await;
    assert!(!std::fs::read_to_string(&moved).expect("log").contains("after"));
    fixture.remove(&sandbox).await;
}

async fn limits(fixture: &Fixture) {
    let pod = fixture.pod("limits");
    let sandbox = fixture.sandbox(&pod).await;
    let mut config = fixture.script(&pod, "sleep 1000");
    let resources = LinuxContainerResources {
        cpu_shares: 512,
        cpu_period: 100_000,
        cpu_quota: 50_000,
        memory_limit_in_bytes: 64 << 20,
        oom_score_adj: 900,
        ..Default::default()
    };
    config.linux.get_or_insert_default().resources = Some(resources.clone());
    let id = fixture.start(&sandbox, &pod, config).await;
    let limit = || async {
        let stats = fixture.runtime.list_container_stats().await.expect("stats");
        let of = |one: &ContainerStats| one.attributes.as_ref().is_some_and(|attributes| attributes.id == id);
        let memory = stats.into_iter().find(of)?.memory?;
        let value = |value: Option<UInt64Value>| value.unwrap_or_default().value;
        assert!(value(memory.usage_bytes) > 0);
        Some(value(memory.available_bytes) + value(memory.working_set_bytes))
    };
    assert_eq!(fixture.until("there are statistics", limit).await, 64 << 20);
    let words = ["cat", "/proc/1/oom_score_adj"].map(str::to_owned).to_vec();
    let answer = fixture.runtime.exec_sync(&id, words, Duration::from_secs(10)).await.expect("exec");
    assert_eq!(String::from_utf8_lossy(&answer.stdout), "900\n");
    let more = LinuxContainerResources { memory_limit_in_bytes: 128 << 20, ..resources };
    fixture.runtime.update_container_resources(&id, more).await.expect("updated");
    assert_eq!(fixture.until("there are statistics", limit).await, 128 << 20);
    fixture.remove(&sandbox).await;
}

/// The files that the runtime itself puts into a container.
async fn files(fixture: &Fixture) {
    let pod = fixture.pod("files");
    let script =
        "cat /etc/resolv.conf; test -w /dev/shm && echo shm; hostname > /tmp0; grep -c . /etc/hostname";
    let said = fixture.outcome(pod.clone(), fixture.script(&pod, script)).await.1;
    assert_eq!(said, "search a.test\nnameserver 10.0.0.10\noptions ndots:5\nshm\n1");
}

/// Commands whose streams a client has.
async fn commands(fixture: &Fixture) {
    let pod = fixture.pod("commands");
    let sandbox = fixture.sandbox(&pod).await;
    let id = fixture.start(&sandbox, &pod, fixture.script(&pod, "sleep 1000")).await;
    let ask = |script: &str, tty: bool| ExecRequest {
        container_id: id.clone(),
        cmd: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
        tty,
        stdin: true,
        stdout: true,
        stderr: !tty,
    };
    let url = fixture.runtime.exec(ask("cat; echo bad >&2; exit 4", false)).await.expect("url");
    let mut streams = Streams::open(&url, false).await;
    streams.write("hello").await;
    streams.end_input().await;
    let ended = streams.finish().await;
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("hello", "bad\n"));
    assert_eq!(ended.status["reason"], "NonZeroExitCode");
    assert_eq!(
        ended.status["details"]["causes"][0],
        serde_json::json!({"reason": "ExitCode", "message": "4"})
    );

    let script = "while [ \"$(stty size)\" != '40 100' ]; do sleep 0.02; done; read line; echo got $line";
    let url = fixture.runtime.exec(ask(script, true)).await.expect("url");
    let streams = Streams::open(&url, true).await;
    streams.resize(100, 40).await;
    streams.write("it\n").await;
    let ended = streams.finish().await;
    assert!(ended.stdout.contains("got it"), "{}", ended.stdout);
    assert_eq!(ended.status["status"], "Success");
    fixture.remove(&sandbox).await;
}

/// Clients of a container's first process.
async fn attached(fixture: &Fixture) {
    let pod = fixture.pod("attached");
    let sandbox = fixture.sandbox(&pod).await;
    let script = "echo ready; read line; echo got $line; echo bad >&2; read line";
    let mut config = fixture.script(&pod, script);
    (config.stdin, config.stdin_once) = (true, true);
    let id = fixture.start(&sandbox, &pod, config).await;
    fixture.hears(&pod, "ready").await;
    let ask = AttachRequest { container_id: id.clone(), stdin: true, tty: false, stdout: true, stderr: true };
    let url = fixture.runtime.attach(ask).await.expect("url");
    let mut streams = Streams::open(&url, false).await;
    streams.write("it\n").await;
    streams.end_input().await;
    let ended = streams.finish().await;
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("got it\n", "bad\n"));
    assert!(fixture.said(&pod).contains("got it"), "the log has it too");
    assert_eq!(fixture.ended(&id).await.exit_code, 1, "its input has ended");
    fixture.remove(&sandbox).await;
}

/// Ports of a pod; this one has the host's.
async fn ports(fixture: &Fixture) {
    let pod = fixture.pod("ports");
    let sandbox = fixture.sandbox(&pod).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listener");
    let port = listener.local_addr().expect("address").port();
    let url = fixture.runtime.port_forward(&sandbox, vec![i32::from(port)]).await.expect("url");
    let serve = async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut client, _) = listener.accept().await.expect("client");
        let mut text = [0; 5];
        client.read_exact(&mut text).await.expect("read");
        client.write_all(&text).await.expect("written");
        client.write_all(b" there").await.expect("written");
    };
    let ask = crate::client::forwarded(&url, port, "hello");
    let ((), (answer, error)) = tokio::join!(serve, ask);
    assert_eq!((answer.as_str(), error.as_str()), ("hello there", ""));
    drop(listener);
    let url = fixture.runtime.port_forward(&sandbox, vec![i32::from(port)]).await.expect("url");
    let (_, error) = crate::client::forwarded(&url, port, "hello").await;
    assert!(error.contains("refused"), "{error}");
    fixture.remove(&sandbox).await;
}

async fn images(fixture: &Fixture) {
    let runtime = &fixture.runtime;
    let image = runtime.image_status("registry.test/busybox:1").await.expect("status").expect("image");
    assert!(image.id.starts_with("sha256:") && image.size > 0);
    assert_eq!(image.repo_tags, ["registry.test/busybox:1"]);
    let by_id = runtime.image_status(&image.id).await.expect("status").expect("image");
    assert_eq!(by_id.id, image.id);
    assert!(runtime.image_status("registry.test/other:1").await.expect("status").is_none());
    let ids: Vec<String> =
        runtime.list_images().await.expect("list").into_iter().map(|image| image.id).collect();
    assert!(ids.contains(&image.id));
    runtime.remove_image("registry.test/other:1").await.expect("what is gone needs no removing");
    runtime.remove_image(&image.id).await.expect("removed");
    assert!(runtime.image_status("registry.test/busybox:1").await.expect("status").is_none());
}
