//! From single answers to verdicts: thresholds of successes and failures in a row.

use k8s_openapi::api::core::v1::Probe;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Has it started? The others wait for it.
    Startup,
    /// Does it live? If not, it is restarted.
    Liveness,
    /// May it get traffic?
    Readiness,
}

impl Kind {
    /// The word in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }
}

/// What enough answers in a row say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is well.
    Success,
    /// It is not.
    Failure,
}

/// Counts answers.
#[derive(Debug)]
pub struct Machine {
    verdict: Option<Verdict>,
    last: Option<bool>,
    run: i32,
    successes: i32,
    failures: i32,
}

impl Machine {
    /// Begins with the verdict known before, else as the kind of probe wants it: alive, not ready, not
    /// known to have started.
    pub fn new(kind: Kind, probe: &Probe, known: Option<Verdict>) -> Self {
        Self {
            verdict: known.or(match kind {
                Kind::Startup => None,
                Kind::Liveness => Some(Verdict::Success),
                Kind::Readiness => Some(Verdict::Failure),
            }),
            last: None,
            run: 0,
            successes: probe.success_threshold.unwrap_or(1).max(1),
            failures: probe.failure_threshold.unwrap_or(3).max(1),
        }
    }

    /// Takes one answer; tells the verdict if it changed.
    pub fn observe(&mut self, success: bool) -> Option<Verdict> {
        self.run = if self.last == Some(success) { self.run + 1 } else { 1 };
        self.last = Some(success);
        let (threshold, verdict) =
            if success { (self.successes, Verdict::Success) } else { (self.failures, Verdict::Failure) };
        if self.run < threshold || self.verdict == Some(verdict) {
            return None;
        }
        self.verdict = Some(verdict);
        Some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds() {
        // `+` and `-` are answers; the expectation shows verdicts where they change.
        let check = |kind, successes, failures, answers: &str, expected: &str| {
            let probe = Probe {
                success_threshold: Some(successes),
                failure_threshold: Some(failures),
                ..Default::default()
            };
            let mut machine = Machine::new(kind, &probe, None);
            let got: String = answers
                .chars()
                .map(|answer| match machine.observe(answer == '+') {
                    None => '.',
                    Some(Verdict::Success) => 'S',
                    Some(Verdict::Failure) => 'F',
                })
                .collect();
            assert_eq!(got, expected, "{kind:?} {answers}");
        };
        check(Kind::Liveness, 1, 3, "++--+---", ".......F");
        check(Kind::Readiness, 1, 3, "-+---+", ".S..FS");
        check(Kind::Readiness, 2, 1, "+-++-", "...SF");
        check(Kind::Startup, 1, 3, "--+", "..S");
        check(Kind::Startup, 1, 2, "--", ".F");
    }
}
