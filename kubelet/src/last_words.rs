//! Termination messages: what a container wrote to its file, or the end of its log.

use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncSeekExt};

use crate::logs::parse;
use crate::observed::Container;

/// A message file is read up to this many bytes.
const MAX_FILE: u64 = 4096;
/// A log stands in with at most so many bytes and lines.
const MAX_LOG: u64 = 2048;
const MAX_LOG_LINES: usize = 80;
/// How much of the log's end is looked at: lines carry time and stream besides their text.
const LOG_WINDOW: u64 = 16 << 10;

/// Fills in the message of a container that ended, unless the runtime gave one.
pub async fn fill(container: &mut Container) {
    if !container.is_exited() || !container.message.is_empty() {
        return;
    }
    if let Some(path) = &container.message_path {
        container.message = read_start(Path::new(path)).await.unwrap_or_default();
    }
    if container.message.is_empty() && container.message_from_logs && container.exit_code != 0 {
        container.message = log_end(Path::new(&container.log_path)).await.unwrap_or_default();
    }
}

async fn read_start(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    tokio::fs::File::open(path).await?.take(MAX_FILE).read_to_end(&mut bytes).await?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn log_end(path: &Path) -> std::io::Result<String> {
    let mut file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    file.seek(std::io::SeekFrom::Start(length.saturating_sub(LOG_WINDOW))).await?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).await?;
    Ok(end_of(&bytes))
}

fn end_of(log: &[u8]) -> String {
    let lines: Vec<_> = log.split_inclusive(|byte| *byte == b'\n').filter_map(parse::line).collect();
    let mut text = Vec::new();
    for line in &lines[lines.len().saturating_sub(MAX_LOG_LINES)..] {
        text.extend_from_slice(line.text);
        if !line.partial {
            text.push(b'\n');
        }
    }
    let start = text.len().saturating_sub(MAX_LOG as usize);
    String::from_utf8_lossy(&text[start..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log() {
        let log = b"2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr P tw\n2026-01-01T00:00:00Z stderr F o\n";
        assert_eq!(end_of(log), "one\ntwo\n");
        assert_eq!(end_of(b""), "");
    }
}
