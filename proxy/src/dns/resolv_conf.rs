//! The host's resolvers, from its `resolv.conf`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use parking_lot::Mutex;

/// Most resolvers that are used, as in the C library.
const MOST: usize = 3;

/// The name servers of a `resolv.conf`, read again when the file changes.
#[derive(Debug)]
pub struct Upstreams {
    path: PathBuf,
    /// Our own addresses: asking them would go round in a circle.
    own: Vec<IpAddr>,
    read: Mutex<Option<(SystemTime, Vec<SocketAddr>)>>,
}

impl Upstreams {
    /// Resolvers of a file, except this server's own addresses.
    pub fn new(path: impl Into<PathBuf>, own: Vec<IpAddr>) -> Upstreams {
        Upstreams { path: path.into(), own, read: Mutex::new(None) }
    }

    /// A fixed list.
    pub fn fixed(servers: Vec<SocketAddr>) -> Upstreams {
        let read = Mutex::new(Some((SystemTime::UNIX_EPOCH, servers)));
        Upstreams { path: PathBuf::new(), own: Vec::new(), read }
    }

    /// The resolvers as they are now; none if there is no file.
    pub fn current(&self) -> Vec<SocketAddr> {
        let mut read = self.read.lock();
        if self.path == Path::new("") {
            return read.as_ref().map(|(_, servers)| servers.clone()).unwrap_or_default();
        }
        let changed =
            std::fs::metadata(&self.path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        match &*read {
            Some((at, servers)) if *at == changed => servers.clone(),
            _ => {
                let text = std::fs::read_to_string(&self.path).unwrap_or_default();
                let servers = parse(&text, &self.own);
                *read = Some((changed, servers.clone()));
                servers
            }
        }
    }
}

/// The `nameserver` lines; scoped IPv6 addresses are left out, since they cannot be told from others later.
fn parse(text: &str, own: &[IpAddr]) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    };
    let servers = text.lines().filter_map(address).filter(|ip| !own.contains(ip));
    servers.take(MOST).map(|ip| SocketAddr::new(ip, 53)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_without_ourselves() {
        let text = "# made by hand\nsearch example.org\nnameserver 10.96.0.10\nnameserver 127.0.0.53\n\
                    nameserver fe80::1%eth0\n nameserver\t2001:db8::53 # second\noptions edns0\n";
        let own = ["10.96.0.10".parse().expect("address")];
        let found: Vec<String> = parse(text, &own).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53:53", "[2001:db8::53]:53"]);
    }
}
