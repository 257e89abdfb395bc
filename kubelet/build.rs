//! Builds the pause program, which is carried in the binary.
use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=src/runtime/embedded/shim/pause/pause.rs");
    println!("cargo:rerun-if-changed=build.rs");
    let var = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let out = PathBuf::from(var("OUT_DIR")).join("pause");
    let target = var("TARGET");
    let mut rustc = Command::new(var("RUSTC"));
    rustc.args([
        "src/runtime/embedded/shim/pause/pause.rs",
        "--edition=2024",
        "--crate-type=bin",
        "--target",
        &target,
        "-O",
    ]);
    rustc.args(["-Cpanic=abort", "-Crelocation-model=static", "-Cstrip=symbols", "-Clink-arg=-nostartfiles"]);
    rustc.args(["-Clink-arg=-nostdlib", "-Clink-arg=-static", "-Clink-arg=-Wl,--build-id=none"]);
    rustc.arg("-o").arg(&out);
    let status = rustc.status().expect("rustc runs");
    assert!(status.success(), "the pause program does not build for {target}");
}
