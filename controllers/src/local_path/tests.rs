//! Tables of claims, and what may be removed.

use super::*;

fn claim(more: serde_json::Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {"namespace": "ns", "name": "data", "uid": "u1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "standard",
            "resources": {"requests": {"storage": "1Gi"}}},
    });
    for (part, members) in more.as_object().unwrap() {
        for (member, value) in members.as_object().unwrap() {
            claim[part][member] = value.clone();
        }
    }
    serde_json::from_value(claim).unwrap()
}

fn class(provisioner: &str, mode: &str) -> StorageClass {
    let class = json!({"metadata": {"name": "standard"}, "provisioner": provisioner,
        "volumeBindingMode": mode, "reclaimPolicy": "Delete"});
    serde_json::from_value(class).unwrap()
}

#[test]
fn what_a_claim_needs() {
    let (waits, at_once) = ("WaitForFirstConsumer", "Immediate");
    let selected = json!({"metadata": {"annotations": {SELECTED_NODE: "n1"}}});
    let check = |more: &serde_json::Value, provisioner: &str, mode: &str, expected: &str| {
        let text = match step(&claim(more.clone()), Some(&class(provisioner, mode))) {
            Step::Nothing => "nothing".to_string(),
            Step::Refuse(_) => "refuse".to_string(),
            Step::Make(node) => format!("make on {node}"),
        };
        assert_eq!(text, expected, "{more} {provisioner} {mode}");
    };
    check(&json!({}), PROVISIONER, waits, "nothing");
    check(&selected, PROVISIONER, waits, "make on n1");
    check(&selected, "other", waits, "nothing");
    check(&json!({}), PROVISIONER, at_once, "make on ");
    check(&json!({"spec": {"volumeName": "v"}}), PROVISIONER, at_once, "nothing");
    check(&json!({"spec": {"volumeMode": "Block"}}), PROVISIONER, at_once, "refuse");
    check(&json!({"spec": {"accessModes": ["ReadWriteMany"]}}), PROVISIONER, at_once, "refuse");
    check(&json!({"spec": {"selector": {}}}), PROVISIONER, at_once, "refuse");
    assert_eq!(step(&claim(json!({})), None), Step::Nothing);
}

#[test]
fn volumes_are_bound_to_a_node() {
    let base = Path::new("/data");
    let directory = directory_of(base, &claim(json!({})));
    assert_eq!(directory, Path::new("/data/pvc-u1_ns_data"));
    let volume = volume_for(&claim(json!({})), &class(PROVISIONER, ""), &directory, "host").unwrap();
    assert_eq!(name(&volume.metadata), "pvc-u1");
    assert_eq!(hostname_of(&volume), Some("host"));
    let spec = volume.spec.clone().unwrap();
    assert_eq!(spec.persistent_volume_reclaim_policy.as_deref(), Some("Delete"));
    assert_eq!(spec.claim_ref.unwrap().uid.as_deref(), Some("u1"));
    assert_eq!(spec.capacity.unwrap()["storage"].0, "1Gi");
    assert_eq!(removable(base, &volume), Some(directory));
}

#[test]
fn only_own_directories_are_removed() {
    let check = |path: &str, expected: bool| {
        let volume = json!({"metadata": {"name": "pvc-u1"}, "spec": {"hostPath": {"path": path}}});
        let volume = serde_json::from_value(volume).unwrap();
        assert_eq!(removable(Path::new("/data"), &volume).is_some(), expected, "{path}");
    };
    check("/data/pvc-u1_ns_data", true);
    check("/data/pvc-u2_ns_data", false);
    check("/data/..", false);
    check("/data/pvc-u1_x/..", false);
    check("/data/pvc-u1_x/../../etc", false);
    check("/etc", false);
    check("/data", false);
}

#[test]
fn directories_are_open_to_all_users() {
    use std::os::unix::fs::PermissionsExt;
    let base = std::env::temp_dir().join(format!("knarr-local-path-{}", std::process::id()));
    let directory = base.join("a");
    make(&directory).unwrap();
    let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
    std::fs::remove_dir_all(&base).unwrap();
    assert_eq!(mode & 0o777, 0o777);
}
