//! The last steps in a container's process: looking for the program, the system call filter, and becoming it.

use std::collections::HashMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use caps::{CapSet, Capability, CapsHashSet};
use libcontainer::oci_spec::runtime::{Process, Spec};
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};

use super::seccomp::Filter;
use super::userns::Entry;

/// Becomes the program, after what the OCI runtime leaves to it.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Filter of system calls.
    pub filter: Option<Filter>,
    /// Capabilities that are given up once the filter is set; without a filter the OCI runtime has done that.
    pub keep: Option<Vec<String>>,
    /// Users that a command joins: for these the OCI runtime does that with the first process only.
    pub entry: Option<Entry>,
}

fn process(spec: &Spec) -> Option<&Process> {
    spec.process().as_ref()
}

fn arguments(spec: &Spec) -> &[String] {
    process(spec).and_then(|process| process.args().as_deref()).unwrap_or_default()
}

impl Executor for Program {
    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        if let Some(entry) = &self.entry {
            let failed =
                |error| ExecutorValidationError::ArgValidationError(format!("user namespace: {error}"));
            entry.join().map_err(failed)?;
        }
        let name = arguments(spec).first().map(String::as_str).unwrap_or_default();
        let variables = process(spec).and_then(|process| process.env().as_ref());
        let path = variables.and_then(|all| all.iter().find_map(|one| one.strip_prefix("PATH=")));
        find(name, path.unwrap_or_default()).map(drop).map_err(ExecutorValidationError::ArgValidationError)
    }

    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        if let Some(filter) = &self.filter {
            let restricted = process(spec).and_then(Process::no_new_privileges) == Some(true);
            filter.install(restricted).map_err(|error| ExecutorError::Other(format!("seccomp: {error}")))?;
        }
        if let Some(keep) = &self.keep {
            give_up(keep).map_err(|error| ExecutorError::Other(format!("capabilities: {error}")))?;
        }
        let arguments = arguments(spec);
        let path = std::env::var("PATH").unwrap_or_default();
        let name = arguments.first().map(String::as_str).unwrap_or_default();
        let program = find(name, &path).map_err(ExecutorError::Other)?;
        // The standard library's way also undoes what this process has changed about signals.
        let mut command = Command::new(&program);
        let error = command.arg0(name).args(&arguments[1..]).exec();
        Err(ExecutorError::Other(format!("exec {}: {error}", program.display())))
    }

    fn setup_envs(
        &self,
        envs: HashMap<String, String>,
    ) -> Result<(), libcontainer::workload::ExecutorSetEnvsError> {
        libcontainer::workload::default::get_executor().setup_envs(envs)
    }
}

/// The capabilities that must still be there to set a filter without `no_new_privs`, and to give them up.
pub const FOR_FILTER: [&str; 2] = ["CAP_SYS_ADMIN", "CAP_SETPCAP"];

fn give_up(keep: &[String]) -> Result<(), caps::errors::CapsError> {
    let keep: CapsHashSet = keep.iter().filter_map(|name| name.parse::<Capability>().ok()).collect();
    for capability in FOR_FILTER.iter().filter_map(|name| name.parse::<Capability>().ok()) {
        if !keep.contains(&capability) {
            caps::drop(None, CapSet::Bounding, capability)?;
        }
    }
    caps::set(None, CapSet::Effective, &keep)?;
    caps::set(None, CapSet::Permitted, &keep)
}

/// The file that a name means, or why there is none, in the original's words.
fn find(name: &str, path: &str) -> Result<PathBuf, String> {
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(nix::errno::Errno::ENOENT) => {
                Err(format!("exec: {name:?}: stat {name}: no such file or directory"))
            }
            Err(_) => Err(format!("exec: {name:?}: permission denied")),
        };
    }
    let mut denied = false;
    for folder in path.split(':').filter(|folder| !folder.is_empty()) {
        let file = Path::new(folder).join(name);
        match executable(&file) {
            Ok(()) if !name.is_empty() => return Ok(file),
            Err(nix::errno::Errno::EACCES) => denied = true,
            _ => {}
        }
    }
    let why = if denied { "permission denied" } else { "executable file not found in $PATH" };
    Err(format!("exec: {name:?}: {why}"))
}

fn executable(file: &Path) -> nix::Result<()> {
    use nix::errno::Errno;
    nix::unistd::access(file, nix::unistd::AccessFlags::X_OK)?;
    if file.is_dir() { Err(Errno::EACCES) } else { Ok(()) }
}
