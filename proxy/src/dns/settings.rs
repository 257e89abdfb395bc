//! Whom to ask for names outside the cluster, as the ConfigMap `kube-system/kube-dns` says: `stubDomains`, a JSON object of
//! domains with their name servers, and `upstreamNameservers`, a JSON list of servers for all other names in place of the
//! host's. The form is that of kube-dns, which the Kubernetes documentation describes under "Customizing DNS Service".

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::Name;

/// Most servers for one domain, or for all other names.
const MOST: usize = 3;
/// The port of DNS.
const PORT: u16 = 53;

/// Servers by domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    stubs: Vec<(Name, Vec<SocketAddr>)>,
    upstreams: Vec<SocketAddr>,
}

/// What is wrong with the ConfigMap.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such setting.
    #[error("unknown key {0:?} (known: stubDomains, upstreamNameservers)")]
    Key(String),
    /// A value is no JSON of the setting's form.
    #[error("{key}: {message}")]
    Form {
        /// The setting.
        key: &'static str,
        /// What is wrong.
        message: String,
    },
    /// A name that is none.
    #[error("stubDomains: {0:?} is no domain")]
    Domain(String),
    /// The cluster answers these names itself.
    #[error("stubDomains: {0:?} is of the cluster's own domain")]
    Own(String),
    /// A server that is not named by its address.
    #[error("{0:?} is no address of a name server, such as 192.0.2.1 or 192.0.2.1:5353")]
    Server(String),
    /// A question would come back.
    #[error("{0} is the cluster's own DNS")]
    Circle(SocketAddr),
    /// No server, or more than are asked.
    #[error("{what}: {count} name servers, where 1 to {MOST} are possible")]
    Count {
        /// Domain or setting.
        what: String,
        /// How many.
        count: usize,
    },
}

impl Settings {
    /// Reads the data of the ConfigMap. `domain` is the cluster's, and `own` are addresses at which its DNS answers.
    ///
    /// # Errors
    /// The first fault; nothing of such a ConfigMap is used.
    pub fn parse(data: &BTreeMap<String, String>, domain: &Name, own: &[IpAddr]) -> Result<Self, Error> {
        let mut settings = Self::default();
        for (key, text) in data {
            match key.as_str() {
                "stubDomains" => settings.stubs = stubs(text, domain, own)?,
                "upstreamNameservers" => {
                    let texts: Vec<String> = json("upstreamNameservers", text)?;
                    settings.upstreams = servers("upstreamNameservers", &texts, own)?;
                }
                other => return Err(Error::Key(other.to_owned())),
            }
        }
        Ok(settings)
    }

    /// The servers for a name, those of the longest domain that it is in; none: the host's.
    pub fn servers(&self, name: &Name) -> Option<&[SocketAddr]> {
        let of_domains = self.stubs.iter().filter(|(domain, _)| domain.zone_of(name));
        let longest = of_domains.max_by_key(|(domain, _)| domain.num_labels());
        let all = (!self.upstreams.is_empty()).then_some(&self.upstreams);
        longest.map(|(_, servers)| servers).or(all).map(Vec::as_slice)
    }
}

fn json<T: serde::de::DeserializeOwned>(key: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Form { key, message: error.to_string() })
}

fn stubs(text: &str, cluster: &Name, own: &[IpAddr]) -> Result<Vec<(Name, Vec<SocketAddr>)>, Error> {
    let by_domain: BTreeMap<String, Vec<String>> = json("stubDomains", text)?;
    let read = |(domain, texts): (String, Vec<String>)| {
        let name = Name::from_utf8(&domain).map_err(|_| Error::Domain(domain.clone()))?;
        let mut name = name.to_lowercase();
        name.set_fqdn(true);
        if name.is_root() {
            return Err(Error::Domain(domain));
        }
        if cluster.zone_of(&name) {
            return Err(Error::Own(domain));
        }
        Ok((name, servers(&domain, &texts, own)?))
    };
    by_domain.into_iter().map(read).collect()
}

fn servers(what: &str, texts: &[String], own: &[IpAddr]) -> Result<Vec<SocketAddr>, Error> {
    if texts.is_empty() || texts.len() > MOST {
        return Err(Error::Count { what: what.to_owned(), count: texts.len() });
    }
    let read = |text: &String| {
        let bare = text.trim_matches(['[', ']']).parse::<IpAddr>().map(|ip| SocketAddr::new(ip, PORT));
        let server = bare.or_else(|_| text.parse()).map_err(|_| Error::Server(text.clone()))?;
        match own.contains(&server.ip()) && server.port() == PORT {
            true => Err(Error::Circle(server)),
            false => Ok(server),
        }
    };
    texts.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let data = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (domain, own) = (Name::from_ascii("cluster.local.").unwrap(), ["10.96.0.10".parse().unwrap()]);
        Settings::parse(&data, &domain, &own).map_err(|error| error.to_string())
    }

    #[test]
    fn names_go_to_the_servers_of_the_longest_domain() {
        let settings = parse(&[
            (
                "stubDomains",
                r#"{"acme.test": ["192.0.2.1"], "eu.Acme.test": ["192.0.2.2:5353", "[2001:db8::2]:53"],
                    "2.0.192.in-addr.arpa": ["192.0.2.3"]}"#,
            ),
            ("upstreamNameservers", r#"["192.0.2.8", "2001:db8::9"]"#),
        ])
        .unwrap();
        let check = |name: &str, expected: &[&str]| {
            let name = Name::from_ascii(name).unwrap();
            let found = settings.servers(&name).unwrap_or_default();
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{name}");
        };
        check("www.acme.test.", &["192.0.2.1:53"]);
        check("acme.test.", &["192.0.2.1:53"]);
        check("WWW.EU.ACME.TEST.", &["192.0.2.2:5353", "[2001:db8::2]:53"]);
        check("otheracme.test.", &["192.0.2.8:53", "[2001:db8::9]:53"]);
        check("7.2.0.192.in-addr.arpa.", &["192.0.2.3:53"]);
        let bare = parse(&[]).unwrap();
        assert_eq!(bare.servers(&Name::from_ascii("example.com.").unwrap()), None);
    }

    #[test]
    fn faults_are_named() {
        let check = |key, value, expected: &str| {
            let found = parse(&[(key, value)]).unwrap_err();
            assert!(found.contains(expected), "{found}");
        };
        check("Corefile", ".:53 {}", "unknown key \"Corefile\" (known: stubDomains");
        check("stubDomains", "acme", "stubDomains: expected value");
        check("stubDomains", r#"{"a..b": ["192.0.2.1"]}"#, "\"a..b\" is no domain");
        check("stubDomains", r#"{".": ["192.0.2.1"]}"#, "\".\" is no domain");
        check("stubDomains", r#"{"a.svc.cluster.local": ["192.0.2.1"]}"#, "is of the cluster's own domain");
        check("stubDomains", r#"{"acme.test": []}"#, "acme.test: 0 name servers, where 1 to 3 are possible");
        check("stubDomains", r#"{"acme.test": ["ns.acme.test"]}"#, "\"ns.acme.test\" is no address");
        check("upstreamNameservers", r#"["10.96.0.10"]"#, "10.96.0.10:53 is the cluster's own DNS");
        check("upstreamNameservers", r#"{"a": 1}"#, "upstreamNameservers: invalid type");
        check(
            "upstreamNameservers",
            r#"["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]"#,
            "4 name servers",
        );
    }
}
