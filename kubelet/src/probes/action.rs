//! Asking a container once: a command, an HTTP request, a TCP connection or gRPC's health protocol.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::http;
use crate::container::expand::expand;
use crate::plan::duration_text;
use crate::runtime::{RuntimeError, SharedRuntime};

/// Answers are cut to this many bytes in events.
const MAX_TEXT: usize = 10 << 10;

/// Who is asked.
pub struct Target {
    /// The runtime, for commands.
    pub runtime: SharedRuntime,
    /// The container's id in it.
    pub container_id: String,
    /// The container, for the names of its ports.
    pub container: Container,
    /// Address of the pod.
    pub ip: String,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Well.
    Success,
    /// Well, but strange.
    Warning(String),
    /// Not well, and why.
    Failure(String),
    /// The question could not be put; counts as no answer.
    Error(String),
}

impl Outcome {
    /// Whether it counts as a success; `None`: not at all.
    pub fn is_success(&self) -> Option<bool> {
        match self {
            Outcome::Success | Outcome::Warning(_) => Some(true),
            Outcome::Failure(_) => Some(false),
            Outcome::Error(_) => None,
        }
    }
}

/// Asks once, waiting at most `timeout`.
pub async fn run(target: &Target, probe: &Probe, timeout: Duration) -> Outcome {
    if let Some(exec) = &probe.exec {
        return command(target, exec.command.clone().unwrap_or_default(), timeout).await;
    }
    if let Some(get) = &probe.http_get {
        let port = match port(&target.container, &get.port) {
            Ok(port) => port,
            Err(text) => return Outcome::Error(text),
        };
        return http::probe(get, &target.ip, port, timeout).await;
    }
    if let Some(socket) = &probe.tcp_socket {
        let port = match port(&target.container, &socket.port) {
            Ok(port) => port,
            Err(text) => return Outcome::Error(text),
        };
        let host = socket.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(&target.ip);
        return tcp(host, port, timeout).await;
    }
    if let Some(grpc) = &probe.grpc {
        let Ok(port) = u16::try_from(grpc.port) else { return Outcome::Error("invalid port".to_owned()) };
        return health(&target.ip, port, grpc.service.as_deref().unwrap_or_default(), timeout).await;
    }
    Outcome::Error("missing probe handler".to_owned())
}

async fn command(target: &Target, command: Vec<String>, timeout: Duration) -> Outcome {
    let value = |name: &str| {
        let vars = target.container.env.iter().flatten();
        vars.into_iter().find(|var| var.name == name).and_then(|var| var.value.as_deref())
    };
    let command: Vec<String> = command.iter().map(|word| expand(word, value)).collect();
    let shown = command.join(" ");
    match target.runtime.exec_sync(&target.container_id, command, timeout).await {
        Ok(answer) if answer.exit_code == 0 => Outcome::Success,
        Ok(answer) => {
            let mut output = answer.stdout;
            output.extend(answer.stderr);
            output.truncate(MAX_TEXT);
            Outcome::Failure(String::from_utf8_lossy(&output).into_owned())
        }
        Err(RuntimeError::DeadlineExceeded(_)) => {
            Outcome::Failure(format!("command timed out: {shown:?} timed out after {}s", timeout.as_secs()))
        }
        Err(error) => Outcome::Error(error.to_string()),
    }
}

/// Number of a port given by number or by name.
pub fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container.ports.iter().flatten().find(|port| port.name.as_ref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name.parse().map_err(|_| format!("couldn't find port: {name} in container"))?,
            }
        }
    };
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| format!("invalid port number: {number}"))
}

async fn tcp(host: &str, port: u16, timeout: Duration) -> Outcome {
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Outcome::Success,
        Ok(Err(error)) => Outcome::Failure(format!("dial tcp {host}:{port}: {}", go_text(&error))),
        Err(_) => Outcome::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

/// An error of a connection in Go's words, which people search for.
pub fn go_text(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        std::io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        _ => error.to_string(),
    }
}

#[derive(Clone, PartialEq, ::prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, ::prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: i32 = 1;

