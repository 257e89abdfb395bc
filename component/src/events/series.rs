//! Events of `events.k8s.io`, as the scheduler of the original writes them: with what was done, to what it relates, and as a
//! series where the same happens again.
//!
//! Source: KEP-383, "New Event API dedup mechanism".

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{QUEUE, Type, deliver, namespace};

/// What is no longer repeated for so long has ended.
const ENDED: Duration = Duration::from_secs(6 * 60);
/// How often a series that goes on is written.
const REFRESHED: Duration = Duration::from_secs(30 * 60);
/// How often it is looked for series that have ended or go on for long.
const SWEPT: Duration = Duration::from_secs(60);
/// Events that are remembered; beyond that each stands for itself.
const MEMORY: usize = 16_384;
/// Longest note in bytes, and what stands at the end of one that was longer.
const NOTE: usize = 1024;
const CUT: &str = " ...";

/// What happened to an object.
#[derive(Debug, Clone)]
pub struct Report {
    /// The object.
    pub regarding: ObjectReference,
    /// Another one that has to do with it.
    pub related: Option<ObjectReference>,
    /// Normal or Warning.
    pub kind: Type,
    /// Why: one word in camel case.
    pub reason: &'static str,
    /// What was done: one word in camel case.
    pub action: &'static str,
    /// A sentence.
    pub note: String,
}

/// Reports of one controller; clones share its queue.
#[derive(Clone)]
pub struct Reporter {
    send: mpsc::Sender<Report>,
}

impl Reporter {
    /// Reports as `controller`, from the process on `host`. It sends until `stop`.
    pub fn new(client: Client, controller: &str, host: &str, stop: CancellationToken) -> Self {
        let (send, receive) = mpsc::channel(QUEUE);
        let sender = Sender {
            client,
            controller: controller.to_owned(),
            instance: format!("{controller}-{host}"),
            memory: Memory::default(),
        };
        tokio::spawn(stop.run_until_cancelled_owned(sender.run(receive)));
        Self { send }
    }

    /// Reports; dropped when too many wait.
    pub fn report(&self, report: Report) {
        if self.send.try_send(report).is_err() {
            tracing::debug!("event dropped");
        }
    }
}

/// An event that was sent.
struct Known {
    namespace: String,
    name: String,
    /// How often it has happened, and how often the server was told.
    count: i32,
    told: i32,
    last: Instant,
    last_time: Timestamp,
    written: Instant,
}

impl Known {
    fn series(&self) -> serde_json::Value {
        let series = EventSeries { count: self.count, last_observed_time: MicroTime(self.last_time) };
        json!({"series": series})
    }
}

/// What is to be done for an event.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// It is new.
    Create,
    /// It has become a series: the server is told.
    Tell,
    /// It is counted only, until the series is written again.
    Count,
}

/// What was sent, by what it says but for the note.
#[derive(Default)]
struct Memory {
    hashes: RandomState,
    known: HashMap<u64, Known>,
}

impl Memory {
    /// Events with the same key are the same: of the same state of the same object.
    fn key(&self, report: &Report) -> u64 {
        let parts = |object: &ObjectReference| {
            [&object.kind, &object.namespace, &object.name, &object.uid, &object.resource_version]
                .map(Clone::clone)
        };
        let related = report.related.as_ref().map(parts);
        let warning = report.kind == Type::Warning;
        self.hashes.hash_one((parts(&report.regarding), related, warning, report.reason, report.action))
    }

    fn note(&mut self, key: u64, now: Instant, time: Timestamp) -> Step {
        let Some(known) = self.known.get_mut(&key) else { return Step::Create };
        known.count += 1;
        (known.last, known.last_time) = (now, time);
        if known.told > 1 {
            return Step::Count;
        }
        (known.told, known.written) = (known.count, now);
        Step::Tell
    }

    /// Forgets what has ended; the series whose counts are to be written now.
    fn sweep(&mut self, now: Instant) -> Vec<(String, String, serde_json::Value)> {
        let mut untold = Vec::new();
        self.known.retain(|_, known| {
            let ended = now.duration_since(known.last) >= ENDED;
            let due = ended || now.duration_since(known.written) >= REFRESHED;
            if due && known.count > known.told {
                untold.push((known.namespace.clone(), known.name.clone(), known.series()));
                (known.told, known.written) = (known.count, now);
            }
            !ended
        });
        untold
    }
}

struct Sender {
    client: Client,
    controller: String,
    instance: String,
    memory: Memory,
}

