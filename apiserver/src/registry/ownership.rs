//! Field ownership across the versions of a resource: entries of `managedFields` speak of the version they were written in,
//! so what a write changes is looked at in each of them.
use super::row::Siblings;
use super::{codec, encode, object};
use knarr_api::Value;
use knarr_api::kind::{GroupVersionKind, Kind};
use knarr_api::managed_fields::{Other, Versions};
use knarr_api::status::Status;
use parking_lot::Mutex;

/// How often what is found out may bring up other conversions.
const ROUNDS: usize = 16;

/// The versions of a resource for one write. Who owns what is found out without waiting; where a webhook converts, what
/// it is to be asked is noted, and all is found out again once its answers are known.
#[derive(Debug)]
pub struct Ownership<'a> {
    siblings: Siblings<'a>,
    asked: Mutex<Vec<(Value, Kind)>>,
    /// What became of objects in a version.
    known: Mutex<Vec<(Value, GroupVersionKind, Value)>>,
}

impl<'a> Ownership<'a> {
    /// For a write through a row.
    pub fn of(siblings: Siblings<'a>) -> Self {
        Self { siblings, asked: Mutex::default(), known: Mutex::default() }
    }

    /// What `find_out` makes of these versions, which is called again until every conversion it wants is known: it must
    /// begin anew each time.
    ///
    /// # Errors
    /// The first conversion that failed.
    pub async fn settled<T>(&self, mut find_out: impl FnMut() -> T) -> Result<T, Status> {
        for _ in 0..ROUNDS {
            let found = find_out();
            let asked = std::mem::take(&mut *self.asked.lock());
            if asked.is_empty() {
                return Ok(found);
            }
            drop(found);
            for (object, kind) in asked {
                let converted = self.by_webhook(&object, &kind).await?;
                self.known.lock().push((object, kind.gvk, converted));
            }
        }
        Err(Status::internal("the ownership of fields depends on ever more conversions"))
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

    async fn by_webhook(&self, object: &Value, to: &Kind) -> Result<Value, Status> {
        let row = self.siblings.of(&to.gvk.api_version());
        let row = row.ok_or_else(|| Status::internal("a version that is not served"))?;
        let mut bare = object.clone();
        object::set_meta(&mut bare, "resourceVersion", None);
        let mut converted = self.in_time(self.siblings.to_version(bare, &row)).await?;
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
            let known = self.known.lock();
            let same = |(from, gvk, _): &&(Value, GroupVersionKind, Value)| *gvk == to.gvk && from == object;
            if let Some((_, _, converted)) = known.iter().find(same) {
                return converted.clone();
            }
            self.asked.lock().push((object.clone(), to.clone()));
            // Anything will do, since what comes of it is thrown away.
            return object.clone();
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
