//! Limits of the traffic of an interface: a token bucket for what it sends, and another interface through which what it
//! receives is sent first, as a bucket holds back only what is sent.

use futures::StreamExt;
use rtnetlink::packet_core::{
    DefaultNla, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::InfoKind;
use rtnetlink::packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};
use rtnetlink::{Error as Refused, LinkMessageBuilder, LinkUnspec};

use super::{Error, Netlink, is};

/// Where packets that an interface receives are looked at (`TC_H_INGRESS` as a number of its own).
const RECEIVED: u32 = 0xffff_0000;
/// Every protocol (`ETH_P_ALL`).
const ALL_PROTOCOLS: u16 = 3;
/// Attributes of a token bucket.
const PARAMETERS: u16 = 1;
const RATE: u16 = 4;
const BURST: u16 = 6;
/// Frames of Ethernet, of which the kernel computes the time itself.
const ETHERNET: u8 = 1;

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Bytes a second.
    pub rate: u64,
    /// Bytes that may be sent at once.
    pub burst: u32,
    /// Bytes that may wait; what comes beyond is dropped.
    pub queue: u32,
}

impl Netlink {
    /// Limits what an interface sends.
    pub async fn limit_sent(&self, index: u32, bucket: Bucket) -> Result<(), Error> {
        let mut message = TcMessage::with_index(number(index));
        message.header.parent = TcHandle::ROOT;
        let option = |kind, bytes| TcOption::Other(DefaultNla::new(kind, bytes));
        message.attributes.push(TcAttribute::Kind("tbf".to_owned()));
        message.attributes.push(TcAttribute::Options(vec![
            option(PARAMETERS, parameters(bucket)),
            option(RATE, bucket.rate.to_ne_bytes().to_vec()),
            option(BURST, bucket.burst.to_ne_bytes().to_vec()),
        ]));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::NewQueueDiscipline(message));
        request.header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
        self.acknowledged(request).await.map_err(Error::step("limit the bandwidth of an interface"))
    }

    async fn acknowledged(&self, request: NetlinkMessage<RouteNetlinkMessage>) -> Result<(), Refused> {
        let mut answers = self.0.clone().request(request)?;
        while let Some(answer) = answers.next().await {
            if let NetlinkPayload::Error(error) = answer.payload {
                return if error.code.is_none() { Ok(()) } else { Err(Refused::NetlinkError(error)) };
            }
        }
        Ok(())
    }

    /// Limits what an interface receives: an interface of the given name and largest packet is made for that, which lives
    /// until it is deleted.
    pub async fn limit_received(&self, index: u32, via: &str, mtu: u32, bucket: Bucket) -> Result<(), Error> {
        let ifb = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Ifb);
        let link = ifb.name(via.to_owned()).mtu(mtu).up().build();
        match self.0.link().add(link).execute().await {
            Err(error) if !is(&error, nix::libc::EEXIST) => {
                return Err(Error::step(format!("add interface {via} for limits of bandwidth"))(error));
            }
            _ => {}
        }
        let via = self.index(via).await?;
        self.limit_sent(via, bucket).await?;
        let step = || Error::step("lead packets to an interface that limits bandwidth");
        self.0.qdisc().add(number(index)).ingress().execute().await.map_err(step())?;
        let filter =
            self.0.traffic_filter(number(index)).add().parent(RECEIVED).protocol(ALL_PROTOCOLS.to_be());
        let filter = filter.redirect(via).map_err(step())?;
        filter.execute().await.map_err(step())
    }
}

fn number(index: u32) -> i32 {
    index.cast_signed()
}

/// The kernel's `tc_tbf_qopt`: two rates, of which the second is none, bytes that may wait, and two numbers that newer
/// attributes replace.
fn parameters(bucket: Bucket) -> Vec<u8> {
    let rate = u32::try_from(bucket.rate).unwrap_or(u32::MAX);
    let mut bytes = vec![0, ETHERNET, 0, 0, 0, 0, 0, 0];
    bytes.extend(rate.to_ne_bytes());
    bytes.extend([0; 12]);
    bytes.extend(bucket.queue.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes
}
