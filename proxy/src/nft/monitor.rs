//! Notice when somebody else removes our tables, as `nft flush ruleset` does.

use std::io;

use rtnetlink::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket, protocols};

use super::message::DELETE_TABLE;
use crate::netfilter::{attribute, parse};

/// Multicast group of rule changes (`NFNLGRP_NFTABLES`).
const GROUP: u32 = 7;
/// `NFTA_TABLE_NAME`.
const TABLE_NAME: u16 = 1;
/// Enough for what the kernel sends at once.
const BUFFER: usize = 64 * 1024;

/// Hears of deleted tables in the network namespace in which it was opened.
pub struct Monitor {
    socket: TokioSocket,
    table: String,
}

impl Monitor {
    /// Begins to listen for deletions of a table.
    pub fn open(table: &str) -> io::Result<Monitor> {
        let mut socket = TokioSocket::new(protocols::NETLINK_NETFILTER)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        socket.socket_mut().add_membership(GROUP)?;
        Ok(Monitor { socket, table: table.to_owned() })
    }

    /// Waits until the table has been deleted, by whomever: a full resync deletes and makes it at once, so
    /// the caller looks whether it is there. A future that is dropped before has lost nothing.
    pub async fn deleted(&mut self) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer).await {
                Ok(_) => {}
                // Messages were lost; one may have been ours.
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => return Ok(()),
                Err(error) => return Err(error),
            }
            let messages = parse(&buffer).messages;
            let is_ours = |bytes: &[u8]| bytes.strip_suffix(&[0]).unwrap_or(bytes) == self.table.as_bytes();
            let deletions = messages.iter().filter(|m| m.kind == DELETE_TABLE);
            if deletions.filter_map(|m| attribute(&m.attributes, TABLE_NAME)).any(is_ours) {
                return Ok(());
            }
        }
    }
}
