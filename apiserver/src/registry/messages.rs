//! Protobuf messages of stored objects, made once and kept within a budget of memory: lists and reads in protobuf
//! then copy bytes, as those in JSON do.
use super::codec;
use crate::storage::Stored;
use bytes::Bytes;
use knarr_api::kind::Kind;
use knarr_api::protobuf;
use knarr_api::status::Status;
use knarr_api::table::Api;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// Bytes kept.
const BUDGET: usize = 64 << 20;
/// Bytes that an entry costs beside its message, about.
const OVERHEAD: usize = 96;

/// The messages of objects in their stored versions. A revision is that of one object only, so it is the key.
#[derive(Default)]
pub(super) struct Messages {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    messages: HashMap<u64, Bytes>,
    /// In the order of their coming: the oldest goes first.
    order: VecDeque<u64>,
    bytes: usize,
}

impl Messages {
    /// Would all objects with so many bytes of JSON be kept? Their messages are smaller.
    pub(super) fn has_room_for(bytes: usize) -> bool {
        bytes <= BUDGET
    }

    /// The bare message of an object in its stored version. `keep` it for others to come?
    ///
    /// # Errors
    /// 406 for a kind without a protobuf form.
    pub(super) fn of(&self, api: &Api, kind: &Kind, stored: &Stored, keep: bool) -> Result<Bytes, Status> {
        if let Some(message) = self.kept.lock().messages.get(&stored.revision.0) {
            return Ok(message.clone());
        }
        let value = stored.value().map_err(Status::internal)?;
        let mut message = Vec::with_capacity(stored.body().len());
        protobuf::encode_message(&api.schema, kind.ty, &value, &mut message).map_err(codec::no_message)?;
        let message = Bytes::from(message.into_boxed_slice());
        if keep {
            self.kept.lock().put(stored.revision.0, message.clone());
        }
        Ok(message)
    }
}

impl Kept {
    fn put(&mut self, revision: u64, message: Bytes) {
        let size = message.len() + OVERHEAD;
        if size > BUDGET / 8 || self.messages.insert(revision, message).is_some() {
            return;
        }
        self.order.push_back(revision);
        self.bytes += size;
        while self.bytes > BUDGET {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.messages.remove(&oldest) {
                self.bytes -= gone.len() + OVERHEAD;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds() {
        let mut kept = Kept::default();
        for revision in 0..100 {
            kept.put(revision, Bytes::from(vec![0; 1 << 20]));
        }
        assert!(kept.bytes <= BUDGET && kept.messages.len() == kept.order.len());
        assert!(kept.messages.contains_key(&99) && !kept.messages.contains_key(&0));
    }
}
