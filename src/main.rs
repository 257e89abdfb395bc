//! The `knarr` command: clusters up and down, and one hidden subcommand for each component, so that one file is
//! installed and every component still runs as a process of its own.
mod add_ons;
mod backup;
mod cli;
mod cluster;
mod commands;
mod containerd;
mod image_archive;
mod kubeconfig;
mod pause;
mod pod_network;
mod progress;
mod supervisor;

use clap::Parser;
use std::io::ErrorKind;
use std::process::ExitCode;

/// Components live long and allocate in bursts: mimalloc gives memory back to the system afterwards. Built without huge
/// pages: six processes would each hold several of 2 MiB for what fits in a few small ones.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A container runtime calls the CNI plugin by its file name, with everything in the environment.
    if std::env::var_os("CNI_COMMAND").is_some() {
        let lookup = |name: &str| std::env::var(name).ok();
        return match knarr_proxy::cni::run(&lookup, std::io::stdin().lock(), std::io::stdout().lock()) {
            knarr_proxy::cni::Outcome::Success => ExitCode::SUCCESS,
            knarr_proxy::cni::Outcome::Failure => ExitCode::FAILURE,
        };
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("error: another TLS provider is already installed");
        return ExitCode::FAILURE;
    }
    match cli::Cli::parse().run() {
        Ok(code) => code,
        // Whoever read the result has seen enough of it.
        Err(e) if e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("error: {}", with_causes(&e));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes, each told once: many say what caused them themselves.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |text, cause| match text.as_str() {
        "" => cause,
        text if text.contains(&cause) => text.to_owned(),
        text => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use super::with_causes;
    use anyhow::anyhow;

    #[test]
    fn causes_are_told_once() {
        let error = anyhow!("no such file").context("/a: no such file").context("cannot load /a");
        assert_eq!(with_causes(&error), "cannot load /a: /a: no such file");
    }
}
