//! A device plugin and a DRA driver for the tests: their devices are `/dev/null` under other names.
//!
//! It runs on the host as root, announces itself to the kubelet of one node and notes every call as a line of JSON, so
//! that tests see what it was told. The file `devices` of its folder has a line for each device, `id health`, and is read
//! again whenever it changes.

mod claims;
mod plugin;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use knarr_conformance::wire;
use serde_json::json;

/// What it serves.
#[derive(Clone, Parser)]
pub struct Args {
    /// The kubelet's directory
    #[arg(long)]
    pub kubelet: PathBuf,
    /// Folder with the file of devices; calls are noted in its file calls.jsonl
    #[arg(long)]
    pub data: PathBuf,
    /// Name of the resource of the device plugin
    #[arg(long, default_value = "knarr.test/null")]
    pub resource: String,
    /// Name of the DRA driver
    #[arg(long, default_value = "null.knarr.test")]
    pub driver: String,
}

impl Args {
    /// Notes a call.
    pub fn note(&self, call: &str, told: &serde_json::Value) -> wire::Outcome {
        let line = json!({"call": call, "told": told});
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.data.join("calls.jsonl"));
        let written = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
        written.map(|()| Vec::new()).map_err(|error| (2, error.to_string()))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.data)?;
    let socket = args.kubelet.join("plugins_registry").join(format!("{}-reg.sock", args.driver));
    let listener = wire::listen(&args.data.join("driver.sock"), &socket)?;
    let driver = Arc::new(claims::Driver { args: args.clone(), socket });
    tokio::try_join!(wire::serve(listener, driver), plugin::run(args)).map(|_| ())
}
