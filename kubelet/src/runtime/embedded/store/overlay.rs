//! Layers joined by overlayfs.

use std::io;
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// The options of one mount fit into a page.
const MAX_OPTIONS: usize = 4095;

/// Runs `work` on a thread of its own that has `directory` as its working directory: names of layers relative to it
/// are short, and a mount's options are limited.
pub fn on_own_directory<T: Send>(
    directory: &Path,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    std::thread::scope(|scope| {
        let body = || {
            unshare(CloneFlags::CLONE_FS)?;
            std::env::set_current_dir(directory)?;
            work()
        };
        let thread = std::thread::Builder::new().name("layer".to_owned()).spawn_scoped(scope, body)?;
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread panicked")))
    })
}

/// Mounts `layers` (as below) for reading; `empty` is a folder in which nothing is, since one layer is too few.
pub fn mount_layers(layers: &[String], empty: &Path, target: &Path) -> io::Result<()> {
    let lower: Vec<&str> = layers.iter().rev().map(String::as_str).collect();
    let options = format!("lowerdir={}:{}", lower.join(":"), empty.display());
    if options.len() > MAX_OPTIONS {
        return Err(io::Error::other(format!("{} layers are too many for one mount", layers.len())));
    }
    mount(Some("overlay"), target, Some("overlay"), MsFlags::MS_RDONLY, Some(options.as_str()))?;
    Ok(())
}

/// Mounts `layers` (the lowest first, relative to the working directory) with `upper` on top of them.
pub fn mount_overlay(layers: &[String], upper: &Path, work: &Path, target: &Path) -> io::Result<()> {
    let lower: Vec<&str> = layers.iter().rev().map(String::as_str).collect();
    let options =
        format!("lowerdir={},upperdir={},workdir={}", lower.join(":"), upper.display(), work.display());
    if options.len() > MAX_OPTIONS {
        return Err(io::Error::other(format!("{} layers are too many for one mount", layers.len())));
    }
    mount(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(options.as_str()))?;
    Ok(())
}
