//! A resolver that asks the servers of `/etc/resolv.conf` and follows its search list (resolv.conf(5)).
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

/// Types by name and number (RFC 1035, 3596, 2782).
const TYPES: [(&str, u16); 6] = [("A", 1), ("CNAME", 5), ("PTR", 12), ("TXT", 16), ("AAAA", 28), ("SRV", 33)];

/// Prints every answer, one a line, as `name type data`.
pub fn print(name: &str, kind: &str) -> Result<(), String> {
    let number = TYPES.iter().find(|(text, _)| text.eq_ignore_ascii_case(kind)).map(|(_, number)| *number);
    let number = number.ok_or_else(|| format!("unknown record type {kind}"))?;
    for line in query_searching(name, number)? {
        println!("{line}");
    }
    Ok(())
}

/// The first address of a name, or the address it already is.
pub fn resolve(name: &str) -> Result<IpAddr, String> {
    if let Ok(ip) = name.parse() {
        return Ok(ip);
    }
    let answers = query_searching(name, 1)?;
    let addresses = answers.iter().filter_map(|line| line.rsplit(' ').next()?.parse().ok());
    addresses.last().ok_or_else(|| format!("{name} has no address"))
}

struct Config {
    server: IpAddr,
    search: Vec<String>,
    ndots: usize,
}

fn config() -> Result<Config, String> {
    let text = std::fs::read_to_string("/etc/resolv.conf").map_err(|e| format!("/etc/resolv.conf: {e}"))?;
    let mut config = Config { server: IpAddr::V4(Ipv4Addr::LOCALHOST), search: Vec::new(), ndots: 1 };
    let mut servers: Vec<IpAddr> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers.extend(words.next().and_then(|ip| ip.parse::<IpAddr>().ok())),
            Some("search") => config.search = words.map(str::to_owned).collect(),
            Some("options") => {
                let ndots = words.find_map(|option| option.strip_prefix("ndots:")?.parse().ok());
                config.ndots = ndots.unwrap_or(config.ndots);
            }
            _ => {}
        }
    }
    config.server = servers.first().copied().ok_or("no nameserver in /etc/resolv.conf")?;
    Ok(config)
}

fn query_searching(name: &str, kind: u16) -> Result<Vec<String>, String> {
    let config = config()?;
    let absolute = name.strip_suffix('.');
    let mut candidates: Vec<String> = Vec::new();
    if absolute.is_none() {
        candidates.extend(config.search.iter().map(|domain| format!("{name}.{domain}")));
    }
    let bare = absolute.unwrap_or(name).to_owned();
    let first = absolute.is_some() || name.matches('.').count() >= config.ndots;
    candidates.insert(if first { 0 } else { candidates.len() }, bare);
    let mut last = format!("{name}: not found");
    for candidate in candidates {
        match query(config.server, &candidate, kind) {
            Ok(answers) if !answers.is_empty() => return Ok(answers),
            Ok(_) => last = format!("{candidate}: no data"),
            Err(e) => last = e,
        }
    }
    Err(last)
}

fn query(server: IpAddr, name: &str, kind: u16) -> Result<Vec<String>, String> {
    let mut message = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).ok().filter(|n| (1..64).contains(n)).ok_or("bad name")?);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    let failed = |e: std::io::Error| format!("{name} at {server}: {e}");
    let socket = UdpSocket::bind(if server.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" }).map_err(failed)?;
    socket.set_read_timeout(Some(Duration::from_secs(3))).map_err(failed)?;
    socket.connect((server, 53)).map_err(failed)?;
    socket.send(&message).map_err(failed)?;
    let mut answer = [0; 4096];
    let size = socket.recv(&mut answer).map_err(failed)?;
    read(&answer[..size]).ok_or_else(|| format!("{name}: damaged answer"))?.map_err(|code| format!("{name}: {code}"))
}

/// The records of an answer; the inner error is the response code.
fn read(message: &[u8]) -> Option<Result<Vec<String>, String>> {
    match message.get(3)? & 15 {
        0 => {}
        3 => return Some(Err("NXDOMAIN".to_owned())),
        code => return Some(Err(format!("response code {code}"))),
    }
    let count = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let mut at = 12;
    for _ in 0..count(4)? {
        at = name_at(message, at)?.1 + 4;
    }
    let mut lines = Vec::new();
    for _ in 0..count(6)? {
        let (name, next) = name_at(message, at)?;
        let (kind, length) = (count(next)?, usize::from(count(next + 8)?));
        let data = next + 10;
        lines.push(format!("{name} {}", record(message, kind, data, length)?));
        at = data + length;
    }
    Some(Ok(lines))
}

fn record(message: &[u8], kind: u16, at: usize, length: usize) -> Option<String> {
    let data = message.get(at..at + length)?;
    let number = |at: usize| Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]));
    let label = TYPES.iter().find(|(_, number)| *number == kind).map_or("?", |(label, _)| label);
    let value = match kind {
        1 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string(),
        28 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string(),
        5 | 12 => name_at(message, at)?.0,
        33 => format!("{} {} {} {}", number(at)?, number(at + 2)?, number(at + 4)?, name_at(message, at + 6)?.0),
        16 => String::from_utf8_lossy(data.get(1..)?).into_owned(),
        _ => format!("{data:?}"),
    };
    Some(format!("{label} {value}"))
}

/// The name at a position, compressed or not, and where it ends.
fn name_at(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut name, mut end) = (String::new(), None);
    for _ in 0..128 {
        let length = usize::from(*message.get(at)?);
        if length == 0 {
            return Some((name, end.unwrap_or(at + 1)));
        }
        if length >= 0xc0 {
            end = end.or(Some(at + 2));
            at = (length & 0x3f) << 8 | usize::from(*message.get(at + 1)?);
            continue;
        }
        name.push_str(&String::from_utf8_lossy(message.get(at + 1..at + 1 + length)?));
        name.push('.');
        at += 1 + length;
    }
    None
}
