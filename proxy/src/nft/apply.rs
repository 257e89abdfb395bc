//! Running nft: one process a batch.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Family;

/// Why a batch was not applied. Nothing of it was, in every case.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program could not be started: most often the package `nftables` is not installed.
    #[error("cannot run nft (is the package nftables installed?)")]
    Start(#[source] std::io::Error),
    /// The program ended before it had read the commands, or its output could not be read.
    #[error("cannot speak to nft")]
    Pipe(#[source] std::io::Error),
    /// nft or the kernel refused the batch.
    #[error("nft refused the rules: {0}")]
    Refused(String),
}

/// The program nft.
#[derive(Debug, Clone)]
pub struct Nft {
    program: String,
}

impl Default for Nft {
    fn default() -> Nft {
        Nft { program: "nft".to_owned() }
    }
}

impl Nft {
    /// Applies commands as one transaction. No process is run for no commands.
    pub async fn apply(&self, commands: &str) -> Result<(), Error> {
        if commands.is_empty() {
            return Ok(());
        }
        self.run(&["-f", "-"], commands).await.map(|_| ())
    }

    /// Whether a chain exists.
    pub async fn has_chain(&self, family: Family, table: &str, chain: &str) -> bool {
        self.run(&["list", "chain", family.ip(), table, chain], "").await.is_ok()
    }

    /// Deletes a table of both families, if it is there.
    pub async fn delete_table(&self, table: &str) -> Result<(), Error> {
        let commands: String = Family::ALL
            .iter()
            .map(|f| format!("add table {0} {table}\ndelete table {0} {table}\n", f.ip()))
            .collect();
        self.apply(&commands).await
    }

    /// Runs nft with arguments and input, and returns its output.
    pub async fn run(&self, args: &[&str], input: &str) -> Result<String, Error> {
        let mut child = Command::new(&self.program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::Start)?;
        // nft reads all of its input before it answers, so writing first cannot block on its output.
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await.map_err(Error::Pipe)?;
        }
        let output = child.wait_with_output().await.map_err(Error::Pipe)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(Error::Refused(errors.lines().take(4).collect::<Vec<_>>().join("; ")))
    }
}
