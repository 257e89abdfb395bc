//! Controllers of accounts, certificates and roles.
use super::own;
use crate::context::{Context, contains, eventually, same};
use anyhow::{Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

/// A request of a node with a P-256 key that nobody has: `/O=system:nodes/CN=system:node:conformance`.
const NODE_REQUEST: &str = include_str!("node_request.pem");

fn request(context: &Context, name: &str, signer: &str, usages: &[&str]) -> Result<String> {
    let name = own(context, name);
    context.apply_json(&json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": name},
        "spec": {"request": STANDARD.encode(NODE_REQUEST), "usages": usages, "signerName": signer},
    }))?;
    Ok(format!("csr/{name}"))
}

/// A node's request for a client certificate is approved and signed; one for something else is not approved.
pub fn approval(context: &Context) -> Result<()> {
    let signer = "kubernetes.io/kube-apiserver-client-kubelet";
    let good = request(context, "good", signer, &["digital signature", "client auth"])?;
    context.wait(&good, "condition=Approved")?;
    let reason = context.value(&good, r#".status.conditions[?(@.type=="Approved")].reason"#)?;
    same(reason.as_str(), "AutoApproved")?;
    let other = request(context, "other", "kubernetes.io/kube-apiserver-client", &["client auth"])?;
    eventually("it is signed", || {
        ensure!(!context.value(&good, ".status.certificate")?.is_empty(), "not yet");
        Ok(())
    })?;
    same(context.value(&other, ".status.conditions")?.as_str(), "")?;
    context.kubectl(&["delete", &good, &other]).map(drop)
}

/// An approved request gets its certificate; one that the signer cannot sign fails.
pub fn signature(context: &Context) -> Result<()> {
    let good = request(context, "good", "kubernetes.io/kube-apiserver-client", &["client auth"])?;
    let bad = request(context, "bad", "kubernetes.io/kube-apiserver-client", &["server auth"])?;
    context.kubectl(&[
        "certificate",
        "approve",
        own(context, "good").as_str(),
        own(context, "bad").as_str(),
    ])?;
    eventually("the certificate is there", || {
        let certificate = STANDARD.decode(context.value(&good, ".status.certificate")?)?;
        contains(&String::from_utf8(certificate)?, "BEGIN CERTIFICATE")
    })?;
    context.wait(&bad, "condition=Failed")?;
    let reason = context.value(&bad, r#".status.conditions[?(@.type=="Failed")].reason"#)?;
    same(reason.as_str(), "SignerValidationFailure")?;
    context.kubectl(&["delete", &good, &bad]).map(drop)
}

/// A role that is the sum of others follows them.
pub fn aggregation(context: &Context) -> Result<()> {
    let label = json!({own(context, "part"): "true"});
    let rule = |verb: &str| json!([{"apiGroups": [""], "resources": ["pods"], "verbs": [verb]}]);
    let role = |name: &str| {
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": {"name": own(context, name)}})
    };
    let sum = super::with(
        role("sum"),
        json!({"rules": [], "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": label}]}}),
    );
    context.apply_json(&sum)?;
    let part = |name: &str, verb: &str| {
        let mut part = super::with(role(name), json!({"rules": rule(verb)}));
        part["metadata"]["labels"] = label.clone();
        context.apply_json(&part)
    };
    part("a", "get")?;
    part("b", "list")?;
    let verbs = || context.value(&format!("clusterrole/{}", own(context, "sum")), ".rules[*].verbs[*]");
    eventually("both are in it", || same(verbs()?.as_str(), "get list"))?;
    context.kubectl(&["delete", "clusterrole", &own(context, "a")])?;
    eventually("one is left", || same(verbs()?.as_str(), "list"))?;
    context.kubectl(&["delete", "clusterrole", &own(context, "b"), &own(context, "sum")]).map(drop)
}

/// The account `default` comes back.
pub fn account(context: &Context) -> Result<()> {
    let uid = || context.value("serviceaccount/default", ".metadata.uid");
    let before = eventually("it is there", uid)?;
    context.kubectl(&["delete", "serviceaccount/default"])?;
    eventually("another one is there", || {
        ensure!(uid()? != before, "it is the same");
        Ok(())
    })
}

