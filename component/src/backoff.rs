//! Exponential back-off with jitter.

use std::time::{Duration, Instant};

use rand::Rng;

/// Delays that grow by a factor up to a limit and start over after a quiet time.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    max: Duration,
    factor: f64,
    jitter: f64,
    reset_after: Duration,
    steps: u32,
    last: Option<Instant>,
}

impl Backoff {
    /// Doubling delays from `base` to `max` with 20 % jitter, that start over when the last
    /// delay was handed out more than two minutes ago.
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max,
            factor: 2.0,
            jitter: 0.2,
            reset_after: Duration::from_secs(120),
            steps: 0,
            last: None,
        }
    }

    /// The same delays without randomness.
    #[must_use]
    pub fn without_jitter(mut self) -> Self {
        self.jitter = 0.0;
        self
    }

    /// The next delay, at most `max` plus jitter.
    pub fn next_delay(&mut self) -> Duration {
        let now = Instant::now();
        if self.last.is_some_and(|last| now.duration_since(last) > self.reset_after) {
            self.steps = 0;
        }
        self.last = Some(now);
        let delay = exponential(self.base, self.max, self.factor, self.steps);
        self.steps = self.steps.saturating_add(1);
        if self.jitter > 0.0 {
            delay.mul_f64(1.0 + rand::rng().random_range(0.0..self.jitter))
        } else {
            delay
        }
    }

    /// Starts over with `base`.
    pub fn reset(&mut self) {
        self.steps = 0;
        self.last = None;
    }
}

/// `base * factor^steps`, at most `max`.
pub fn exponential(base: Duration, max: Duration, factor: f64, steps: u32) -> Duration {
    let seconds = base.as_secs_f64() * factor.powi(steps.min(1024) as i32);
    if seconds.is_finite() && seconds < max.as_secs_f64() { Duration::from_secs_f64(seconds) } else { max }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_limit() {
        let mut backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(30)).without_jitter();
        let delays: Vec<u128> = (0..5).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [5, 10, 20, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.next_delay().as_millis(), 5);
    }

    #[test]
    fn huge_step_counts_do_not_overflow() {
        let max = Duration::from_secs(1000);
        assert_eq!(exponential(Duration::from_millis(5), max, 2.0, u32::MAX), max);
    }
}
