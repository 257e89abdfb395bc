//! Machines made of network namespaces: a node, a client outside, and pods with small servers.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use knarr_proxy::cni::{self, Attachment, Bandwidth, Configuration, PortMapping, in_namespace};
use knarr_proxy::names;
use knarr_proxy::network::netlink::Netlink;
use knarr_proxy::network::sysctl;
use knarr_proxy::nft::{self, Commands, Nft, RuleSet};
use knarr_proxy::service::{Config, Plans};
use knarr_proxy::{ProxyMode, mode};
use nix::sched::{CloneFlags, setns, unshare};

/// The node's address on the network that it shares with the client outside.
pub const NODE: &str = "192.168.50.1";
/// The client's address there.
pub const OUTSIDE: &str = "192.168.50.2";
/// The node's IPv6 address there.
pub const NODE6: &str = "fd50::1";

/// How long a connection may take; loopback and veth pairs answer at once.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Runs a test on a fresh node, unless this process may not make one.
pub fn on_node(cluster: &str, test: impl FnOnce(&Node)) {
    on_node_by(ProxyMode::Nftables, cluster, test);
}

/// The same where services' traffic is carried in this way.
pub fn on_node_by(way: ProxyMode, cluster: &str, test: impl FnOnce(&Node)) {
    if !nix::unistd::geteuid().is_root() {
        println!("left out: network namespaces need root");
        return;
    }
    if way == ProxyMode::Iptables && Command::new("iptables-restore").arg("--version").output().is_err() {
        println!("left out: iptables is not installed");
        return;
    }
    let node = Node { way, ..Node::new(cluster) };
    test(&node);
}

/// A namespace that lives as long as its file.
pub fn namespace() -> File {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
        File::open("/proc/thread-self/ns/net").expect("namespace")
    });
    thread.join().expect("thread")
}

/// Runs work on a thread within a namespace.
pub fn within<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let body = || {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).expect("setns");
            work()
        };
        scope.spawn(body).join().expect("thread")
    })
}

/// A node with a network outside, and the configuration of a cluster's network.
pub struct Node {
    pub namespace: File,
    pub outside: File,
    pub cni: Configuration,
    pub services: Config,
    pub state: tempfile::TempDir,
    /// The node's rules.
    pub kernel: Nft,
    /// How services' traffic is carried.
    pub way: ProxyMode,
    carrier: OnceLock<Carrier>,
}

/// Plans to carry out, and who waits for that.
type Order = (Plans, mpsc::Sender<Result<(), String>>);

/// A mode at work: a thread in the node's namespace, which ends with the test.
struct Carrier(tokio::sync::mpsc::UnboundedSender<Order>);

impl Carrier {
    fn start(way: ProxyMode, namespace: &File, config: Config, cni: Configuration) -> Carrier {
        let (orders, mut taken) = tokio::sync::mpsc::unbounded_channel::<Order>();
        let namespace = namespace.try_clone().expect("namespace");
        std::thread::spawn(move || {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).expect("setns");
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async move {
                let mut mode = mode::open(way, &config, &cni).await.expect("mode");
                while let Some((plans, answer)) = taken.recv().await {
                    let applied = mode.apply(&plans).await;
                    let _ = answer.send(applied.map(drop).map_err(|error| format!("{error:#}")));
                }
            });
        });
        Carrier(orders)
    }

    fn apply(&self, plans: &Plans) {
        let (answer, answered) = mpsc::channel();
        self.0.send((plans.clone(), answer)).expect("the mode has ended");
        answered.recv().expect("the mode has ended").unwrap_or_else(|error| panic!("{error}"));
    }
}

impl Node {
    fn new(cluster: &str) -> Node {
        let (namespace, outside) = (namespace(), namespace());
        connect(&outside, &namespace);
        Node::with(cluster, namespace, outside, 77)
    }

    /// The network of another cluster on the same node. Its second octet tells its ranges apart.
    pub fn beside(&self, cluster: &str, octet: u8) -> Node {
        let clone = |namespace: &File| namespace.try_clone().expect("namespace");
        Node { way: self.way, ..Node::with(cluster, clone(&self.namespace), clone(&self.outside), octet) }
    }

    /// A node of its own where the client outside is. Its second octet tells its ranges apart.
    pub fn opposite(&self, cluster: &str, octet: u8) -> Node {
        let clone = |namespace: &File| namespace.try_clone().expect("namespace");
        Node::with(cluster, clone(&self.outside), clone(&self.namespace), octet)
    }

