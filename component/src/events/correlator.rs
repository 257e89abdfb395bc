//! Which events are sent, counted, combined or dropped, with the limits of client-go.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;

use super::Type;

/// Similar events with more different messages than this within the interval are combined.
const SIMILAR: usize = 10;
const INTERVAL: SignedDuration = SignedDuration::from_secs(600);
/// Events an object may cause at once, and how long until it may cause one more.
const BURST: f64 = 25.0;
const SECONDS_A_TOKEN: f64 = 300.0;
/// Entries of each map before old ones are thrown out.
const MEMORY: usize = 4096;

/// What an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Normal or Warning.
    pub kind: Type,
    /// One word in camel case.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// Identity of events that are the same but for their time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SeriesKey(Similar, String);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Similar {
    object: ObjectId,
    kind: Type,
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ObjectId {
    kind: String,
    namespace: String,
    name: String,
    uid: String,
    field_path: String,
}

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: its object causes too many.
    Drop,
    /// Send it as a new object and report its name by [`Correlator::created`].
    Create {
        /// For `created`.
        key: SeriesKey,
        /// What to send, maybe marked as a combination.
        note: Note,
    },
    /// Raise the count of the object `name`.
    Count {
        /// For `created`, should the object be gone.
        key: SeriesKey,
        /// Name of the event object.
        name: String,
        /// Its new count.
        count: i32,
        /// What it says now.
        note: Note,
    },
}

/// Memory of what was sent lately.
#[derive(Debug, Default)]
pub struct Correlator {
    tokens: HashMap<ObjectId, (f64, Timestamp)>,
    similar: HashMap<Similar, (HashSet<String>, Timestamp)>,
    series: HashMap<SeriesKey, (String, i32, Timestamp)>,
}

impl Correlator {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides about one event.
    pub fn correlate(&mut self, object: &ObjectReference, mut note: Note, now: Timestamp) -> Decision {
        let object = ObjectId {
            kind: object.kind.clone().unwrap_or_default(),
            namespace: object.namespace.clone().unwrap_or_default(),
            name: object.name.clone().unwrap_or_default(),
            uid: object.uid.clone().unwrap_or_default(),
            field_path: object.field_path.clone().unwrap_or_default(),
        };
        let similar = Similar { object, kind: note.kind, reason: note.reason.clone() };
        let key = if self.is_flood(&similar, &note.message, now) {
            note.message = format!("(combined from similar events): {}", note.message);
            SeriesKey(similar, String::new())
        } else {
            SeriesKey(similar, note.message.clone())
        };
        if !self.take_token(&key.0.object, now) {
            return Decision::Drop;
        }
        match self.series.get_mut(&key) {
            Some((name, count, last)) => {
                *count += 1;
                *last = now;
                Decision::Count { name: name.clone(), count: *count, key, note }
            }
            None => Decision::Create { key, note },
        }
    }

    /// Remembers the object that an event was sent as.
    pub fn created(&mut self, key: SeriesKey, name: String) {
        shrink(&mut self.series, |(_, _, last)| *last);
        self.series.insert(key, (name, 1, Timestamp::now()));
    }

    fn is_flood(&mut self, similar: &Similar, message: &str, now: Timestamp) -> bool {
        shrink(&mut self.similar, |(_, last)| *last);
        let (messages, last) = self.similar.entry(similar.clone()).or_insert_with(|| (HashSet::new(), now));
        if now.duration_since(*last) > INTERVAL {
            messages.clear();
        }
        *last = now;
        if messages.len() < SIMILAR || messages.contains(message) {
            messages.insert(message.to_string());
            return messages.len() >= SIMILAR;
        }
        true
    }

    fn take_token(&mut self, object: &ObjectId, now: Timestamp) -> bool {
        shrink(&mut self.tokens, |(_, last)| *last);
        let (tokens, last) = self.tokens.entry(object.clone()).or_insert((BURST, now));
        let refill = now.duration_since(*last).as_secs_f64() / SECONDS_A_TOKEN;
        *tokens = (*tokens + refill).min(BURST);
        *last = now;
        if *tokens < 1.0 {
            return false;
        }
        *tokens -= 1.0;
        true
    }
}

/// Forgets the older half of a map that has grown too large.
fn shrink<K: Clone + Eq + Hash, V>(map: &mut HashMap<K, V>, last: impl Fn(&V) -> Timestamp) {
    if map.len() < MEMORY {
        return;
    }
    let mut times: Vec<Timestamp> = map.values().map(&last).collect();
    let middle = times.len() / 2;
    let limit = *times.select_nth_unstable(middle).1;
    map.retain(|_, value| last(value) > limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> ObjectReference {
        ObjectReference { kind: Some("Pod".into()), name: Some("web".into()), ..Default::default() }
    }

    fn note(message: &str) -> Note {
        Note { kind: Type::Normal, reason: "Pulled".into(), message: message.into() }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).expect("in range")
    }

    #[test]
    fn repetitions_are_counted() {
        let mut correlator = Correlator::new();
        let Decision::Create { key, .. } = correlator.correlate(&object(), note("a"), at(0)) else {
            panic!("the first one is created");
        };
        correlator.created(key, "web.1".into());
        for expected in 2..5 {
            match correlator.correlate(&object(), note("a"), at(1)) {
                Decision::Count { name, count, .. } => {
                    assert_eq!((name.as_str(), count), ("web.1", expected))
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn many_messages_are_combined() {
        let mut correlator = Correlator::new();
        let messages: Vec<String> = (0..12)
            .map(|number| match correlator.correlate(&object(), note(&format!("m{number}")), at(0)) {
                Decision::Create { note, .. } => note.message,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(messages[8], "m8");
        assert_eq!(messages[9], "(combined from similar events): m9");
        assert_eq!(messages[11], "(combined from similar events): m11");
    }

    #[test]
    fn one_object_cannot_flood() {
        let mut correlator = Correlator::new();
        let mut sent = |second| correlator.correlate(&object(), note("a"), at(second)) != Decision::Drop;
        assert_eq!((0..40).filter(|_| sent(0)).count(), 25);
        assert!(!sent(299));
        assert!(sent(600));
    }
}
