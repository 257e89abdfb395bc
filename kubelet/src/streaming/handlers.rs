//! The handlers of `/exec`, `/attach`, `/portForward` and `/run`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use k8s_openapi::api::core::v1::Pod;

use super::channels::{self, Streams, Wanted};
use super::websocket::{self, Codec};
use super::{join, ports, tunnel};
use crate::observed::Observed;
use crate::pod;
use crate::runtime::types::{AttachRequest, ExecRequest};
use crate::runtime::{RuntimeError, SharedRuntime};
use crate::server::{Failure, Server};

/// The protocol that is spoken with the runtime about commands.
const COMMAND_PROTOCOL: &str = "v4.channel.k8s.io";
/// The one about ports.
const PORT_PROTOCOL: &str = "portforward.k8s.io";
/// The tunnel's name among WebSocket protocols.
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// What WebSocket clients may speak about commands.
const COMMAND_PROTOCOLS: [&str; 5] = [
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
];
/// What they may speak about ports.
const PORT_PROTOCOLS: [&str; 3] = [TUNNEL, "v4.channel.k8s.io", "v4.base64.channel.k8s.io"];

type Names = Path<HashMap<String, String>>;
type Pairs = Query<Vec<(String, String)>>;

fn find(server: &Server, names: &HashMap<String, String>) -> Result<Arc<Pod>, Failure> {
    let get = |key: &str| names.get(key).map(String::as_str).unwrap_or_default();
    let uid = names.get("uid").map(String::as_str);
    let (namespace, name) = (get("namespace"), get("pod"));
    server.manager.find(namespace, name, uid).ok_or_else(|| Failure::not_found("pod does not exist"))
}

/// Id of the running container.
async fn container(runtime: &SharedRuntime, pod: &Pod, name: &str) -> Result<String, Failure> {
    let observed = Observed::of(runtime.as_ref(), pod::uid(pod)).await.map_err(|error| of_runtime(&error))?;
    match observed.latest(name) {
        Some(container) if container.is_running() => Ok(container.id.clone()),
        _ => Err(Failure::internal(format!("container not found ({name:?})"))),
    }
}

