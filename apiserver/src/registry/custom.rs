//! Custom resources: CustomResourceDefinitions become rows beside those of the built-in table.
//!
//! What is served is a function of the definitions in the store and of nothing else, so every server of a cluster
//! comes to the same: [`Registry::sync_custom`] compares the definitions with what is loaded and brings rows, store
//! and discovery up to date. It is called for every change of a definition that the store tells of, after every write
//! to one (so that an object can be created as soon as its definition is), and before a resource is said not to exist.
//!
//! A table lives as long as something serves it: rows, store and documents hold it, and so do the watches and requests
//! that began with it. A definition that changes in what its table does not tell (its conditions, its ownership) keeps it.
use super::Registry;
use super::conversion::Converter;
use super::row::{Dynamic, Row, index};
use crate::discovery::{Discovery, RemoteVersion};
use crate::outbound::Outbound;
use crate::storage::{BackendError, Index, Resource, Revision, Stored};
use knarr_api::table::{ApiRef, KindRef};
use knarr_api::{Value, defaults, json};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// The resource of the definitions, as storage keys begin.
pub const DEFINITIONS: &str = "apiextensions.k8s.io/customresourcedefinitions";

/// What is loaded.
#[derive(Default)]
pub(super) struct Loaded {
    /// Every definition as it was read; none where its resource is not served.
    definitions: HashMap<Arc<str>, (Revision, Option<Arc<Definition>>)>,
    /// Of every resource that the store holds.
    tables: HashMap<Arc<str>, Table>,
}

/// A table, and whether its objects are kept in the versions they were written in until a webhook converts them.
type Table = (ApiRef, bool);

/// One definition whose resource is served.
struct Definition {
    resource: Arc<str>,
    api: ApiRef,
    converted: bool,
    /// Of all that the table is made from.
    digest: [u8; 32],
    rows: Vec<Arc<Row>>,
}

impl Definition {
    fn is_of(&self, table: &Table) -> bool {
        self.api.same(&table.0) && self.converted == table.1
    }
}

/// Is a condition of a definition true?
pub(crate) fn has_condition(crd: &Value, name: &str) -> bool {
    let conditions = super::object::list(crd, &["status", "conditions"]);
    conditions.iter().any(|c| c["type"] == name && c["status"] == "True")
}

/// The table of a definition with the digest of what it is made from: the one that was `known`, where nothing of that
/// changed.
fn table(crd: &Value, known: Option<&Definition>) -> Option<(ApiRef, [u8; 32])> {
    let spec = &crd["spec"];
    let shape = json!({"spec": {
        "group": spec["group"], "scope": spec["scope"], "names": crd["status"]["acceptedNames"],
        "versions": spec["versions"],
    }});
    let digest: [u8; 32] = Sha256::digest(shape.to_string()).into();
    if let Some(known) = known.filter(|known| known.digest == digest) {
        return Some((known.api.clone(), digest));
    }
    match knarr_api::custom::table(&shape) {
        Ok(api) => Some((Arc::new(api).into(), digest)),
        Err(error) => {
            let name = super::object::name(crd);
            tracing::warn!(name, %error, "the resource of a CustomResourceDefinition cannot be served");
            None
        }
    }
}

fn definition(
    crd: &Value,
    known: Option<&Definition>,
    outbound: Option<Arc<Outbound>>,
) -> Option<Definition> {
    if !has_condition(crd, "Established") {
        return None;
    }
    let (api, digest) = table(crd, known)?;
    let versions = super::object::list(crd, &["spec", "versions"]);
    let storage = versions.iter().find(|v| v["storage"] == true)?["name"].as_str()?;
    let kind_of = |name: &str| api.find(|kind| &*kind.gvk.version == name);
    let stored = kind_of(storage)?;
    let converter = Converter::of(crd, stored.clone(), outbound);
    let served = versions.iter().filter(|v| v["served"] == true);
    let terminating = super::object::deleting(crd);
    let kinds = served.filter_map(|v| kind_of(v["name"].as_str()?));
    let row = |kind| Arc::new(Row::of_definition(kind, stored.clone(), terminating, converter.clone()));
    let rows: Vec<_> = kinds.map(row).collect();
    let resource = super::row::resource_name(&stored).into();
    Some(Definition { resource, api, converted: converter.is_some(), digest, rows })
}

/// What the store is to know of a resource. Objects written under an older schema are brought under this one as they
/// are read.
fn resource(definition: &Definition) -> Option<Resource> {
    let stored = definition.api.find(|kind| kind.storage.as_ref() == Some(&kind.gvk))?;
    let fields = stored.field_selectors.clone();
    let mut resource = Resource::new(&definition.resource, fields.clone());
    resource.indexer = Arc::new(move |body| match serde_json::from_slice::<Value>(body) {
        Ok(object) => index(&object, &fields),
        Err(_) => Index::default(),
    });
    let converted = definition.converted;
    resource.upgrade = Some(Arc::new(move |body| {
        let mut value: Value = serde_json::from_slice(body).ok()?;
        // Without a webhook all versions have one shape; with one, an object stays what it was written as.
        let api = stored.api();
        let kind = match converted {
            true => api.kinds.iter().find(|kind| value["apiVersion"] == kind.gvk.api_version().as_str())?,
            false => &*stored,
        };
        value["apiVersion"] = kind.gvk.api_version().into();
        json::normalize(&api.schema, kind.ty, &mut value, &mut Vec::new()).ok()?;
        defaults::apply(api, kind.ty, &mut value);
        let bytes = json::to_vec(&api.schema, kind.ty, &value);
        (bytes != body).then(|| bytes.into())
    }));
    Some(resource)
}

