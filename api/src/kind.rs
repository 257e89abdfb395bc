//! Kinds and resources: one row for every resource in every version.
use crate::schema::TypeId;
use std::sync::Arc;

/// Group, version and kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupVersionKind {
    /// API group; empty for the core group.
    pub group: Arc<str>,
    /// API version, `v1`.
    pub version: Arc<str>,
    /// Kind, `Pod`.
    pub kind: Arc<str>,
}

impl GroupVersionKind {
    /// `group/version`, or just the version for the core group.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// One resource in one version: `apps/v1` `deployments`.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Group, version, kind as served.
    pub gvk: GroupVersionKind,
    /// Plural resource name, lower case.
    pub plural: Arc<str>,
    /// Singular resource name.
    pub singular: Arc<str>,
    /// Short names for kubectl.
    pub short_names: Vec<Arc<str>>,
    /// Categories (`all`).
    pub categories: Vec<Arc<str>>,
    /// Lives in namespaces.
    pub namespaced: bool,
    /// Verbs of the main resource.
    pub verbs: Vec<Arc<str>>,
    /// Served without `--runtime-config`.
    pub served_by_default: bool,
    /// The version clients should prefer in its group.
    pub preferred: bool,
    /// Group, version and kind it is stored as; equal to `gvk` for most. None: never stored (reviews, bindings).
    pub storage: Option<GroupVersionKind>,
    /// First 8 bytes of SHA-256 of the stored group/version/Kind, base64, for discovery.
    pub storage_hash: Arc<str>,
    /// Plural used in the storage key; shared by all versions of the resource.
    pub storage_resource: Arc<str>,
    /// Field labels accepted in field selectors.
    pub field_selectors: Vec<Arc<str>>,
    /// Older spellings of field labels, mapped to those above.
    pub field_selector_aliases: Vec<(Arc<str>, Arc<str>)>,
    /// PUT to a missing name creates.
    pub create_on_update: bool,
    /// PUT without resourceVersion is allowed.
    pub unconditional_update: bool,
    /// Subresources by name.
    pub subresources: Vec<Subresource>,
    /// The type of the object in [`crate::schema::Schema`].
    pub ty: TypeId,
}

/// A subresource row: `pods/exec`.
#[derive(Clone, Debug)]
pub struct Subresource {
    /// Name, `status`.
    pub name: Arc<str>,
    /// The kind it exchanges.
    pub gvk: GroupVersionKind,
    /// Its verbs.
    pub verbs: Vec<Arc<str>>,
}
