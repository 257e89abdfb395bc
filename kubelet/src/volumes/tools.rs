//! Programs of the host that mount volumes, with their failures in the original's words.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Command, Output};

/// How a program ended, as Go words it.
fn ending(output: &Output) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (output.status.code(), output.status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// What a program said on both streams.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a program to its end; it speaks English.
fn run(program: &str, arguments: &[impl AsRef<OsStr>]) -> io::Result<Output> {
    Command::new(program).args(arguments).env("LC_ALL", "C").output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            io::Error::other(format!("exec: {program:?}: executable file not found in $PATH"))
        }
        _ => error,
    })
}

/// The arguments of `mount`.
fn mount_arguments(kind: &str, options: &[String], source: &str, target: &Path) -> Vec<String> {
    let mut arguments = vec!["-t".to_owned(), kind.to_owned()];
    if !options.is_empty() {
        arguments.extend(["-o".to_owned(), options.join(",")]);
    }
    arguments.extend([source.to_owned(), target.display().to_string()]);
    arguments
}

/// Mounts by the host's program `mount`, which knows helpers for kinds of file systems.
pub fn mount(kind: &str, options: &[String], source: &str, target: &Path) -> io::Result<()> {
    let arguments = mount_arguments(kind, options, source, target);
    let failed = |why: &str, said: &str| {
        let arguments = arguments.join(" ");
        let text = format!(
            "mount failed: {why}\nMounting command: mount\nMounting arguments: {arguments}\nOutput: {said}\n"
        );
        io::Error::other(text)
    };
    let output = run("mount", &arguments).map_err(|error| failed(&error.to_string(), ""))?;
    if output.status.success() { Ok(()) } else { Err(failed(&ending(&output), &said(&output))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mount_is_told() {
        let options = ["ro", "nfsvers=4.1"].map(str::to_owned);
        let arguments = mount_arguments("nfs", &options, "a:/b", Path::new("/c"));
        assert_eq!(arguments.join(" "), "-t nfs -o ro,nfsvers=4.1 a:/b /c");
        assert_eq!(mount_arguments("nfs", &[], "a:/b", Path::new("/c")).join(" "), "-t nfs a:/b /c");
    }

    #[test]
    fn programs_that_fail_or_are_not_there() {
        let error = run("no-such-program", &["x"]).expect_err("none").to_string();
        assert_eq!(error, "exec: \"no-such-program\": executable file not found in $PATH");
        let output = run("sh", &["-c", "echo out; echo err >&2; exit 3"]).expect("shell");
        assert_eq!((ending(&output).as_str(), said(&output).as_str()), ("exit status 3", "out\nerr\n"));
    }
}
