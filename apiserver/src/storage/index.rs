//! What selectors and indexes need of an object, extracted once a write.
use serde_json::Value;
use std::fmt::{self, Debug, Formatter};

/// Name-value pairs in one piece of text, in the order given.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Pairs {
    text: Box<str>,
    /// Ends of name, value, name, value, …
    ends: Box<[u32]>,
}

impl Pairs {
    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let at = |i: usize| if i == 0 { 0 } else { self.ends[i - 1] as usize };
        (0..self.ends.len() / 2).map(move |i| {
            let (start, middle, end) = (at(2 * i), at(2 * i + 1), at(2 * i + 2));
            (&self.text[start..middle], &self.text[middle..end])
        })
    }

    /// No pairs.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes held on the heap.
    pub fn size(&self) -> usize {
        self.text.len() + 4 * self.ends.len()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for (name, value) in pairs {
            text.push_str(name.as_ref());
            ends.push(text.len() as u32);
            text.push_str(value.as_ref());
            ends.push(text.len() as u32);
        }
        Self { text: text.into(), ends: ends.into() }
    }
}

impl Debug for Pairs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Facts of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// `metadata.labels`.
    pub labels: Pairs,
    /// Selectable fields by path, without `metadata.name` and `metadata.namespace`, which the key holds. A field
    /// that is absent here selects as the empty string.
    pub fields: Pairs,
    /// `metadata.uid`.
    pub uid: Box<str>,
}

impl Index {
    /// The facts of a document: its labels, its uid and the scalars at dotted `paths`.
    pub fn of<P: AsRef<str>>(object: &Value, paths: &[P]) -> Self {
        let metadata = object.get("metadata");
        let labels = metadata.and_then(|m| m.get("labels")).and_then(Value::as_object);
        let uid = metadata.and_then(|m| m.get("uid")).and_then(Value::as_str).unwrap_or_default();
        let fields = paths.iter().map(AsRef::as_ref).filter(|p| !in_key(p));
        Self {
            labels: labels
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.as_str(), value.as_str()?)))
                .collect(),
            fields: fields.filter_map(|path| Some((path, scalar(object, path)?))).collect(),
            uid: uid.into(),
        }
    }
}

fn in_key(path: &str) -> bool {
    matches!(path, "metadata.name" | "metadata.namespace")
}

fn scalar(object: &Value, path: &str) -> Option<String> {
    let value = path.split('.').try_fold(object, |value, step| value.get(step))?;
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn extracts_labels_fields_and_uid() {
        let pod = json!({"metadata": {"name": "a", "uid": "u-1", "labels": {"app": "web", "tier": ""}},
            "spec": {"nodeName": "n1", "hostNetwork": true}, "status": {}});
        let index = Index::of(&pod, &["metadata.name", "spec.nodeName", "status.phase", "spec.hostNetwork"]);
        assert_eq!(index.labels.get("app"), Some("web"));
        assert_eq!(index.labels.get("tier"), Some(""));
        assert_eq!(index.labels.get("none"), None);
        let fields: Vec<_> = index.fields.iter().collect();
        assert_eq!(fields, [("spec.nodeName", "n1"), ("spec.hostNetwork", "true")]);
        assert_eq!(&*index.uid, "u-1");
    }
}
