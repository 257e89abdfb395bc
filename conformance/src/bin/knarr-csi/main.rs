//! A CSI driver for the tests: volumes are folders of the host, given to pods by bind mounts.
//!
//! It runs on the host as root, announces itself to the kubelet of one node and notes every call as a line of JSON, so
//! that tests see what it was told. Volumes with the attribute `fail` are refused.

mod calls;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use knarr_conformance::wire;

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
    let listener = wire::listen(&args.data.join("driver.sock"), &socket)?;
    wire::serve(listener, Arc::new(calls::Driver { args, socket })).await
}
