//! What a container writes, line by line into its log file.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::logs::write;
pub use crate::logs::write::Stream;

/// A line that is longer is written in parts.
const MAX_PART: usize = 16 << 10;

/// A container's log file with the lines that have no end yet.
pub struct Log {
    path: PathBuf,
    file: File,
    pending: [Vec<u8>; 2],
}

impl Log {
    /// Opens the file, which is made if it is not there.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: write::open(path)?, pending: Default::default() })
    }

    /// Opens the file of the same name anew, after it was moved away.
    pub fn reopen(&mut self) -> io::Result<()> {
        self.file = write::open(&self.path)?;
        Ok(())
    }

    /// Takes what a container has written.
    pub fn write(&mut self, stream: Stream, data: &[u8]) -> io::Result<()> {
        let mut pending = std::mem::take(&mut self.pending[stream as usize]);
        pending.extend_from_slice(data);
        let mut out = Vec::with_capacity(pending.len() + 64);
        let mut rest = pending.as_slice();
        loop {
            let end = rest.iter().position(|byte| *byte == b'\n');
            match end {
                Some(end) if end <= MAX_PART => {
                    line(&mut out, stream, b'F', &rest[..end]);
                    rest = &rest[end + 1..];
                }
                _ if rest.len() >= MAX_PART => {
                    line(&mut out, stream, b'P', &rest[..MAX_PART]);
                    rest = &rest[MAX_PART..];
                }
                _ => break,
            }
        }
        self.pending[stream as usize] = rest.to_vec();
        self.file.write_all(&out)
    }

    /// Writes a last line that has no end, as a part: readers add none.
    pub fn finish(&mut self, stream: Stream) -> io::Result<()> {
        let rest = std::mem::take(&mut self.pending[stream as usize]);
        if rest.is_empty() {
            return Ok(());
        }
        let mut out = Vec::new();
        line(&mut out, stream, b'P', &rest);
        self.file.write_all(&out)
    }
}

fn line(out: &mut Vec<u8>, stream: Stream, tag: u8, text: &[u8]) {
    write::line(out, &format!("{:.9}", jiff::Timestamp::now()), stream, tag, text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tags and texts of what is written when the pieces come in.
    fn written(pieces: &[&[u8]]) -> Vec<(String, usize)> {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a/0.log");
        let mut log = Log::open(&path).expect("log");
        for piece in pieces {
            log.write(Stream::Stdout, piece).expect("written");
        }
        log.finish(Stream::Stdout).expect("finished");
        let text = std::fs::read_to_string(&path).expect("text");
        let parts = text.lines().map(|line| {
            let mut words = line.splitn(4, ' ');
            let time = words.next().expect("time");
            assert!(time.len() == 30 && time.ends_with('Z'), "{time}");
            assert_eq!(words.next(), Some("stdout"));
            let tag = words.next().expect("tag").to_owned();
            (tag, words.next().expect("text").len())
        });
        parts.collect()
    }

    #[test]
    fn lines_are_whole_or_in_parts() {
        let check = |pieces: &[&[u8]], expected: &[(&str, usize)]| {
            let expected: Vec<_> = expected.iter().map(|(tag, count)| ((*tag).to_owned(), *count)).collect();
            assert_eq!(written(pieces), expected);
        };
        let long = vec![b'x'; MAX_PART + 5];
        check(&[b"one\ntwo\n"], &[("F", 3), ("F", 3)]);
        check(&[b"o", b"ne\n\n"], &[("F", 3), ("F", 0)]);
        check(&[b"no end"], &[("P", 6)]);
        check(&[&long, b"\n"], &[("P", MAX_PART), ("F", 5)]);
        check(&[&long[..MAX_PART], b"\nnext\n"], &[("P", MAX_PART), ("F", 0), ("F", 4)]);
    }
}
