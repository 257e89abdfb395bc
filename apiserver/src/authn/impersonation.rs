//! `Impersonate-…` headers: acting as somebody else, where every part of the other identity is authorized.
use super::request_header::collect_extra;
use crate::authz::{Attributes, Authorizer};
use crate::user::{ANONYMOUS, AUTHENTICATED, SERVICE_ACCOUNT_PREFIX, UNAUTHENTICATED, User};
use http::HeaderMap;
use knarr_api::status::Status;
use std::sync::Arc;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// The user a request acts as: the one the headers name, or the requester. The headers are taken away.
///
/// # Errors
/// `Forbidden` for a part the requester may not impersonate; 500 for groups, uid or extras without a user.
pub fn impersonate(
    authorizer: &Authorizer,
    requester: Arc<User>,
    headers: &mut HeaderMap,
) -> Result<Arc<User>, Status> {
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(requester);
    }
    let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let groups = headers.get_all(GROUP).iter().filter_map(|v| v.to_str().ok()).map(str::to_owned).collect();
    let mut user = User { name: text(USER), uid: text(UID), groups, ..User::default() };
    collect_extra(headers, &[EXTRA.to_owned()], &mut user);
    if user.name.is_empty() {
        if user.groups.is_empty() && user.uid.is_empty() && user.extra.is_empty() {
            return Ok(requester);
        }
        return Err(Status::internal("requested impersonation without impersonating a user"));
    }
    authorize(authorizer, &requester, &user)?;
    complete(&mut user);
    let names: Vec<_> = headers.keys().filter(|n| n.as_str().starts_with("impersonate-")).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    Ok(Arc::new(user))
}

fn authorize(authorizer: &Authorizer, requester: &User, user: &User) -> Result<(), Status> {
    let base = Attributes { verb: "impersonate", version: "v1", is_resource: true, ..Attributes::default() };
    let by_name = match user.as_service_account() {
        Some((namespace, name)) => {
            Attributes { resource: "serviceaccounts", namespace, name, ..base.clone() }
        }
        None => Attributes { resource: "users", name: &user.name, ..base.clone() },
    };
    authorizer.require(requester, &by_name)?;
    for group in &user.groups {
        authorizer.require(requester, &Attributes { resource: "groups", name: group, ..base.clone() })?;
    }
    let base = Attributes { group: "authentication.k8s.io", ..base };
    if !user.uid.is_empty() {
        authorizer.require(requester, &Attributes { resource: "uids", name: &user.uid, ..base.clone() })?;
    }
    for (key, values) in &user.extra {
        for value in values {
            let extra = Attributes { resource: "userextras", subresource: key, name: value, ..base.clone() };
            authorizer.require(requester, &extra)?;
        }
    }
    Ok(())
}

/// Adds the groups that follow from the name.
fn complete(user: &mut User) {
    if user.groups.is_empty()
        && user.name.starts_with(SERVICE_ACCOUNT_PREFIX)
        && let Some((namespace, name)) = user.as_service_account()
    {
        user.groups = User::service_account(namespace, name, "").groups;
    }
    if user.name == ANONYMOUS {
        if !user.in_group(UNAUTHENTICATED) {
            user.groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !user.in_group(AUTHENTICATED) && !user.in_group(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::Mode;
    use serde_json::json;

    #[test]
    fn every_part_is_authorized() {
        let authorizer = Authorizer::new(&[Mode::Rbac]);
        let rules = json!({"rules": [{"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["ann"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]}]});
        authorizer.rbac.set_role("", "r", Some(&rules));
        let binding = json!({"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "bob"}]});
        authorizer.rbac.set_binding("", "b", Some(&binding));
        let bob = Arc::new(User { name: "bob".into(), ..User::default() });
        let check = |headers: &[(&'static str, &'static str)], expected: Result<(&str, usize), u16>| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            let found = impersonate(&authorizer, bob.clone(), &mut map);
            let found = found.map(|u| (u.name.clone(), u.groups.len())).map_err(|s| s.code);
            assert_eq!(found, expected.map(|(name, groups)| (name.to_owned(), groups)), "{headers:?}");
        };
        check(&[], Ok(("bob", 0)));
        check(&[(USER, "ann")], Ok(("ann", 1)));
        check(&[(USER, "eve")], Err(403));
        check(&[(USER, "ann"), (GROUP, "dev")], Err(403));
        check(&[(GROUP, "dev")], Err(500));
        check(&[(USER, "system:serviceaccount:d:bot")], Ok(("system:serviceaccount:d:bot", 3)));
        check(&[(USER, "ann"), ("impersonate-extra-scopes", "x")], Err(403));
    }
}
