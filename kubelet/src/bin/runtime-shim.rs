//! A sandbox's process alone, for tests of the runtime: `runtime-shim DIRECTORY`. Users have it within `knarr`.
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: runtime-shim DIRECTORY");
        return ExitCode::FAILURE;
    };
    match knarr_kubelet::runtime::embedded::shim::run(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
