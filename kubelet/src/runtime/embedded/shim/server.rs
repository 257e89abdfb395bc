//! The shim's loop.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::container::{self, Files, Started, Stdio};
use super::output::{Log, Stream};
use super::pause::{self, Owner};
use super::protocol::{self, Reply, Request, Streams};
use super::streams::{self, Attached, Flow, Sink};
use super::userns::{self, Users};
use crate::runtime::embedded::spec::Processes;
use crate::runtime::embedded::state::{self, Phase, Status};
use crate::runtime::types::{
    ContainerConfig, LinuxPodSandboxConfig, NamespaceMode, NamespaceOption, PodSandboxConfig,
};

/// How long everything else waits for a connection within the pod.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Where terminals' descriptors come from.
const CONSOLE: &str = "console";

/// Serves the sandbox in `directory` on the listening socket that is the standard input, until it is told to stop.
pub fn run(directory: &Path) -> io::Result<()> {
    log()?;
    let listener = io::stdin().as_fd().try_clone_to_owned()?;
    // It must not hold up the session that it was started from, nor end with it.
    let _ = nix::unistd::setsid();
    nix::sys::prctl::set_child_subreaper(true)?;
    let directory = std::fs::canonicalize(directory)?;
    std::env::set_current_dir(&directory)?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    mask.thread_block()?;
    let mut server = Server {
        sandbox: state::read_config(&directory)?,
        directory,
        listener,
        signals: SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?,
        clients: BTreeMap::new(),
        next_client: 0,
        containers: BTreeMap::new(),
        commands: BTreeMap::new(),
        pause: None,
        users: None,
        ended: false,
    };
    while !server.ended {
        server.turn()?;
    }
    Ok(())
}

/// Logs to what is the standard error now, by a descriptor of its own: a process that is about to become a container
/// still logs, when its standard error is the container's already.
fn log() -> io::Result<()> {
    let file = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let filter = tracing_subscriber::EnvFilter::new("warn,libcontainer=error,libcgroups=error");
    let log = tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter);
    log.with_writer(std::sync::Mutex::new(file)).try_init().map_err(io::Error::other)
}

struct Server {
    directory: PathBuf,
    sandbox: PodSandboxConfig,
    listener: OwnedFd,
    signals: SignalFd,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    containers: BTreeMap<String, Running>,
    /// Commands by their processes, with the connections that wait for them.
    commands: BTreeMap<Pid, u64>,
    pause: Option<Pid>,
    /// Users of the pod's own.
    users: Option<Users>,
    ended: bool,
}

struct Client {
    socket: OwnedFd,
    watching: bool,
}

struct Running {
    config: ContainerConfig,
    started: Started,
    status: Status,
    flow: Flow,
    /// Commands and attached clients alike are told when it ends.
    shares_processes: bool,
}

/// What a descriptor that is ready is for.
#[derive(Clone, PartialEq)]
enum Token {
    Listener,
    Signals,
    Client(u64),
    Output(String, usize),
    Attached(String, u64),
    Waiting(String),
}

impl Server {
    /// Waits until something can be done, and does it.
    fn turn(&mut self) -> io::Result<()> {
        let ready = self.ready()?;
        for token in ready {
            match token {
                Token::Listener => self.accept(),
                Token::Signals => self.reap(),
                Token::Client(id) => self.client(id),
                Token::Output(id, index) => self.output(&id, index),
                Token::Attached(id, client) => self.input(&id, client),
                Token::Waiting(id) => self.flush(&id),
            }
        }
        Ok(())
    }

