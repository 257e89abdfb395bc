//! What containers write, from Docker into the pods' log files.
//!
//! Docker keeps the output itself, with the time of each line; a task for each running container copies what is new. Where
//! it had come to is read from the end of the log file, so that a kubelet goes on where the one before it ended.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::{InspectContainerOptions, LogsOptions};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::engine::{Engine, explain};
use super::status;
use crate::logs::parse;
use crate::logs::write::{self, Stream};
use crate::runtime::{Result, RuntimeError};

/// A line that is longer comes in parts of this size.
const PART: usize = 16 << 10;
/// So much of a file's end is read to find its last line: more than a line can have.
const TAIL: u64 = 64 << 10;
/// How long the last output of a container that has ended is awaited.
const DRAIN: Duration = Duration::from_secs(2);
/// Between attempts, while Docker is away.
const RETRY: Duration = Duration::from_secs(1);

/// The containers whose output is followed.
#[derive(Clone)]
pub struct Logs {
    engine: Engine,
    followed: Arc<Mutex<HashMap<String, Arc<Followed>>>>,
}

struct Followed {
    path: PathBuf,
    file: Mutex<Option<File>>,
    /// Everything is written that there will be.
    done: CancellationToken,
}

impl Logs {
    /// Nothing is followed yet.
    pub fn new(engine: Engine) -> Self {
        Self { engine, followed: Arc::default() }
    }

    /// Follows a container that has been started, unless it is followed already.
    pub fn follow(&self, id: &str, path: &Path) {
        let followed =
            Followed { path: path.to_owned(), file: Mutex::default(), done: CancellationToken::new() };
        let followed = match self.followed.lock().entry(id.to_owned()) {
            std::collections::hash_map::Entry::Occupied(_) => return,
            std::collections::hash_map::Entry::Vacant(free) => Arc::clone(free.insert(Arc::new(followed))),
        };
        let (engine, id) = (self.engine.clone(), id.to_owned());
        tokio::spawn(async move {
            let _done = followed.done.clone().drop_guard();
            copy_all(&engine, &id, &followed).await;
        });
    }

    /// Goes on in a new file after the one before was moved away.
    pub fn reopen(&self, id: &str) -> Result<()> {
        let Some(followed) = self.followed.lock().get(id).cloned() else { return Ok(()) };
        let mut file = followed.file.lock();
        *file = Some(write::open(&followed.path).map_err(|error| RuntimeError::Failed(error.to_string()))?);
        Ok(())
    }

    /// Returns once all output of a container that has ended is written, within limits.
    pub async fn drained(&self, id: &str) {
        let followed = self.followed.lock().get(id).cloned();
        if let Some(followed) = followed {
            let _ = tokio::time::timeout(DRAIN, followed.done.cancelled()).await;
        }
    }

    /// Forgets a container that was removed.
    pub fn forget(&self, id: &str) {
        self.followed.lock().remove(id);
    }
}

/// How far the output is written: time of the last line, and how many lines have that same time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Position {
    time: String,
    lines: usize,
}

impl Position {
    /// Moves past a line; whether it is new.
    fn pass(&mut self, time: &str, seen: &mut usize) -> bool {
        match time.cmp(self.time.as_str()) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => {
                *seen += 1;
                let is_new = *seen > self.lines;
                self.lines = self.lines.max(*seen);
                is_new
            }
            std::cmp::Ordering::Greater => {
                (self.time, self.lines) = (time.to_owned(), 1);
                *seen = 1;
                true
            }
        }
    }

    /// Seconds since the epoch from which Docker is to tell.
    fn since(&self) -> i32 {
        let time = self.time.parse::<jiff::Timestamp>().ok();
        time.and_then(|time| i32::try_from(time.as_second()).ok()).unwrap_or_default()
    }
}

async fn copy_all(engine: &Engine, id: &str, followed: &Followed) {
    let mut position = match prepare(followed) {
        Ok(position) => position,
        Err(error) => {
            tracing::error!(id, path = %followed.path.display(), %error, "output of a container is not logged");
            return;
        }
    };
    loop {
        let copied = copy(engine, id, followed, &mut position).await;
        let inspect = |docker: bollard::Docker| async move {
            docker.inspect_container(id, None::<InspectContainerOptions>).await
        };
        match (copied, engine.call(inspect).await) {
            (_, Err(RuntimeError::NotFound(_))) => return,
            (Ok(()), Ok(inspected)) if !status::is_running(&inspected) => return,
            (Err(error), _) => tracing::debug!(id, %error, "output interrupted"),
            _ => {}
        }
        // Docker is restarting: nothing tells when it is back.
        tokio::time::sleep(RETRY).await;
    }
}

/// Opens the file and finds how far it goes.
fn prepare(followed: &Followed) -> io::Result<Position> {
    let position = match last_line(&followed.path)? {
        Some(position) => position,
        // It may have been moved away just before.
        None => newest_aside(&followed.path).map_or(Ok(None), |path| last_line(&path))?.unwrap_or_default(),
    };
    *followed.file.lock() = Some(write::open(&followed.path)?);
    Ok(position)
}

/// How far a file goes; a line that was cut off is removed.
fn last_line(path: &Path) -> io::Result<Option<Position>> {
    let mut file = match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let length = file.metadata()?.len();
    let start = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        file.set_len(start + whole as u64)?;
    }
    Ok(position_of(&bytes[..whole]))
}

