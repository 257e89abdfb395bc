//! What another server offers, as aggregated discovery tells it.
use knarr_api::Value;
use serde_json::json;

/// The texts of a list, whatever else is in it.
fn texts(list: &Value) -> Value {
    list.as_array().into_iter().flatten().filter(|text| text.is_string()).cloned().collect()
}

/// The resources of an `APIResourceList` in the form of `apidiscovery.k8s.io/v2`. What the other server says is looked
/// at: one malformed entry would keep clients from reading all.
pub fn resources(list: &Value) -> Value {
    let listed = list["resources"].as_array().into_iter().flatten();
    let listed = listed.filter(|entry| entry["name"].is_string() && entry["kind"].is_string());
    let listed: Vec<&Value> = listed.collect();
    let name = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
    let kind = |entry: &Value| {
        json!({"group": entry["group"].as_str().unwrap_or_default(),
            "version": entry["version"].as_str().unwrap_or_default(), "kind": entry["kind"]})
    };
    let mains = listed.iter().filter(|entry| !name(entry).contains('/')).map(|entry| {
        let scope = if entry["namespaced"] == true { "Namespaced" } else { "Cluster" };
        let mut out = json!({"resource": name(entry), "responseKind": kind(entry), "scope": scope,
            "singularResource": entry["singularName"].as_str().unwrap_or_default(), "verbs": texts(&entry["verbs"])});
        for member in ["shortNames", "categories"] {
            if entry[member].is_array() {
                out[member] = texts(&entry[member]);
            }
        }
        let prefix = format!("{}/", name(entry));
        let subs = listed.iter().filter_map(|sub| {
            let of = name(sub).strip_prefix(&prefix)?.to_owned();
            Some(json!({"subresource": of, "responseKind": kind(sub), "verbs": texts(&sub["verbs"])}))
        });
        let subs: Vec<Value> = subs.collect();
        if !subs.is_empty() {
            out["subresources"] = Value::Array(subs);
        }
        out
    });
    Value::Array(mains.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subresources_lie_within_their_resource() {
        let list = json!({"resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
                "verbs": ["get"], "shortNames": ["fl"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder",
                "verbs": ["update"]},
            {"name": 7, "kind": "Broken"}]});
        assert_eq!(
            resources(&list),
            json!([{"resource": "flunders", "responseKind": {"group": "", "version": "", "kind": "Flunder"},
                "scope": "Namespaced", "singularResource": "flunder", "verbs": ["get"], "shortNames": ["fl"],
                "subresources": [{"subresource": "status",
                    "responseKind": {"group": "", "version": "", "kind": "Flunder"}, "verbs": ["update"]}]}])
        );
    }
}
