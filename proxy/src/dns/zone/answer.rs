//! Answers to questions about the cluster's names.

use std::net::IpAddr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::Zone;
use super::records::{Endpoint, Kind, Port, ServiceNames};
use crate::dns::TTL;
use crate::dns::labels::{labels, undashed};

/// Version of the DNS specification that `dns-version` announces.
const VERSION: &str = "1.1.0";

/// The answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Records, and others that the client will want next.
    Records(Vec<Record>, Vec<Record>),
    /// The name stands for another.
    Alias(Box<Record>, Box<Name>),
    /// The name exists, but has no records of that type.
    NoData,
    /// The name does not exist.
    NameError,
    /// The name is not the cluster's.
    Elsewhere,
}

impl Zone {
    /// Answers a question. Its cost does not depend on the number of services.
    pub fn answer(&self, name: &Name, kind: RecordType) -> Answer {
        if !self.domain.zone_of(name) {
            return self.reverse(name, kind);
        }
        let mut relative = labels(name);
        relative.truncate(relative.len() - usize::from(self.domain.num_labels()));
        let relative: Vec<&str> = relative.iter().map(String::as_str).collect();
        match relative.as_slice() {
            [] => self.apex(name, kind),
            ["dns-version"] => of_type(kind, RecordType::TXT, || {
                vec![record(name, RData::TXT(TXT::new(vec![VERSION.to_owned()])))]
            }),
            ["svc" | "pod" | "dns"] => Answer::NoData,
            ["ns", "dns"] => self.addresses(name, kind, &self.servers),
            [_, "pod"] => Answer::NoData,
            [label, _, "pod"] => match undashed(label) {
                Some(ip) => self.addresses(name, kind, &[ip]),
                None => Answer::NameError,
            },
            [namespace, "svc"] => exists(self.namespaces.contains_key(*namespace)),
            [rest @ .., service, namespace, "svc"] => {
                match self.services.get(&format!("{namespace}/{service}")) {
                    Some(found) => self.of_service(name, kind, found, rest),
                    None => Answer::NameError,
                }
            }
            _ => Answer::NameError,
        }
    }

    /// The record that goes with negative answers and says how long they may be kept.
    pub fn authority(&self) -> Record {
        let under = |label: &str| self.domain.prepend_label(label).unwrap_or_else(|_| self.domain.clone());
        let (server, mailbox) = (self.server_name(), under("hostmaster"));
        let soa = SOA::new(server, mailbox, self.serial, 7200, 1800, 86_400, TTL);
        record(&self.domain, RData::SOA(soa))
    }

    fn server_name(&self) -> Name {
        let name = self.domain.prepend_label("dns").and_then(|n| n.prepend_label("ns"));
        name.unwrap_or_else(|_| self.domain.clone())
    }

    fn apex(&self, name: &Name, kind: RecordType) -> Answer {
        match kind {
            RecordType::SOA => Answer::Records(vec![self.authority()], Vec::new()),
            RecordType::NS => {
                let server = self.server_name();
                let glue = self.servers.iter().map(|ip| address(&server, *ip)).collect();
                Answer::Records(vec![record(name, RData::NS(NS(server)))], glue)
            }
            _ => Answer::NoData,
        }
    }

    /// A name at or below a service; `rest` are the labels left of it.
    fn of_service(&self, name: &Name, kind: RecordType, service: &ServiceNames, rest: &[&str]) -> Answer {
        match (rest, &service.kind) {
            ([], Kind::External(target)) => {
                let cname = record(name, RData::CNAME(CNAME(target.clone())));
                match kind {
                    RecordType::CNAME => Answer::Records(vec![cname], Vec::new()),
                    _ => Answer::Alias(Box::new(cname), Box::new(target.clone())),
                }
            }
            (_, Kind::External(_)) => Answer::NameError,
            ([], _) if kind == RecordType::SRV => self.srv(name, name, service, |_| true),
            ([], Kind::Virtual(ips)) => self.addresses(name, kind, ips),
            ([], Kind::Headless) => {
                let ips: Vec<IpAddr> =
                    service.endpoints.values().flat_map(|e| e.ips.iter().copied()).collect();
                self.addresses(name, kind, &ips)
            }
            ([protocol], _) if protocol.starts_with('_') => {
                exists(service.all_ports().any(|p| protocol[1..] == p.protocol && !p.name.is_empty()))
            }
            ([label], _) => match service.endpoints.get(*label) {
                Some(endpoint) => self.of_endpoint(name, kind, endpoint),
                None => Answer::NameError,
            },
            ([port, protocol], _) if port.starts_with('_') && protocol.starts_with('_') => {
                let matches = |p: &Port| port[1..] == p.name && protocol[1..] == p.protocol;
                if !service.all_ports().any(matches) {
                    return Answer::NameError;
                }
                let own = name.trim_to(usize::from(name.num_labels()).saturating_sub(2));
                match kind {
                    RecordType::SRV | RecordType::ANY => self.srv(name, &own, service, matches),
                    _ => Answer::NoData,
                }
            }
            _ => Answer::NameError,
        }
    }

