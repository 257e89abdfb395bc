//! Which groups of a batch hold, and the rows they write: the same decision for every database.
use super::backend::{Applied, Outcome};
use super::{CommitError, Group, Guard, Key, Revision, Write};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::SystemTime;

/// A row to append to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned<'a> {
    /// The key written.
    pub key: &'a Key,
    /// Its revision and the one it replaces.
    pub applied: Applied,
    /// The value; none for a deletion.
    pub value: Option<&'a Bytes>,
    /// End of its time to live.
    pub expires: Option<SystemTime>,
}

/// A decided batch.
#[derive(Debug)]
pub struct Plan<'a> {
    /// One outcome a group, in order; successes hold only if the rows are committed.
    pub outcomes: Vec<Outcome>,
    /// The rows of the groups that hold, with consecutive revisions.
    pub rows: Vec<Planned<'a>>,
}

impl Plan<'_> {
    /// The outcomes when the rows could not be committed: failed guards stay, the others fail with `error`.
    pub fn fail(self, error: &CommitError) -> Vec<Outcome> {
        self.outcomes.into_iter().map(|outcome| outcome.and_then(|_| Err(error.clone()))).collect()
    }
}

/// Decides a batch: `head` is the newest revision, `current` gives the committed revision of a live key.
pub fn decide<'a>(
    groups: &'a [Group],
    head: Revision,
    current: impl Fn(&Key) -> Option<Revision>,
) -> Plan<'a> {
    let mut batch = Batch { head, overlay: HashMap::new(), current };
    let mut plan = Plan { outcomes: Vec::with_capacity(groups.len()), rows: Vec::new() };
    for group in groups {
        let outcome = batch.group(group).map(|rows| {
            let applied = rows.iter().map(|row| row.applied).collect();
            plan.rows.extend(rows);
            applied
        });
        plan.outcomes.push(outcome);
    }
    plan
}

struct Batch<'a, F> {
    head: Revision,
    /// Revisions of keys written by earlier groups; none for deleted ones.
    overlay: HashMap<&'a Key, Option<Revision>>,
    current: F,
}

impl<'a, F: Fn(&Key) -> Option<Revision>> Batch<'a, F> {
    fn at(&self, key: &Key) -> Option<Revision> {
        self.overlay.get(key).copied().unwrap_or_else(|| (self.current)(key))
    }

    fn group(&mut self, group: &'a Group) -> Result<Vec<Planned<'a>>, CommitError> {
        for (index, guard) in group.guards.iter().enumerate() {
            let current = self.at(guard.key());
            let holds = match guard {
                Guard::Absent(_) => current.is_none(),
                Guard::Present(_) => current.is_some(),
                Guard::At(_, revision) => current == Some(*revision),
            };
            if !holds {
                return Err(CommitError::Guard { index, key: guard.key().clone(), current });
            }
        }
        let mut rows: Vec<Planned<'a>> = Vec::with_capacity(group.writes.len());
        for (nth, write) in group.writes.iter().enumerate() {
            let key = write.key();
            let previous = match rows.iter().rev().find(|row| row.key == key) {
                Some(earlier) => earlier.value.map(|_| earlier.applied.revision),
                None => self.at(key),
            };
            let (value, expires) = match write {
                Write::Put { value, expires, .. } => (Some(value), *expires),
                Write::Delete { .. } => (None, None),
            };
            if value.is_none() && previous.is_none() {
                let index = group.guards.len() + nth;
                return Err(CommitError::Guard { index, key: key.clone(), current: None });
            }
            let revision = Revision(self.head.0 + 1 + nth as u64);
            rows.push(Planned { key, applied: Applied { revision, previous }, value, expires });
        }
        self.head.0 += rows.len() as u64;
        self.overlay.extend(rows.iter().map(|row| (row.key, row.value.map(|_| row.applied.revision))));
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        Key::new("core/configmaps", "ns", name)
    }

    /// The revisions of a group, or the index of the guard that failed and the key's revision.
    type Expected = Result<&'static [u64], (usize, Option<u64>)>;

    /// Decides with `a` live at 5 and head 10.
    fn check(groups: &[Group], expected: &[Expected]) {
        let current = |k: &Key| (*k == key("a")).then_some(Revision(5));
        let plan = decide(groups, Revision(10), current);
        let got: Vec<_> = plan
            .outcomes
            .iter()
            .map(|outcome| match outcome {
                Ok(applied) => Ok(applied.iter().map(|a| a.revision.0).collect::<Vec<_>>()),
                Err(CommitError::Guard { index, current, .. }) => Err((*index, current.map(|r| r.0))),
                Err(other) => panic!("{other}"),
            })
            .collect();
        let expected: Vec<_> = expected.iter().map(|e| e.map(<[u64]>::to_vec)).collect();
        assert_eq!(got, expected);
        let revisions: Vec<_> = plan.rows.iter().map(|row| row.applied.revision.0).collect();
        assert_eq!(revisions, (11..11 + revisions.len() as u64).collect::<Vec<_>>());
    }

    fn value() -> Bytes {
        Bytes::from_static(b"{}")
    }

    #[test]
    fn guards_see_heads_and_earlier_groups() {
        let create = |name| Group::create(key(name), value());
        check(&[create("b"), create("b"), create("c")], &[Ok(&[11]), Err((0, Some(11))), Ok(&[12])]);
        check(&[create("a")], &[Err((0, Some(5)))]);
        let update = |at| Group::update(key("a"), Revision(at), value());
        check(
            &[update(4), update(5), update(5), update(11)],
            &[Err((0, Some(5))), Ok(&[11]), Err((0, Some(11))), Ok(&[12])],
        );
        let remove = Group::remove(key("a"), Revision(5));
        check(&[remove.clone(), create("a"), remove], &[Ok(&[11]), Ok(&[12]), Err((0, Some(12)))]);
        let present = Group::default().guard(Guard::Present(key("z"))).put(key("b"), value());
        check(&[present, create("b")], &[Err((0, None)), Ok(&[11])]);
    }

    #[test]
    fn a_group_is_whole_or_nothing() {
        let half = Group::default().put(key("b"), value()).delete(key("gone"));
        check(&[half, Group::create(key("b"), value())], &[Err((1, None)), Ok(&[11])]);
        let twice = Group::default().put(key("b"), value()).delete(key("b")).put(key("b"), value());
        check(&[twice], &[Ok(&[11, 12, 13])]);
        let gone = Group::default().delete(key("a")).delete(key("a"));
        check(&[gone], &[Err((1, None))]);
        check(&[Group::default()], &[Ok(&[])]);
    }

    #[test]
    fn previous_revisions_link_live_objects_only() {
        let groups = [
            Group::default().put(key("a"), value()).delete(key("a")).put(key("a"), value()),
            Group::default().put(key("a"), value()),
        ];
        let plan = decide(&groups, Revision(10), |_| Some(Revision(5)));
        let previous: Vec<_> = plan.rows.iter().map(|r| r.applied.previous.map(|p| p.0)).collect();
        assert_eq!(previous, [Some(5), Some(11), None, Some(13)]);
    }
}
