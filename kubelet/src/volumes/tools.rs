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

/// Runs a program that must succeed; answers what it said. The error says that too, and how it ended.
pub fn succeed(program: &str, arguments: &[&str]) -> io::Result<String> {
    let output = run(program, arguments)?;
    match output.status.success() {
        true => Ok(said(&output)),
        false => Err(io::Error::other(format!("{}, err {}", said(&output), ending(&output)))),
    }
}

/// What `blkid` has found on a disk: a kind of file system, or nothing, or something else.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    FileSystem(String),
    Nothing,
    Other,
}

fn found(code: Option<i32>, exported: &str) -> Option<Found> {
    let value = |name: &str| exported.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    match (
        code,
        value("TYPE").filter(|kind| !kind.is_empty()),
        value("PTTYPE").filter(|kind| !kind.is_empty()),
    ) {
        (Some(2), _, _) => Some(Found::Nothing),
        (Some(0), Some(kind), None) => Some(Found::FileSystem(kind.to_owned())),
        (Some(0), _, Some(_)) => Some(Found::Other),
        (Some(0), None, None) => Some(Found::Nothing),
        _ => None,
    }
}

/// Makes a file system on an empty disk, or looks after the one that is there.
pub fn prepare_disk(disk: &Path, kind: &str, read_only: bool) -> io::Result<()> {
    let device = disk.display().to_string();
    let output = run("blkid", &["-p", "-s", "TYPE", "-s", "PTTYPE", "-o", "export", &device])?;
    let failed = |text: String| Err(io::Error::other(text));
    match found(output.status.code(), &String::from_utf8_lossy(&output.stdout)) {
        None => failed(format!("failed to get disk format of disk {device}: {}", ending(&output))),
        Some(Found::Nothing) if read_only => failed(format!(
            "cannot mount unformatted disk {device} as we are manipulating it in read-only mode"
        )),
        Some(Found::Nothing) => {
            let quick: &[&str] = if kind.starts_with("ext") { &["-F", "-m0"] } else { &[] };
            let output = run(&format!("mkfs.{kind}"), &[quick, &[&device]].concat())?;
            match output.status.success() {
                true => Ok(()),
                false => failed(format!(
                    "format of disk {device:?} failed: type:({kind:?}) errcode:({}) output:({})",
                    ending(&output),
                    said(&output)
                )),
            }
        }
        // Whatever it is, mounting tells.
        Some(Found::Other) => Ok(()),
        Some(Found::FileSystem(_)) if read_only => Ok(()),
        Some(Found::FileSystem(_)) => match run("fsck", &["-a", &device]) {
            Ok(output) if output.status.code() == Some(4) => failed(format!(
                "'fsck' found errors on device {device} but could not correct them: {}",
                said(&output)
            )),
            // Not there, or mended, or not for this kind.
            _ => Ok(()),
        },
    }
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
    fn what_is_on_disks() {
        let check =
            |code: i32, text: &str, expected| assert_eq!(found(Some(code), text), expected, "{code} {text}");
        check(2, "", Some(Found::Nothing));
        check(0, "DEVNAME=/dev/sda\nTYPE=ext4\n", Some(Found::FileSystem("ext4".to_owned())));
        check(0, "DEVNAME=/dev/sda\nPTTYPE=dos\n", Some(Found::Other));
        check(8, "", None);
    }

    #[test]
    fn programs_that_fail_or_are_not_there() {
        let error = run("no-such-program", &["x"]).expect_err("none").to_string();
        assert_eq!(error, "exec: \"no-such-program\": executable file not found in $PATH");
        let output = run("sh", &["-c", "echo out; echo err >&2; exit 3"]).expect("shell");
        assert_eq!((ending(&output).as_str(), said(&output).as_str()), ("exit status 3", "out\nerr\n"));
    }
}
