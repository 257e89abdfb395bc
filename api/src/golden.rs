//! Every golden vector of the API converts between JSON, YAML and protobuf exactly.
use crate::table::{builtin, tests::fact};
use crate::{json, protobuf, yaml};
use std::path::Path;

struct Vector {
    name: String,
    json: Vec<u8>,
    yaml: String,
    protobuf: Vec<u8>,
}

fn vectors(dir: &Path) -> Vec<Vector> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .filter_map(|e| Some(e.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_owned()))
        .collect();
    names.sort();
    let read = |name: &str, ending: &str| std::fs::read(dir.join(format!("{name}.{ending}"))).unwrap();
    let vector = |name: String| Vector {
        json: read(&name, "json"),
        yaml: String::from_utf8(read(&name, "yaml")).unwrap(),
        protobuf: read(&name, "pb"),
        name,
    };
    names.into_iter().map(vector).collect()
}

/// The three forms of one vector, each read and written in all three.
fn check(vector: &Vector) -> Result<(), String> {
    let api = builtin();
    let (api_version, kind) = json::type_meta(&vector.json).map_err(|e| e.to_string())?;
    // WatchEvent alone has no identity of its own.
    let watch_event = || api.schema.find("io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent");
    let ty = if kind.is_empty() { watch_event() } else { api.type_of_document(&api_version, &kind) };
    let ty = ty.ok_or("no such kind")?;
    let mut strict = Vec::new();
    let from_json = json::decode(&api.schema, ty, &vector.json, &mut strict).map_err(|e| e.to_string())?;
    let from_yaml =
        yaml::decode(&api.schema, ty, vector.yaml.as_bytes(), &mut strict).map_err(|e| e.to_string())?;
    let from_protobuf = protobuf::decode_as(api, ty, &vector.protobuf).map_err(|e| e.to_string())?;
    if let Some(fault) = strict.first() {
        return Err(fault.to_string());
    }
    if !kind.is_empty() && protobuf::decode(api, &vector.protobuf).map_err(|e| e.to_string())?.ty != ty {
        return Err("the envelope names another kind".into());
    }
    for (form, value) in [("JSON", from_json), ("YAML", from_yaml), ("protobuf", from_protobuf)] {
        let text = json::indent(&json::to_vec(&api.schema, ty, &value));
        same(form, "JSON", &text, vector.json.trim_ascii_end())?;
        same(form, "YAML", yaml::encode(&api.schema, ty, &value).as_bytes(), vector.yaml.as_bytes())?;
        let mut bytes = Vec::new();
        protobuf::encode(&api.schema, ty, &value, &mut bytes).map_err(|e| e.to_string())?;
        same(form, "protobuf", &bytes, &vector.protobuf)?;
    }
    Ok(())
}

fn same(from: &str, to: &str, ours: &[u8], golden: &[u8]) -> Result<(), String> {
    if ours == golden {
        return Ok(());
    }
    let at = ours.iter().zip(golden).position(|(a, b)| a != b).unwrap_or(ours.len().min(golden.len()));
    let around =
        |bytes: &[u8]| bytes[at.saturating_sub(60)..bytes.len().min(at + 60)].escape_ascii().to_string();
    Err(format!("{from} to {to} differs at {at}:\n  ours   {}\n  golden {}", around(ours), around(golden)))
}

#[test]
fn golden_vectors_convert_exactly() {
    let Some(dir) = fact("wire") else { return };
    let vectors = vectors(&dir);
    assert_eq!(vectors.len(), 185);
    let faults: Vec<String> =
        vectors.iter().filter_map(|v| check(v).err().map(|e| format!("{}: {e}", v.name))).collect();
    assert!(faults.is_empty(), "{} of {}\n{}", faults.len(), vectors.len(), faults.join("\n"));
}
