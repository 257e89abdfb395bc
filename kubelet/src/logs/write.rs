//! Log files in the CRI's format: `TIME stdout|stderr F|P TEXT`, P for a line that goes on.
//!
//! Source: Kubernetes design document "CRI logging".

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Which stream a line is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Output.
    Stdout,
    /// Errors.
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Appends a line to `out`; `tag` is `F`, or `P` if it goes on.
pub fn line(out: &mut Vec<u8>, time: &str, stream: Stream, tag: u8, text: &[u8]) {
    for part in [time.as_bytes(), b" ", stream.name().as_bytes(), b" ", &[tag], b" ", text, b"\n"] {
        out.extend_from_slice(part);
    }
}

/// Opens a log file to append to; it is made if it is not there.
pub fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o640).open(path)
}
