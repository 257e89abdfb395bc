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

/// Settings of an interface that is still down: its IPv6 addresses count from the start, since nobody else
/// can have them, and it takes no routers but ours. The usual check would make a pod unreachable for a
/// second or two.
pub fn no_duplicate_detection(interface: &str) {
    try_write(&format!("net/ipv6/conf/{interface}/accept_dad"), "0");
    try_write(&format!("net/ipv6/conf/{interface}/accept_ra"), "0");
}
