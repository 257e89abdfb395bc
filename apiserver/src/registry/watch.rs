//! Watches: the present objects where asked, then every change in view, with bookmarks between.
use super::call::Call;
use super::messages::Messages;
use super::negotiate::{Accepted, Format, Transform};
use super::options::ListOptions;
use super::select::Selection;
use super::{Registry, Row, codec, encode, get, table};
use crate::metrics::Watched;
use crate::server::{Body, Response};
use crate::storage::event::Form;
use crate::storage::{Delivery, Event, EventType, Revision, Start, Stored, WatchEnd, WatchError, Watcher};
use bytes::Bytes;
use futures::stream;
use http::{HeaderValue, header};
use knarr_api::Value;
use knarr_api::columns::IncludeObject;
use knarr_api::field::Error;
use knarr_api::protobuf;
use knarr_api::status::Status;
use knarr_api::table::Api;
use rand::Rng;
use serde_json::json;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep, interval_at, sleep_until};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// Initial objects written at once.
const INITIAL: usize = 64;

impl Registry {
    pub(super) async fn watch(&self, call: &Call<'_>) -> Result<Response, Status> {
        let start = Instant::now();
        let mut options = ListOptions::decode(&call.query, true)?;
        if !call.name.is_empty() {
            // The old form `/watch/…/‹name›`.
            let separator = if options.field_selector.is_empty() { "" } else { "," };
            options.field_selector.push_str(&format!("{separator}metadata.name={}", call.name));
        }
        let selection = Selection::new(call.row, call.namespace, &options)?;
        let encoder = Encoder::new(self, call)?;
        let begun = self.begin(call, &options, &selection).await;
        let (initial, watcher, error) = match begun {
            Ok((initial, watcher)) => (initial, Some(watcher), None),
            // What the selectors and options could not tell is told by an ERROR event, as clients expect.
            Err(status) if matches!(status.code, 400 | 422) => return Err(status),
            Err(status) => (VecDeque::new(), None, Some(status)),
        };
        let timeout = match options.timeout_seconds {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds as u64),
            _ => self.settings.min_watch.mul_f64(1.0 + rand::rng().random::<f64>()),
        };
        encoder.sent.begins(initial.len());
        let mut bookmarks = interval_at(start + self.settings.bookmarks, self.settings.bookmarks);
        bookmarks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let state = State {
            encoder,
            initial,
            announce_end: (options.bookmarks && options.send_initial_events == Some(true)).then_some(start),
            watcher,
            error,
            bookmarks: options.bookmarks.then_some(bookmarks),
            deadline: Box::pin(sleep_until(start + timeout)),
            shutdown: Box::pin(call.context.shutdown.clone().cancelled_owned()),
        };
        let mut response = Response::new(Body::stream(stream::unfold(state, State::step)));
        let media = HeaderValue::from_static(call.accepted.format.stream_type());
        response.headers_mut().insert(header::CONTENT_TYPE, media);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        Ok(response)
    }

    /// The initial objects and the changes after them.
    async fn begin(
        &self,
        call: &Call<'_>,
        options: &ListOptions,
        selection: &Selection,
    ) -> Result<(VecDeque<Arc<Stored>>, Watcher), Status> {
        let mut initial = VecDeque::new();
        let from = match options.resource_version.as_str() {
            "" | "0" => None,
            text => Some(text.parse().map(Revision).map_err(|_| unreadable(call, text))?),
        };
        let with_initial = options.send_initial_events == Some(true);
        if let Some(revision) = from.filter(|_| with_initial) {
            self.reach(revision).await?;
        } else if options.resource_version.is_empty() {
            self.fresh().await?;
        }
        let start = if with_initial {
            let namespace = selection.namespace.as_deref();
            let view = if call.row.in_log {
                let view = self.store.list(&call.row.resource, namespace, None).await;
                view.map_err(|e| super::read_status(&e))?
            } else {
                self.store.snapshot(&call.row.resource)
            };
            initial.extend(view.iter(namespace, None).filter(|o| selection.matches(o)).cloned());
            Start::After(view.revision())
        } else {
            from.map_or(Start::Now, Start::After)
        };
        let selects = (!selection.is_everything()).then(|| {
            let selection = selection.clone();
            Arc::new(move |object: &Stored| selection.matches(object)) as crate::storage::Selector
        });
        let watcher = self.store.watch(&call.row.resource, selection.scope(), start, selects);
        let watcher = watcher.map_err(|error| match error {
            WatchError::Gone { requested, oldest } => {
                Status::expired(format!("too old resource version: {requested} ({oldest})"))
            }
            WatchError::Unknown(_) => Status::internal(error),
        })?;
        Ok((initial, watcher))
    }
}

