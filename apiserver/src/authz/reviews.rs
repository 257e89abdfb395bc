//! The review resources, which are created and answered but never stored: access reviews, rules reviews, token
//! reviews and "who am I".
mod asked;

use super::{Authorizer, Decision};
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
    let subject = User {
        name: text(spec, "user").to_owned(),
        uid: text(spec, "uid").to_owned(),
        groups: strings(&spec["groups"]),
        extra: extra(&spec["extra"]),
    };
    let mut errors = asked::faults(spec);
    if subject.name.is_empty() && subject.groups.is_empty() {
        errors.push(field::Error::invalid(
            "spec.user",
            &json!(""),
            "at least one of user or group must be specified",
        ));
    }
    errors.extend(metadata_faults(object, "must be empty"));
    refuse(kind, &errors)?;
    Ok(decide(authorizer, &subject, spec).await)
}

async fn local_subject_access(
    authorizer: &Authorizer,
    namespace: &str,
    object: &Value,
) -> Result<Value, Status> {
    const KIND: &str = "LocalSubjectAccessReview";
    let mut plain = object.clone();
    if let Some(metadata) = plain["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
    let mut errors = Vec::new();
    errors.extend(metadata_faults(&plain, "must be empty except for namespace"));
    let attributes = &object["spec"]["resourceAttributes"];
    let asked = text(attributes, "namespace");
    if !attributes.is_null() && asked != namespace {
        let detail = "must match metadata.namespace";
        errors.push(field::Error::invalid("spec.resourceAttributes.namespace", &json!(asked), detail));
    }
    let path = &object["spec"]["nonResourceAttributes"];
    if !path.is_null() {
        let detail = "disallowed on this kind of request";
        errors.push(field::Error::invalid("spec.nonResourceAttributes", path, detail));
    }
    refuse(KIND, &errors)?;
    subject_access(authorizer, &plain, KIND).await
}

async fn self_subject_access(authorizer: &Authorizer, user: &User, object: &Value) -> Result<Value, Status> {
    let spec = &object["spec"];
    let mut errors = asked::faults(spec);
    errors.extend(metadata_faults(object, "must be empty"));
    refuse("SelfSubjectAccessReview", &errors)?;
    Ok(decide(authorizer, user, spec).await)
}

/// A question has no identity; who manages its fields is not said by whom it asks.
fn metadata_faults(object: &Value, detail: &str) -> Option<field::Error> {
    let metadata = &object["metadata"];
    let is_set = |(key, value): (&String, &Value)| key != "managedFields" && !value.is_null();
    let named = metadata.as_object().is_some_and(|fields| fields.iter().any(is_set));
    named.then(|| field::Error::invalid("metadata", metadata, detail))
}

fn refuse(kind: &str, errors: &[field::Error]) -> Result<(), Status> {
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("authorization.k8s.io", kind, "", errors)) }
}

async fn decide(authorizer: &Authorizer, subject: &User, spec: &Value) -> Value {
    let asked = asked::read(spec);
    let decision = authorizer.decide(subject, &asked.attributes).await;
    let mut status = json!({"allowed": decision.is_allowed()});
    if matches!(decision, Decision::Deny(_) | Decision::Failed { denied: true, .. }) {
        status["denied"] = json!(true);
    }
    if !decision.reason().is_empty() {
        status["reason"] = json!(decision.reason());
    }
    let errors: Vec<&str> = decision.error().into_iter().chain(asked.ignored).collect();
    if !errors.is_empty() {
        status["evaluationError"] = json!(errors.join("; "));
    }
    status
}

fn self_subject_rules(authorizer: &Authorizer, user: &User, object: &Value) -> Result<Value, Status> {
    let namespace = text(&object["spec"], "namespace");
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let found = authorizer.rules_for(user, namespace);
    let (paths, resources): (Vec<_>, Vec<_>) = found.rules.iter().partition(|rule| !rule.urls.is_empty());
    let values = |rules: Vec<&super::rbac::Rule>| {
        rules.into_iter().map(super::rbac::Rule::to_value).collect::<Vec<_>>()
    };
    let mut status = json!({
        "resourceRules": values(resources),
        "nonResourceRules": values(paths),
        "incomplete": found.incomplete,
    });
    if !found.errors.is_empty() {
        status["evaluationError"] = json!(super::aggregate(&found.errors));
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
        Ok((user, audiences, _)) => {
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
