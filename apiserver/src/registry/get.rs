//! GET of one object.
use super::answer::{Answer, Content};
use super::call::Call;
use super::{Registry, read_status};
use crate::storage::{Key, Revision, Stored};
use knarr_api::status::Status;
use std::sync::Arc;

impl Registry {
    pub(super) async fn get(&self, call: &Call<'_>) -> Result<Answer, Status> {
        match call.query.text("resourceVersion") {
            "" => self.fresh().await?,
            "0" => {}
            text => self.reach(parse_revision(text)?).await?,
        }
        let stored = self.find(call).await?;
        Ok(Answer::new(200, Content::Stored(stored)))
    }

    /// The named object, in the requested version where a webhook converts.
    ///
    /// # Errors
    /// 404; 500 for a conversion that failed.
    pub(super) async fn find(&self, call: &Call<'_>) -> Result<Arc<Stored>, Status> {
        let found = self.fetch(&call.key(), call.row.in_log).await?;
        call.row.incoming(found.ok_or_else(|| call.row.not_found(call.name))?).await
    }

    /// The live object of a key.
    pub(super) async fn fetch(&self, key: &Key, in_log: bool) -> Result<Option<Arc<Stored>>, Status> {
        let found = match in_log {
            true => self.store.read(key).await.map_err(|e| read_status(&e))?,
            false => self.store.get(key),
        };
        match self.store.unreadable(key).filter(|_| found.is_none()) {
            None => Ok(found),
            Some(error) => {
                let (resource, rest) = (key.resource(), &key.as_str()[key.resource().len()..]);
                let plural = resource.split_once('/').map_or(resource, |(_, plural)| plural);
                let path = format!("/registry/{plural}{}", rest.replace("//", "/"));
                Err(Status::internal(format!("unable to transform key {path:?}: {error}")))
            }
        }
    }
}

/// A `resourceVersion` option that is not empty.
///
/// # Errors
/// 400 when it is no number.
pub(super) fn parse_revision(text: &str) -> Result<Revision, Status> {
    text.parse().map(Revision).map_err(|_| {
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: {text:?}: {}",
            not_a_number(text)
        ))
    })
}

/// How Go says that a text is no unsigned number.
pub(super) fn not_a_number(text: &str) -> String {
    let large = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let why = if large { "value out of range" } else { "invalid syntax" };
    format!("strconv.ParseUint: parsing {text:?}: {why}")
}
