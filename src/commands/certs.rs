//! `knarr certs`: when a cluster's certificates end, and new ones in their place.
//!
//! Running processes see replaced files and show the new certificates from their next connection on; clients of the API
//! server open one for their next request. The authorities stay: whoever trusts them would have to be told.
use crate::cli::{self, ClusterName, Output};
use crate::cluster::{Cluster, pki};
use crate::kubeconfig;
use anyhow::{Context, Result, bail};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::process::ExitCode;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Flags of `knarr certs`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Command {
    /// Show when the certificates end; the exit code is 1 if one cannot be used now
    Check(Flags),
    /// Make all certificates but the authorities' anew; what runs goes on
    Renew(Flags),
}

#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  knarr certs check --output json
  knarr certs renew --name ci-1")]
struct Flags {
    #[command(flatten)]
    cluster: ClusterName,
    /// Form of the result
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// What `check` tells of a certificate.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct State {
    /// Name of its files, without their ending.
    name: &'static str,
    /// Whom it is of.
    subject: String,
    /// Name of the authority's files.
    authority: &'static str,
    /// Its last second, RFC 3339.
    not_after: String,
    /// Whole days from now until then.
    days_left: i64,
    /// What is wrong with it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

/// Runs `knarr certs`.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Check(flags) => check(&flags.cluster.open()?.administered()?, flags.output),
        Command::Renew(flags) => renew(&flags.cluster.open()?.administered()?, flags.output),
    }
}

fn check(cluster: &Cluster, output: Output) -> Result<ExitCode> {
    let states = states(cluster)?;
    print(&states, output)?;
    let well = states.iter().all(|state| state.fault.is_none());
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn renew(cluster: &Cluster, output: Output) -> Result<ExitCode> {
    pki::renew(cluster)?;
    kubeconfig::write_all(cluster)?;
    if let Some(file) = &cluster.state.merged_into {
        kubeconfig::refresh(cluster, file)?;
    }
    check(cluster, output)
}

fn states(cluster: &Cluster) -> Result<Vec<State>> {
    let now = Timestamp::now();
    pki::certificates().into_iter().map(|(name, authority)| state(cluster, name, authority, now)).collect()
}

fn state(cluster: &Cluster, name: &'static str, authority: &'static str, now: Timestamp) -> Result<State> {
    let (own, signer) = (read(cluster, name)?, read(cluster, authority)?);
    let (own, signer) = (parse(&own, name)?, parse(&signer, authority)?);
    let (begin, end) = (own.validity().not_before.timestamp(), own.validity().not_after.timestamp());
    let fault = if own.verify_signature(Some(signer.public_key())).is_err() {
        Some(format!("{authority} did not sign it"))
    } else if now.as_second() > end {
        Some("it has ended".to_owned())
    } else if now.as_second() < begin {
        Some("it has not begun".to_owned())
    } else {
        None
    };
    let end = Timestamp::from_second(end).context("a date out of range")?;
    let left: SignedDuration = end.duration_since(now);
    Ok(State {
        name,
        subject: own.subject().to_string(),
        authority,
        not_after: end.to_string(),
        days_left: left.as_hours() / 24,
        fault,
    })
}

fn read(cluster: &Cluster, name: &str) -> Result<Pem> {
    let file = cluster.paths.pki(&format!("{name}.crt"));
    let content = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let Some(Ok(pem)) = Pem::iter_from_buffer(&content).next() else {
        bail!("{} holds no certificate", file.display());
    };
    Ok(pem)
}

fn parse<'a>(pem: &'a Pem, name: &str) -> Result<X509Certificate<'a>> {
    let (_, parsed) = X509Certificate::from_der(&pem.contents).with_context(|| format!("{name}.crt"))?;
    Ok(parsed)
}

fn print(states: &[State], output: Output) -> Result<()> {
    if output == Output::Json {
        return cli::print(serde_json::to_string(states)?);
    }
    for State { name, not_after, days_left, fault, .. } in states {
        let fault = fault.as_ref().map(|fault| format!(": {fault}")).unwrap_or_default();
        cli::print(format_args!("{name:<24} until {not_after} ({days_left} days){fault}"))?;
    }
    Ok(())
}
