//! What a verb answers before it is encoded.
use crate::storage::Stored;
use knarr_api::Value;
use std::sync::Arc;

/// The content of an answer.
pub enum Content {
    /// A stored object, to be shown in the requested version.
    Stored(Arc<Stored>),
    /// An object in the requested version with its resourceVersion.
    Object(Value),
    /// Another document (a `Status`, a `Scale`); only a `Scale` has a table.
    Document(Value),
}

/// An answer.
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// What is answered.
    pub content: Content,
    /// Texts for `Warning` headers.
    pub warnings: Vec<String>,
}

impl Answer {
    /// An answer without warnings.
    pub fn new(code: u16, content: Content) -> Self {
        Self { code, content, warnings: Vec::new() }
    }

    /// Adds warnings.
    pub fn warn(mut self, warnings: Vec<String>) -> Self {
        self.warnings.extend(warnings);
        self
    }
}
