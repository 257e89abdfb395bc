//! Conversion of custom resources between their versions by a webhook (`spec.conversion.strategy: Webhook`).
//!
//! Everything but the store works on objects in the version of the request: what is read is converted on its way in, what
//! is written on its way out. Objects that were stored in an older version are converted when they are read, and rewritten
//! in the present one when they are written. What was converted once is kept a while, since watches and lists ask for it
//! again and again.
//!
//! Source: the page "Versions in CustomResourceDefinitions"; texts are the original's.
mod review;

use super::row::index;
use super::{Row, codec, object};
use crate::outbound::{Endpoint, Outbound, Post};
use crate::storage::{Index, Revision, Stored};
use bytes::Bytes;
use knarr_api::kind::Kind;
use knarr_api::status::Status;
use knarr_api::table::KindRef;
use knarr_api::{Value, json};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Objects in one call.
const BATCH: usize = 100;
/// Bytes of converted objects kept a definition; when there are more, all are forgotten.
const KEPT: usize = 8 * 1024 * 1024;
/// For so long: the original asks a webhook each time, and another program may answer there by now.
const AGE: Duration = Duration::from_secs(2);

/// What of an object was converted: its key, its revision, and to which version.
type Wanted = (Arc<str>, Revision, Arc<str>);

#[derive(Default)]
struct Kept {
    objects: HashMap<Wanted, Arc<Stored>>,
    bytes: usize,
    /// When the first of them was converted.
    since: Option<Instant>,
}

impl Kept {
    /// Forgets all when they are too old or too many.
    fn renew(&mut self) {
        if self.bytes > KEPT || self.since.is_some_and(|since| since.elapsed() > AGE) {
            *self = Self::default();
        }
    }
}

/// Converts the objects of one definition.
pub struct Converter {
    /// The version that is stored.
    pub stored: KindRef,
    endpoint: Result<Endpoint, String>,
    review_version: Option<&'static str>,
    outbound: Option<Arc<Outbound>>,
    kept: Mutex<Kept>,
}

impl Converter {
    /// The converter of a definition; none where its versions only differ in name.
    pub fn of(crd: &Value, stored: KindRef, outbound: Option<Arc<Outbound>>) -> Option<Arc<Self>> {
        let conversion = &crd["spec"]["conversion"];
        if conversion["strategy"] != "Webhook" {
            return None;
        }
        let webhook = &conversion["webhook"];
        let versions = object::list(webhook, &["conversionReviewVersions"]);
        let review_version = versions.iter().find_map(|version| match version.as_str() {
            Some("v1") => Some("v1"),
            Some("v1beta1") => Some("v1beta1"),
            _ => None,
        });
        let endpoint = Endpoint::of_webhook(&webhook["clientConfig"]);
        Some(Arc::new(Self { stored, endpoint, review_version, outbound, kept: Mutex::default() }))
    }

    /// Objects in another version; `of_list`: how texts name what is converted.
    ///
    /// # Errors
    /// 500 for a webhook that fails or breaks the rules.
    pub async fn values(
        &self,
        mut objects: Vec<Value>,
        to: &Kind,
        of_list: bool,
    ) -> Result<Vec<Value>, Status> {
        let wanted = to.gvk.api_version();
        let others: Vec<usize> =
            (0..objects.len()).filter(|at| objects[*at]["apiVersion"] != wanted.as_str()).collect();
        for batch in others.chunks(BATCH) {
            let originals: Vec<&Value> = batch.iter().map(|at| &objects[*at]).collect();
            let subject = review::Subject::of(&originals, of_list);
            let converted = self.ask(&subject, &originals, &wanted).await?;
            for (at, value) in batch.iter().zip(converted) {
                objects[*at] = value;
            }
        }
        Ok(objects)
    }

    async fn ask(
        &self,
        subject: &review::Subject,
        originals: &[&Value],
        wanted: &str,
    ) -> Result<Vec<Value>, Status> {
        let failed = |text: &dyn std::fmt::Display| subject.failed(text);
        let endpoint = self.endpoint.as_ref().map_err(|text| failed(text))?;
        let version = self
            .review_version
            .ok_or_else(|| Status::new(500, "", "no supported ConversionReview versions [v1, v1beta1]"))?;
        let outbound = self.outbound.as_ref();
        let outbound = outbound.ok_or_else(|| failed(&"this server calls no webhooks"))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let post = Post {
            body: review::request(version, &uid, originals, wanted),
            timeout: TIMEOUT,
            limit: MAX_ANSWER,
            agent: "kube-apiserver-conversion",
            tell_timeout: true,
            authorization: None,
        };
        let answer = outbound.post(endpoint, post).await.map_err(|error| failed(&error))?;
        let converted = review::read(version, &uid, &answer).map_err(|text| failed(&text))?;
        review::check(subject, originals, converted, wanted)
    }

