//! Commands in containers, and attaching to their first process.

use std::time::Duration;

use bollard::models::ExecConfig;
use bollard::query_parameters::{ResizeContainerTTYOptions, ResizeExecOptions};
use bytes::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::engine::Engine;
use super::hijack::{self, Output};
use crate::runtime::streams::command::{Opened, Size, Sizes, Wanted};
use crate::runtime::types::ExecSyncResponse;
use crate::runtime::{Result, RuntimeError};
use crate::streaming::spdy::Incoming;

/// How much output of a command is kept.
const MAX_OUTPUT: usize = 16 << 20;
/// How much output is kept of a command that may turn out never to have begun: Docker writes why there.
const MAX_ERROR: usize = 1 << 10;
/// How long Docker may take to know the exit code once the output has ended.
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process may take until its terminal can have a size.
const RESIZE_TIMEOUT: Duration = Duration::from_secs(5);
/// Keys by which a client would leave: some must be set, and `ctrl-p`, Docker's own choice, is a shell's.
const DETACH_KEYS: &str = "ctrl-^,ctrl-^,ctrl-^,ctrl-^";
const DETACH_KEYS_IN_URL: &str = "ctrl-%5E%2Cctrl-%5E%2Cctrl-%5E%2Cctrl-%5E";

/// A command that was prepared in a container. Unless it has ended it is killed with this.
pub struct Command {
    engine: Engine,
    container: String,
    id: String,
    ended: bool,
}

impl Command {
    /// Prepares a command.
    pub async fn prepare(engine: &Engine, container: &str, cmd: Vec<String>, wanted: Wanted) -> Result<Self> {
        let config = ExecConfig {
            attach_stdin: Some(wanted.stdin),
            attach_stdout: Some(wanted.stdout),
            attach_stderr: Some(wanted.stderr && !wanted.tty),
            tty: Some(wanted.tty),
            detach_keys: Some(DETACH_KEYS.to_owned()),
            cmd: Some(cmd),
            ..ExecConfig::default()
        };
        let create = |docker: bollard::Docker| async move { docker.create_exec(container, config).await };
        let id = engine.call(create).await?.id;
        Ok(Self { engine: engine.clone(), container: container.to_owned(), id, ended: false })
    }

    async fn start(&self, tty: bool) -> Result<TokioIo<Upgraded>> {
        let path = format!("/v{}/exec/{}/start", self.engine.client().await?.client_version(), self.id);
        hijack::open(self.engine.socket(), &path, &json!({"Detach": false, "Tty": tty})).await
    }

