//! What expressions about a write see of it: match conditions of webhooks, and policies.
use super::Attributes;
use super::webhook::call::{Failure, converted};
use super::webhook::matching::Invocation;
use super::webhook::review;
use crate::authz::{self, Authorizer};
use crate::objects::Objects;
use crate::user::User;
use knarr_api::Value;
use knarr_api::cel::admission::Input;
use knarr_api::cel::library::{self, Access, Decision};
use knarr_api::status::Status;
use std::borrow::Cow;
use std::sync::Arc;

/// A write in the version that an invocation wants.
pub struct Facts {
    /// The new object.
    pub object: Option<Value>,
    /// The stored one.
    pub old: Option<Value>,
    request: Value,
    namespace: Option<Arc<Value>>,
    access: Access,
    asker: Asker,
}

impl Facts {
    /// Collects what there is to know of a write.
    ///
    /// # Errors
    /// An object that cannot be converted.
    pub async fn new(
        objects: &dyn Objects,
        authorizer: &Authorizer,
        attributes: &Attributes<'_>,
        invocation: &Invocation,
    ) -> Result<Self, Status> {
        let kind = attributes.kind;
        let is_namespace = &*kind.plural == "namespaces" && kind.gvk.group.is_empty();
        let within = if is_namespace { "" } else { attributes.namespace };
        let object = converted(attributes, invocation, attributes.object.as_ref()).await;
        let old = converted(attributes, invocation, attributes.old.as_ref()).await;
        Ok(Self {
            object: object.map_err(Failure::into_status)?,
            old: old.map_err(Failure::into_status)?,
            request: review::facts(attributes, invocation),
            namespace: (!within.is_empty()).then(|| objects.get("", "namespaces", "", within)).flatten(),
            access: Access {
                group: kind.gvk.group.to_string(),
                resource: kind.plural.to_string(),
                subresource: attributes.subresource.to_owned(),
                namespace: attributes.namespace.to_owned(),
                name: attributes.name.to_owned(),
                ..Access::default()
            },
            asker: Asker { authorizer: authorizer.clone(), user: attributes.user.clone() },
        })
    }

    /// The variables of expressions.
    pub fn input<'a>(&'a self, params: Option<&'a Value>) -> Input<'a> {
        Input {
            object: self.object.as_ref(),
            old: self.old.as_ref(),
            request: &self.request,
            namespace: self.namespace.as_deref(),
            params,
            authorizer: Some((&self.asker, &self.access)),
        }
    }
}

/// Asks the server's authorizers about the user of a request.
struct Asker {
    authorizer: Authorizer,
    user: Arc<User>,
}

impl library::Authorizer for Asker {
    fn decide(&self, access: &Access) -> Decision {
        let account = access.service_account.as_ref();
        let account = account.map(|(namespace, name)| User::service_account(namespace, name, ""));
        let user = account.as_ref().unwrap_or(&self.user);
        let attributes = authz::Attributes {
            verb: &access.verb,
            group: &access.group,
            version: if access.path.is_some() { "" } else { "*" },
            resource: &access.resource,
            subresource: &access.subresource,
            namespace: &access.namespace,
            name: &access.name,
            path: access.path.as_deref().unwrap_or_default(),
            is_resource: access.path.is_none(),
            field_selector: Some(Cow::Borrowed(access.field_selector.as_str()))
                .filter(|text| !text.is_empty()),
            label_selector: Some(Cow::Borrowed(access.label_selector.as_str()))
                .filter(|text| !text.is_empty()),
        };
        let decision = self.authorizer.authorize(user, &attributes);
        let error = decision.error().map(str::to_owned);
        Decision { allowed: decision.is_allowed(), reason: decision.reason().to_owned(), error }
    }
}
