//! Whether an informer already shows what a controller wrote.
//!
//! A sync that runs on an older object than the one it wrote last would only earn a conflict. It
//! is skipped: the change that the informer is about to show brings it back. Resource versions of
//! one resource grow (KEP-5504); where they are no numbers, nothing is skipped.

use std::collections::HashMap;

use knarr_component::store::Key;
use kube::api::ObjectMeta;
use parking_lot::Mutex;

/// The newest versions that were written, by object.
#[derive(Default)]
pub(crate) struct Written(Mutex<HashMap<Key, (String, u64)>>);

fn version(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_ref()?.parse().ok()
}

impl Written {
    /// Notes what the server answered to a write.
    pub fn note(&self, key: &Key, answer: &ObjectMeta) {
        if let Some(version) = version(answer) {
            self.0.lock().insert(key.clone(), (answer.uid.clone().unwrap_or_default(), version));
        }
    }

    /// The object is gone.
    pub fn forget(&self, key: &Key) {
        self.0.lock().remove(key);
    }

    /// Whether an object is older than the one written last.
    pub fn is_stale(&self, key: &Key, seen: &ObjectMeta) -> bool {
        let mut written = self.0.lock();
        let Some((uid, newest)) = written.get(key) else { return false };
        let stale = seen.uid.as_ref() == Some(uid) && version(seen).is_some_and(|seen| seen < *newest);
        if !stale {
            written.remove(key);
        }
        stale
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_objects_are_stale() {
        let meta = |uid: &str, version: &str| ObjectMeta {
            uid: Some(uid.into()),
            resource_version: Some(version.into()),
            ..Default::default()
        };
        let (written, key) = (Written::default(), Key::new("ns", "a"));
        assert!(!written.is_stale(&key, &meta("u", "5")));
        written.note(&key, &meta("u", "10"));
        assert!(written.is_stale(&key, &meta("u", "9")));
        assert!(!written.is_stale(&key, &meta("v", "9")), "another object of that name");
        written.note(&key, &meta("u", "10"));
        assert!(!written.is_stale(&key, &meta("u", "10")));
        written.note(&key, &meta("u", "opaque"));
        assert!(!written.is_stale(&key, &meta("u", "1")));
    }
}
