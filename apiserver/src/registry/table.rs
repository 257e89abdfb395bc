//! Server-side tables: what `kubectl get` shows.
use super::Row;
use super::call::Call;
use super::encode;
use knarr_api::Value;
use knarr_api::columns::{self, IncludeObject};
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use serde_json::json;

/// `includeObject` of the query: what each row carries of its object.
///
/// # Errors
/// 400 for an unknown value.
pub(super) fn include(call: &Call<'_>) -> Result<IncludeObject, Status> {
    match call.query.text("includeObject") {
        "" | "Metadata" => Ok(IncludeObject::Metadata),
        "Object" => Ok(IncludeObject::Object),
        "None" => Ok(IncludeObject::None),
        other => Err(Status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
             'Object', 'None', or empty"
        ))),
    }
}

/// The table of one object.
pub(super) fn of_one(call: &Call<'_>, version: &str, value: &Value) -> Result<Value, Status> {
    Ok(of_event(call.row, version, value, include(call)?, true))
}

/// The table of an object in a watch event; only the first of a stream names the columns.
pub(super) fn of_event(
    row: &Row,
    version: &str,
    value: &Value,
    include: IncludeObject,
    columns: bool,
) -> Value {
    let meta = json!({"resourceVersion": super::object::resource_version(value)});
    build(row, version, std::slice::from_ref(value), include, meta, columns)
}

/// The table of a list.
pub(super) fn of_list(
    call: &Call<'_>,
    version: &str,
    values: &[Value],
    meta: Value,
) -> Result<Value, Status> {
    Ok(build(call.row, version, values, include(call)?, meta, true))
}

/// Rows without anything around them that a list's table would say once.
pub(super) fn of_rows(row: &Row, version: &str, values: &[Value], include: IncludeObject) -> Value {
    build(row, version, values, include, json!({}), false)
}

/// The table of a scale.
pub(super) fn of_scale(version: &str, scale: &Value, include: IncludeObject) -> Value {
    let (columns, version) = (columns::of_kind("autoscaling", "Scale"), group_version(version));
    let meta = json!({"resourceVersion": super::object::resource_version(scale)});
    let row = columns.row(scale, include, &version, Timestamp::now());
    columns::table(&version, meta, Some(columns), vec![row])
}

/// The table of a bookmark: its one row has no cells; the object tells the revision.
pub(super) fn bookmark(version: &str, object: Value) -> Value {
    let meta = json!({"resourceVersion": super::object::resource_version(&object)});
    columns::table(&group_version(version), meta, None, vec![json!({"cells": [], "object": object})])
}

fn group_version(version: &str) -> String {
    format!("meta.k8s.io/{version}")
}

fn build(
    row: &Row,
    version: &str,
    values: &[Value],
    include: IncludeObject,
    meta: Value,
    with_columns: bool,
) -> Value {
    let (now, version) = (Timestamp::now(), group_version(version));
    // All versions of a built-in resource show the same cells, which are written for the stored one.
    let columns = row.custom().map_or_else(|| columns::of(&row.stored), |custom| &custom.columns);
    let show = |value: &Value| {
        if row.conversion.is_none() || row.custom().is_some() {
            return columns.row(value, include, &version, now);
        }
        let mut shown = columns.row(&encode::store(row, value.clone()), include, &version, now);
        if include == IncludeObject::Object {
            shown["object"] = value.clone();
        }
        shown
    };
    let rows = values.iter().map(show).collect();
    columns::table(&version, meta, with_columns.then_some(columns), rows)
}
