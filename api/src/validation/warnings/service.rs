//! Warnings about Services.
use super::super::cursor::At;
use super::net;

/// Where hints about topology stood before.
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";

/// A Service.
pub(super) fn service(at: &At<'_>, out: &mut Vec<String>) {
    let spec = at.get("spec");
    let ty = spec.get("type").text();
    let headless = matches!(ty, "" | "ClusterIP") && spec.get("clusterIP").text() == "None";
    let external = !spec.get("externalIPs").is_empty();
    let mut say = |holds: bool, text: &str| {
        if holds {
            out.push(text.to_owned());
        }
    };
    say(
        at.get("metadata.annotations").key(HINTS).is_set(),
        "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use \
         service.kubernetes.io/topology-mode instead",
    );
    say(
        headless && !spec.get("loadBalancerIP").is_empty(),
        "spec.loadBalancerIP is ignored for headless services",
    );
    say(headless && external, "spec.externalIPs is ignored for headless services");
    let affinity = spec.get("sessionAffinity").text() == "ClientIP";
    say(headless && affinity, "spec.SessionAffinity is ignored for headless services");
    let is_name = ty == "ExternalName";
    say(
        external && !headless && !is_name,
        "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
    );
    say(external && is_name, "spec.externalIPs is ignored when spec.type is \"ExternalName\"");
    say(
        !is_name && !spec.get("externalName").is_empty(),
        "spec.externalName is ignored when spec.type is not \"ExternalName\"",
    );
    say(
        spec.get("trafficDistribution").text() == "PreferClose",
        "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"",
    );
    spec.get("externalIPs").items().for_each(|address| net::ip(&address, out));
    net::ip(&spec.get("loadBalancerIP"), out);
    spec.get("loadBalancerSourceRanges").items().for_each(|range| net::cidr(&range, out));
}
