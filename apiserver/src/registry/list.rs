//! GET of a collection: a consistent view, selected, paged, written piece by piece from cached bytes.
use super::call::Call;
use super::negotiate::Transform;
use super::options::{ListOptions, VersionMatch};
use super::paging::Token;
use super::select::Selection;
use super::{Registry, encode, get, list_body, object, read_status, table};
use crate::server::Response;
use crate::storage::{ReadError, Revision, Snapshot, Stored};
use knarr_api::status::Status;
use knarr_api::{Object, Value};
use serde_json::json;
use std::sync::Arc;

/// The objects of one page.
pub(super) struct Page {
    /// Selected objects.
    pub objects: Vec<Arc<Stored>>,
    /// `metadata` of the list.
    pub meta: ListMeta,
}

/// `ListMeta`.
#[derive(Default)]
pub(super) struct ListMeta {
    revision: u64,
    next: String,
    remaining: Option<u64>,
}

impl ListMeta {
    /// As JSON.
    pub(super) fn json(&self) -> String {
        let mut out = format!("{{\"resourceVersion\":\"{}\"", self.revision);
        if !self.next.is_empty() {
            out.push_str(&format!(",\"continue\":\"{}\"", self.next));
        }
        if let Some(remaining) = self.remaining {
            out.push_str(&format!(",\"remainingItemCount\":{remaining}"));
        }
        out.push('}');
        out
    }

    /// As a document.
    pub(super) fn value(&self) -> Value {
        serde_json::from_str(&self.json()).unwrap_or_default()
    }
}

impl Registry {
    pub(super) async fn list(&self, call: &Call<'_>) -> Result<Response, Status> {
        let options = ListOptions::decode(&call.query, false)?;
        if !call.row.is_stored() {
            return self.list_computed(call, &options).await;
        }
        let page = self.page(call, &options).await?;
        list_body::write(self, call, page)
    }

    /// The list of a resource that is computed on each read.
    async fn list_computed(&self, call: &Call<'_>, options: &ListOptions) -> Result<Response, Status> {
        let selection = Selection::new(call.row, call.namespace, options)?;
        let values = self.components().await;
        let values = values.into_iter().filter(|v| selection.name().is_none_or(|n| n == object::name(v)));
        let meta = json!({});
        let list = of_values(call, values.collect(), meta, call.accepted.transform)?;
        encode::document(&list, call.accepted)
    }

    /// Reads one page.
    pub(super) async fn page(&self, call: &Call<'_>, options: &ListOptions) -> Result<Page, Status> {
        let selection = Selection::new(call.row, call.namespace, options)?;
        // An answer that may be any state is the whole of it, as clients of the original expect.
        let limit = match options.resource_version.as_str() {
            "0" if options.continue_token.is_empty() => 0,
            _ => usize::try_from(options.limit).unwrap_or(0),
        };
        let (view, after) = self.view(call, options).await?;
        let after_key = after.as_ref().map(|t| {
            let (namespace, name) = t.last(call.row.kind.namespaced);
            call.row.key(namespace, name)
        });
        let mut rest = view.iter(selection.namespace.as_deref(), after_key.as_ref());
        let everything = selection.is_everything();
        let mut objects = Vec::new();
        let (mut more, mut fetched) = (false, 0);
        for object in rest.by_ref() {
            fetched += 1;
            if !everything && !selection.matches(object) {
                continue;
            }
            if limit > 0 && objects.len() == limit {
                more = true;
                break;
            }
            objects.push(object.clone());
        }
        let mut meta = ListMeta { revision: view.revision().0, ..ListMeta::default() };
        if let (true, Some(last)) = (more, objects.last()) {
            let revision = i64::try_from(view.revision().0).unwrap_or(i64::MAX);
            let known = after.and_then(|token| token.left?.checked_sub(objects.len() as u64));
            meta.remaining = everything.then(|| known.unwrap_or_else(|| rest.count() as u64 + 1));
            let mut token = Token::after(revision, last.key.namespace(), last.key.name());
            token.left = meta.remaining;
            meta.next = token.encode();
        }
        self.settings.served.listed(&call.row.kind, fetched, objects.len());
        Ok(Page { objects: call.row.all_incoming(objects).await?, meta })
    }