    fn ready(&self) -> io::Result<Vec<Token>> {
        let mut tokens = vec![Token::Listener, Token::Signals];
        let mut polled = vec![
            PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        for (id, client) in &self.clients {
            tokens.push(Token::Client(*id));
            polled.push(PollFd::new(client.socket.as_fd(), PollFlags::POLLIN));
        }
        for (id, running) in &self.containers {
            let flow = &running.flow;
            for (index, (_, output)) in flow.outputs.iter().enumerate() {
                tokens.push(Token::Output(id.clone(), index));
                polled.push(PollFd::new(output.as_fd(), PollFlags::POLLIN));
            }
            let stuffed = flow.stdin.as_ref().is_some_and(Sink::is_waiting);
            for attached in &flow.attached {
                // More is read only once the container has taken what was read before.
                if let Some(stdin) = attached.stdin.as_ref().filter(|_| !stuffed) {
                    tokens.push(Token::Attached(id.clone(), attached.client));
                    polled.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
                }
                for sink in attached.waiting() {
                    tokens.push(Token::Waiting(id.clone()));
                    polled.push(PollFd::new(sink.descriptor().as_fd(), PollFlags::POLLOUT));
                }
            }
            if let Some(stdin) = flow.stdin.as_ref().filter(|_| stuffed) {
                tokens.push(Token::Waiting(id.clone()));
                polled.push(PollFd::new(stdin.descriptor().as_fd(), PollFlags::POLLOUT));
            }
        }
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_ready = |polled: &PollFd<'_>| polled.revents().is_some_and(|events| !events.is_empty());
        let mut ready: Vec<Token> = tokens
            .into_iter()
            .zip(&polled)
            .filter(|(_, polled)| is_ready(polled))
            .map(|(token, _)| token)
            .collect();
        // Outputs first, so that their numbers still hold; the highest first, since one that ends is taken out.
        ready.sort_by_key(|token| match token {
            Token::Output(_, index) => (0, usize::MAX - index),
            Token::Attached(..) | Token::Waiting(_) => (1, 0),
            _ => (2, 0),
        });
        Ok(ready)
    }

    fn accept(&mut self) {
        match rustix::net::accept_with(&self.listener, rustix::net::SocketFlags::CLOEXEC) {
            Ok(socket) => {
                self.clients.insert(self.next_client, Client { socket, watching: false });
                self.next_client += 1;
            }
            Err(error) => tracing::warn!(%error, "connection not accepted"),
        }
    }

    fn reply(&mut self, id: u64, reply: &Reply, descriptors: &[BorrowedFd<'_>]) {
        let Some(client) = self.clients.get(&id) else { return };
        if let Err(error) = protocol::send(&client.socket, reply, descriptors) {
            tracing::debug!(%error, "client did not take the answer");
        }
    }

    fn client(&mut self, id: u64) {
        let Some(client) = self.clients.get(&id) else { return };
        let (request, descriptors) = match protocol::receive::<Request>(&client.socket) {
            Ok(Some(received)) => received,
            Ok(None) => return self.gone(id),
            Err(error) => {
                tracing::debug!(%error, "client");
                return self.gone(id);
            }
        };
        if let Some(reply) = self.serve(id, request, descriptors) {
            self.reply(id, &reply, &[]);
        }
    }

    /// Forgets a connection. A command goes on without it; the container's input ends if it was for one only.
    fn gone(&mut self, id: u64) {
        self.clients.remove(&id);
        for running in self.containers.values_mut() {
            let before = running.flow.attached.len();
            running.flow.attached.retain(|attached| attached.client != id);
            if running.flow.attached.len() < before && running.config.stdin_once {
                running.flow.stdin = None;
            }
        }
    }

    fn serve(&mut self, id: u64, request: Request, descriptors: Vec<OwnedFd>) -> Option<Reply> {
        let done = |result: Result<(), String>| match result {
            Ok(()) => Reply::Done,
            Err(text) => Reply::Failed(text),
        };
        Some(match request {
            Request::SetUp => done(self.set_up().map_err(|error| error.to_string())),
            Request::Start { container } => done(self.start(&container)),
            Request::Signal { container, signal, all } => self.signal(&container, signal, all),
            Request::Exec { container, args, tty, streams } => {
                return self.exec(id, &container, &args, tty, streams, descriptors);
            }
            Request::Kill => {
                let command = self.commands.iter().find(|(_, client)| **client == id).map(|(pid, _)| *pid);
                if let Some(pid) = command {
                    let _ = kill(pid, Signal::SIGKILL);
                }
                return None;
            }
            Request::Attach { container, streams } => match self.containers.get_mut(&container) {
                Some(running) => done(attach(running, id, streams, descriptors)),
                None => missing(&container),
            },
            Request::Resize { width, height } => {
                let flows = self.containers.values().map(|running| &running.flow);
                let flow =
                    flows.into_iter().find(|flow| flow.attached.iter().any(|attached| attached.client == id));
                if let Some(flow) = flow {
                    flow.resize(width, height);
                }
                return None;
            }
            Request::ReopenLog { container } => match self.containers.get_mut(&container) {
                Some(running) => done(
                    running
                        .flow
                        .log
                        .as_mut()
                        .map_or(Ok(()), |log| log.reopen().map_err(|error| error.to_string())),
                ),
                None => missing(&container),
            },
            Request::Update { container, resources } => match self.containers.contains_key(&container) {
                true => {
                    done(container::update(&Files { sandbox: &self.directory, id: &container }, resources))
                }
                false => missing(&container),
            },
            Request::Connect { port } => match connect(port) {
                Ok(socket) => {
                    self.reply(id, &Reply::Done, &[socket.as_fd()]);
                    return None;
                }
                Err(error) => Reply::Failed(error.to_string()),
            },
            Request::Watch => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.watching = true;
                }
                Reply::Done
            }
            Request::Stop => {
                self.stop();
                Reply::Done
            }
        })
    }

