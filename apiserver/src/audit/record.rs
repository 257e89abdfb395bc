//! What is recorded of one request, from its arrival to the end of its answer.
use super::Audit;
use super::event::{AuthenticationMetadata, Event, Identity, Outcome};
use super::policy::{Decision, Level, Stage};
use crate::admission::Notes;
use crate::server::{Body, Response};
use crate::user::User;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::header;
use http_body_util::BodyExt;
use knarr_api::time::Timestamp;
use knarr_api::{Value, yaml};
use parking_lot::Mutex;
use std::sync::Arc;

/// The media type of the binary form.
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// One recorded request. When the last clone goes and nothing was said of its end, it ended with the connection.
pub struct Record {
    audit: Arc<Audit>,
    decision: Decision,
    /// Annotations of authorization and admission.
    notes: Notes,
    state: Mutex<State>,
    is_long: bool,
}

struct State {
    event: Event,
    is_over: bool,
}

impl Record {
    /// A request of which `event` is known at its arrival.
    pub(super) fn new(audit: Arc<Audit>, decision: Decision, event: Event, is_long: bool) -> Self {
        let state = Mutex::new(State { event, is_over: false });
        Self { audit, decision, notes: Notes::default(), state, is_long }
    }

    /// Where authorization and admission note what belongs to the request.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Adds an annotation.
    pub fn annotate(&self, key: &str, value: impl Into<String>) {
        self.notes.annotate(key, value);
    }

    /// Whom the user acts as, and the verb that constrains it.
    pub fn impersonated(&self, user: &User, constraint: Option<&'static str>) {
        let event = &mut self.state.lock().event;
        event.impersonated_user = Some(Identity::from(user));
        event.authentication_metadata =
            constraint.map(|impersonation_constraint| AuthenticationMetadata { impersonation_constraint });
    }

    /// The decoded object that was sent.
    pub fn requested(&self, object: &Value) {
        let mut state = self.state.lock();
        if let Some(reference) = &mut state.event.object_ref {
            reference.complete(object);
        }
        if self.decision.level >= Level::Request {
            let mut object = object.clone();
            if self.decision.omit_managed_fields {
                strip(&mut object);
            }
            state.event.request_object = Some(Arc::new(object));
        }
    }

    /// The patch that was sent.
    pub fn patched(&self, body: &[u8]) {
        if self.decision.level < Level::Request {
            return;
        }
        let read = || serde_json::from_slice(body).ok().or_else(|| of_yaml(body));
        self.state.lock().event.request_object = read().map(Arc::new);
    }

    /// Records that the request came. False: it must not go on.
    pub(super) async fn received(&self) -> bool {
        self.emit(Stage::RequestReceived).await
    }

    /// Authentication failed, which ends the request. `message` says how it was tried.
    pub async fn refused(self: &Arc<Self>, response: Response, message: String) -> Response {
        let outcome = self.outcome(&response).unwrap_or(Outcome { message, ..Outcome::default() });
        self.settle(outcome, response.status().as_u16());
        self.state.lock().is_over = true;
        self.emit(Stage::ResponseStarted).await;
        response
    }

    /// The server failed over the request.
    pub async fn panicked(&self, text: &str) {
        let outcome = Outcome {
            status: "Failure".to_owned(),
            reason: "InternalError".to_owned(),
            message: format!("APIServer panic'd: {text}"),
            ..Outcome::default()
        };
        self.settle(outcome, 500);
        self.state.lock().is_over = true;
        self.emit(Stage::Panic).await;
    }

    /// Records the answer, which is given back. An answer that takes long is recorded now and at its end.
    pub async fn answered(self: &Arc<Self>, response: Response) -> Response {
        if self.state.lock().is_over {
            return response;
        }
        let code = response.status().as_u16();
        let outcome = self.outcome(&response).unwrap_or_default();
        if self.is_long {
            self.settle(outcome, code);
            self.emit(Stage::ResponseStarted).await;
            let goes_on = code == 101 || matches!(response.body(), Body::Stream(_));
            if !goes_on && !std::mem::replace(&mut self.state.lock().is_over, true) {
                self.emit(Stage::ResponseComplete).await;
            }
            return response.map(|body| self.until_end_of(body));
        }
        let response = if self.decision.level >= Level::RequestResponse {
            self.keep_object(response).await
        } else {
            response
        };
        self.settle(outcome, code);
        if !std::mem::replace(&mut self.state.lock().is_over, true) {
            self.emit(Stage::ResponseComplete).await;
        }
        response
    }

    /// A body that keeps the record open while it is read.
    pub fn until_end_of(self: &Arc<Self>, body: Body) -> Body {
        let held = self.clone();
        match body {
            Body::Stream(stream) => Body::stream(stream.inspect(move |_| {
                let _held = &held;
            })),
            other => other,
        }
    }

    fn settle(&self, outcome: Outcome, code: u16) {
        self.state.lock().event.response_status = Some(Outcome { code, ..outcome });
    }

