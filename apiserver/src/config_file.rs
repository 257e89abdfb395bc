//! Configuration files of the API server: YAML or JSON of a group, kind and version.
use knarr_api::Value;

/// Reads a file's text as one document of a kind.
///
/// # Errors
/// What is no YAML, has members twice, or is of another kind or version.
pub fn parse(text: &str, group: &str, kind: &str, versions: &[&str]) -> Result<Value, String> {
    let mut strict = Vec::new();
    let value = knarr_api::yaml::parse(text, &mut strict).map_err(|error| error.to_string())?;
    if let Some(error) = strict.first() {
        return Err(format!("strict decoding error: {error}"));
    }
    let text = |field: &str| value[field].as_str().unwrap_or_default();
    let known = versions.iter().any(|version| text("apiVersion") == format!("{group}/{version}"));
    if !known || text("kind") != kind {
        return Err(format!("no kind {:?} is registered for version {:?}", text("kind"), text("apiVersion")));
    }
    Ok(value)
}