    /// Gets the pod's namespaces, names the host and makes what containers share.
    fn set_up(&mut self) -> io::Result<()> {
        let linux = self.sandbox.linux.clone().unwrap_or_default();
        let options =
            linux.security_context.clone().unwrap_or_default().namespace_options.unwrap_or_default();
        match userns::wanted(&self.sandbox) {
            None => enter(&linux, &options)?,
            Some(wanted) => {
                userns::check_reachable(&self.directory).map_err(io::Error::other)?;
                let pid = pause::start(&self.directory, &self.sandbox, &Owner::New(&wanted));
                let pid = *self.pause.insert(pid.map_err(io::Error::other)?);
                self.users = Some(Users::join(pid, &wanted)?);
            }
        }
        if options.network() != NamespaceMode::Node && !self.sandbox.hostname.is_empty() {
            nix::unistd::sethostname(&self.sandbox.hostname)?;
        }
        let shm = self.directory.join("shm");
        std::fs::create_dir_all(&shm)?;
        if options.ipc() == NamespaceMode::Node {
            mount(Some("/dev/shm"), &shm, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        } else {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("shm"), &shm, Some("tmpfs"), flags, Some("mode=1777,size=65536k"))?;
        }
        Ok(())
    }

    fn signal(&mut self, container: &str, signal: i32, all: bool) -> Reply {
        let Some(running) = self.containers.get(container) else { return missing(container) };
        let result = match Signal::try_from(signal) {
            _ if all => container::signal_all(&Files { sandbox: &self.directory, id: container }, signal),
            Ok(signal) => kill(running.started.pid, signal).map_err(|errno| errno.to_string()),
            Err(_) => Err(format!("signal {signal} is unknown")),
        };
        result.map_or_else(Reply::Failed, |()| Reply::Done)
    }

    fn start(&mut self, id: &str) -> Result<(), String> {
        let files = Files { sandbox: &self.directory, id };
        let folder = files.folder();
        let text = |error: io::Error| error.to_string();
        let config: ContainerConfig = state::read_config(&folder).map_err(text)?;
        let mut status: Status = state::read_json(&folder.join(state::STATUS)).map_err(text)?;
        let begun = self.begin(&config, id);
        match begun {
            Ok((started, flow)) => {
                status = Status {
                    phase: Phase::Running,
                    started_at: state::now(),
                    pid: started.pid.as_raw(),
                    user: Some(started.identity.clone()),
                    ..status
                };
                let result = state::write_json(&folder.join(state::STATUS), &status).map_err(text);
                let (mode, _) = container::namespace_mode(&config);
                let shares_processes = mode != NamespaceMode::Container;
                self.containers
                    .insert(id.to_owned(), Running { config, started, status, flow, shares_processes });
                result
            }
            Err(message) => {
                container::clean(&Files { sandbox: &self.directory, id });
                let (now, reason) = (state::now(), "StartError".to_owned());
                let ended =
                    Status { finished_at: now, exit_code: 128, reason, message: message.clone(), ..status };
                let ended = Status { phase: Phase::Exited, ..ended };
                state::write_json(&folder.join(state::STATUS), &ended).map_err(text)?;
                Err(message)
            }
        }
    }

