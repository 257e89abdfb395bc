//! Rules of requests for certificates. The signature of a request is checked by the server.
use super::Rules;
use super::constraints::Rule::Unique;
use super::constraints::check;
use super::cursor::At;
use crate::{Value, names};
use base64::Engine;

pub(super) const RULES: &[(&str, Rules)] = &[(
    "CertificateSigningRequest",
    Rules {
        name: names::path_segment,
        object: signing_request,
        update: |at, old| {
            at.get("spec").immutable(&old["spec"]);
            conditions_stay(at, old);
        },
        status: |at, old| {
            conditions(&at.get("status.conditions"));
            conditions_stay(at, old);
            issued(at, old);
        },
    },
)];

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
/// Decisions; each is either there, and true, or not.
const DECISIONS: [&str; 3] = ["Approved", "Denied", "Failed"];
const SIGNER_MAX: usize = 571;

fn signing_request(at: &At<'_>) {
    let spec = at.get("spec");
    if !has_block(&decoded(&spec.get("request")), "CERTIFICATE REQUEST") {
        spec.get("request").invalid("PEM block type must be CERTIFICATE REQUEST");
    }
    let (usages, signer) = (spec.get("usages"), spec.get("signerName"));
    if signer.text() == "kubernetes.io/legacy-unknown" {
        signer.invalid("the legacy signerName is not allowed via this API version");
    } else {
        signer_name(&signer);
    }
    let seconds = spec.get("expirationSeconds");
    if seconds.int().is_some_and(|seconds| seconds < 600) {
        seconds.invalid("may not specify a duration less than 600 seconds (10 minutes)");
    }
    if usages.is_empty() {
        usages.required("usages must be provided");
    }
    usages.items().for_each(|usage| usage.one_of(&USAGES));
    check(&usages, &[("", Unique(""))]);
    conditions(&at.get("status.conditions"));
}

fn decoded(at: &At<'_>) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(at.text()).unwrap_or_default()
}

/// Whether there is a PEM block with the title.
pub(super) fn has_block(bytes: &[u8], title: &str) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let (begin, end) = (format!("-----BEGIN {title}-----"), format!("-----END {title}-----"));
    text.find(&begin).is_some_and(|at| text[at..].contains(&end))
}

/// `domain/path`, also of trust bundles.
pub(super) fn signer_name(signer: &At<'_>) {
    if !signer.need() {
        return;
    }
    let parts: Vec<&str> = signer.text().split('/').collect();
    let [domain, path] = parts.as_slice() else {
        signer.invalid("must be a fully qualified domain and path of the form 'example.com/signer-name'");
        return;
    };
    for label in domain.split('.') {
        for fault in names::dns_label(label) {
            signer.invalid_text(domain, format!("validating label {label:?}: {fault}"));
        }
    }
    if !domain.contains('.') {
        signer.invalid_text(domain, "should be a domain with at least two segments separated by dots");
    }
    for label in path.split('.') {
        for fault in names::dns_subdomain(label) {
            signer.invalid_text(path, format!("validating label {label:?}: {fault}"));
        }
    }
    if signer.text().len() > SIGNER_MAX {
        signer.too_long(SIGNER_MAX);
    }
}

fn conditions(list: &At<'_>) {
    let decided = |ty: &str| list.items().any(|condition| condition.get("type").text() == ty);
    for condition in list.items() {
        let (ty, status) = (condition.get("type"), condition.get("status"));
        if ty.is_empty() {
            ty.required("");
        } else if DECISIONS.contains(&ty.text()) {
            status.need_one_of(&["True"]);
        } else {
            status.need_one_of(&["False", "True", "Unknown"]);
        }
    }
    check(list, &[("", Unique("type"))]);
    if decided("Approved") && decided("Denied") {
        list.invalid_text("Denied", "Approved and Denied conditions are mutually exclusive");
    }
}

/// A decision is never taken back.
fn conditions_stay(at: &At<'_>, old: &Value) {
    let list = at.get("status.conditions");
    let kept = |ty: &str| list.items().any(|condition| condition.get("type").text() == ty);
    for condition in old["status"]["conditions"].as_array().into_iter().flatten() {
        let ty = condition["type"].as_str().unwrap_or_default();
        if DECISIONS.contains(&ty) && !kept(ty) {
            list.forbidden(format!("updates may not remove a condition of type {ty:?}"));
        }
    }
}

/// A certificate is issued once, and it is one.
fn issued(at: &At<'_>, old: &Value) {
    let (certificate, before) = (at.get("status.certificate"), &old["status"]["certificate"]);
    if before.as_str().is_some_and(|text| !text.is_empty()) {
        if certificate.value() != before {
            certificate.forbidden(
                "updates may not set certificate content if existing certificate content is present",
            );
        }
    } else if !certificate.is_empty() && !has_block(&decoded(&certificate), "CERTIFICATE") {
        certificate.invalid_text("<certificate data>", "must contain at least one CERTIFICATE PEM block");
    }
}
