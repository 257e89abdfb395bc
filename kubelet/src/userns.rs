//! Which ids of the host pods with users of their own get: a range for each pod, of which a file in the pod's folder
//! tells, so that a restarted kubelet knows it again.
//!
//! The file is the original's (`userns`, one mapping of users and the same of groups).

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::runtime::types::{self, NamespaceMode, RuntimeHandler};

/// Ranges begin and end at multiples of this.
pub const UNIT: u32 = 1 << 16;
/// Where the ranges begin by default.
pub const FIRST: u32 = UNIT;
/// The user whose subordinate ids are given out, if there is one.
const USER: &str = "kubelet";
/// The program that tells of subordinate ids.
const PROGRAM: &str = "getsubids";
const FILE: &str = "userns";

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mapping {
    host_id: u32,
    container_id: u32,
    length: u32,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    uid_mappings: Vec<Mapping>,
    gid_mappings: Vec<Mapping>,
}

impl Record {
    fn new(first: u32, length: u32) -> Self {
        let mapping = vec![Mapping { host_id: first, container_id: 0, length }];
        Self { uid_mappings: mapping.clone(), gid_mappings: mapping }
    }

    /// First id and number, if it is such a record.
    fn range(&self) -> Result<(u32, u32), String> {
        match (self.uid_mappings.as_slice(), self.gid_mappings.as_slice()) {
            ([users], [groups]) if users != groups => {
                Err("invalid user namespace configuration: GID and UID mapping should be identical"
                    .to_owned())
            }
            ([users], [_]) if users.container_id != 0 => {
                Err("invalid user namespace configuration: UID 0 must be mapped".to_owned())
            }
            ([users], [_]) => Ok((users.host_id, users.length)),
            _ => Err("invalid user namespace configuration: no more than one mapping allowed".to_owned()),
        }
    }
}

/// All ids that may be given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    first: u32,
    /// How many ranges there are.
    ranges: u32,
    /// How many ids a range has.
    length: u32,
}

impl Ids {
    /// `count` ids from `first` on, in ranges of `length`, for so many pods.
    fn new(first: u32, count: u32, length: u32, pods: usize) -> Result<Self, String> {
        if length == 0 || !length.is_multiple_of(UNIT) {
            return Err(format!("kubelet user namespace length {length} is not a multiple of {UNIT}"));
        }
        if !first.is_multiple_of(length) {
            return Err(format!("kubelet user assigned ID {first} is not a multiple of {length}"));
        }
        if first < length {
            return Err(format!("kubelet user assigned ID {first} must be greater or equal to {length}"));
        }
        if !count.is_multiple_of(length) {
            return Err(format!("kubelet user assigned IDs length {count} is not a multiple of {length}"));
        }
        let ranges = count / length;
        if (ranges as usize) < pods {
            return Err(format!("kubelet user assigned IDs are not enough to support {pods} pods"));
        }
        Ok(Self { first, ranges, length })
    }

    /// Those of the host's user `kubelet`, or else as many as so many pods need.
    pub fn of_host(first: u32, length: u32, pods: usize) -> Result<Self, String> {
        let user = nix::unistd::User::from_name(USER).map_err(|error| format!("user {USER}: {error}"))?;
        let ids = match user.is_some() {
            true => subordinate()?,
            false => None,
        };
        let (first, count) = match ids {
            Some(ids) => ids,
            None => {
                let first = first.checked_next_multiple_of(length.max(1)).unwrap_or(first);
                let count = u32::try_from(pods).ok().and_then(|pods| pods.checked_mul(length));
                let count = count.filter(|count| first.checked_add(*count).is_some());
                (
                    first,
                    count.ok_or_else(|| {
                        format!("kubelet user assigned IDs are not enough to support {pods} pods")
                    })?,
                )
            }
        };
        Self::new(first, count, length, pods)
    }

    fn index(&self, first: u32, length: u32) -> Result<u32, String> {
        if length != self.length {
            return Err(format!("wrong user namespace length {length}"));
        }
        if !first.is_multiple_of(self.length) {
            return Err(format!("wrong user namespace offset specified {first}"));
        }
        let index = first.checked_sub(self.first).map(|distance| distance / self.length);
        index.filter(|index| *index < self.ranges).ok_or_else(|| format!("id {first} is out of range"))
    }

    fn first_of(&self, index: u32) -> u32 {
        self.first + index * self.length
    }
}

/// Subordinate ids of the user; `None` where nobody tells of any.
fn subordinate() -> Result<Option<(u32, u32)>, String> {
    let ask = |arguments: &[&str]| match Command::new(PROGRAM).args(arguments).output() {
        Ok(output) if output.status.success() => Ok(Some(output.stdout)),
        Ok(_) => Err(format!("error retrieving additional ids for user {USER:?}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{PROGRAM}: {error}")),
    };
    let Some(users) = ask(&[USER])? else { return Ok(None) };
    if ask(&["-g", USER])?.as_ref() != Some(&users) {
        return Err(format!("mismatched subuids and subgids for user {USER:?}"));
    }
    parse(&String::from_utf8_lossy(&users)).map(Some)
}

