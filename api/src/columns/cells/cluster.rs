//! Cells of nodes, volumes, events, bindings and the machinery of the cluster.
use super::{CellFn, Context, limited, str_of};
use crate::Value;
use std::collections::BTreeSet;

pub(super) const CELLS: &[(&str, CellFn)] = &[
    ("access_modes", |c| Some(Value::from(access_modes(c.items(c.argument))))),
    ("api_service_available", |c| {
        let Some(condition) = c.condition("Available") else { return Some(Value::from("Unknown")) };
        Some(Value::from(match str_of(condition, "status") {
            "True" => "True".to_owned(),
            status => format!("{status} ({})", str_of(condition, "reason")),
        }))
    }),
    ("api_service_target", |c| {
        let Some(service) = c.at("spec.service") else { return Some(Value::from("Local")) };
        Some(Value::from(format!("{}/{}", str_of(service, "namespace"), str_of(service, "name"))))
    }),
    ("claim_access_modes", |c| {
        let bound = c.text("spec.volumeName").is_some();
        Some(Value::from(if bound { access_modes(c.items("status.accessModes")) } else { String::new() }))
    }),
    ("claim_capacity", |c| {
        c.text("spec.volumeName")?;
        Some(c.at("status.capacity.storage").cloned().unwrap_or_else(|| Value::from("0")))
    }),
    ("component_status", |c| {
        Some(Value::from(match c.condition("Healthy").map(|i| str_of(i, "status")) {
            Some("True") => "Healthy",
            Some(_) => "Unhealthy",
            None => "Unknown",
        }))
    }),
    ("csi_token_requests", |c| {
        let audiences = c.items("spec.tokenRequests").map(|r| str_of(r, "audience")).collect::<Vec<_>>();
        Some(Value::from(if audiences.is_empty() { "<unset>".to_owned() } else { audiences.join(",") }))
    }),
    ("csr_condition", |c| {
        let has = |ty: &str| c.condition(ty).is_some();
        let mut text = match (has("Denied"), has("Approved")) {
            (true, _) => "Denied",
            (_, true) => "Approved",
            _ => "Pending",
        }
        .to_owned();
        if has("Failed") {
            text.push_str(",Failed");
        }
        if c.text("status.certificate").is_some() {
            text.push_str(",Issued");
        }
        Some(Value::from(text))
    }),
    ("csr_duration", |c| {
        let seconds = c.at("spec.expirationSeconds").and_then(Value::as_i64);
        Some(Value::from(seconds.map_or_else(|| "<none>".to_owned(), crate::time::duration::human)))
    }),
    ("event_count", |c| {
        let counts = ["series.count", "count", "deprecatedCount"];
        let count = counts.into_iter().map(|path| c.int(path)).find(|n| *n != 0);
        Some(Value::from(count.unwrap_or(1)))
    }),
    ("event_first_seen", |c| Some(Value::from(first_seen(c)))),
    ("event_last_seen", |c| {
        let last = ["series.lastObservedTime", "lastTimestamp", "deprecatedLastTimestamp"];
        let last = last.into_iter().find_map(|path| c.at(path));
        Some(Value::from(if last.is_some() { c.since(last, "<unknown>") } else { first_seen(c) }))
    }),
    ("event_message", |c| {
        let text = c.text("message").or_else(|| c.text("note")).unwrap_or_default();
        Some(Value::from(text.trim()))
    }),
    ("event_object", |c| {
        let object = event_object(c)?;
        let kind = str_of(object, "kind").to_lowercase();
        Some(Value::from(match str_of(object, "name") {
            "" => kind,
            name => format!("{kind}/{name}"),
        }))
    }),
    ("event_source", |c| {
        let first = |paths: &[&str]| paths.iter().find_map(|path| c.text(path)).unwrap_or_default();
        let component = first(&[
            "source.component",
            "deprecatedSource.component",
            "reportingComponent",
            "reportingController",
        ]);
        let host = first(&["source.host", "deprecatedSource.host", "reportingInstance"]);
        Some(Value::from(if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") }))
    }),
    ("event_subobject", |c| Some(Value::from(str_of(event_object(c)?, "fieldPath")))),
    ("migration_resource", |c| {
        let resource = c.at("spec.resource")?;
        let group = str_of(resource, "group");
        let dot = if group.is_empty() { "" } else { "." };
        Some(Value::from(format!("{}{dot}{group}", str_of(resource, "resource"))))
    }),
    ("migration_status", |c| {
        let status = ["Running", "Failed", "Succeeded"].into_iter().rfind(|ty| c.is_true(ty));
        Some(Value::from(status.unwrap_or("Unknown")))
    }),
    ("node_address", |c| {
        let address = c.items("status.addresses").find(|a| a["type"] == c.argument);
        Some(Value::from(address.map_or("<none>", |a| str_of(a, "address"))))
    }),
    ("node_kernel", |c| {
        let Some(kernel) = c.text("status.nodeInfo.kernelVersion") else {
            return Some(Value::from("<unknown>"));
        };
        Some(Value::from(match c.text("status.nodeInfo.architecture") {
            Some(architecture) => format!("{kernel} ({architecture})"),
            None => kernel.to_owned(),
        }))
    }),
    ("node_roles", |c| Some(Value::from(node_roles(c)))),
    ("node_status", |c| {
        let mut status = match c.condition("Ready").map(|r| str_of(r, "status")) {
            Some("True") => "Ready",
            Some(_) => "NotReady",
            None => "Unknown",
        }
        .to_owned();
        if c.at("spec.unschedulable") == Some(&Value::Bool(true)) {
            status.push_str(",SchedulingDisabled");
        }
        Some(Value::from(status))
    }),
    ("param_kind", |c| {
        let Some(kind) = c.at("spec.paramKind") else { return Some(Value::from("<unset>")) };
        Some(Value::from(format!("{}/{}", str_of(kind, "apiVersion"), str_of(kind, "kind"))))
    }),
    ("param_reference", |c| {
        let Some(reference) = c.at("spec.paramRef") else { return Some(Value::from("<unset>")) };
        let namespace = match str_of(reference, "namespace") {
            "" => "*",
            namespace => namespace,
        };
        Some(Value::from(match str_of(reference, "name") {
            "" => crate::columns::selector(reference.get("selector")),
            name => format!("{namespace}/{name}"),
        }))
    }),
    ("phase_or_terminating", |c| {
        let phase = c.text("status.phase").unwrap_or_default();
        Some(Value::from(if c.deleting() { "Terminating" } else { phase }))
    }),
    ("pod_certificate_state", |c| {
        let known = ["Issued", "Denied", "Failed"];
        let last = c.items("status.conditions").filter(|i| known.contains(&str_of(i, "type"))).last();
        Some(Value::from(last.map_or("Pending", |i| str_of(i, "type"))))
    }),
    ("pod_group_policy", |c| {
        Some(Value::from(if c.at("spec.schedulingPolicy.gang").is_some() { "Gang" } else { "Basic" }))
    }),
    ("pod_group_status", |c| {
        if let Some(target) = c.condition("DisruptionTarget").filter(|t| t["status"] == "True") {
            return Some(Value::from(str_of(target, "reason")));
        }
        Some(Value::from(match c.condition("PodGroupScheduled").map(|s| str_of(s, "status")) {
            Some("True") => "Scheduled",
            Some(_) => "Unschedulable",
            None => "Pending",
        }))
    }),
    ("pool_completed", |c| {
        let done = ["Complete", "Failed"].into_iter().find_map(|ty| c.condition(ty));
        Some(Value::from(c.since(done.and_then(|d| d.get("lastTransitionTime")), "<none>")))
    }),
    ("pool_errors", |c| {
        let failed = c.items("status.pools").filter(|p| !str_of(p, "validationError").is_empty()).count();
        Some(Value::from(failed.to_string()))
    }),
    ("pool_status", |c| {
        let shown = c.items("status.pools").count() as i64;
        let all = c.int("status.poolCount");
        Some(Value::from(if c.is_true("Failed") {
            "Failed".to_owned()
        } else if c.at("status").is_none() {
            "Pending".to_owned()
        } else if all > shown {
            format!("Complete ({shown}/{all} pools)")
        } else {
            "Complete".to_owned()
        }))
    }),
    ("pool_sum", |c| {
        if c.at("status").is_none() || c.is_true("Failed") {
            return Some(Value::from("-"));
        }
        let sum: i64 = c.items("status.pools").filter_map(|pool| pool[c.argument].as_i64()).sum();
        Some(Value::from(sum.to_string()))
    }),
    ("resource_claim_state", |c| {
        let allocated = c.at("status.allocation").is_some();
        let reserved = c.items("status.reservedFor").next().is_some();
        let states = [
            ("deleted", c.deleting()),
            ("pending", !allocated && !c.deleting()),
            ("allocated", allocated),
            ("reserved", allocated && reserved),
        ];
        let states = states.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name);
        Some(Value::from(states.collect::<Vec<_>>().join(",")))
    }),
    ("role_reference", |c| {
        let role = c.at("roleRef")?;
        Some(Value::from(format!("{}/{}", str_of(role, "kind"), str_of(role, "name"))))
    }),
    ("storage_class", |c| {
        let annotations = c.at("metadata.annotations");
        let old = annotations.and_then(|a| a["volume.beta.kubernetes.io/storage-class"].as_str());
        Some(Value::from(old.or_else(|| c.text("spec.storageClassName")).unwrap_or_default()))
    }),
    ("storage_versions", |c| {
        let versions = c
            .items("status.storageVersions")
            .map(|v| format!("{}={}", str_of(v, "apiServerID"), str_of(v, "encodingVersion")));
        Some(limited(&versions.collect::<Vec<_>>(), 3).unwrap_or_else(|| Value::from("<unset>")))
    }),
    ("subjects", |c| {
        let subjects = c.items("subjects").filter(|s| s["kind"] == c.argument);
        let names = subjects.map(|s| match (c.argument, str_of(s, "namespace")) {
            ("ServiceAccount", namespace) => format!("{namespace}/{}", str_of(s, "name")),
            _ => str_of(s, "name").to_owned(),
        });
        Some(Value::from(names.collect::<Vec<_>>().join(", ")))
    }),
    ("volume_claim", |c| {
        let claim = c.at("spec.claimRef")?;
        Some(Value::from(format!("{}/{}", str_of(claim, "namespace"), str_of(claim, "name"))))
    }),
];

/// The object of an event, in either version of the resource.
fn event_object<'a>(c: &Context<'a>) -> Option<&'a Value> {
    c.at("involvedObject").or_else(|| c.at("regarding"))
}

fn first_seen(c: &Context<'_>) -> String {
    let first = ["firstTimestamp", "deprecatedFirstTimestamp", "eventTime"];
    c.since(first.into_iter().find_map(|path| c.at(path)), "<unknown>")
}

/// Access modes by their short names, in a fixed order.
fn access_modes<'v>(modes: impl Iterator<Item = &'v Value> + Clone) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| modes.clone().any(|m| m == mode);
    known.into_iter().filter(|(mode, _)| has(mode)).map(|(_, short)| short).collect::<Vec<_>>().join(",")
}

fn node_roles(c: &Context<'_>) -> String {
    let labels = c.at("metadata.labels").and_then(Value::as_object).into_iter().flatten();
    let role = |(key, value): (&String, &Value)| match key.strip_prefix("node-role.kubernetes.io/") {
        Some(role) => Some(role.to_owned()),
        None if key == "kubernetes.io/role" => value.as_str().map(ToOwned::to_owned),
        None => None,
    };
    let roles: BTreeSet<String> = labels.filter_map(role).filter(|role| !role.is_empty()).collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}
