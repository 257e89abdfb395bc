//! Whether mounts of the host travel as far as a container wants them to.

use std::path::Path;

use crate::runtime::types::{Mount, MountPropagation};

/// Refuses a mount whose propagation would silently not happen; `mountinfo` is `/proc/self/mountinfo`.
pub fn check(mountinfo: &str, mount: &Mount) -> Result<(), String> {
    let (marks, kind): (&[&str], &str) = match mount.propagation() {
        MountPropagation::Private => return Ok(()),
        MountPropagation::HostToContainer => (&["shared:", "master:"], "shared or slave"),
        MountPropagation::Bidirectional => (&["shared:"], "shared"),
    };
    let path = Path::new(&mount.host_path);
    let points = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let point = fields.nth(4)?;
        let travels = fields.skip(1).take_while(|field| *field != "-");
        let travels = travels.into_iter().any(|field| marks.iter().any(|mark| field.starts_with(mark)));
        path.starts_with(point).then_some((point, travels))
    });
    // Of equal ones the last lies on top.
    match points.max_by_key(|(point, _)| point.len()) {
        Some((_, true)) => Ok(()),
        found => {
            let point = found.map_or("/", |(point, _)| point);
            Err(format!("path {:?} is mounted on {point:?} but it is not a {kind} mount", mount.host_path))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_shared_mounts_travel() {
        let mountinfo = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                         2 1 8:2 / /shared rw shared:5 - ext4 /dev/b rw\n\
                         3 1 8:3 / /slave rw,noatime master:5 - ext4 /dev/c rw\n\
                         4 2 8:4 / /shared/private rw - tmpfs shared:not rw\n";
        let check = |path: &str, propagation: MountPropagation, expected: Option<&str>| {
            let (host_path, propagation) = (path.to_owned(), propagation as i32);
            let mount = Mount { host_path, propagation, ..Mount::default() };
            assert_eq!(check(mountinfo, &mount).err().as_deref(), expected, "{path}");
        };
        use MountPropagation::{Bidirectional, HostToContainer, Private};
        check("/a", Private, None);
        check(
            "/a",
            HostToContainer,
            Some("path \"/a\" is mounted on \"/\" but it is not a shared or slave mount"),
        );
        check("/shared/x", Bidirectional, None);
        check("/shared/x", HostToContainer, None);
        check("/slave/x", HostToContainer, None);
        check(
            "/slave/x",
            Bidirectional,
            Some("path \"/slave/x\" is mounted on \"/slave\" but it is not a shared mount"),
        );
        let hidden =
            "path \"/shared/private\" is mounted on \"/shared/private\" but it is not a shared mount";
        check("/shared/private", Bidirectional, Some(hidden));
    }
}
