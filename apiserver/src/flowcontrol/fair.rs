//! Seats and queues of the priority levels: who runs, who waits where, who is next. No I/O and no clock, but for
//! [`wait`], which waits for what was decided.
//!
//! Queues of a level are served by virtual start times (start-time fair queuing): a request starts, in virtual time,
//! when the one before it in its queue ends, so a queue with much work falls behind those with little.
use super::config::{Level, Response};
use super::shard;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// All levels.
#[derive(Default)]
pub struct Levels {
    levels: BTreeMap<Arc<str>, State>,
    tickets: u64,
}

/// What becomes of a request.
pub enum Entry {
    /// It runs.
    Now {
        /// Its queue, for levels with queues.
        queue: Option<usize>,
        /// The seats it takes.
        seats: usize,
    },
    /// It waits, by [`wait`].
    Wait(Ticket),
    /// It is refused, for this reason.
    Refused(&'static str),
}

/// A place in a queue.
pub struct Ticket {
    level: Arc<str>,
    queue: usize,
    seats: usize,
    id: u64,
    turn: oneshot::Receiver<()>,
}

/// Seats that a level has by right, and the most it has with what it borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// By right.
    pub nominal: usize,
    /// Of them, those that others may use while they are idle.
    pub lendable: usize,
    /// At most.
    pub upper: usize,
}

struct State {
    limits: Limits,
    /// Without limits.
    exempt: bool,
    /// Still in the configuration.
    current: bool,
    hand: usize,
    queue_length: usize,
    queues: Vec<Queue>,
    executing: usize,
    waiting: usize,
    virtual_time: u64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Seats of those that run and those that wait.
    load: usize,
    /// Virtual time at which the last one ends.
    end: u64,
}

struct Waiting {
    id: u64,
    seats: usize,
    start: u64,
    turn: oneshot::Sender<()>,
}

impl Levels {
    /// Takes over a configuration; levels that are gone end when they are empty.
    pub fn configure(&mut self, levels: &[Level], seats: usize) {
        let shares: usize = levels.iter().map(|level| level.shares).sum::<usize>().max(1);
        self.levels.values_mut().for_each(|state| state.current = false);
        for level in levels {
            let nominal = (seats * level.shares).div_ceil(shares);
            let upper = level.borrowing.map_or(seats, |percent| nominal + nominal * percent / 100);
            let limits =
                Limits { nominal, lendable: nominal * level.lendable / 100, upper: upper.max(nominal) };
            let state = self.levels.entry(level.name.clone()).or_insert_with(State::new);
            state.configure(level, limits);
        }
        self.levels.retain(|_, state| state.current || !state.is_empty());
        self.dispatch();
    }

    /// The limits of all levels.
    pub fn limits(&self) -> Vec<(Arc<str>, Limits)> {
        self.levels.iter().map(|(name, state)| (name.clone(), state.limits)).collect()
    }

    /// A request of a flow comes to a level.
    pub fn enter(&mut self, level: &Arc<str>, flow: u64, seats: usize) -> Entry {
        let free = self.lent();
        let Some(state) = self.levels.get_mut(level) else { return Entry::Refused("concurrency-limit") };
        if state.exempt {
            state.executing += seats;
            return Entry::Now { queue: None, seats };
        }
        // A wide request must not wait for ever, nor take the level for itself.
        let seats = seats.min((state.limits.nominal * 15).div_ceil(100)).max(1);
        if state.queues.is_empty() {
            if !state.has_room(seats, free) {
                return Entry::Refused("concurrency-limit");
            }
            state.executing += seats;
            return Entry::Now { queue: None, seats };
        }
        let hand = shard::deal(flow, state.queues.len(), state.hand);
        let queue = hand.into_iter().min_by_key(|queue| state.queues[*queue].load).unwrap_or(0);
        let start = state.virtual_time.max(state.queues[queue].end);
        if state.waiting == 0 && state.has_room(seats, free) {
            state.run(queue, seats, start);
            state.queues[queue].load += seats;
            state.queues[queue].end = start + seats as u64;
            return Entry::Now { queue: Some(queue), seats };
        }
        if state.queues[queue].waiting.len() >= state.queue_length {
            return Entry::Refused("queue-full");
        }
        self.tickets += 1;
        let id = self.tickets;
        let (sender, turn) = oneshot::channel();
        let chosen = &mut state.queues[queue];
        chosen.waiting.push_back(Waiting { id, seats, start, turn: sender });
        chosen.load += seats;
        chosen.end = start + seats as u64;
        state.waiting += 1;
        Entry::Wait(Ticket { level: level.clone(), queue, seats, id, turn })
    }

