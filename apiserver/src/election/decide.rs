//! Who is to hold a lease: decided without I/O from the candidates, the lease and the time.
use crate::registry::object;
use knarr_api::Value;
use knarr_api::time::Timestamp;
use std::cmp::Ordering;
use std::time::Duration;

/// The one strategy: the candidate that emulates the oldest version leads, since all others understand it.
pub const STRATEGY: &str = "OldestEmulationVersion";
/// Seconds for which a candidate may be silent until it is forgotten.
const FORGOTTEN: i64 = 30 * 60;
/// Seconds that candidates get to answer.
const ELECTION: i64 = 5;

/// A candidate for a lease.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its name, which becomes the holder's.
    pub name: String,
    strategy: String,
    /// Emulated and own version; none of a text that is no version.
    versions: Option<(Version, Version)>,
    created: Option<Timestamp>,
    asked: Option<Timestamp>,
    answered: Option<Timestamp>,
}

type Version = [u64; 3];

/// Major, minor and patch, of which the latter ones may be absent.
fn version(text: &str) -> Option<Version> {
    let core = text.trim_start_matches('v').split(['-', '+']).next()?;
    let mut parts = [0; 3];
    let numbers: Vec<&str> = core.split('.').collect();
    if numbers.len() > parts.len() {
        return None;
    }
    for (part, number) in parts.iter_mut().zip(numbers) {
        *part = number.parse().ok()?;
    }
    Some(parts)
}

fn time(value: &Value, path: &[&str]) -> Option<Timestamp> {
    let text = object::text(value, path);
    Timestamp::parse_micro(text).or_else(|_| Timestamp::parse(text)).ok()
}

impl Candidate {
    /// What its object says.
    pub fn of(value: &Value) -> Self {
        let spec = |name: &str| object::text(value, &["spec", name]);
        Self {
            name: object::name(value).to_owned(),
            strategy: spec("strategy").to_owned(),
            versions: version(spec("emulationVersion")).zip(version(spec("binaryVersion"))),
            created: time(value, &["metadata", "creationTimestamp"]),
            asked: time(value, &["spec", "pingTime"]),
            answered: time(value, &["spec", "renewTime"]),
        }
    }

    /// Seconds since it was heard of.
    fn silence(&self, now: Timestamp) -> i64 {
        self.answered.map_or(i64::MAX, |time| now.seconds_since(time))
    }

    /// It was asked and has not answered; seconds since then.
    fn owes(&self, now: Timestamp) -> Option<i64> {
        let asked = self.asked?;
        self.answered.is_none_or(|answered| answered < asked).then(|| now.seconds_since(asked))
    }
}

/// Whether a candidate was silent for so long that it is removed.
pub fn is_forgotten(candidate: &Candidate, now: Timestamp) -> bool {
    let since = candidate.answered.or(candidate.created);
    since.is_some_and(|since| now.seconds_since(since) > FORGOTTEN)
}

/// The lease as it is.
#[derive(Clone, Debug)]
pub struct Held {
    holder: String,
    preferred: String,
    coordinated: bool,
    /// None where it is not valid.
    until: Option<Timestamp>,
}

impl Held {
    /// What its object says.
    pub fn of(value: &Value) -> Self {
        let spec = |name: &str| object::text(value, &["spec", name]).to_owned();
        let duration = object::at(value, &["spec", "leaseDurationSeconds"]).and_then(Value::as_i64);
        let renewed = time(value, &["spec", "renewTime"]);
        Self {
            holder: spec("holderIdentity"),
            preferred: spec("preferredHolder"),
            coordinated: !spec("strategy").is_empty(),
            until: renewed.zip(duration).map(|(renewed, duration)| renewed.plus_seconds(duration)),
        }
    }

    fn is_valid(&self, now: Timestamp) -> bool {
        !self.holder.is_empty() && self.until.is_some_and(|until| until >= now)
    }
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing before that time, or before something changes.
    Wait(Option<Duration>),
    /// These candidates are to say whether they are there.
    Ask(Vec<String>),
    /// The lease is this one's.
    Elect(String),
    /// The holder is to give the lease up for this one.
    Prefer(String),
}

fn better(a: &Candidate, b: &Candidate) -> Ordering {
    a.versions.cmp(&b.versions).then_with(|| a.created.cmp(&b.created)).then_with(|| a.name.cmp(&b.name))
}

fn seconds(count: i64) -> Option<Duration> {
    Some(Duration::from_secs(u64::try_from(count.max(0)).unwrap_or_default() + 1))
}