/// 422 for a resourceVersion that is no number.
fn unreadable(call: &Call<'_>, text: &str) -> Status {
    let error = Error::invalid("resourceVersion", &text.into(), get::not_a_number(text));
    let kind = &*call.row.kind;
    Status::invalid(&kind.gvk.group, &kind.plural, call.name, &[error])
}

struct State {
    encoder: Encoder,
    initial: VecDeque<Arc<Stored>>,
    /// The bookmark that ends the initial objects is still to be sent; when the request came.
    announce_end: Option<Instant>,
    watcher: Option<Watcher>,
    error: Option<Status>,
    bookmarks: Option<Interval>,
    /// Registered with the runtime once, not with every event.
    deadline: Pin<Box<Sleep>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl State {
    /// The last event: what comes after it cannot be told.
    fn end(&mut self, status: &Status) -> Bytes {
        self.initial.clear();
        self.watcher = None;
        self.encoder.error(status)
    }

    /// The next bytes of the stream.
    async fn step(mut self) -> Option<(Result<Bytes, std::io::Error>, Self)> {
        if let Some(error) = self.error.take() {
            let bytes = self.encoder.error(&error);
            return Some((Ok(bytes), self));
        }
        if !self.initial.is_empty() {
            let objects = self.initial.drain(..self.initial.len().min(INITIAL)).collect();
            let bytes = match self.encoder.row.all_incoming(objects).await {
                Ok(objects) => self.encoder.all_initial(&objects),
                Err(status) => self.end(&status),
            };
            return Some((Ok(bytes), self));
        }
        let watcher = self.watcher.as_mut()?;
        if let Some(begun) = self.announce_end.take() {
            self.encoder.sent.listed(begun.elapsed());
            let bytes = self.encoder.bookmark(watcher.start(), true);
            return Some((Ok(bytes), self));
        }
        let bytes = tokio::select! {
            batch = watcher.next() => match batch {
                Ok(batch) => {
                    if let ([delivery], Some(Form::Json)) = (&batch[..], self.encoder.shared()) {
                        // The common case costs a watcher no copy.
                        let bytes = delivery.event.json_line(delivery.event_type);
                        self.encoder.sent.sent(bytes.len());
                        return Some((Ok(bytes), self));
                    }
                    match self.encoder.deliveries(&batch).await {
                        Ok(bytes) => bytes,
                        Err(status) => self.end(&status),
                    }
                }
                Err(WatchEnd::Gone) => {
                    self.watcher = None;
                    self.encoder.error(&Status::expired("The resource has changed; list it again."))
                }
                Err(WatchEnd::TooSlow) => {
                    self.encoder.sent.terminated();
                    return None;
                }
                Err(WatchEnd::Closed) => return None,
            },
            () = tick(&mut self.bookmarks) => self.encoder.bookmark(watcher.progress(), false),
            () = &mut self.deadline => {
                // A last bookmark lets the client resume where it is, however quiet the resource was.
                self.bookmarks.as_ref()?;
                let bytes = self.encoder.bookmark(watcher.progress(), false);
                self.watcher = None;
                bytes
            }
            () = &mut self.shutdown => return None,
        };
        Some((Ok(bytes), self))
    }
}

/// The next tick; never without an interval.
async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Writes events in the form one watcher asked for.
struct Encoder {
    row: Arc<Row>,
    api: &'static Api,
    messages: Arc<Messages>,
    accepted: Accepted,
    include: IncludeObject,
    /// Tables name their columns once.
    columns_sent: bool,
    sent: Watched,
}

impl Encoder {
    fn new(registry: &Registry, call: &Call<'_>) -> Result<Self, Status> {
        let include = table::include(call)?;
        let (api, messages) = (registry.api, registry.messages.clone());
        let (row, accepted) = (call.row.clone(), call.accepted);
        let scope = match () {
            () if !call.name.is_empty() => "resource",
            () if !call.namespace.is_empty() => "namespace",
            () => "cluster",
        };
        let sent = registry.settings.served.watches.of(&row.kind, scope);
        Ok(Self { row, api, messages, accepted, include, columns_sent: false, sent })
    }

    /// The form whose bytes watchers share.
    fn shared(&self) -> Option<Form> {
        let Accepted { format, transform, pretty } = self.accepted;
        match (format, transform) {
            _ if pretty || self.row.conversion.is_some() || self.row.converter.is_some() => None,
            (Format::Json, Transform::None) => Some(Form::Json),
            (Format::Json, Transform::Metadata("v1") | Transform::MetadataList("v1")) => {
                Some(Form::MetadataJson)
            }
            (Format::Protobuf, Transform::None) => Some(Form::Protobuf),
            _ => None,
        }
    }

