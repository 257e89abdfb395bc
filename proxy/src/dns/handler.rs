//! hickory's request handler: the cluster's names from the zone, all others from upstream.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::zone_handler::MessageResponseBuilder;
use parking_lot::RwLock;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;

use super::forward::{Forwarder, Reply};
use super::zone::{Answer, Zone};

/// Largest answer by UDP, whatever the client can take: more would be fragmented on some networks.
const UDP_SIZE: u16 = 1232;
/// Most names that stand for each other in one answer.
const MOST_ALIASES: usize = 8;
/// How long a TCP connection may be silent.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that wait to be written to one TCP connection.
const TCP_BACKLOG: usize = 32;

/// What the server has done.
#[derive(Debug, Default)]
pub struct Counters {
    /// Answers about the cluster's names.
    pub cluster: AtomicU64,
    /// Answers from upstream, or from the cache of those.
    pub forwarded: AtomicU64,
    /// Names that do not exist.
    pub name_errors: AtomicU64,
    /// Questions that could not be answered.
    pub failures: AtomicU64,
}

/// Answers questions.
#[derive(Clone)]
pub struct Handler {
    zone: Arc<RwLock<Zone>>,
    forwarder: Arc<Forwarder>,
    counters: Arc<Counters>,
    /// Where the next answer of several records begins, so that clients that take the first are spread.
    turn: Arc<AtomicUsize>,
}

/// An answer before it is put into a message.
#[derive(Default)]
struct Response {
    code: ResponseCode,
    authoritative: bool,
    authentic: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl Handler {
    /// A handler over a zone that others keep up to date.
    pub fn new(zone: Arc<RwLock<Zone>>, forwarder: Forwarder) -> Handler {
        let (counters, turn) = (Arc::default(), Arc::default());
        Handler { zone, forwarder: Arc::new(forwarder), counters, turn }
    }

    /// The zone that it answers from.
    pub fn zone(&self) -> Arc<RwLock<Zone>> {
        self.zone.clone()
    }

    /// What the server has done so far.
    pub fn counters(&self) -> Arc<Counters> {
        self.counters.clone()
    }

    /// The forwarder.
    pub fn forwarder(&self) -> Arc<Forwarder> {
        self.forwarder.clone()
    }

    /// Answers a question, following names that stand for others.
    async fn respond(&self, name: &Name, kind: RecordType, dnssec: bool) -> Response {
        let mut response = Response { authoritative: true, ..Response::default() };
        let mut name = name.clone();
        for _ in 0..MOST_ALIASES {
            let (answer, authority) = {
                let zone = self.zone.read();
                (zone.answer(&name, kind), zone.authority())
            };
            match answer {
                Answer::Records(mut answers, additionals) => {
                    self.rotate(&mut answers);
                    response.answers.extend(answers);
                    response.additionals.extend(additionals);
                    return response;
                }
                Answer::Alias(record, target) => {
                    response.answers.push(*record);
                    name = *target;
                }
                Answer::NoData => {
                    response.authorities.push(authority);
                    return response;
                }
                Answer::NameError => {
                    response.code = ResponseCode::NXDomain;
                    response.authorities.push(authority);
                    return response;
                }
                Answer::Elsewhere => {
                    self.forward(&name, kind, dnssec, &mut response).await;
                    return response;
                }
            }
        }
        response.code = ResponseCode::ServFail;
        response
    }

    /// Adds what upstream says to a response, which may begin with an alias of ours.
    async fn forward(&self, name: &Name, kind: RecordType, dnssec: bool, response: &mut Response) {
        response.authoritative = !response.answers.is_empty();
        match self.forwarder.ask(name, kind, dnssec).await {
            Ok(Reply { code, authentic, answers, authorities, additionals }) => {
                response.code = code;
                response.authentic = authentic && response.answers.is_empty();
                response.answers.extend(answers);
                response.authorities = authorities;
                response.additionals = additionals;
            }
            Err(error) => {
                tracing::debug!(%name, %kind, %error, "no answer from upstream");
                response.code = ResponseCode::ServFail;
            }
        }
    }

    fn rotate(&self, records: &mut [Record]) {
        if records.len() > 1 {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            records.rotate_left(turn % records.len());
        }
    }

    fn count(&self, response: &Response) {
        let counter = match response.code {
            ResponseCode::NXDomain => &self.counters.name_errors,
            ResponseCode::NoError if response.authoritative => &self.counters.cluster,
            ResponseCode::NoError => &self.counters.forwarded,
            _ => &self.counters.failures,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The response to a request of any kind.
    async fn handle(&self, request: &Request) -> Response {
        let code = |code| Response { code, ..Response::default() };
        if request.edns.as_ref().is_some_and(|e| e.version() > 0) {
            return code(ResponseCode::BADVERS);
        }
        if request.metadata.op_code != OpCode::Query {
            return code(ResponseCode::NotImp);
        }
        let Ok(info) = request.request_info() else { return code(ResponseCode::FormErr) };
        let query = info.query.original();
        if query.query_class() != DNSClass::IN {
            return code(ResponseCode::Refused);
        }
        if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            return code(ResponseCode::Refused);
        }
        let dnssec = request.edns.as_ref().is_some_and(|e| e.flags().dnssec_ok);
        self.respond(query.name(), query.query_type(), dnssec).await
    }
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut sender: R,
    ) -> ResponseInfo {
        let response = self.handle(request).await;
        self.count(&response);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = response.code;
        metadata.authoritative = response.authoritative;
        metadata.authentic_data = response.authentic;
        metadata.recursion_available = true;
        let edns = request.edns.as_ref().map(|theirs| {
            let mut ours = Edns::new();
            // Its size also bounds the answer: what does not fit is cut, and the client asks by TCP.
            ours.set_max_payload(theirs.max_payload().clamp(512, UDP_SIZE)).set_version(0);
            ours.set_dnssec_ok(theirs.flags().dnssec_ok);
            ours
        });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let (answers, authorities) = (&response.answers, &response.authorities);
        let message = builder.build(metadata, answers, authorities, [], &response.additionals);
        match sender.send_response(message).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, client = %request.src(), "DNS answer not sent");
                let mut failed = Metadata::response_from_request(&request.metadata);
                failed.response_code = ResponseCode::ServFail;
                let counts = Default::default();
                hickory_proto::op::Header { metadata: failed, counts }.into()
            }
        }
    }
}

/// Serves DNS on sockets until `shutdown`.
pub async fn serve(
    handler: Handler,
    sockets: Vec<(UdpSocket, TcpListener)>,
    shutdown: CancellationToken,
) -> Result<(), String> {
    let mut server = Server::new(handler);
    for (udp, tcp) in sockets {
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_BACKLOG);
    }
    tokio::select! {
        ended = server.block_until_done() => ended.map_err(|e| e.to_string()),
        () = shutdown.cancelled() => server.shutdown_gracefully().await.map_err(|e| e.to_string()),
    }
}

/// Binds UDP and TCP to the same port of an address: the wanted one if it is free, else any.
pub async fn bind(wanted: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    match bind_both(wanted).await {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse && wanted.port() != 0 => {
            bind_both(SocketAddr::new(wanted.ip(), 0)).await
        }
        result => result,
    }
}

async fn bind_both(address: SocketAddr) -> std::io::Result<(UdpSocket, TcpListener)> {
    let tcp = TcpListener::bind(address).await?;
    let udp = UdpSocket::bind(tcp.local_addr()?).await?;
    Ok((udp, tcp))
}
