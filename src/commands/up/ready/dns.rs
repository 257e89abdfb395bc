//! Asks the cluster's DNS service until it answers.
use anyhow::Result;
use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RecordType};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::UdpSocket;

/// How long one question waits for its answer; before the rules are in place it goes nowhere.
const WAIT: Duration = Duration::from_millis(50);

/// Returns when `server` knows the address of `name`.
pub async fn answers(server: SocketAddr, name: &str) -> Result<()> {
    let mut question = Message::new(7, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_ascii(name)?, RecordType::A));
    let question = question.to_vec()?;
    let mut buffer = [0; 1500];
    loop {
        // A new socket each time: connection tracking remembers where the first datagram of a socket went.
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let asked = async {
            socket.connect(server).await?;
            socket.send(&question).await?;
            socket.recv(&mut buffer).await
        };
        match tokio::time::timeout(WAIT, asked).await {
            Ok(Ok(size)) => {
                let answer = Message::from_vec(&buffer[..size])?;
                if answer.metadata.response_code == ResponseCode::NoError && !answer.answers.is_empty() {
                    return Ok(());
                }
                tokio::time::sleep(WAIT).await; // it runs, but has not seen the Service yet
            }
            Ok(Err(_)) => tokio::time::sleep(WAIT).await, // refused: nothing announces the listener
            Err(_) => {}
        }
    }
}
