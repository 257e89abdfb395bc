//! One request to a resource, with everything that was read off it.
use super::Row;
use super::negotiate::Accepted;
use super::options::Query;
use crate::server::RequestContext;
use crate::storage::Key;
use crate::user::User;
use http::HeaderMap;
use knarr_api::Value;
use std::sync::Arc;

/// One request.
pub struct Call<'a> {
    /// The resource.
    pub row: &'a Arc<Row>,
    /// What the filter chain learnt.
    pub context: &'a RequestContext,
    /// Request headers.
    pub headers: &'a HeaderMap,
    /// Query options.
    pub query: Query,
    /// Form of the answer.
    pub accepted: Accepted,
    /// Namespace of the object or list; empty for cluster-scoped resources and lists over all namespaces.
    pub namespace: &'a str,
    /// Name in the path; empty for collections.
    pub name: &'a str,
    /// Subresource; empty for the resource itself.
    pub subresource: &'a str,
}

impl Call<'_> {
    /// The storage key of the named object.
    pub fn key(&self) -> Key {
        self.row.key(self.namespace, self.name)
    }

    /// Who asks.
    pub fn user(&self) -> &Arc<User> {
        &self.context.user
    }

    /// Records the decoded object that was sent.
    pub fn requested(&self, object: &Value) {
        if let Some(record) = &self.context.audit {
            record.requested(object);
        }
    }

    /// Records the patch that was sent.
    pub fn patched(&self, body: &[u8]) {
        if let Some(record) = &self.context.audit {
            record.patched(body);
        }
    }

    /// The namespace as admission plugins see it: that of a Namespace object is its own name.
    pub fn admission_namespace<'b>(&'b self, name: &'b str) -> &'b str {
        if &*self.row.resource == "core/namespaces" { name } else { self.namespace }
    }
}
