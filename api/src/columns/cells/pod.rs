//! Cells of pods: what state the containers add up to.
use super::{CellFn, Context, str_of};
use crate::Value;
use crate::time::Timestamp;

pub(super) const CELLS: &[(&str, CellFn)] = &[
    ("pod_ip", |c| {
        let ip = c.items("status.podIPs").next().map_or("", |ip| str_of(ip, "ip"));
        Some(Value::from(if ip.is_empty() { "<none>" } else { ip }))
    }),
    ("pod_readiness_gates", |c| {
        let gates = c.items("spec.readinessGates");
        let met = gates.clone().filter(|gate| c.is_true(str_of(gate, "conditionType"))).count();
        let total = gates.count();
        Some(Value::from(if total == 0 { "<none>".to_owned() } else { format!("{met}/{total}") }))
    }),
    ("pod_ready", |c| {
        let summary = Summary::of(c);
        Some(Value::from(format!("{}/{}", summary.ready, summary.total)))
    }),
    ("pod_restarts", |c| {
        let Restarts { count, last } = Summary::of(c).restarts;
        Some(Value::from(match last {
            Some(last) if count != 0 => {
                let ago = crate::time::duration::human(c.now.seconds_since(last));
                format!("{count} ({ago} ago)")
            }
            _ => count.to_string(),
        }))
    }),
    ("pod_status", |c| Some(Value::from(Summary::of(c).reason))),
];

/// Restarts and the time of the latest.
#[derive(Clone, Copy, Default)]
struct Restarts {
    count: i64,
    last: Option<Timestamp>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += status["restartCount"].as_i64().unwrap_or(0);
        let finished = status["lastState"]["terminated"]["finishedAt"].as_str();
        let finished = finished.and_then(|time| Timestamp::parse(time).ok());
        self.last = self.last.max(finished);
    }
}

struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: Restarts,
}

impl Summary {
    fn of(c: &Context<'_>) -> Self {
        let sidecars = c.items("spec.initContainers").filter(|i| i["restartPolicy"] == "Always");
        let mut summary = Self {
            reason: base_reason(c),
            ready: 0,
            total: c.items("spec.containers").count() + sidecars.count(),
            restarts: Restarts::default(),
        };
        if let Some(restarts) = summary.look_at_init(c) {
            summary.restarts = restarts;
            summary.look_at_containers(c);
        }
        let terminal = matches!(c.text("status.phase"), Some("Succeeded" | "Failed"));
        if c.deleting() && c.text("status.reason") == Some("NodeLost") {
            "Unknown".clone_into(&mut summary.reason);
        } else if c.deleting() && !terminal {
            "Terminating".clone_into(&mut summary.reason);
        }
        summary
    }

    /// Takes in the init containers; gives the restarts of sidecars where the pod is past its initialisation.
    fn look_at_init(&mut self, c: &Context<'_>) -> Option<Restarts> {
        let mut sidecars = Restarts::default();
        let total = c.items("spec.initContainers").count();
        for (at, status) in c.items("status.initContainerStatuses").enumerate() {
            let sidecar = c
                .items("spec.initContainers")
                .any(|i| i["name"] == status["name"] && i["restartPolicy"] == "Always");
            self.restarts.add(status);
            if sidecar {
                sidecars.add(status);
            }
            let terminated = &status["state"]["terminated"];
            if terminated["exitCode"] == 0 {
                continue;
            }
            if sidecar && status["started"] == true {
                self.ready += usize::from(status["ready"] == true);
                continue;
            }
            let waiting = str_of(&status["state"]["waiting"], "reason");
            self.reason = if terminated.is_object() {
                format!("Init:{}", exit_reason(terminated))
            } else if !waiting.is_empty() && waiting != "PodInitializing" {
                format!("Init:{waiting}")
            } else {
                format!("Init:{at}/{total}")
            };
            return c.is_true("Initialized").then_some(sidecars);
        }
        Some(sidecars)
    }

    fn look_at_containers(&mut self, c: &Context<'_>) {
        let mut running = false;
        let mut failure = None;
        let statuses: Vec<&Value> = c.items("status.containerStatuses").collect();
        for status in statuses.into_iter().rev() {
            self.restarts.add(status);
            let state = &status["state"];
            let waiting = str_of(&state["waiting"], "reason");
            if !waiting.is_empty() {
                waiting.clone_into(&mut self.reason);
            } else if state["terminated"].is_object() {
                self.reason = exit_reason(&state["terminated"]);
                if state["terminated"]["exitCode"].as_i64().unwrap_or(0) != 0 {
                    failure = Some(self.reason.clone());
                }
            } else if status["ready"] == true && state["running"].is_object() {
                running = true;
                self.ready += 1;
            }
        }
        if self.reason == "Completed" {
            if running && c.is_true("Ready") {
                "Running".clone_into(&mut self.reason);
            } else if let Some(failure) = failure {
                self.reason = failure;
            } else if running {
                "NotReady".clone_into(&mut self.reason);
            }
        }
    }
}

/// The state before the containers are looked at.
fn base_reason(c: &Context<'_>) -> String {
    let gated = c.condition("PodScheduled").is_some_and(|s| s["reason"] == "SchedulingGated");
    let reason = c.text("status.reason").or_else(|| c.text("status.phase"));
    if gated { "SchedulingGated".to_owned() } else { reason.unwrap_or_default().to_owned() }
}

/// How a terminated container ended.
fn exit_reason(terminated: &Value) -> String {
    match (str_of(terminated, "reason"), terminated["signal"].as_i64().unwrap_or(0)) {
        ("", 0) => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}
