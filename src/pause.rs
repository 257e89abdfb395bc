//! The pause image: it holds a pod's namespaces, and is carried in the binary.
use crate::image_archive::{self, Config};
use anyhow::Result;
use knarr_kubelet::runtime::PAUSE_IMAGE;
use knarr_kubelet::runtime::embedded::shim::PAUSE_PROGRAM;

/// The image as an archive.
pub fn archive() -> Result<Vec<u8>> {
    let config =
        Config { entrypoint: vec!["/pause".to_owned()], user: "65535:65535".to_owned(), ..Config::default() };
    image_archive::archive(PAUSE_IMAGE, &config, image_archive::program_layer("pause", PAUSE_PROGRAM)?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_archive_is_small_and_reproducible() {
        let archive = super::archive().unwrap();
        assert!(archive.len() < 32 << 10, "{} bytes", archive.len());
        assert_eq!(archive, super::archive().unwrap());
    }
}
