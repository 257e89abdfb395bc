//! Small files by which a new kubelet knows what the one before it gave away: JSON with a check of itself.

use std::io;
use std::path::Path;

use serde_json::Value;

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It cannot be read or written.
    #[error("{0}")]
    File(#[from] io::Error),
    /// It is no JSON of the expected shape.
    #[error("unreadable: {0}")]
    Form(#[from] serde_json::Error),
    /// Someone has changed it.
    #[error("checkpoint is corrupted")]
    Corrupted,
}

/// FNV-1a with 32 bits.
fn checksum(text: &str) -> u64 {
    let hash = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
    u64::from(text.bytes().fold(2_166_136_261, hash))
}

/// Writes an object, whole or not at all, with its check in the member `key`.
pub fn store(path: &Path, mut data: Value, key: &str) -> Result<(), CheckpointError> {
    data[key] = checksum(&data.to_string()).into();
    let new = path.with_extension("new");
    std::fs::write(&new, data.to_string())?;
    Ok(std::fs::rename(&new, path)?)
}

/// Reads what [`store`] wrote; `None` if there is nothing.
pub fn load(path: &Path, key: &str) -> Result<Option<Value>, CheckpointError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut data: Value = serde_json::from_str(&text)?;
    let check = data.as_object_mut().and_then(|data| data.remove(key));
    let is_whole = check.and_then(|check| check.as_u64()) == Some(checksum(&data.to_string()));
    if is_whole { Ok(Some(data)) } else { Err(CheckpointError::Corrupted) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_written_is_read_unless_it_was_changed() {
        let folder = tempfile::tempdir().expect("directory");
        let path = folder.path().join("state");
        assert!(load(&path, "checksum").expect("nothing").is_none());
        store(&path, json!({"a": [1, 2]}), "checksum").expect("written");
        assert_eq!(load(&path, "checksum").expect("read"), Some(json!({"a": [1, 2]})));
        let text = std::fs::read_to_string(&path).expect("text").replace('2', "3");
        std::fs::write(&path, text).expect("changed");
        assert!(matches!(load(&path, "checksum"), Err(CheckpointError::Corrupted)));
    }
}
