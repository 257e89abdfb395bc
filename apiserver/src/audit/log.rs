//! The log file: a line an event, rotated by size, old ones removed by age and number.
use super::event::Event;
use super::flags::{Format, LogArgs};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::fmt::strtime;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Megabytes where the flag says nothing.
const DEFAULT_SIZE: u64 = 100;
const MEGABYTE: u64 = 1024 * 1024;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What a rotated log has in its name.
const STAMP: &str = "%Y-%m-%dT%H-%M-%S.%3f";
/// What an event that stands alone begins with.
const HEAD: &[u8] = br#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","#;

/// The line of an event whose JSON is known.
pub fn line(event: &Event, json: &Bytes, format: Format) -> Vec<u8> {
    let mut line = match format {
        Format::Json => [HEAD, json.get(1..).unwrap_or_default()].concat(),
        Format::Legacy => event.legacy().into_bytes(),
    };
    line.push(b'\n');
    line
}

/// Where lines go.
pub struct LogFile {
    /// None: standard output.
    path: Option<PathBuf>,
    open: Option<(File, u64)>,
    max_size: u64,
    max_age: Duration,
    max_backups: usize,
    compress: bool,
}

impl LogFile {
    /// The log of the flags; the file is opened at the first line.
    ///
    /// # Errors
    /// A directory that cannot be made, a file that cannot be written.
    pub fn new(path: &Path, args: &LogArgs) -> io::Result<Self> {
        let megabytes = if args.audit_log_maxsize == 0 { DEFAULT_SIZE } else { args.audit_log_maxsize };
        let mut log = Self {
            path: (path != Path::new("-")).then(|| path.to_owned()),
            open: None,
            max_size: megabytes * MEGABYTE,
            max_age: DAY * args.audit_log_maxage,
            max_backups: args.audit_log_maxbackup,
            compress: args.audit_log_compress,
        };
        if let Some(path) = log.path.clone() {
            log.open = Some(open(&path)?);
        }
        Ok(log)
    }

    /// Writes whole lines.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(path) = self.path.clone() else {
            let mut out = io::stdout().lock();
            out.write_all(lines)?;
            return out.flush();
        };
        let (mut file, mut size) = match self.open.take() {
            Some(open) => open,
            None => open(&path)?,
        };
        if size > 0 && size + lines.len() as u64 > self.max_size {
            drop(file);
            self.rotate(&path)?;
            (file, size) = open(&path)?;
        }
        file.write_all(lines)?;
        self.open = Some((file, size + lines.len() as u64));
        Ok(())
    }

    fn rotate(&self, path: &Path) -> io::Result<()> {
        let stamp = strtime::format(STAMP, Timestamp::now()).map_err(io::Error::other)?;
        let (prefix, suffix) = parts(path);
        let mut backup = path.with_file_name(format!("{prefix}{stamp}{suffix}"));
        // Two rotations within a millisecond.
        for number in 1.. {
            if !backup.exists() {
                break;
            }
            backup = path.with_file_name(format!("{prefix}{stamp}-{number}{suffix}"));
        }
        fs::rename(path, &backup)?;
        if self.compress {
            compress(&backup)?;
        }
        self.tidy(path)
    }

    /// Removes rotated logs that are too many or too old.
    fn tidy(&self, path: &Path) -> io::Result<()> {
        let (prefix, suffix) = parts(path);
        let mut backups = Vec::new();
        for entry in fs::read_dir(path.parent().unwrap_or(Path::new(".")))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let rest = name.strip_suffix(".gz").unwrap_or(&name);
            let stamp = rest.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(&suffix));
            if stamp.is_some_and(|stamp| stamp.len() >= 23 && stamp.as_bytes()[10] == b'T') {
                backups.push((name, entry.path(), entry.metadata()?.modified()?));
            }
        }
        backups.sort_by(|a, b| b.0.cmp(&a.0));
        let oldest = SystemTime::now().checked_sub(self.max_age);
        for (index, (_, path, modified)) in backups.iter().enumerate() {
            let is_surplus = self.max_backups > 0 && index >= self.max_backups;
            let is_old = !self.max_age.is_zero() && oldest.is_some_and(|oldest| *modified < oldest);
            if is_surplus || is_old {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// What the name of a rotated log has before and after the time.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let extension = text(path.extension());
    let suffix = if extension.is_empty() { String::new() } else { format!(".{extension}") };
    (format!("{}-", text(path.file_stem())), suffix)
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let to = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&name)?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(&mut File::open(path)?, &mut encoder)?;
    encoder.finish()?;
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn log(directory: &Path, max_backups: usize, compress: bool) -> LogFile {
        let path = directory.join("audit.log");
        LogFile { path: Some(path), open: None, max_size: 10, max_age: Duration::ZERO, max_backups, compress }
    }

    #[test]
    fn rotation() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = log(directory.path(), 2, false);
        for _ in 0..5 {
            log.write(b"12345678\n").unwrap();
        }
        let names = names(directory.path());
        assert_eq!(names.len(), 3, "{names:?}");
        assert!(names[..2].iter().all(|name| name.starts_with("audit-2") && name.ends_with(".log")));
        assert_eq!(names[2], "audit.log");
        assert_eq!(fs::read(directory.path().join("audit.log")).unwrap(), b"12345678\n");
    }

    #[test]
    fn a_log_goes_on_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        log(directory.path(), 0, false).write(b"1234\n").unwrap();
        log(directory.path(), 0, false).write(b"567\n").unwrap();
        assert_eq!(names(directory.path()), ["audit.log"]);
        let mut third = log(directory.path(), 0, true);
        third.write(b"89\n").unwrap();
        let names = names(directory.path());
        assert!(names.len() == 2 && names[0].ends_with(".log.gz"), "{names:?}");
        assert_eq!(fs::read(directory.path().join("audit.log")).unwrap(), b"89\n");
    }

    #[test]
    fn old_logs_go() {
        let directory = tempfile::tempdir().unwrap();
        let old = directory.path().join("audit-2020-01-01T00-00-00.000.log");
        let file = File::create(&old).unwrap();
        file.set_modified(SystemTime::now() - 3 * DAY).unwrap();
        fs::write(directory.path().join("audit-notes.log"), "mine").unwrap();
        let mut log = log(directory.path(), 0, false);
        log.max_age = 2 * DAY;
        log.write(b"12345678\n").unwrap();
        log.write(b"12345678\n").unwrap();
        let names = names(directory.path());
        assert!(
            !old.exists() && names.len() == 3 && names.contains(&"audit-notes.log".to_owned()),
            "{names:?}"
        );
    }
}
