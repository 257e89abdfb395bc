//! Writing and reading the archive.
use super::seal::{self, Opener, Sealer};
use crate::cluster::State;
use crate::cluster::pki::BACKED_UP;
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use knarr_apiserver::storage::transfer::Record;
use knarr_apiserver::storage::{Key, Revision};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use tar::{Archive, Builder, Entry, Header};

/// The newest form of the file that this program writes and reads.
const VERSION: u32 = 1;

/// Bytes of objects in one member, about.
const MEMBER: usize = 8 << 20;

/// Objects are smaller; a larger number is damage.
const LARGEST: u64 = 256 << 20;

/// What is before an object's bytes.
#[derive(Serialize, Deserialize)]
pub struct Head {
    key: String,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
    bytes: u64,
}

/// `backup.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    version: u32,
    /// Seconds since 1970.
    pub created: u64,
    /// The database's revision.
    pub revision: u64,
    /// Number of objects.
    pub objects: u64,
}

/// Everything but the objects.
pub struct Contents {
    /// When, and of what.
    pub manifest: Manifest,
    /// The cluster's choices.
    pub state: State,
    /// Keys and certificates by file name.
    pub pki: BTreeMap<String, Vec<u8>>,
}

/// A backup being written.
pub struct Writer {
    builder: Builder<GzEncoder<Output>>,
    member: Vec<u8>,
    members: u32,
    objects: u64,
}

enum Output {
    Plain(BufWriter<File>),
    Sealed(Box<Sealer<BufWriter<File>>>),
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Sealed(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Sealed(out) => out.flush(),
        }
    }
}

impl Writer {
    /// Begins a backup in an empty file.
    pub fn new(file: File, passphrase: Option<&[u8]>) -> io::Result<Self> {
        let out = BufWriter::new(file);
        let out = match passphrase {
            Some(passphrase) => Output::Sealed(Box::new(Sealer::new(out, passphrase)?)),
            None => Output::Plain(out),
        };
        let builder = Builder::new(GzEncoder::new(out, Compression::fast()));
        Ok(Self { builder, member: Vec::new(), members: 0, objects: 0 })
    }

    /// Adds an object.
    pub fn add(&mut self, record: &Record) -> io::Result<()> {
        let head = Head {
            key: record.key.as_str().to_owned(),
            revision: record.revision.0,
            expires: record.expires,
            bytes: record.value.len() as u64,
        };
        serde_json::to_writer(&mut self.member, &head)?;
        self.member.push(b'\n');
        self.member.extend_from_slice(&record.value);
        self.member.push(b'\n');
        self.objects += 1;
        if self.member.len() >= MEMBER { self.end_member() } else { Ok(()) }
    }

    /// Adds the rest and makes the file durable; returns the number of objects.
    pub fn finish(
        mut self,
        revision: Revision,
        state: &State,
        pki: &BTreeMap<String, Vec<u8>>,
    ) -> Result<u64> {
        self.end_member()?;
        for (name, content) in pki {
            append(&mut self.builder, &format!("pki/{name}"), content)?;
        }
        append(&mut self.builder, "cluster.json", &serde_json::to_vec_pretty(state)?)?;
        let created = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        let manifest = Manifest { version: VERSION, created, revision: revision.0, objects: self.objects };
        append(&mut self.builder, "backup.json", &serde_json::to_vec_pretty(&manifest)?)?;
        let out = match self.builder.into_inner()?.finish()? {
            Output::Plain(out) => out,
            Output::Sealed(sealer) => sealer.finish()?,
        };
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        Ok(self.objects)
    }

    fn end_member(&mut self) -> io::Result<()> {
        if self.member.is_empty() {
            return Ok(());
        }
        append(&mut self.builder, &format!("objects/{:06}", self.members), &self.member)?;
        self.members += 1;
        self.member.clear();
        Ok(())
    }
}

fn append(builder: &mut Builder<GzEncoder<Output>>, name: &str, content: &[u8]) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(content.len() as u64);
    builder.append_data(&mut header, name, content)
}

type Source = Box<dyn Read>;