    fn all_initial(&mut self, objects: &[Arc<Stored>]) -> Bytes {
        let mut out = Vec::new();
        for object in objects {
            let before = out.len();
            self.initial(object, &mut out);
            self.sent.sent(out.len() - before);
        }
        out.into()
    }

    async fn deliveries(&mut self, batch: &[Delivery]) -> Result<Bytes, Status> {
        let mut out = Vec::new();
        if self.row.converter.is_none() {
            for delivery in batch {
                let before = out.len();
                self.delivery(delivery, &mut out);
                self.sent.sent(out.len() - before);
            }
            return Ok(out.into());
        }
        let objects = batch.iter().map(|delivery| delivery.event.object(delivery.event_type).clone());
        let objects = self.row.all_incoming(objects.collect()).await?;
        for (delivery, object) in batch.iter().zip(&objects) {
            let before = out.len();
            self.object(delivery.event_type, object, delivery.event.revision(), &mut out);
            self.sent.sent(out.len() - before);
        }
        Ok(out.into())
    }

    fn initial(&mut self, object: &Arc<Stored>, out: &mut Vec<u8>) {
        match self.shared() {
            Some(Form::Json) => {
                out.extend_from_slice(br#"{"type":"ADDED","object":"#);
                object.write_json(object.revision, out);
                out.extend_from_slice(b"}\n");
            }
            Some(Form::Protobuf) => match self.messages.of(self.api, &self.row.kind, object, true) {
                Ok(message) => {
                    let (gvk, mut document) = (&self.row.kind.gvk, Vec::new());
                    protobuf::seal(&gvk.api_version(), &gvk.kind, &message, "", &mut document);
                    protobuf::watch_frame("ADDED", &document, out);
                }
                Err(status) => out.extend_from_slice(&self.error(&status)),
            },
            _ => self.object(EventType::Added, object, object.revision, out),
        }
    }

    fn delivery(&mut self, delivery: &Delivery, out: &mut Vec<u8>) {
        let (event, kind) = (&delivery.event, delivery.event_type);
        match self.shared() {
            Some(Form::Json) => out.extend_from_slice(&event.json_line(kind)),
            Some(Form::MetadataJson) => out.extend_from_slice(&event.metadata_line(kind)),
            Some(Form::Protobuf) => {
                let bytes = event.encoded(Form::Protobuf, kind, |event: &Event| {
                    let mut frame = Vec::new();
                    self.object(kind, event.object(kind), event.revision(), &mut frame);
                    frame.into()
                });
                out.extend_from_slice(&bytes);
            }
            None => self.object(kind, event.object(kind), event.revision(), out),
        }
    }

    /// One event through the codecs. A stored object that does not parse ends up as an ERROR event.
    fn object(&mut self, kind: EventType, object: &Stored, revision: Revision, out: &mut Vec<u8>) {
        let value = encode::served(&self.row, object).and_then(|mut value| {
            super::object::set_meta(&mut value, "resourceVersion", Some(revision.to_string().into()));
            self.transform(value)
        });
        match value {
            Ok(value) => out.extend_from_slice(&self.frame(kind.name(), value)),
            Err(status) => out.extend_from_slice(&self.error(&status)),
        }
    }

    fn transform(&mut self, value: Value) -> Result<Value, Status> {
        match self.accepted.transform {
            Transform::None => Ok(value),
            Transform::Metadata(version) | Transform::MetadataList(version) => {
                Ok(encode::metadata(&value, version))
            }
            Transform::Table(version) => {
                let columns = !std::mem::replace(&mut self.columns_sent, true);
                Ok(table::of_event(&self.row, version, &value, self.include, columns))
            }
        }
    }

    fn bookmark(&mut self, revision: Revision, end_of_initial: bool) -> Bytes {
        let gvk = &self.row.kind.gvk;
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if end_of_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": &*gvk.kind, "apiVersion": gvk.api_version(), "metadata": metadata});
        let object = match self.accepted.transform {
            Transform::Table(version) => table::bookmark(version, object),
            _ => self.transform(object).unwrap_or_default(),
        };
        let bytes = self.frame("BOOKMARK", object);
        self.sent.sent(bytes.len());
        bytes
    }

    fn error(&self, status: &Status) -> Bytes {
        let object: Value = serde_json::from_slice(&status.to_json()).unwrap_or_default();
        self.frame("ERROR", object)
    }

    fn frame(&self, kind: &str, object: Value) -> Bytes {
        codec::watch_frame(kind, object, self.accepted.format).unwrap_or_else(|status| {
            tracing::error!(%status, "a watch event could not be encoded");
            Bytes::new()
        })
    }
}
