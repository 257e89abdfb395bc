//! What is compiled from objects in the store, again after each change of them.
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::sync::Arc;

/// Items that were compiled from a state of the store, which a stamp tells apart from others.
pub struct Fresh<S, T> {
    known: ArcSwap<(Option<S>, Arc<[T]>)>,
    compiling: Mutex<()>,
}

impl<S, T> Default for Fresh<S, T> {
    fn default() -> Self {
        Self { known: ArcSwap::from_pointee((None, Arc::default())), compiling: Mutex::default() }
    }
}

impl<S: PartialEq, T> Fresh<S, T> {
    /// The items of the state of now. After a change, one caller compiles them and the others wait for it, so that
    /// concurrent writes do not all compile the same.
    pub fn get(&self, stamp: impl Fn() -> S, compile: impl FnOnce() -> Arc<[T]>) -> Arc<[T]> {
        if let Some(items) = self.of(&stamp()) {
            return items;
        }
        let _turn = self.compiling.lock();
        // The stamp is older than what is read after it, so that a change in between is seen the next time.
        let stamp = stamp();
        if let Some(items) = self.of(&stamp) {
            return items;
        }
        let items = compile();
        self.known.store(Arc::new((Some(stamp), items.clone())));
        items
    }

    fn of(&self, stamp: &S) -> Option<Arc<[T]>> {
        let known = self.known.load();
        (known.0.as_ref() == Some(stamp)).then(|| known.1.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn one_of_many_compiles_a_state() {
        const CALLERS: usize = 8;
        let (fresh, state, compiled) = (Fresh::default(), AtomicU64::new(1), AtomicU64::new(0));
        for round in 1..=3 {
            state.store(round, Ordering::SeqCst);
            let start = Barrier::new(CALLERS);
            std::thread::scope(|scope| {
                for _ in 0..CALLERS {
                    scope.spawn(|| {
                        start.wait();
                        let items = fresh.get(
                            || state.load(Ordering::SeqCst),
                            || {
                                compiled.fetch_add(1, Ordering::SeqCst);
                                Arc::from([state.load(Ordering::SeqCst)])
                            },
                        );
                        assert_eq!(*items, [round]);
                    });
                }
            });
            assert_eq!(compiled.load(Ordering::SeqCst), round);
        }
    }
}