/// Opens a backup for one pass.
fn open(path: &Path, passphrase: Option<&[u8]>) -> Result<Archive<Source>> {
    let read = || format!("cannot read {}", path.display());
    let mut file = File::open(path).with_context(read)?;
    let mut begin = Vec::new();
    (&mut file).take(seal::BEGIN as u64).read_to_end(&mut begin).with_context(read)?;
    file.rewind().with_context(read)?;
    let file = BufReader::new(file);
    let plain: Source = match (seal::is_sealed(&begin), passphrase) {
        (true, Some(passphrase)) => Box::new(Opener::new(file, passphrase).with_context(read)?),
        (true, None) => bail!("{} is encrypted; say --passphrase-file FILE", path.display()),
        (false, _) => Box::new(file),
    };
    Ok(Archive::new(Box::new(MultiGzDecoder::new(plain))))
}

/// Reads a whole backup, to be sure that it is whole, and returns everything but the objects.
pub fn verify(path: &Path, passphrase: Option<&[u8]>) -> Result<Contents> {
    let broken = || format!("{} is damaged, not whole, or no backup", path.display());
    let mut archive = open(path, passphrase)?;
    let (mut manifest, mut state, mut pki, mut objects) = (None, None, BTreeMap::new(), 0);
    for entry in archive.entries().with_context(broken)? {
        let entry = entry.with_context(broken)?;
        let name = entry.path().with_context(broken)?.display().to_string();
        match name.as_str() {
            "backup.json" => {
                let found: Manifest = serde_json::from_reader(entry).with_context(broken)?;
                if found.version > VERSION {
                    bail!("{} was written by a newer knarr", path.display());
                }
                manifest = Some(found);
            }
            "cluster.json" => state = Some(serde_json::from_reader(entry).with_context(broken)?),
            _ if name.starts_with("objects/") => {
                let mut member = BufReader::new(entry);
                while next(&mut member).with_context(broken)?.is_some() {
                    objects += 1;
                }
            }
            _ => {
                // Nothing else is taken from the file, whatever its names say.
                if let Some(name) = name.strip_prefix("pki/").filter(|name| BACKED_UP.contains(name)) {
                    let mut content = Vec::new();
                    entry.take(1 << 20).read_to_end(&mut content).with_context(broken)?;
                    pki.insert(name.to_owned(), content);
                }
            }
        }
    }
    // The checksum comes after the last member.
    io::copy(&mut archive.into_inner(), &mut io::sink()).with_context(broken)?;
    let (Some(manifest), Some(state)) = (manifest, state) else { bail!(broken()) };
    let manifest: Manifest = manifest;
    if manifest.objects != objects || pki.len() != BACKED_UP.len() {
        bail!(broken());
    }
    Ok(Contents { manifest, state, pki })
}

/// Gives the objects of a backup to `each_of`.
pub async fn with_objects<T>(
    path: &Path,
    passphrase: Option<&[u8]>,
    work: impl AsyncFnOnce(&mut dyn Iterator<Item = io::Result<Record>>) -> T,
) -> Result<T> {
    let mut archive = open(path, passphrase)?;
    let mut entries = archive.entries()?;
    let mut member: Option<BufReader<Entry<'_, Source>>> = None;
    let mut records = std::iter::from_fn(|| {
        loop {
            if let Some(record) = member.as_mut().and_then(|member| next(member).transpose()) {
                return Some(record);
            }
            member = None;
            match entries.next()? {
                Ok(entry) if entry.path_bytes().starts_with(b"objects/") => {
                    member = Some(BufReader::new(entry))
                }
                Ok(_) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    });
    Ok(work(&mut records).await)
}

/// The next object of a member; none at its end.
fn next(member: &mut impl BufRead) -> io::Result<Option<Record>> {
    let mut line = String::new();
    if member.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let head: Head = serde_json::from_str(&line)?;
    if head.bytes > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an object is impossibly large"));
    }
    let mut value = vec![0; usize::try_from(head.bytes).unwrap_or_default() + 1];
    member.read_exact(&mut value)?;
    if value.pop() != Some(b'\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an object does not end where it should"));
    }
    Ok(Some(Record {
        key: Key(Arc::from(head.key)),
        revision: Revision(head.revision),
        expires: head.expires,
        value: Bytes::from(value),
    }))
}
