//! Kernel settings under `/proc/sys`, of the calling thread's network namespace.

use std::path::Path;

/// Writes a setting such as `net/ipv4/ip_forward`, unless it has the value already: `/proc/sys` is
/// read-only in many containers, where the values are often right.
pub fn write(name: &str, value: &str) -> std::io::Result<()> {
    let path = Path::new("/proc/sys").join(name);
    if std::fs::read_to_string(&path).is_ok_and(|old| old.trim() == value) {
        return Ok(());
    }
    std::fs::write(path, value)
}

/// Writes a setting that the network works without; failure is logged.
pub fn try_write(name: &str, value: &str) {
    if let Err(error) = write(name, value) {
        tracing::debug!(name, value, %error, "kernel setting not changed");
    }
}
