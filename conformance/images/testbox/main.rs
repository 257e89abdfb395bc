//! The test program: a web server, a client for HTTP, UDP and DNS, and small helpers, in one static binary.
//!
//! It uses nothing but the standard library and asks DNS servers itself, because a static glibc cannot load the
//! name service libraries that `getaddrinfo` needs. `build` compiles it with `rustc` alone.
mod dns;
mod grpc;
mod http;

use std::env;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: testbox COMMAND
  serve [PORT]            HTTP server (8080): / names the host, /healthz, /readyz, /env?NAME, /slow?MS, /fail?on|off
  grpc-serve PORT         gRPC health server; NOT_SERVING while /tmp/failing exists
  udp-serve [PORT]        UDP server that answers with the host's name
  get URL [COUNT]         HTTP GET; prints status and body; fails unless all are 200
  udp HOST PORT           sends a datagram and prints the answer
  lookup NAME [TYPE]      asks the resolver of /etc/resolv.conf: A, AAAA, SRV, PTR, CNAME, TXT
  connect HOST PORT       opens a TCP connection
  wait-file PATH CONTENT  waits until the file holds the text
  exit CODE [SECONDS]     ends with the code after a while
  eat MIB                 takes that much memory and stays";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args.as_slice() {
        ["serve"] => http::serve(8080),
        ["serve", port] => number(port).and_then(http::serve),
        ["grpc-serve", port] => number(port).and_then(grpc::serve),
        ["udp-serve"] => udp_serve(8081),
        ["udp-serve", port] => number(port).and_then(udp_serve),
        ["get", url] => http::get(url, 1),
        ["get", url, count] => number(count).and_then(|count: u32| http::get(url, count)),
        ["udp", host, port] => number(port).and_then(|port| udp(host, port)),
        ["lookup", name] => dns::print(name, "A"),
        ["lookup", name, kind] => dns::print(name, kind),
        ["connect", host, port] => number(port).and_then(|port| http::connect(host, port)).map(|_| ()),
        ["wait-file", path, content] => wait_file(path, content),
        ["exit", code] => return exit(code, "0"),
        ["exit", code, seconds] => return exit(code, seconds),
        ["eat", mib] => number(mib).and_then(eat),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("{e}");
            ExitCode::FAILURE
        }
    }
}

/// The name of this host: its pod's name, unless the pod says otherwise.
pub fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned()
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

fn udp_serve(port: u16) -> Result<(), String> {
    let socket = UdpSocket::bind(("0.0.0.0", port)).map_err(text)?;
    println!("listening on UDP {port}");
    let mut buffer = [0; 2048];
    loop {
        let (_, from) = socket.recv_from(&mut buffer).map_err(text)?;
        socket.send_to(hostname().as_bytes(), from).map_err(text)?;
    }
}

fn udp(host: &str, port: u16) -> Result<(), String> {
    let address = SocketAddr::new(dns::resolve(host)?, port);
    let local = if address.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let socket = UdpSocket::bind(local).map_err(text)?;
    socket.set_read_timeout(Some(Duration::from_secs(3))).map_err(text)?;
    socket.send_to(b"hello", address).map_err(text)?;
    let mut buffer = [0; 2048];
    let size = socket.recv(&mut buffer).map_err(text)?;
    println!("{}", String::from_utf8_lossy(&buffer[..size]));
    Ok(())
}

fn wait_file(path: &str, content: &str) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(180);
    while Instant::now() < deadline {
        if std::fs::read_to_string(path).is_ok_and(|found| found.trim() == content) {
            println!("{path} holds {content}");
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100)); // updates of volumes swap links: nothing to wait on
    }
    Err(format!("{path} does not hold {content:?}"))
}

fn exit(code: &str, seconds: &str) -> ExitCode {
    if let Ok(seconds) = seconds.parse() {
        std::thread::sleep(Duration::from_secs_f64(seconds)); // what the caller asked for
    }
    println!("exit {code}");
    ExitCode::from(code.parse::<u8>().unwrap_or(1))
}

fn eat(mib: usize) -> Result<(), String> {
    let memory = vec![1_u8; mib << 20];
    println!("took {} bytes", memory.len());
    // Stays until it is killed.
    Command::new("/bin/sleep").arg("3600").status().map_err(text)?;
    Ok(())
}
