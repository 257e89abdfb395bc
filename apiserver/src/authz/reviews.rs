//! The review resources, which are created and answered but never stored: access reviews, rules reviews, token
//! reviews and "who am I".
use super::{Attributes, Authorizer, Decision};
use crate::authn::Authenticator;
use crate::user::User;
use knarr_api::status::Status;
use knarr_api::{Value, field};
use serde_json::json;
use std::collections::BTreeMap;

/// Answers a create of one of the review resources by its plural name; none for any other resource. The result is
/// the object with its `status` filled.
///
/// # Errors
/// `Invalid` or `BadRequest` for a malformed review.
pub async fn create(
    authorizer: &Authorizer,
    authenticator: &Authenticator,
    user: &User,
    plural: &str,
    namespace: &str,
    mut object: Value,
) -> Option<Result<Value, Status>> {
    let status = match plural {
        "subjectaccessreviews" => subject_access(authorizer, &object, "SubjectAccessReview").await,
        "localsubjectaccessreviews" => local_subject_access(authorizer, namespace, &object).await,
        "selfsubjectaccessreviews" => self_subject_access(authorizer, user, &object).await,
        "selfsubjectrulesreviews" => self_subject_rules(authorizer, user, &object),
        "selfsubjectreviews" => {
            object["metadata"]["creationTimestamp"] = json!(crate::clock::now_rfc3339());
            Ok(json!({"userInfo": user_info(user)}))
        }
        "tokenreviews" => token(authenticator, &object).await,
        _ => return None,
    };
    Some(status.map(|status| {
        object["status"] = status;
        object
    }))
}

/// A `UserInfo`.
pub fn user_info(user: &User) -> Value {
    let mut info = json!({"username": user.name});
    if !user.uid.is_empty() {
        info["uid"] = json!(user.uid);
    }
    if !user.groups.is_empty() {
        info["groups"] = json!(user.groups);
    }
    if !user.extra.is_empty() {
        info["extra"] = json!(user.extra);
    }
    info
}

async fn subject_access(authorizer: &Authorizer, object: &Value, kind: &str) -> Result<Value, Status> {
    let spec = &object["spec"];
    let mut errors = attributes_errors(spec);
    let subject = User {
        name: text(spec, "user").to_owned(),
        uid: text(spec, "uid").to_owned(),
        groups: strings(&spec["groups"]),
        extra: extra(&spec["extra"]),
    };
    if subject.name.is_empty() && subject.groups.is_empty() {
        errors.push(field::Error::invalid(
            "spec.user",
            &json!(""),
            "at least one of user or group must be specified",
        ));
    }
    refuse(kind, &errors)?;
    Ok(decide(authorizer, &subject, spec).await)
}

async fn local_subject_access(
    authorizer: &Authorizer,
    namespace: &str,
    object: &Value,
) -> Result<Value, Status> {
    let attributes = &object["spec"]["resourceAttributes"];
    let asked = text(attributes, "namespace");
    if !attributes.is_null() && asked != namespace {
        let detail = format!("must match metadata.namespace: {namespace}");
        let error = field::Error::invalid("spec.resourceAttributes.namespace", &json!(asked), detail);
        refuse("LocalSubjectAccessReview", &[error])?;
    }
    if object["spec"].get("nonResourceAttributes").is_some_and(|a| !a.is_null()) {
        let detail = "disallowed on this kind of request";
        refuse("LocalSubjectAccessReview", &[field::Error::forbidden("spec.nonResourceAttributes", detail)])?;
    }
    subject_access(authorizer, object, "LocalSubjectAccessReview").await
}

async fn self_subject_access(authorizer: &Authorizer, user: &User, object: &Value) -> Result<Value, Status> {
    let spec = &object["spec"];
    refuse("SelfSubjectAccessReview", &attributes_errors(spec))?;
    Ok(decide(authorizer, user, spec).await)
}

/// Exactly one of resource and non-resource attributes.
fn attributes_errors(spec: &Value) -> Vec<field::Error> {
    let has = |field: &str| spec.get(field).is_some_and(|value| !value.is_null());
    match (has("resourceAttributes"), has("nonResourceAttributes")) {
        (true, true) => vec![field::Error::invalid(
            "spec.nonResourceAttributes",
            &spec["nonResourceAttributes"],
            "cannot be specified in combination with resourceAttributes",
        )],
        (false, false) => vec![field::Error::invalid(
            "spec.resourceAttributes",
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        )],
        _ => Vec::new(),
    }
}

fn refuse(kind: &str, errors: &[field::Error]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("authorization.k8s.io", kind, "", errors)) }
}

async fn decide(authorizer: &Authorizer, subject: &User, spec: &Value) -> Value {
    let resource = &spec["resourceAttributes"];
    let path = &spec["nonResourceAttributes"];
    let attributes = if resource.is_null() {
        Attributes { verb: text(path, "verb"), path: text(path, "path"), ..Attributes::default() }
    } else {
        Attributes {
            verb: text(resource, "verb"),
            group: text(resource, "group"),
            version: text(resource, "version"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            namespace: text(resource, "namespace"),
            name: text(resource, "name"),
            is_resource: true,
            field_selector: resource["fieldSelector"]["rawSelector"].as_str().map(Into::into),
            label_selector: resource["labelSelector"]["rawSelector"].as_str().map(Into::into),
            ..Attributes::default()
        }
    };
    let decision = authorizer.decide(subject, &attributes).await;
    let mut status = json!({"allowed": decision.is_allowed()});
    if matches!(decision, Decision::Deny(_) | Decision::Failed { denied: true, .. }) {
        status["denied"] = json!(true);
    }
    if let Decision::Failed { error, .. } = &decision {
        status["evaluationError"] = json!(error);
    } else if !decision.reason().is_empty() {
        status["reason"] = json!(decision.reason());
    }
    status
}

fn self_subject_rules(authorizer: &Authorizer, user: &User, object: &Value) -> Result<Value, Status> {
    let namespace = text(&object["spec"], "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let (rules, missing) = authorizer.rbac.rules_for(user, namespace);
    let (paths, resources): (Vec<_>, Vec<_>) = rules.iter().partition(|rule| !rule.urls.is_empty());
    let values = |rules: Vec<&super::rbac::Rule>| {
        rules.into_iter().map(super::rbac::Rule::to_value).collect::<Vec<_>>()
    };
    let mut errors: Vec<String> = missing;
    if user.in_group(super::node::NODES) {
        errors.push("node authorizer does not support user rule resolution".to_owned());
    }
    let mut status = json!({
        "resourceRules": values(resources),
        "nonResourceRules": values(paths),
        "incomplete": !errors.is_empty(),
    });
    if !errors.is_empty() {
        status["evaluationError"] = json!(errors.join(", "));
    }
    Ok(status)
}

async fn token(authenticator: &Authenticator, object: &Value) -> Result<Value, Status> {
    let spec = &object["spec"];
    let token = text(spec, "token");
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = strings(&spec["audiences"]);
    Ok(match authenticator.review(token, &audiences).await {
        Ok((user, audiences)) => {
            let mut status = json!({"authenticated": true, "user": user_info(&user)});
            if !audiences.is_empty() {
                status["audiences"] = json!(audiences);
            }
            status
        }
        Err(error) => json!({"user": {}, "error": error}),
    })
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn extra(value: &Value) -> BTreeMap<String, Vec<String>> {
    value.as_object().into_iter().flatten().map(|(key, list)| (key.clone(), strings(list))).collect()
}
