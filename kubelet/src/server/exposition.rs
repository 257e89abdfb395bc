//! Metrics in Prometheus' text form.

use std::fmt::Write;

use axum::http::header;

/// The answer's type.
pub const TEXT: [(header::HeaderName, &str); 1] =
    [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];

/// One metric with its help, kind and samples.
pub struct Metric(pub String);

impl Metric {
    /// No samples yet.
    pub fn new(name: &str, kind: &str, help: &str) -> Self {
        Self(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"))
    }

    /// Adds a sample.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.write(name, labels, value);
        self.0.push('\n');
    }

    /// A sample with its time, in milliseconds since the epoch.
    pub fn sample_at(&mut self, name: &str, labels: &[(&str, &str)], value: f64, at: i64) {
        self.write(name, labels, value);
        let _ = writeln!(self.0, " {at}");
    }

    fn write(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{name}{labels} {value}");
    }
}
