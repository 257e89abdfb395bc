//! A client that waits until a DNS server knows a name.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::ProtoError;
use hickory_proto::rr::{Name, RecordType};

use super::forward::exchange_once;

/// How long one question may take before it is repeated, since its datagram may have gone nowhere.
const PATIENCE: Duration = Duration::from_millis(250);
/// Pause after a refusal.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks a server for the IPv4 address of a name until it has one to tell. Has no limit of its own: drop the
/// future to give up. The error is a name that is none.
pub async fn probe(server: SocketAddr, name: &str) -> Result<(), ProtoError> {
    let name = Name::from_ascii(name)?;
    loop {
        let question = exchange_once(server, &name, RecordType::A);
        let answer = tokio::time::timeout(PATIENCE, question).await;
        match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(true) => return Ok(()),
            Ok(false) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}
