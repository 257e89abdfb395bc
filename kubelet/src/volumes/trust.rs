//! The roots that a projected volume takes from ClusterTrustBundles.

use std::collections::BTreeSet;

use k8s_openapi::api::certificates::v1beta1::ClusterTrustBundle;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use knarr_component::selector;

use super::Lookup;
use crate::container::ConfigError;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Characters of a line of PEM.
const WIDTH: usize = 64;

/// The file that a projection asks for: each root once. Nothing where there is no bundle and there need be none.
///
/// # Errors
/// A bundle that is missing, or a signer that has none.
pub async fn roots(
    source: &ClusterTrustBundleProjection,
    lookup: &dyn Lookup,
) -> Result<String, ConfigError> {
    let bundles = match (&source.name, &source.signer_name) {
        (Some(name), _) => match lookup.trust_bundle(name).await? {
            Some(bundle) => vec![bundle],
            None if source.optional == Some(true) => Vec::new(),
            None => {
                return Err(ConfigError::Missing(format!(
                    "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io \"{name}\" not found"
                )));
            }
        },
        (None, Some(signer)) => {
            let mut bundles = lookup.trust_bundles(signer).await?;
            bundles.retain(|bundle| is_chosen(source, signer, bundle));
            if bundles.is_empty() && source.optional != Some(true) {
                let text = "combination of signerName and labelSelector matched zero ClusterTrustBundles";
                return Err(ConfigError::Missing(text.to_owned()));
            }
            bundles
        }
        (None, None) => {
            return Err(ConfigError::Invalid("either name or signerName must be specified".to_owned()));
        }
    };
    Ok(joined(bundles.iter().map(|bundle| bundle.spec.trust_bundle.as_str())))
}

/// Whether a bundle is the signer's and has the labels; without a selector nothing has.
fn is_chosen(source: &ClusterTrustBundleProjection, signer: &str, bundle: &ClusterTrustBundle) -> bool {
    let labelled = source.label_selector.as_ref();
    bundle.spec.signer_name.as_deref() == Some(signer)
        && labelled.is_some_and(|labels| selector::matches(labels, bundle.metadata.labels.as_ref()))
}

/// The certificates of all texts in an order of their own, each once, without what stands between them.
fn joined<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let blocks = texts.flat_map(|text| text.split(BEGIN).skip(1)).filter_map(|rest| rest.split_once(END));
    let plain = |(block, _): (&str, &str)| block.split_whitespace().collect::<String>();
    let certificates: BTreeSet<String> = blocks.map(plain).collect();
    let written = certificates.into_iter().map(|certificate| {
        // Base64 alone: every character is one byte.
        let lines =
            certificate.as_bytes().chunks(WIDTH).map(|line| String::from_utf8_lossy(line).into_owned());
        format!("{BEGIN}\n{}\n{END}\n", lines.collect::<Vec<_>>().join("\n"))
    });
    written.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pem(content: &str) -> String {
        format!("{BEGIN}\n{content}\n{END}\n")
    }

    #[test]
    fn certificates_come_once() {
        let (a, b) = (pem("QUFB"), pem("QkJC"));
        let wide = "Q".repeat(100);
        let check = |texts: &[&str], expected: &str| assert_eq!(joined(texts.iter().copied()), expected);
        check(&[], "");
        check(&["no certificate"], "");
        check(&[&format!("# roots\n{b}between\n{a}"), &a], &format!("{a}{b}"));
        check(&[&format!("{BEGIN}\r\nQU\r\nFB\r\n{END}")], &a);
        check(&[&pem(&wide)], &pem(&format!("{}\n{}", &wide[..64], &wide[64..])));
    }

    #[test]
    fn signers_and_labels_choose() {
        let bundle: ClusterTrustBundle = serde_json::from_value(json!({"metadata": {"labels": {"a": "b"}},
            "spec": {"signerName": "x/y", "trustBundle": ""}}))
        .expect("a bundle");
        for (selector, signer, chosen) in [
            (json!({"matchLabels": {"a": "b"}}), "x/y", true),
            (json!({"matchLabels": {"a": "c"}}), "x/y", false),
            (json!({}), "x/y", true),
            (json!(null), "x/y", false),
            (json!({}), "x/z", false),
        ] {
            let source = json!({"path": "p", "signerName": signer, "labelSelector": selector});
            let source: ClusterTrustBundleProjection = serde_json::from_value(source).expect("a projection");
            assert_eq!(is_chosen(&source, signer, &bundle), chosen, "{selector} {signer}");
        }
    }
}