    /// A request has ended.
    pub fn release(&mut self, level: &str, queue: Option<usize>, seats: usize) {
        let Some(state) = self.levels.get_mut(level) else { return };
        state.executing = state.executing.saturating_sub(seats);
        if let Some(queue) = queue.and_then(|queue| state.queues.get_mut(queue)) {
            queue.load = queue.load.saturating_sub(seats);
        }
        if !state.current && state.is_empty() {
            self.levels.remove(level);
        }
        self.dispatch();
    }

    /// A request leaves its queue; false if its turn has come already.
    fn leave(&mut self, ticket: &Ticket) -> bool {
        let Some(state) = self.levels.get_mut(&ticket.level) else { return false };
        let Some(queue) = state.queues.get_mut(ticket.queue) else { return false };
        let Some(at) = queue.waiting.iter().position(|waiting| waiting.id == ticket.id) else { return false };
        queue.waiting.remove(at);
        queue.load = queue.load.saturating_sub(ticket.seats);
        state.waiting -= 1;
        true
    }

    /// Idle seats that their levels lend, less those that are borrowed.
    fn lent(&self) -> usize {
        let idle = |s: &State| s.limits.nominal.saturating_sub(s.executing).min(s.limits.lendable);
        let idle: usize = self.levels.values().filter(|s| !s.exempt).map(idle).sum();
        let borrowed = |s: &State| s.executing.saturating_sub(s.limits.nominal);
        idle.saturating_sub(self.levels.values().filter(|s| !s.exempt).map(borrowed).sum())
    }

    /// Lets those run for whom there is room.
    fn dispatch(&mut self) {
        if self.levels.values().all(|state| state.waiting == 0) {
            return;
        }
        let mut free = self.lent();
        let mut again = true;
        while again {
            again = false;
            for state in self.levels.values_mut() {
                if state.waiting > 0 && state.dispatch_one(free) {
                    again = true;
                }
            }
            free = self.lent();
        }
    }
}

impl State {
    fn new() -> Self {
        Self {
            limits: Limits { nominal: 0, lendable: 0, upper: 0 },
            exempt: false,
            current: false,
            hand: 1,
            queue_length: 0,
            queues: Vec::new(),
            executing: 0,
            waiting: 0,
            virtual_time: 0,
        }
    }

    fn configure(&mut self, level: &Level, limits: Limits) {
        (self.limits, self.exempt, self.current) = (limits, level.exempt, true);
        let queues = match level.response {
            Response::Queue { queues, hand, length } => {
                (self.hand, self.queue_length) = (hand, length);
                queues
            }
            Response::Reject => 0,
        };
        // Queues with somebody in them stay until they are worked off.
        let last = self.queues.iter().rposition(|queue| queue.load > 0).map_or(0, |at| at + 1);
        self.queues.resize_with(queues.max(last), Queue::default);
    }

    fn is_empty(&self) -> bool {
        self.executing == 0 && self.waiting == 0
    }

    /// Seats of its own, or borrowed ones of the `free`; a request wider than what is left waits for all of it.
    fn has_room(&self, seats: usize, free: usize) -> bool {
        let after = self.executing + seats;
        if after <= self.limits.nominal || self.executing == 0 {
            return true;
        }
        let borrows = after - self.limits.nominal.max(self.executing);
        after <= self.limits.upper && borrows <= free
    }

    fn run(&mut self, _queue: usize, seats: usize, start: u64) {
        self.executing += seats;
        self.virtual_time = self.virtual_time.max(start);
    }

    /// Lets the waiting request with the earliest start run, if there is room for it.
    fn dispatch_one(&mut self, free: usize) -> bool {
        let heads =
            self.queues.iter().enumerate().filter_map(|(at, q)| q.waiting.front().map(|w| (w.start, at)));
        let Some((start, queue)) = heads.min() else { return false };
        let seats = self.queues[queue].waiting.front().map_or(1, |waiting| waiting.seats);
        if !self.has_room(seats, free) {
            return false;
        }
        let Some(waiting) = self.queues[queue].waiting.pop_front() else { return false };
        self.waiting -= 1;
        if waiting.turn.send(()).is_ok() {
            self.run(queue, seats, start);
        } else {
            self.queues[queue].load = self.queues[queue].load.saturating_sub(seats);
        }
        true
    }
}

