//! UDP: a client's datagrams go to one endpoint from a socket of the client's own, until both are silent for a while.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use tokio::net::UdpSocket;

use super::routes::Route;
use crate::service::Config;

/// How long a client keeps its endpoint without a word.
const IDLE: Duration = Duration::from_secs(60);
/// Clients of one listener at a time; what more of them send is lost.
const MOST_CLIENTS: usize = 4096;
/// The largest datagram.
const DATAGRAM: usize = 65_536;

/// A client's socket, connected to its endpoint.
struct Session {
    server: UdpSocket,
    endpoint: SocketAddr,
    seen: Mutex<Instant>,
}

type Sessions = Arc<Mutex<HashMap<SocketAddr, Arc<Session>>>>;

/// Serves for ever.
pub async fn serve(socket: UdpSocket, route: Arc<RwLock<Arc<Route>>>, config: Arc<Config>) {
    let (socket, sessions) = (Arc::new(socket), Sessions::default());
    let Ok(called) = socket.local_addr() else { return };
    let mut buffer = vec![0; DATAGRAM];
    loop {
        // An error is of a datagram that was sent before.
        let Ok((length, client)) = socket.recv_from(&mut buffer).await else { continue };
        let route = route.read().clone();
        let candidates = route.candidates(client.ip(), called.ip(), &config, Instant::now());
        let known = sessions.lock().get(&client).cloned();
        // An endpoint that is gone has no say any more.
        let known = known.filter(|session| candidates.contains(&session.endpoint));
        let session = match (known, candidates.first()) {
            (Some(session), _) => session,
            (None, Some(endpoint)) => match begin(&socket, &sessions, client, *endpoint).await {
                Ok(session) => session,
                Err(error) => {
                    tracing::debug!(%endpoint, %error, "datagram lost");
                    continue;
                }
            },
            (None, None) => continue,
        };
        let now = Instant::now();
        *session.seen.lock() = now;
        route.led(client.ip(), session.endpoint, now);
        let _ = session.server.send(&buffer[..length]).await; // datagrams may be lost
    }
}

/// Gives a client a socket, and passes back what comes to it.
async fn begin(
    socket: &Arc<UdpSocket>,
    sessions: &Sessions,
    client: SocketAddr,
    endpoint: SocketAddr,
) -> std::io::Result<Arc<Session>> {
    if sessions.lock().len() >= MOST_CLIENTS {
        return Err(std::io::Error::other("too many clients"));
    }
    let any: SocketAddr = match endpoint {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let server = UdpSocket::bind(any).await?;
    server.connect(endpoint).await?;
    let session = Arc::new(Session { server, endpoint, seen: Mutex::new(Instant::now()) });
    sessions.lock().insert(client, session.clone());
    let (socket, sessions, theirs) = (Arc::downgrade(socket), sessions.clone(), session.clone());
    tokio::spawn(async move {
        let mut buffer = vec![0; DATAGRAM];
        loop {
            let left = IDLE.saturating_sub(theirs.seen.lock().elapsed());
            let Ok(received) = tokio::time::timeout(left, theirs.server.recv(&mut buffer)).await else {
                match theirs.seen.lock().elapsed() < IDLE {
                    true => continue,
                    false => break,
                }
            };
            // The listener has ended, or the endpoint has nobody there.
            let (Some(socket), Ok(length)) = (socket.upgrade(), received) else { break };
            *theirs.seen.lock() = Instant::now();
            let _ = socket.send_to(&buffer[..length], client).await; // datagrams may be lost
        }
        let mut sessions = sessions.lock();
        if sessions.get(&client).is_some_and(|now| Arc::ptr_eq(now, &theirs)) {
            sessions.remove(&client);
        }
    });
    Ok(session)
}
