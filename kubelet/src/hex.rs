//! Bytes as text.

/// Two lower-case hexadecimal digits a byte.
pub fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