fn position_of(text: &[u8]) -> Option<Position> {
    let lines: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').filter_map(parse::line).collect();
    let time = lines.last()?.time;
    let same = lines.iter().rev().take_while(|line| line.time == time).count();
    Some(Position { time: time.to_owned(), lines: same })
}

/// The newest file that was moved away, if it is readable as it is.
fn newest_aside(path: &Path) -> Option<PathBuf> {
    let prefix = format!("{}.", path.file_name()?.to_str()?);
    let files = std::fs::read_dir(path.parent()?).ok()?.flatten();
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    let newest = names.filter(|name| name.starts_with(&prefix) && !name.ends_with(".tmp")).max()?;
    (!newest.ends_with(".gz")).then(|| path.with_file_name(newest))
}

/// Copies until the output ends, or Docker goes away.
async fn copy(engine: &Engine, id: &str, followed: &Followed, position: &mut Position) -> Result<()> {
    let options = LogsOptions {
        follow: true,
        stdout: true,
        stderr: true,
        timestamps: true,
        since: position.since(),
        tail: "all".to_owned(),
        ..LogsOptions::default()
    };
    let client = engine.client().await?;
    let mut output = std::pin::pin!(client.logs(id, Some(options)).ready_chunks(64));
    let mut seen = 0;
    while let Some(chunk) = output.next().await {
        let mut out = Vec::new();
        let mut failed = None;
        for message in chunk {
            match message {
                Ok(message) => lines(&message, |time, stream, tag, text| {
                    if position.pass(time, &mut seen) {
                        write::line(&mut out, time, stream, tag, text);
                    }
                }),
                Err(error) => failed = Some(explain(error)),
            }
        }
        if let Some(file) = followed.file.lock().as_mut() {
            file.write_all(&out).map_err(|error| RuntimeError::Failed(error.to_string()))?;
        }
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Ok(())
}

/// The lines of what Docker tells: `TIME TEXT`, with the end of the line unless it goes on. With a terminal all of it is
/// output, and parts of a long line follow each other without anything between them.
fn lines(message: &LogOutput, mut each: impl FnMut(&str, Stream, u8, &[u8])) {
    let (stream, mut bytes) = match message {
        LogOutput::StdErr { message } => (Stream::Stderr, message.as_ref()),
        LogOutput::StdOut { message } | LogOutput::Console { message } => (Stream::Stdout, message.as_ref()),
        LogOutput::StdIn { .. } => return,
    };
    let is_terminal = matches!(message, LogOutput::Console { .. });
    loop {
        let Some((time, text)) = stamped(bytes) else { return };
        if is_terminal && text.len() > PART && stamped(&text[PART..]).is_some() {
            each(time, stream, b'P', &text[..PART]);
            bytes = &text[PART..];
            continue;
        }
        match text.strip_suffix(b"\n") {
            Some(text) => each(time, stream, b'F', text),
            None => each(time, stream, b'P', text),
        }
        return;
    }
}

/// Takes the time off.
fn stamped(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let at = bytes.iter().take(40).position(|byte| *byte == b' ')?;
    let time = std::str::from_utf8(&bytes[..at]).ok()?;
    time.parse::<jiff::Timestamp>().ok()?;
    Some((time, &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: &str = "2026-01-01T00:00:00.000000001Z";
    const LATER: &str = "2026-01-01T00:00:01.000000000Z";

    #[test]
    fn messages_become_lines() {
        let check = |message: LogOutput, expected: &[(Stream, u8, usize)]| {
            let mut found = Vec::new();
            lines(&message, |time, stream, tag, text| {
                assert_eq!(time, TIME);
                found.push((stream, tag, text.len()));
            });
            assert_eq!(found, expected);
        };
        let text = |text: &str| format!("{TIME} {text}").into();
        check(LogOutput::StdOut { message: text("one\n") }, &[(Stream::Stdout, b'F', 3)]);
        check(LogOutput::StdErr { message: text("\n") }, &[(Stream::Stderr, b'F', 0)]);
        check(LogOutput::StdOut { message: text("part") }, &[(Stream::Stdout, b'P', 4)]);
        check(LogOutput::StdOut { message: "no time".into() }, &[]);
        let long = format!("{TIME} {}{TIME} end\r\n", "x".repeat(PART));
        check(
            LogOutput::Console { message: long.into() },
            &[(Stream::Stdout, b'P', PART), (Stream::Stdout, b'F', 4)],
        );
    }

    #[test]
    fn a_new_kubelet_goes_on_where_the_log_ends() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("0.log");
        assert_eq!(last_line(&path).expect("none"), None);
        let text = format!("{TIME} stdout F a\n{LATER} stdout P b\n{LATER} stdout P c\n");
        std::fs::write(&path, format!("{text}{LATER} stdo")).expect("written");
        let mut position = last_line(&path).expect("read").expect("position");
        assert_eq!(position, Position { time: LATER.to_owned(), lines: 2 });
        assert_eq!(std::fs::read_to_string(&path).expect("text"), text);
        let mut seen = 0;
        let new: Vec<bool> =
            [TIME, LATER, LATER, LATER, LATER].iter().map(|time| position.pass(time, &mut seen)).collect();
        assert_eq!(new, [false, false, false, true, true]);
        let aside = folder.path().join("0.log.20260101-000000");
        std::fs::rename(&path, &aside).expect("moved");
        assert_eq!(newest_aside(&path), Some(aside));
    }
}
