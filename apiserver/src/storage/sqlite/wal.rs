//! The write-ahead log's place on the disk.
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

/// What the log takes up from the start, in bytes: about what is written between two checkpoints.
const LENGTH: u64 = 8 << 20;

/// Fills the log up with zeros, which end it for whoever reads it (<https://www.sqlite.org/fileformat2.html#walformat>);
/// a disk without room for it is left as it was.
///
/// A commit that overwrites makes the disk write data alone; one that lengthens the file waits for the file system's
/// journal as well, behind whatever other programs write. Call it while nobody writes to the database: frames
/// appended meanwhile would be lost.
pub(super) fn preallocate(database: &Path) -> io::Result<()> {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    let mut file = OpenOptions::new().write(true).open(&path)?;
    let length = file.seek(SeekFrom::End(0))?;
    if let Err(error) = fill(&mut file, length) {
        tracing::debug!(%error, "no room for a log of full length");
        file.set_len(length)?;
    }
    Ok(())
}

fn fill(file: &mut File, mut length: u64) -> io::Result<()> {
    let zeros = [0; 64 << 10];
    while length < LENGTH {
        let missing = usize::try_from(LENGTH - length).unwrap_or(zeros.len()).min(zeros.len());
        file.write_all(&zeros[..missing])?;
        length += missing as u64;
    }
    Ok(())
}
