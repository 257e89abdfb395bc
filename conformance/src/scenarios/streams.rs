//! Streams through the API server into containers, as stock kubectl opens them.
use crate::context::{Context, contains, eventually, same};
use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

/// Logs: all, the last lines, since, with times, followed to the end.
pub fn logs(context: &Context) -> Result<()> {
    let mut pod = context.pod("talker", &[]);
    pod["spec"]["restartPolicy"] = "Never".into();
    let script =
        "for i in 1 2 3 4 5; do echo line $i; done; while ! [ -e /tmp/go ]; do usleep 50000; done; echo last";
    pod["spec"]["containers"][0]["command"] = serde_json::json!(["sh", "-c", script]);
    context.apply_json(&pod)?;
    context.wait("pod/talker", "condition=Ready")?;
    eventually("the lines are there", || same(context.kubectl(&["logs", "talker"])?.lines().count(), 5))?;
    same(context.kubectl(&["logs", "talker", "--tail=2"])?.as_str(), "line 4\nline 5\n")?;
    contains(&context.kubectl(&["logs", "talker", "--timestamps", "--tail=1"])?, "Z line 5")?;
    contains(&context.kubectl(&["logs", "talker", "--since=1h"])?, "line 1")?;
    let mut following = context.background(&["logs", "-f", "talker"])?;
    let output = following.0.stdout.take().context("no output")?;
    let mut lines = BufReader::new(output).lines();
    let first = lines.next().context("nothing")??;
    same(first.as_str(), "line 1")?;
    context.exec("talker", &["touch", "/tmp/go"])?;
    let rest: Vec<String> = lines.collect::<Result<_, _>>()?;
    same(rest.last().map(String::as_str), Some("last"))?;
    ensure!(following.0.wait()?.success(), "kubectl logs -f failed");
    Ok(())
}

/// Commands: exit codes, standard input to its end, a terminal.
pub fn exec(context: &Context) -> Result<()> {
    context.toolbox("box")?;
    same(context.exec("box", &["echo", "hello"])?.as_str(), "hello\n")?;
    let status = context.command(&["exec", "box", "--", "sh", "-c", "echo oops >&2; exit 7"]).output()?;
    same(status.status.code(), Some(7))?;
    contains(&String::from_utf8_lossy(&status.stderr), "oops")?;
    let text = "a line\n".repeat(20_000);
    same(
        context.kubectl_with(&["exec", "-i", "box", "--", "wc", "-c"], &text)?.trim().to_owned(),
        text.len().to_string(),
    )?;
    same(context.kubectl_with(&["exec", "-i", "box", "--", "cat"], &text)?.len(), text.len())?;

    // `script` gives kubectl a terminal, as a person would.
    let command = context.command(&[
        "exec",
        "-it",
        "box",
        "--",
        "sh",
        "-c",
        "tty; stty size; read line; echo got $line",
    ]);
    let words: Vec<String> =
        std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect();
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qec", &words.join(" "), "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = terminal.spawn().context("cannot run script (package bsdutils)")?;
    if let Some(mut stdin) = terminal.stdin.take() {
        stdin.write_all(b"typed\n")?;
        let mut shown = String::new();
        terminal.stdout.take().context("no output")?.read_to_string(&mut shown)?;
        contains(&shown, "/dev/pts/")?;
        contains(&shown, "got typed")?;
    }
    terminal.wait()?;
    Ok(())
}

fn quote(word: &std::ffi::OsStr) -> String {
    format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))
}

/// Attaching to a running container.
pub fn attach(context: &Context) -> Result<()> {
    let mut pod = context.pod("reader", &[]);
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["containers"][0]["stdin"] = true.into();
    pod["spec"]["containers"][0]["stdinOnce"] = true.into();
    pod["spec"]["containers"][0]["command"] = serde_json::json!(["sh", "-c", "read line; echo got $line"]);
    context.apply_json(&pod)?;
    context.wait("pod/reader", "condition=Ready")?;
    let output = context.kubectl_with(&["attach", "-i", "reader"], "typed\n")?;
    contains(&output, "got typed")?;
    context.wait("pod/reader", "jsonpath={.status.phase}=Succeeded").map(|_| ())
}

/// Files in both directions.
pub fn copy(context: &Context) -> Result<()> {
    context.toolbox("box")?;
    let folder = tempfile::tempdir()?;
    let (sent, back) = (folder.path().join("sent"), folder.path().join("back"));
    let content: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    std::fs::write(&sent, &content)?;
    context.kubectl(&["cp", &sent.display().to_string(), "box:/tmp/there"])?;
    context.kubectl(&["cp", "box:/tmp/there", &back.display().to_string()])?;
    ensure!(std::fs::read(&back)? == content, "the file came back changed");
    Ok(())
}

/// A local port that leads into a pod.
pub fn port_forward(context: &Context) -> Result<()> {
    context.toolbox("box")?;
    let mut forward = context.background(&["port-forward", "pod/box", ":8080"])?;
    let output = forward.0.stdout.take().context("no output")?;
    // Held until the end: kubectl prints a line for each connection.
    let mut lines = BufReader::new(output).lines();
    let line = lines.next().context("no line")??;
    let port = line.split("127.0.0.1:").nth(1).and_then(|rest| rest.split(' ').next()).context("no port")?;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}"))?;
        stream.write_all(b"GET /hostname HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        contains(&answer, "box")?;
    }
    Ok(())
}

/// A log that grows too large is rotated: what follows it misses nothing, what asks later sees what came since.
pub fn log_rotation(context: &Context) -> Result<()> {
    let mut pod = context.pod("chatty", &[]);
    pod["spec"]["restartPolicy"] = "Never".into();
    // Each line takes about 50 bytes in the file, so this is more than the 10 MiB after which a log is rotated.
    let script = "while ! [ -e /tmp/go ]; do usleep 50000; done; seq 300000; while ! [ -e /tmp/end ]; do usleep 50000; done; echo last";
    pod["spec"]["containers"][0]["command"] = serde_json::json!(["sh", "-c", script]);
    context.apply_json(&pod)?;
    context.wait("pod/chatty", "condition=Ready")?;
    let mut following = context.background(&["logs", "-f", "chatty"])?;
    let output = BufReader::new(following.0.stdout.take().context("no output")?);
    // The pipe must not fill up, or the follower would stop reading.
    let reader = std::thread::spawn(move || output.lines().collect::<Result<Vec<String>, _>>());
    context.exec("chatty", &["touch", "/tmp/go"])?;
    eventually("the log is rotated", || {
        let lines = context.kubectl(&["logs", "chatty"])?;
        ensure!(!lines.starts_with("1\n"), "{} lines from the first on", lines.lines().count());
        Ok(())
    })?;
    context.exec("chatty", &["touch", "/tmp/end"])?;
    let lines = reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
    ensure!(following.0.wait()?.success(), "kubectl logs -f failed");
    same(lines.len(), 300_001)?;
    let wrong = lines.iter().zip(1..=300_000).find(|(line, number)| **line != number.to_string());
    ensure!(wrong.is_none(), "{wrong:?}");
    same(lines.last().map(String::as_str), Some("last"))?;
    let since = context.kubectl(&["logs", "chatty"])?;
    ensure!(since.ends_with("last\n"), "{since:?}");
    Ok(())
}
