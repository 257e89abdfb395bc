//! Plays scenarios: many at a time, the ones that must be alone at the end.
use crate::Args;
use crate::context::Context;
use crate::scenarios::Scenario;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Plays all of them and prints the result.
pub fn run(args: &Args, scenarios: &[Scenario]) -> ExitCode {
    let failed = Mutex::new(Vec::new());
    let (alone, together): (Vec<&Scenario>, Vec<&Scenario>) = scenarios.iter().partition(|one| one.alone);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..args.parallel.max(1) {
            scope.spawn(|| {
                while let Some(scenario) = together.get(next.fetch_add(1, Ordering::Relaxed)) {
                    play(args, scenario, &failed);
                }
            });
        }
    });
    for scenario in alone {
        play(args, scenario, &failed);
    }
    let failed = failed.into_inner().unwrap_or_default();
    if !failed.is_empty() {
        println!("\nfailed: {}", failed.join(", "));
    }
    println!("{} passed, {} failed", scenarios.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn play(args: &Args, scenario: &Scenario, failed: &Mutex<Vec<&'static str>>) {
    let started = Instant::now();
    let result = Context::open(args, scenario.name).and_then(|context| {
        let played = catch_unwind(AssertUnwindSafe(|| (scenario.play)(&context)));
        let played = played.unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
        if played.is_err() {
            context.explain();
        }
        context.close();
        played
    });
    let seconds = started.elapsed().as_secs_f64();
    match result {
        Ok(()) => println!("ok      {} ({seconds:.1}s)", scenario.name),
        Err(e) => {
            println!("FAILED  {} ({seconds:.1}s): {e:#}", scenario.name);
            if let Ok(mut failed) = failed.lock() {
                failed.push(scenario.name);
            }
        }
    }
}
