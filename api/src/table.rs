//! The table of the built-in API: every type and every resource of Kubernetes v1.36, as text in `api/table/`.
//!
//! Use [`builtin`] for the parsed table and its look-ups. To change the API, change the text: nothing is
//! generated. One file holds one API group:
//!
//! ```text
//! package core.v1 io.k8s.api.core.v1 group() version(v1) proto(k8s.io.api.core.v1) served
//!
//! resource pods Pod namespaced served preferred short(po) crud stored(HASH) select(…)
//!   sub status Pod get patch update
//!
//! alias Protocol = string enum(SCTP,TCP,UDP)     a named Go scalar, list or map
//! wrapper ExtraValue = []string                  a list that is a message of its own on the wire
//! special JSONSchemaPropsOrBool = schema-or-bool(JSONSchemaProps)
//!
//! type ServicePort kind since(1.0)               kind: has apiVersion and kind
//!   port!      3 int32                           JSON name, protobuf number, type, flags
//!   protocol?  2 Protocol default("TCP")         ! required  ? omitempty  * pointer
//!   &          2 VolumeSource                    & inline   ~ not in JSON   - not in protobuf
//!   ports?     1 []ServicePort map(port,protocol) merge(port)
//! ```
//!
//! `served`, `off` and `never` on a package or type say whether it is served by default, on request or not at
//! all. `crud` are the eight verbs; `stored(hash[,group/version/Kind])` the storage version; `select()` stands
//! for metadata.name and metadata.namespace. Objects are stored in a version of today even where the original
//! still writes an older one; only the discovery hash is the original's. `groups.kt` has the groups in discovery order, `gates.kt` the feature gates and
//! `defaults.kt` what defaulting sets.
mod held;
mod parse;

use crate::defaults::Plan;
use crate::gates::Gate;
use crate::kind::{Group, GroupVersionKind, Kind};
use crate::schema::{Schema, TypeId};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};

pub use held::{ApiRef, KindRef};
pub use parse::TableError;
pub(crate) use parse::{parameter, unknown};

/// Types, resources and groups with their look-ups.
#[derive(Debug, Default)]
pub struct Api {
    /// All types.
    pub schema: Schema,
    /// All resources, ordered by group, then version, then name, as discovery lists them.
    pub kinds: Vec<Kind>,
    /// All groups in discovery order.
    pub groups: Vec<Group>,
    /// Feature gates with their defaults.
    pub gates: BTreeMap<Arc<str>, Gate>,
    /// What defaulting sets; see [`crate::defaults`].
    pub defaults: Plan,
    /// What is known beyond the table of types of custom resources; empty in the built-in table.
    pub custom: HashMap<TypeId, crate::custom::Custom>,
    by_gvk: HashMap<GroupVersionKind, TypeId>,
}

impl Api {
    /// The resource at `/apis/‹group›/‹version›/‹plural›`, whether served by default or not.
    pub fn resource(&self, group: &str, version: &str, plural: &str) -> Option<&Kind> {
        let same = |k: &&Kind| &*k.plural == plural && &*k.gvk.version == version && &*k.gvk.group == group;
        self.kinds.iter().find(same)
    }

    /// The resource whose objects have the given kind (not lists, options and other kinds without a resource).
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Kind> {
        let same = |k: &&Kind| &*k.gvk.kind == kind && &*k.gvk.version == version && &*k.gvk.group == group;
        self.kinds.iter().find(same)
    }

    /// The type of any kind, also of lists, options, reviews and `Status`.
    pub fn type_of(&self, group: &str, version: &str, kind: &str) -> Option<TypeId> {
        let own = GroupVersionKind::new(group, version, kind);
        let everywhere = || GroupVersionKind::new("*", "*", kind);
        self.by_gvk.get(&own).or_else(|| self.by_gvk.get(&everywhere())).copied()
    }

    /// The type of a document with this `apiVersion` and `kind`.
    pub fn type_of_document(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        let (group, version) = crate::kind::split_api_version(api_version);
        self.type_of(group, version, kind)
    }

    /// The group with the given name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|g| &*g.name == name)
    }

    /// The resources of one group version in discovery order.
    pub fn resources<'a>(&'a self, group: &'a str, version: &'a str) -> impl Iterator<Item = &'a Kind> {
        self.kinds.iter().filter(move |k| &*k.gvk.group == group && &*k.gvk.version == version)
    }

    /// The versions in which a stored resource can be read, of all groups: those whose `storage` is the same.
    pub fn siblings<'a>(&'a self, kind: &'a Kind) -> impl Iterator<Item = &'a Kind> {
        self.kinds.iter().filter(move |k| {
            k.storage.is_some()
                && k.storage_resource == kind.storage_resource
                && k.storage.as_ref().map(|s| &s.group) == kind.storage.as_ref().map(|s| &s.group)
        })
    }

    /// Parses a table from files of name and text; see the module for the language.
    pub fn parse(files: &[(&str, &str)]) -> Result<Self, TableError> {
        parse::parse(files)
    }
}

/// The built-in table, parsed at first use (a few milliseconds).
pub fn builtin() -> &'static Api {
    static API: LazyLock<Api> = LazyLock::new(|| match Api::parse(SOURCES) {
        Ok(api) => api,
        // The text is part of the program and a test parses it: this cannot happen in a released build.
        Err(error) => panic!("the built-in API table is broken: {error}"),
    });
    &API
}

/// SHA-256 of the table's text in hexadecimal: what caches of derived documents are keyed by.
pub fn digest() -> &'static str {
    static DIGEST: LazyLock<Arc<str>> = LazyLock::new(|| {
        let mut hash = Sha256::new();
        for (name, text) in SOURCES {
            hash.update(name);
            hash.update([0]);
            hash.update(text);
        }
        hash.finalize().iter().map(|b| format!("{b:02x}")).collect::<String>().into()
    });
    &DIGEST
}

/// The text of the built-in table: names and contents of its files.
pub fn sources() -> &'static [(&'static str, &'static str)] {
    SOURCES
}

macro_rules! sources {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("../table/", $name, ".kt")))),*]
    };
}

/// All files of the table.
static SOURCES: &[(&str, &str)] = sources!(
    "groups"
    "gates"
    "defaults"
    "admission"
    "admissionregistration"
    "apidiscovery"
    "apiextensions"
    "apiregistration"
    "apiserverinternal"
    "apps"
    "audit"
    "authentication"
    "authorization"
    "autoscaling"
    "batch"
    "certificates"
    "coordination"
    "core"
    "custom_metrics"
    "discovery"
    "events"
    "extensions"
    "external_metrics"
    "flowcontrol"
    "imagepolicy"
    "meta"
    "metrics"
    "networking"
    "node"
    "policy"
    "rbac"
    "resource"
    "runtime"
    "scheduling"
    "storage"
    "storagemigration"
    "types"
    "version"
);

#[cfg(test)]
pub(crate) mod tests;
