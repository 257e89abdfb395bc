//! Addresses of simulated pods and nodes, given out from one network and taken back.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Hands out the addresses of a network, each to one holder at a time; a freed one comes again last.
#[derive(Debug)]
pub struct Addresses {
    first: u32,
    count: u32,
    next: u32,
    taken: HashSet<u32>,
}

impl Addresses {
    /// All of a network but its own address, the gateway's and the broadcast address.
    pub fn new(network: Ipv4Net) -> Self {
        let size = u32::try_from(1_u64 << (32 - network.prefix_len())).unwrap_or(u32::MAX);
        let first = u32::from(network.network()).saturating_add(2);
        Self { first, count: size.saturating_sub(3), next: 0, taken: HashSet::new() }
    }

    /// An address that nobody holds.
    pub fn take(&mut self) -> Option<String> {
        let free = (0..self.count).map(|step| (self.next + step) % self.count);
        let offset = free.into_iter().find(|offset| !self.taken.contains(offset))?;
        self.taken.insert(offset);
        self.next = (offset + 1) % self.count;
        Some(Ipv4Addr::from(self.first + offset).to_string())
    }

    /// Notes that somebody holds an address already; those of other networks are none of ours.
    pub fn hold(&mut self, address: &str) {
        self.taken.extend(self.offset(address));
    }

    /// Takes an address back.
    pub fn free(&mut self, address: &str) {
        if let Some(offset) = self.offset(address) {
            self.taken.remove(&offset);
        }
    }

    fn offset(&self, address: &str) -> Option<u32> {
        let address: Ipv4Addr = address.parse().ok()?;
        u32::from(address).checked_sub(self.first).filter(|offset| *offset < self.count)
    }
}

#[cfg(test)]
impl Addresses {
    /// Whether nobody holds an address of the network.
    pub fn offset_is_free(&self, address: &str) -> bool {
        self.offset(address).is_some_and(|offset| !self.taken.contains(&offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_one_holder() {
        let mut addresses = Addresses::new("10.0.0.0/29".parse().expect("a network"));
        addresses.hold("10.0.0.3");
        addresses.hold("10.1.0.3");
        let all: Vec<_> = std::iter::from_fn(|| addresses.take()).collect();
        assert_eq!(all, ["10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
        addresses.free("10.0.0.4");
        addresses.free("10.9.9.9");
        assert_eq!((addresses.take().as_deref(), addresses.take()), (Some("10.0.0.4"), None));
        assert_eq!(Addresses::new("10.0.0.0/32".parse().expect("a network")).take(), None);
    }
}
