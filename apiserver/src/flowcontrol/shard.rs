//! Shuffle sharding: every flow is dealt a hand of queues by its hash, so that two flows rarely share all of theirs.
use sha2::{Digest, Sha256};

/// A hash of a flow: the schema and what distinguishes flows within it.
pub fn flow_hash(schema: &str, distinguisher: &str) -> u64 {
    let mut hash = Sha256::new();
    // Length first, so that no two pairs read the same.
    hash.update((schema.len() as u64).to_le_bytes());
    hash.update(schema);
    hash.update(distinguisher);
    let digest = hash.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

/// The queues of a flow: `hand` different ones of `deck`.
pub fn deal(mut hash: u64, deck: usize, hand: usize) -> Vec<usize> {
    let hand = hand.min(deck);
    let mut cards: Vec<usize> = Vec::with_capacity(hand);
    for dealt in 0..hand {
        let rest = (deck - dealt) as u64;
        let mut card = (hash % rest) as usize;
        hash /= rest;
        // Count only cards that are still in the deck.
        let mut taken = cards.clone();
        taken.sort_unstable();
        for other in taken {
            if card >= other {
                card += 1;
            }
        }
        cards.push(card);
    }
    cards
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn hands_are_different_queues() {
        for user in 0..200 {
            let hand = deal(flow_hash("s", &format!("u{user}")), 64, 6);
            let different: BTreeSet<usize> = hand.iter().copied().collect();
            assert!(different.len() == 6 && hand.iter().all(|queue| *queue < 64), "{hand:?}");
        }
        assert_eq!(deal(5, 2, 8).len(), 2);
        assert_ne!(flow_hash("ab", "c"), flow_hash("a", "bc"));
    }
}
