//! Who a container runs as: numbers, from the kubelet, the image and the image's `/etc/passwd` and `/etc/group`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::runtime::types::{LinuxContainerSecurityContext, SupplementalGroupsPolicy};

/// The user of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// All groups, the primary one first.
    pub groups: Vec<u32>,
    /// Home directory.
    pub home: String,
}

/// The user database of an image; missing files are empty.
pub struct Database {
    /// `/etc/passwd`.
    pub passwd: String,
    /// `/etc/group`.
    pub group: String,
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl Database {
    fn users(&self) -> impl Iterator<Item = User<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            let home = fields.nth(1).unwrap_or_default();
            Some(User { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
        })
    }

    /// Name, number and members of each group.
    fn groups(&self) -> impl Iterator<Item = (&str, u32, &str)> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
            Some((name, gid.parse().ok()?, fields.next().unwrap_or_default()))
        })
    }

    /// Resolves a user; `from_image` is the image's `user[:group]`.
    pub fn identity(
        &self,
        security: &LinuxContainerSecurityContext,
        from_image: &str,
    ) -> Result<Identity, String> {
        let (image_user, image_group) = from_image.split_once(':').unwrap_or((from_image, ""));
        let wanted = security.run_as_user.as_ref().map(|uid| uid.value.to_string());
        // A group of the image belongs to the image's user.
        let image_group = if wanted.is_some() { "" } else { image_group };
        let wanted = wanted.unwrap_or_else(|| image_user.to_owned());
        let wanted = if wanted.is_empty() { "0" } else { wanted.as_str() };
        let number: Option<u32> = wanted.parse().ok();
        let known = self.users().find(|user| user.name == wanted || number == Some(user.uid));
        let uid = known.as_ref().map(|user| user.uid).or(number);
        let uid =
            uid.ok_or_else(|| format!("unable to find user {wanted}: no matching entries in passwd file"))?;
        let gid = match (&security.run_as_group, image_group) {
            (Some(gid), _) => u32::try_from(gid.value).map_err(|_| format!("invalid group {}", gid.value))?,
            (None, "") => known.as_ref().map(|user| user.gid).unwrap_or_default(),
            (None, group) => self.group_number(group)?,
        };
        let mut groups = vec![gid];
        let mut more: BTreeSet<u32> = BTreeSet::new();
        if security.supplemental_groups_policy != SupplementalGroupsPolicy::Strict as i32 {
            let name = known.as_ref().map(|user| user.name);
            let member =
                |members: &str| name.is_some_and(|name| members.split(',').any(|member| member == name));
            more.extend(self.groups().filter(|(_, _, members)| member(members)).map(|(_, gid, _)| gid));
        }
        more.extend(security.supplemental_groups.iter().filter_map(|gid| u32::try_from(*gid).ok()));
        groups.extend(more.into_iter().filter(|other| *other != gid));
        let home = known.map(|user| user.home.to_owned()).filter(|home| !home.is_empty());
        Ok(Identity { uid, gid, groups, home: home.unwrap_or_else(|| "/".to_owned()) })
    }

    fn group_number(&self, group: &str) -> Result<u32, String> {
        let known = self.groups().find(|(name, _, _)| *name == group).map(|(_, gid, _)| gid);
        let number = known.or_else(|| group.parse().ok());
        number.ok_or_else(|| format!("unable to find group {group}: no matching entries in group file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::types::Int64Value;

    #[test]
    fn users_come_from_the_kubelet_the_image_and_its_files() {
        let database = Database {
            passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/sh\nbroken\n".to_owned(),
            group: "root:x:0:\nwww:x:34:\nlogs:x:40:web,other\nother:x:41:other\n".to_owned(),
        };
        let number = |value: Option<i64>| value.map(|value| Int64Value { value });
        type Expected<'a> = Result<(u32, u32, &'a [u32], &'a str), &'a str>;
        let check =
            |user: Option<i64>, group: Option<i64>, image: &str, strict: bool, expected: Expected<'_>| {
                let policy =
                    if strict { SupplementalGroupsPolicy::Strict } else { SupplementalGroupsPolicy::Merge };
                let security = LinuxContainerSecurityContext {
                    run_as_user: number(user),
                    run_as_group: number(group),
                    supplemental_groups: vec![7],
                    supplemental_groups_policy: policy as i32,
                    ..Default::default()
                };
                let found = database.identity(&security, image);
                let expected = expected.map_err(str::to_owned).map(|(uid, gid, groups, home)| Identity {
                    uid,
                    gid,
                    groups: groups.to_vec(),
                    home: home.to_owned(),
                });
                assert_eq!(found, expected, "{user:?} {group:?} {image:?}");
            };
        check(None, None, "", false, Ok((0, 0, &[0, 7], "/root")));
        check(None, None, "web", false, Ok((33, 34, &[34, 7, 40], "/srv")));
        check(None, None, "web", true, Ok((33, 34, &[34, 7], "/srv")));
        check(None, None, "web:logs", false, Ok((33, 40, &[40, 7], "/srv")));
        check(None, None, "1000:1001", false, Ok((1000, 1001, &[1001, 7], "/")));
        check(Some(1000), None, "web:logs", false, Ok((1000, 0, &[0, 7], "/")));
        check(Some(33), Some(5), "", false, Ok((33, 5, &[5, 7, 40], "/srv")));
        check(
            None,
            None,
            "nobody",
            false,
            Err("unable to find user nobody: no matching entries in passwd file"),
        );
        check(
            None,
            None,
            "web:none",
            false,
            Err("unable to find group none: no matching entries in group file"),
        );
    }
}
