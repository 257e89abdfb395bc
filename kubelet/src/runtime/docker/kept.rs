//! What Docker keeps of a container's output: a file of JSON lines, with older ones beside it as `NAME.1`, `NAME.2` …
//!
//! They are read as files: Docker's API, asked to follow, loses and repeats lines when it goes on to a new file (seen in
//! 20.10), and reading needs no process in between.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::logs::write::{self, Stream};

/// So much of Docker's own is kept: the size of a file, and how many there are.
pub const FILE_SIZE: &str = "16m";
pub const FILES: u8 = 3;
/// What is read at once.
const CHUNK: usize = 256 << 10;

/// How far a log is written: time of the last line, and how many lines at the end have that same time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The time with nine digits behind the point, so that texts compare as times do.
    pub time: String,
    /// How many.
    pub lines: usize,
}

/// A line of the file.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// The output of a container, read on from where it was read last.
pub struct Kept {
    path: PathBuf,
    current: Option<File>,
    /// The beginning of a line that has no end yet.
    pending: Vec<u8>,
    /// What was written already, until that is passed; and how many lines of that last time were seen.
    written: Option<(Position, usize)>,
}

impl Kept {
    /// The output in the file and those beside it, but what is `written` already.
    pub fn new(path: &Path, written: Option<Position>) -> Self {
        let written = written.map(|position| (position, 0));
        Self { path: path.to_owned(), current: None, pending: Vec::new(), written }
    }

    /// Appends a piece of what is new to `out`, in the CRI's form; whether anything was read.
    pub fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        if self.current.is_none() && !self.go_on()? {
            return Ok(false);
        }
        if self.piece(out)? {
            return Ok(true);
        }
        // Docker may have gone on to a new file; what it wrote into this one before is read first.
        if self.successor()?.is_none() {
            return Ok(false);
        }
        Ok(self.piece(out)? || self.go_on()?)
    }

    fn piece(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let Some(file) = &mut self.current else { return Ok(false) };
        let before = self.pending.len();
        self.pending.resize(before + CHUNK, 0);
        let count = file.read(&mut self.pending[before..]);
        self.pending.truncate(before + count.as_ref().map_or(0, |count| *count));
        let count = count?;
        if let Some(end) = self.pending.iter().rposition(|byte| *byte == b'\n') {
            let rest = self.pending.split_off(end + 1);
            let lines = std::mem::replace(&mut self.pending, rest);
            lines.split_inclusive(|byte| *byte == b'\n').for_each(|line| self.line(line, out));
        }
        Ok(count > 0)
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Ok(entry) = serde_json::from_slice::<Entry<'_>>(line) else { return };
        let time = nine_digits(&entry.time);
        if let Some((position, seen)) = &mut self.written {
            *seen += usize::from(time == position.time);
            if time < position.time || (time == position.time && *seen <= position.lines) {
                return;
            }
            self.written = None;
        }
        let stream = if entry.stream == "stderr" { Stream::Stderr } else { Stream::Stdout };
        match entry.log.strip_suffix('\n') {
            Some(text) => write::line(out, &time, stream, b'F', text.as_bytes()),
            None => write::line(out, &time, stream, b'P', entry.log.as_bytes()),
        }
    }

    /// Opens the next file; whether there is one.
    fn go_on(&mut self) -> io::Result<bool> {
        let Some((path, inode)) = self.successor()? else { return Ok(false) };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        // Otherwise it was renamed meanwhile, which the next call sees.
        let is_it = file.metadata()?.ino() == inode;
        if is_it {
            self.current = Some(file);
            self.pending.clear();
        }
        Ok(is_it)
    }

    /// The file after the current one, with its inode: the oldest if that is gone, or if there is none yet.
    fn successor(&self) -> io::Result<Option<(PathBuf, u64)>> {
        let mut all = files(&self.path);
        let current = match &self.current {
            Some(file) => Some(file.metadata()?.ino()),
            None => None,
        };
        let at = all.iter().position(|(_, inode)| Some(*inode) == current);
        let next = at.map_or(0, |at| at + 1);
        Ok((next < all.len()).then(|| all.swap_remove(next)))
    }
}

/// The files that there are, the oldest first.
fn files(path: &Path) -> Vec<(PathBuf, u64)> {
    let older = (1..FILES).rev().map(|number| PathBuf::from(format!("{}.{number}", path.display())));
    let all = older.chain([path.to_owned()]);
    all.filter_map(|path| std::fs::metadata(&path).ok().map(|found| (path, found.ino()))).collect()
}

/// A time with nine digits behind the point; Docker leaves zeros out at the end.
fn nine_digits(time: &str) -> String {
    let (seconds, fraction) =
        time.trim_end_matches('Z').split_once('.').unwrap_or((time.trim_end_matches('Z'), ""));
    format!("{seconds}.{fraction:0<9}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn entry(number: usize, text: &str) -> String {
        let time = format!("2026-01-01T00:00:{:02}Z", number / 10);
        let stream = if number.is_multiple_of(2) { "stdout" } else { "stderr" };
        serde_json::json!({"log": text, "stream": stream, "time": time}).to_string() + "\n"
    }

    fn read(kept: &mut Kept) -> Vec<String> {
        let mut out = Vec::new();
        while kept.read(&mut out).expect("read") {}
        String::from_utf8(out).expect("text").lines().map(|line| line[31..].to_owned()).collect()
    }

    #[test]
    fn lines_parts_and_new_files() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        let aside = |number: u8| folder.path().join(format!("log.{number}"));
        let mut kept = Kept::new(&path, None);
        assert!(read(&mut kept).is_empty());
        let mut file = File::create(&path).expect("file");
        let second = entry(1, "two");
        write!(file, "{}{}", entry(0, "one\n"), &second[..9]).expect("written");
        assert_eq!(read(&mut kept), ["stdout F one"]);
        // The rest comes together with the next file.
        write!(file, "{}", &second[9..]).expect("written");
        std::fs::rename(&path, aside(1)).expect("moved");
        std::fs::write(&path, entry(2, "\n")).expect("written");
        assert_eq!(read(&mut kept), ["stderr P two", "stdout F "]);
        // Two at once, and none of them is left out.
        std::fs::rename(aside(1), aside(2)).expect("moved");
        std::fs::rename(&path, aside(1)).expect("moved");
        std::fs::write(&path, entry(4, "four\n")).expect("written");
        assert_eq!(read(&mut kept), ["stdout F four"]);
        let mut late = Kept::new(&path, None);
        assert_eq!(read(&mut late).len(), 4);
    }

    #[test]
    fn what_was_written_is_passed() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("log");
        // Ten lines have the same second.
        let all: String = (0..30).map(|number| entry(number, &format!("{number}\n"))).collect();
        std::fs::write(&path, all).expect("written");
        let position = Position { time: "2026-01-01T00:00:01.000000000Z".to_owned(), lines: 8 };
        let left = read(&mut Kept::new(&path, Some(position)));
        assert_eq!((left.len(), left[0].as_str()), (12, "stdout F 18"));
    }

    #[test]
    fn times_compare_as_texts() {
        assert_eq!(nine_digits("2026-01-01T00:00:00.12Z"), "2026-01-01T00:00:00.120000000Z");
        assert_eq!(nine_digits("2026-01-01T00:00:00Z"), "2026-01-01T00:00:00.000000000Z");
    }
}
