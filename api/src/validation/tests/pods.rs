//! Pods beyond one container: claims, resources of the whole pod, operating systems, and what changes of a pod may do.
use super::*;

#[test]
fn claims_and_pod_resources() {
    for (change, expected) in [
        (
            json!({"resourceClaims": [{"name": "a", "resourceClaimName": "c"}, {"name": "a"}]}),
            vec![
                "spec.resourceClaims[1].name: Duplicate value: \"a\"",
                "spec.resourceClaims[1]: Invalid value: {\"name\":\"a\"}: must specify one of: `resourceClaimName`, \
                 `resourceClaimTemplateName`",
            ],
        ),
        (
            json!({"containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always",
                "terminationMessagePolicy": "File", "resources": {"claims": [{"name": "x"}]}}]}),
            vec!["spec.containers[0].resources.claims[0].name: Not found: \"x\""],
        ),
        (
            json!({"containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always",
                "terminationMessagePolicy": "File", "resources": {"requests": {"cpu": "2"}}}],
                "resources": {"requests": {"cpu": "1", "x.io/gpu": "1"}}}),
            vec![
                "spec.resources.requests[x.io/gpu]: Unsupported value: \"x.io/gpu\": supported values: \"cpu\", \
                 \"hugepages-\", \"memory\"",
                "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate \
                 container requests of 2",
            ],
        ),
        (
            json!({"volumes": [
                {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}},
                {"name": "w", "persistentVolumeClaim": {"claimName": "x-v"}},
                {"name": "t", "projected": {"sources": [{"clusterTrustBundle": {"path": "p"}}]}}]}),
            vec![
                "spec.volumes[2].projected.sources[0].clusterTrustBundle: Required value: either name or signerName \
                 must be specified",
                "spec.volumes[1].persistentVolumeClaim.claimName: Invalid value: \"x-v\": must not reference a PVC \
                 that gets created for an ephemeral volume",
            ],
        ),
        (
            json!({"volumes": [{"name": "v", "image": {"pullPolicy": "Now"}}]}),
            vec![
                "spec.volumes[0].image.reference: Required value",
                "spec.volumes[0].image.pullPolicy: Unsupported value: \"Now\": supported values: \"Always\", \
                 \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            json!({"os": {"name": "windows"}, "securityContext": {"runAsUser": 1}, "hostPID": true}),
            vec![
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
            ],
        ),
    ] {
        check("", "Pod", pod(json!({"spec": change})), &expected);
    }
    let template = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "replicas": 1,
        "strategy": {"type": "Recreate"}, "progressDeadlineSeconds": 600, "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": pod(json!({"spec": {"volumes": [{"name": "v", "image": {"pullPolicy": "Always"}}]}}))["spec"]}}});
    check("apps", "Deployment", template, &[]);
}

