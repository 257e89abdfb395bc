//! Reading a container's log: a part of it, or on and on as it grows.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc;

use super::parse;

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Bytes that are read at once.
const BLOCK: usize = 32 << 10;

/// What part of a log is wanted, as in `PodLogOptions`.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Go on as the log grows.
    pub follow: bool,
    /// Only so many lines from the end.
    pub tail: Option<u64>,
    /// Only lines from this time on.
    pub since: Option<Timestamp>,
    /// Put the time before each line.
    pub timestamps: bool,
    /// At most so many bytes.
    pub limit: Option<u64>,
    /// Only this stream: standard error or not.
    pub stderr: Option<bool>,
}

/// Sends the log's text until its end, the limit, or (when following) until `alive` says that the
/// container has ended. Ends early when the receiver is gone.
pub async fn read<F, A>(path: PathBuf, options: Options, alive: F, out: mpsc::Sender<std::io::Result<Bytes>>)
where
    F: Fn() -> A + Send,
    A: Future<Output = bool> + Send,
{
    if let Err(error) = Reader::new(&options, &out).run(&path, alive).await {
        let _ = out.send(Err(error)).await;
    }
}

struct Reader<'a> {
    options: &'a Options,
    out: &'a mpsc::Sender<std::io::Result<Bytes>>,
    left: u64,
    /// The last line was only part of one of the container's.
    within_line: bool,
}

/// Whether to go on.
enum Step {
    Continue,
    Done,
}

impl<'a> Reader<'a> {
    fn new(options: &'a Options, out: &'a mpsc::Sender<std::io::Result<Bytes>>) -> Self {
        Self { options, out, left: options.limit.unwrap_or(u64::MAX), within_line: false }
    }

    async fn run<F, A>(mut self, path: &Path, alive: F) -> std::io::Result<()>
    where
        F: Fn() -> A,
        A: Future<Output = bool>,
    {
        let mut file = File::open(path).await?;
        if let Some(lines) = self.options.tail {
            let start = tail_start(&mut file, lines).await?;
            file.seek(SeekFrom::Start(start)).await?;
        }
        let mut pending = Vec::new();
        let mut ended = false;
        loop {
            let mut block = Vec::with_capacity(BLOCK);
            let count = (&mut file).take(BLOCK as u64).read_to_end(&mut block).await?;
            pending.extend_from_slice(&block);
            if let Step::Done = self.emit(&mut pending).await {
                return Ok(());
            }
            if count > 0 {
                continue;
            }
            if !self.options.follow || ended {
                return Ok(());
            }
            if let Some(next) = rotated(&file, path).await {
                file = next;
                continue;
            }
            tokio::select! {
                () = self.out.closed() => return Ok(()),
                () = tokio::time::sleep(POLL) => {}
            }
            // What it wrote last may have come after we looked, so one more round is due.
            ended = !alive().await;
        }
    }

    /// Sends all whole lines.
    async fn emit(&mut self, pending: &mut Vec<u8>) -> Step {
        let Some(end) = pending.iter().rposition(|byte| *byte == b'\n') else { return Step::Continue };
        let rest = pending.split_off(end + 1);
        let lines = std::mem::replace(pending, rest);
        let mut text = Vec::with_capacity(lines.len());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.format(line, &mut text);
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        text.truncate(room);
        self.left -= text.len() as u64;
        if !text.is_empty() && self.out.send(Ok(Bytes::from(text))).await.is_err() {
            return Step::Done;
        }
        if self.left == 0 { Step::Done } else { Step::Continue }
    }

    fn format(&mut self, line: &[u8], text: &mut Vec<u8>) {
        let Some(line) = parse::line(line) else { return };
        if self.options.stderr.is_some_and(|stderr| stderr != line.stderr) {
            return;
        }
        if let (Some(since), Some(time)) = (self.options.since, line.timestamp())
            && time < since
        {
            return;
        }
        if self.options.timestamps && !self.within_line {
            text.extend_from_slice(line.time.as_bytes());
            text.push(b' ');
        }
        text.extend_from_slice(line.text);
        if !line.partial {
            text.push(b'\n');
        }
        self.within_line = line.partial;
    }
}