fn of_runtime(error: &RuntimeError) -> Failure {
    let status = match error {
        RuntimeError::NotFound(_) => StatusCode::NOT_FOUND,
        RuntimeError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Failure(status, error.to_string())
}

fn flags(pairs: &[(String, String)]) -> Wanted {
    let set = |name: &str| pairs.iter().any(|(key, value)| key == name && (value == "1" || value == "true"));
    Wanted { stdin: set("input"), stdout: set("output"), stderr: set("error"), tty: set("tty") }
}

/// Runs a command in a container.
pub async fn exec(
    State(server): State<Arc<Server>>,
    Path(names): Names,
    Query(pairs): Pairs,
    request: Request,
) -> Result<Response, Failure> {
    let pod = find(&server, &names)?;
    let wanted = checked(&pairs)?;
    let command: Vec<String> =
        pairs.iter().filter(|(key, _)| key == "command").map(|(_, value)| value.clone()).collect();
    let runtime = &server.manager.context().runtime;
    let id = container(runtime, &pod, names.get("container").map(String::as_str).unwrap_or_default()).await?;
    let ask = ExecRequest {
        container_id: id,
        cmd: command,
        tty: wanted.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr && !wanted.tty,
    };
    let url = runtime.exec(ask).await.map_err(|error| of_runtime(&error))?;
    stream(request, &url, wanted).await
}

/// Attaches to the main process of a container.
pub async fn attach(
    State(server): State<Arc<Server>>,
    Path(names): Names,
    Query(pairs): Pairs,
    request: Request,
) -> Result<Response, Failure> {
    let pod = find(&server, &names)?;
    let name = names.get("container").map(String::as_str).unwrap_or_default();
    let mut wanted = checked(&pairs)?;
    // Whether there is a terminal was decided when the container was made.
    wanted.tty = pod::find_container(&pod, name).and_then(|container| container.tty).unwrap_or_default();
    let runtime = &server.manager.context().runtime;
    let ask = AttachRequest {
        container_id: container(runtime, &pod, name).await?,
        stdin: wanted.stdin,
        tty: wanted.tty,
        stdout: wanted.stdout,
        stderr: wanted.stderr && !wanted.tty,
    };
    let url = runtime.attach(ask).await.map_err(|error| of_runtime(&error))?;
    stream(request, &url, wanted).await
}

fn checked(pairs: &[(String, String)]) -> Result<Wanted, Failure> {
    let wanted = flags(pairs);
    if !wanted.stdin && !wanted.stdout && !wanted.stderr {
        return Err(Failure::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(wanted)
}

async fn stream(request: Request, url: &str, wanted: Wanted) -> Result<Response, Failure> {
    if !websocket::wanted(request.headers()) {
        return join::join(request, url).await;
    }
    let protocol = websocket::negotiate(request.headers(), &COMMAND_PROTOCOLS)?;
    let connection = join::connect(url, COMMAND_PROTOCOL).await?;
    let streams = Streams::open(connection, wanted).await.map_err(Failure::internal)?;
    let codec = Codec::of(protocol);
    websocket::accept(request, protocol, move |socket| channels::run(socket, codec, streams, wanted))
}

/// Forwards ports of a pod.
pub async fn port_forward(
    State(server): State<Arc<Server>>,
    Path(names): Names,
    Query(pairs): Pairs,
    request: Request,
) -> Result<Response, Failure> {
    let pod = find(&server, &names)?;
    let runtime = &server.manager.context().runtime;
    let observed =
        Observed::of(runtime.as_ref(), pod::uid(&pod)).await.map_err(|error| of_runtime(&error))?;
    let sandbox = observed
        .ready_sandbox()
        .ok_or_else(|| Failure::internal(format!("failed to find sandbox for pod {}", pod::display(&pod))))?;
    let asked: Vec<u16> = pairs
        .iter()
        .filter(|(key, _)| key == "port" || key == "ports")
        .flat_map(|(_, value)| value.split(','))
        .map(|port| port.parse().map_err(|_| Failure::bad_request(format!("invalid port {port:?}"))))
        .collect::<Result<_, _>>()?;
    let numbers = asked.iter().map(|port| i32::from(*port)).collect();
    let url = runtime.port_forward(&sandbox.id, numbers).await.map_err(|error| of_runtime(&error))?;
    if !websocket::wanted(request.headers()) {
        return join::join(request, &url).await;
    }
    let protocol = websocket::negotiate(request.headers(), &PORT_PROTOCOLS)?;
    if protocol == TUNNEL {
        let upstream = join::raw(&url, PORT_PROTOCOL).await?;
        return websocket::accept(request, protocol, move |socket| tunnel::run(socket, upstream));
    }
    if asked.is_empty() {
        return Err(Failure::bad_request("query parameter \"port\" is required"));
    }
    let connection = join::connect(&url, PORT_PROTOCOL).await?;
    let codec = Codec::of(protocol);
    websocket::accept(request, protocol, move |socket| ports::run(socket, codec, connection, asked))
}

/// Runs a command and answers its output.
pub async fn run(
    State(server): State<Arc<Server>>,
    Path(names): Names,
    Query(pairs): Pairs,
) -> Result<Vec<u8>, Failure> {
    let pod = find(&server, &names)?;
    let runtime = &server.manager.context().runtime;
    let id = container(runtime, &pod, names.get("container").map(String::as_str).unwrap_or_default()).await?;
    let command = pairs.iter().filter(|(key, _)| key == "cmd").flat_map(|(_, value)| value.split(' '));
    let command = command.map(str::to_owned).collect();
    let answer = runtime.exec_sync(&id, command, Duration::ZERO).await.map_err(|error| of_runtime(&error))?;
    let mut output = answer.stdout;
    output.extend(answer.stderr);
    Ok(output)
}
