//! What CustomResourceDefinitions cost: memory of the server, and the time until one is served.
use super::client::{Call, Connection};
use super::report::{Report, percentile};
use super::server::Site;
use super::{Scale, process};
use crate::progress::Progress;
use anyhow::Result;
use http::Method;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Takes the measurements on a server of its own.
pub async fn measure(site: &Site, scale: &Scale, report: &mut Report, progress: &mut Progress) -> Result<()> {
    if !scale.wants("definitions") {
        return Ok(());
    }
    let count = scale.definitions;
    let (server, _) = site.start().await?;
    let (pid, mut connection) = (server.pid(), server.target.connect().await?);
    process::rest(pid).await?;
    let before = process::memory(pid)?;
    progress.step(&format!("Installing {count} CustomResourceDefinitions"));
    let mut times = Vec::new();
    for number in 0..count {
        times.push(install(&mut connection, number).await?);
    }
    report_times("definitions.create_to_served", &mut times, report);
    let per_definition = |now: f64| (now - before) / count as f64;
    process::rest(pid).await?;
    report.add("definitions.memory_each_mb", per_definition(process::memory(pid)?));
    progress.step("Changing every definition");
    for number in 0..count {
        times.push(change(&mut connection, number).await?);
    }
    report_times("definitions.change", &mut times, report);
    process::rest(pid).await?;
    report.add("definitions.memory_each_changed_mb", per_definition(process::memory(pid)?));
    progress.step("Reading the documents");
    for (name, path, accept) in [
        ("definitions.discovery", "/apis", AGGREGATED),
        ("definitions.openapi_v3_index", "/openapi/v3", "application/json"),
        ("definitions.openapi_v2", "/openapi/v2", "application/json"),
    ] {
        // After a change nothing of it is built.
        change(&mut connection, 0).await?;
        let call = Call { accept, ..Call::get(path) };
        for what in ["first", "again"] {
            let begin = Instant::now();
            connection.send(&call).await?;
            report.add_time(&format!("{name}_{what}"), begin.elapsed());
        }
    }
    process::rest(pid).await?;
    report.add("definitions.memory_each_read_mb", per_definition(process::memory(pid)?));
    Ok(())
}

fn report_times(name: &str, times: &mut Vec<Duration>, report: &mut Report) {
    times.sort_unstable();
    report.add_time(&format!("{name}.p50"), percentile(times, 0.5));
    report.add_time(&format!("{name}.p99"), percentile(times, 0.99));
    times.clear();
}

/// Makes a definition and lists its resource, as an apply of both does.
async fn install(connection: &mut Connection, number: usize) -> Result<Duration> {
    let begin = Instant::now();
    let body = definition(number).to_string();
    connection.send(&Call::json(Method::POST, DEFINITIONS, body)).await?;
    let resource = format!("/apis/group-{}.example.com/v1/things{number}s", number % 50);
    connection.send(&Call::get(resource)).await?;
    Ok(begin.elapsed())
}

async fn change(connection: &mut Connection, number: usize) -> Result<Duration> {
    let begin = Instant::now();
    let name = format!("things{number}s.group-{}.example.com", number % 50);
    let field = format!("{begin:?}").bytes().filter(u8::is_ascii_digit).map(char::from).collect::<String>();
    let patch = json!([{
        "op": "add",
        "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/changed",
        "value": {"type": "string", "description": field},
    }]);
    let call = Call::json(Method::PATCH, format!("{DEFINITIONS}/{name}"), patch.to_string());
    connection.send(&Call { content_type: Some("application/json-patch+json"), ..call }).await?;
    Ok(begin.elapsed())
}

/// A definition as operators have them: some 25 KB, most of it descriptions.
fn definition(number: usize) -> Value {
    let group = format!("group-{}.example.com", number % 50);
    let (plural, kind) = (format!("things{number}s"), format!("Thing{number}"));
    let schema = json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["section0"], "properties": sections(number)},
        "status": {"type": "object", "properties": {"conditions": conditions(), "replicas": {"type": "integer"}}},
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}")},
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": {"plural": plural, "singular": format!("thing{number}"), "kind": kind},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": schema},
                "additionalPrinterColumns": [{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}],
            }],
        },
    })
}

fn sections(number: usize) -> Value {
    let field = |section: usize, field: usize| {
        let text = format!(
            "Field {field} of section {section} of thing {number}: what it does, what it is by default, and what it must not be."
        );
        match field % 5 {
            0 => {
                json!({"type": "string", "description": text, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63})
            }
            1 => {
                json!({"type": "integer", "format": "int32", "description": text, "minimum": 0, "default": 3})
            }
            2 => {
                json!({"type": "array", "description": text, "items": {"type": "string"}, "x-kubernetes-list-type": "set"})
            }
            3 => json!({"type": "object", "description": text, "additionalProperties": {"type": "string"}}),
            _ => json!({"description": text, "x-kubernetes-int-or-string": true}),
        }
    };
    let section = |section: usize| {
        let fields =
            (0..12).map(|n| (format!("field{n}"), field(section, n))).collect::<serde_json::Map<_, _>>();
        let text = format!("Section {section} of the specification.");
        (format!("section{section}"), json!({"type": "object", "description": text, "properties": fields}))
    };
    Value::Object((0..10).map(section).collect())
}

fn conditions() -> Value {
    let text = |what: &str| json!({"type": "string", "description": format!("The {what} of the condition, for people and programs.")});
    json!({
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        "items": {"type": "object", "required": ["type", "status"], "properties": {
            "type": text("type"), "status": text("status"), "reason": text("reason"), "message": text("message"),
            "lastTransitionTime": {"type": "string", "format": "date-time"},
        }},
    })
}

#[cfg(test)]
mod tests {
    use super::definition;

    #[test]
    fn definitions_have_their_size() {
        let size = definition(499).to_string().len();
        assert!((20_000..30_000).contains(&size), "{size}");
    }
}
