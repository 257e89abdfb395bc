//! Server-side tables: what `kubectl get` shows.
use super::Row;
use super::call::Call;
use super::encode;
use knarr_api::Value;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use serde_json::json;

/// `includeObject`: what each row carries of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Include {
    /// `PartialObjectMetadata`.
    Metadata,
    /// The whole object.
    Object,
    /// Nothing.
    None,
}

impl Include {
    /// From the query; unknown values mean metadata.
    pub(super) fn of(call: &Call<'_>) -> Self {
        match call.query.text("includeObject") {
            "Object" => Self::Object,
            "None" => Self::None,
            _ => Self::Metadata,
        }
    }
}

/// The table of one object.
pub(super) fn of_one(call: &Call<'_>, version: &str, value: &Value) -> Result<Value, Status> {
    of_event(call.row, version, value, Include::of(call), true)
}

/// The table of an object in a watch event; only the first of a stream names the columns.
pub(super) fn of_event(
    row: &Row,
    version: &str,
    value: &Value,
    include: Include,
    columns: bool,
) -> Result<Value, Status> {
    let meta = json!({"resourceVersion": super::object::resource_version(value)});
    let mut table = build(row, version, std::slice::from_ref(value), include, meta);
    if !columns {
        table["columnDefinitions"] = Value::Array(Vec::new());
    }
    Ok(table)
}

/// The table of a list.
pub(super) fn of_list(
    call: &Call<'_>,
    version: &str,
    values: &[Value],
    meta: Value,
) -> Result<Value, Status> {
    Ok(build(call.row, version, values, Include::of(call), meta))
}

/// The table of a bookmark: no rows; its object tells the revision.
pub(super) fn bookmark(version: &str, object: Value) -> Value {
    json!({
        "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": {"resourceVersion": super::object::resource_version(&object)},
        "columnDefinitions": [],
        "rows": [{"cells": [], "object": object}],
    })
}

fn build(row: &Row, version: &str, values: &[Value], include: Include, meta: Value) -> Value {
    let now = Timestamp::now();
    let rows: Vec<Value> = values
        .iter()
        .map(|value| {
            let mut cells = json!({"cells": [super::object::name(value), super::object::meta_text(value, "creationTimestamp")]});
            match include {
                Include::None => cells["object"] = Value::Null,
                Include::Object => cells["object"] = value.clone(),
                Include::Metadata => cells["object"] = encode::metadata(value, version),
            }
            cells
        })
        .collect();
    let _ = (row, now);
    json!({
        "kind": "Table", "apiVersion": format!("meta.k8s.io/{version}"), "metadata": meta,
        "columnDefinitions": [
            {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0},
            {"name": "Created At", "type": "date", "format": "", "description": "", "priority": 0},
        ],
        "rows": rows,
    })
}
