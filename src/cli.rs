//! Commands and flags. Only this file and the components' `Args` read the command line.
use crate::cluster::{Cluster, paths};
use crate::pod_network::Bridge;
use crate::{commands, supervisor};
use anyhow::Result;
use clap::parser::ValueSource;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use knarr_kubelet::runtime::choose::SHIM;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A complete Kubernetes in one binary whose whole state is an SQL database.
#[derive(Parser)]
#[command(name = "knarr", version, max_term_width = 110, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  knarr up                              a cluster named \"default\", its context in your kubeconfig
  knarr up --name ci-1 --publish 8080:30080
  knarr up --api-only --ephemeral       just an API server, for tests of operators
  kubectl get nodes                     stock tools work unchanged
  knarr down                            everything gone";

/// The cluster a command is about.
#[derive(clap::Args, Clone, Debug)]
pub struct ClusterName {
    /// Name of the cluster.
    #[arg(long, default_value = "default", env = "KNARR_CLUSTER")]
    pub name: String,
}

impl ClusterName {
    /// Opens the cluster.
    pub fn open(&self) -> Result<Cluster> {
        Cluster::open(&paths::home(), &self.name)
    }
}

/// How a command prints its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON object, for scripts.
    Json,
}

/// Prints a line of a command's result; an error if nobody reads on, as behind `| head`.
pub fn print(text: impl std::fmt::Display) -> Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

#[derive(Subcommand)]
enum Command {
    /// Create or start a cluster; returns when the node is Ready and DNS answers
    Up(commands::up::Args),
    /// Make this host a node of a cluster of another host
    Join(commands::join::Args),
    /// Tokens by which hosts join a cluster
    Token(commands::token::Args),
    /// Stop a cluster, or a node that joined one, and remove everything it left on this host
    Down(commands::down::Args),
    /// Show the clusters of this host and what runs of them
    Status(commands::status::Args),
    /// Print the kubeconfig of a cluster
    Kubeconfig(commands::kubeconfig::Args),
    /// Print the log of a component
    Logs(commands::logs::Args),
    /// Write logs, events and objects of a cluster into a folder, for a failed CI run
    ExportLogs(commands::export_logs::Args),
    /// Write keys, settings and objects of a running cluster into one file
    Backup(commands::backup::Args),
    /// Make a cluster from a backup, on either database
    Restore(commands::restore::Args),
    /// Certificates of a cluster: when they end, and new ones
    Certs(commands::certs::Args),
    /// Keys that objects are encrypted with in the database
    Secrets(commands::secrets::Args),
    /// Measure this program on this machine
    Bench(commands::bench::Args),
    /// Container images of a cluster
    Image(commands::image::Args),
    /// Keep the components of a cluster running
    #[command(hide = true)]
    Supervisor(ClusterName),
    /// The API server
    #[command(hide = true)]
    Apiserver(Box<ApiServer>),
    /// The controller manager
    #[command(hide = true)]
    Controllers(Box<knarr_controllers::Args>),
    /// The scheduler
    #[command(hide = true)]
    Scheduler(Box<knarr_scheduler::Args>),
    /// The node agent
    #[command(hide = true)]
    Kubelet(Box<knarr_kubelet::Args>),
    /// Simulated nodes, without containers
    #[command(hide = true)]
    Simulated(Box<knarr_kubelet::simulated::Args>),
    /// The process of a pod's sandbox, of the embedded runtime
    #[command(hide = true, name = SHIM)]
    RuntimeShim(RuntimeShim),
    /// The node's network
    #[command(hide = true)]
    Proxy(Box<knarr_proxy::Args>),
}

/// Where a sandbox lies.
#[derive(clap::Args)]
struct RuntimeShim {
    directory: std::path::PathBuf,
}

/// The API server's flags; it knows nothing of the component library, so logging is set up here.
#[derive(clap::Args)]
struct ApiServer {
    #[command(flatten)]
    logging: knarr_component::flags::Logging,
    #[command(flatten)]
    flags: knarr_apiserver::Args,
}

impl Cli {
    /// Runs the command to its end.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Up(args) => command(commands::up::run(args)),
            Command::Join(args) => command(commands::join::run(args)),
            Command::Token(args) => command(commands::token::run(args)),
            Command::Down(args) => command(commands::down::run(args)),
            Command::Status(args) => commands::status::run(&args),
            Command::Kubeconfig(args) => command(async move { commands::kubeconfig::run(&args) }),
            Command::Logs(args) => command(async move { commands::logs::run(&args) }),
            Command::ExportLogs(args) => command(commands::export_logs::run(args)),
            Command::Backup(args) => command(commands::backup::run(args)),
            Command::Restore(args) => command(commands::restore::run(args)),
            Command::Certs(args) => commands::certs::run(&args),
            Command::Secrets(args) => command(commands::secrets::run(args)),
            Command::Bench(args) => command(commands::bench::run(args)),
            Command::Image(args) => command(commands::image::run(args)),
            Command::Supervisor(name) => {
                knarr_component::log::init(&knarr_component::flags::Logging::default());
                let cluster = name.open()?;
                command(supervisor::run(cluster))
            }
            Command::Apiserver(args) => {
                knarr_component::log::init(&args.logging);
                component(|shutdown| knarr_apiserver::run(args.flags, shutdown), 2)
            }
            Command::Controllers(args) => component(|shutdown| knarr_controllers::run(*args, shutdown), 1),
            Command::Scheduler(args) => component(|shutdown| knarr_scheduler::run(*args, shutdown), 1),
            Command::Simulated(args) => {
                component(|shutdown| knarr_kubelet::simulated::run(*args, shutdown), 1)
            }
            Command::Kubelet(mut args) => {
                configure(&mut args)?;
                component(
                    |shutdown| {
                        let network = Arc::new(Bridge::new(&args.cni_conf_dir));
                        knarr_kubelet::run(*args, network, shutdown)
                    },
                    1,
                )
            }
            Command::RuntimeShim(args) => {
                // On its only thread: it forks.
                knarr_kubelet::runtime::embedded::shim::run(&args.directory)?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Proxy(args) => component(|shutdown| knarr_proxy::run(*args, shutdown), 1),
        }
    }
}