/// Pause before a server that refused a connection is tried again, as the original's library has it.
const RECONNECT: Duration = Duration::from_secs(1);

async fn health(ip: &str, port: u16, service: &str, timeout: Duration) -> Outcome {
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
    let address = format!("{host}:{port}");
    let shown = duration_text(timeout);
    let endpoint = match tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .and_then(|endpoint| endpoint.user_agent(http::PROBE))
    {
        Ok(endpoint) => endpoint,
        Err(error) => return Outcome::Error(error.to_string()),
    };
    let deadline = tokio::time::Instant::now() + timeout;
    let connect = async {
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(_) => tokio::time::sleep(RECONNECT).await, // a server that has come up tells nobody
            }
        }
    };
    let Ok(channel) = tokio::time::timeout_at(deadline, connect).await else {
        let text = format!(
            "timeout: failed to connect service {address:?} within {shown}: context deadline exceeded"
        );
        return Outcome::Failure(text);
    };
    match tokio::time::timeout_at(deadline, ask(channel, service)).await {
        Ok(Ok(SERVING)) => Outcome::Success,
        Ok(Ok(status)) => {
            let names = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
            let name = usize::try_from(status).ok().and_then(|status| names.get(status));
            let name = name.map_or_else(|| status.to_string(), |name| (*name).to_owned());
            Outcome::Failure(format!("service unhealthy (responded with {name:?})"))
        }
        Ok(Err(status)) => Outcome::Failure(rpc_text(&status, &shown)),
        Err(_) => Outcome::Failure(rpc_text(&tonic::Status::deadline_exceeded(""), &shown)),
    }
}

/// Asks for the health of a service; the status as a number.
async fn ask(channel: tonic::transport::Channel, service: &str) -> Result<i32, tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| tonic::Status::unavailable(error.to_string()))?;
    let codec: tonic_prost::ProstCodec<HealthCheckRequest, HealthCheckResponse> = Default::default();
    let path = ::http::uri::PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let request = tonic::Request::new(HealthCheckRequest { service: service.to_owned() });
    Ok(grpc.unary(request, path, codec).await?.get_ref().status)
}

/// Why a call failed, in the original's words.
fn rpc_text(status: &tonic::Status, timeout: &str) -> String {
    let text = status.message();
    match status.code() {
        tonic::Code::Unimplemented => format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {text}"
        ),
        tonic::Code::DeadlineExceeded => format!("timeout: health rpc did not complete within {timeout}"),
        tonic::Code::Cancelled => {
            format!("error: health rpc probe failed: rpc error: code = Canceled desc = {text}")
        }
        code => format!("error: health rpc probe failed: rpc error: code = {code:?} desc = {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_calls_are_told_in_the_originals_words() {
        use tonic::Status;
        let check = |status: Status, expected: &str| assert_eq!(rpc_text(&status, "1s"), expected);
        check(
            Status::unimplemented("unknown service"),
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service",
        );
        check(Status::deadline_exceeded("x"), "timeout: health rpc did not complete within 1s");
        check(
            Status::not_found("unknown service"),
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
        );
        check(Status::cancelled("x"), "error: health rpc probe failed: rpc error: code = Canceled desc = x");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_awaited() {
        let port = {
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("listener");
            listener.local_addr().expect("address").port()
        };
        let text = format!(
            "timeout: failed to connect service \"127.0.0.1:{port}\" within 1s: context deadline exceeded"
        );
        assert_eq!(health("127.0.0.1", port, "", Duration::from_secs(1)).await, Outcome::Failure(text));
    }

    #[test]
    fn ports() {
        let container: Container =
            serde_yaml_ng::from_str("{name: a, ports: [{name: web, containerPort: 8080}]}")
                .expect("container");
        let check = |text: &str, expected: Option<u16>| {
            let wanted: IntOrString = serde_yaml_ng::from_str(text).expect("port");
            assert_eq!(port(&container, &wanted).ok(), expected, "{text}");
        };
        check("80", Some(80));
        check("web", Some(8080));
        check("'81'", Some(81));
        check("nope", None);
        check("0", None);
        check("70000", None);
    }
}