    fn of_endpoint(&self, name: &Name, kind: RecordType, endpoint: &Endpoint) -> Answer {
        let ips: Vec<IpAddr> = endpoint.ips.iter().copied().collect();
        if kind != RecordType::SRV {
            return self.addresses(name, kind, &ips);
        }
        let srv = |port: &Port| record(name, RData::SRV(SRV::new(0, 100, port.number, name.clone())));
        let records: Vec<Record> = endpoint.ports.iter().map(srv).collect();
        if records.is_empty() {
            return Answer::NoData;
        }
        Answer::Records(records, ips.iter().map(|ip| address(name, *ip)).collect())
    }

    /// Service records: the service's own name for virtual addresses, else those of its endpoints. `own` is
    /// the service's name.
    fn srv(&self, name: &Name, own: &Name, service: &ServiceNames, wanted: impl Fn(&Port) -> bool) -> Answer {
        let (mut found, mut additional): (Vec<(&Port, Name)>, _) = (Vec::new(), Vec::new());
        match &service.kind {
            Kind::Virtual(ips) => {
                found.extend(service.ports.iter().filter(|p| wanted(p)).map(|port| (port, own.clone())));
                additional.extend(ips.iter().map(|ip| address(own, *ip)));
            }
            _ => {
                for (label, endpoint) in &service.endpoints {
                    let Ok(target) = own.prepend_label(label.as_str()) else { continue };
                    let before = found.len();
                    found.extend(
                        endpoint.ports.iter().filter(|p| wanted(p)).map(|port| (port, target.clone())),
                    );
                    if found.len() > before {
                        additional.extend(endpoint.ips.iter().map(|ip| address(&target, *ip)));
                    }
                }
            }
        }
        // As CoreDNS does it: a hundred is shared by all that answer.
        let weight = u16::try_from(100 / found.len().max(1)).unwrap_or(1).max(1);
        let srv = |(port, target): (&Port, Name)| RData::SRV(SRV::new(0, weight, port.number, target));
        let records: Vec<_> = found.into_iter().map(|answer| record(name, srv(answer))).collect();
        if records.is_empty() { Answer::NoData } else { Answer::Records(records, additional) }
    }

    /// Address records of the family that was asked for.
    fn addresses(&self, name: &Name, kind: RecordType, ips: &[IpAddr]) -> Answer {
        let wanted = |ip: &&IpAddr| match kind {
            RecordType::A => ip.is_ipv4(),
            RecordType::AAAA => ip.is_ipv6(),
            RecordType::ANY => true,
            _ => false,
        };
        let records: Vec<Record> = ips.iter().filter(wanted).map(|ip| address(name, *ip)).collect();
        if records.is_empty() { Answer::NoData } else { Answer::Records(records, Vec::new()) }
    }

    fn reverse(&self, name: &Name, kind: RecordType) -> Answer {
        // The parser takes names of ranges as well; only a whole address has a name.
        let Ok(net) = name.to_lowercase().parse_arpa_name() else { return Answer::Elsewhere };
        if net.prefix_len() != net.max_prefix_len() {
            return Answer::Elsewhere;
        }
        let ip = net.addr();
        match self.reverse.get(&ip) {
            Some(names) => of_type(kind, RecordType::PTR, || {
                names.iter().map(|target| record(name, RData::PTR(PTR(target.clone())))).collect()
            }),
            None if self.ranges.iter().any(|range| range.contains(&ip)) => Answer::NameError,
            None => Answer::Elsewhere,
        }
    }
}

impl ServiceNames {
    /// The ports of the service, and of its endpoints: a headless service may declare none.
    fn all_ports(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().chain(self.endpoints.values().flat_map(|e| &e.ports))
    }
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL, data)
}

fn address(name: &Name, ip: IpAddr) -> Record {
    record(
        name,
        match ip {
            IpAddr::V4(ip) => RData::A(A(ip)),
            IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
        },
    )
}

fn exists(exists: bool) -> Answer {
    if exists { Answer::NoData } else { Answer::NameError }
}

fn of_type(asked: RecordType, present: RecordType, records: impl FnOnce() -> Vec<Record>) -> Answer {
    if asked == present || asked == RecordType::ANY {
        Answer::Records(records(), Vec::new())
    } else {
        Answer::NoData
    }
}
