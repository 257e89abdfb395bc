//! HTTP requests of probes and hooks: without proxy, keep-alive or verified certificates.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::HTTPGetAction;
use rustls::SignatureScheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::action::{Outcome, go_text};

/// What probes and hooks call themselves; servers tell them apart by it.
pub const PROBE: &str = "kube-probe/1.36";
const HOOK: &str = "kube-lifecycle/1.36";
/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;
/// How much of an answer is read.
const MAX_BODY: usize = 10 << 10;

/// One answer.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: Bytes,
}

/// Asks by HTTP; statuses from 200 to 399 are a success.
pub async fn probe(get: &HTTPGetAction, ip: &str, port: u16, timeout: Duration) -> Outcome {
    let (https, host, path) = parts(get, ip);
    let url = format!("{}://{host}:{port}{path}", if https { "https" } else { "http" });
    match tokio::time::timeout(timeout, follow(get, https, host.clone(), port, path)).await {
        Err(_) => Outcome::Failure(format!(
            "Get {url:?}: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
        Ok(Err(text)) => Outcome::Failure(format!("Get {url:?}: {text}")),
        Ok(Ok(answer)) if answer.status.is_redirection() => {
            let body = String::from_utf8_lossy(&answer.body);
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        Ok(Ok(answer)) if answer.status.is_success() => Outcome::Success,
        Ok(Ok(answer)) => {
            tracing::debug!(url, body = %String::from_utf8_lossy(&answer.body), "probe answer");
            Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status.as_u16()))
        }
    }
}

/// Sends one GET for a hook; any answer is fine, as in the original.
pub async fn hook(get: &HTTPGetAction, ip: &str, port: u16) -> Result<(), String> {
    let (https, host, path) = parts(get, ip);
    match request(get, HOOK, https, &host, port, &path).await {
        Err(text) if https && text.contains("tls") => {
            request(get, HOOK, false, &host, port, &path).await.map(drop)
        }
        other => other.map(drop),
    }
}

fn parts(get: &HTTPGetAction, ip: &str) -> (bool, String, String) {
    let https = get.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    let host = get.host.as_deref().filter(|host| !host.is_empty()).unwrap_or(ip);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let path = get.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    (https, host, path)
}

/// Follows redirects that stay on the same host; another host ends it with a warning.
async fn follow(
    get: &HTTPGetAction,
    mut https: bool,
    host: String,
    mut port: u16,
    mut path: String,
) -> Result<Answer, String> {
    for _ in 0..MAX_REDIRECTS {
        let answer = request(get, PROBE, https, &host, port, &path).await?;
        let Some(location) = answer.location.as_deref().filter(|_| answer.status.is_redirection()) else {
            return Ok(answer);
        };
        let target: Uri = location.parse().map_err(|_| format!("invalid redirect to {location:?}"))?;
        if target.host().is_some_and(|other| other != host) {
            return Ok(answer);
        }
        if let Some(scheme) = target.scheme_str() {
            https = scheme == "https";
            port = target.port_u16().unwrap_or(if https { 443 } else { 80 });
        }
        path = target.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
    }
    Err(format!("stopped after {MAX_REDIRECTS} redirects"))
}

async fn request(
    get: &HTTPGetAction,
    agent: &str,
    https: bool,
    host: &str,
    port: u16,
    path: &str,
) -> Result<Answer, String> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((bare, port))
        .await
        .map_err(|error| format!("dial tcp {host}:{port}: {}", go_text(&error)))?;
    if !https {
        return exchange(stream, get, agent, host, port, path).await;
    }
    let name = ServerName::try_from(bare.to_owned()).map_err(|error| error.to_string())?;
    let connector = tokio_rustls::TlsConnector::from(Arc::clone(&TLS));
    let stream = connector.connect(name, stream).await.map_err(|error| format!("tls: {error}"))?;
    exchange(stream, get, agent, host, port, path).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    get: &HTTPGetAction,
    agent: &str,
    host: &str,
    port: u16,
    path: &str,
) -> Result<Answer, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    let driver = tokio::spawn(connection);
    let mut builder = Request::get(path);
    if let Some(headers) = builder.headers_mut() {
        *headers = headers_of(get, agent, &format!("{host}:{port}"));
    }
    let request = builder.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| match error.is_incomplete_message() {
        true => "EOF".to_owned(),
        false => error.to_string(),
    })?;
    let (head, body) = answer.into_parts();
    let location =
        head.headers.get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = beginning(body).await;
    driver.abort();
    Ok(Answer { status: head.status, location, body })
}

/// The first bytes of a body; longer ones are cut off.
async fn beginning(mut body: hyper::body::Incoming) -> Bytes {
    let mut bytes = BytesMut::new();
    while bytes.len() < MAX_BODY
        && let Some(Ok(frame)) = body.frame().await
    {
        bytes.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
    }
    bytes.truncate(MAX_BODY);
    bytes.freeze()
}

