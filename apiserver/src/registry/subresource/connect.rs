//! Streams and proxies: admission sees their options as an object, then they are handed on.
use super::super::options::Query;
use super::super::{Registry, Row, object};
use crate::admission::{Attributes, Operation};
use crate::outbound::internal;
use crate::registry::Siblings;
use crate::request_info::RequestInfo;
use crate::server::{Request, RequestContext, Response, body};
use knarr_api::kind::GroupVersionKind;
use knarr_api::status::Status;
use knarr_api::{Value, defaults};
use serde_json::json;
use std::sync::Arc;

impl Registry {
    /// Hands a stream or proxy request on, once admission lets it pass and its object is known to exist.
    pub(in super::super) async fn connect(
        &self,
        context: RequestContext,
        request: Request,
        row: &Arc<Row>,
        namespace: &str,
        name: &str,
    ) -> Response {
        let headers = request.headers().clone();
        if let Err(status) = self.admit_connection(&context, row, namespace, name).await {
            return body::status(&status, &headers);
        }
        // A Service or Pod may be named `scheme:name:port` by proxies.
        let object_name = match context.info.subresource() {
            "proxy" => crate::streaming::split_name(name).1.to_owned(),
            _ => name.to_owned(),
        };
        let Some(stored) = self.store.get(&row.key(namespace, &object_name)) else {
            return body::status(&row.not_found(&object_name), &headers);
        };
        let value = match stored.value() {
            Ok(value) => value,
            Err(error) => return body::status(&Status::internal(error), &headers),
        };
        self.hooks.connect(context, request, row, value).await
    }

    async fn admit_connection(
        &self,
        context: &RequestContext,
        row: &Row,
        namespace: &str,
        name: &str,
    ) -> Result<(), Status> {
        let sub = context.info.subresource();
        // Reading a log is a read.
        if sub == "log" {
            return Ok(());
        }
        let gvk = row.kind.subresource(sub).map_or(&row.kind.gvk, |sub| &sub.gvk);
        let options = self.connection_options(&context.info, gvk);
        // A Node's name is no namespace, nor has it one.
        let mut attributes = Attributes {
            operation: Operation::Connect,
            kind: &row.kind,
            subresource: sub,
            namespace,
            name,
            user: &context.user,
            is_own: context.is_own,
            dry_run: false,
            object: Some(options.clone()),
            old: None,
            options: Value::Null,
            siblings: Some(Siblings { row, rows: &self.rows, until: None }),
            reinvocation: Default::default(),
            notes: context.notes.clone(),
        };
        self.admission.admit(&mut attributes).await?;
        if attributes.object.as_ref() != Some(&options) {
            return Err(internal(
                "the options of a connection cannot be changed by admission on this server",
            ));
        }
        self.admission.validate(&attributes).await
    }

    /// `PodExecOptions` and the like, out of the query.
    fn connection_options(&self, info: &RequestInfo, gvk: &GroupVersionKind) -> Value {
        let query = Query::parse(info.uri().query().unwrap_or_default());
        let mut options = json!({"kind": &*gvk.kind, "apiVersion": gvk.api_version()});
        for name in ["stdin", "stdout", "stderr", "tty"] {
            if let Some(on) = query.switch(name) {
                options[name] = on.into();
            }
        }
        if let Some(container) = query.get("container") {
            options["container"] = container.into();
        }
        let command: Vec<&str> = query.all("command").collect();
        if !command.is_empty() {
            options["command"] = json!(command);
        }
        let ports = query.all("ports").flat_map(|list| list.split(','));
        let ports: Vec<i32> = ports.filter_map(|port| port.parse().ok()).collect();
        if !ports.is_empty() {
            options["ports"] = json!(ports);
        }
        if info.subresource() == "proxy" {
            let rest = crate::streaming::proxied_path(info);
            options["path"] = rest.into();
        }
        match self.api.type_of(&gvk.group, &gvk.version, &gvk.kind) {
            Some(ty) => {
                // Members that the kind does not have are dropped; nothing here can be of a wrong type.
                let _ = knarr_api::json::normalize(&self.api.schema, ty, &mut options, &mut Vec::new());
                defaults::apply(self.api, ty, &mut options);
            }
            None => drop(object::child_mut(&mut options, "metadata")),
        }
        options
    }
}
