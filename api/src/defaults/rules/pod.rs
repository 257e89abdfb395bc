//! Defaults of pods, containers and volumes.
use super::{member, text};
use crate::quantity::Quantity;
use crate::{Object, Value};
use std::collections::BTreeMap;

/// `Always` for the tag `latest`, or neither tag nor digest; else `IfNotPresent`.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image.split_once('@').map_or((image, None), |(n, d)| (n, Some(d)));
    let last = name.rsplit('/').next().unwrap_or_default();
    let latest = match last.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => digest.is_none() && !last.is_empty(),
    };
    if latest { "Always" } else { "IfNotPresent" }
}

/// Container: how to pull its image.
pub(super) fn image_pull_policy(container: &mut Object) {
    if text(container, "imagePullPolicy").is_empty() {
        let policy = pull_policy(text(container, "image"));
        container.insert("imagePullPolicy".to_owned(), policy.into());
    }
}

/// Pod: a negative time to end in is one second; templates keep theirs.
pub(super) fn grace(pod: &mut Object) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if let Some(grace) = spec.get_mut("terminationGracePeriodSeconds")
        && grace.as_i64().is_some_and(|seconds| seconds < 0)
    {
        *grace = 1.into();
    }
}

/// Volume from an image: how to pull it.
pub(super) fn image_volume_pull_policy(volume: &mut Object) {
    let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) else { return };
    if text(image, "pullPolicy").is_empty() {
        let policy = pull_policy(text(image, "reference"));
        image.insert("pullPolicy".to_owned(), policy.into());
    }
}

/// Volume without a source: an empty directory.
pub(super) fn empty_volume_source(volume: &mut Object) {
    if volume.keys().all(|name| name == "name") {
        volume.insert("emptyDir".to_owned(), Value::Object(Object::new()));
    }
}

fn containers<'a>(pod: &'a mut Object, list: &str) -> impl Iterator<Item = &'a mut Object> {
    let items = pod.get_mut("spec").and_then(|s| s.get_mut(list)?.as_array_mut());
    items.into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Pod: a limit without a request is the request too.
pub(super) fn container_requests(pod: &mut Object) {
    for list in ["containers", "initContainers"] {
        for container in containers(pod, list) {
            let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
                continue;
            };
            let Some(Value::Object(limits)) = resources.get("limits").cloned() else { continue };
            if let Some(requests) = member(resources, "requests").filter(|_| !limits.is_empty()) {
                for (name, amount) in limits {
                    requests.entry(name).or_insert(amount);
                }
            }
        }
    }
}

/// Pod on the host's network: container ports are host ports.
pub(super) fn host_ports(pod: &mut Object) {
    for list in ["containers", "initContainers"] {
        for container in containers(pod, list) {
            let ports = container.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                let unset = port.get("hostPort").and_then(Value::as_i64).unwrap_or_default() == 0;
                if let Some(number) =
                    port.get("containerPort").cloned().filter(|number| unset && *number != 0)
                {
                    port.insert("hostPort".to_owned(), number);
                }
            }
        }
    }
}

type Amounts = BTreeMap<String, Quantity>;

fn amounts(container: &Value, list: &str) -> Amounts {
    let entries = container.get("resources").and_then(|r| r.get(list)?.as_object());
    let read = |(name, amount): (&String, &Value)| Some((name.clone(), amount.as_str()?.parse().ok()?));
    entries.into_iter().flatten().filter_map(read).collect()
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        sum.entry(name.clone()).and_modify(|s| *s = *s + *amount).or_insert(*amount);
    }
}

fn raise(most: &mut Amounts, other: &Amounts) {
    for (name, amount) in other {
        most.entry(name.clone()).and_modify(|m| *m = (*m).max(*amount)).or_insert(*amount);
    }
}

/// What the containers of a pod need together: the sum of those that run side by side, or more where an init
/// container asks for more while the sidecars before it run.
fn together(spec: &Object, list: &str) -> Amounts {
    let items = |name: &str| spec.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut sum = Amounts::new();
    for container in items("containers") {
        add(&mut sum, &amounts(container, list));
    }
    let (mut sidecars, mut peak) = (Amounts::new(), Amounts::new());
    for container in items("initContainers") {
        let mut own = amounts(container, list);
        if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            add(&mut sum, &own);
            add(&mut sidecars, &own);
            own = sidecars.clone();
        } else {
            add(&mut own, &sidecars);
        }
        raise(&mut peak, &own);
    }
    raise(&mut sum, &peak);
    sum
}

fn pod_resources(pod: &Object) -> Option<(&Object, &Object)> {
    let spec = pod.get("spec")?.as_object()?;
    Some((spec, spec.get("resources")?.as_object()?))
}

fn set_all(pod: &mut Object, list: &str, new: Amounts) {
    let resources = pod.get_mut("spec").and_then(|s| s.get_mut("resources")?.as_object_mut());
    let Some(resources) = resources.filter(|_| !new.is_empty()) else { return };
    if let Some(target) = member(resources, list) {
        for (name, amount) in new {
            target.entry(name).or_insert_with(|| amount.to_string().into());
        }
    }
}

/// Pod with amounts of its own: huge pages of its containers are limits of the pod, where neither its limits nor
/// its requests name the size.
pub(super) fn pod_level_hugepages(pod: &mut Object) {
    let Some((spec, resources)) = pod_resources(pod) else { return };
    let has = |list: &str, name: &str| {
        resources
            .get(list)
            .and_then(Value::as_object)
            .is_some_and(|l| name.is_empty() || l.contains_key(name))
    };
    if !has("limits", "") && !has("requests", "") {
        return;
    }
    let mut new = together(spec, "limits");
    new.retain(|name, _| name.starts_with("hugepages-") && !has("limits", name) && !has("requests", name));
    set_all(pod, "limits", new);
}

/// Pod with limits of its own: its requests are those of its containers together, else its limits.
pub(super) fn pod_level_requests(pod: &mut Object) {
    let Some((spec, resources)) = pod_resources(pod) else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).filter(|l| !l.is_empty()) else {
        return;
    };
    let mut new = together(spec, "requests");
    // Huge pages cannot be overcommitted: their request is the limit.
    new.retain(|name, _| matches!(&**name, "cpu" | "memory"));
    for (name, amount) in limits {
        let supported = matches!(&**name, "cpu" | "memory") || name.starts_with("hugepages-");
        if let Some(amount) = amount.as_str().and_then(|a| a.parse().ok()).filter(|_| supported) {
            new.entry(name.clone()).or_insert(amount);
        }
    }
    set_all(pod, "requests", new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pull_policies() {
        let check = |image: &str, policy: &str| assert_eq!(pull_policy(image), policy, "{image}");
        check("nginx", "Always");
        check("nginx:latest", "Always");
        check("nginx:1.2", "IfNotPresent");
        check("host:5000/nginx", "Always");
        check("host:5000/nginx:1", "IfNotPresent");
        check("nginx@sha256:00", "IfNotPresent");
        check("nginx:latest@sha256:00", "Always");
        check("", "IfNotPresent");
    }
}
