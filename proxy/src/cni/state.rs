//! Reservations of addresses and host ports on this node, in one small file a cluster.
//!
//! Every change is read, decide, write a new file, rename, under an exclusive lock that the kernel drops
//! with its process: a crash at any point leaves the old or the new state.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::Error;
use super::host_ports::PortMapping;
use crate::network::gateway;

/// What a container has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reservation {
    /// Its addresses, one a range.
    pub(super) addresses: Vec<IpAddr>,
    /// Host ports that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) ports: Vec<PortMapping>,
}

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reservations {
    /// The boot of the machine in which they were made: a reboot ends all pods and frees all addresses.
    #[serde(default)]
    boot: String,
    /// The address given last, by range: the next search starts behind it, so that an address rests as long
    /// as possible before it is used again.
    #[serde(default)]
    last: BTreeMap<String, IpAddr>,
    /// By `container/interface`.
    #[serde(default)]
    pub(super) containers: BTreeMap<String, Reservation>,
}

impl Reservations {
    /// Reserves an address of each range for a key, or returns what it has.
    pub(super) fn reserve(&mut self, key: &str, ranges: &[IpNet]) -> Result<Reservation, Error> {
        if let Some(known) = self.containers.get(key) {
            return Ok(known.clone());
        }
        let used: BTreeSet<IpAddr> =
            self.containers.values().flat_map(|r| r.addresses.iter().copied()).collect();
        let mut addresses = Vec::new();
        for range in ranges {
            let last = self.last.get(&range.to_string()).copied();
            let address = next_free(range, last, &used).ok_or(Error::Exhausted(*range))?;
            self.last.insert(range.to_string(), address);
            addresses.push(address);
        }
        let reservation = Reservation { addresses, ports: Vec::new() };
        self.containers.insert(key.to_owned(), reservation.clone());
        Ok(reservation)
    }
}

/// The first free address behind `last`, around the range's end. Network, gateway and broadcast address are
/// never given.
fn next_free(range: &IpNet, last: Option<IpAddr>, used: &BTreeSet<IpAddr>) -> Option<IpAddr> {
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(u32::from(ip)),
        IpAddr::V6(ip) => u128::from(ip),
    };
    let address = |n: u128| match range {
        IpNet::V4(_) => u32::try_from(n).ok().map(|n| IpAddr::V4(n.into())),
        IpNet::V6(_) => Some(IpAddr::V6(n.into())),
    };
    let first = number(gateway(range)).checked_add(1)?;
    let end = number(range.broadcast());
    let last_usable = if range.addr().is_ipv4() { end.checked_sub(1)? } else { end };
    if first > last_usable {
        return None;
    }
    let start = last.map(number).filter(|n| (first..last_usable).contains(n)).map_or(first, |n| n + 1);
    // More candidates than addresses in use cannot all be in use.
    let candidates = (start..=last_usable).chain(first..start).take(used.len() + 1);
    candidates.filter_map(address).find(|ip| !used.contains(ip))
}

/// The directory of a cluster's reservations.
#[derive(Debug, Clone)]
pub(super) struct State {
    directory: PathBuf,
}

impl State {
    pub(super) fn new(directory: &Path) -> State {
        State { directory: directory.to_owned() }
    }

    /// Changes the reservations. Nothing is written if `change` fails or changes nothing.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Reservations) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.locked(|before| {
            let mut after = before.clone();
            let result = change(&mut after)?;
            if after != before {
                self.write(&after).map_err(|e| self.error(e))?;
            }
            Ok(result)
        })
    }

    /// Holds the lock while `work` looks at the reservations.
    pub(super) fn locked<T>(&self, work: impl FnOnce(Reservations) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = self.lock().map_err(|e| self.error(e))?;
        work(self.read().map_err(|e| self.error(e))?)
    }

    fn error(&self, source: io::Error) -> Error {
        Error::State { path: self.directory.display().to_string(), source }
    }

    fn lock(&self) -> io::Result<Flock<File>> {
        fs::create_dir_all(&self.directory)?;
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(self.directory.join("lock"))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno.into())
    }

    fn path(&self) -> PathBuf {
        self.directory.join("reservations.json")
    }

    fn read(&self) -> io::Result<Reservations> {
        let boot =
            fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
        let known = match fs::read(self.path()) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Reservations::default(),
            Err(error) => return Err(error),
        };
        Ok(if known.boot == boot { known } else { Reservations { boot, ..Reservations::default() } })
    }

    fn write(&self, reservations: &Reservations) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        serde_json::to_writer(&mut file, reservations)?;
        file.flush()?;
        file.persist(self.path()).map_err(|e| e.error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> IpNet {
        text.parse().expect("range")
    }

    #[test]
    fn addresses_go_around_and_skip_what_is_used() {
        let mut state = Reservations::default();
        let ranges = [range("10.0.0.0/29"), range("fd00::/64")];
        let mut give = |key: &str| {
            state
                .reserve(key, &ranges)
                .map(|r| r.addresses.iter().map(ToString::to_string).collect::<Vec<_>>())
        };
        assert_eq!(give("a").expect("a"), ["10.0.0.2", "fd00::2"]);
        assert_eq!(give("b").expect("b"), ["10.0.0.3", "fd00::3"]);
        assert_eq!(give("a").expect("a again"), ["10.0.0.2", "fd00::2"]);
        for key in ["c", "d", "e"] {
            give(key).expect(key);
        }
        assert!(matches!(give("f"), Err(Error::Exhausted(_))));
        state.containers.remove("b");
        state.containers.remove("a");
        let next = state.reserve("g", &ranges).expect("g");
        assert_eq!(next.addresses[0].to_string(), "10.0.0.2");
    }

    #[test]
    fn a_failed_change_writes_nothing_and_a_torn_file_is_never_seen() {
        let directory = tempfile::tempdir().expect("directory");
        let state = State::new(directory.path());
        state.change(|r| r.reserve("a", &[range("10.0.0.0/24")])).expect("reserve");
        let failed = state.change(|r| {
            r.containers.clear();
            Err::<(), _>(Error::Input("no".to_owned()))
        });
        assert!(failed.is_err());
        let kept = state.locked(|r| Ok(r.containers.len())).expect("read");
        assert_eq!(kept, 1);
    }

    #[test]
    fn a_reboot_frees_all_addresses() {
        let directory = tempfile::tempdir().expect("directory");
        let state = State::new(directory.path());
        state.change(|r| r.reserve("a", &[range("10.0.0.0/24")])).expect("reserve");
        let text = fs::read_to_string(state.path()).expect("file");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("boot");
        fs::write(state.path(), text.replace(boot.trim(), "another")).expect("write");
        let kept = state.locked(|r| Ok(r.containers.len())).expect("read");
        assert_eq!(kept, 0);
    }

    #[test]
    fn concurrent_processes_never_share_an_address() {
        let directory = tempfile::tempdir().expect("directory");
        let ranges = [range("10.0.0.0/24")];
        let threads: Vec<_> = (0..8)
            .map(|t| {
                let state = State::new(directory.path());
                std::thread::spawn(move || {
                    for i in 0..20 {
                        state.change(|r| r.reserve(&format!("{t}/{i}"), &ranges)).expect("reserve");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().expect("thread"));
        let all = State::new(directory.path()).locked(|r| Ok(r.containers)).expect("read");
        let distinct: BTreeSet<_> = all.values().map(|r| r.addresses[0]).collect();
        assert_eq!((all.len(), distinct.len()), (160, 160));
    }
}
