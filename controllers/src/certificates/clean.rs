//! Removes requests that are done, refused or forgotten.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use knarr_component::{informer::Informer, store::Key};
use kube::api::{DeleteParams, Preconditions};

use super::{conditions, has, is_issued};
use crate::{
    context::Context,
    meta::{created, ignore_absent},
};

const PERIOD: Duration = Duration::from_secs(3600);
/// How long a request stays after it was decided.
const DECIDED: Duration = Duration::from_secs(3600);
/// How long a request waits for a decision or a signature.
const PENDING: Duration = Duration::from_secs(24 * 3600);

/// The end of an issued certificate.
fn end_of(request: &CertificateSigningRequest) -> Option<Timestamp> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    let (_, block) = x509_parser::pem::parse_x509_pem(&certificate.0).ok()?;
    let certificate = block.parse_x509().ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// Whether a request has no further use.
fn is_old(request: &CertificateSigningRequest, now: Timestamp) -> bool {
    let older = |kind: &str, age: Duration| {
        conditions(request).any(|condition| {
            let at = condition.last_update_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
            condition.type_ == kind && at + age < now
        })
    };
    if is_issued(request) && end_of(request).is_some_and(|end| end < now) {
        return true;
    }
    if older("Denied", DECIDED) || older("Failed", DECIDED) {
        return true;
    }
    if has(request, "Approved") {
        return older("Approved", if is_issued(request) { DECIDED } else { PENDING });
    }
    conditions(request).next().is_none() && created(&request.metadata) + PENDING < now
}

/// Runs the controller: a look around every hour.
pub(crate) async fn run(context: Context) -> anyhow::Result<()> {
    let requests: Informer<CertificateSigningRequest> = context.informers.get();
    let watch = async {
        requests.synced().await;
        loop {
            let now = Timestamp::now();
            for old in requests.list().into_iter().filter(|request| is_old(request, now)) {
                let key = Key::of(&old.metadata);
                let precondition = Preconditions { uid: old.metadata.uid.clone(), resource_version: None };
                let api = context.api_all::<CertificateSigningRequest>();
                let parameters = DeleteParams::default().preconditions(precondition);
                if let Err(error) = ignore_absent(api.delete(&key.name, &parameters).await) {
                    tracing::warn!(request = %key, %error, "cannot remove certificate signing request");
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    };
    context.stop.run_until_cancelled(watch).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use serde_json::json;

    use super::*;

    fn certificate() -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.not_after = rcgen::date_time_ymd(2030, 1, 1);
        STANDARD.encode(params.self_signed(&key).unwrap().pem())
    }

    #[test]
    fn old_requests() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let certificate = certificate();
        let check = |kind: &str, at: &str, certificate: &str, expected: bool| {
            let condition =
                json!({"type": kind, "status": "True", "lastUpdateTime": format!("2026-01-{at}:00:00Z")});
            let conditions = if kind.is_empty() { json!([]) } else { json!([condition]) };
            let request = json!({
                "metadata": {"creationTimestamp": format!("2026-01-{at}:00:00Z")},
                "spec": {"request": "", "signerName": "x"},
                "status": {"conditions": conditions, "certificate": certificate},
            });
            let request = serde_json::from_value(request).unwrap();
            assert_eq!(is_old(&request, now), expected, "{kind} {at}");
        };
        check("Denied", "01T22", "", true);
        check("Denied", "01T23", "", false);
        check("Failed", "01T22", "", true);
        check("Approved", "01T22", "", false);
        check("Approved", "01T22", &certificate, true);
        check("Approved", "01T23", &certificate, false);
        check("", "01T01", "", false);
        let forgotten = json!({
            "metadata": {"creationTimestamp": "2025-12-31T00:00:00Z"},
            "spec": {"request": "", "signerName": "x"},
        });
        assert!(is_old(&serde_json::from_value(forgotten).unwrap(), now));
        let later: Timestamp = "2031-01-01T00:00:00Z".parse().unwrap();
        let issued = json!({
            "spec": {"request": "", "signerName": "x"}, "status": {"certificate": certificate},
        });
        assert!(is_old(&serde_json::from_value(issued).unwrap(), later));
    }
}
