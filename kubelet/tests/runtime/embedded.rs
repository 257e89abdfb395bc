//! What only the embedded runtime shows: networks of its own, a new kubelet, a killed sandbox.

use std::path::Path;
use std::time::Duration;

use knarr_kubelet::runtime::Runtime;
use knarr_kubelet::runtime::types::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{ADDRESS, Fixture, security};

/// A pod has a network, a host name and kernel parameters of its own.
pub async fn namespaces(fixture: &Fixture) {
    let mut pod = fixture.pod("namespaces");
    pod.hostname = "web".to_owned();
    let linux = pod.linux.get_or_insert_default();
    let options = linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default();
    options.network = NamespaceMode::Pod as i32;
    linux.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "7".to_owned());
    linux.sysctls.insert("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
    let sandbox = fixture.sandbox(&pod).await;
    let status = fixture.runtime.pod_sandbox_status(&sandbox).await.expect("status");
    assert_eq!(status.network.expect("network").ip, ADDRESS);
    let script = "hostname; cat /etc/hostname; echo $HOSTNAME; ls /sys/class/net; \
                  cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced";
    let mut config = fixture.script(&pod, script);
    security(&mut config).namespace_options.get_or_insert_default().network = NamespaceMode::Pod as i32;
    let id = fixture.start(&sandbox, &pod, config).await;
    fixture.ended(&id).await;
    assert_eq!(fixture.said(&pod), "web\nweb\nweb\nlo\n7\n1");
    fixture.remove(&sandbox).await;
}

/// A new kubelet finds what runs, and what has ended meanwhile.
pub async fn adoption(fixture: &Fixture) {
    let pod = fixture.pod("adoption");
    let sandbox = fixture.sandbox(&pod).await;
    let script = "trap 'exit 7' TERM; echo ready; while true; do sleep 0.02; done";
    let id = fixture.start(&sandbox, &pod, fixture.script(&pod, script)).await;
    fixture.hears(&pod, "ready").await;
    let before = fixture.runtime.container_status(&id).await.expect("status");
    let other = (fixture.reopen.expect("embedded"))(&fixture.dir);
    assert_eq!(other.container_status(&id).await.expect("status"), before);
    let listed = other.list_pod_sandboxes(Some("uid-adoption")).await.expect("list");
    assert_eq!(listed[0].state(), PodSandboxState::Ready);
    let answer = other.exec_sync(&id, vec!["true".to_owned()], Duration::from_secs(10)).await.expect("exec");
    assert_eq!(answer.exit_code, 0);
    other.stop_container(&id, Duration::from_secs(10)).await.expect("stopped");
    assert_eq!(fixture.ended(&id).await.exit_code, 7);
    fixture.remove(&sandbox).await;
}

/// When a sandbox's process is killed, its containers end and are known to have ended.
pub async fn loss(fixture: &Fixture) {
    let pod = fixture.pod("loss");
    let sandbox = fixture.sandbox(&pod).await;
    let id = fixture.start(&sandbox, &pod, fixture.script(&pod, "sleep 7654; true")).await;
    let directory = fixture.dir.join("sandboxes").join(&sandbox);
    let read = |file: &Path| -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(file).expect("file")).expect("document")
    };
    let pid = |value: &serde_json::Value| Pid::from_raw(value.as_i64().expect("process") as i32);
    let shim = pid(&read(&directory.join("sandbox.json"))["shim"]);
    let first = pid(&read(&directory.join("c").join(&id).join("status.json"))["pid"]);
    kill(shim, Signal::SIGKILL).expect("killed");
    let status = fixture.ended(&id).await;
    assert_eq!((status.exit_code, status.reason.as_str()), (255, "Unknown"));
    let left = std::fs::read_to_string(format!("/proc/{first}/stat")).unwrap_or_default();
    assert!(left.is_empty() || left.contains(") Z "), "{left}");
    let listed = fixture.runtime.list_pod_sandboxes(Some("uid-loss")).await.expect("list");
    assert_eq!(listed[0].state(), PodSandboxState::NotReady);
    fixture
        .runtime
        .exec_sync(&id, vec!["true".to_owned()], Duration::ZERO)
        .await
        .expect_err("it does not run");
    fixture.remove(&sandbox).await;
    assert!(!directory.exists());
}

