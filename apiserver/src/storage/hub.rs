//! The watchers of one resource, indexed by what they are about, and the changes they may still ask for.
//!
//! The commit task records changes before they become visible and delivers them afterwards. A watcher that enters in
//! between takes what is visible from the ring and skips it when it is delivered.
use super::event::{Change, Event};
use super::resource::Resource;
use super::ring::Ring;
use super::snapshot::Objects;
use super::watcher::{Delivery, Entrance, Scope, Selector, Start, WatchEnd, WatchError};
use super::{Revision, Stored};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// Ring and watchers of a resource.
pub(super) struct Hub {
    pub resource: Resource,
    state: Mutex<State>,
}

struct State {
    ring: Ring,
    seats: Seats,
    next: u64,
    /// Set once the hub has ended; nobody enters any more.
    ended: Option<WatchEnd>,
}

/// A watcher's place in the index; it sits in exactly one.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    id: u64,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Place {
    Everything,
    Namespace(Arc<str>),
    Name(Arc<str>),
    /// Position among the hot fields, value.
    Field(usize, Arc<str>),
}

/// Watchers in the order of their coming.
type Bench = BTreeMap<u64, Member>;

#[derive(Default)]
struct Seats {
    everything: Bench,
    namespaces: HashMap<Arc<str>, Bench>,
    names: HashMap<Arc<str>, Bench>,
    fields: Vec<HashMap<Arc<str>, Bench>>,
}

struct Member {
    scope: Scope,
    selects: Option<Selector>,
    /// Everything up to here was taken from the ring.
    since: Revision,
    queue: mpsc::Sender<Delivery>,
    end: Arc<OnceLock<WatchEnd>>,
}

impl Hub {
    /// A hub whose ring begins after `start`.
    pub fn new(resource: Resource, start: Revision, ring_bytes: usize) -> Self {
        let fields = resource.hot_fields.iter().map(|_| HashMap::new()).collect();
        let seats = Seats { fields, ..Seats::default() };
        let state = State { ring: Ring::new(start, ring_bytes), seats, next: 0, ended: None };
        Self { resource, state: Mutex::new(state) }
    }

    /// Remembers a change that is about to become visible.
    pub fn record(&self, change: Arc<Change>) {
        self.state.lock().ring.push(change);
    }

    /// Gives a visible change to the watchers it concerns.
    pub fn deliver(&self, change: &Arc<Change>) {
        let mut state = self.state.lock();
        let mut event = None;
        for bench in state.seats.concerned(change, &self.resource.hot_fields) {
            bench.retain(|_, member| member.give(change, &mut event));
        }
    }

    /// Takes `objects` of this resource back in time; see [`Ring::undo`]. Not once the hub has ended: memory was loaded
    /// anew, and this ring does not lead there.
    pub fn undo(&self, objects: &mut Objects, now: Revision, at: Revision) -> bool {
        let state = self.state.lock();
        state.ended.is_none() && state.ring.undo(objects, now, at)
    }

    /// Seats a watcher. `visible` tells the revision that readers see; it is asked under the hub's lock.
    pub fn enter(
        &self,
        scope: Scope,
        start: Start,
        selects: Option<Selector>,
        capacity: usize,
        visible: impl FnOnce() -> Revision,
    ) -> Result<Entrance, WatchError> {
        let mut state = self.state.lock();
        let visible = visible();
        let start = match start {
            Start::Now => visible,
            Start::After(revision) => revision,
        };
        let oldest = state.ring.start();
        if start < oldest || state.ended.is_some() {
            let oldest = if state.ended.is_some() { visible } else { oldest };
            return Err(WatchError::Gone { requested: start, oldest });
        }
        let (queue, receiver) = mpsc::channel(capacity);
        let end = Arc::new(OnceLock::new());
        let place = self.place(&scope);
        let member = Member { scope, selects, since: start.max(visible), queue, end: end.clone() };
        let backlog = state
            .ring
            .between(start, visible)
            .filter_map(|change| {
                let event_type = change.seen_by(|object| member.sees(object))?;
                Some(Delivery { event_type, event: Arc::new(Event::new(change.clone())) })
            })
            .collect();
        state.next += 1;
        let seat = Seat { id: state.next, place };
        state.seats.bench(&seat.place).insert(seat.id, member);
        Ok(Entrance { start, backlog, queue: receiver, end, seat })
    }

    /// Frees a seat.
    pub fn leave(&self, seat: &Seat) {
        self.state.lock().seats.leave(seat);
    }

