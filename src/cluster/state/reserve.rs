//! What has been chosen for a cluster and is not in use yet, kept from every other `knarr` of the host, whoever's it is
//! and wherever it keeps its clusters.
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names held until dropped, as abstract sockets (unix(7)): they belong to the network namespace, as ports do, need no
/// directory that all users share, and go with the process.
#[derive(Default)]
pub struct Reservations(Vec<UnixDatagram>);

impl Reservations {
    /// Takes a name; false if another process holds it, or this one.
    pub fn take(&mut self, what: &str) -> bool {
        let address = SocketAddr::from_abstract_name(format!("knarr/{what}"));
        match address.and_then(|address| UnixDatagram::bind_addr(&address)) {
            Ok(socket) => {
                self.0.push(socket);
                true
            }
            // Where no such socket can be made, nobody else can make one either.
            Err(error) => error.kind() != ErrorKind::AddrInUse,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_holder() {
        let what = format!("test/{}", std::process::id());
        let (mut one, mut other) = (Reservations::default(), Reservations::default());
        assert!(one.take(&what));
        assert!(!other.take(&what));
        drop(one);
        assert!(other.take(&what));
    }
}
