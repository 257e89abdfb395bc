//! Where a streaming request goes: containers, ports and paths out of the request and the object. No I/O.
use crate::objects::Objects;
use crate::outbound::{Ready, address, ready_endpoints};
use crate::request_info::RequestInfo;
use knarr_api::Value;
use knarr_api::status::{Resource, Status};
use std::fmt::Write;
use std::net::IpAddr;

/// The other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Speak TLS.
    pub tls: bool,
    /// The node that it is on, which may have a tunnel.
    pub node: Option<String>,
    /// It is a kubelet: shown our certificate, and verified where an authority is known.
    pub kubelet: bool,
    /// Host names or addresses, tried in order.
    pub hosts: Vec<String>,
    /// Port.
    pub port: u16,
    /// Path and query.
    pub path: String,
}

impl Target {
    /// Host and port as they stand in URLs.
    pub fn authority(&self) -> String {
        address(self.hosts.first().map_or("", String::as_str), self.port)
    }

    /// The whole address, for messages.
    pub fn url(&self) -> String {
        format!("{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// The container a log, exec or attach request is about: the named one, or the only one.
///
/// # Errors
/// 400 where it cannot be told, or the pod has none of that name.
pub fn container(info: &RequestInfo, pod: &Value) -> Result<String, Status> {
    let names = |field: &str| -> Vec<&str> {
        let list = pod["spec"][field].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|container| container["name"].as_str()).collect()
    };
    let pod_name = info.name();
    let (containers, init) = (names("containers"), names("initContainers"));
    let asked = info.query("container").unwrap_or_default();
    if !asked.is_empty() {
        let known = containers.iter().chain(&init).any(|name| *name == asked)
            || names("ephemeralContainers").iter().any(|name| *name == asked);
        return if known {
            Ok(asked.into_owned())
        } else {
            Err(Status::bad_request(format!("container {asked} is not valid for pod {pod_name}")))
        };
    }
    match &containers[..] {
        [only] => Ok((*only).to_owned()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {pod_name}"))),
        several => {
            let mut text = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                several.join(" ")
            );
            if !init.is_empty() {
                let _ = write!(text, " or one of the init containers: [{}]", init.join(" "));
            }
            Err(Status::bad_request(text))
        }
    }
}

/// The query of an exec or attach as kubelets take it.
pub fn exec_query(info: &RequestInfo) -> String {
    let mut query = Query::default();
    // Absent stdout and stderr default to on for attach and off for exec, as for the API's own options.
    let default = info.subresource() == "attach";
    let flag = |name: &str, default: bool| info.query(name).map_or(default, |_| info.query_flag(name));
    for (name, kubelet, default) in [
        ("stdin", "input", false),
        ("stdout", "output", default),
        ("stderr", "error", default),
        ("tty", "tty", false),
    ] {
        if flag(name, default) {
            query.add(kubelet, "1");
        }
    }
    for word in info.queries("command") {
        query.add("command", &word);
    }
    query.text
}

/// The ports of a port-forward (WebSocket clients name them in the query).
pub fn ports_query(info: &RequestInfo) -> String {
    let mut query = Query::default();
    for ports in info.queries("ports") {
        for port in ports.split(',') {
            query.add("port", port);
        }
    }
    query.text
}

/// A query under construction; empty, or beginning with `?`.
#[derive(Default)]
pub struct Query {
    /// The text so far.
    pub text: String,
}

impl Query {
    /// Adds a parameter.
    pub fn add(&mut self, name: &str, value: &str) {
        self.text.push(if self.text.is_empty() { '?' } else { '&' });
        self.text.push_str(name);
        self.text.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                self.text.push(byte as char);
            } else {
                let _ = write!(self.text, "%{byte:02X}");
            }
        }
    }
}

/// `[scheme:]name[:port]` of a proxied object.
pub fn split_name(text: &str) -> (Option<&str>, &str, Option<&str>) {
    let parts: Vec<&str> = text.split(':').collect();
    let some = |text| Some(text).filter(|t: &&str| !t.is_empty());
    match &parts[..] {
        [scheme @ ("http" | "https" | ""), name, port] => (some(*scheme), *name, some(*port)),
        [scheme @ ("http" | "https"), name] => (Some(*scheme), *name, None),
        [name, port] => (None, *name, some(*port)),
        _ => (None, text, None),
    }
}

/// The path behind `…/proxy`, still encoded.
pub fn proxied_path(info: &RequestInfo) -> &str {
    split_proxy(info).map_or("", |(_, rest)| rest)
}

/// The path up to and with the segment `proxy`, and what is behind it. Namespaces and objects may be called `proxy…`
/// too, so segments are counted: `/api/v1[/namespaces/‹namespace›]/‹plural›/‹name›/proxy`.
fn split_proxy(info: &RequestInfo) -> Option<(&str, &str)> {
    let path = info.uri().path();
    let segments = if info.namespace().is_empty() { 5 } else { 7 };
    let end = path.match_indices('/').nth(segments).map_or(path.len(), |(at, _)| at);
    let (base, rest) = path.split_at(end);
    base.ends_with("/proxy").then_some((base, rest))
}

