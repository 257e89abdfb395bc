//! `POST /checkpoint/NAMESPACE/POD/CONTAINER`: a container's state as an archive on the node, where the runtime can do
//! that.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Failure, Shared};
use crate::observed::Observed;
use crate::pod;
use crate::runtime::RuntimeError;

/// What the query may say.
#[derive(Debug, Deserialize)]
pub struct Wanted {
    /// Seconds that it may take; zero: the runtime's own limit.
    #[serde(default)]
    timeout: u64,
}

/// Makes a checkpoint.
pub async fn checkpoint(
    State(server): Shared,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Failure> {
    let context = server.manager.context();
    let found = server.manager.find(&namespace, &name, None);
    let pod = found.ok_or_else(|| Failure::not_found("pod does not exist"))?;
    if pod::find_container(&pod, &container).is_none() {
        return Err(Failure::not_found(format!("container {container} does not exist")));
    }
    let failed = |error: String| {
        Failure::internal(format!("checkpointing of {namespace}/{name}/{container} failed ({error})"))
    };
    let observed = Observed::of(context.runtime.as_ref(), pod::uid(&pod)).await;
    let observed = observed.map_err(|error| failed(error.to_string()))?;
    let running = observed.latest(&container).filter(|latest| latest.is_running());
    let running = running.ok_or_else(|| failed(format!("container {container} not running")))?;
    let folder = context.facts.root_dir.join("checkpoints");
    std::fs::create_dir_all(&folder).map_err(|error| failed(error.to_string()))?;
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let path = folder.join(format!("checkpoint-{name}_{namespace}-{container}-{now}.tar"));
    let path = path.display().to_string();
    match context.runtime.checkpoint_container(&running.id, &path, Duration::from_secs(wanted.timeout)).await
    {
        Ok(()) => Ok(Json(json!({ "items": [path] }))),
        Err(RuntimeError::Unimplemented(text)) => Err(Failure(
            StatusCode::NOT_FOUND,
            format!("checkpointing of {namespace}/{name}/{container} failed ({text})"),
        )),
        Err(error) => Err(failed(error.to_string())),
    }
}