    fn begin(&mut self, config: &ContainerConfig, id: &str) -> Result<(Started, Flow), String> {
        let processes = self.processes(config)?;
        let text = |error: io::Error| error.to_string();
        let (stdio, mut flow, console) = streams_of(config, &self.directory).map_err(text)?;
        let log = Path::new(&self.sandbox.log_directory).join(&config.log_path);
        if !config.log_path.is_empty() && log.is_absolute() {
            flow.log = Some(Log::open(&log).map_err(text)?);
        }
        let files = Files { sandbox: &self.directory, id };
        let users = self.users.as_ref();
        let started = container::start(&files, &self.sandbox, config, processes, users, stdio)?;
        if let Some(console) = console {
            let terminal = console.receive().map_err(text)?;
            streams::do_not_block(&terminal).map_err(text)?;
            flow.outputs.push((Stream::Stdout, terminal.try_clone().map_err(text)?));
            flow.stdin = if config.stdin {
                Some(Sink::new(terminal.try_clone().map_err(text)?).map_err(text)?)
            } else {
                None
            };
            flow.terminal = Some(terminal);
        }
        Ok((started, flow))
    }

    fn processes(&mut self, config: &ContainerConfig) -> Result<Processes, String> {
        let of = |pid: Pid| Processes::Of(format!("/proc/{pid}/ns/pid"));
        match container::namespace_mode(config) {
            (NamespaceMode::Container, _) => Ok(Processes::Own),
            (NamespaceMode::Node, _) => Ok(Processes::Host),
            (NamespaceMode::Target, target) => {
                let running = self.containers.get(&target);
                running
                    .map(|running| of(running.started.pid))
                    .ok_or(format!("container {target:?} does not run"))
            }
            (NamespaceMode::Pod, _) => {
                let pid = match self.pause {
                    Some(pid) => pid,
                    None => {
                        let owner = self.users.as_ref().map_or(Owner::Host, |users| Owner::Of(users.path()));
                        pause::start(&self.directory, &self.sandbox, &owner)?
                    }
                };
                self.pause = Some(pid);
                Ok(of(pid))
            }
        }
    }

    fn exec(
        &mut self,
        id: u64,
        container: &str,
        args: &[String],
        tty: bool,
        streams: Streams,
        descriptors: Vec<OwnedFd>,
    ) -> Option<Reply> {
        let Some(running) = self.containers.get(container) else { return Some(missing(container)) };
        let files = Files { sandbox: &self.directory, id: container };
        let begin = || {
            let text = |error: io::Error| error.to_string();
            let (stdio, console) = if tty {
                let console = Console::open(&self.directory).map_err(text)?;
                (Stdio { console: Some(console.path.clone()), ..Stdio::default() }, Some(console))
            } else {
                let mut descriptors = descriptors.into_iter();
                let mut next = |wanted: bool, write: bool| match descriptors.next().filter(|_| wanted) {
                    Some(descriptor) => Ok(Some(descriptor)),
                    None => container::null(write).map(Some),
                };
                let stdin = if streams.stdin { next(true, false) } else { container::null(false).map(Some) };
                let stdout = if streams.stdout { next(true, true) } else { container::null(true).map(Some) };
                let stderr = if streams.stderr { next(true, true) } else { container::null(true).map(Some) };
                let stdio = Stdio {
                    stdin: stdin.map_err(text)?,
                    stdout: stdout.map_err(text)?,
                    stderr: stderr.map_err(text)?,
                    console: None,
                };
                (stdio, None)
            };
            let pid = container::exec(&files, &running.started, args, tty, self.users.as_ref(), stdio)?;
            let terminal = console.map(|console| console.receive()).transpose().map_err(text)?;
            Ok::<_, String>((pid, terminal))
        };
        match begin() {
            Ok((pid, terminal)) => {
                self.commands.insert(pid, id);
                let terminal: Vec<BorrowedFd<'_>> = terminal.iter().map(AsFd::as_fd).collect();
                self.reply(id, &Reply::Started, &terminal);
                None
            }
            Err(text) => Some(Reply::Failed(text)),
        }
    }