/// First id and number in what the program says: `0: kubelet 65536 2147483648`.
fn parse(text: &str) -> Result<(u32, u32), String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let [line] = lines.as_slice() else {
        return Err(format!("{PROGRAM}: the user has {} ranges, not one", lines.len()));
    };
    let bad = || format!("invalid line in {PROGRAM} output: {line:?}");
    let parts: Vec<&str> = line.split_whitespace().collect();
    let [_, _, first, count] = parts.as_slice() else { return Err(bad()) };
    Ok((first.parse().map_err(|_| bad())?, count.parse().map_err(|_| bad())?))
}

/// Whether pods may have users of their own with this handler; if not, why, as the pod's event says it.
pub fn check_handler(handlers: &[RuntimeHandler], name: &str) -> Result<(), String> {
    let what = match name {
        "" => "can't set `spec.hostUsers: false`, runtime does not support user namespaces".to_owned(),
        name => format!(
            "can't set `spec.hostUsers: false`, RuntimeClass handler {name:?} does not support user namespaces"
        ),
    };
    match handlers.iter().find(|handler| handler.name == name) {
        None => Err(format!("{what}: the handler {name:?} is not known")),
        Some(handler) if handler.features.is_some_and(|features| features.user_namespaces) => Ok(()),
        Some(_) => Err(what),
    }
}

/// The users of a pod that has the host's.
pub fn of_host() -> types::UserNamespace {
    types::UserNamespace { mode: NamespaceMode::Node as i32, ..Default::default() }
}

/// Which pod has which ids.
pub struct Users {
    pods: PathBuf,
    ids: Ids,
    /// Numbers of ranges by the pods' uids.
    used: Mutex<BTreeMap<String, u32>>,
}

impl Users {
    /// With what a kubelet before this one gave to the pods in this folder.
    pub fn open(pods: PathBuf, ids: Ids) -> Result<Self, String> {
        let users = Self { pods, ids, used: Mutex::default() };
        let found = std::fs::read_dir(&users.pods).into_iter().flatten().flatten();
        for uid in found.filter_map(|entry| entry.file_name().into_string().ok()) {
            let failed = |error| format!("record pod mappings for existing pod {uid:?}: {error}");
            if let Some(record) = users.read(&uid).map_err(failed)? {
                users.take(&uid, &record).map_err(failed)?;
            }
        }
        Ok(users)
    }

    fn file(&self, uid: &str) -> PathBuf {
        self.pods.join(uid).join(FILE)
    }

