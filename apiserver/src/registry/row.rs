//! What the registry knows of each served resource: its row in the API table, how it is stored, its rules.
use super::conversion::Converter;
use super::convert::{self, Conversion};
use super::encode;
use crate::runtime_config::RuntimeConfig;
use crate::storage::{Index, Key, Resource};
use crate::strategy::{CUSTOM, Rules, rules};
use arc_swap::ArcSwap;
use knarr_api::Value;
use knarr_api::custom::Custom;
use knarr_api::kind::Kind;
use knarr_api::status::{self, Status};
use knarr_api::table::{Api, ApiRef, KindRef};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

/// The resource of node-port claims: one object a port that a Service holds, never served.
pub const NODE_PORTS: &str = "knarr.internal/nodeports";

/// One served resource.
pub struct Row {
    /// Its row in the requested version.
    pub kind: KindRef,
    /// The row of the version that is stored.
    pub stored: KindRef,
    /// `‹group›/‹resource›` as storage keys begin; empty for kinds that are never stored.
    pub resource: Arc<str>,
    /// How the requested version becomes the stored one and back; none when they are the same.
    pub conversion: Option<&'static Conversion>,
    /// Converts what is read and written, where versions are converted by a webhook; the store is then the only one that
    /// knows another version, and `stored` is the requested one.
    pub converter: Option<Arc<Converter>>,
    /// Rules of the kind.
    pub rules: &'static Rules,
    /// Objects are kept in the log only.
    pub in_log: bool,
    /// The table that its types belong to.
    pub api: ApiRef,
    /// The definition of the resource is being deleted: no object can be created.
    pub terminating: bool,
}

impl Row {
    /// The row of one version of a custom resource.
    pub(super) fn of_definition(
        kind: KindRef,
        stored: KindRef,
        terminating: bool,
        converter: Option<Arc<Converter>>,
    ) -> Self {
        let resource = resource_name(&stored).into();
        let stored = if converter.is_some() { kind.clone() } else { stored };
        Self {
            resource,
            conversion: convert::between(&kind.gvk, &stored.gvk),
            converter,
            rules: &CUSTOM,
            in_log: false,
            api: kind.api().clone(),
            terminating,
            kind,
            stored,
        }
    }

    /// The structural schema of a custom resource and what else is known of it.
    pub fn custom(&self) -> Option<&Custom> {
        self.api.custom.get(&self.kind.ty)
    }

    /// The storage key of an object.
    pub fn key(&self, namespace: &str, name: &str) -> Key {
        Key::new(&self.resource, namespace, name)
    }

    /// Group and plural for error texts.
    pub fn subject(&self) -> status::Resource<'_> {
        status::Resource { group: &self.kind.gvk.group, plural: &self.kind.plural }
    }

    /// Why a write that insists on one UID is refused for an object with another, as the original's store words it,
    /// which names the object by its key there.
    pub fn other_uid(&self, namespace: &str, name: &str, given: &str, stored: &str) -> String {
        let (group, plural) = (&*self.kind.gvk.group, &*self.kind.plural);
        let prefix = match plural {
            _ if self.custom().is_some() => format!("{group}/{plural}"),
            "customresourcedefinitions" | "apiservices" => format!("{group}/{plural}"),
            "nodes" => "minions".to_owned(),
            "services" => "services/specs".to_owned(),
            "endpoints" => "services/endpoints".to_owned(),
            "replicationcontrollers" => "controllers".to_owned(),
            "ingresses" => "ingress".to_owned(),
            _ => plural.to_owned(),
        };
        let place = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        format!(
            "StorageError: invalid object, Code: 4, Key: /registry/{prefix}/{place}, ResourceVersion: 0, \
             AdditionalErrorMsg: Precondition failed: UID in precondition: {given}, UID in object meta: {stored}"
        )
    }

    /// 404 on an object.
    pub fn not_found(&self, name: &str) -> Status {
        Status::not_found(self.subject(), name)
    }

    /// Have objects the same fields as in the stored version?
    pub fn is_alike(&self) -> bool {
        self.conversion.is_none_or(|conversion| conversion.alike)
    }

    /// Is the object stored and of more than one request's life?
    pub fn is_stored(&self) -> bool {
        !self.resource.is_empty()
    }
}

