//! Which resources the API server has, by discovery.

use std::sync::Arc;

use knarr_component::meta::Metadata;
use kube::{
    Api, Client,
    api::DynamicObject,
    discovery::{ApiResource, Discovery, Scope},
};
use parking_lot::Mutex;

/// A resource of the server in one version.
#[derive(Debug, Clone)]
pub(crate) struct Resource {
    pub api: ApiResource,
    pub namespaced: bool,
    verbs: Vec<String>,
}

impl Resource {
    /// A namespaced resource for tests.
    #[cfg(test)]
    pub fn test(api: ApiResource) -> Self {
        Self { api, namespaced: true, verbs: Vec::new() }
    }

    /// Whether all of these verbs are served.
    pub fn can(&self, verbs: &[&str]) -> bool {
        verbs.iter().all(|verb| self.verbs.iter().any(|have| have == verb))
    }

    /// `pods` or `deployments.apps`, as users call it.
    pub fn name(&self) -> String {
        if self.api.group.is_empty() {
            self.api.plural.clone()
        } else {
            format!("{}.{}", self.api.plural, self.api.group)
        }
    }

    /// The API in one namespace; the namespace of cluster-scoped resources is ignored.
    pub fn objects(&self, client: &Client, namespace: &str) -> Api<DynamicObject> {
        if self.namespaced && !namespace.is_empty() {
            Api::namespaced_with(client.clone(), namespace, &self.api)
        } else {
            Api::all_with(client.clone(), &self.api)
        }
    }

    /// The API of metadata in all namespaces.
    pub fn metadata(&self, client: &Client) -> Api<Metadata> {
        Api::all_with(client.clone(), &self.api)
    }
}

/// Resources by their kinds.
pub(crate) struct Directory {
    client: Client,
    known: Mutex<Vec<Arc<Resource>>>,
}

impl Directory {
    /// An empty one, which asks the server when it is asked.
    pub fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// The resource of a kind, in whatever version; discovery is asked again for one that is not known.
    pub async fn find(&self, api_version: &str, kind: &str) -> kube::Result<Option<Arc<Resource>>> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let find = |all: &[Arc<Resource>]| {
            all.iter().find(|known| known.api.group == group && known.api.kind == kind).cloned()
        };
        if let Some(found) = find(&self.known.lock()) {
            return Ok(Some(found));
        }
        let all = discover(&self.client).await?;
        let found = find(&all);
        *self.known.lock() = all;
        Ok(found)
    }
}

/// All resources, each in the version that its group prefers.
///
/// Aggregated discovery takes two requests; servers without it are asked group by group.
pub(crate) async fn discover(client: &Client) -> kube::Result<Vec<Arc<Resource>>> {
    let discovery = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(discovery) => discovery,
        Err(error) => {
            tracing::debug!(%error, "no aggregated discovery");
            Discovery::new(client.clone()).run().await?
        }
    };
    let mut found: Vec<Arc<Resource>> = discovery
        .groups()
        .flat_map(|group| group.resources_by_stability())
        .map(|(api, capabilities)| {
            Arc::new(Resource {
                namespaced: capabilities.scope == Scope::Namespaced,
                verbs: capabilities.operations,
                api,
            })
        })
        .collect();
    found.sort_by(|a, b| (&a.api.group, &a.api.plural).cmp(&(&b.api.group, &b.api.plural)));
    Ok(found)
}

/// Group versions of other servers that could not be asked lately (`‹group›/‹version›`): what these hold may be more
/// than what is listed. None from servers without aggregated discovery, which leave them out.
pub(crate) async fn stale(client: &Client) -> kube::Result<Vec<String>> {
    let mut stale = Vec::new();
    for group in &client.list_api_groups_aggregated().await?.items {
        let name = group.metadata.as_ref().and_then(|metadata| metadata.name.as_deref()).unwrap_or_default();
        let behind = group.versions.iter().filter(|version| version.freshness.as_deref() == Some("Stale"));
        stale.extend(
            behind.map(|version| format!("{name}/{}", version.version.as_deref().unwrap_or_default())),
        );
    }
    Ok(stale)
}
