//! Profiles of the node: files that say which system calls a container may make.
//!
//! The form is that of the OCI runtime specification, `linux.seccomp`, as every runtime reads it. Names of calls that
//! this kernel's architecture does not have are left out, as elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    syscalls: Vec<Calls>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Calls {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<Condition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    index: u8,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

const NOT_PERMITTED: u32 = 1;

/// An action in the words of the compiler.
fn action(name: &str, errno: Option<u32>) -> Result<Value, String> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => json!("allow"),
        "SCMP_ACT_ERRNO" => json!({ "errno": errno.unwrap_or(NOT_PERMITTED) }),
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => json!("kill_thread"),
        "SCMP_ACT_KILL_PROCESS" => json!("kill_process"),
        "SCMP_ACT_TRAP" => json!("trap"),
        "SCMP_ACT_TRACE" => json!({ "trace": errno.unwrap_or(NOT_PERMITTED) }),
        "SCMP_ACT_LOG" => json!("log"),
        _ => return Err(format!("action {name:?} is not supported")),
    })
}

fn condition(condition: &Condition) -> Result<Value, String> {
    let (op, value) = match condition.op.as_str() {
        "SCMP_CMP_EQ" => (json!("eq"), condition.value),
        "SCMP_CMP_NE" => (json!("ne"), condition.value),
        "SCMP_CMP_LT" => (json!("lt"), condition.value),
        "SCMP_CMP_LE" => (json!("le"), condition.value),
        "SCMP_CMP_GT" => (json!("gt"), condition.value),
        "SCMP_CMP_GE" => (json!("ge"), condition.value),
        // The mask comes first.
        "SCMP_CMP_MASKED_EQ" => (json!({ "masked_eq": condition.value }), condition.value_two),
        other => return Err(format!("comparison {other:?} is not supported")),
    };
    Ok(json!({ "index": condition.index, "type": "qword", "op": op, "val": value }))
}

/// Calls by name, each with the conditions under which a filter takes it; no conditions: always.
type Rules = BTreeMap<String, Vec<Value>>;

fn rules<'a>(calls: impl Iterator<Item = &'a Calls>) -> Result<Rules, String> {
    let (mut rules, mut always): (Rules, BTreeSet<&String>) = (Rules::new(), BTreeSet::new());
    for entry in calls {
        let conditions = entry.args.iter().map(condition).collect::<Result<Vec<Value>, String>>()?;
        for name in &entry.names {
            let known = rules.entry(name.clone()).or_default();
            if conditions.is_empty() {
                always.insert(name);
            } else {
                known.push(json!(conditions));
            }
        }
    }
    for name in always {
        rules.insert(name.clone(), Vec::new());
    }
    Ok(rules)
}

/// One filter for the compiler.
fn filter(rules: &Rules, taken: &Value, otherwise: &Value) -> Value {
    let one = |(name, conditions): (&String, &Vec<Value>)| match conditions.as_slice() {
        [] => vec![json!({ "syscall": name })],
        all => all.iter().map(|args| json!({ "syscall": name, "args": args })).collect(),
    };
    let entries: Vec<Value> = rules.iter().flat_map(one).collect();
    json!({ "all": { "mismatch_action": otherwise, "match_action": taken, "filter": entries } })
}

fn compile(filter: &Value, arch: TargetArch) -> Result<BpfProgram, String> {
    let programs = compile_from_json(filter.to_string().as_bytes(), arch);
    let mut programs = programs.map_err(|error| error.to_string())?;
    programs.remove("all").ok_or_else(|| "the filter is empty".to_owned())
}

/// The programs of a profile; of those that a call meets, the kernel does what the strictest says.
pub fn programs(text: &str) -> Result<Vec<BpfProgram>, String> {
    let profile: Profile = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let allow = json!("allow");
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let is_known = |name: &String| {
        let probe: Rules = [(name.clone(), Vec::new())].into();
        compile(&filter(&probe, &json!("log"), &allow), arch).is_ok()
    };
    let known = |mut rules: Rules| {
        rules.retain(|name, _| is_known(name));
        rules
    };
    let mut programs = Vec::new();
    if default != allow {
        // Whatever the profile names has an answer of its own.
        programs.push(compile(&filter(&known(rules(profile.syscalls.iter())?), &allow, &default), arch)?);
    }
    let mut actions: Vec<Value> = Vec::new();
    for entry in &profile.syscalls {
        let own = action(&entry.action, entry.errno_ret)?;
        if own != allow && !actions.contains(&own) {
            actions.push(own);
        }
    }
    for own in actions {
        let of_action = profile
            .syscalls
            .iter()
            .filter(|entry| action(&entry.action, entry.errno_ret).as_ref() == Ok(&own));
        programs.push(compile(&filter(&known(rules(of_action)?), &own, &allow), arch)?);
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_become_programs() {
        let check = |text: &str, expected: Result<usize, &str>| {
            let found = programs(text).map(|programs| programs.len());
            match expected {
                Ok(count) => assert_eq!(found, Ok(count), "{text}"),
                Err(part) => {
                    assert!(found.as_ref().is_err_and(|error| error.contains(part)), "{text}: {found:?}")
                }
            }
        };
        check(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#, Ok(0));
        check(r#"{"defaultAction": "SCMP_ACT_LOG"}"#, Ok(1));
        let named = r#""syscalls": [
            {"names": ["mkdir", "nosuchcall"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 255, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
            {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"}]"#;
        check(&format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", {named}}}"#), Ok(2));
        check(&format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", {named}}}"#), Ok(3));
        check("{", Err("EOF"));
        check(r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#, Err("SCMP_ACT_NOTIFY"));
    }

    #[test]
    fn conditions_are_alternatives_unless_one_is_none() {
        let calls = |args: &str| -> Calls {
            serde_json::from_str(&format!(r#"{{"names": ["a"], "action": "x", "args": [{args}]}}"#))
                .expect("calls")
        };
        let conditional = r#"{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}"#;
        let all = [calls(conditional), calls(conditional), calls("")];
        assert_eq!(rules(all[..2].iter()).expect("rules")["a"].len(), 2);
        assert!(rules(all.iter()).expect("rules")["a"].is_empty());
    }
}