    /// A stored object as JSON in the version it was stored in, in that version's shape.
    fn read(&self, stored: &Stored) -> Result<Value, Status> {
        let mut value: Value = serde_json::from_slice(stored.body()).map_err(Status::internal)?;
        let of_version = |kind: &&Kind| value["apiVersion"] == kind.gvk.api_version().as_str();
        if let Some(kind) = self.stored.api().kinds.iter().find(of_version) {
            json::normalize(&self.stored.api().schema, kind.ty, &mut value, &mut Vec::new())
                .map_err(Status::internal)?;
        }
        Ok(value)
    }

    async fn incoming(&self, row: &Row, objects: Vec<Arc<Stored>>) -> Result<Vec<Arc<Stored>>, Status> {
        let mut out: Vec<Option<Arc<Stored>>> = Vec::with_capacity(objects.len());
        let wanted = |stored: &Stored| -> Wanted {
            (stored.key.as_str().into(), stored.revision, row.kind.gvk.version.clone())
        };
        {
            let mut kept = self.kept.lock();
            kept.renew();
            out.extend(objects.iter().map(|stored| kept.objects.get(&wanted(stored)).cloned()));
        }
        let missing: Vec<usize> = (0..out.len()).filter(|at| out[*at].is_none()).collect();
        let values = missing.iter().map(|at| self.read(&objects[*at])).collect::<Result<Vec<_>, _>>()?;
        let converted = self.values(values, &row.kind, objects.len() > 1).await?;
        for (at, mut value) in missing.into_iter().zip(converted) {
            let original = &objects[at];
            codec::settle(&row.api, &row.kind, &mut value)?;
            codec::default(&row.api, row.kind.ty, &mut value);
            let body = codec::bytes(&row.api, &row.kind, &mut value);
            let index = index(&value, &row.kind.field_selectors);
            let stored = Stored::new(original.key.clone(), original.revision, body, index);
            let stored = Arc::new(stored.map_err(Status::internal)?);
            self.keep(wanted(original), &stored);
            out[at] = Some(stored);
        }
        Ok(out.into_iter().flatten().collect())
    }

    fn keep(&self, wanted: Wanted, stored: &Arc<Stored>) {
        let mut kept = self.kept.lock();
        kept.renew();
        kept.since.get_or_insert_with(Instant::now);
        kept.bytes += stored.size();
        kept.objects.insert(wanted, stored.clone());
    }
}

impl Row {
    /// A stored object, as parts around the registry have it, in the version of the row.
    ///
    /// # Errors
    /// 500 for a conversion that failed.
    pub(crate) async fn served(&self, object: &Arc<Value>) -> Result<Arc<Value>, Status> {
        match &self.converter {
            Some(_) if object["apiVersion"] == self.kind.gvk.api_version().as_str() => Ok(object.clone()),
            Some(converter) => {
                let converted = converter.values(vec![(**object).clone()], &self.kind, false).await?.pop();
                converted.map(Arc::new).ok_or_else(|| Status::internal("a conversion returned nothing"))
            }
            None if self.conversion.is_none() => Ok(object.clone()),
            None => Ok(Arc::new(super::encode::serve(self, (**object).clone()))),
        }
    }

    /// A stored object in the version of the row.
    ///
    /// # Errors
    /// 500 for a conversion that failed.
    pub(super) async fn incoming(&self, stored: Arc<Stored>) -> Result<Arc<Stored>, Status> {
        match &self.converter {
            None => Ok(stored),
            Some(converter) => {
                let mut converted = converter.incoming(self, vec![stored]).await?;
                converted.pop().ok_or_else(|| Status::internal("a conversion returned nothing"))
            }
        }
    }

    /// Stored objects in the version of the row.
    ///
    /// # Errors
    /// As [`Row::incoming`].
    pub(super) async fn all_incoming(&self, objects: Vec<Arc<Stored>>) -> Result<Vec<Arc<Stored>>, Status> {
        match &self.converter {
            None => Ok(objects),
            Some(converter) => converter.incoming(self, objects).await,
        }
    }

    /// The bytes and facts that are stored of a canonical object in the version of the row.
    ///
    /// # Errors
    /// 500 for a conversion that failed.
    pub(super) async fn outgoing(&self, value: &mut Value) -> Result<(Bytes, Index), Status> {
        let fields = &self.stored.field_selectors;
        let Some(converter) = &self.converter else {
            return Ok((codec::bytes(&self.api, &self.stored, value), index(value, fields)));
        };
        let stored = &converter.stored;
        let mut bare = value.clone();
        object::set_meta(&mut bare, "resourceVersion", None);
        let converted = converter.values(vec![bare], stored, false).await?.pop();
        let mut converted = converted.ok_or_else(|| Status::internal("a conversion returned nothing"))?;
        codec::settle(&self.api, stored, &mut converted)?;
        codec::default(&self.api, stored.ty, &mut converted);
        let bytes = codec::bytes(&self.api, stored, &mut converted);
        Ok((bytes, index(&converted, &stored.field_selectors)))
    }
}
