//! Publishes the certificate authority of the API server as a ClusterTrustBundle of the signer
//! `kubernetes.io/kube-apiserver-serving`, where bundles are served (KEP-3257).

use std::sync::Arc;

use futures::future::try_join_all;
use k8s_openapi::{
    api::certificates::v1beta1::{ClusterTrustBundle, ClusterTrustBundleSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use knarr_api::gates;
use knarr_component::{informer::Informer, queue::Queue, runner::SyncResult};
use kube::{
    api::{Api, DeleteParams, PostParams},
    runtime::watcher::Config,
};
use ring::digest::{SHA256, digest};

use crate::{
    context::Context,
    meta::{is_code, name},
    resources::discover,
};

const NAME: &str = "kube-apiserver-serving-clustertrustbundle-publisher-controller";
const SIGNER: &str = "kubernetes.io/kube-apiserver-serving";
/// Bytes of the digest that are part of a bundle's name.
const DIGEST: usize = 12;

/// What the server should hold, and what it should no longer hold.
#[derive(Debug, PartialEq)]
struct Plan {
    /// The bundle to be made or, if one of its name is there, repaired.
    write: Option<ClusterTrustBundle>,
    /// Names of this signer's other bundles: their authority has been replaced.
    outdated: Vec<String>,
}

/// A name that tells the contents, so that a new authority is a new bundle.
fn bundle_name(certificates: &str) -> String {
    let sum = digest(&SHA256, certificates.as_bytes());
    let hash: String = sum.as_ref()[..DIGEST].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}:{hash}", SIGNER.replace('/', ":"))
}

fn plan(bundles: &[Arc<ClusterTrustBundle>], wanted: &str, certificates: &str) -> Plan {
    let (same, others): (Vec<_>, Vec<_>) =
        bundles.iter().partition(|bundle| name(&bundle.metadata) == wanted);
    let write = match same.first() {
        None => Some(bundle(wanted, certificates)),
        Some(known) if known.spec.trust_bundle != certificates => {
            let mut repaired = ClusterTrustBundle::clone(known);
            repaired.spec.trust_bundle = certificates.to_owned();
            Some(repaired)
        }
        Some(_) => None,
    };
    Plan { write, outdated: others.iter().map(|bundle| name(&bundle.metadata).to_owned()).collect() }
}

/// Runs the controller where the kind is served and the authority is known.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let Some(certificates) = context.root_ca.clone().filter(|_| gates::enabled("ClusterTrustBundle")) else {
        return Ok(());
    };
    let served = discover(&context.client).await?;
    if !served.iter().any(|resource| resource.name() == "clustertrustbundles.certificates.k8s.io") {
        tracing::info!("ClusterTrustBundles are not served: no certificate authority is published as one");
        return Ok(());
    }
    let selected = Config::default().fields(&format!("spec.signerName={SIGNER}"));
    let bundles: Informer<ClusterTrustBundle> = context.informers.get_selected(selected);
    let queue: Queue<String> = Queue::new();
    queue.add(bundle_name(&certificates));
    let (added, wanted) = (queue.clone(), bundle_name(&certificates));
    bundles.on_change(move |_| added.add(wanted.clone()));
    let (synced, api) = (bundles.synced(), context.api_all::<ClusterTrustBundle>());
    context
        .work(NAME, synced, queue, 1, move |wanted| {
            let (api, bundles, certificates) = (api.clone(), bundles.clone(), certificates.clone());
            async move { sync(&api, &bundles.list(), &wanted, &certificates).await }
        })
        .await
}

async fn sync(
    api: &Api<ClusterTrustBundle>,
    bundles: &[Arc<ClusterTrustBundle>],
    wanted: &str,
    certificates: &str,
) -> SyncResult {
    let Plan { write, outdated } = plan(bundles, wanted, certificates);
    match write {
        None => {}
        Some(new) if new.metadata.uid.is_none() => drop(api.create(&PostParams::default(), &new).await?),
        Some(repaired) => drop(api.replace(wanted, &PostParams::default(), &repaired).await?),
    }
    // The new authority is known before the old one goes.
    let (api, params) = (&api, &DeleteParams::default());
    let removals = outdated.iter().map(|name| async move {
        match api.delete(name, params).await {
            Err(error) if !is_code(&error, 404) => Err(error),
            _ => Ok(()),
        }
    });
    try_join_all(removals).await?;
    Ok(None)
}

fn bundle(name: &str, certificates: &str) -> ClusterTrustBundle {
    ClusterTrustBundle {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        spec: ClusterTrustBundleSpec {
            signer_name: Some(SIGNER.to_owned()),
            trust_bundle: certificates.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_contents() {
        let name = bundle_name("ca");
        assert_eq!(name, "kubernetes.io:kube-apiserver-serving:6959097001d10501ac7d54c0");
        assert_ne!(name, bundle_name("other"));
    }

    #[test]
    fn one_bundle_holds_the_present_authority() {
        let known = |name: &str, text: &str| {
            let mut known = bundle(name, text);
            known.metadata.uid = Some(format!("uid of {name}"));
            known
        };
        let check = |have: &[(&str, &str)], write: Option<ClusterTrustBundle>, outdated: &[&str]| {
            let have: Vec<_> = have.iter().map(|(name, text)| Arc::new(known(name, text))).collect();
            let outdated = outdated.iter().map(ToString::to_string).collect();
            assert_eq!(plan(&have, "new", "ca"), Plan { write, outdated });
        };
        check(&[], Some(bundle("new", "ca")), &[]);
        check(&[("new", "ca")], None, &[]);
        check(&[("new", "touched"), ("old", "ca")], Some(known("new", "ca")), &["old"]);
        check(&[("old", "ca")], Some(bundle("new", "ca")), &["old"]);
    }
}