/// Waits for the turn of a ticket: its queue and seats, or why it was refused. Leaves the queue when dropped.
pub async fn wait(
    levels: &Mutex<Levels>,
    ticket: Ticket,
    patience: Duration,
) -> Result<(Option<usize>, usize), &'static str> {
    /// Gives the place back, or the seats if the turn had come.
    struct Place<'a> {
        levels: &'a Mutex<Levels>,
        ticket: Option<Ticket>,
    }
    impl Drop for Place<'_> {
        fn drop(&mut self) {
            let Some(mut ticket) = self.ticket.take() else { return };
            let mut levels = self.levels.lock();
            if !levels.leave(&ticket) && ticket.turn.try_recv().is_ok() {
                levels.release(&ticket.level, Some(ticket.queue), ticket.seats);
            }
        }
    }
    let mut place = Place { levels, ticket: Some(ticket) };
    let Some(ticket) = place.ticket.as_mut() else { return Err("time-out") };
    let (queue, seats) = (ticket.queue, ticket.seats);
    match tokio::time::timeout(patience, &mut ticket.turn).await {
        Ok(Ok(())) => {
            place.ticket = None;
            Ok((Some(queue), seats))
        }
        Ok(Err(_)) => Err("cancelled"),
        Err(_) => Err("time-out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(name: &str, shares: usize, lendable: usize, response: Response) -> Level {
        Level {
            name: name.into(),
            uid: String::new(),
            exempt: false,
            shares,
            lendable,
            borrowing: None,
            response,
        }
    }

    fn queued(length: usize) -> Response {
        Response::Queue { queues: 4, hand: 1, length }
    }

    fn runs(entry: &Entry) -> bool {
        matches!(entry, Entry::Now { .. })
    }

    #[test]
    fn levels_borrow_idle_seats_only() {
        let mut levels = Levels::default();
        levels.configure(&[level("a", 1, 50, Response::Reject), level("b", 1, 50, Response::Reject)], 8);
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        // Four of its own and two of b's.
        assert_eq!((0..8).filter(|_| runs(&levels.enter(&a, 1, 1))).count(), 6);
        // b keeps what it does not lend, whatever a has borrowed.
        assert_eq!((0..8).filter(|_| runs(&levels.enter(&b, 1, 1))).count(), 4);
        levels.release("a", None, 1);
        assert!(!runs(&levels.enter(&a, 1, 1)), "b uses its seats itself now");
    }

    #[test]
    fn flows_take_turns() {
        let mut levels = Levels::default();
        levels.configure(&[level("a", 1, 0, queued(8))], 1);
        let a: Arc<str> = "a".into();
        // Hashes 0 and 1 are dealt queues 0 and 1.
        let Entry::Now { queue, seats } = levels.enter(&a, 0, 1) else { panic!("the first runs") };
        let mut tickets = Vec::new();
        for (who, flow) in [("greedy", 0), ("greedy", 0), ("greedy", 0), ("modest", 1)] {
            let Entry::Wait(ticket) = levels.enter(&a, flow, 1) else { panic!("the others wait") };
            tickets.push((who, ticket));
        }
        let mut order = Vec::new();
        let mut running = (queue, seats);
        while !tickets.is_empty() {
            levels.release("a", running.0, running.1);
            let at =
                tickets.iter_mut().position(|(_, ticket)| ticket.turn.try_recv().is_ok()).expect("a turn");
            let (who, ticket) = tickets.remove(at);
            order.push(who);
            running = (Some(ticket.queue), ticket.seats);
        }
        assert_eq!(order, ["modest", "greedy", "greedy", "greedy"]);
    }

    #[test]
    fn queues_are_bounded_and_may_be_left() {
        let mut levels = Levels::default();
        levels.configure(&[level("a", 1, 0, queued(1))], 1);
        let a: Arc<str> = "a".into();
        assert!(runs(&levels.enter(&a, 0, 1)));
        let Entry::Wait(ticket) = levels.enter(&a, 0, 1) else { panic!("waits") };
        assert!(matches!(levels.enter(&a, 0, 1), Entry::Refused("queue-full")));
        assert!(levels.leave(&ticket) && !levels.leave(&ticket));
        assert!(matches!(levels.enter(&a, 0, 1), Entry::Wait(_)));
        assert!(matches!(levels.enter(&"gone".into(), 0, 1), Entry::Refused(_)));
    }

    #[test]
    fn levels_that_go_end_empty() {
        let mut levels = Levels::default();
        levels.configure(&[level("a", 1, 0, Response::Reject)], 2);
        let a: Arc<str> = "a".into();
        assert!(runs(&levels.enter(&a, 0, 1)));
        levels.configure(&[level("b", 1, 0, Response::Reject)], 2);
        assert_eq!(levels.limits().len(), 2);
        levels.release("a", None, 1);
        assert_eq!(levels.limits().len(), 1);
    }
}