/// The next step of an election.
pub fn decide(candidates: &[Candidate], lease: Option<&Held>, now: Timestamp) -> Step {
    let able = |one: &&Candidate| {
        one.strategy == STRATEGY && one.versions.is_some() && one.silence(now) <= FORGOTTEN
    };
    let able: Vec<&Candidate> = candidates.iter().filter(able).collect();
    let valid = lease.filter(|lease| lease.is_valid(now));
    if let Some(valid) = valid {
        let best = able.iter().min_by(|a, b| better(a, b));
        let settled = !valid.coordinated
            || best.is_none_or(|best| best.name == valid.holder || best.name == valid.preferred);
        if settled {
            let left = valid.until.map_or(0, |until| until.seconds_since(now));
            return Step::Wait(seconds(left).filter(|_| !able.is_empty()));
        }
    }
    let fresh = |one: &Candidate| one.silence(now) <= ELECTION && one.owes(now).is_none();
    let unasked = able.iter().filter(|one| !fresh(one) && one.owes(now).is_none());
    let unasked: Vec<String> = unasked.map(|one| one.name.clone()).collect();
    if !unasked.is_empty() {
        return Step::Ask(unasked);
    }
    let thinking = able.iter().filter_map(|one| one.owes(now)).filter(|since| *since < ELECTION).min();
    if let Some(since) = thinking {
        return Step::Wait(seconds(ELECTION - since));
    }
    match able.iter().filter(|one| fresh(one)).min_by(|a, b| better(a, b)) {
        None => Step::Wait(None),
        Some(best) => match valid {
            None => Step::Elect(best.name.clone()),
            Some(valid) if best.name == valid.holder => Step::Wait(seconds(ELECTION)),
            Some(_) => Step::Prefer(best.name.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const NOW: Timestamp = Timestamp { seconds: 1_800_000_000, nanos: 0 };

    fn ago(seconds: i64) -> String {
        NOW.plus_seconds(-seconds).to_rfc3339_micro()
    }

    /// Name, emulated version, seconds since it was asked and since it answered.
    fn candidate(name: &str, emulates: &str, asked: Option<i64>, answered: i64) -> Candidate {
        let mut value = json!({
            "metadata": {"name": name, "creationTimestamp": ago(9999)},
            "spec": {"strategy": STRATEGY, "emulationVersion": emulates, "binaryVersion": "1.36.0",
                     "renewTime": ago(answered)},
        });
        if let Some(asked) = asked {
            value["spec"]["pingTime"] = ago(asked).into();
        }
        Candidate::of(&value)
    }

    fn lease(holder: &str, strategy: Option<&str>, renewed: i64) -> Held {
        Held::of(&json!({"spec": {"holderIdentity": holder, "strategy": strategy, "renewTime": ago(renewed),
                                  "leaseDurationSeconds": 15}}))
    }

    #[test]
    fn the_oldest_version_that_answers_leads() {
        let check = |candidates: &[Candidate], lease: Option<Held>, expected: Step| {
            assert_eq!(decide(candidates, lease.as_ref(), NOW), expected, "{candidates:?} {lease:?}");
        };
        let elect = |name: &str| Step::Elect(name.to_owned());
        let wait = |seconds| Step::Wait(Some(Duration::from_secs(seconds)));
        let (old, new) = (|| candidate("old", "1.35", None, 1), || candidate("new", "1.36", None, 1));
        check(&[], None, Step::Wait(None));
        check(&[new(), old()], None, elect("old"));
        check(&[new(), candidate("broken", "one", None, 1)], None, elect("new"));
        check(&[new(), candidate("far", "1.30", None, 9999)], None, elect("new"));
        // Those that were not heard of lately are asked, waited for, and then left out.
        check(&[new(), candidate("old", "1.35", None, 60)], None, Step::Ask(vec!["old".to_owned()]));
        check(&[new(), candidate("old", "1.35", Some(2), 60)], None, wait(4));
        check(&[new(), candidate("old", "1.35", Some(6), 60)], None, elect("new"));
        check(&[new(), candidate("old", "1.35", Some(2), 1)], None, elect("old"));
        // A lease that is held stays with its holder, unless a better one stands.
        check(&[new(), old()], Some(lease("old", Some(STRATEGY), 5)), wait(11));
        check(&[new(), old()], Some(lease("new", Some(STRATEGY), 5)), Step::Prefer("old".to_owned()));
        check(&[new(), old()], Some(lease("somebody", None, 5)), wait(11));
        check(&[new(), old()], Some(lease("somebody", None, 20)), elect("old"));
        check(&[new(), old()], Some(lease("", Some(STRATEGY), 5)), elect("old"));
    }

    #[test]
    fn silent_candidates_are_forgotten() {
        assert!(!is_forgotten(&candidate("a", "1.36", None, 1700), NOW));
        assert!(is_forgotten(&candidate("a", "1.36", None, 1900), NOW));
    }

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(version("1.9") < version("1.36.0"));
        assert_eq!(version("v1.36.0-alpha.1+x"), Some([1, 36, 0]));
        assert_eq!((version("1.x"), version("")), (None, None));
    }
}
