//! Controllers that act on what users rarely look at: volumes of claims, autoscalers, certificates, roles made of roles.
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use serde_json::json;

/// A claim of the default class gets a volume on the node of its first consumer, which outlives the pod and goes with
/// the claim.
pub fn claims(context: &Context) -> Result<()> {
    context.apply_json(&json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }))?;
    same(context.value("pvc/data", ".spec.storageClassName")?.as_str(), "standard")?;
    same(context.value("pvc/data", ".status.phase")?.as_str(), "Pending")?;
    let mut pod = context.pod("box", &["serve"]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    pod["spec"]["volumes"] = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]);
    context.apply_json(&pod)?;
    context.wait("pod/box", "condition=Ready")?;
    same(context.value("pvc/data", ".status.phase")?.as_str(), "Bound")?;
    context.exec("box", &["sh", "-c", "echo kept > /data/file"])?;
    // A claim in use is not removed under its pod.
    context.kubectl(&["delete", "pvc/data", "--wait=false"])?;
    same(context.exec("box", &["cat", "/data/file"])?.trim(), "kept")?;
    contains(&context.kubectl(&["describe", "pvc/data"])?, "Terminating")?;
    let volume = context.value("pvc/data", ".spec.volumeName")?;
    context.kubectl(&["delete", "pod/box", "--now"])?;
    context.wait("pvc/data", "delete")?;
    context.wait(&format!("pv/{volume}"), "delete").map(drop)
}

/// A volume that outlives its pod holds what the pod wrote.
pub fn claims_are_kept(context: &Context) -> Result<()> {
    let mut set = context.deployment("store", 1);
    set["kind"] = "StatefulSet".into();
    set["spec"]["serviceName"] = "store".into();
    let template = &mut set["spec"]["template"]["spec"];
    template["containers"][0]["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"}]);
    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}}]);
    context.apply_json(&set)?;
    context.rolled_out("statefulset/store")?;
    context.exec("store-0", &["sh", "-c", "echo kept > /data/file"])?;
    let first = context.value("pod/store-0", ".metadata.uid")?;
    context.kubectl(&["delete", "pod/store-0", "--now"])?;
    eventually("another pod", || {
        ensure!(context.value("pod/store-0", ".metadata.uid")? != first);
        Ok(())
    })?;
    context.wait("pod/store-0", "condition=Ready")?;
    same(context.exec("store-0", &["cat", "/data/file"])?.trim(), "kept")
}

/// An autoscaler follows the processor time of its pods.
pub fn autoscaler(context: &Context) -> Result<()> {
    let mut deployment = context.deployment("web", 1);
    let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
    container["resources"] = json!({"requests": {"cpu": "20m"}, "limits": {"cpu": "100m"}});
    container["command"] = json!(["sh", "-c", "while true; do :; done"]);
    container["args"] = json!([]);
    container["readinessProbe"] = json!({"exec": {"command": ["true"]}});
    context.apply_json(&deployment)?;
    context.rolled_out("deployment/web")?;
    context.kubectl(&["autoscale", "deployment/web", "--cpu=50%", "--min=1", "--max=2"])?;
    eventually("a second replica", || {
        same(context.value("deployment/web", ".spec.replicas")?.as_str(), "2")
    })?;
    contains(&context.kubectl(&["describe", "hpa/web"])?, "SuccessfulRescale")
}

/// A request for a client certificate is signed once it is approved, and its holder is known by it.
pub fn certificates(context: &Context) -> Result<()> {
    let key = rcgen::KeyPair::generate()?;
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    let request = parameters.serialize_request(&key)?.pem()?;
    use base64::Engine;
    let request = base64::engine::general_purpose::STANDARD.encode(request);
    let name = &context.namespace;
    context.apply_json(&json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": request, "signerName": "kubernetes.io/kube-apiserver-client", "usages": ["client auth"]},
    }))?;
    let csr = format!("csr/{name}");
    contains(&context.kubectl(&["get", &csr])?, "Pending")?;
    context.kubectl(&["certificate", "approve", name])?;
    let issued = eventually("a certificate", || {
        let issued = context.value(&csr, ".status.certificate")?;
        ensure!(!issued.is_empty());
        Ok(issued)
    })?;
    contains(&context.kubectl(&["get", &csr])?, "Approved,Issued")?;
    let folder = tempfile::tempdir()?;
    let (certificate, private) = (folder.path().join("crt"), folder.path().join("key"));
    std::fs::write(&certificate, base64::engine::general_purpose::STANDARD.decode(issued)?)?;
    std::fs::write(&private, key.serialize_pem())?;
    let flags = [
        format!("--client-certificate={}", certificate.display()),
        format!("--client-key={}", private.display()),
        "--user=".to_owned(),
    ];
    let mut arguments = vec!["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"];
    arguments.extend(flags.iter().map(String::as_str));
    same(context.kubectl(&arguments)?.as_str(), "jane")?;
    context.kubectl(&["delete", &csr]).map(drop)
}

/// A role made of others has their rules, and follows them.
pub fn aggregated_roles(context: &Context) -> Result<()> {
    let (part, whole) = (format!("{}-part", context.namespace), format!("{}-whole", context.namespace));
    let label = json!({"conformance/aggregate-to": context.namespace});
    let rules = |plural: &str| json!([{"apiGroups": [""], "resources": [plural], "verbs": ["get"]}]);
    let role = |plural: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": part, "labels": label}, "rules": rules(plural)})
    };
    context.apply_json(&json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": whole},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": label}]}, "rules": [],
    }))?;
    for plural in ["pods", "secrets"] {
        context.apply_json(&role(plural))?;
        eventually("the rules of the part", || {
            let found = context.value(&format!("clusterrole/{whole}"), ".rules[*].resources")?;
            same(found, format!("[\"{plural}\"]"))
        })?;
    }
    context.kubectl(&["delete", "clusterrole", &part, &whole]).map(drop)
}