/// Rows by API version and plural.
pub(super) type Dynamic = HashMap<String, HashMap<Arc<str>, Arc<Row>>>;

/// The served resources, found by group, version and plural: the built-in ones, which stay, and the custom ones, which
/// are exchanged as a whole.
pub struct Rows {
    versions: Dynamic,
    custom: ArcSwap<Dynamic>,
}

impl Rows {
    /// The rows of everything that is served.
    pub fn new(api: &'static Api, served: &RuntimeConfig) -> Self {
        let mut versions = Dynamic::new();
        for kind in served.kinds(api) {
            let row = Arc::new(row(kind));
            let version = versions.entry(row.kind.gvk.api_version()).or_default();
            version.insert(row.kind.plural.clone(), row);
        }
        Self { versions, custom: ArcSwap::default() }
    }

    /// Exchanges the rows of custom resources.
    pub(super) fn set_custom(&self, rows: Dynamic) {
        self.custom.store(Arc::new(rows));
    }

    /// The kinds of the custom rows.
    pub(super) fn custom_kinds(&self) -> Vec<KindRef> {
        self.custom.load().values().flat_map(HashMap::values).map(|row| row.kind.clone()).collect()
    }

    /// Is the group version served?
    pub fn has_version(&self, group: &str, version: &str) -> bool {
        self.version(group, version).is_some()
            || self.custom.load().contains_key(&format!("{group}/{version}"))
    }

    /// The row of a resource.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Row>> {
        if let Some(row) = self.version(group, version).and_then(|rows| rows.get(plural)) {
            return Some(row.clone());
        }
        self.custom.load().get(&format!("{group}/{version}"))?.get(plural).cloned()
    }

    /// The row of the resource whose objects are of a kind.
    pub fn kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Row>> {
        let same = |row: &&Arc<Row>| &*row.kind.gvk.kind == kind && row.is_stored();
        if let Some(row) = self.version(group, version).and_then(|rows| rows.values().find(same)) {
            return Some(row.clone());
        }
        self.custom.load().get(&format!("{group}/{version}"))?.values().find(same).cloned()
    }

    fn version(&self, group: &str, version: &str) -> Option<&HashMap<Arc<str>, Arc<Row>>> {
        if group.is_empty() {
            self.versions.get(version)
        } else {
            let mut name = String::with_capacity(group.len() + version.len() + 1);
            name.push_str(group);
            name.push('/');
            name.push_str(version);
            self.versions.get(&name)
        }
    }

    /// All built-in rows.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.versions.values().flat_map(HashMap::values)
    }
}

/// The versions of a row's resource, as field ownership sees them.
#[derive(Clone, Copy)]
pub struct Siblings<'a> {
    /// The row written through.
    pub row: &'a Row,
    /// All built-in rows.
    pub rows: &'a Rows,
    /// When the request that needs conversions is over.
    pub until: Option<Instant>,
}

impl std::fmt::Debug for Siblings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "versions of {}", self.row.resource)
    }
}

impl Siblings<'_> {
    /// The rows of the resource's other versions, other groups' included, ordered by API version.
    pub fn others(&self) -> Vec<Arc<Row>> {
        if !self.row.is_stored() {
            return Vec::new();
        }
        let custom = self.rows.custom.load();
        let custom = custom.values().flat_map(HashMap::values);
        let same = |other: &&Arc<Row>| {
            let (theirs, own) = (&other.kind.gvk, &self.row.kind.gvk);
            other.resource == self.row.resource
                && (&theirs.group, &theirs.version) != (&own.group, &own.version)
        };
        let mut found: Vec<Arc<Row>> = self.rows.iter().chain(custom).filter(same).cloned().collect();
        found.sort_by_key(|other| other.kind.gvk.api_version());
        found
    }

    /// An object of the row's version in another version of the resource.
    ///
    /// # Errors
    /// A conversion that failed.
    pub async fn to_version(&self, object: Value, other: &Row) -> Result<Value, Status> {
        match &self.row.converter {
            Some(converter) => single(converter.values(vec![object], &other.kind, false).await?),
            None => Ok(encode::serve(other, encode::store(self.row, object))),
        }
    }

    /// The other way round.
    ///
    /// # Errors
    /// A conversion that failed.
    pub async fn from_version(&self, object: Value, other: &Row) -> Result<Value, Status> {
        match &self.row.converter {
            Some(converter) => single(converter.values(vec![object], &self.row.kind, false).await?),
            None => Ok(encode::serve(self.row, encode::store(other, object))),
        }
    }

    /// The row of a version of the resource.
    pub(super) fn of(&self, api_version: &str) -> Option<Arc<Row>> {
        let same = |row: &&Arc<Row>| row.resource == self.row.resource;
        if let Some(rows) = self.rows.versions.get(api_version) {
            return rows.values().find(same).cloned();
        }
        self.rows.custom.load().get(api_version)?.values().find(same).cloned()
    }
}