    fn with(cluster: &str, namespace: File, outside: File, octet: u8) -> Node {
        let state = tempfile::tempdir().expect("directory");
        let ranges = |texts: [String; 2]| texts.map(|n| n.parse().expect("range")).into();
        let services = [format!("10.{}.0.0/16", octet + 19), format!("fd{}::/112", octet + 19)];
        let cni = Configuration {
            cluster: cluster.to_owned(),
            pod_cidrs: ranges([format!("10.{octet}.1.0/24"), format!("fd{octet}:1::/64")]),
            service_cidrs: ranges(services.clone()),
            mtu: 1400,
            state_dir: state.path().join("cni"),
        };
        let services = Config {
            node_name: "node-1".to_owned(),
            cluster_cidrs: ranges([format!("10.{octet}.0.0/16"), format!("fd{octet}::/16")]),
            service_cidrs: ranges(services),
            bridge: names::bridge(cluster),
            localhost_node_ports: true,
            masquerade_bit: 14,
            ..Config::default()
        };
        let kernel = within(&namespace, Nft::open).expect("rules");
        let (way, carrier) = (ProxyMode::Nftables, OnceLock::new());
        Node { namespace, outside, cni, services, state, kernel, way, carrier }
    }

    /// A pod with an interface made by the CNI plugin.
    pub fn pod(&self, name: &str) -> Pod {
        self.pod_with_ports(name, &[])
    }

    /// A pod with host ports.
    pub fn pod_with_ports(&self, name: &str, ports: &[PortMapping]) -> Pod {
        self.pod_with(name, ports, &Bandwidth::default())
    }

    /// A pod with host ports and limits of its traffic.
    pub fn pod_with(&self, name: &str, ports: &[PortMapping], bandwidth: &Bandwidth) -> Pod {
        let namespace = namespace();
        let attachment = Attachment {
            container: name.to_owned(),
            interface: "eth0".to_owned(),
            namespace: Some(path(&namespace)),
        };
        let attached = within(&self.namespace, || cni::add(&self.cni, &attachment, ports, bandwidth));
        let attached = attached.unwrap_or_else(|e| panic!("add {name}: {}", e.chain()));
        Pod { name: name.to_owned(), namespace, attachment, ips: attached.addresses }
    }

    /// Has the node's way carry out plans.
    pub fn apply(&self, plans: &Plans) {
        self.apply_with(&self.services, plans);
    }

    /// The same with another configuration, which counts the first time.
    pub fn apply_with(&self, config: &Config, plans: &Plans) {
        let start = || Carrier::start(self.way, &self.namespace, config.clone(), self.cni.clone());
        self.carrier.get_or_init(start).apply(plans);
    }

    /// Replaces all service rules.
    pub fn apply_rules(&self, rules: &RuleSet) {
        self.commands(&nft::full(&self.table(), rules));
    }

    /// Applies the difference of two states.
    pub fn update(&self, old: &RuleSet, new: &RuleSet) {
        self.commands(&nft::diff(&self.table(), old, new));
    }

    pub fn table(&self) -> String {
        names::service_table(&self.cni.cluster)
    }

    /// Brings commands to the kernel.
    pub fn commands(&self, commands: &Commands<'_>) {
        let apply = || async { Ok(self.kernel.apply(commands).await?) };
        in_namespace(Some(&self.namespace), apply).unwrap_or_else(|e| panic!("{}", e.chain()));
    }

    /// Runs commands of the `nft` program, as somebody else on the host may.
    pub fn nft(&self, commands: &str) {
        nft_program(&self.namespace, &["-f", "-"], commands);
    }

    /// Output of `nft list …`.
    pub fn list(&self, what: &[&str]) -> String {
        let args: Vec<&str> = std::iter::once("list").chain(what.iter().copied()).collect();
        nft_program(&self.namespace, &args, "")
    }

    /// Runs a program on the node and returns its output.
    pub fn output(&self, program: &str, args: &[&str]) -> String {
        let run = || Command::new(program).args(args).output().expect("program");
        String::from_utf8_lossy(&within(&self.namespace, run).stdout).into_owned()
    }

    /// Names of the node's interfaces.
    pub fn interfaces(&self) -> Vec<String> {
        let text = self.output("ip", &["-o", "link"]);
        let name = |line: &str| line.split(": ").nth(1).map(|n| n.split('@').next().unwrap_or(n).to_owned());
        let mut names: Vec<String> = text.lines().filter_map(name).collect();
        names.sort();
        names
    }

    /// Where the plugin keeps reservations.
    pub fn reservations(&self) -> PathBuf {
        self.cni.state_dir.join("reservations.json")
    }
}

