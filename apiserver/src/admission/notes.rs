//! What admission tells beside its decision.
use knarr_api::names::qualified_name;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Warnings for the client and annotations for the audit log; clones are of one request and share them. They are told
/// even when the request is refused.
#[derive(Clone, Debug, Default)]
pub struct Notes(Arc<Mutex<Told>>);

#[derive(Debug, Default)]
struct Told {
    warnings: Vec<String>,
    annotations: BTreeMap<String, String>,
}

impl Notes {
    /// Adds the text of a `Warning` header; one that was told already is not told again.
    pub fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut told = self.0.lock();
        if !told.warnings.contains(&text) {
            told.warnings.push(text);
        }
    }

    /// Adds an audit annotation; the first value of a key stands. One whose key is not `domain/name` is left out.
    pub fn annotate(&self, key: impl Into<String>, value: impl Into<String>) {
        let key = key.into();
        if key.contains('/') && qualified_name(&key).is_empty() {
            self.0.lock().annotations.entry(key).or_insert_with(|| value.into());
        } else {
            tracing::warn!(key, "no audit annotation: its key is no qualified name");
        }
    }

    /// The warnings in the order they were given.
    pub fn warnings(&self) -> Vec<String> {
        self.0.lock().warnings.clone()
    }

    /// The audit annotations.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.0.lock().annotations.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_once() {
        let notes = Notes::default();
        let clone = notes.clone();
        notes.warn("a");
        clone.warn("b");
        notes.warn("a");
        notes.annotate("x.io/k", "first");
        clone.annotate("x.io/k", "second");
        clone.annotate("x.io/bad key!", "third");
        clone.annotate("k", "fourth");
        assert_eq!(notes.warnings(), ["a", "b"]);
        assert_eq!(notes.annotations(), BTreeMap::from([("x.io/k".to_owned(), "first".to_owned())]));
    }
}