    /// Waits for the exit code, which comes a little later than the output ends. `said` is how the output begins: why it
    /// could not be started, if it was not.
    async fn exit_code(mut self, said: &[u8]) -> Result<i32> {
        const NOT_STARTED: std::ops::RangeInclusive<i64> = 126..=127;
        let deadline = tokio::time::Instant::now() + EXIT_TIMEOUT;
        let mut pause = Duration::from_millis(2);
        loop {
            let id = self.id.as_str();
            let found = self.engine.call(|docker| async move { docker.inspect_exec(id).await }).await?;
            match (found.running, found.exit_code) {
                (Some(false), Some(code)) => {
                    self.ended = true;
                    if NOT_STARTED.contains(&code) && found.pid.unwrap_or_default() == 0 {
                        let said = String::from_utf8_lossy(said).trim().to_owned();
                        return Err(RuntimeError::Failed(format!("failed to exec in container: {said}")));
                    }
                    return Ok(i32::try_from(code).unwrap_or(i32::MAX));
                }
                _ if tokio::time::Instant::now() > deadline => {
                    return Err(RuntimeError::Failed("the command's exit code is not known".to_owned()));
                }
                _ => tokio::time::sleep(pause).await, // nothing but the same question tells of it
            }
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    }

    /// Runs it and waits for it, at most `timeout` (zero: no limit).
    pub async fn run(self, timeout: Duration) -> Result<ExecSyncResponse> {
        let run = async {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut output = Output::new(self.start(false).await?, false);
            while let Ok(Some((is_error, piece))) = output.next().await {
                let into = if is_error { &mut err } else { &mut out };
                into.extend_from_slice(&piece[..piece.len().min(MAX_OUTPUT.saturating_sub(into.len()))]);
            }
            let exit_code = self.exit_code(&out[..out.len().min(MAX_ERROR)]).await?;
            Ok(ExecSyncResponse { stdout: out, stderr: err, exit_code })
        };
        if timeout.is_zero() {
            return run.await;
        }
        tokio::time::timeout(timeout, run).await.unwrap_or_else(|_| {
            Err(RuntimeError::DeadlineExceeded(format!(
                "failed to exec in container: timeout {timeout:?} exceeded: context deadline exceeded"
            )))
        })
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (engine, id, container) = (self.engine.clone(), self.id.clone(), self.container.clone());
        tokio::spawn(async move {
            let inspect = |docker: bollard::Docker| async move { docker.inspect_exec(&id).await };
            if let Ok(found) = engine.call(inspect).await
                && found.running == Some(true)
            {
                end(found.pid.unwrap_or_default(), &container);
            }
        });
    }
}

/// Kills a command's process, for which Docker has no call, if it is one of the container's: an engine in a process
/// namespace of its own would count otherwise.
fn end(pid: i64, container: &str) {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if let Ok(pid) = i32::try_from(pid)
        && pid > 0
        && groups.contains(container)
    {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// What is streamed to a client.
pub enum Session {
    /// A command.
    Command(Command, Wanted),
    /// A container's first process.
    Attach(Engine, String, Wanted),
}

impl Session {
    /// Streams until the end; answers the exit code, which is 0 for an attached process.
    pub async fn stream(self, opened: Opened) -> Result<i32> {
        match self {
            Self::Command(command, wanted) => {
                let connection = command.start(wanted.tty).await?;
                let resize = |size: Size| {
                    let options = ResizeExecOptions { h: size.height.into(), w: size.width.into() };
                    let (engine, id) = (&command.engine, &command.id);
                    engine.call(move |docker| async move { docker.resize_exec(id, options).await })
                };
                let said = carry(connection, opened, wanted.tty, resize).await;
                command.exit_code(&said).await
            }
            Self::Attach(engine, container, wanted) => {
                let version = engine.client().await?.client_version();
                let path = format!(
                    "/v{version}/containers/{container}/attach?stream=1&stdin={}&stdout={}&stderr={}&detachKeys={DETACH_KEYS_IN_URL}",
                    u8::from(wanted.stdin),
                    u8::from(wanted.stdout),
                    u8::from(wanted.stderr && !wanted.tty),
                );
                let connection = hijack::open(engine.socket(), &path, &Value::Null).await?;
                let resize = |size: Size| {
                    let options = ResizeContainerTTYOptions { h: size.height.into(), w: size.width.into() };
                    let id = &container;
                    engine.call(move |docker| async move { docker.resize_container_tty(id, options).await })
                };
                carry(connection, opened, wanted.tty, resize).await;
                Ok(0)
            }
        }
    }
}

/// Carries the streams until the output ends; answers how it began.
async fn carry<F>(
    connection: TokioIo<Upgraded>,
    opened: Opened,
    tty: bool,
    resize: impl Fn(Size) -> F,
) -> Vec<u8>
where
    F: Future<Output = Result<()>>,
{
    let Opened { stdin, stdout, stderr, resize: sizes, .. } = opened;
    let (read, write) = tokio::io::split(connection);
    let beside = async {
        tokio::join!(feed(write, stdin), set_sizes(sizes, resize));
        // The end of the input is passed on, but only the process ends.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        said = copy(Output::new(read, tty), stdout, stderr) => said,
        () = beside => Vec::new(),
    }
}

async fn copy(
    mut output: Output<impl tokio::io::AsyncRead + Unpin>,
    stdout: Option<Incoming>,
    stderr: Option<Incoming>,
) -> Vec<u8> {
    let mut said = Vec::new();
    while let Ok(Some((is_error, piece))) = output.next().await {
        said.extend_from_slice(&piece[..piece.len().min(MAX_ERROR.saturating_sub(said.len()))]);
        if let Some(to) = if is_error { &stderr } else { &stdout }
            && to.writer.write(piece).await.is_err()
        {
            break;
        }
    }
    for to in [stdout, stderr].into_iter().flatten() {
        let _ = to.writer.finish().await;
    }
    said
}

/// Carries the client's input, and then tells the process that there is no more.
async fn feed(mut to: impl AsyncWrite + Unpin, from: Option<Incoming>) {
    let Some(mut from) = from else { return std::future::pending().await };
    while let Some(data) = from.reader.recv().await {
        let data: Bytes = data;
        if to.write_all(&data).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// Gives the terminal the sizes that the client tells. The first one may come before there is a terminal.
async fn set_sizes<F>(stream: Option<Incoming>, resize: impl Fn(Size) -> F)
where
    F: Future<Output = Result<()>>,
{
    let Some(stream) = stream else { return };
    let mut sizes = Sizes::of(stream);
    while let Some(size) = sizes.next().await {
        let deadline = tokio::time::Instant::now() + RESIZE_TIMEOUT;
        while resize(size).await.is_err() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await; // Docker does not tell when it has begun
        }
    }
}
