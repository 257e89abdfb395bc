//! Connections of a component's server: TLS, then HTTP/1.1 or HTTP/2 as negotiated; each is a task and ends with the server.

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

/// Streams of an HTTP/2 connection where nothing else is said.
pub const STREAMS: u32 = 200;

/// Serves until `stop`. `router` makes the handlers of a connection from the chain of the client's certificate, which is
/// empty without one and nobody has judged yet.
pub async fn serve(
    listener: TcpListener,
    tls: TlsAcceptor,
    streams: u32,
    router: impl Fn(&[CertificateDer<'static>]) -> Router + Clone + Send + 'static,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let work = connection(stream, peer, tls.clone(), streams, router.clone());
                tokio::spawn(stop.clone().run_until_cancelled_owned(work));
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                // Nothing tells when descriptors are free again.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: TlsAcceptor,
    streams: u32,
    router: impl Fn(&[CertificateDer<'static>]) -> Router,
) {
    // Small answers should not wait for more.
    let _ = stream.set_nodelay(true);
    let stream = match tls.accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%peer, %error, "TLS handshake");
            return;
        }
    };
    let service =
        TowerToHyperService::new(router(stream.get_ref().1.peer_certificates().unwrap_or_default()));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(streams);
    if let Err(error) = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await {
        tracing::debug!(%peer, %error, "connection");
    }
}
