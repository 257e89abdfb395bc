//! A small HTTP/1.1 server and client: a connection a request.
use super::{SocketAddr, TcpListener, dns, hostname, text};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Set by `/fail?on`: health checks answer 500.
static FAILING: AtomicBool = AtomicBool::new(false);
/// Requests answered so far.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Serves until the process is ended.
pub fn serve(port: u16) -> Result<(), String> {
    let listener = TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port))).map_err(text)?;
    println!("listening on {port}");
    for stream in listener.incoming() {
        std::thread::spawn(move || {
            if let Err(e) = stream.and_then(answer) {
                eprintln!("request failed: {e}");
            }
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let peer = stream.peer_addr()?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    let target = line.split(' ').nth(1).unwrap_or("/").to_owned();
    if target != "/healthz" && target != "/readyz" {
        println!("{} from {peer}", line.trim());
    }
    let (code, body) = respond(&target, peer);
    let head = format!("HTTP/1.1 {code} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn respond(target: &str, peer: SocketAddr) -> (u16, String) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let count = REQUESTS.fetch_add(1, Ordering::Relaxed) + 1;
    match path {
        "/" | "/hostname" => (200, format!("{}\n", hostname())),
        "/client" => (200, format!("{}\n", peer.ip())),
        "/count" => (200, format!("{count}\n")),
        "/env" => (200, format!("{}\n", std::env::var(query).unwrap_or_default())),
        "/file" => std::fs::read_to_string(query).map_or_else(|e| (404, format!("{e}\n")), |text| (200, text)),
        "/healthz" | "/readyz" if FAILING.load(Ordering::Relaxed) => (500, "failing\n".to_owned()),
        "/healthz" | "/readyz" => (200, "ok\n".to_owned()),
        "/slow" => {
            std::thread::sleep(Duration::from_millis(query.parse().unwrap_or(1000))); // what the caller asked for
            (200, "done\n".to_owned())
        }
        "/fail" => {
            FAILING.store(query == "on", Ordering::Relaxed);
            (200, format!("failing: {query}\n"))
        }
        _ => (404, "not found\n".to_owned()),
    }
}

/// Gets a URL `count` times and prints what comes back; an error if any answer is not 200.
pub fn get(url: &str, count: u32) -> Result<(), String> {
    let rest = url.strip_prefix("http://").ok_or("only http:// URLs")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, super::number(port)?),
        _ => (authority, 80),
    };
    let host = host.trim_matches(['[', ']']);
    let mut failures = 0;
    for _ in 0..count {
        match fetch(host, port, path) {
            Ok((200, body)) => print!("{body}"),
            Ok((code, body)) => {
                failures += 1;
                eprintln!("{code}: {body}");
            }
            Err(e) => {
                failures += 1;
                eprintln!("{e}");
            }
        }
    }
    if failures == 0 { Ok(()) } else { Err(format!("{failures} of {count} requests failed")) }
}

fn fetch(host: &str, port: u16, path: &str) -> Result<(u16, String), String> {
    let mut stream = connect(host, port)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(text)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no HTTP status")?;
    Ok((code, body.to_owned()))
}

/// Opens a TCP connection.
pub fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let address = SocketAddr::new(dns::resolve(host)?, port);
    let limit = Duration::from_secs(3);
    let stream = TcpStream::connect_timeout(&address, limit).map_err(|e| format!("{host} ({address}): {e}"))?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(text)?;
    Ok(stream)
}
