//! Rules of APIServices.
use super::cursor::At;
use super::{Rules, webhook_client};
use crate::names;

pub(super) const RULES: &[(&str, Rules)] =
    &[("APIService", Rules { name: names::path_segment, object: api_service, ..Rules::PLAIN })];

fn api_service(at: &At<'_>) {
    let spec = at.get("spec");
    let (group, version, name) = (spec.get("group"), spec.get("version"), at.get("metadata.name"));
    let wanted = format!("{}.{}", version.text(), group.text());
    if !name.is_empty() && names::path_segment(name.text()).is_empty() && name.text() != wanted {
        name.invalid(format!("must be `spec.version+\".\"+spec.group`: {wanted:?}"));
    }
    if group.is_empty() && version.text() != "v1" {
        group.required("only v1 may have an empty group and it better be legacy kube");
    }
    group.format_if_set(names::dns_subdomain);
    version.format(names::dns1035_label);
    for (priority, limit) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1000)] {
        let priority = spec.get(priority);
        if !(1..=limit).contains(&priority.int().unwrap_or(0)) {
            priority.invalid(format!("must be positive and less than {limit}"));
        }
    }
    let (bundle, insecure) = (spec.get("caBundle"), spec.get("insecureSkipTLSVerify"));
    let Some(service) = spec.find("service") else {
        if !bundle.is_empty() {
            let size = super::core::decoded_len(bundle.text());
            bundle.invalid_text(&format!("{size} bytes"), "local APIServices may not have a caBundle");
        }
        if insecure.is_true() {
            insecure.invalid("local APIServices may not have insecureSkipTLSVerify");
        }
        return;
    };
    service.get("namespace").need();
    service.get("name").need();
    webhook_client::service_port(&service.get("port"));
    if insecure.is_true() && !bundle.is_empty() {
        insecure.invalid("may not be true if caBundle is present");
    }
}