fn headers_of(get: &HTTPGetAction, agent: &str, authority: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for own in get.http_headers.iter().flatten() {
        if let (Ok(name), Ok(value)) = (own.name.parse::<HeaderName>(), own.value.parse::<HeaderValue>()) {
            headers.append(name, value);
        }
    }
    let mut default = |name: HeaderName, value: &str| {
        if !headers.contains_key(&name)
            && let Ok(value) = value.parse()
        {
            headers.insert(name, value);
        }
    };
    default(header::HOST, authority);
    default(header::USER_AGENT, agent);
    default(header::ACCEPT, "*/*");
    default(header::CONNECTION, "close");
    headers
}

static TLS: LazyLock<Arc<rustls::ClientConfig>> = LazyLock::new(|| {
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let verifier = Arc::new(AnyCertificate);
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map(|builder| builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    match config {
        Ok(config) => Arc::new(config),
        Err(error) => unreachable!("ring has the default protocol versions: {error}"),
    }
});

/// Accepts whatever certificate the pod shows: nobody could have signed one for its address. Nor are signatures looked
/// at, which would prove no more, so that certificates of forms that are not read any more serve as well.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme::*;
        vec![
            ECDSA_NISTP256_SHA256,
            ECDSA_NISTP384_SHA384,
            ECDSA_NISTP521_SHA512,
            ED25519,
            RSA_PSS_SHA256,
            RSA_PSS_SHA384,
            RSA_PSS_SHA512,
            RSA_PKCS1_SHA256,
            RSA_PKCS1_SHA384,
            RSA_PKCS1_SHA512,
            RSA_PKCS1_SHA1,
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use super::*;

    struct Server(Child);

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// An HTTPS server with a certificate of version 1 for a key of that kind; the port it took.
    fn serve(dir: &Path, key: &[&str]) -> (Server, u16) {
        let run = |args: &[&str]| {
            let done = Command::new("openssl").current_dir(dir).args(args).output().expect("openssl");
            assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        };
        run(&[&["req", "-new", "-nodes", "-subj", "/CN=any", "-keyout", "key", "-out", "request"], key]
            .concat());
        run(&["x509", "-req", "-in", "request", "-signkey", "key", "-out", "certificate"]);
        let mut server = Command::new("openssl")
            .current_dir(dir)
            .args(["s_server", "-www", "-accept", "127.0.0.1:0", "-key", "key", "-cert", "certificate"])
            // Weak keys too.
            .args(["-cipher", "DEFAULT:@SECLEVEL=0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("server");
        let lines = BufReader::new(server.stdout.take().expect("output")).lines();
        let address = lines.map(|line| line.expect("line")).find_map(|line| {
            line.strip_prefix("ACCEPT ").and_then(|address| address.rsplit(':').next()?.trim().parse().ok())
        });
        (Server(server), address.expect("a port"))
    }

    #[test]
    fn probes_and_hooks_say_who_they_are() {
        let check = |headers: &str, agent: &str, expected: &str| {
            let get: HTTPGetAction =
                serde_yaml_ng::from_str(&format!("{{port: 80, httpHeaders: {headers}}}")).expect("action");
            assert_eq!(headers_of(&get, agent, "h:80")["user-agent"], expected);
        };
        check("[]", PROBE, "kube-probe/1.36");
        check("[]", HOOK, "kube-lifecycle/1.36");
        check("[{name: user-agent, value: own}]", HOOK, "own");
    }

    #[tokio::test]
    async fn redirects_to_others_are_told_with_the_body() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("listener");
        let port = listener.local_addr().expect("address").port();
        let server = tokio::spawn(async move {
            for body in [String::new(), "<a>Found</a>.".to_owned(), "x".repeat(MAX_BODY + 1)] {
                let (mut stream, _) = listener.accept().await.expect("client");
                let _ = stream.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 302 Found\r\nLocation: http://0.0.0.0/\r\nConnection: close\r\nContent-Length: ";
                let answer = format!("{head}{}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        for expected in [String::new(), "<a>Found</a>.".to_owned(), "x".repeat(MAX_BODY)] {
            let outcome = probe(&HTTPGetAction::default(), "127.0.0.1", port, Duration::from_secs(20)).await;
            let text = format!("Probe terminated redirects, Response body: {expected}");
            assert_eq!(outcome, Outcome::Warning(text));
        }
        server.await.expect("server");
    }

    #[tokio::test]
    async fn no_certificate_is_too_old() {
        if Command::new("openssl").arg("version").output().is_err() {
            println!("skipped: no openssl");
            return;
        }
        // Whoever starts the kubelet chooses; here nobody has.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let curve = |name| vec!["-newkey", "ec", "-pkeyopt", name];
        for key in [
            vec!["-newkey", "rsa:2048"],
            vec!["-newkey", "rsa:1024"],
            curve("ec_paramgen_curve:P-256"),
            curve("ec_paramgen_curve:P-521"),
        ] {
            let dir = tempfile::tempdir().expect("directory");
            let (_server, port) = serve(dir.path(), &key);
            let get = HTTPGetAction { scheme: Some("HTTPS".to_owned()), ..HTTPGetAction::default() };
            let outcome = probe(&get, "127.0.0.1", port, Duration::from_secs(20)).await;
            assert!(matches!(outcome, Outcome::Success), "{key:?}: {outcome:?}");
        }
    }
}
