//! Containers of a pod that has ended: what may have run and shows no end is told to have been lost, as by the original's
//! `TerminatePod`, so that nobody waits for it.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::containers::unknown_end;
use crate::pod;

/// What is said of such a container.
pub const LOST: &str = "The container could not be located when the pod was terminated";

/// Gives an end to containers that have none; the statuses are in the order of the spec.
pub fn settle(pod: &Pod, init: &mut [ContainerStatus], app: &mut [ContainerStatus]) {
    if is_initialized(pod, init, app) {
        app.iter_mut().for_each(end);
    }
    let attempted = attempted(init);
    init[..attempted].iter_mut().for_each(end);
}

fn end(status: &mut ContainerStatus) {
    if status.state.as_ref().is_none_or(|state| state.terminated.is_none()) {
        status.state = Some(unknown_end(LOST, None));
    }
}

/// Exit code of the newest end of a container.
fn exit_codes(status: &ContainerStatus) -> impl Iterator<Item = i32> {
    let states = [&status.state, &status.last_state].into_iter().flatten();
    states.filter_map(|state| Some(state.terminated.as_ref()?.exit_code))
}

/// Whether the app containers' turn had come.
fn is_initialized(pod: &Pod, init: &[ContainerStatus], app: &[ContainerStatus]) -> bool {
    let runs = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
    let begun = app.iter().any(|status| runs(status) || exit_codes(status).next().is_some());
    begun
        || match (pod::init_containers(pod).last(), init.last()) {
            (Some(last), Some(status)) if pod::is_sidecar(last) => {
                runs(status) && status.started == Some(true)
            }
            (Some(_), Some(status)) => exit_codes(status).any(|code| code == 0),
            _ => pod::init_containers(pod).is_empty(),
        }
}

/// How many init containers were tried; the first one always counts.
fn attempted(init: &[ContainerStatus]) -> usize {
    let waits = |status: &ContainerStatus| {
        status.state.as_ref().is_none_or(|state| state.waiting.is_some())
            && status.last_state.as_ref().is_none_or(|last| last.terminated.is_none())
    };
    let last = init.iter().rposition(|status| !waits(status)).unwrap_or(0);
    init.len().min(last + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ContainerState;

    /// `name=w` waits, `name=r` runs, `name=CODE` has ended.
    fn statuses(text: &str) -> Vec<ContainerStatus> {
        let one = |item: &str| {
            let (name, state) = item.split_once('=').expect("state");
            let state = match state {
                "w" => serde_json::json!({"waiting": {"reason": "w"}}),
                "r" => serde_json::json!({"running": {}}),
                code => serde_json::json!({"terminated": {"exitCode": code.parse::<i32>().expect("code")}}),
            };
            let state: ContainerState = serde_json::from_value(state).expect("state");
            ContainerStatus { name: name.to_owned(), state: Some(state), ..Default::default() }
        };
        text.split_whitespace().map(one).collect()
    }

    #[test]
    fn what_is_lost() {
        let check = |init: &str, app: &str, expected: &str| {
            let names = |text: &str| {
                let names = text.split_whitespace().map(|item| format!("{{name: {}}}", &item[..1]));
                names.collect::<Vec<_>>().join(", ")
            };
            let spec = format!("initContainers: [{}], containers: [{}]", names(init), names(app));
            let pod = pod::tests::pod(&format!("{{spec: {{{spec}}}}}"));
            let (mut of_init, mut of_app) = (statuses(init), statuses(app));
            settle(&pod, &mut of_init, &mut of_app);
            let told = of_init.iter().chain(&of_app).map(|status| match exit_codes(status).next() {
                Some(code) => format!("{}={code}", status.name),
                None => format!("{}=w", status.name),
            });
            assert_eq!(told.collect::<Vec<_>>().join(" "), expected, "{init} {app}");
        };
        check("", "a=w", "a=137");
        check("", "a=w b=0", "a=137 b=0");
        check("i=w", "a=w", "i=137 a=w");
        check("i=w j=w", "a=w", "i=137 j=w a=w");
        check("i=0 j=w", "a=w", "i=0 j=w a=w");
        check("i=0 j=r", "a=w", "i=0 j=137 a=w");
        check("i=0 j=0", "a=w", "i=0 j=0 a=137");
        check("i=1 j=w", "a=w", "i=1 j=w a=w");
    }
}