/// The users of a pod are others of the host's, on its files too.
pub async fn users(fixture: &Fixture) {
    const FIRST: u32 = 7 << 16;
    let mapping = vec![IdMapping { host_id: FIRST, container_id: 0, length: 1 << 16 }];
    let wanted = UserNamespace { mode: NamespaceMode::Pod as i32, uids: mapping.clone(), gids: mapping };
    let mut pod = fixture.pod("users");
    pod.hostname = "mapped".to_owned();
    let linux = pod.linux.get_or_insert_default();
    linux.sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "7".to_owned());
    linux.sysctls.insert("kernel.shm_rmid_forced".to_owned(), "1".to_owned());
    let options = linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default();
    options.network = NamespaceMode::Pod as i32;
    options.userns_options = Some(wanted.clone());
    let sandbox = fixture.sandbox(&pod).await;
    let host_path = fixture.folder("users");
    std::fs::write(Path::new(&host_path).join("roots"), "secret\n").expect("file");
    std::fs::set_permissions(
        Path::new(&host_path).join("roots"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .expect("mode");
    let script = "set -e; cat /proc/self/uid_map; cat /volume/roots; stat -c %u:%g /volume/roots /data/kept /data / /work/deep /dev/shm \
                  /etc/resolv.conf; touch /volume/made /own; hostname; hostname changed; hostname; echo out > /dev/stdout; ls /sys/class/net; \
                  cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shm_rmid_forced; echo ready; sleep 1000";
    let mut config = fixture.script(&pod, script);
    config.working_dir = "/work/deep".to_owned();
    config.mounts = vec![Mount {
        container_path: "/volume".to_owned(),
        host_path: host_path.clone(),
        ..Mount::default()
    }];
    let options = security(&mut config).namespace_options.get_or_insert_default();
    options.network = NamespaceMode::Pod as i32;
    options.userns_options = Some(wanted);
    let add_capabilities = vec!["SYS_ADMIN".to_owned()];
    security(&mut config).capabilities = Some(Capability { add_capabilities, ..Capability::default() });
    let id = fixture.start(&sandbox, &pod, config.clone()).await;
    fixture.hears(&pod, "ready").await;
    let said = fixture.said(&pod);
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words[..4], ["0", "458752", "65536", "secret"], "{said}");
    assert_eq!(words[4..11], ["0:0", "0:0", "1000:0", "0:0", "0:0", "0:0", "0:0"], "{said}");
    assert_eq!(words[11..], ["mapped", "changed", "out", "lo", "7", "1", "ready"], "{said}");
    // Outside.
    let owner = |path: std::path::PathBuf| {
        let meta = std::fs::symlink_metadata(path).expect("file");
        (std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta))
    };
    assert_eq!(owner(Path::new(&host_path).join("made")), (0, 0), "as the volume's other files");
    let folder = fixture.dir.join("sandboxes").join(&sandbox).join("c").join(&id);
    assert_eq!(owner(folder.join("upper/own")), (FIRST, FIRST));
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mountinfo.contains(&format!("{id}/mounts")), "{mountinfo}");
    // Commands.
    let script = "cat /proc/self/uid_map; cat /volume/roots; echo out > /dev/stdout; touch /by-exec; grep CapBnd /proc/self/status; \
                  grep CapBnd /proc/1/status; grep CapEff /proc/self/status; grep CapEff /proc/1/status";
    let command = ["sh", "-c", script].map(str::to_owned).to_vec();
    let answer = fixture.runtime.exec_sync(&id, command, Duration::from_secs(10)).await.expect("exec");
    let out = String::from_utf8_lossy(&answer.stdout).into_owned();
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words[..5], ["0", "458752", "65536", "secret", "out"], "{out}");
    assert_eq!((words[6], words[10]), (words[8], words[12]), "as the first process: {out}");
    assert_eq!(owner(folder.join("upper/by-exec")), (FIRST, FIRST));
    fixture.remove(&sandbox).await;
    assert!(!folder.exists());
    assert_eq!(
        std::fs::read_to_string(Path::new(&host_path).join("roots")).expect("still there"),
        "secret\n"
    );
}

