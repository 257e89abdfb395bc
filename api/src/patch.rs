//! Patches: JSON Patch, JSON Merge Patch and Strategic Merge Patch. (Apply patches are a matter of
//! [`crate::managed_fields`].)
pub mod json;
pub mod merge;
pub mod strategic;

use crate::status::Status;

/// Why a patch could not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The patch itself is malformed.
    #[error("{0}")]
    Malformed(String),
    /// More operations than a JSON Patch may have.
    #[error("The allowed maximum operations in a JSON patch is {max}, got {0}", max = json::MAX_OPERATIONS)]
    TooManyOperations(usize),
    /// The patch does not fit the object: a missing path, a failed test.
    #[error("{0}")]
    DoesNotApply(String),
    /// A fault that the original answers with a plain 500.
    #[error("{0}")]
    Unprocessable(String),
}

impl From<Error> for Status {
    /// 400, 413, 422 or 500; as in the original, the 422 does not tell which operation failed.
    fn from(error: Error) -> Self {
        match error {
            Error::Malformed(text) => Self::bad_request(text),
            Error::TooManyOperations(_) => Self::too_large(error),
            Error::DoesNotApply(_) => {
                let text = "the server rejected our request due to an error in our request";
                Self { details: Some(Box::default()), ..Self::new(422, "Invalid", text) }
            }
            Error::Unprocessable(text) => Self::new(500, "", text),
        }
    }
}
