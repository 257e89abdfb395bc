//! Health check node ports: HTTP servers by which load balancers learn whether a service with
//! `externalTrafficPolicy: Local` has endpoints on this node.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest request that is read.
const REQUEST: usize = 8 * 1024;

/// Service key and number of local endpoints, by port.
pub type Wanted = BTreeMap<u16, (String, usize)>;

/// The running servers.
#[derive(Default)]
pub struct HealthChecks {
    wanted: Arc<RwLock<Wanted>>,
    running: BTreeMap<u16, DropGuard>,
}

impl HealthChecks {
    /// Starts and stops servers so that they are those wanted. A port that is busy is logged, and tried
    /// again with the next change.
    pub async fn update(&mut self, wanted: Wanted) {
        self.running.retain(|port, _| wanted.contains_key(port));
        let new: Vec<u16> = wanted.keys().filter(|p| !self.running.contains_key(p)).copied().collect();
        *self.wanted.write() = wanted;
        for port in new {
            let listener = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
                Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
                bound => bound,
            };
            match listener {
                Ok(listener) => {
                    let stop = CancellationToken::new();
                    tokio::spawn(stop.clone().run_until_cancelled_owned(serve(
                        listener,
                        port,
                        self.wanted.clone(),
                    )));
                    self.running.insert(port, stop.drop_guard());
                }
                Err(error) => tracing::warn!(port, %error, "health check node port not served"),
            }
        }
    }
}

async fn serve(listener: TcpListener, port: u16, wanted: Arc<RwLock<Wanted>>) {
    loop {
        // An error is of the connection that failed, or a lack of files that may pass.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let answer = wanted.read().get(&port).map(|(service, count)| response(service, *count));
        if let Some(answer) = answer {
            tokio::spawn(tokio::time::timeout(PATIENCE, reply(stream, answer)));
        }
    }
}

/// The whole response, in the original's form.
fn response(service: &str, count: usize) -> String {
    let (namespace, name) = service.split_once('/').unwrap_or(("", service));
    let body = serde_json::json!({
        "service": { "namespace": namespace, "name": name },
        "localEndpoints": count,
        "serviceProxyHealthy": true,
    })
    .to_string();
    let status = if count > 0 { "200 OK" } else { "503 Service Unavailable" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n\
         X-Load-Balancing-Endpoint-Weight: {count}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Reads a request, whatever it asks, and answers.
async fn reply(mut stream: TcpStream, answer: String) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|w| w == b"\r\n\r\n") && request.len() < REQUEST {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
