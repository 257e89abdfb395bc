//! `GET /containerLogs/NAMESPACE/POD/CONTAINER`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};
use serde::Deserialize;
use tokio::sync::mpsc;

use super::{Failure, Shared};
use crate::logs::read::{self, Options};
use crate::pod;
use crate::runtime::SharedRuntime;
use crate::runtime::types::ContainerState;

/// `PodLogOptions` as they come in a query.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Wanted {
    follow: Option<String>,
    previous: Option<String>,
    timestamps: Option<String>,
    tail_lines: Option<i64>,
    since_seconds: Option<i64>,
    since_time: Option<Timestamp>,
    limit_bytes: Option<i64>,
    stream: Option<String>,
}

fn is_true(value: &Option<String>) -> bool {
    value
        .as_deref()
        .is_some_and(|value| value.is_empty() || value == "1" || value.eq_ignore_ascii_case("true"))
}

/// Answers a container's log.
pub async fn logs(
    State(server): Shared,
    Path((namespace, name, container)): Path<(String, String, String)>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Failure> {
    let manager = &server.manager;
    let found = manager
        .find(&namespace, &name, None)
        .ok_or_else(|| Failure::not_found(format!("pod {name:?} not found")))?;
    if pod::find_container(&found, &container).is_none() {
        return Err(Failure::not_found(format!("container {container:?} not found in pod {name:?}")));
    }
    let status = manager.context().statuses.get(pod::uid(&found)).or_else(|| found.status.clone());
    let status = status.unwrap_or_default();
    let previous = is_true(&wanted.previous);
    let id = container_id(&status, &container, &name, previous)?;
    let runtime = Arc::clone(&manager.context().runtime);
    let path = runtime.container_status(&id).await.map_err(|error| {
        Failure::internal(format!("failed to try resolving symlinks of container {container:?}: {error}"))
    })?;
    let options = options(&wanted, previous)?;
    let (send, receive) = mpsc::channel(4);
    let alive = move || still_running(Arc::clone(&runtime), id.clone());
    tokio::spawn(read::read(path.log_path.into(), options, alive, send));
    let stream = futures::stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|item| (item, receive))
    });
    Response::builder()
        .header(header::CONTENT_TYPE, "text/plain")
        .body(Body::from_stream(stream))
        .map_err(Failure::internal)
}

async fn still_running(runtime: SharedRuntime, id: String) -> bool {
    let status = runtime.container_status(&id).await;
    status.is_ok_and(|status| matches!(status.state(), ContainerState::Running | ContainerState::Created))
}

fn options(wanted: &Wanted, previous: bool) -> Result<Options, Failure> {
    let positive = |value: Option<i64>, name: &str| match value {
        None => Ok(None),
        Some(value) => u64::try_from(value)
            .map(Some)
            .map_err(|_| Failure(StatusCode::UNPROCESSABLE_ENTITY, format!("invalid {name}: {value}"))),
    };
    let since = match wanted.since_seconds {
        Some(seconds) => Timestamp::now().checked_sub(SignedDuration::from_secs(seconds)).ok(),
        None => wanted.since_time,
    };
    Ok(Options {
        // What has ended does not grow.
        follow: is_true(&wanted.follow) && !previous,
        tail: positive(wanted.tail_lines, "tailLines")?,
        since,
        timestamps: is_true(&wanted.timestamps),
        limit: positive(wanted.limit_bytes, "limitBytes")?,
        stderr: match wanted.stream.as_deref() {
            Some("Stdout") => Some(false),
            Some("Stderr") => Some(true),
            _ => None,
        },
    })
}

/// Id of the container whose log is meant: the one that runs or ran last, or the one before.
fn container_id(status: &PodStatus, container: &str, pod: &str, previous: bool) -> Result<String, Failure> {
    let lists =
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let found =
        lists.into_iter().flat_map(|list| list.iter().flatten()).find(|status| status.name == container);
    let waiting = |reason: &str| {
        Failure::bad_request(format!("container {container:?} in pod {pod:?} is waiting to start: {reason}"))
    };
    let found = found.ok_or_else(|| waiting("no logs available yet"))?;
    let last = found.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let id = if previous {
        let id = last.and_then(|last| last.container_id.clone());
        id.ok_or_else(|| {
            Failure::bad_request(format!(
                "previous terminated container {container:?} in pod {pod:?} not found"
            ))
        })?
    } else {
        current(found, last.and_then(|last| last.container_id.clone())).map_err(|reason| match reason {
            "ErrImagePull" => waiting("trying and failing to pull image"),
            "ImagePullBackOff" => waiting("image can't be pulled"),
            reason => waiting(reason),
        })?
    };
    Ok(id.split_once("://").map_or(id.clone(), |(_, id)| id.to_owned()))
}

fn current(status: &ContainerStatus, last: Option<String>) -> Result<String, &str> {
    let state = status.state.as_ref();
    let running = state.and_then(|state| state.running.as_ref()).and(status.container_id.clone());
    let terminated = state.and_then(|state| state.terminated.as_ref()).and_then(|t| t.container_id.clone());
    let waiting =
        state.and_then(|state| state.waiting.as_ref()).and_then(|waiting| waiting.reason.as_deref());
    running.or(terminated).or(last).ok_or(waiting.unwrap_or("no logs available yet"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_container_is_meant() {
        let check = |state: &str, previous: bool, expected: Result<&str, &str>| {
            let text = format!(
                "{{containerStatuses: [{{name: a, image: '', imageID: '', ready: false, restartCount: 0, {state}}}]}}"
            );
            let status: PodStatus = serde_yaml_ng::from_str(&text).expect("status");
            let got = container_id(&status, "a", "p", previous).map_err(|failure| failure.1);
            assert_eq!(got, expected.map(str::to_owned).map_err(str::to_owned), "{state}");
        };
        let running = "containerID: c://1, state: {running: {}}, lastState: {terminated: {exitCode: 1, containerID: c://0}}";
        check(running, false, Ok("1"));
        check(running, true, Ok("0"));
        let looping = "containerID: c://1, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 1, containerID: c://1}}";
        check(looping, false, Ok("1"));
        check(looping, true, Ok("1"));
        let waiting = "state: {waiting: {reason: ContainerCreating}}";
        check(waiting, false, Err("container \"a\" in pod \"p\" is waiting to start: ContainerCreating"));
        check(waiting, true, Err("previous terminated container \"a\" in pod \"p\" not found"));
        check(
            "state: {waiting: {reason: ErrImagePull}}",
            false,
            Err("container \"a\" in pod \"p\" is waiting to start: trying and failing to pull image"),
        );
    }
}