/// The file that has taken the path's place, if another one has.
async fn rotated(file: &File, path: &Path) -> Option<File> {
    use std::os::unix::fs::MetadataExt;
    let new = File::open(path).await.ok()?;
    let (old, current) = (file.metadata().await.ok()?, new.metadata().await.ok()?);
    ((old.ino(), old.dev()) != (current.ino(), current.dev())).then_some(new)
}

/// Where the last `lines` lines begin.
async fn tail_start(file: &mut File, lines: u64) -> std::io::Result<u64> {
    let length = file.metadata().await?.len();
    if lines == 0 {
        return Ok(length);
    }
    let (mut position, mut found) = (length, 0);
    let mut block = vec![0; BLOCK];
    while position > 0 {
        let start = position.saturating_sub(BLOCK as u64);
        let size = usize::try_from(position - start).unwrap_or(BLOCK);
        file.seek(SeekFrom::Start(start)).await?;
        file.read_exact(&mut block[..size]).await?;
        for (index, byte) in block[..size].iter().enumerate().rev() {
            let at = start + index as u64;
            // The line end at the very end of the file closes the last line; it begins none.
            if *byte == b'\n' && at + 1 < length {
                found += 1;
                if found == lines {
                    return Ok(at + 1);
                }
            }
        }
        position = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n\
                       2026-01-01T00:00:03Z stdout P th\n2026-01-01T00:00:03Z stdout F ree\n";

    async fn text(path: &Path, options: Options) -> String {
        let (send, mut receive) = mpsc::channel(4);
        let task = tokio::spawn(read(path.to_owned(), options, || async { false }, send));
        let mut text = Vec::new();
        while let Some(part) = receive.recv().await {
            text.extend_from_slice(&part.expect("read"));
        }
        task.await.expect("task");
        String::from_utf8(text).expect("text")
    }

    #[tokio::test]
    async fn parts_of_a_log() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).expect("written");
        let since = |second: i64| {
            Some(
                "2026-01-01T00:00:00Z"
                    .parse::<Timestamp>()
                    .expect("time")
                    .checked_add(jiff::SignedDuration::from_secs(second))
                    .expect("time"),
            )
        };
        for (options, expected) in [
            (Options::default(), "one\ntwo\nthree\n"),
            (Options { tail: Some(3), ..Default::default() }, "two\nthree\n"),
            (Options { tail: Some(0), ..Default::default() }, ""),
            (Options { tail: Some(99), ..Default::default() }, "one\ntwo\nthree\n"),
            (Options { since: since(2), ..Default::default() }, "two\nthree\n"),
            (Options { limit: Some(5), ..Default::default() }, "one\nt"),
            (Options { stderr: Some(true), ..Default::default() }, "two\n"),
            (
                Options { timestamps: true, tail: Some(2), ..Default::default() },
                "2026-01-01T00:00:03Z three\n",
            ),
            (Options { follow: true, ..Default::default() }, "one\ntwo\nthree\n"),
        ] {
            let shown = format!("{options:?}");
            assert_eq!(text(&path, options).await, expected, "{shown}");
        }
    }

    #[tokio::test]
    async fn follows_across_rotation() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("0.log");
        std::fs::write(&path, "2026-01-01T00:00:01Z stdout F one\n").expect("written");
        let (send, mut receive) = mpsc::channel(4);
        let options = Options { follow: true, ..Default::default() };
        let task = tokio::spawn(read(path.clone(), options, || async { true }, send));
        assert_eq!(receive.recv().await.expect("part").expect("read"), "one\n");
        std::fs::rename(&path, dir.path().join("old")).expect("renamed");
        std::fs::write(&path, "2026-01-01T00:00:02Z stdout F two\n").expect("written");
        assert_eq!(receive.recv().await.expect("part").expect("read"), "two\n");
        drop(receive);
        task.await.expect("ends when nobody listens");
    }
}
