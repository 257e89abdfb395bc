//! Progress of long work: a spinner on a terminal, plain lines elsewhere, nothing but the result for scripts.
use crate::cli::Output;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Shows the steps of one command on standard error.
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    step: Option<(String, Instant)>,
}

impl Progress {
    /// A display that fits the output form and where standard error goes.
    pub fn new(output: Output) -> Self {
        let quiet = output == Output::Json;
        let terminal = !quiet && std::io::stderr().is_terminal();
        let bar = terminal.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(80));
            bar
        });
        Self { bar, quiet, step: None }
    }

    /// Ends the current step and begins the next.
    pub fn step(&mut self, text: &str) {
        self.finish_step();
        if let Some(bar) = &self.bar {
            bar.set_message(text.to_owned());
            bar.reset_elapsed();
        }
        self.step = Some((text.to_owned(), Instant::now()));
    }

    /// Ends the last step.
    pub fn done(mut self) {
        self.finish_step();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn finish_step(&mut self) {
        let Some((text, started)) = self.step.take() else { return };
        let line = format!("{text} ({:.1}s)", started.elapsed().as_secs_f64());
        match &self.bar {
            Some(bar) => bar.println(line),
            None if !self.quiet => eprintln!("{line}"),
            None => {}
        }
    }
}
