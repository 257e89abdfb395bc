//! Rules of what names a webhook server: a URL or a Service; for admission, conversion and aggregation.
use super::cursor::At;
use crate::names;

const FORM: &str = "; desired format: https://host[/path]";

/// A `WebhookClientConfig`.
pub(super) fn config(config: &At<'_>) {
    match (config.find("url"), config.find("service")) {
        (Some(address), None) => url(&address),
        (None, Some(target)) => service(&target),
        _ => config.required("exactly one of url or service is required"),
    }
}

fn url(at: &At<'_>) {
    let text = at.text();
    let (text, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (text, query) = text.split_once('?').unwrap_or((text, ""));
    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    let authority = rest.strip_prefix("//").map_or("", |rest| rest.split('/').next().unwrap_or_default());
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if !scheme.eq_ignore_ascii_case("https") {
        at.invalid_text(scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    if host.is_empty() {
        at.invalid_text(host, format!("host must be specified{FORM}"));
    }
    if authority.contains('@') {
        at.invalid_text(user, "user information is not permitted in the URL");
    }
    if !fragment.is_empty() {
        at.invalid_text(fragment, "fragments are not permitted in the URL");
    }
    if !query.is_empty() {
        at.invalid_text(query, "query parameters are not permitted in the URL");
    }
}

fn service(at: &At<'_>) {
    if at.get("name").is_empty() {
        at.get("name").required("service name is required");
    }
    if at.get("namespace").is_empty() {
        at.get("namespace").required("service namespace is required");
    }
    service_port(&at.get("port"));
    let path = at.get("path");
    match path.text() {
        "" | "/" => {}
        "//" => path.invalid("segment[0] may not be empty"),
        text => {
            let Some(rest) = text.strip_prefix('/') else {
                path.invalid("must start with a '/'");
                return;
            };
            for (n, segment) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
                if segment.is_empty() {
                    path.invalid(format!("segment[{n}] may not be empty"));
                    continue;
                }
                for fault in names::dns_subdomain(segment) {
                    path.invalid(format!("segment[{n}]: {fault}"));
                }
            }
        }
    }
}

/// The port of a Service, where it is named.
pub(super) fn service_port(port: &At<'_>) {
    if let Some(number) = port.int() {
        for fault in names::port_number(number) {
            port.invalid(format!("port is not valid: {fault}"));
        }
    }
}

/// `versions` of review objects that a webhook understands; `known` are those the server speaks.
pub(super) fn review_versions(versions: &At<'_>, must_know: bool) {
    let mut seen: Vec<&str> = Vec::new();
    for version in versions.items() {
        if seen.contains(&version.text()) {
            version.invalid("duplicate version");
            continue;
        }
        seen.push(version.text());
        version.format(names::dns1035_label);
    }
    if must_know && !seen.is_empty() && !knows(versions) {
        versions.invalid("must include at least one of v1, v1beta1");
    }
}

/// Whether a list of versions has one that the server speaks.
pub(super) fn knows(versions: &At<'_>) -> bool {
    ["v1", "v1beta1"].iter().any(|version| versions.has(version))
}
