//! Layers: unpacked once for all images that have them in the same order.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use nix::mount::{MntFlags, umount2};
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use sha2::{Digest, Sha256};

use super::manifest::{Descriptor, Manifest};
use super::{
    Hashing, ImageConfig, Record, Result, Store, StoreError, at, digest_text, manifest, overlay, unpack,
};

/// A layer's identity: its content and everything below it. Short, for many of them stand in one mount.
fn identity(below: Option<&str>, diff_id: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(below.unwrap_or_default());
    hash.update(" ");
    hash.update(diff_id);
    digest_text(&hash.finalize())["sha256:".len()..][..32].to_owned()
}

/// Identities of all layers, the lowest first.
pub fn identities(diff_ids: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for diff_id in diff_ids {
        all.push(identity(all.last().map(String::as_str), diff_id));
    }
    all
}

impl Store {
    /// Makes an image of a manifest whose blobs are all here: unpacks what is not, and notes its names. The caller
    /// is [busy](Store::busy).
    pub fn register(&self, digest: &str, names: &[String], digests: &[String]) -> Result<Record> {
        let manifest: Manifest = manifest::parse(&self.read_blob(digest)?)?;
        let described = manifest.config.as_ref();
        let described =
            described.ok_or_else(|| StoreError::Invalid("a manifest without configuration".to_owned()))?;
        let config: ImageConfig = manifest::parse(&self.read_blob(&described.digest)?)?;
        if config.architecture != manifest::architecture() && !config.architecture.is_empty() {
            let text = format!("the image is for {}, not {}", config.architecture, manifest::architecture());
            return Err(StoreError::Invalid(text));
        }
        let diff_ids = &config.rootfs.diff_ids;
        if diff_ids.len() != manifest.layers.len() {
            let (have, say) = (manifest.layers.len(), diff_ids.len());
            return Err(StoreError::Invalid(format!(
                "the image has {have} layers, its configuration says {say}"
            )));
        }
        let layers = identities(diff_ids);
        for (position, (blob, diff_id)) in manifest.layers.iter().zip(diff_ids).enumerate() {
            self.unpack_layer(blob, diff_id, &layers[..=position])?;
        }
        let blobs: Vec<String> = manifest.layers.iter().map(|layer| layer.digest.clone()).collect();
        let size = manifest.layers.iter().map(|layer| layer.size).sum::<u64>() + described.size;
        self.record(Record {
            id: described.digest.clone(),
            manifest: digest.to_owned(),
            names: names.iter().cloned().collect(),
            digests: digests.iter().cloned().collect(),
            layers,
            blobs,
            size,
        })
    }

    /// Unpacks the last of `layers` over those below it, unless it is there.
    fn unpack_layer(&self, blob: &Descriptor, diff_id: &str, layers: &[String]) -> Result<()> {
        let Some((layer, below)) = layers.split_last() else { return Ok(()) };
        let target = self.layers_dir().join(layer);
        if target.exists() {
            return Ok(());
        }
        let source = self.blob_path(&blob.digest)?;
        let file = File::open(&source).map_err(at(&source))?;
        let scratch = tempfile::tempdir_in(self.tmp()).map_err(at(&self.tmp()))?;
        let found = overlay::on_own_directory(&self.layers_dir(), || {
            let upper = scratch.path().join("upper");
            unpack_over(plain(BufReader::with_capacity(128 << 10, file))?, below, scratch.path()).and_then(
                |found| {
                    // It counts as there once it has its name, so all of it must be on the disk by then.
                    rustix::fs::syncfs(&File::open(&upper)?)?;
                    Ok(found)
                },
            )
        });
        let found = found.map_err(|source| StoreError::Layer { digest: blob.digest.clone(), source })?;
        if found != diff_id {
            return Err(StoreError::Digest { expected: diff_id.to_owned(), found });
        }
        match std::fs::rename(scratch.path().join("upper"), &target) {
            // Another process was faster.
            Err(_) if target.exists() => Ok(()),
            other => other.map_err(at(&target)),
        }
    }
}

/// Unpacks an archive into `scratch/upper`, with the layers below it seen as in a container; answers its digest.
fn unpack_over(archive: impl Read, below: &[String], scratch: &Path) -> io::Result<String> {
    let (upper, work, merged) = (scratch.join("upper"), scratch.join("work"), scratch.join("merged"));
    std::fs::create_dir(&upper)?;
    let mut archive = Hashing::new(archive);
    if below.is_empty() {
        unpack::unpack(&mut archive, &upper)?;
        return archive.finish();
    }
    std::fs::create_dir(&work)?;
    std::fs::create_dir(&merged)?;
    overlay::mount_overlay(below, &upper, &work, &merged)?;
    let unpacked = unpack::unpack(&mut archive, &merged);
    let unmounted = umount2(&merged, MntFlags::empty());
    unpacked?;
    unmounted?;
    archive.finish()
}

/// What zstd has compressed: frames one after the other, some of which are to be skipped.
struct Zstd<R: BufRead> {
    source: R,
    frame: Option<FrameDecoder>,
}

impl<R: BufRead> Zstd<R> {
    /// Begins the next frame, if there is one.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            let mut decoder = FrameDecoder::new();
            match decoder.init(&mut self.source) {
                Ok(()) => {
                    self.frame = Some(decoder);
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => drop(io::copy(&mut (&mut self.source).take(length.into()), &mut io::sink())?),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(decoder) = &mut self.frame else {
                if self.next_frame()? {
                    continue;
                }
                return Ok(0);
            };
            while decoder.can_collect() < buffer.len() && !decoder.is_finished() {
                let more = BlockDecodingStrategy::UptoBytes(buffer.len() - decoder.can_collect());
                decoder.decode_blocks(&mut self.source, more).map_err(io::Error::other)?;
            }
            match decoder.read(buffer)? {
                0 => self.frame = None,
                count => return Ok(count),
            }
        }
    }
}

/// A layer's plain content, by what it begins with: media types of archives are often wrong.
fn plain(mut blob: BufReader<File>) -> io::Result<Box<dyn Read + Send>> {
    let head = blob.fill_buf()?;
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(Zstd { source: blob, frame: None }));
    }
    if head.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(blob)));
    }
    Ok(Box::new(blob))
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    #[test]
    fn frames_follow_each_other() {
        let mut blob = compress_to_vec(b"hello ".as_slice(), CompressionLevel::Fastest);
        // A frame to skip, as tools add them for their own use.
        blob.extend([0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3]);
        blob.extend(compress_to_vec(b"world".as_slice(), CompressionLevel::Fastest));
        let mut text = String::new();
        Zstd { source: blob.as_slice(), frame: None }.read_to_string(&mut text).expect("text");
        assert_eq!(text, "hello world");
        let mut cut = Zstd { source: &blob[..8], frame: None };
        assert!(cut.read_to_string(&mut String::new()).is_err());
    }
}
