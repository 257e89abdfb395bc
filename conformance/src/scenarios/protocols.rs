//! Streams in all the forms that clients ask for, byte for byte: `kubectl proxy` does the TLS.
use crate::context::{Background, Context, contains, same};
use anyhow::{Context as _, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::time::Duration;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A `kubectl proxy` and where it listens.
struct Proxy {
    _kubectl: Background,
    authority: String,
}

impl Proxy {
    fn open(context: &Context) -> Result<Self> {
        let mut kubectl = context.background(&["proxy", "--port=0", "--disable-filter"])?;
        let output = kubectl.0.stdout.take().context("no output")?;
        let line = BufReader::new(output).lines().next().context("kubectl proxy said nothing")??;
        let authority = line.rsplit(' ').next().context("no address")?.to_owned();
        Ok(Self { _kubectl: kubectl, authority })
    }

    /// Opens a WebSocket to a subresource of a pod.
    fn connect(&self, context: &Context, what: &str, protocol: &str) -> Result<Channels> {
        let path = format!("/api/v1/namespaces/{}/pods/{what}", context.namespace);
        let mut request = format!("ws://{}{path}", self.authority).into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_str(protocol)?);
        let stream = TcpStream::connect(&self.authority)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (socket, answer) = client(request, stream).map_err(|e| anyhow::anyhow!("{protocol}: {e}"))?;
        let chosen = answer.headers().get("Sec-WebSocket-Protocol").and_then(|value| value.to_str().ok());
        same(chosen, Some(protocol))?;
        Ok(Channels { socket, base64: protocol.contains("base64") })
    }
}

/// A WebSocket whose messages begin with the number of a channel.
struct Channels {
    socket: WebSocket<TcpStream>,
    base64: bool,
}

impl Channels {
    fn send(&mut self, channel: u8, data: &[u8]) -> Result<()> {
        let message = if self.base64 {
            Message::text(format!("{channel}{}", STANDARD.encode(data)))
        } else {
            Message::binary([&[channel], data].concat())
        };
        Ok(self.socket.send(message)?)
    }

    /// Everything until `enough` or the end, by channel.
    fn receive(&mut self, enough: impl Fn(&BTreeMap<u8, Vec<u8>>) -> bool) -> Result<BTreeMap<u8, Vec<u8>>> {
        let mut seen: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        while !enough(&seen) {
            let (channel, data) = match self.socket.read() {
                Ok(Message::Text(text)) => {
                    ensure!(self.base64, "text without base64: {text}");
                    let channel = text.as_bytes().first().context("an empty message")? - b'0';
                    (channel, STANDARD.decode(&text[1..])?)
                }
                Ok(Message::Binary(data)) => {
                    ensure!(!self.base64, "binary with base64");
                    (*data.first().context("an empty message")?, data[1..].to_vec())
                }
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => break,
                Ok(_) => continue,
                Err(e) => return Err(e).with_context(|| format!("after {seen:?}")),
            };
            seen.entry(channel).or_default().extend(data);
        }
        Ok(seen)
    }
}

/// What `kubectl` asks for by itself, and what it asks for when told to: both are what the other scenarios play.
pub fn forms(context: &Context) -> Result<()> {
    context.toolbox("box")?;
    let said = |context: &Context| -> Result<String> {
        let output = context.command(&["exec", "-v=8", "box", "--", "true"]).output()?;
        ensure!(output.status.success(), "kubectl exec failed");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    contains(&said(context)?, "websocket")?;
    contains(&said(&context.over_spdy())?, "SPDY/3.1")
}

/// A command with input, output, errors and an exit code in every version of the protocol.
pub fn exec(context: &Context) -> Result<()> {
    context.toolbox("box")?;
    let proxy = Proxy::open(context)?;
    let script = "read%20line;echo%20got%20$line;echo%20oops%20%3E%262;exit%207";
    let what = format!("box/exec?command=sh&command=-c&command={script}&stdin=1&stdout=1&stderr=1");
    for protocol in [
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "channel.k8s.io",
        "base64.channel.k8s.io",
    ] {
        let mut channels = proxy.connect(context, &what, protocol)?;
        channels.send(0, b"hello\n")?;
        let seen = channels.receive(|_| false).with_context(|| protocol)?;
        let text = |channel: u8| String::from_utf8_lossy(seen.get(&channel).map_or(&[], Vec::as_slice));
        same(&*text(1), "got hello\n").with_context(|| protocol)?;
        same(&*text(2), "oops\n").with_context(|| protocol)?;
        if protocol.starts_with('v') {
            let status: serde_json::Value = serde_json::from_str(&text(3)).with_context(|| protocol)?;
            same(status["reason"].as_str(), Some("NonZeroExitCode"))?;
            same(status["details"]["causes"][0]["message"].as_str(), Some("7"))?;
        } else {
            contains(&text(3), "exit code 7").with_context(|| protocol)?;
        }
    }
    // Since version 5 a client can end the input: the command reads to its end.
    let mut channels =
        proxy.connect(context, "box/exec?command=wc&command=-c&stdin=1&stdout=1", "v5.channel.k8s.io")?;
    channels.send(0, b"12345")?;
    channels.socket.send(Message::binary(vec![255, 0]))?;
    let seen = channels.receive(|_| false)?;
    same(String::from_utf8_lossy(seen.get(&1).map_or(&[], Vec::as_slice)).trim(), "5")
}

/// A port of a pod over plain WebSocket channels: data and errors, each beginning with the port's number.
pub fn port_forward(context: &Context) -> Result<()> {
    context.toolbox("box")?;
    let proxy = Proxy::open(context)?;
    for protocol in ["v4.channel.k8s.io", "v4.base64.channel.k8s.io"] {
        let mut channels = proxy.connect(context, "box/portforward?ports=8080", protocol)?;
        channels.send(0, b"GET /hostname HTTP/1.0\r\n\r\n")?;
        let whole = |seen: &BTreeMap<u8, Vec<u8>>| seen.get(&0).is_some_and(|data| data.ends_with(b"box\n"));
        let seen = channels.receive(whole).with_context(|| protocol)?;
        let (data, errors) = (seen.get(&0).context("no data")?, seen.get(&1).context("no error channel")?);
        same(&data[..2], &8080_u16.to_le_bytes()[..])?;
        same(errors.as_slice(), &8080_u16.to_le_bytes()[..])?;
        contains(&String::from_utf8_lossy(data), "200")?;
    }
    Ok(())
}

/// A log as messages, in each of the forms that the original offers.
pub fn logs(context: &Context) -> Result<()> {
    context.toolbox("box")?;
    let proxy = Proxy::open(context)?;
    for protocol in ["binary.k8s.io", "base64.binary.k8s.io"] {
        let mut socket = proxy.connect(context, "box/log", protocol)?.socket;
        let mut log = Vec::new();
        loop {
            match socket.read() {
                Ok(Message::Binary(data)) => log.extend_from_slice(&data),
                Ok(Message::Text(text)) => log.extend(STANDARD.decode(text.as_str())?),
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => break,
                Ok(_) => {}
                Err(e) => return Err(e).with_context(|| protocol),
            }
        }
        contains(&String::from_utf8_lossy(&log), "listening on 8080").with_context(|| protocol)?;
    }
    Ok(())
}
