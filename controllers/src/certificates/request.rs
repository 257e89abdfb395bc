//! What a request asks for, and whether a signer may sign it.
//!
//! Source: documentation page "Certificates and Certificate Signing Requests", Kubernetes signers.

use std::net::IpAddr;

use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer,
};

use super::{CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY};

/// Subject and alternative names of a request.
#[derive(Debug, Default, PartialEq, Clone)]
pub(super) struct Request {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub emails: usize,
    pub uris: usize,
}

impl Request {
    /// Reads a PEM block.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        let kind = |label: &str| matches!(label, "CERTIFICATE REQUEST");
        let parsed = x509_parser::pem::parse_x509_pem(pem).ok().map(|(_, block)| block);
        let block = parsed.filter(|block| kind(&block.label));
        let block = block.ok_or("PEM block type must be CERTIFICATE REQUEST")?;
        let (_, request) = X509CertificationRequest::from_der(&block.contents)
            .map_err(|error| format!("x509: malformed certificate request: {error}"))?;
        let subject = &request.certification_request_info.subject;
        let text = |value: &x509_parser::x509::AttributeTypeAndValue<'_>| {
            value.as_str().unwrap_or_default().to_string()
        };
        let mut found = Self {
            common_name: subject.iter_common_name().last().map(text).unwrap_or_default(),
            organizations: subject.iter_organization().map(text).collect(),
            ..Self::default()
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                match name {
                    GeneralName::DNSName(name) => found.dns_names.push((*name).to_string()),
                    GeneralName::IPAddress(bytes) => found.addresses.push(address(bytes)?),
                    GeneralName::RFC822Name(_) => found.emails += 1,
                    GeneralName::URI(_) => found.uris += 1,
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// Whether it asks for what kubelets authenticate with.
    pub fn is_kubelet_client(&self, usages: &[&str]) -> bool {
        self.check_kubelet_client(usages).is_ok()
    }

    fn check_kubelet_client(&self, usages: &[&str]) -> Result<(), String> {
        self.check_organization()?;
        refuse(!self.dns_names.is_empty(), "DNS subjectAltNames are not allowed")?;
        refuse(self.emails > 0, "Email subjectAltNames are not allowed")?;
        refuse(!self.addresses.is_empty(), "IP subjectAltNames are not allowed")?;
        refuse(self.uris > 0, "URI subjectAltNames are not allowed")?;
        self.check_node_name()?;
        check_usages(usages, "client auth")
    }

    fn check_kubelet_serving(&self, usages: &[&str]) -> Result<(), String> {
        self.check_organization()?;
        refuse(
            self.dns_names.is_empty() && self.addresses.is_empty(),
            "DNS or IP subjectAltName is required",
        )?;
        refuse(self.emails > 0, "Email subjectAltNames are not allowed")?;
        refuse(self.uris > 0, "URI subjectAltNames are not allowed")?;
        check_usages(usages, "server auth")?;
        self.check_node_name()
    }

    fn check_organization(&self) -> Result<(), String> {
        refuse(self.organizations != ["system:nodes"], "subject organization is not system:nodes")
    }

    fn check_node_name(&self) -> Result<(), String> {
        let named = self.common_name.starts_with("system:node:");
        refuse(!named, "subject common name does not begin with system:node:")
    }

    /// Why a signer does not sign it.
    pub fn check(&self, signer: &str, usages: &[&str]) -> Result<(), String> {
        match signer {
            KUBELET_CLIENT => self.check_kubelet_client(usages),
            KUBELET_SERVING => self.check_kubelet_serving(usages),
            CLIENT => check_client_usages(usages),
            LEGACY => Ok(()),
            other => Err(format!("unrecognized signer name {other:?}")),
        }
    }
}

/// An address of a name extension: 4 or 16 bytes.
fn address(bytes: &[u8]) -> Result<IpAddr, String> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from));
    address.map_err(|_| format!("x509: cannot parse IP address of length {}", bytes.len()))
}

fn refuse(is_wrong: bool, text: &str) -> Result<(), String> {
    if is_wrong { Err(text.to_string()) } else { Ok(()) }
}

/// A key of an elliptic curve needs no encipherment, so that usage may be left out.
fn check_usages(usages: &[&str], kind: &str) -> Result<(), String> {
    let mut required = vec![kind, "digital signature", "key encipherment"];
    required.sort_unstable();
    let mut given = usages.to_vec();
    given.sort_unstable();
    given.dedup();
    let without: Vec<&str> = required.iter().copied().filter(|usage| *usage != "key encipherment").collect();
    let right = given == required || given == without;
    refuse(!right, &format!("usages did not match [{}]", required.join(" ")))
}

fn check_client_usages(usages: &[&str]) -> Result<(), String> {
    let known = |usage: &&str| matches!(*usage, "digital signature" | "key encipherment" | "client auth");
    if let Some(other) = usages.iter().find(|usage| !known(usage)) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    refuse(!usages.contains(&"client auth"), "missing required usage for client certificate: client auth")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_signers_sign() {
        let node = Request {
            common_name: "system:node:n1".into(),
            organizations: vec!["system:nodes".into()],
            ..Default::default()
        };
        let serving = Request {
            dns_names: vec!["n1".into()],
            addresses: vec!["192.0.2.1".parse().unwrap()],
            ..node.clone()
        };
        let user = Request { common_name: "jane".into(), ..Default::default() };
        let client = ["client auth", "digital signature"];
        let rsa = ["key encipherment", "client auth", "digital signature"];
        let server = ["server auth", "digital signature"];
        let check = |request: &Request, signer: &str, usages: &[&str], expected: Result<(), &str>| {
            let found = request.check(signer, usages);
            assert_eq!(found, expected.map_err(ToString::to_string), "{signer} {usages:?}");
        };
        check(&node, KUBELET_CLIENT, &client, Ok(()));
        check(&node, KUBELET_CLIENT, &rsa, Ok(()));
        let all = "usages did not match [client auth digital signature key encipherment]";
        check(&node, KUBELET_CLIENT, &server, Err(all));
        check(&serving, KUBELET_CLIENT, &client, Err("DNS subjectAltNames are not allowed"));
        check(&user, KUBELET_CLIENT, &client, Err("subject organization is not system:nodes"));
        check(&serving, KUBELET_SERVING, &server, Ok(()));
        check(&node, KUBELET_SERVING, &server, Err("DNS or IP subjectAltName is required"));
        let anonymous = Request { common_name: "n1".into(), ..serving };
        let text = "subject common name does not begin with system:node:";
        check(&anonymous, KUBELET_SERVING, &server, Err(text));
        check(&user, CLIENT, &client, Ok(()));
        check(&user, CLIENT, &server, Err("invalid usage for client certificate: server auth"));
        let text = "missing required usage for client certificate: client auth";
        check(&user, CLIENT, &["digital signature"], Err(text));
        check(&user, LEGACY, &["code signing"], Ok(()));
        check(&user, "example.com/x", &client, Err("unrecognized signer name \"example.com/x\""));
    }
}
