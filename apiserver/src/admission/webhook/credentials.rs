//! What this server shows to webhooks (`kubeConfigFile` of a WebhookAdmissionConfiguration): a kubeconfig whose users are
//! named after the servers they are for, `host`, `host:port`, `‹service›.‹namespace›.svc`, `*.domain` or `*`.
//!
//! Source: the page "Dynamic Admission Control", "Authenticate apiservers".
use super::super::config::Configurations;
use crate::config_file::ConfigError;
use crate::outbound::kubeconfig::{Authorization, User, users};
use crate::outbound::{Endpoint, Outbound};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

const VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1alpha1"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    kube_config_file: PathBuf,
}

/// What one server is shown.
pub struct Credential {
    /// Makes connections with a client certificate; none: the one that all use.
    pub outbound: Option<Outbound>,
    /// The `Authorization` header.
    pub authorization: Option<Authorization>,
}

/// What servers are shown, by the names of users.
#[derive(Default)]
pub struct Credentials {
    by_name: HashMap<String, Arc<Credential>>,
}

impl Credentials {
    /// What a plugin's configuration names; nothing without one. Servers are found as `common` finds them.
    ///
    /// # Errors
    /// A file that is no kubeconfig, credentials that cannot be read or used.
    pub fn of_plugin(
        told: &Configurations,
        plugin: &str,
        common: &Outbound,
    ) -> Result<Arc<Self>, ConfigError> {
        let found = match told.of::<File>(plugin, "WebhookAdmissionConfiguration", &VERSIONS[..1]) {
            Err(error) => match told.of::<File>(plugin, "WebhookAdmission", &VERSIONS[1..]) {
                Ok(former) => former,
                Err(_) => return Err(error),
            },
            Ok(found) => found,
        };
        let Some(File { kube_config_file: path }) = found else { return Ok(Arc::default()) };
        let all = users(&told.folder().join(path))?.into_iter().map(|(name, user)| {
            let User { identity, authorization } = user;
            let outbound = identity.map(|shown| common.showing(shown));
            (name, Arc::new(Credential { outbound, authorization }))
        });
        Ok(Arc::new(Self { by_name: all.collect() }))
    }

    /// What a server is shown: the nearest name wins, with its port before without the usual one.
    pub fn of(&self, endpoint: &Endpoint) -> Option<&Arc<Credential>> {
        if self.by_name.is_empty() {
            return None;
        }
        let bare = endpoint.authority.strip_suffix(":443");
        let names = std::iter::once(endpoint.authority.as_str()).chain(bare);
        names.into_iter().find_map(|name| self.nearest(name)).or_else(|| self.by_name.get("*"))
    }

    fn nearest(&self, name: &str) -> Option<&Arc<Credential>> {
        let exact = self.by_name.get(name);
        let mut domains = name.match_indices('.').map(|(at, _)| format!("*{}", &name[at..]));
        exact.or_else(|| domains.find_map(|domain| self.by_name.get(&domain)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::Trust;
    use http::HeaderValue;

    #[test]
    fn the_nearest_name() {
        let credential = |text: &'static str| {
            let authorization = Some(Authorization::fixed(HeaderValue::from_static(text)));
            Arc::new(Credential { outbound: None, authorization })
        };
        let names = ["a.n.svc", "*.n.svc", "b.n.svc:8443", "*.example.org", "*"];
        let by_name = names.map(|name| (name.to_owned(), credential(name))).into();
        let check = |credentials: &Credentials, authority: &str, expected: Option<&str>| {
            let mut endpoint = Endpoint::of_service("n", "a", 443, "/", Trust::default());
            authority.clone_into(&mut endpoint.authority);
            let found = credentials.of(&endpoint).and_then(|found| Some(found.authorization.as_ref()?.get()));
            assert_eq!(found.as_ref().map(|value| value.to_str().unwrap()), expected, "{authority}");
        };
        let credentials = Credentials { by_name };
        check(&credentials, "a.n.svc:443", Some("a.n.svc"));
        check(&credentials, "a.n.svc:8443", Some("*"));
        check(&credentials, "b.n.svc:8443", Some("b.n.svc:8443"));
        check(&credentials, "c.n.svc:443", Some("*.n.svc"));
        check(&credentials, "hook.example.org", Some("*.example.org"));
        check(&credentials, "else.where", Some("*"));
        check(&Credentials::default(), "a.n.svc:443", None);
    }
}
