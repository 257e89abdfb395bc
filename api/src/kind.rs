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

    /// From its three parts.
    pub fn new(group: &str, version: &str, kind: &str) -> Self {
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }
}

/// Splits an `apiVersion` into group and version: `apps/v1`, or `v1` for the core group.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
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
    /// A delete without a propagation policy orphans the dependents (old kinds only).
    pub orphan_by_default: bool,
    /// Served by an add-on behind an APIService, never by the API server itself.
    pub external: bool,
    /// First release with the resource in this version, `1.9`.
    pub introduced: Option<Arc<str>>,
    /// First release without it, as far as it is planned.
    pub removed: Option<Arc<str>>,
    /// Subresources by name.
    pub subresources: Vec<Subresource>,
    /// The type of the object in [`crate::schema::Schema`].
    pub ty: TypeId,
    /// The type of the list; none where the resource cannot be listed.
    pub list: Option<TypeId>,
    /// The kind of the list, `PodList`.
    pub list_kind: Arc<str>,
}

impl Kind {
    /// A row of the cluster's scope without verbs, names and storage of its own, to be filled in.
    pub fn new(gvk: GroupVersionKind, plural: Arc<str>, ty: TypeId) -> Self {
        Self {
            singular: gvk.kind.to_lowercase().into(),
            list_kind: format!("{}List", gvk.kind).into(),
            gvk,
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: false,
            verbs: Vec::new(),
            served_by_default: false,
            preferred: false,
            storage: None,
            storage_hash: Arc::default(),
            storage_resource: plural.clone(),
            plural,
            field_selectors: Vec::new(),
            field_selector_aliases: Vec::new(),
            create_on_update: false,
            unconditional_update: false,
            orphan_by_default: false,
            external: false,
            introduced: None,
            removed: None,
            subresources: Vec::new(),
            ty,
            list: None,
        }
    }

    /// The subresource with the given name.
    pub fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| &*s.name == name)
    }

    /// Whether the main resource has the verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.iter().any(|v| &**v == verb)
    }
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
    /// The type it exchanges.
    pub ty: TypeId,
}

/// An API group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Name; empty for the core group.
    pub name: Arc<str>,
    /// The version clients should use; none while no version is on by default.
    pub preferred_version: Option<Arc<str>>,
    /// Versions in order of preference.
    pub versions: Vec<GroupVersion>,
}

/// A version of a [`Group`].
#[derive(Clone, Debug)]
pub struct GroupVersion {
    /// `v1`.
    pub version: Arc<str>,
    /// Served without `--runtime-config`.
    pub served_by_default: bool,
    /// `groupPriorityMinimum` and `versionPriority` of the automatic APIService; none where it has none.
    pub priority: Option<(i32, i32)>,
}