    fn read(&self, uid: &str) -> Result<Option<Record>, String> {
        match std::fs::read(self.file(uid)) {
            Ok(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|error| format!("invalid user namespace mappings file: {error}")),
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn take(&self, uid: &str, record: &Record) -> Result<(), String> {
        let (first, length) = record.range()?;
        let index = self.ids.index(first, length)?;
        let mut used = self.used.lock();
        if used.iter().any(|(other, taken)| *taken == index && other != uid) {
            return Err(format!("range picked for pod {uid:?} already taken"));
        }
        used.insert(uid.to_owned(), index);
        Ok(())
    }

    /// What the pod has got.
    pub fn of(&self, uid: &str) -> Option<types::UserNamespace> {
        let index = *self.used.lock().get(uid)?;
        let (host_id, length) = (self.ids.first_of(index), self.ids.length);
        let mapping = vec![types::IdMapping { host_id, container_id: 0, length }];
        let mode = NamespaceMode::Pod as i32;
        Some(types::UserNamespace { mode, uids: mapping.clone(), gids: mapping })
    }

    /// Gives the pod a range, unless it has one.
    pub fn give(&self, uid: &str) -> Result<(), String> {
        let failed = |error| format!("create user namespace: {error}");
        let mut used = self.used.lock();
        if used.contains_key(uid) {
            return Ok(());
        }
        let taken: std::collections::BTreeSet<u32> = used.values().copied().collect();
        // Not the one that was free for the shortest time: its ids may still be on files.
        let start = rand::random_range(0..self.ids.ranges);
        let mut all = (0..self.ids.ranges).map(|step| (start + step) % self.ids.ranges);
        let free = all.find(|index| !taken.contains(index));
        let index = free
            .ok_or_else(|| failed("could not find an empty slot to allocate a user namespace".to_owned()))?;
        let record = Record::new(self.ids.first_of(index), self.ids.length);
        write(&self.file(uid), &record).map_err(|error| failed(error.to_string()))?;
        used.insert(uid.to_owned(), index);
        Ok(())
    }

    /// Takes a pod's range back.
    pub fn release(&self, uid: &str) {
        if self.used.lock().remove(uid).is_some() {
            let _ = std::fs::remove_file(self.file(uid));
        }
    }

    /// Takes back what pods have that are not known any more.
    pub fn retain(&self, known: impl Fn(&str) -> bool) {
        let gone: Vec<String> = self.used.lock().keys().filter(|uid| !known(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.release(uid));
    }
}

/// Writes the file for good: a range must not be given out twice after a crash.
fn write(path: &Path, record: &Record) -> std::io::Result<()> {
    let folder = path.parent().ok_or(std::io::ErrorKind::InvalidInput)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::types::RuntimeHandlerFeatures;

    #[test]
    fn ids_that_may_be_given_out() {
        let check = |first: u32, count: u32, length: u32, pods: usize, expected: Result<u32, &str>| {
            let found = Ids::new(first, count, length, pods).map(|ids| ids.ranges);
            assert_eq!(found, expected.map_err(str::to_owned));
        };
        check(UNIT, 4 * UNIT, UNIT, 4, Ok(4));
        check(2 * UNIT, 4 * UNIT, 2 * UNIT, 2, Ok(2));
        check(0, 4 * UNIT, UNIT, 4, Err("kubelet user assigned ID 0 must be greater or equal to 65536"));
        check(UNIT, 4 * UNIT, UNIT, 5, Err("kubelet user assigned IDs are not enough to support 5 pods"));
        check(UNIT + 1, 4 * UNIT, UNIT, 4, Err("kubelet user assigned ID 65537 is not a multiple of 65536"));
        check(
            UNIT,
            UNIT + 1,
            UNIT,
            1,
            Err("kubelet user assigned IDs length 65537 is not a multiple of 65536"),
        );
        check(UNIT, UNIT, 1000, 1, Err("kubelet user namespace length 1000 is not a multiple of 65536"));
    }

    #[test]
    fn ranges_of_hosts_without_subordinate_ids() {
        // The tests' host has no user of that name.
        let found = |first, length| Ids::of_host(first, length, 110).map(|ids| (ids.first, ids.ranges));
        assert_eq!(found(FIRST, UNIT), Ok((UNIT, 110)));
        assert_eq!(found(FIRST, 2 * UNIT), Ok((2 * UNIT, 110)));
        assert!(found(u32::MAX - 5 * UNIT + 1, UNIT).is_err());
    }

    #[test]
    fn subordinate_ids() {
        assert_eq!(parse("0: kubelet 65536 2147483648\n"), Ok((65_536, 2_147_483_648)));
        for bad in ["", "0: kubelet 65536", "0: kubelet a 1", "0: kubelet 1 2\n1: kubelet 3 4\n"] {
            parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn pods_keep_their_ranges() {
        let dir = tempfile::tempdir().expect("folder");
        let ids = Ids::new(UNIT, 2 * UNIT, UNIT, 2).expect("ids");
        let open = || Users::open(dir.path().to_owned(), ids);
        let users = open().expect("users");
        for uid in ["a", "b", "c"] {
            std::fs::create_dir(dir.path().join(uid)).expect("folder");
        }
        assert_eq!(users.of("a"), None);
        users.give("a").expect("given");
        users.give("b").expect("given");
        let (a, b) = (users.of("a").expect("has one"), users.of("b").expect("has one"));
        assert_ne!(a.uids, b.uids);
        assert_eq!((a.uids[0].length, a.uids[0].container_id), (UNIT, 0));
        assert!(a.uids[0].host_id >= UNIT);
        users.give("a").expect("has it already");
        let error = users.give("c").expect_err("all are taken");
        assert_eq!(error, "create user namespace: could not find an empty slot to allocate a user namespace");
        let again = open().expect("users");
        assert_eq!((again.of("a"), again.of("b")), (Some(a), Some(b.clone())));
        again.retain(|uid| uid == "b");
        again.give("c").expect("one is free");
        assert_ne!(again.of("c").expect("has one").uids, b.uids);
        std::fs::copy(dir.path().join("b/userns"), dir.path().join("a/userns")).expect("copied");
        assert!(open().is_err_and(|error| error.contains("already taken")));
    }

    #[test]
    fn handlers() {
        let handler = |name: &str, user_namespaces| {
            let features = RuntimeHandlerFeatures { user_namespaces, ..Default::default() };
            RuntimeHandler { name: name.to_owned(), features: Some(features) }
        };
        let list = [handler("", true), handler("old", false)];
        assert_eq!(check_handler(&list, ""), Ok(()));
        let check = |list: &[RuntimeHandler], name: &str, expected: &str| {
            assert_eq!(check_handler(list, name), Err(expected.to_owned()));
        };
        check(
            &list,
            "old",
            "can't set `spec.hostUsers: false`, RuntimeClass handler \"old\" does not support user namespaces",
        );
        check(
            &[],
            "",
            "can't set `spec.hostUsers: false`, runtime does not support user namespaces: the handler \"\" is not known",
        );
    }
}