/// The authority of the cluster is published again.
pub fn root_ca(context: &Context) -> Result<()> {
    let published = || context.value("configmap/kube-root-ca.crt", r".data.ca\.crt");
    let certificate = eventually("it is there", || {
        let certificate = published()?;
        contains(&certificate, "BEGIN CERTIFICATE")?;
        Ok(certificate)
    })?;
    context.kubectl(&[
        "patch",
        "configmap/kube-root-ca.crt",
        "--patch",
        r#"{"data":{"ca.crt":"another one"}}"#,
    ])?;
    eventually("it is right again", || same(published()?, certificate.clone()))?;
    context.kubectl(&["delete", "configmap/kube-root-ca.crt"])?;
    eventually("it is back", || same(published()?, certificate.clone()))
}

/// A Secret for the token of an account is filled, and goes with the account.
pub fn token(context: &Context) -> Result<()> {
    context.kubectl(&["create", "serviceaccount", "bot"])?;
    context.apply_json(&json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "token", "annotations": {"kubernetes.io/service-account.name": "bot"}},
    }))?;
    let token = eventually("the token is there", || {
        let token = String::from_utf8(STANDARD.decode(context.value("secret/token", ".data.token")?)?)?;
        ensure!(token.split('.').count() == 3, "it is {token:?}");
        Ok(token)
    })?;
    let who = context.kubectl(&[
        "auth",
        "whoami",
        "--token",
        &token,
        "--output",
        "jsonpath={.status.userInfo.username}",
    ]);
    if let Ok(who) = who {
        // A client with a certificate of its own shows that first.
        ensure!(who.starts_with("system:serviceaccount:") || who == "kubernetes-admin", "{who}");
    }
    context.kubectl(&["delete", "serviceaccount/bot"])?;
    context.wait("secret/token", "delete").map(drop)
}

fn bootstrap_token(context: &Context, id: &str, expires: Option<jiff::Timestamp>) -> Result<String> {
    let mut data = json!({
        "token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-signing": "true",
        "usage-bootstrap-authentication": "true",
    });
    if let Some(expires) = expires {
        data["expiration"] = expires.to_string().into();
    }
    let name = format!("bootstrap-token-{id}");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "bootstrap.kubernetes.io/token",
        "metadata": {"name": name}, "stringData": data});
    context.apply_json_in("kube-system", &secret)?;
    Ok(name)
}

/// The public description of the cluster is signed with each token that may sign.
pub fn cluster_info(context: &Context) -> Result<()> {
    let info = ["configmap/cluster-info", "--namespace=kube-public"];
    if context.kubectl(&["get", info[0], info[1]]).is_err() {
        context.kubectl(&[
            "create",
            "configmap",
            "cluster-info",
            info[1],
            "--from-literal=kubeconfig=apiVersion: v1",
        ])?;
    }
    let secret = bootstrap_token(context, "signer", None)?;
    let signature =
        || context.kubectl(&["get", info[0], info[1], "--output", r"jsonpath={.data.jws-kubeconfig-signer}"]);
    eventually("it is signed", || {
        let signature = signature()?;
        // The content is left out of it.
        ensure!(signature.split('.').count() == 3 && signature.contains(".."), "{signature:?}");
        Ok(())
    })?;
    context.kubectl(&["delete", "secret", &secret, "--namespace=kube-system"])?;
    eventually("the signature goes with the token", || same(signature()?.as_str(), ""))
}

/// A token that has expired is deleted.
pub fn expired_token(context: &Context) -> Result<()> {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3);
    let secret = bootstrap_token(context, "expiry", Some(jiff::Timestamp::from_second(soon.as_second())?))?;
    context
        .kubectl(&[
            "wait",
            &format!("secret/{secret}"),
            "--namespace=kube-system",
            "--for=delete",
            "--timeout=60s",
        ])
        .map(drop)
}
