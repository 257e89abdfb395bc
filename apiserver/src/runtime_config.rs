//! `--runtime-config`: which API versions and resources are served beside or instead of the defaults.
//!
//! `api/all`, `api/ga`, `api/beta`, `api/alpha` speak of every version of a kind, `‹group›/‹version›` of one (`v1` or
//! `api/v1` of the core group), `‹group›/‹version›/‹resource›` of one resource; each with `=true` (or nothing) or
//! `=false`. What is narrower wins, in whatever order the flags come.
use knarr_api::kind::{Kind, split_api_version};
use knarr_api::table::{Api, ApiRef, KindRef};

/// What the flags ask for; by default nothing beyond the defaults of the table.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    /// Narrower ones later.
    switches: Vec<(Scope, bool)>,
}

/// What a switch is about; the order is from wide to narrow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    All,
    Stable,
    Beta,
    Alpha,
    Version(String),
    Resource(String, String),
}

impl Scope {
    fn contains(&self, kind: &Kind) -> bool {
        let version = &*kind.gvk.version;
        match self {
            Self::All => true,
            Self::Stable => !version.contains("alpha") && !version.contains("beta"),
            Self::Beta => version.contains("beta"),
            Self::Alpha => version.contains("alpha"),
            Self::Version(of) => kind.gvk.api_version() == *of,
            Self::Resource(of, plural) => kind.gvk.api_version() == *of && *kind.plural == **plural,
        }
    }
}

impl RuntimeConfig {
    /// Reads the values of the flag.
    ///
    /// # Errors
    /// A text for people: what is malformed, or a version that the table does not have.
    pub fn parse(api: &Api, switches: &[String]) -> Result<Self, String> {
        let switches = switches.iter().filter(|text| !text.is_empty()).map(|text| switch(api, text));
        let mut switches = switches.collect::<Result<Vec<_>, _>>()?;
        switches.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Self { switches })
    }

    /// Is the resource served?
    pub fn serves(&self, kind: &Kind) -> bool {
        let narrowest = self.switches.iter().rfind(|(scope, _)| scope.contains(kind));
        !kind.external && narrowest.map_or(kind.served_by_default, |(_, on)| *on)
    }

    /// The served resources of a table.
    pub fn kinds(&self, api: impl Into<ApiRef>) -> Vec<KindRef> {
        let api: ApiRef = api.into();
        api.rows().filter(|kind| self.serves(kind)).collect()
    }
}

fn switch(api: &Api, text: &str) -> Result<(Scope, bool), String> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let on = match value {
        "" | "true" | "True" | "TRUE" | "1" | "t" | "T" => true,
        "false" | "False" | "FALSE" | "0" | "f" | "F" => false,
        _ => return Err(format!("invalid value of {text:?}: true or false is expected")),
    };
    let scope = match key {
        "api/all" => Scope::All,
        "api/ga" => Scope::Stable,
        "api/beta" => Scope::Beta,
        "api/alpha" => Scope::Alpha,
        _ => {
            let key = key.strip_prefix("api/").unwrap_or(key);
            let known = |version: &str| is_known(api, version);
            let (version, resource) = match key.rsplit_once('/') {
                Some((version, resource)) if !known(key) => (version, Some(resource)),
                _ => (key, None),
            };
            if !known(version) {
                return Err(format!("unknown api version: {key}"));
            }
            match resource {
                Some(resource) => Scope::Resource(version.to_owned(), resource.to_owned()),
                None => Scope::Version(version.to_owned()),
            }
        }
    };
    Ok((scope, on))
}

/// Versions without a resource of this release are known as well.
fn is_known(api: &Api, version: &str) -> bool {
    let (group, version) = split_api_version(version);
    let group = api.groups.iter().find(|g| *g.name == *group);
    group.is_some_and(|g| g.versions.iter().any(|v| *v.version == *version))
}

#[cfg(test)]
mod tests {
    use super::*;
    use knarr_api::table::builtin;

    fn check(flags: &str, version: &str, plural: &str, expected: bool) {
        let flags: Vec<String> = flags.split(',').map(str::to_owned).collect();
        let config = RuntimeConfig::parse(builtin(), &flags).expect("a configuration");
        let served =
            config.kinds(builtin()).iter().any(|k| k.gvk.api_version() == version && *k.plural == *plural);
        assert_eq!(served, expected, "{flags:?}: {version} {plural}");
    }

    #[test]
    fn switches() {
        check("", "apps/v1", "deployments", true);
        check("", "resource.k8s.io/v1beta1", "resourceclaims", false);
        check("api/all=true", "scheduling.k8s.io/v1alpha2", "workloads", true);
        check("api/beta", "resource.k8s.io/v1beta1", "resourceclaims", true);
        check("api/beta", "scheduling.k8s.io/v1alpha2", "workloads", false);
        check("batch/v1=false", "batch/v1", "jobs", false);
        check("batch/v1/jobs=false", "batch/v1", "jobs", false);
        check("batch/v1/jobs=false", "batch/v1", "cronjobs", true);
        check("api/all=false,v1=true", "v1", "pods", true);
        check("api/v1=true,api/all=false", "v1", "pods", true);
        check("api/all=false,v1=true", "apps/v1", "deployments", false);
        check("resource.k8s.io/v1beta1/deviceclasses", "resource.k8s.io/v1beta1", "deviceclasses", true);
        check("resource.k8s.io/v1beta1/deviceclasses", "resource.k8s.io/v1beta1", "resourceclaims", false);
        for bad in ["nowhere/v1=true", "batch/v1=maybe", "batch"] {
            assert!(RuntimeConfig::parse(builtin(), &[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
