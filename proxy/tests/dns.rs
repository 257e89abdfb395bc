//! The DNS server on sockets: truncation and TCP, EDNS, forwarding, aliases, the cache.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use knarr_proxy::dns::{Forwarder, Handler, Settings, Upstreams, Zone, bind, serve};
use parking_lot::RwLock;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio_util::sync::{CancellationToken, DropGuard};

const PATIENCE: Duration = Duration::from_secs(5);

/// A running server.
struct Dns {
    address: SocketAddr,
    handler: Handler,
    _running: DropGuard,
}

/// Starts a server whose zone has a small and a large headless service and two aliases.
async fn start(upstream: Option<SocketAddr>) -> Dns {
    let mut zone = Zone::new("cluster.local", Vec::new(), Vec::new()).expect("zone");
    let service = |name: &str, spec: serde_json::Value| {
        let object = json!({ "metadata": { "namespace": "a", "name": name }, "spec": spec });
        serde_json::from_value(object).expect("service")
    };
    zone.apply_service(&service("web", json!({ "clusterIP": "10.96.0.20" })));
    zone.apply_service(&service("many", json!({ "clusterIP": "None" })));
    let external = |target: &str| json!({ "type": "ExternalName", "externalName": target });
    zone.apply_service(&service("out", external("www.example.org")));
    zone.apply_service(&service("in", external("web.a.svc.cluster.local")));
    zone.apply_service(&service("loop", external("loop.a.svc.cluster.local")));
    let endpoints: Vec<_> = (0..200).map(|i| json!({ "addresses": [format!("10.244.0.{i}")] })).collect();
    let slice = json!({
        "metadata": { "namespace": "a", "name": "many-1", "labels": { "kubernetes.io/service-name": "many" } },
        "addressType": "IPv4", "endpoints": endpoints,
    });
    zone.apply_slice(&serde_json::from_value(slice).expect("slice"));
    let forwarder = Forwarder::new(Upstreams::fixed(upstream.into_iter().collect()));
    let handler = Handler::new(Arc::new(RwLock::new(zone)), forwarder);
    let sockets = bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("bind");
    let address = sockets.0.local_addr().expect("address");
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(handler.clone(), vec![sockets], shutdown.clone()));
    Dns { address, handler, _running: shutdown.drop_guard() }
}

fn query(name: &str, kind: RecordType, payload: Option<u16>) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("name"), kind));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message
}

async fn udp(server: SocketAddr, query: &Message) -> (Message, usize) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    socket.send_to(&query.to_vec().expect("query"), server).await.expect("send");
    let mut buffer = vec![0; 65_535];
    let length =
        tokio::time::timeout(PATIENCE, socket.recv(&mut buffer)).await.expect("answer").expect("recv");
    (Message::from_vec(&buffer[..length]).expect("message"), length)
}

async fn tcp(server: SocketAddr, query: &Message) -> Message {
    let mut stream = TcpStream::connect(server).await.expect("connect");
    let bytes = query.to_vec().expect("query");
    let length = u16::try_from(bytes.len()).expect("length");
    stream.write_all(&[&length.to_be_bytes(), &bytes[..]].concat()).await.expect("write");
    let length = tokio::time::timeout(PATIENCE, stream.read_u16()).await.expect("answer").expect("length");
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await.expect("read");
    Message::from_vec(&buffer).expect("message")
}

/// An upstream resolver that says `192.0.2.1` to every name of `example.org` and counts questions.
async fn upstream(ttl: u32) -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
    let (address, asked) = (socket.local_addr().expect("address"), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            count.fetch_add(1, Ordering::SeqCst);
            let query = Message::from_vec(&buffer[..length]).expect("query");
            let mut answer = Message::response(query.metadata.id, OpCode::Query);
            answer.add_queries(query.queries.clone());
            let name = query.queries[0].name().clone();
            if name.to_string().ends_with("example.org.") {
                answer.add_answer(Record::from_rdata(name, ttl, RData::A(A::new(192, 0, 2, 1))));
            } else {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            socket.send_to(&answer.to_vec().expect("answer"), client).await.expect("send");
        }
    });
    (address, asked)
}

fn ips(message: &Message) -> Vec<IpAddr> {
    message.answers.iter().filter_map(|r| r.data.ip_addr()).collect()
}

