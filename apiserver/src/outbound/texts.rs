//! Failures of calls in the original's words, which people search for and tools match on.
use super::connector::DialError;
use knarr_api::status::Status;
use knarr_api::time::Timestamp;
use rustls::{CertificateError, OtherError};
use std::error::Error as StdError;
use std::io::{Error as IoError, ErrorKind};

const UNKNOWN: &str = "certificate signed by unknown authority";

/// `host:port`, an IPv6 address in brackets.
pub fn address(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A TCP connection that could not be made.
pub fn of_dial(host: &str, port: u16, error: &IoError) -> String {
    let why = match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused",
        ErrorKind::ConnectionReset => "connection reset by peer",
        ErrorKind::HostUnreachable => "no route to host",
        ErrorKind::NetworkUnreachable => "network is unreachable",
        ErrorKind::TimedOut => "connection timed out",
        // Names that cannot be resolved have no kind of their own.
        _ if error.raw_os_error().is_none() => return format!("dial tcp: lookup {host}: no such host"),
        _ => return format!("dial tcp {}: connect: {error}", address(host, port)),
    };
    format!("dial tcp {}: connect: {why}", address(host, port))
}

/// A handshake that failed with a server of this name.
pub fn of_handshake(name: &str, error: &IoError) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(error)) => {
            format!("tls: failed to verify certificate: x509: {}", of_certificate(name, error))
        }
        Some(rustls::Error::AlertReceived(alert)) => format!("remote error: tls: {alert:?}"),
        Some(error @ rustls::Error::InvalidMessage(_)) => {
            format!("tls: first record does not look like a TLS handshake ({error})")
        }
        Some(error) => format!("tls: {error}"),
        None if error.kind() == ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None => error.to_string(),
    }
}

fn of_certificate(name: &str, error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            format!("certificate is not valid for any names, but wanted to match {name}")
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|name| bare(name)).collect();
            format!("certificate is valid for {}, not {name}", names.join(", "))
        }
        CertificateError::NotValidForName => format!("certificate is not valid for {name}"),
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            format!(
                "certificate has expired or is not yet valid: current time {}",
                Timestamp::now().to_rfc3339()
            )
        }
        // An authority of the same name with another key has signed nothing of this.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => UNKNOWN.to_owned(),
        // An authority that shows itself is nobody's but its own.
        CertificateError::Other(other) if is_authority(other) => UNKNOWN.to_owned(),
        other => other.to_string(),
    }
}

fn is_authority(error: &OtherError) -> bool {
    // The verifier's own type is not told by rustls; its text is.
    error.0.to_string() == "CaUsedAsEndEntity"
}

/// The name within `DnsName("a")`.
fn bare(text: &str) -> &str {
    let inner = text.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(text);
    inner.trim_matches('"')
}

/// A request that failed on its way.
pub fn of_error(error: &(dyn StdError + 'static)) -> String {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    let mut last = String::new();
    while let Some(error) = next {
        if let Some(dial) = error.downcast_ref::<DialError>() {
            return dial.to_string();
        }
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_incomplete_message) {
            return "EOF".to_owned();
        }
        last = error.to_string();
        next = error.source();
    }
    last
}

/// An answer that is no success.
pub fn of_refusal(code: u16, media: &str, body: &[u8]) -> String {
    // A server that speaks the API's own language is quoted.
    if let Ok(status) = serde_json::from_slice::<knarr_api::Value>(body)
        && status["kind"] == "Status"
        && status["status"] != "Success"
        && let Some(message) = status["message"].as_str().filter(|message| !message.is_empty())
    {
        return message.to_owned();
    }
    let said = match media.is_empty() || media.starts_with("text/") {
        true => String::from_utf8_lossy(body).trim().to_owned(),
        false => "unknown".to_owned(),
    };
    match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        403 | 406 | 415 => said,
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => {
            "the server was unable to return a response in the time allotted, but may still be processing the request"
                .to_owned()
        }
        500.. => {
            format!("an error on the server ({said:?}) has prevented the request from succeeding")
        }
        _ => format!("the server responded with the status code {code} but did not return more information"),
    }
}

/// 500 with the error as its cause, as the original builds them.
pub fn internal(text: &str) -> Status {
    Status::internal(text).with_cause("", text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals() {
        let check = |code: u16, media: &str, body: &str, expected: &str| {
            assert_eq!(of_refusal(code, media, body.as_bytes()), expected);
        };
        check(404, "text/plain", "404", "the server could not find the requested resource");
        let text = "an error on the server (\"boom\") has prevented the request from succeeding";
        check(500, "text/plain; charset=utf-8", "boom\n", text);
        check(502, "", "boom", text);
        let text = "an error on the server (\"unknown\") has prevented the request from succeeding";
        check(502, "application/octet-stream", "boom", text);
        check(
            400,
            "application/json",
            "{\"kind\":\"Status\",\"status\":\"Failure\",\"message\":\"no\"}",
            "no",
        );
        let text = "the server responded with the status code 307 but did not return more information";
        check(307, "", "", text);
    }

    #[test]
    fn certificates() {
        let presented = vec!["DnsName(\"a.b\")".to_owned(), "IpAddress(127.0.0.1)".to_owned()];
        let expected = rustls::pki_types::ServerName::try_from("c.d").unwrap();
        let error = CertificateError::NotValidForNameContext { expected, presented };
        assert_eq!(of_certificate("c.d", &error), "certificate is valid for a.b, 127.0.0.1, not c.d");
        let text = of_certificate("x", &CertificateError::UnknownIssuer);
        assert_eq!(text, "certificate signed by unknown authority");
    }
}