#[test]
fn gated_pods_may_narrow_their_nodes() {
    let gated = pod(json!({"spec": {"schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "b"}}}));
    check_update("", "Pod", gated.clone(), json!({"spec": {"nodeSelector": {"c": "d"}}}), &[]);
    check_update(
        "",
        "Pod",
        gated,
        json!({"spec": {"nodeSelector": {"a": "x"}}}),
        &[
            "spec.nodeSelector: Invalid value: {\"a\":\"x\"}: only additions to spec.nodeSelector are allowed (no \
             mutations or deletions)",
        ],
    );
}

/// `change` merged into a stored pod, judged by `judge`.
fn judged(old: Value, change: Value, judge: impl Fn(&Value, &Value) -> ErrorList, expected: &[&str]) {
    let old = named(kind("", "Pod"), old);
    let mut new = old.clone();
    crate::patch::merge::apply(&mut new, change);
    assert_eq!(texts(&judge(&new, &old)), expected);
}

#[test]
fn ephemeral_containers_only_come() {
    let ephemeral = |name: &str, image: &str| json!({"name": name, "image": image, "imagePullPolicy": "Always", "terminationMessagePolicy": "File"});
    let old = pod(json!({"spec": {"ephemeralContainers": [ephemeral("e", "i")]}}));
    let judge = |list: Value, expected: &[&str]| {
        let change = json!({"spec": {"ephemeralContainers": list}});
        judged(old.clone(), change, ephemeral_containers, expected);
    };
    judge(json!([ephemeral("e", "i"), ephemeral("f", "i")]), &[]);
    judge(
        json!([ephemeral("e", "j")]),
        &["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be changed\n"],
    );
    judge(
        json!([ephemeral("c", "i")]),
        &[
            "spec.ephemeralContainers[0].name: Duplicate value: \"c\"",
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"e\" may not be removed\n",
        ],
    );
}

#[test]
fn resizes() {
    let with = |resources: Value| {
        let mut container = container();
        container["resources"] = resources;
        json!({"spec": {"containers": [container]}})
    };
    let old = pod(with(json!({"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}})));
    let judge = |resources: Value, classes: [&str; 2], expected: &[&str]| {
        let mut change = with(json!({}));
        change["spec"]["containers"][0]["resources"] = resources;
        judged(old.clone(), change, |new, old| resize(new, old, classes), expected);
    };
    let same = ["Burstable", "Burstable"];
    judge(json!({"requests": {"cpu": "2", "memory": "1Gi", "ephemeral-storage": "1Gi"}}), same, &[]);
    judge(
        json!({"requests": {"ephemeral-storage": "2Gi"}}),
        ["BestEffort", "Burstable"],
        &[
            "spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing",
            "spec.containers[0].resources: Forbidden: resource requests cannot be removed",
            "spec.containers[0].resources: Forbidden: only cpu and memory resources are mutable",
        ],
    );
}

#[test]
fn statuses() {
    let mut old = pod(json!({"spec": {"restartPolicy": "Never", "nodeName": "n"}}));
    old["status"] = json!({"qosClass": "Burstable",
        "containerStatuses": [{"name": "c", "state": {"terminated": {"exitCode": 0}}}]});
    let judge = |new: &Value, old: &Value| status_update(kind("", "Pod"), new, old);
    judged(old.clone(), json!({"status": {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}}), judge, &[]);
    judged(
        old,
        json!({"status": {
            "qosClass": "Guaranteed", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
            "containerStatuses": [{"name": "c", "state": {"running": {}}}]}}),
        judge,
        &[
            "status.qosClass: Invalid value: \"Guaranteed\": field is immutable",
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
            "status.podIPs: Invalid value: [{\"ip\":\"10.0.0.1\"},{\"ip\":\"10.0.0.2\"}]: may specify no more than one \
             IP for each IP family",
        ],
    );
}

#[test]
fn names_of_sysctls() {
    let regex = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
    for (name, good) in [
        ("kernel.shm_rmid_forced", true),
        ("net/ipv4/conf/eth0.1/rp-filter", true),
        ("foo-", false),
        ("bar..", false),
        ("a..b", false),
        (".a", false),
        ("a.-b", false),
        ("A", false),
        ("safe!", false),
    ] {
        let expected = format!(
            "spec.securityContext.sysctls[0].name: Invalid value: {name:?}: must have at most 253 characters and match regex {regex}"
        );
        let expected = if good { vec![] } else { vec![expected.as_str()] };
        let sysctls = json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
        check("", "Pod", pod(json!({"spec": sysctls})), &expected);
    }
}

#[test]
fn variables_of_files() {
    let label = format!("Invalid value: \"a/b\": {LABEL}");
    for (reference, expected) in [
        (json!({"volumeName": "dir", "path": "a/b.env", "key": "A.B c"}), vec![]),
        (
            json!({"volumeName": "", "path": "", "key": ""}),
            vec![".volumeName: Required value", ".path: Required value", ".key: Required value"],
        ),
        (json!({"volumeName": "nope", "path": "p", "key": "K"}), vec![".volumeName: Not found: \"nope\""]),
        (
            json!({"volumeName": "secret", "path": "p", "key": "K"}),
            vec![".volumeName: Invalid value: \"secret\": referenced volume must be of type emptyDir"],
        ),
        (
            json!({"volumeName": "a/b", "path": "/x/../y", "key": "A=B"}),
            vec![
                &format!(".volumeName: {label}"),
                ".path: Invalid value: \"/x/../y\": must be a relative path",
                ".path: Invalid value: \"/x/../y\": must not contain '..'",
                ".key: Invalid value: \"A=B\": a valid environment variable name must consist only of printable \
                 ASCII characters other than '='",
                ".volumeName: Not found: \"a/b\"",
            ],
        ),
        (
            json!({"volumeName": "dir", "path": "..data", "key": "K"}),
            vec![".path: Invalid value: \"..data\": must not start with '..'"],
        ),
    ] {
        let volumes =
            json!([{"name": "dir", "emptyDir": {}}, {"name": "secret", "secret": {"secretName": "s"}}]);
        let mut container = container();
        container["env"] = json!([{"name": "V", "valueFrom": {"fileKeyRef": reference}}]);
        let place = "spec.initContainers[0].env[0].valueFrom.fileKeyRef";
        let expected: Vec<String> = expected.iter().map(|fault| format!("{place}{fault}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        container["name"] = json!("first");
        let spec = json!({"volumes": volumes, "initContainers": [container]});
        check("", "Pod", pod(json!({"spec": spec})), &expected);
    }
}