    /// What a `Status` says, where the answer is one.
    fn outcome(&self, response: &Response) -> Option<Outcome> {
        let Body::Full(bytes) = response.body() else { return None };
        let is_json =
            bytes.starts_with(br#"{"kind":"Status""#) || bytes.starts_with(br#"{"apiVersion":"v1","#);
        let failed = response.status().as_u16() >= 400;
        let may_be = is_json || failed || bytes.len() < 4096 && media(response) == PROTOBUF;
        let object = may_be.then(|| decode(bytes, media(response))).flatten()?;
        (object["kind"] == "Status" && object["apiVersion"] == "v1").then(|| Outcome::of_status(&object))
    }

    /// Reads the whole answer, to record its object.
    async fn keep_object(&self, response: Response) -> Response {
        if self.state.lock().event.object_ref.is_none() {
            return response;
        }
        let (parts, body) = response.into_parts();
        let bytes = match whole(body).await {
            Ok(bytes) => bytes,
            // The client sees the rest of a broken answer.
            Err(body) => return Response::from_parts(parts, body),
        };
        let response = Response::from_parts(parts, Body::Full(bytes.clone()));
        if let Some(mut object) = decode(&bytes, media(&response)) {
            if self.decision.omit_managed_fields {
                strip(&mut object);
            }
            self.state.lock().event.response_object = Some(Arc::new(object));
        }
        response
    }

    async fn emit(&self, stage: Stage) -> bool {
        match self.event(stage) {
            Some(event) => self.audit.process(&event).await,
            None => true,
        }
    }

    /// The event of a stage; none where the policy wants none.
    fn event(&self, stage: Stage) -> Option<Event> {
        if self.decision.omit_stages.contains(&stage) {
            return None;
        }
        let mut event = self.state.lock().event.clone();
        event.stage = stage;
        if stage != Stage::RequestReceived {
            event.stage_timestamp = Timestamp::now();
        }
        event.annotations = self.notes.annotations();
        Some(event)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if state.is_over {
            return;
        }
        if state.event.response_status.is_none() {
            let outcome = Outcome {
                status: "Success".to_owned(),
                message: "Connection closed early".to_owned(),
                code: 200,
                ..Outcome::default()
            };
            state.event.response_status = Some(outcome);
        }
        let Some(event) = self.event(Stage::ResponseComplete) else { return };
        let audit = self.audit.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { audit.process(&event).await });
        }
    }
}

fn media(response: &Response) -> &str {
    let value = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default()
}

/// A document in any of the forms that answers have.
fn decode(bytes: &[u8], media: &str) -> Option<Value> {
    match media {
        "application/json" => serde_json::from_slice(bytes).ok(),
        "application/yaml" => of_yaml(bytes),
        PROTOBUF => {
            let decoded = knarr_api::protobuf::decode(knarr_api::table::builtin(), bytes).ok()?;
            Some(decoded.value)
        }
        _ => None,
    }
}

fn of_yaml(bytes: &[u8]) -> Option<Value> {
    yaml::parse(std::str::from_utf8(bytes).ok()?, &mut Vec::new()).ok()
}

/// All of a body, or what can still be read of one that broke.
async fn whole(body: Body) -> Result<Bytes, Body> {
    match body {
        Body::Empty => Ok(Bytes::new()),
        Body::Full(bytes) => Ok(bytes),
        chunks @ Body::Chunks(_) => Ok(chunks.collect().await.map(|all| all.to_bytes()).unwrap_or_default()),
        Body::Stream(mut stream) => {
            let mut all = BytesMut::new();
            while let Some(piece) = stream.next().await {
                match piece {
                    Ok(piece) => all.extend_from_slice(&piece),
                    Err(error) => {
                        let begun = futures::stream::iter([Ok(all.freeze()), Err(error)]);
                        return Err(Body::stream(begun.chain(stream)));
                    }
                }
            }
            Ok(all.freeze())
        }
    }
}

/// Takes ownership out of an object, a list's items and a table's rows.
fn strip(object: &mut Value) {
    let of = |object: &mut Value| {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    };
    of(object);
    let parts = |object: &mut Value, list: &str| {
        object.get_mut(list).and_then(Value::as_array_mut).map(std::mem::take)
    };
    if let Some(mut items) = parts(object, "items") {
        items.iter_mut().for_each(of);
        object["items"] = items.into();
    }
    if let Some(mut rows) = parts(object, "rows") {
        rows.iter_mut().filter_map(|row| row.get_mut("object")).for_each(of);
        object["rows"] = rows.into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ownership_is_left_out() {
        let check = |mut object: Value, expected: Value| {
            strip(&mut object);
            assert_eq!(object, expected);
        };
        let owned = || json!({"metadata": {"name": "a", "managedFields": [1]}});
        let bare = || json!({"metadata": {"name": "a"}});
        check(owned(), bare());
        check(json!({"items": [owned()]}), json!({"items": [bare()]}));
        check(json!({"rows": [{"object": owned()}]}), json!({"rows": [{"object": bare()}]}));
        check(json!([1]), json!([1]));
    }
}