    /// The view that a list reads, and the token it continues from.
    async fn view(
        &self,
        call: &Call<'_>,
        options: &ListOptions,
    ) -> Result<(Snapshot, Option<Token>), Status> {
        if !options.continue_token.is_empty() {
            let token = Token::parse(&options.continue_token)?;
            if !matches!(options.resource_version.as_str(), "" | "0") {
                return Err(Status::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let at = u64::try_from(token.rv).ok().map(Revision);
            match at {
                // The page before may have come from another server, which was ahead of this one.
                Some(at) => self.reach(at).await?,
                None => self.fresh().await?,
            }
            return match self.snapshot(call, at).await {
                Ok(view) => Ok((view, Some(token))),
                Err(ReadError::Compacted { .. }) => Err(continue_expired(&token, call.row.kind.namespaced)),
                Err(error) => Err(read_status(&error)),
            };
        }
        let at = match options.resource_version.as_str() {
            "" => {
                self.fresh().await?;
                None
            }
            "0" => None,
            text => {
                let revision = get::parse_revision(text)?;
                self.reach(revision).await?;
                let exact = options.version_match == Some(VersionMatch::Exact)
                    || (options.version_match.is_none() && options.limit > 0);
                exact.then_some(revision)
            }
        };
        let view = self.snapshot(call, at).await.map_err(|e| match e {
            ReadError::Compacted { .. } => {
                Status::expired("The resourceVersion for the provided list is too old.")
            }
            other => read_status(&other),
        })?;
        Ok((view, None))
    }

    async fn snapshot(&self, call: &Call<'_>, at: Option<Revision>) -> Result<Snapshot, ReadError> {
        let resource = &call.row.resource;
        if at.is_none() && !call.row.in_log {
            return Ok(self.store.snapshot(resource));
        }
        let namespace = (!call.namespace.is_empty()).then_some(call.namespace);
        self.store.list(resource, namespace, at).await
    }
}

/// 410 whose `metadata.continue` lets a client go on with whatever is there now.
fn continue_expired(token: &Token, namespaced: bool) -> Status {
    let (namespace, name) = token.last(namespaced);
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of \
         the results. Continuing with the provided token results in an inconsistent list - objects that were \
         created, modified, or deleted between the time the first chunk was returned and now may show up in the \
         list.",
    );
    status.next = Token::after(-1, namespace, name).encode();
    status
}

/// A list as one document.
pub(super) fn list_value(
    call: &Call<'_>,
    objects: &[Arc<Stored>],
    meta: &ListMeta,
    transform: Transform,
) -> Result<Value, Status> {
    let values = objects.iter().map(|o| encode::served(call.row, o));
    of_values(call, values.collect::<Result<_, _>>()?, meta.value(), transform)
}

/// A list of objects in the requested version.
fn of_values(
    call: &Call<'_>,
    values: Vec<Value>,
    meta: Value,
    transform: Transform,
) -> Result<Value, Status> {
    let (kind, api_version, items) = match transform {
        Transform::Table(version) => return table::of_list(call, version, &values, meta),
        Transform::Metadata(version) | Transform::MetadataList(version) => {
            let items = values.iter().map(|v| encode::metadata(v, version)).collect();
            ("PartialObjectMetadataList".to_owned(), format!("meta.k8s.io/{version}"), items)
        }
        Transform::None => {
            let gvk = &call.row.kind.gvk;
            (call.row.kind.list_kind.to_string(), gvk.api_version(), values)
        }
    };
    let strip = |mut item: Value| {
        if let (Transform::None, Some(members)) = (transform, item.as_object_mut()) {
            members.remove("kind");
            members.remove("apiVersion");
        }
        item
    };
    let mut list = Object::new();
    list.insert("kind".into(), kind.into());
    list.insert("apiVersion".into(), api_version.into());
    list.insert("metadata".into(), meta);
    list.insert("items".into(), Value::Array(items.into_iter().map(strip).collect()));
    Ok(Value::Object(list))
}