    /// Ends all watches.
    pub fn end(&self, reason: WatchEnd) {
        let mut state = self.state.lock();
        state.ended = Some(reason);
        let fields = self.resource.hot_fields.iter().map(|_| HashMap::new()).collect();
        let seats = std::mem::replace(&mut state.seats, Seats { fields, ..Seats::default() });
        for member in seats.into_members() {
            // Fails only if the watch has ended for another reason, which then stands.
            let _ = member.end.set(reason);
        }
    }

    /// Number of watchers.
    pub fn watchers(&self) -> usize {
        self.state.lock().seats.count()
    }

    /// The narrowest index that finds the scope.
    fn place(&self, scope: &Scope) -> Place {
        if let Some(name) = &scope.name {
            return Place::Name(name.clone());
        }
        if let Some((path, value)) = &scope.field
            && let Some(at) = self.resource.hot_fields.iter().position(|hot| hot == path)
        {
            return Place::Field(at, value.clone());
        }
        scope.namespace.clone().map_or(Place::Everything, Place::Namespace)
    }
}

impl Seats {
    fn bench(&mut self, place: &Place) -> &mut Bench {
        match place {
            Place::Everything => &mut self.everything,
            Place::Namespace(namespace) => self.namespaces.entry(namespace.clone()).or_default(),
            Place::Name(name) => self.names.entry(name.clone()).or_default(),
            Place::Field(at, value) => self.fields[*at].entry(value.clone()).or_default(),
        }
    }

    fn leave(&mut self, seat: &Seat) {
        let (map, key) = match &seat.place {
            Place::Everything => {
                self.everything.remove(&seat.id);
                return;
            }
            Place::Namespace(namespace) => (&mut self.namespaces, namespace),
            Place::Name(name) => (&mut self.names, name),
            Place::Field(at, value) => (&mut self.fields[*at], value),
        };
        if let Some(bench) = map.get_mut(key) {
            bench.remove(&seat.id);
            if bench.is_empty() {
                map.remove(key);
            }
        }
    }

    /// The benches a change may concern, each once.
    fn concerned(&mut self, change: &Change, hot_fields: &[Arc<str>]) -> Vec<&mut Bench> {
        let key = change.key();
        let mut found = vec![&mut self.everything];
        found.extend(self.namespaces.get_mut(key.namespace()));
        found.extend(self.names.get_mut(key.name()));
        for (path, benches) in hot_fields.iter().zip(&mut self.fields).filter(|(_, map)| !map.is_empty()) {
            let value = |object: &Option<Arc<Stored>>| object.as_ref().map(|o| o.field(path).to_owned());
            let (before, after) = (value(&change.previous), value(&change.current));
            match (before, after) {
                (Some(before), Some(after)) if before != after => {
                    found.extend(benches.get_disjoint_mut([&*before, &*after]).into_iter().flatten());
                }
                (Some(value), _) | (None, Some(value)) => found.extend(benches.get_mut(&*value)),
                (None, None) => {}
            }
        }
        found
    }

    fn into_members(self) -> impl Iterator<Item = Member> {
        let maps = [self.namespaces, self.names].into_iter().chain(self.fields);
        let benches = std::iter::once(self.everything).chain(maps.flat_map(HashMap::into_values));
        benches.flat_map(BTreeMap::into_values)
    }

    fn count(&self) -> usize {
        let maps = [&self.namespaces, &self.names].into_iter().chain(&self.fields);
        self.everything.len() + maps.flat_map(HashMap::values).map(BTreeMap::len).sum::<usize>()
    }
}

impl Member {
    fn sees(&self, object: &Stored) -> bool {
        self.scope.contains(object) && self.selects.as_ref().is_none_or(|selects| selects(object))
    }

    /// Queues a change; false if the watcher is gone or too slow. The event is made for the first that wants it.
    fn give(&self, change: &Arc<Change>, event: &mut Option<Arc<Event>>) -> bool {
        if change.revision <= self.since {
            return true;
        }
        let Some(event_type) = change.seen_by(|object| self.sees(object)) else { return true };
        let event = event.get_or_insert_with(|| Arc::new(Event::new(change.clone()))).clone();
        match self.queue.try_send(Delivery { event_type, event }) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                // Fails only if the watch has ended for another reason, which then stands.
                let _ = self.end.set(WatchEnd::TooSlow);
                false
            }
        }
    }
}