/// What an image holds, as a volume: for reading only, in whole or in part, also for users of the pod's own.
pub async fn volumes_of_images(fixture: &Fixture) {
    let mapping = vec![IdMapping { host_id: 9 << 16, container_id: 0, length: 1 << 16 }];
    let own = UserNamespace { mode: NamespaceMode::Pod as i32, uids: mapping.clone(), gids: mapping };
    for (name, users) in [("image-volume", None), ("image-volume-mapped", Some(own))] {
        let mut pod = fixture.pod(name);
        let linux = pod.linux.get_or_insert_default();
        let options =
            linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default();
        *options = NamespaceOption { userns_options: users, ..options.clone() };
        if options.userns_options.is_some() {
            options.network = NamespaceMode::Pod as i32;
        }
        let options = options.clone();
        let script = "cat /whole/data/kept /part/kept /one; stat -c %u /part /part/kept; touch /part/new 2>/dev/null || echo fixed; \
                      /whole/bin/busybox true 2>/dev/null || echo held";
        let mut config = fixture.script(&pod, script);
        security(&mut config).namespace_options = Some(options);
        let mount = |container_path: &str, sub: &str| Mount {
            container_path: container_path.to_owned(),
            readonly: true,
            image: Some(ImageSpec { image: crate::support::IMAGE.to_owned() }),
            image_sub_path: sub.to_owned(),
            ..Mount::default()
        };
        config.mounts = vec![mount("/whole", ""), mount("/part", "data"), mount("/one", "data/kept")];
        let (status, said) = fixture.outcome(pod, config).await;
        assert_eq!(status.exit_code, 0, "{said}");
        assert_eq!(said, "kept\nkept\nkept\n1000\n0\nfixed\nheld", "{name}");
    }
    let pod = fixture.pod("image-volume-missing");
    let sandbox = fixture.sandbox(&pod).await;
    let mut config = fixture.script(&pod, "true");
    let image = Some(ImageSpec { image: crate::support::IMAGE.to_owned() });
    config.mounts = vec![Mount {
        container_path: "/x".to_owned(),
        image,
        image_sub_path: "no".to_owned(),
        ..Mount::default()
    }];
    let made = fixture.runtime.create_container(&sandbox, config.clone(), pod.clone()).await;
    let error = made.expect_err("no such part").to_string();
    assert!(error.contains("subPath \"no\""), "{error}");
    assert!(
        fixture.runtime.list_containers(Some("uid-image-volume-missing")).await.expect("list").is_empty()
    );
    config.mounts[0].image = Some(ImageSpec { image: "test.local/none:1".to_owned() });
    fixture.runtime.create_container(&sandbox, config, pod.clone()).await.expect_err("no image");
    fixture.remove(&sandbox).await;
}

/// Containers of a pod with users of its own share processes.
pub async fn users_share_processes(fixture: &Fixture) {
    let mapping = vec![IdMapping { host_id: 8 << 16, container_id: 0, length: 1 << 16 }];
    let wanted = UserNamespace { mode: NamespaceMode::Pod as i32, uids: mapping.clone(), gids: mapping };
    let mut pod = fixture.pod("mapped-processes");
    let linux = pod.linux.get_or_insert_default();
    let options = linux.security_context.get_or_insert_default().namespace_options.get_or_insert_default();
    *options = NamespaceOption { userns_options: Some(wanted), ..NamespaceOption::default() };
    let options = options.clone();
    let sandbox = fixture.sandbox(&pod).await;
    let mut config = fixture.script(&pod, "cat /proc/1/comm; cat /proc/1/uid_map; cat /proc/self/uid_map");
    security(&mut config).namespace_options = Some(options);
    security(&mut config).run_as_user = Some(Int64Value { value: 12 });
    let id = fixture.start(&sandbox, &pod, config).await;
    assert_eq!(fixture.ended(&id).await.exit_code, 0);
    let said = fixture.said(&pod);
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words, ["pause", "0", "524288", "65536", "0", "524288", "65536"]);
    fixture.remove(&sandbox).await;
}