#[tokio::test]
async fn cluster_names_are_answered_with_authority() {
    let dns = start(None).await;
    let (answer, _) = udp(dns.address, &query("web.a.svc.cluster.local.", RecordType::A, None)).await;
    assert!(answer.metadata.authoritative && answer.metadata.recursion_available);
    assert!(answer.metadata.recursion_desired && answer.edns.is_none());
    assert_eq!(answer.answers[0].ttl, 5);
    assert_eq!(ips(&answer), ["10.96.0.20".parse::<IpAddr>().expect("ip")]);
    let (missing, _) = udp(dns.address, &query("x.a.svc.cluster.local.", RecordType::A, None)).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(missing.authorities[0].record_type(), RecordType::SOA);
    let (empty, _) = udp(dns.address, &query("web.a.svc.cluster.local.", RecordType::AAAA, None)).await;
    assert_eq!((empty.metadata.response_code, empty.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(empty.authorities[0].ttl, 5);
}

#[tokio::test]
async fn long_answers_are_cut_by_udp_and_whole_by_tcp() {
    let dns = start(None).await;
    let name = "many.a.svc.cluster.local.";
    for (payload, limit) in [(None, 512), (Some(1232), 1232), (Some(65_000), 1232), (Some(100), 512)] {
        let (answer, length) = udp(dns.address, &query(name, RecordType::A, payload)).await;
        assert!(answer.metadata.truncation && length <= limit, "{payload:?}: {length}");
        assert_eq!(answer.edns.is_some(), payload.is_some());
    }
    let whole = tcp(dns.address, &query(name, RecordType::A, None)).await;
    assert!(!whole.metadata.truncation);
    let first = ips(&whole);
    assert_eq!(first.len(), 200);
    let again = ips(&tcp(dns.address, &query(name, RecordType::A, None)).await);
    assert_ne!(first[0], again[0], "clients that take the first are spread");
}

#[tokio::test]
async fn other_names_are_asked_upstream_once() {
    let (server, asked) = upstream(60).await;
    let dns = start(Some(server)).await;
    for _ in 0..3 {
        let (answer, _) = udp(dns.address, &query("WWW.example.org.", RecordType::A, Some(1232))).await;
        assert!(!answer.metadata.authoritative);
        assert_eq!(ips(&answer), ["192.0.2.1".parse::<IpAddr>().expect("ip")]);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(dns.handler.forwarder().cache_hits(), 2);
    let (missing, _) = udp(dns.address, &query("nobody.test.", RecordType::A, None)).await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn aliases_are_followed_inside_and_outside() {
    let (server, _) = upstream(60).await;
    let dns = start(Some(server)).await;
    let (out, _) = udp(dns.address, &query("out.a.svc.cluster.local.", RecordType::A, None)).await;
    assert_eq!(out.answers[0].record_type(), RecordType::CNAME);
    assert_eq!(ips(&out), ["192.0.2.1".parse::<IpAddr>().expect("ip")]);
    let (inside, _) = udp(dns.address, &query("in.a.svc.cluster.local.", RecordType::A, None)).await;
    assert_eq!(ips(&inside), ["10.96.0.20".parse::<IpAddr>().expect("ip")]);
    let (round, _) = udp(dns.address, &query("loop.a.svc.cluster.local.", RecordType::A, None)).await;
    assert_eq!(round.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn failures_have_their_codes() {
    let dns = start(None).await;
    let code = |message: Message| message.metadata.response_code;
    let outside = udp(dns.address, &query("example.org.", RecordType::A, None)).await.0;
    assert_eq!(code(outside), ResponseCode::ServFail);
    let mut update = query("web.a.svc.cluster.local.", RecordType::A, None);
    update.metadata.op_code = OpCode::Notify;
    assert_eq!(code(udp(dns.address, &update).await.0), ResponseCode::NotImp);
    let mut newer = query("web.a.svc.cluster.local.", RecordType::A, Some(1232));
    if let Some(edns) = newer.edns.as_mut() {
        edns.set_version(1);
    }
    // The same number is BADSIG in another context.
    assert_eq!(u16::from(code(udp(dns.address, &newer).await.0)), u16::from(ResponseCode::BADVERS));
    let transfer = tcp(dns.address, &query("cluster.local.", RecordType::AXFR, None)).await;
    assert_eq!(code(transfer), ResponseCode::Refused);
}

/// Questions that each client of the benchmark has under way.
const UNDER_WAY: u16 = 32;
const CLIENTS: usize = 2;
const SPAN: Duration = Duration::from_secs(4);
const NAMES: u16 = 10_000;

/// Asks for names of services, as many at a time as may be under way; returns the times until their answers.
fn ask(server: SocketAddr, seed: u16) -> Vec<Duration> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    socket.connect(server).expect("connect");
    socket.set_read_timeout(Some(PATIENCE)).expect("timeout");
    let questions: Vec<Vec<u8>> = (0..NAMES)
        .map(|i| {
            query(&format!("s{i}.a.svc.cluster.local."), RecordType::A, Some(1232)).to_vec().expect("query")
        })
        .collect();
    let mut sent = vec![std::time::Instant::now(); usize::from(UNDER_WAY)];
    let mut next = usize::from(seed);
    let mut send = |slot: u16, sent: &mut Vec<std::time::Instant>| {
        // Steps through all names in no order that a cache would like.
        next = (next + 7_919) % questions.len();
        let mut bytes = questions[next].clone();
        bytes[..2].copy_from_slice(&slot.to_be_bytes());
        sent[usize::from(slot)] = std::time::Instant::now();
        socket.send(&bytes).expect("send");
    };
    (0..UNDER_WAY).for_each(|slot| send(slot, &mut sent));
    let (start, mut times, mut buffer) = (std::time::Instant::now(), Vec::new(), [0; 1500]);
    while start.elapsed() < SPAN {
        let length = socket.recv(&mut buffer).expect("an answer");
        assert_eq!((length > 12, buffer[3] & 0xf, buffer[7]), (true, 0, 1), "one record and no error");
        let slot = u16::from_be_bytes([buffer[0], buffer[1]]);
        times.push(sent[usize::from(slot)].elapsed());
        send(slot, &mut sent);
    }
    times
}

/// `cargo test --release -p knarr-proxy --test dns -- --ignored --nocapture`: one thread serves, two ask.
#[test]
#[ignore = "measures, and takes some seconds"]
fn bench_names_of_services() {
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let server = server.expect("runtime");
    let dns = server.block_on(start(None));
    let zone = dns.handler.zone();
    for i in 0..NAMES {
        let ip = Ipv4Addr::from(0x0a60_0000 + u32::from(i));
        let object = json!({
            "metadata": { "namespace": "a", "name": format!("s{i}") },
            "spec": { "clusterIP": ip, "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }] },
        });
        zone.write().apply_service(&serde_json::from_value(object).expect("service"));
    }
    let address = dns.address;
    let clients: Vec<_> =
        (0..CLIENTS).map(|i| std::thread::spawn(move || ask(address, 5_000 * i as u16))).collect();
    let mut times: Vec<Duration> = clients.into_iter().flat_map(|c| c.join().expect("client")).collect();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    let each_second = times.len() as f64 / SPAN.as_secs_f64();
    println!("{each_second:.0} answers/s, p50 {:?}, p99 {:?}", at(50), at(99));
}

#[tokio::test]
async fn domains_of_the_settings_have_servers_of_their_own() {
    let ((host, at_host), (stub, at_stub)) = (upstream(600).await, upstream(600).await);
    let dns = start(Some(host)).await;
    let question = query("www.example.org.", RecordType::A, None);
    udp(dns.address, &question).await;
    udp(dns.address, &question).await;
    assert_eq!(
        (at_host.load(Ordering::SeqCst), at_stub.load(Ordering::SeqCst)),
        (1, 0),
        "the second is kept"
    );
    let set = |data: &[(&str, String)]| {
        let data = data.iter().map(|(key, text)| ((*key).to_owned(), text.clone())).collect();
        let cluster = Name::from_ascii("cluster.local.").expect("name");
        dns.handler.forwarder().set(Settings::parse(&data, &cluster, &[]).expect("settings"));
    };
    set(&[("stubDomains", format!(r#"{{"example.org": ["{stub}"]}}"#))]);
    let (answer, _) = udp(dns.address, &question).await;
    assert_eq!(ips(&answer), [IpAddr::from([192, 0, 2, 1])]);
    assert_eq!(
        (at_host.load(Ordering::SeqCst), at_stub.load(Ordering::SeqCst)),
        (1, 1),
        "nothing old is used"
    );
    udp(dns.address, &query("www.example.com.", RecordType::A, None)).await;
    assert_eq!((at_host.load(Ordering::SeqCst), at_stub.load(Ordering::SeqCst)), (2, 1));
    // Who is responsible for a domain and fails is not stood in for.
    set(&[("stubDomains", r#"{"example.org": ["127.0.0.1:1"]}"#.to_owned())]);
    let (answer, _) = udp(dns.address, &question).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(at_host.load(Ordering::SeqCst), 2);
    set(&[("upstreamNameservers", format!(r#"["{stub}"]"#))]);
    udp(dns.address, &query("www.example.com.", RecordType::A, None)).await;
    assert_eq!((at_host.load(Ordering::SeqCst), at_stub.load(Ordering::SeqCst)), (2, 2));
}
