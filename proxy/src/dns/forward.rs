//! Questions about names outside the cluster, asked of the host's resolvers or of those that the settings name.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, Record, RecordType};
use parking_lot::{Mutex, RwLock};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;

use super::cache::{Cache, Question};
use super::resolv_conf::Upstreams;
use super::settings::Settings;

/// How long one resolver may take. With three of them a client still hears before it gives up (5 s).
const PATIENCE: Duration = Duration::from_millis(1500);
/// Size of UDP answers that passes all networks unfragmented (DNS flag day 2020).
const UDP_SIZE: u16 = 1232;
/// Most questions that wait for an answer at once.
const MOST_AT_ONCE: usize = 512;
/// Most answers that are kept.
const CACHED: usize = 4096;

/// What a resolver said.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// Its code.
    pub code: ResponseCode,
    /// Whether it vouches for the records by DNSSEC.
    pub authentic: bool,
    /// Records that answer.
    pub answers: Vec<Record>,
    /// Records about the zone.
    pub authorities: Vec<Record>,
    /// Records that help.
    pub additionals: Vec<Record>,
}

/// Why nobody answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither the settings nor the host name a resolver but us.
    #[error("there is no name server to ask")]
    NoServer,
    /// Too many questions are waiting.
    #[error("too many questions are waiting for an answer")]
    Busy,
    /// The last resolver that was tried failed.
    #[error("name server {server} failed")]
    Failed {
        /// Whom we asked.
        server: SocketAddr,
        /// What happened.
        #[source]
        source: io::Error,
    },
}

/// Asks the host's resolvers, and remembers for a while what they said.
#[derive(Debug)]
pub struct Forwarder {
    upstreams: Upstreams,
    settings: RwLock<Arc<Settings>>,
    cache: Mutex<Cache>,
    waiting: Semaphore,
    hits: AtomicU64,
}

impl Forwarder {
    /// A forwarder with an empty cache.
    pub fn new(upstreams: Upstreams) -> Forwarder {
        Forwarder {
            upstreams,
            settings: RwLock::default(),
            cache: Mutex::new(Cache::new(CACHED)),
            waiting: Semaphore::new(MOST_AT_ONCE),
            hits: AtomicU64::new(0),
        }
    }

    /// Asks as these settings say from now on; what was said before is forgotten.
    pub fn set(&self, settings: Settings) {
        let mut current = self.settings.write();
        if **current != settings {
            *current = Arc::new(settings);
            *self.cache.lock() = Cache::new(CACHED);
        }
    }

    /// How many questions the cache has answered.
    pub fn cache_hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Asks for records of a name. `dnssec` asks for signatures as well.
    pub async fn ask(&self, name: &Name, kind: RecordType, dnssec: bool) -> Result<Reply, Error> {
        let question = (name.to_lowercase(), kind, dnssec);
        let cached = self.cache.lock().get(&question, Instant::now());
        if let Some((reply, age)) = cached {
            self.hits.fetch_add(1, Ordering::Relaxed);
            return Ok(aged(&reply, age));
        }
        let _place = self.waiting.try_acquire().map_err(|_| Error::Busy)?;
        let settings = self.settings.read().clone();
        let servers = settings.servers(name).map(<[SocketAddr]>::to_vec);
        let mut outcome = Err(Error::NoServer);
        for server in servers.unwrap_or_else(|| self.upstreams.current()) {
            outcome = match exchange(server, name, kind, dnssec).await {
                Ok(reply) => {
                    self.keep(&settings, question.clone(), &reply);
                    Ok(reply)
                }
                Err(source) => Err(Error::Failed { server, source }),
            };
            // A resolver that cannot help says so; another may.
            if matches!(&outcome, Ok(r) if !matches!(r.code, ResponseCode::ServFail | ResponseCode::Refused))
            {
                break;
            }
        }
        outcome
    }

    /// Remembers an answer, unless others would be asked by now.
    fn keep(&self, settings: &Arc<Settings>, question: Question, reply: &Reply) {
        let current = self.settings.read();
        if Arc::ptr_eq(&current, settings) {
            self.cache.lock().put(question, Arc::new(reply.clone()), Instant::now());
        }
    }
}

/// A cached reply as it is after some time: its records have that much less to live.
fn aged(reply: &Reply, age: Duration) -> Reply {
    let mut reply = reply.clone();
    let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
    for record in reply.answers.iter_mut().chain(&mut reply.authorities).chain(&mut reply.additionals) {
        record.decrement_ttl(seconds);
    }
    reply
}

fn query(name: &Name, kind: RecordType, dnssec: bool) -> Message {
    let mut query = Message::new(rand::random(), MessageType::Query, OpCode::Query);
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_SIZE).set_version(0);
    edns.set_dnssec_ok(dnssec);
    query.set_edns(edns);
    query
}

/// One question and its answer, by UDP and then by TCP if it did not fit.
async fn exchange(server: SocketAddr, name: &Name, kind: RecordType, dnssec: bool) -> io::Result<Reply> {
    let query = query(name, kind, dnssec);
    let bytes = query.to_vec().map_err(io::Error::other)?;
    let slow = |_| io::Error::from(io::ErrorKind::TimedOut);
    let answer = tokio::time::timeout(PATIENCE, by_udp(server, &query, &bytes)).await.map_err(slow)??;
    let answer = if answer.metadata.truncation {
        tokio::time::timeout(PATIENCE, by_tcp(server, &query, &bytes)).await.map_err(slow)??
    } else {
        answer
    };
    Ok(Reply {
        code: answer.metadata.response_code,
        authentic: answer.metadata.authentic_data,
        answers: answer.answers,
        authorities: answer.authorities,
        additionals: answer.additionals,
    })
}

/// A socket of its own for each question: its port is as hard to guess as the id.
async fn by_udp(server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Ok(answer) = Message::from_vec(&buffer[..length])
            && answers(&answer, query)
        {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let framed = [&length.to_be_bytes(), bytes].concat();
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(io::Error::other)?;
    if answers(&answer, query) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether a message answers this very question.
fn answers(answer: &Message, query: &Message) -> bool {
    answer.metadata.id == query.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries.first() == query.queries.first()
}
