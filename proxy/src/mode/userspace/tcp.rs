//! TCP: each connection is copied to one of another.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::net::{TcpListener, TcpStream};

use super::routes::Route;
use crate::service::Config;

/// How long the first endpoint, the second and so on may take to answer.
const PATIENCE: [Duration; 4] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Serves for ever.
pub async fn serve(listener: TcpListener, route: Arc<RwLock<Arc<Route>>>, config: Arc<Config>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let route = route.read().clone();
                tokio::spawn(lead(client, route, config.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "connection to a service not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await; // nothing tells that descriptors are free
            }
        }
    }
}

/// Copies a connection to an endpoint that answers; without one it is reset.
async fn lead(mut client: TcpStream, route: Arc<Route>, config: Arc<Config>) {
    let (Ok(peer), Ok(called)) = (client.peer_addr(), client.local_addr()) else { return };
    let (peer, called) = (peer.ip().to_canonical(), called.ip().to_canonical());
    let candidates = route.candidates(peer, called, &config, Instant::now());
    // Small pieces should not wait for more.
    let _ = client.set_nodelay(true);
    let endpoints = candidates.iter().cycle().take(if candidates.is_empty() { 0 } else { PATIENCE.len() });
    for (endpoint, patience) in endpoints.zip(PATIENCE) {
        let Ok(Ok(mut server)) = tokio::time::timeout(patience, TcpStream::connect(endpoint)).await else {
            continue;
        };
        let _ = server.set_nodelay(true);
        route.led(peer, *endpoint, Instant::now());
        let ended = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        tracing::trace!(%endpoint, ?ended, "connection ended");
        return;
    }
    // The client shall not take it for an answer.
    let _ = client.set_zero_linger();
}
