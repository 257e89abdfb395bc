//! Controllers that need no workload of their own: autoscaling, provisioning, certificates, balancers.
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

/// A Deployment grows while its pods use more than they should, up to its limit.
pub fn autoscaling(context: &Context) -> Result<()> {
    context.apply_json(&context.deployment("web", 1))?;
    context.rolled_out("deployment/web")?;
    // No process gets by with one byte.
    let metrics = json!([{"type": "Resource", "resource": {
        "name": "memory", "target": {"type": "AverageValue", "averageValue": "1"},
    }}]);
    context.apply_json(&json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1, "maxReplicas": 3, "metrics": metrics,
        },
    }))?;
    eventually("the Deployment has the most pods it may have", || {
        same(context.value("deployment/web", ".spec.replicas")?.as_str(), "3")
    })?;
    context.wait("hpa/web", "condition=ScalingLimited")?;
    let reason = context.value("hpa/web", r#".status.conditions[?(@.type=="ScalingLimited")].reason"#)?;
    ensure!(matches!(reason.as_str(), "TooManyReplicas" | "ScaleUpLimit"), "{reason}");
    // Without pods it is switched off.
    context.kubectl(&["scale", "deployment/web", "--replicas=0"])?;
    eventually("the autoscaler is off", || {
        let reason = context.value("hpa/web", r#".status.conditions[?(@.type=="ScalingActive")].reason"#)?;
        same(reason.as_str(), "ScalingDisabled")
    })
}

/// A claim of the default class gets a volume where its pod runs; data outlives pods and goes with the claim.
pub fn provisioned_volumes(context: &Context) -> Result<()> {
    let mut set = context.deployment("db", 1);
    set["kind"] = "StatefulSet".into();
    set["spec"]["serviceName"] = "db".into();
    set["spec"]["persistentVolumeClaimRetentionPolicy"] = json!({"whenScaled": "Delete"});
    set["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    set["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }}]);
    context.apply_json(&set)?;
    context.rolled_out("statefulset/db")?;
    context.exec("db-0", &["sh", "-c", "echo kept > /data/file"])?;
    context.kubectl(&["delete", "pod", "db-0"])?;
    context.rolled_out("statefulset/db")?;
    same(context.exec("db-0", &["cat", "/data/file"])?.as_str(), "kept\n")?;
    let volume = context.value("pvc/data-db-0", ".spec.volumeName")?;
    context.kubectl(&[
        "patch",
        "pvc/data-db-0",
        "-p",
        r#"{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}"#,
    ])?;
    context.wait("pvc/data-db-0", "jsonpath={.status.capacity.storage}=2Gi")?;
    context.kubectl(&["scale", "statefulset/db", "--replicas=0"])?;
    context.wait("pvc/data-db-0", "delete")?;
    context.wait(&format!("pv/{volume}"), "delete")?;
    Ok(())
}

/// An ephemeral volume's claim comes and goes with its pod.
pub fn ephemeral_volumes(context: &Context) -> Result<()> {
    let mut pod = context.pod("box", &["serve"]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    let claim = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    pod["spec"]["volumes"] =
        json!([{"name": "scratch", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}}]);
    context.apply_json(&pod)?;
    context.wait("pod/box", "condition=Ready")?;
    context.exec("box", &["sh", "-c", "echo x > /scratch/file"])?;
    same(context.value("pvc/box-scratch", ".metadata.ownerReferences[0].name")?.as_str(), "box")?;
    context.kubectl(&["delete", "pod", "box"])?;
    context.wait("pvc/box-scratch", "delete")?;
    Ok(())
}

/// A request of a user with a P-256 key that nobody has: `/O=dev/O=ops/CN=jane`.
const REQUEST: &str = include_str!("controllers/request.pem");

/// An approved request gets its certificate; a refused one does not.
pub fn certificates(context: &Context) -> Result<()> {
    for (name, verb) in [("good", "approve"), ("bad", "deny")] {
        let name = format!("{}-{name}", context.namespace);
        context.apply_json(&json!({
            "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
            "metadata": {"name": name},
            "spec": {
                "request": STANDARD.encode(REQUEST), "usages": ["client auth"],
                "signerName": "kubernetes.io/kube-apiserver-client", "expirationSeconds": 3600,
            },
        }))?;
        context.kubectl(&["certificate", verb, &name])?;
    }
    let good = format!("csr/{}-good", context.namespace);
    eventually("the certificate is there", || {
        let certificate = STANDARD.decode(context.value(&good, ".status.certificate")?)?;
        contains(&String::from_utf8(certificate)?, "BEGIN CERTIFICATE")
    })?;
    let bad = format!("csr/{}-bad", context.namespace);
    same(context.value(&bad, ".status.certificate")?.as_str(), "")?;
    context.kubectl(&["delete", &good, &bad])?;
    Ok(())
}

/// A Secret for the token of a ServiceAccount is filled, and goes with the account.
pub fn account_tokens(context: &Context) -> Result<()> {
    context.kubectl(&["create", "serviceaccount", "bot"])?;
    context.apply_json(&json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "bot"}},
    }))?;
    eventually("the token is there", || {
        let token = STANDARD.decode(context.value("secret/token", ".data.token")?)?;
        same(String::from_utf8(token)?.split('.').count(), 3)
    })?;
    context.kubectl(&["delete", "serviceaccount", "bot"])?;
    context.wait("secret/token", "delete")?;
    Ok(())
}

/// A Service of type LoadBalancer gets an address that answers, and keeps its port to itself.
pub fn load_balancer(context: &Context) -> Result<()> {
    context.apply_json(&context.deployment("web", 1))?;
    let balanced = |name: &str| {
        let mut service = context.service(name, "LoadBalancer");
        service["spec"]["selector"] = json!({"app": "web"});
        service["spec"]["ports"][0]["port"] = 18_080.into();
        service
    };
    context.apply_json(&balanced("web"))?;
    context.rolled_out("deployment/web")?;
    context.wait("service/web", "jsonpath={.status.loadBalancer.ingress[0].ip}")?;
    let address = context.value("service/web", ".status.loadBalancer.ingress[0].ip")?;
    context.toolbox("client")?;
    eventually("the address answers", || {
        let url = format!("http://{address}:18080/hostname");
        contains(&context.exec("client", &["testbox", "get", &url])?, "web-")
    })?;
    context.apply_json(&balanced("second"))?;
    eventually("the second Service is told that its port is taken", || {
        let events = context.kubectl(&["get", "events", "--field-selector", "involvedObject.name=second"])?;
        contains(&events, "SyncLoadBalancerFailed")
    })?;
    context.kubectl(&["delete", "service", "web"])?;
    context.wait("service/second", "jsonpath={.status.loadBalancer.ingress[0].ip}")?;
    Ok(())
}

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

/// A request for a client certificate is signed once it is approved, and its holder is known by it.
pub fn certificate_login(context: &Context) -> Result<()> {
    let key = rcgen::KeyPair::generate()?;
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "jane");
    let request = parameters.serialize_request(&key)?.pem()?;
    let request = STANDARD.encode(request);
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
    std::fs::write(&certificate, STANDARD.decode(issued)?)?;
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