/// Runs the `nft` program in a namespace and returns its output.
pub fn nft_program(namespace: &File, args: &[&str], input: &str) -> String {
    let run = || {
        let mut command = Command::new("nft");
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program nft");
        child.stdin.take().expect("input").write_all(input.as_bytes()).expect("write");
        child.wait_with_output().expect("output")
    };
    let output = within(namespace, run);
    assert!(output.status.success(), "{}\n{input}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Joins the node's `eth0` and the client's.
fn connect(outside: &File, node: &File) {
    let address = |text: &str| text.parse::<IpNet>().expect("address");
    in_namespace(Some(outside), || async {
        let netlink = Netlink::open()?;
        netlink.add_veth("eth0", [2, 0, 0, 0, 0, 2], "eth0", node.as_fd(), 1500).await?;
        let index = netlink.index("eth0").await?;
        sysctl::no_duplicate_detection("eth0");
        netlink.up(index).await?;
        netlink.add_address(index, address(&format!("{OUTSIDE}/24"))).await?;
        netlink.add_address(index, address("fd50::2/64")).await?;
        Ok(())
    })
    .expect("client");
    in_namespace(Some(node), || async {
        let netlink = Netlink::open()?;
        let (lo, index) = (netlink.index("lo").await?, netlink.index("eth0").await?);
        sysctl::no_duplicate_detection("eth0");
        netlink.up(lo).await?;
        netlink.up(index).await?;
        netlink.add_address(index, address(&format!("{NODE}/24"))).await?;
        netlink.add_address(index, address(&format!("{NODE6}/64"))).await?;
        Ok(())
    })
    .expect("node");
}

/// A path of an open namespace that is good for the time of a test.
pub fn path(namespace: &File) -> String {
    format!("/proc/self/fd/{}", namespace.as_raw_fd())
}

/// A namespace with the plugin's interface.
pub struct Pod {
    pub name: String,
    pub namespace: File,
    pub attachment: Attachment,
    pub ips: Vec<IpAddr>,
}

impl Pod {
    /// The pod's IPv4 address and a port.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ips[0], port)
    }

    /// Serves TCP: says the pod's name and the client's address, and closes. Lives as long as the process.
    pub fn serve_tcp(&self, port: u16) {
        serve_tcp(&self.namespace, &self.name, port);
    }

    /// Serves UDP: answers each datagram with the pod's name and the client's address.
    pub fn serve_udp(&self, port: u16) {
        let socket = within(&self.namespace, || UdpSocket::bind(("::", port)).expect("bind"));
        let name = self.name.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(format!("{name} {}", peer.ip().to_canonical()).as_bytes(), peer);
            }
        });
    }

    /// Takes the pod's network away.
    pub fn delete(&self, node: &Node) {
        within(&node.namespace, || cni::delete(&node.cni, &self.attachment)).expect("delete");
    }
}

/// Serves TCP in a namespace.
pub fn serve_tcp(namespace: &File, name: &str, port: u16) {
    let listener = within(namespace, || TcpListener::bind(("::", port)).expect("bind"));
    let name = name.to_owned();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().map(|p| p.ip().to_canonical().to_string()).unwrap_or_default();
            let _ = stream.write_all(format!("{name} {peer}").as_bytes());
        }
    });
}

/// What a TCP server says to a client in a namespace.
pub fn ask(from: &File, to: impl std::fmt::Display) -> io::Result<String> {
    let to: SocketAddr = to.to_string().parse().expect("address");
    within(from, move || {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })
}

/// The name of the server that answers, or the kind of failure.
pub fn who(from: &File, to: impl std::fmt::Display) -> String {
    match ask(from, to) {
        Ok(answer) => answer.split(' ').next().unwrap_or_default().to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    }
}

/// Names of all servers that answer in a number of tries, sorted.
pub fn whoever(from: &File, to: &str, tries: usize) -> Vec<String> {
    let names: std::collections::BTreeSet<String> = (0..tries).map(|_| who(from, to)).collect();
    names.into_iter().collect()
}

/// A UDP client with a port of its own.
pub struct UdpClient(UdpSocket);

impl UdpClient {
    pub fn new(from: &File) -> UdpClient {
        let socket = within(from, || UdpSocket::bind(("0.0.0.0", 0)).expect("bind"));
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("timeout");
        UdpClient(socket)
    }

    /// The name of the server that answers a datagram, or the kind of failure.
    pub fn who(&self, to: &str) -> String {
        let to: SocketAddr = to.parse().expect("address");
        let mut buffer = [0; 512];
        match self.0.send_to(b"?", to).and_then(|_| self.0.recv(&mut buffer)) {
            Ok(n) => String::from_utf8_lossy(&buffer[..n]).split(' ').next().unwrap_or_default().to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        }
    }
}

/// How long something takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

/// Waits for a condition.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}
