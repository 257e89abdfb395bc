//! For whom a kubelet may ask for tokens: those whom the pod's volumes name, and whoever it is allowed to by a rule with
//! the verb `request-serviceaccounts-token-audience` (KEP-4412, gate `ServiceAccountNodeAudienceRestriction`).
use crate::admission::{Attributes, array};
use crate::authz::{self, Authorizer};
use crate::objects::Objects;
use knarr_api::Value;

/// Checks the audiences of a token for a pod.
///
/// # Errors
/// The refusal, as the original words it.
pub(super) fn check(
    objects: &dyn Objects,
    authorizer: &Authorizer,
    attributes: &Attributes<'_>,
    request: &Value,
    pod: &Value,
) -> Result<(), String> {
    let audience = match array(&request["spec"]["audiences"]) {
        [] => "",
        [one] => one.as_str().unwrap_or_default(),
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    if is_named(objects, attributes.namespace, pod, audience) {
        return Ok(());
    }
    let wanted = authz::Attributes {
        verb: "request-serviceaccounts-token-audience",
        namespace: attributes.namespace,
        resource: audience,
        name: attributes.name,
        is_resource: true,
        ..Default::default()
    };
    if authorizer.authorize(attributes.user, &wanted).is_allowed() {
        return Ok(());
    }
    let user = &attributes.user.name;
    Err(format!(
        "audience {audience:?} not found in pod spec volume, {user} is not authorized to request tokens for this audience"
    ))
}

/// Whether a volume of the pod has a token for this audience; the empty one is the API server's.
fn is_named(objects: &dyn Objects, namespace: &str, pod: &Value, audience: &str) -> bool {
    array(&pod["spec"]["volumes"]).iter().any(|volume| {
        let mut sources = array(&volume["projected"]["sources"]).iter();
        let projected = sources.any(|source| {
            source.get("serviceAccountToken").is_some_and(|token| {
                token.is_object() && token["audience"].as_str().unwrap_or_default() == audience
            })
        });
        projected
            || driver(objects, namespace, pod, volume).is_some_and(|driver| {
                let driver = objects.get("storage.k8s.io", "csidrivers", "", &driver);
                let requests = driver.as_ref().map(|driver| array(&driver["spec"]["tokenRequests"]));
                let mut requests = requests.unwrap_or_default().iter();
                requests.any(|request| request["audience"].as_str().unwrap_or_default() == audience)
            })
    })
}

/// Name of the CSI driver behind a volume, if there is one.
fn driver(objects: &dyn Objects, namespace: &str, pod: &Value, volume: &Value) -> Option<String> {
    if let Some(driver) = volume["csi"]["driver"].as_str() {
        return Some(driver.to_owned());
    }
    let claim = match volume["persistentVolumeClaim"]["claimName"].as_str() {
        Some(claim) => claim.to_owned(),
        None if volume["ephemeral"].is_object() => {
            format!("{}-{}", pod["metadata"]["name"].as_str()?, volume["name"].as_str()?)
        }
        None => return None,
    };
    let claim = objects.get("", "persistentvolumeclaims", namespace, &claim)?;
    let volume = objects.get("", "persistentvolumes", "", claim["spec"]["volumeName"].as_str()?)?;
    volume["spec"]["csi"]["driver"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Memory;
    use serde_json::json;

    #[test]
    fn volumes_name_audiences() {
        let objects = Memory::default();
        let driver = |name: &str, audience: &str| json!({"metadata": {"name": name}, "spec": {"tokenRequests": [{"audience": audience}]}});
        objects.put("storage.k8s.io", "csidrivers", driver("inline.example", "inline"));
        objects.put("storage.k8s.io", "csidrivers", driver("claimed.example", "claimed"));
        for claim in ["c", "p-e"] {
            let named = json!({"metadata": {"name": claim, "namespace": "n"}, "spec": {"volumeName": "v"}});
            objects.put("", "persistentvolumeclaims", named);
        }
        let volume = json!({"metadata": {"name": "v"}, "spec": {"csi": {"driver": "claimed.example"}}});
        objects.put("", "persistentvolumes", volume);
        let check = |volume: Value, named: &[&str]| {
            let pod = json!({"metadata": {"name": "p"}, "spec": {"volumes": [volume]}});
            let all = ["", "vault", "inline", "claimed"];
            let found: Vec<&str> =
                all.into_iter().filter(|audience| is_named(&objects, "n", &pod, audience)).collect();
            assert_eq!(found, named, "{pod}");
        };
        let token = |token: Value| json!({"projected": {"sources": [{"serviceAccountToken": token}]}});
        check(json!({"emptyDir": {}}), &[]);
        check(token(json!({"path": "t"})), &[""]);
        check(token(json!({"path": "t", "audience": "vault"})), &["vault"]);
        check(json!({"csi": {"driver": "inline.example"}}), &["inline"]);
        check(json!({"csi": {"driver": "other.example"}}), &[]);
        check(json!({"persistentVolumeClaim": {"claimName": "c"}}), &["claimed"]);
        check(json!({"persistentVolumeClaim": {"claimName": "none"}}), &[]);
        check(json!({"name": "e", "ephemeral": {}}), &["claimed"]);
    }
}
