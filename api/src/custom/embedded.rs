//! Objects within objects (`x-kubernetes-embedded-resource`): they say what they are, and their metadata is metadata.
use crate::field::{Error, ErrorList};
use crate::{Object, Value, names, validation};

/// The faults of what every object has.
pub(super) fn validate(members: &Object, path: &str) -> ErrorList {
    let mut errors = ErrorList::new();
    for name in ["apiVersion", "kind"] {
        let at = format!("{path}.{name}");
        match members.get(name) {
            None => errors.push(Error::required(at, "must not be empty")),
            Some(value) => errors.extend(fault(name, value).map(|fault| Error::invalid(at, value, fault))),
        }
    }
    if let Some(Value::Object(metadata)) = members.get("metadata") {
        let mut metadata = metadata.clone();
        // An object within an object needs no name.
        let name = metadata.entry("name").or_insert(Value::Null);
        if name.as_str().is_none_or(str::is_empty) {
            *name = "unnamed".into();
        }
        errors.extend(validation::metadata_of(&metadata.into(), &format!("{path}.metadata")));
    }
    errors
}

fn fault(name: &str, value: &Value) -> Option<String> {
    let text = match value.as_str() {
        None => return Some("must be a string".to_owned()),
        Some("") => return Some("must not be empty".to_owned()),
        Some(text) => text,
    };
    if name == "apiVersion" {
        return (text.matches('/').count() > 1).then(|| format!("unexpected GroupVersion string: {text}"));
    }
    let faults = names::dns1035_label(&text.to_lowercase());
    (!faults.is_empty())
        .then(|| format!("may have mixed case, but should otherwise match: {}", faults.join(",")))
}
