//! Rules of a pod's claims for devices, and of the resources that belong to the pod as a whole.
use super::super::constraints::Rule::{NeedFormat, Unique};
use super::super::constraints::check;
use super::super::cursor::At;
use super::super::resources;
use crate::names;
use crate::quantity::Quantity;

const POD_RESOURCES: [&str; 3] = ["cpu", "hugepages-", "memory"];

/// `resourceClaims`, and what containers say of them.
pub(super) fn device_claims(spec: &At<'_>) {
    let claims = spec.get("resourceClaims");
    check(&claims, &[("", Unique("name"))]);
    for claim in claims.items() {
        check(&claim, &[("name", NeedFormat(names::dns_label))]);
        let (named, template) = (claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName"));
        match (named.is_set(), template.is_set()) {
            (true, true) => claim.invalid(
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ),
            (false, false) => {
                claim.invalid("must specify one of: `resourceClaimName`, `resourceClaimTemplateName`")
            }
            (true, false) => named.format(names::dns_subdomain),
            (false, true) => template.format(names::dns_subdomain),
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).items() {
            for claim in container.get("resources.claims").items() {
                let name = claim.get("name");
                if !name.is_empty() && !claims.items().any(|own| own.get("name").text() == name.text()) {
                    name.not_found();
                }
            }
        }
    }
}

/// `resources` of the pod: no less than its containers ask for together, no more than they may take alone.
pub(super) fn pod_resources(spec: &At<'_>) {
    let Some(own) = spec.find("resources") else { return };
    if spec.get("os.name").text() == "windows" {
        own.forbidden("may not be set for a windows pod");
    }
    let claims = own.get("claims");
    if !claims.is_empty() {
        claims.forbidden("claims may not be set for Resources at pod-level");
    }
    let (limits, requests) = (own.get("limits"), own.get("requests"));
    for (name, amount) in limits.entries().chain(requests.entries()) {
        if !matches!(name, "cpu" | "memory") && !name.starts_with("hugepages-") {
            amount.with(&crate::Value::from(name)).not_supported(&POD_RESOURCES);
        }
        resources::amount(&amount, name);
    }
    for (name, request) in requests.entries() {
        let (Some(asked), limit) = (request.quantity(), limits.key(name).quantity()) else { continue };
        if let Some(limit) = limit
            && asked > limit
        {
            requests.invalid_text(
                &asked.to_string(),
                format!("must be less than or equal to {name} limit of {limit}"),
            );
        }
        let together = containers_ask(spec, name);
        if asked < together {
            request.invalid(format!(
                "must be greater than or equal to aggregate container requests of {together}"
            ));
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).items() {
            for (name, limit) in container.get("resources.limits").entries() {
                let (Some(own), Some(most)) = (limit.quantity(), limits.key(name).quantity()) else {
                    continue;
                };
                if own > most {
                    let at = container.get("resources.limits");
                    at.invalid_text(
                        &own.to_string(),
                        format!("must be less than or equal to pod limits of {most}"),
                    );
                }
            }
        }
    }
}

/// What containers that run at the same time ask for.
fn containers_ask(spec: &At<'_>, resource: &str) -> Quantity {
    let sidecars = spec.get("initContainers");
    let sidecars = sidecars.items().filter(|container| container.get("restartPolicy").text() == "Always");
    let all = spec.get("containers").items().chain(sidecars);
    all.filter_map(|container| container.get("resources.requests").key(resource).quantity()).sum()
}