/// The path behind `…/proxy`, still encoded, with the request's query.
pub fn rest_with_query(info: &RequestInfo) -> String {
    // The raw path keeps escapes that decoding would lose.
    let rest = proxied_path(info);
    let rest = if rest.starts_with('/') { rest } else { "/" };
    match info.uri().query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    }
}

/// Where a GET of `…/proxy` without the final slash is sent, so that relative links work.
pub fn missing_slash(method: &http::Method, info: &RequestInfo) -> Option<String> {
    let path = info.uri().path();
    let is_bare = split_proxy(info).is_some_and(|(_, rest)| rest.is_empty());
    if !matches!(*method, http::Method::GET | http::Method::HEAD) || !is_bare {
        return None;
    }
    let query = info.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{path}/{query}"))
}

/// A link of the target's answer as the client can follow it: through the proxy. None where it leads elsewhere, there
/// already, or is relative.
pub fn moved(link: &str, hosts: &[String], info: &RequestInfo) -> Option<String> {
    let (base, _) = split_proxy(info)?;
    let authority = link.split_once("://").map(|(_, rest)| rest).or_else(|| link.strip_prefix("//"));
    let path = match authority {
        Some(rest) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
            hosts.iter().any(|known| known == host.trim_matches(['[', ']'])).then_some(path)?
        }
        None => link.starts_with('/').then_some(link)?,
    };
    if path.starts_with(base) {
        return authority.map(|_| path.to_owned());
    }
    Some(format!("{base}{}{path}", if path.is_empty() { "/" } else { "" }))
}

/// Where `pods/proxy` goes: the pod's address, on the named port or its first one.
///
/// # Errors
/// 404 for a missing pod, 400 for one without an address.
pub fn pod_proxy(objects: &dyn Objects, info: &RequestInfo) -> Result<Target, Status> {
    let (scheme, name, port) = split_name(info.name());
    let resource = Resource { group: "", plural: "pods" };
    let pod =
        objects.get("", "pods", info.namespace(), name).ok_or_else(|| Status::not_found(resource, name))?;
    let host = pod["status"]["podIP"].as_str().unwrap_or_default();
    // A pod says its own address: the server must not be led to itself or to its host's neighbours by it.
    if !host.parse().is_ok_and(is_proxyable) {
        return Err(Status::bad_request("address not allowed"));
    }
    let port = match port {
        Some(text) => text.parse().map_err(|_| Status::bad_request(format!("invalid port {text:?}")))?,
        None => first_port(&pod).unwrap_or(80),
    };
    Ok(Target {
        tls: scheme == Some("https"),
        node: pod["spec"]["nodeName"].as_str().map(str::to_owned),
        kubelet: false,
        hosts: vec![host.to_owned()],
        port,
        path: rest_with_query(info),
    })
}

/// Are all addresses of a host [`is_proxyable`]? One without any is not.
pub async fn is_proxyable_host(host: &str) -> bool {
    let Ok(found) = tokio::net::lookup_host((host, 0)).await else { return false };
    let mut addresses = found.map(|address| address.ip()).peekable();
    addresses.peek().is_some() && addresses.all(is_proxyable)
}

/// Is an address one that a network routes to (neither this host, nor this link, nor many hosts)?
fn is_proxyable(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            !(ip.is_unspecified()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            !(ip.is_unspecified() || ip.is_loopback() || ip.is_unicast_link_local() || ip.is_multicast())
        }
    }
}

fn first_port(pod: &Value) -> Option<u16> {
    let containers = pod["spec"]["containers"].as_array()?;
    let port = containers.iter().find_map(|c| c["ports"][0]["containerPort"].as_u64())?;
    u16::try_from(port).ok()
}

