//! What keeps a container from ever starting and is known when it is made: it is refused then, as by other runtimes,
//! so that the pod waits and is tried again.

use std::path::Path;

use nix::mount::{MntFlags, umount2};

use super::container::{chosen_filter, part_of_image};
use crate::runtime::embedded::spec;
use crate::runtime::embedded::state::Launch;
use crate::runtime::embedded::store::{mount_layers, on_own_directory};
use crate::runtime::types::{ContainerConfig, Mount};

/// Looks for the container's seccomp profile and for the parts of images that it mounts; `folder` is the container's.
pub fn check(config: &ContainerConfig, launch: &Launch, folder: &Path) -> Result<(), String> {
    chosen_filter(&spec::security(config))?;
    let has_part = |mount: &&Mount| !mount.image_sub_path.trim_matches('/').is_empty();
    let of_images = config.mounts.iter().filter(|mount| mount.image.is_some());
    of_images.filter(has_part).try_for_each(|mount| check_part(mount, launch, folder))
}

/// Mounts an image for a moment to see whether it has what is to be mounted of it.
fn check_part(mount: &Mount, launch: &Launch, folder: &Path) -> Result<(), String> {
    let image = mount.image.clone().unwrap_or_default().image;
    let layers = launch.volumes.get(&image).map(Vec::as_slice).unwrap_or_default();
    let (target, empty) = (folder.join("part"), folder.join("empty"));
    let mounted = || {
        std::fs::create_dir_all(&target)?;
        std::fs::create_dir_all(&empty)?;
        on_own_directory(&launch.layers_dir, || mount_layers(layers, &empty, &target))
    };
    mounted().map_err(|error| format!("failed to mount image {image:?}: {error}"))?;
    let found = part_of_image(&target, mount);
    let gone = umount2(&target, MntFlags::MNT_DETACH).map_err(std::io::Error::from);
    gone.and_then(|()| std::fs::remove_dir(&target)).map_err(|error| error.to_string())?;
    found.map(drop)
}
