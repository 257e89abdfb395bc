//! Field ownership across the versions of a resource: entries of `managedFields` speak of the version they were written in,
//! so what a write changes is looked at in each of them.
use super::row::Siblings;
use super::{codec, encode, object};
use futures::FutureExt;
use knarr_api::Value;
use knarr_api::kind::Kind;
use knarr_api::managed_fields::{Other, Versions};
use knarr_api::status::Status;
use parking_lot::Mutex;

/// The versions of a resource for one write. Where a webhook converts them it is asked, and the thread hands its other
/// tasks over and waits.
#[derive(Debug)]
pub struct Ownership<'a> {
    siblings: Siblings<'a>,
    failed: Mutex<Option<Status>>,
}

impl<'a> Ownership<'a> {
    /// For a write through a row.
    pub fn of(siblings: Siblings<'a>) -> Self {
        Self { siblings, failed: Mutex::default() }
    }

    /// What came of it; what was found out with a conversion that failed is not to be used.
    ///
    /// # Errors
    /// The first conversion that failed.
    pub fn outcome(&self) -> Result<(), Status> {
        self.failed.lock().take().map_or(Ok(()), Err)
    }

    /// What is asked, unless the request is over before.
    async fn in_time(&self, asked: impl Future<Output = Result<Value, Status>>) -> Result<Value, Status> {
        match self.siblings.until {
            Some(until) => tokio::time::timeout_at(until.into(), asked).await.unwrap_or_else(|_| {
                Err(Status::timeout("request did not complete within the allotted timeout"))
            }),
            None => asked.await,
        }
    }

    fn by_webhook(&self, object: &Value, to: &Kind) -> Result<Value, Status> {
        let row = self.siblings.of(&to.gvk.api_version());
        let row = row.ok_or_else(|| Status::internal("a version that is not served"))?;
        let mut bare = object.clone();
        object::set_meta(&mut bare, "resourceVersion", None);
        let mut asked = Box::pin(self.siblings.to_version(bare, &row));
        let converted = match asked.as_mut().now_or_never() {
            Some(converted) => converted,
            None => {
                let runtime = tokio::runtime::Handle::current();
                tokio::task::block_in_place(|| runtime.block_on(self.in_time(asked)))
            }
        };
        let mut converted = converted?;
        codec::settle(&row.api, &row.kind, &mut converted)?;
        Ok(converted)
    }
}

impl Versions for Ownership<'_> {
    fn find(&self, api_version: &str) -> Other {
        let row = self.siblings.row;
        match self.siblings.of(api_version) {
            None => Other::Unserved,
            Some(other) if row.converter.is_none() && other.is_alike() && row.is_alike() => Other::Alike,
            // Of the table of the write, which may have been exchanged since the write began.
            Some(other) => match row.api.find(|kind| kind.gvk == other.kind.gvk) {
                Some(kind) => Other::Shaped(kind),
                None => Other::Unserved,
            },
        }
    }

    fn convert(&self, object: &Value, to: &Kind) -> Value {
        if self.siblings.row.converter.is_some() {
            return self.by_webhook(object, to).unwrap_or_else(|status| {
                self.failed.lock().get_or_insert(status);
                object.clone()
            });
        }
        let from = object.get("apiVersion").and_then(Value::as_str);
        let stored = match from.and_then(|version| self.siblings.of(version)) {
            Some(row) => encode::store(&row, object.clone()),
            None => object.clone(),
        };
        match self.siblings.of(&to.gvk.api_version()) {
            Some(row) => encode::serve(&row, stored),
            None => stored,
        }
    }
}