impl Sender {
    async fn run(mut self, mut receive: mpsc::Receiver<Report>) {
        let mut swept = Instant::now();
        loop {
            let due = swept + SWEPT;
            let report = match self.memory.known.is_empty() {
                true => receive.recv().await,
                false => match tokio::time::timeout_at(due, receive.recv()).await {
                    Ok(report) => report,
                    Err(_) => {
                        swept = Instant::now();
                        for (namespace, name, series) in self.memory.sweep(swept) {
                            self.tell(&namespace, &name, &series).await;
                        }
                        continue;
                    }
                },
            };
            let Some(report) = report else { return };
            self.send(report).await;
        }
    }

    async fn send(&mut self, report: Report) {
        let (key, now, time) = (self.memory.key(&report), Instant::now(), Timestamp::now());
        let step = self.memory.note(key, now, time);
        if step == Step::Count {
            return;
        }
        if step == Step::Tell
            && let Some(known) = self.memory.known.get(&key)
        {
            let (namespace, name, series) = (known.namespace.clone(), known.name.clone(), known.series());
            if self.tell(&namespace, &name, &series).await {
                return;
            }
            // It expired on the server: begin anew.
            self.memory.known.remove(&key);
        }
        let event = self.event(&report, time);
        let space = event.metadata.namespace.clone().unwrap_or_default();
        let name = event.metadata.name.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), &space);
        let (to, what) = (&api, &event);
        let create = move || {
            Box::pin(async move { to.create(&PostParams::default(), what).await.map(drop) })
                as BoxFuture<'_, _>
        };
        let sent = deliver(&name, create).await;
        if sent && self.memory.known.len() < MEMORY {
            let known =
                Known { namespace: space, name, count: 1, told: 1, last: now, last_time: time, written: now };
            self.memory.known.insert(key, known);
        }
    }

    /// Writes how often an event has happened; whether the server has it.
    async fn tell(&self, namespace: &str, name: &str, series: &serde_json::Value) -> bool {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let api = &api;
        let write = move || {
            Box::pin(async move {
                api.patch(name, &PatchParams::default(), &Patch::Strategic(series)).await.map(drop)
            }) as BoxFuture<'_, _>
        };
        deliver(name, write).await
    }

    fn event(&self, report: &Report, time: Timestamp) -> Event {
        let object = &report.regarding;
        let name = format!("{}.{:x}", object.name.as_deref().unwrap_or_default(), time.as_nanosecond());
        Event {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(namespace(object).to_owned()),
                ..Default::default()
            },
            event_time: Some(MicroTime(time)),
            reporting_controller: Some(self.controller.clone()),
            reporting_instance: Some(self.instance.clone()),
            action: Some(report.action.to_owned()),
            reason: Some(report.reason.to_owned()),
            type_: Some(report.kind.name().to_owned()),
            note: Some(shortened(&report.note)),
            regarding: Some(object.clone()),
            related: report.related.clone(),
            ..Default::default()
        }
    }
}

/// A note that is not too long for the server.
fn shortened(note: &str) -> String {
    if note.len() <= NOTE {
        return note.to_owned();
    }
    let end = note.floor_char_boundary(NOTE - CUT.len());
    format!("{}{CUT}", &note[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(version: &str) -> Report {
        let regarding = ObjectReference {
            name: Some("p".to_owned()),
            resource_version: Some(version.to_owned()),
            ..Default::default()
        };
        let (reason, action) = ("FailedScheduling", "Scheduling");
        Report { regarding, related: None, kind: Type::Warning, reason, action, note: String::new() }
    }

    #[test]
    fn what_happens_again_becomes_a_series() {
        let mut memory = Memory::default();
        let (now, time) = (Instant::now(), Timestamp::now());
        let key = memory.key(&report("1"));
        assert_ne!(key, memory.key(&report("2")), "of another state of the object");
        assert_eq!(memory.note(key, now, time), Step::Create);
        let known = |name: &str| Known {
            namespace: "d".to_owned(),
            name: name.to_owned(),
            count: 1,
            told: 1,
            last: now,
            last_time: time,
            written: now,
        };
        memory.known.insert(key, known("p.1"));
        assert_eq!(memory.note(key, now, time), Step::Tell);
        assert_eq!(memory.note(key, now, time), Step::Count);
        assert!(memory.sweep(now + SWEPT).is_empty(), "it goes on");
        let untold = memory.sweep(now + ENDED);
        assert_eq!(untold.len(), 1);
        assert_eq!(untold[0].2["series"]["count"], 3);
        assert!(memory.known.is_empty());
    }

    #[test]
    fn notes_are_shortened() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"ä".repeat(1000));
        assert!(long.len() <= NOTE && long.ends_with("ä ..."), "{}", long.len());
    }
}
