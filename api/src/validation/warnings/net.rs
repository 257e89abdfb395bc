//! Warnings about addresses that are read, but not written as they should be.
use super::super::cursor::At;
use super::super::net::Cidr;
use std::net::IpAddr;

/// Who writes slices of its own; nobody reads what is warned about there.
const CONTROLLERS: [&str; 2] =
    ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// An address in another form than RFC 5952 has it.
pub(super) fn ip(at: &At<'_>, out: &mut Vec<String>) {
    if let Ok(IpAddr::V6(address)) = at.text().parse::<IpAddr>() {
        canonical(at, "IPv6 address", &address.to_string(), out);
    }
}

/// A range of addresses in another form than RFC 5952 has it.
pub(super) fn cidr(at: &At<'_>, out: &mut Vec<String>) {
    if let Some(Cidr { address: IpAddr::V6(address), prefix }) = Cidr::parse(at.text()) {
        canonical(at, "IPv6 CIDR value", &format!("{address}/{prefix}"), out);
    }
}

fn canonical(at: &At<'_>, what: &str, canonical: &str, out: &mut Vec<String>) {
    let (path, text) = (at.path(), at.text());
    if text != canonical {
        out.push(format!("{path}: {what} {text:?} should be in RFC 5952 canonical format ({canonical:?})"));
    }
}

/// The addresses of Endpoints.
pub(super) fn endpoints(at: &At<'_>, out: &mut Vec<String>) {
    for subset in at.get("subsets").items() {
        for list in ["addresses", "notReadyAddresses"] {
            subset.get(list).items().for_each(|address| ip(&address.get("ip"), out));
        }
    }
}

/// The addresses of an EndpointSlice, unless the original's own controllers wrote it.
pub(super) fn slice(at: &At<'_>, out: &mut Vec<String>) {
    let manager = at.get("metadata.labels").key("endpointslice.kubernetes.io/managed-by");
    if at.get("addressType").text() == "FQDN" || CONTROLLERS.contains(&manager.text()) {
        return;
    }
    for endpoint in at.get("endpoints").items() {
        endpoint.get("addresses").items().for_each(|address| ip(&address, out));
    }
}

/// The ranges of a NetworkPolicy.
pub(super) fn policy(spec: &At<'_>, out: &mut Vec<String>) {
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for peer in spec.get(rules).items().flat_map(|rule| rule.get(peers).items()) {
            let block = peer.get("ipBlock");
            cidr(&block.get("cidr"), out);
            block.get("except").items().for_each(|range| cidr(&range, out));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::cursor::Report;
    use super::*;
    use serde_json::json;

    #[test]
    fn forms() {
        type Look = fn(&At<'_>, &mut Vec<String>);
        let canonical = "should be in RFC 5952 canonical format";
        for (look, text, expected) in [
            (ip as Look, "10.0.0.1", None),
            (ip, "2001:db8::1", None),
            (ip, "no address", None),
            (ip, "2001:DB8::1", Some(format!("IPv6 address \"2001:DB8::1\" {canonical} (\"2001:db8::1\")"))),
            (
                ip,
                "2001:db8:0::1",
                Some(format!("IPv6 address \"2001:db8:0::1\" {canonical} (\"2001:db8::1\")")),
            ),
            (cidr, "10.0.0.0/8", None),
            (cidr, "2001:db8::/64", None),
            (
                cidr,
                "2001:DB8::/64",
                Some(format!("IPv6 CIDR value \"2001:DB8::/64\" {canonical} (\"2001:db8::/64\")")),
            ),
        ] {
            let (value, report, mut out) = (json!(text), Report::new(None), Vec::new());
            look(&At::root(&value, &report), &mut out);
            let expected = expected.map(|note| format!(": {note}"));
            assert_eq!(out, expected.into_iter().collect::<Vec<_>>(), "{text}");
        }
    }
}
