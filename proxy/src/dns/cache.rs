//! A small bounded cache of what upstream resolvers said.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, RecordType};

use super::forward::Reply;

/// Longest time for which an answer is kept, whatever its records allow: names move in test clusters, too.
const LONGEST: Duration = Duration::from_secs(30);

/// What was asked: name in lower case, type, and whether DNSSEC records were wanted.
pub(super) type Question = (Name, RecordType, bool);

/// Answers by question; the oldest go first when it is full.
#[derive(Debug)]
pub(super) struct Cache {
    capacity: usize,
    answers: HashMap<Question, (Instant, Duration, Arc<Reply>)>,
    order: VecDeque<(Question, Instant)>,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Cache {
        Cache { capacity, answers: HashMap::new(), order: VecDeque::new() }
    }

    /// The answer to a question with the time it has been here, if it is still good.
    pub(super) fn get(&self, question: &Question, now: Instant) -> Option<(Arc<Reply>, Duration)> {
        let (since, time, reply) = self.answers.get(question)?;
        let age = now.saturating_duration_since(*since);
        (age < *time).then(|| (reply.clone(), age))
    }

    /// Keeps an answer for as long as it says.
    pub(super) fn put(&mut self, question: Question, reply: Arc<Reply>, now: Instant) {
        let Some(time) = lifetime(&reply) else { return };
        while self.order.len() >= self.capacity {
            let Some((oldest, since)) = self.order.pop_front() else { break };
            // The question may have been answered again since: that entry has a later place in the order.
            if self.answers.get(&oldest).is_some_and(|(at, ..)| *at == since) {
                self.answers.remove(&oldest);
            }
        }
        self.order.push_back((question.clone(), now));
        self.answers.insert(question, (now, time, reply));
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.answers.len()
    }
}

/// How long an answer may be kept: the shortest of its records, or what the zone's authority says of names
/// and records that do not exist; `None` for failures.
fn lifetime(reply: &Reply) -> Option<Duration> {
    if !matches!(reply.code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let seconds = if reply.answers.is_empty() {
        reply.authorities.iter().find_map(|r| match &r.data {
            RData::SOA(soa) => Some(r.ttl.min(soa.minimum)),
            _ => None,
        })?
    } else {
        reply.answers.iter().map(|r| r.ttl).min()?
    };
    (seconds > 0).then(|| Duration::from_secs(seconds.into()).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::rr::Record;
    use hickory_proto::rr::rdata::A;

    fn reply(code: ResponseCode, ttl: Option<u32>) -> Arc<Reply> {
        let record = |ttl| Record::from_rdata(Name::root(), ttl, RData::A(A::new(1, 2, 3, 4)));
        Arc::new(Reply { code, answers: ttl.map(record).into_iter().collect(), ..Reply::default() })
    }

    fn question(n: usize) -> Question {
        (Name::from_ascii(format!("n{n}.example.org.")).expect("name"), RecordType::A, false)
    }

    #[test]
    fn answers_live_as_long_as_they_say_within_a_bound() {
        let check = |code, ttl, expected: Option<u64>| {
            assert_eq!(lifetime(&reply(code, ttl)), expected.map(Duration::from_secs));
        };
        check(ResponseCode::NoError, Some(7), Some(7));
        check(ResponseCode::NoError, Some(3600), Some(30));
        check(ResponseCode::NoError, Some(0), None);
        check(ResponseCode::NoError, None, None);
        check(ResponseCode::ServFail, Some(7), None);
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let (mut cache, now) = (Cache::new(3), Instant::now());
        for n in 0..10 {
            cache.put(
                question(n),
                reply(ResponseCode::NoError, Some(5)),
                now + Duration::from_millis(n as u64),
            );
        }
        assert_eq!(cache.len(), 3);
        assert!(cache.get(&question(6), now).is_none());
        assert!(cache.get(&question(9), now + Duration::from_secs(1)).is_some());
        assert!(cache.get(&question(9), now + Duration::from_secs(6)).is_none());
    }
}