fn single(mut values: Vec<Value>) -> Result<Value, Status> {
    values.pop().ok_or_else(|| Status::internal("a conversion returned nothing"))
}

fn row(kind: KindRef) -> Row {
    let api = kind.api().clone();
    let stored = kind.storage.as_ref().and_then(|gvk| {
        api.find(|k| k.gvk == *gvk && k.storage.is_some() && k.storage_resource == kind.storage_resource)
    });
    let stored = stored.unwrap_or_else(|| kind.clone());
    let resource = if kind.storage.is_some() { resource_name(&stored) } else { String::new() };
    Row {
        conversion: convert::between(&kind.gvk, &stored.gvk),
        converter: None,
        rules: rules(&stored.gvk.group, &stored.plural),
        in_log: resource == "core/events",
        resource: resource.into(),
        api,
        terminating: false,
        kind,
        stored,
    }
}

/// `‹group›/‹resource›` with `core` for the core group.
pub fn resource_name(kind: &Kind) -> String {
    let group = if kind.gvk.group.is_empty() { "core" } else { &kind.gvk.group };
    format!("{group}/{}", kind.plural)
}

/// What the store needs to know of every stored resource.
pub fn resources(api: &'static Api, served: &RuntimeConfig) -> Vec<Resource> {
    let rows = Rows::new(api, served);
    let mut out: Vec<Resource> = Vec::new();
    let mut known = HashSet::new();
    for row in rows.iter().filter(|r| r.is_stored() && known.insert(r.resource.clone())) {
        let fields: Vec<Arc<str>> = row.stored.field_selectors.clone();
        let mut resource = Resource::new(&row.resource, fields.clone());
        resource.indexer = Arc::new(move |body| match serde_json::from_slice::<Value>(body) {
            Ok(object) => index(&object, &fields),
            Err(_) => Index::default(),
        });
        if &*row.resource == "core/pods" {
            resource = resource.hot(vec!["spec.nodeName".into()]);
        }
        if row.in_log {
            resource = resource.in_log();
        }
        out.push(resource);
    }
    out.push(Resource::new(NODE_PORTS, Vec::new()));
    out.sort_by(|a, b| a.name.cmp(&b.name));
    out
}

/// The facts of an object: labels, uid and selectable fields. Fields that the original computes are computed here:
/// a boolean that is absent is `false`, and the lists of addresses select by their first entry.
pub fn index(object: &Value, fields: &[Arc<str>]) -> Index {
    let mut index = Index::of(object, fields);
    let mut extra: Vec<(&str, String)> = Vec::new();
    for field in fields {
        match &**field {
            name @ ("spec.unschedulable" | "spec.hostNetwork") if index.fields.get(name).is_none() => {
                extra.push((name, "false".to_owned()));
            }
            name @ "status.podIPs" => {
                let ip = object.pointer("/status/podIPs/0/ip").and_then(Value::as_str).unwrap_or_default();
                extra.push((name, ip.to_owned()));
            }
            "source" => {
                let component = object.pointer("/source/component").and_then(Value::as_str);
                let component = component.filter(|c| !c.is_empty());
                let reporting = object.get("reportingComponent").and_then(Value::as_str);
                extra.push(("source", component.or(reporting).unwrap_or_default().to_owned()));
            }
            "reportingController" => {
                let reporting = object.get("reportingComponent").and_then(Value::as_str).unwrap_or_default();
                extra.push(("reportingController", reporting.to_owned()));
            }
            _ => {}
        }
    }
    if !extra.is_empty() {
        let kept: Vec<(String, String)> =
            index.fields.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
        let added = extra.into_iter().map(|(n, v)| (n.to_owned(), v));
        index.fields = kept.into_iter().chain(added).collect();
    }
    index
}