impl Registry {
    /// Brings what is served in line with the definitions in the store.
    ///
    /// # Errors
    /// A database that cannot be read; what was served before is served on.
    pub async fn sync_custom(&self) -> Result<(), BackendError> {
        let mut loaded = self.custom.lock().await;
        let snapshot = self.store.snapshot(DEFINITIONS);
        let known = &loaded.definitions;
        let is_known =
            |stored: &Arc<Stored>| known.get(stored.key.name()).is_some_and(|k| k.0 == stored.revision);
        if snapshot.iter(None, None).count() == known.len() && snapshot.iter(None, None).all(is_known) {
            return Ok(());
        }
        // Only what changed is read again: there may be hundreds of large ones.
        let read = |stored: &Arc<Stored>| {
            let name: Arc<str> = stored.key.name().into();
            if let Some(found) = known.get(&name).filter(|found| found.0 == stored.revision) {
                return (name, found.clone());
            }
            let before = known.get(&name).and_then(|(_, definition)| definition.as_deref());
            let found = stored.value().ok().and_then(|crd| definition(&crd, before, self.hooks.outbound()));
            (name, (stored.revision, found.map(Arc::new)))
        };
        let all: HashMap<_, _> = snapshot.iter(None, None).map(read).collect();
        let definitions: Vec<&Arc<Definition>> =
            all.values().filter_map(|(_, found)| found.as_ref()).collect();
        let tables: HashMap<Arc<str>, Table> =
            definitions.iter().map(|d| (d.resource.clone(), (d.api.clone(), d.converted))).collect();
        let is_new =
            |d: &&&Arc<Definition>| loaded.tables.get(&d.resource).is_none_or(|known| !d.is_of(known));
        let fresh: Vec<Resource> = definitions.iter().filter(is_new).filter_map(|d| resource(d)).collect();
        if !fresh.is_empty() {
            self.store.register(fresh).await?;
        }
        let mut rows = Dynamic::new();
        for row in definitions.iter().flat_map(|d| &d.rows) {
            let version = rows.entry(row.kind.gvk.api_version()).or_default();
            version.insert(row.kind.plural.clone(), row.clone());
        }
        self.publish(rows);
        for gone in loaded.tables.keys().filter(|resource| !tables.contains_key(*resource)) {
            self.store.unregister(gone).await;
        }
        *loaded = Loaded { definitions: all, tables };
        Ok(())
    }

    fn publish(&self, rows: Dynamic) {
        let _one_at_a_time = self.publishing.lock();
        let custom: Vec<KindRef> =
            rows.values().flat_map(HashMap::values).map(|row| row.kind.clone()).collect();
        self.openapi.set_custom(&custom);
        let discovery = self.discover(custom);
        self.rows.set_custom(rows);
        self.discovery.store(Arc::new(discovery));
        self.published.send_replace(());
    }

    /// Names group versions in discovery that others answer.
    pub fn set_remote(&self, remote: Vec<RemoteVersion>) {
        let _one_at_a_time = self.publishing.lock();
        self.remote.store(Arc::new(remote));
        self.discovery.store(Arc::new(self.discover(self.rows.custom_kinds())));
    }

    fn discover(&self, custom: Vec<KindRef>) -> Discovery {
        let mut all = self.settings.runtime_config.kinds(self.api);
        all.extend(custom);
        Discovery::new(all, &self.settings.address, self.remote.load_full())
    }

    /// Groups and versions that this server serves, and whether they are of custom resources.
    pub fn local_versions(&self) -> Vec<(Arc<str>, Arc<str>, bool)> {
        let builtin = self.settings.runtime_config.kinds(self.api).into_iter().map(|kind| (kind, false));
        let custom = self.rows.custom_kinds();
        let all = builtin.chain(custom.into_iter().map(|kind| (kind, true)));
        let mut found: Vec<(Arc<str>, Arc<str>, bool)> = Vec::new();
        for (kind, custom) in all {
            let (group, version) = (&kind.gvk.group, &kind.gvk.version);
            if !found.iter().any(|(g, v, _)| g == group && v == version) {
                found.push((group.clone(), version.clone(), custom));
            }
        }
        found
    }

    /// Learns of definitions that other servers have acknowledged.
    pub(super) async fn learn_custom(&self) {
        if let Err(status) = self.fresh().await {
            tracing::debug!(%status, "the newest CustomResourceDefinitions are not known");
        }
        self.synced_custom().await;
    }

    /// The same after a write of this server; a failure is tried again by the follower of the definitions.
    pub(super) async fn synced_custom(&self) {
        if let Err(error) = self.sync_custom().await {
            tracing::warn!(%error, "custom resources could not be loaded");
        }
    }
}