/// Whether a command line would be understood, without running it.
pub fn check(args: &[String]) -> Result<(), clap::Error> {
    Cli::try_parse_from(std::iter::once("knarr").chain(args.iter().map(String::as_str))).map(|_| ())
}

/// Takes the settings of the kubelet's file over, where flags do not say otherwise.
fn configure(args: &mut knarr_kubelet::Args) -> Result<()> {
    let Some(file) = args.config.clone() else { return Ok(()) };
    let flags = Cli::command().get_matches();
    let is_given = |name: &str| {
        let flags = flags.subcommand_matches("kubelet");
        flags.is_some_and(|flags| flags.value_source(name) == Some(ValueSource::CommandLine))
    };
    Ok(knarr_kubelet::config::load(args, &file, is_given)?)
}

/// Runs a command of the user's on one thread.
fn command(future: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(future)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs a component until it is told to stop, on at least `threads` threads where the host has them.
fn component<F>(run: impl FnOnce(CancellationToken) -> F, threads: usize) -> Result<ExitCode>
where
    F: Future<Output = Result<()>>,
{
    let available = std::thread::available_parallelism().map_or(threads, usize::from);
    let threads = if threads == 1 { 1 } else { available.max(threads) };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = knarr_component::shutdown::on_signal()?;
        run(shutdown).await
    })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The command lines of kubeadm's manifests of v1.36 (`cmd/kubeadm/app/phases/controlplane/manifests.go`), but for the
    /// database.
    #[test]
    fn manifests_of_kubeadm_are_understood() {
        let pki = "/etc/kubernetes/pki";
        let understood = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(|word| word.replace("PKI", pki)).collect();
            check(&words).map_err(|error| error.to_string())
        };
        let conf = "--authentication-kubeconfig=/c.conf --authorization-kubeconfig=/c.conf --kubeconfig=/c.conf \
                    --bind-address=127.0.0.1 --leader-elect=true";
        let controllers = format!(
            "controllers {conf} --allocate-node-cidrs=true --client-ca-file=PKI/ca.crt --cluster-cidr=10.244.0.0/16 \
             --cluster-name=kubernetes --cluster-signing-cert-file=PKI/ca.crt --cluster-signing-key-file=PKI/ca.key \
             --controllers=*,bootstrapsigner,tokencleaner --requestheader-client-ca-file=PKI/front-proxy-ca.crt \
             --root-ca-file=PKI/ca.crt --service-account-private-key-file=PKI/sa.key \
             --service-cluster-ip-range=10.96.0.0/12 --use-service-account-credentials=true"
        );
        let apiserver = "apiserver --storage=sqlite::memory: --advertise-address=192.168.1.2 --allow-privileged=true \
             --authorization-mode=Node,RBAC --client-ca-file=PKI/ca.crt --enable-admission-plugins=NodeRestriction \
             --enable-bootstrap-token-auth=true --kubelet-client-certificate=PKI/apiserver-kubelet-client.crt \
             --kubelet-client-key=PKI/apiserver-kubelet-client.key \
             --kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname \
             --proxy-client-cert-file=PKI/front-proxy-client.crt --proxy-client-key-file=PKI/front-proxy-client.key \
             --requestheader-allowed-names=front-proxy-client \
             --requestheader-client-ca-file=PKI/front-proxy-ca.crt \
             --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
             --requestheader-username-headers=X-Remote-User --secure-port=6443 \
             --service-account-issuer=https://kubernetes.default.svc.cluster.local \
             --service-account-key-file=PKI/sa.pub --service-account-signing-key-file=PKI/sa.key \
             --service-cluster-ip-range=10.96.0.0/12 --tls-cert-file=PKI/apiserver.crt \
             --tls-private-key-file=PKI/apiserver.key";
        let proxy = "proxy --config=/var/lib/kube-proxy/config.conf --hostname-override=n1";
        for line in [controllers.as_str(), &format!("scheduler {conf}"), apiserver, proxy] {
            assert_eq!(understood(line), Ok(()), "{line}");
        }
        let refused = [
            ("scheduler --profiling", "there are no profiles of this program"),
            ("scheduler --tls-min-version=VersionTLS10", "versions before TLS 1.2 are not spoken"),
            ("controllers --leader-elect-resource-lock=endpoints", "leases"),
            (
                "apiserver --storage=sqlite::memory: --etcd-servers=https://127.0.0.1:2379",
                "there is no etcd: see --storage",
            ),
        ];
        for (line, reason) in refused {
            assert!(understood(line).is_err_and(|error| error.contains(reason)), "{line}");
        }
        assert_eq!(understood("scheduler --profiling=false --contention-profiling=false -v=4"), Ok(()));
    }

    /// Every line of help that shows a use of `knarr` is one that it takes.
    #[test]
    fn examples_are_understood() {
        let mut commands = vec![Cli::command()];
        let mut examples = 0;
        while let Some(command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for use_of in help.lines().filter_map(|line| line.split_once("knarr ")).map(|(_, rest)| rest) {
                // A comment follows after blanks, another command after these.
                let line = use_of.split("   ").next().unwrap_or_default();
                let line = line.split([')', '|', ';', '&']).next().unwrap_or_default();
                let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
                assert!(check(&words).is_ok(), "{use_of}");
                examples += 1;
            }
        }
        assert!(examples > 10, "{examples}");
    }
}
