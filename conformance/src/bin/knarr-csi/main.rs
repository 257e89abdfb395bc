//! A CSI driver for the tests: volumes are folders of the host, given to pods by bind mounts.
//!
//! It runs on the host as root, announces itself to the kubelet of one node and notes every call as a line of JSON, so
//! that tests see what it was told. Volumes with the attribute `fail` are refused.

mod calls;
mod wire;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixListener;

/// What it serves.
#[derive(Parser)]
pub struct Args {
    /// The kubelet's directory
    #[arg(long)]
    pub kubelet: PathBuf,
    /// Folder of the volumes; calls are noted in its file calls.jsonl
    #[arg(long)]
    pub data: PathBuf,
    /// Name of the driver
    #[arg(long, default_value = "folders.csi.knarr.test")]
    pub name: String,
    /// What the driver calls this node
    #[arg(long)]
    pub node: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.data)?;
    let socket = args.kubelet.join("plugins_registry").join(format!("{}-reg.sock", args.name));
    let _ = std::fs::remove_file(&socket);
    // Made elsewhere and renamed, so that nobody finds a socket at which nobody listens yet.
    let temporary = args.data.join("driver.sock");
    let _ = std::fs::remove_file(&temporary);
    let listener = UnixListener::bind(&temporary).with_context(|| format!("{}", temporary.display()))?;
    std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&temporary, &socket).with_context(|| format!("{}", socket.display()))?;
    let driver = Arc::new(calls::Driver { args, socket });
    loop {
        let (stream, _) = listener.accept().await?;
        let driver = Arc::clone(&driver);
        tokio::spawn(async move {
            let service = service_fn(move |request| wire::serve(Arc::clone(&driver), request));
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("a connection ended: {error}");
            }
        });
    }
}
