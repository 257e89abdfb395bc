//! A gRPC health server by hand: as much HTTP/2 (RFC 9113) as one unary call needs.
//!
//! Header blocks of requests are not decoded, since every call is taken for `grpc.health.v1.Health/Check`; those of
//! answers use no dynamic table, so that they are constants.
use super::{TcpListener, text};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

/// While this file exists, every service answers NOT_SERVING.
const FAILING: &str = "/tmp/failing";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// Serves until the process is ended.
pub fn serve(port: u16) -> Result<(), String> {
    let listener = TcpListener::bind(("0.0.0.0", port)).map_err(text)?;
    println!("listening on {port}");
    for stream in listener.incoming() {
        std::thread::spawn(move || {
            if let Err(e) = stream.and_then(answer) {
                eprintln!("connection ended: {e}");
            }
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut preface = [0; 24]; // "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    stream.read_exact(&mut preface)?;
    send(&mut stream, SETTINGS, 0, 0, &[])?;
    let mut requests: HashMap<u32, Vec<u8>> = HashMap::new();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return Ok(());
        }
        let [a, b, c, kind, flags, s0, s1, s2, s3] = head;
        let id = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload)?;
        match kind {
            SETTINGS if flags & ACK == 0 => send(&mut stream, SETTINGS, ACK, 0, &[])?,
            PING if flags & ACK == 0 => send(&mut stream, PING, ACK, 0, &payload)?,
            DATA if flags & PADDED == 0 => requests.entry(id).or_default().extend(payload),
            _ => {}
        }
        if matches!(kind, DATA | HEADERS | CONTINUATION) && flags & END_STREAM != 0 {
            let request = requests.remove(&id).unwrap_or_default();
            respond(&mut stream, id, &service(&request))?;
        }
    }
}

/// Field 1 of a `HealthCheckRequest` behind the five bytes of a gRPC message's head.
fn service(request: &[u8]) -> String {
    match request.get(5..) {
        Some([0x0a, length, name @ ..]) => {
            String::from_utf8_lossy(name.get(..usize::from(*length)).unwrap_or_default()).into_owned()
        }
        _ => String::new(),
    }
}

fn respond(stream: &mut TcpStream, id: u32, service: &str) -> std::io::Result<()> {
    // ":status: 200" is entry 8 of the static table; the others are literals that are not indexed.
    let mut head = vec![0x88];
    head.extend(literal("content-type", "application/grpc"));
    if !service.is_empty() && service != "testbox" {
        println!("asked for {service}, which is unknown");
        head.extend(literal("grpc-status", "5"));
        return send(stream, HEADERS, END_HEADERS | END_STREAM, id, &head);
    }
    send(stream, HEADERS, END_HEADERS, id, &head)?;
    let status = if Path::new(FAILING).exists() { 2 } else { 1 };
    println!("asked for {service:?}: {}", if status == 1 { "SERVING" } else { "NOT_SERVING" });
    send(stream, DATA, 0, id, &[0, 0, 0, 0, 2, 0x08, status])?;
    send(stream, HEADERS, END_HEADERS | END_STREAM, id, &literal("grpc-status", "0"))
}

/// A header field without indexing, neither part compressed (RFC 7541, 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0, name.len() as u8];
    field.extend(name.as_bytes());
    field.push(value.len() as u8);
    field.extend(value.as_bytes());
    field
}

fn send(stream: &mut TcpStream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> std::io::Result<()> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(id.to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame)
}
