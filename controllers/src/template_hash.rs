//! The hash that tells pods of one template from those of another.
//!
//! The original hashes Go's memory dump of a template; nothing outside depends on the value, only
//! on its shape: 32 bits in an alphabet without vowels, so that no words appear in names.

use serde::Serialize;

/// FNV-1a over JSON and, when set, the collision count, in the safe alphabet.
pub(crate) fn hash(value: &impl Serialize, collisions: Option<i32>) -> String {
    // Maps of API types are ordered and serialization of them cannot fail.
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut state = json.iter().fold(0x811c_9dc5_u32, |state, byte| step(state, *byte));
    for byte in collisions.into_iter().flat_map(i32::to_le_bytes) {
        state = step(state, byte);
    }
    safe(&state.to_string())
}

fn step(state: u32, byte: u8) -> u32 {
    (state ^ u32::from(byte)).wrapping_mul(0x0100_0193)
}

/// Decimal digits in the alphabet of generated names.
fn safe(digits: &str) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    digits.bytes().map(|byte| ALPHABET[usize::from(byte) % ALPHABET.len()] as char).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collisions_change_the_hash() {
        let first = hash(&"template", None);
        assert_eq!(first, hash(&"template", None));
        assert_ne!(first, hash(&"template", Some(0)));
        assert_ne!(hash(&"template", Some(0)), hash(&"template", Some(1)));
        assert!(first.len() <= 10 && !first.contains(['a', 'e', 'i', 'o', 'u']));
    }
}