/// Where `services/proxy` goes: a ready endpoint behind the named port, or the only one.
///
/// # Errors
/// 404 for a missing service, 400 for an unknown port, 503 without endpoints.
pub fn service_proxy(objects: &dyn Objects, info: &RequestInfo) -> Result<Target, Status> {
    let (scheme, name, port) = split_name(info.name());
    let (namespace, resource) = (info.namespace(), Resource { group: "", plural: "services" });
    let service =
        objects.get("", "services", namespace, name).ok_or_else(|| Status::not_found(resource, name))?;
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let wanted = match port {
        None => ports.first(),
        Some(text) => ports.iter().find(|p| p["name"] == text || p["port"].as_u64() == text.parse().ok()),
    };
    let wanted = wanted.ok_or_else(|| {
        Status::unavailable(format!(
            "no service port {:?} found for service {name:?}",
            port.unwrap_or_default()
        ))
    })?;
    let port_name = wanted["name"].as_str().unwrap_or_default();
    let mut endpoints = ready_endpoints(objects, namespace, name, port_name);
    if endpoints.is_empty() {
        return Err(Status::unavailable(format!("no endpoints available for service {name:?}")));
    }
    let Ready { address, port, node } = endpoints.swap_remove(rand::random_range(0..endpoints.len()));
    Ok(Target {
        tls: scheme == Some("https"),
        node,
        kubelet: false,
        hosts: vec![address],
        port,
        path: rest_with_query(info),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Memory;
    use serde_json::json;

    fn info(uri: &str) -> RequestInfo {
        RequestInfo::new(&http::Method::GET, &uri.parse().unwrap()).unwrap()
    }

    #[test]
    fn addresses() {
        for good in ["10.0.0.1", "192.168.1.1", "203.0.113.9", "fd00::1", "2001:db8::1"] {
            assert!(is_proxyable(good.parse().unwrap()), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(!is_proxyable(bad.parse().unwrap()), "{bad}");
        }
    }

    #[test]
    fn containers() {
        let one = json!({"spec": {"containers": [{"name": "a"}], "initContainers": [{"name": "i"}]}});
        let two = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
        let check = |query: &str, pod: &Value, expected: &str| {
            let found = container(&info(&format!("/api/v1/namespaces/d/pods/x/log{query}")), pod);
            assert_eq!(found.unwrap_or_else(|status| status.message), expected, "{query}");
        };
        check("", &one, "a");
        check("?container=i", &one, "i");
        check("?container=z", &one, "container z is not valid for pod x");
        check("", &two, "a container name must be specified for pod x, choose one of: [a b]");
        check("?container=b", &two, "b");
    }

    #[test]
    fn queries() {
        let i = info(
            "/api/v1/namespaces/d/pods/x/exec?command=sh&command=-c&command=a%20%26&stdin=true&tty=true&stdout=true",
        );
        assert_eq!(exec_query(&i), "?input=1&output=1&tty=1&command=sh&command=-c&command=a%20%26");
        let i = info("/api/v1/namespaces/d/pods/x/attach");
        assert_eq!(exec_query(&i), "?output=1&error=1");
        let i = info("/api/v1/nodes/n:10250/proxy/a%2Fb/?x=y");
        assert_eq!(
            (rest_with_query(&i).as_str(), split_name(i.name())),
            ("/a%2Fb/?x=y", (None, "n", Some("10250")))
        );
        assert_eq!(split_name("https:svc:web"), (Some("https"), "svc", Some("web")));
        assert_eq!(split_name("https:svc"), (Some("https"), "svc", None));
        assert_eq!(split_name("svc"), (None, "svc", None));
    }

    #[test]
    fn names_that_begin_with_proxy() {
        let check = |uri: &str, expected: &str| assert_eq!(rest_with_query(&info(uri)), expected, "{uri}");
        check("/api/v1/namespaces/d/pods/proxy-abc/proxy/metrics", "/metrics");
        check("/api/v1/namespaces/proxy/pods/proxy/proxy/proxy?a=b", "/proxy?a=b");
        check("/api/v1/nodes/proxy/proxy/a/proxy", "/a/proxy");
        check("/api/v1/nodes/proxy/proxy", "/");
        let i = info("/api/v1/namespaces/proxy/services/proxy-s/proxy/x/proxy");
        assert_eq!(missing_slash(&http::Method::GET, &i), None);
        let to = moved("/y", &[], &i);
        assert_eq!(to.as_deref(), Some("/api/v1/namespaces/proxy/services/proxy-s/proxy/y"));
    }

    #[test]
    fn redirects() {
        let i = info("/api/v1/namespaces/d/services/s/proxy?a=b");
        let to = missing_slash(&http::Method::GET, &i);
        assert_eq!(to.as_deref(), Some("/api/v1/namespaces/d/services/s/proxy/?a=b"));
        let i = info("/api/v1/namespaces/d/services/s/proxy/x");
        assert_eq!(missing_slash(&http::Method::GET, &i), None);
        let hosts = ["10.0.0.1".to_owned()];
        let check = |location: &str, expected: Option<&str>| {
            assert_eq!(moved(location, &hosts, &i).as_deref(), expected)
        };
        check("/y", Some("/api/v1/namespaces/d/services/s/proxy/y"));
        check("http://10.0.0.1:8080/y", Some("/api/v1/namespaces/d/services/s/proxy/y"));
        check("https://example.com/y", None);
        check("y", None);
    }

    #[test]
    fn services() {
        let objects = Memory::default();
        objects.put(
            "",
            "services",
            json!({"metadata": {"name": "s", "namespace": "d"},
            "spec": {"ports": [{"name": "web", "port": 80}]}}),
        );
        let i = info("/api/v1/namespaces/d/services/s:80/proxy/x");
        assert_eq!(service_proxy(&objects, &i).unwrap_err().code, 503);
        objects.put("discovery.k8s.io", "endpointslices", json!({
            "metadata": {"name": "s-1", "namespace": "d", "labels": {"kubernetes.io/service-name": "s"}},
            "ports": [{"name": "web", "port": 8080}],
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.2"], "conditions": {"ready": false}}]}));
        let target = service_proxy(&objects, &i).unwrap();
        assert_eq!((target.hosts[0].as_str(), target.port, target.path.as_str()), ("10.0.0.1", 8080, "/x"));
    }
}