    fn output(&mut self, id: &str, index: usize) {
        let Some(running) = self.containers.get_mut(id) else { return };
        if index >= running.flow.outputs.len() {
            return;
        }
        let (stream, descriptor) = running.flow.outputs.remove(index);
        if running.flow.pump(stream, &descriptor) != Some(false) {
            running.flow.outputs.insert(index, (stream, descriptor));
        } else if let Some(log) = &mut running.flow.log {
            let _ = log.finish(stream);
        }
    }

    fn input(&mut self, id: &str, client: u64) {
        let Some(running) = self.containers.get_mut(id) else { return };
        if running.flow.feed(client) && running.config.stdin_once {
            running.flow.stdin = None;
        }
    }

    fn flush(&mut self, id: &str) {
        let Some(running) = self.containers.get_mut(id) else { return };
        running.flow.attached.iter_mut().for_each(Attached::flush);
        if running.flow.stdin.as_mut().is_some_and(|stdin| stdin.flush().is_err()) {
            running.flow.stdin = None;
        }
    }

    /// Takes note of processes that have ended.
    fn reap(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while self.wait(WaitPidFlag::WNOHANG) {}
    }

    /// Takes note of one process that has ended, if there is one.
    fn wait(&mut self, flags: WaitPidFlag) -> bool {
        match waitpid(None, Some(flags)) {
            Ok(WaitStatus::Exited(pid, code)) => self.process_ended(pid, code),
            Ok(WaitStatus::Signaled(pid, signal, _)) => self.process_ended(pid, 128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return false,
            Ok(_) | Err(_) => {}
        }
        true
    }

    fn process_ended(&mut self, pid: Pid, code: i32) {
        if let Some(client) = self.commands.remove(&pid) {
            return self.reply(client, &Reply::Exited(code), &[]);
        }
        if self.pause == Some(pid) {
            self.pause = None;
        }
        let ended =
            self.containers.iter().find(|(_, running)| running.started.pid == pid).map(|(id, _)| id.clone());
        if let Some(id) = ended
            && let Some(running) = self.containers.remove(&id)
        {
            self.container_ended(&id, running, code);
        }
    }

    fn container_ended(&mut self, id: &str, mut running: Running, code: i32) {
        let files = Files { sandbox: &self.directory, id };
        if running.shares_processes {
            // Others of its processes would go on, and nobody could tell whose they are.
            if let Err(error) = container::signal_all(&files, Signal::SIGKILL as i32) {
                tracing::warn!(id, error, "processes not killed");
            }
        }
        running.flow.drain();
        let killed = container::oom_kills(&self.sandbox, id) > 0;
        let reason = match code {
            _ if killed => "OOMKilled",
            0 => "Completed",
            _ => "Error",
        };
        let status = Status {
            phase: Phase::Exited,
            finished_at: state::now(),
            exit_code: code,
            reason: reason.to_owned(),
            ..running.status.clone()
        };
        container::clean(&files);
        if let Err(error) = state::write_json(&files.folder().join(state::STATUS), &status) {
            tracing::error!(id, %error, "end of the container not noted");
        }
        let attached: Vec<u64> = running.flow.attached.iter().map(|attached| attached.client).collect();
        // Their descriptors are closed first, so that all output is read before the end is told.
        drop(running);
        for client in attached {
            self.reply(client, &Reply::Exited(code), &[]);
        }
        let watching: Vec<u64> =
            self.clients.iter().filter(|(_, client)| client.watching).map(|(id, _)| *id).collect();
        for client in watching {
            self.reply(client, &Reply::Changed, &[]);
        }
    }

    /// Kills everything and gives back what the sandbox has of the system.
    fn stop(&mut self) {
        for (id, running) in &self.containers {
            if let Err(error) =
                container::signal_all(&Files { sandbox: &self.directory, id }, Signal::SIGKILL as i32)
            {
                tracing::warn!(id, error, "processes not killed");
            }
            let _ = kill(running.started.pid, Signal::SIGKILL);
        }
        // Whatever ends first is taken note of: the first process of a container does not end before commands in it.
        while !self.containers.is_empty() && self.wait(WaitPidFlag::empty()) {}
        if let Some(pid) = self.pause.take() {
            let _ = kill(pid, Signal::SIGKILL);
            let _ = waitpid(pid, None);
            container::clean(&Files { sandbox: &self.directory, id: state::PAUSE });
        }
        let _ = umount2(&self.directory.join("shm"), MntFlags::MNT_DETACH);
        self.ended = true;
    }
}

fn missing(container: &str) -> Reply {
    Reply::Missing(format!("container {container:?} does not run"))
}

fn attach(
    running: &mut Running,
    client: u64,
    streams: Streams,
    descriptors: Vec<OwnedFd>,
) -> Result<(), String> {
    let attached = Attached::new(client, streams, descriptors).map_err(|error| error.to_string())?;
    running.flow.attached.push(attached);
    Ok(())
}

/// A connection to a port of the pod, by either family.
fn connect(port: u16) -> io::Result<OwnedFd> {
    let families = [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
    // Within a host this is answered at once, or something has swallowed it.
    let connect = |address: &SocketAddr| TcpStream::connect_timeout(address, CONNECT_TIMEOUT);
    let first = match connect(&families[0]) {
        Ok(stream) => return Ok(stream.into()),
        Err(error) => error,
    };
    connect(&families[1]).map(OwnedFd::from).map_err(|_| first)
}

/// A listening socket on which the OCI runtime hands over a terminal.
struct Console {
    path: PathBuf,
    listener: UnixListener,
}

impl Console {
    fn open(directory: &Path) -> io::Result<Self> {
        let _ = std::fs::remove_file(CONSOLE);
        // Short, for this process works in the sandbox's directory.
        Ok(Self { path: directory.join(CONSOLE), listener: UnixListener::bind(CONSOLE)? })
    }

    fn receive(&self) -> io::Result<OwnedFd> {
        let (connection, _) = self.listener.accept()?;
        protocol::receive_descriptor(&connection)
    }
}

/// The ends of a container's streams: the container's own, and ours.
fn streams_of(config: &ContainerConfig, directory: &Path) -> io::Result<(Stdio, Flow, Option<Console>)> {
    if config.tty {
        let console = Console::open(directory)?;
        let stdio = Stdio { console: Some(console.path.clone()), ..Stdio::default() };
        return Ok((stdio, Flow::default(), Some(console)));
    }
    let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(io::Error::from);
    let ((stdout, theirs_out), (stderr, theirs_err)) = (pipe()?, pipe()?);
    let mut flow = Flow::default();
    let stdin = if config.stdin {
        let (theirs, ours) = pipe()?;
        flow.stdin = Some(Sink::new(ours)?);
        theirs
    } else {
        container::null(false)?
    };
    for (stream, descriptor) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
        streams::do_not_block(&descriptor)?;
        flow.outputs.push((stream, descriptor));
    }
    let stdio =
        Stdio { stdin: Some(stdin), stdout: Some(theirs_out), stderr: Some(theirs_err), console: None };
    Ok((stdio, flow, None))
}

/// Enters namespaces of the pod's own whose users are the host's, and sets kernel parameters.
fn enter(linux: &LinuxPodSandboxConfig, options: &NamespaceOption) -> io::Result<()> {
    let mut flags = CloneFlags::empty();
    if options.network() != NamespaceMode::Node {
        flags |= CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS;
    }
    if options.ipc() != NamespaceMode::Node {
        flags |= CloneFlags::CLONE_NEWIPC;
    }
    unshare(flags)?;
    for (name, value) in &linux.sysctls {
        let path = Path::new("/proc/sys").join(name.replace('.', "/"));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("sysctl {name}: {error}"));
        std::fs::write(&path, value).map_err(named)?;
    }
    Ok(())
}
