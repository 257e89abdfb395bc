//! Custom resources: a CustomResourceDefinition as a table of its own, with the same types and rows as the built-in
//! one, so that every mechanism works on both.
//!
//! Types hold what codecs, pruning and field ownership need; the structural schema itself is kept beside them
//! ([`Custom`]) for [defaulting](default_object) and [validation](validate). All versions of a resource share one
//! [`Api`], so that their types can be compared. CEL rules are not carried out;
//! [`unsupported`] tells of them. Conversion by webhook is the API server's.
mod defaults;
mod types;
mod validate;

use crate::Value;
use crate::columns::Columns;
use crate::schema::SchemaError;
use crate::table::Api;
use regex::Regex;
use std::collections::HashMap;

pub use defaults::apply as default_object;
pub use validate::validate;

/// What is known of one version of a custom resource beyond its type.
#[derive(Clone, Debug)]
pub struct Custom {
    /// The structural schema as the CustomResourceDefinition has it.
    pub schema: Value,
    /// The compiled `pattern`s of the schema; what does not compile is not there.
    patterns: HashMap<String, Regex>,
    /// The columns of tables.
    pub columns: Columns,
    /// Where the `scale` subresource finds its numbers.
    pub scale: Option<ScalePaths>,
    /// What clients of a deprecated version are told.
    pub deprecation: Option<String>,
}

/// Names of nested members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalePaths {
    /// The wanted number.
    pub spec: Vec<String>,
    /// The observed number.
    pub status: Vec<String>,
    /// The selector as text.
    pub selector: Option<Vec<String>>,
}

/// The names of a member path, `.spec.replicas`.
fn path(text: &str) -> Vec<String> {
    text.split('.').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// The table of a CustomResourceDefinition with all its versions, served or not. Names are those of its spec.
///
/// # Errors
/// A schema whose types do not hold together.
pub fn table(crd: &Value) -> Result<Api, SchemaError> {
    let mut api = Api::default();
    let versions = crd["spec"]["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let storage =
        versions.iter().find(|v| v["storage"] == true).map(|v| text(&v["name"])).unwrap_or_default();
    for version in versions {
        let (kind, custom) = types::kind(&mut api.schema, crd, version, storage);
        api.custom.insert(kind.ty, custom);
        api.kinds.push(kind);
    }
    api.schema.index()?;
    Ok(api)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What a CustomResourceDefinition asks for that is not carried out, in words for a `Warning` header.
pub fn unsupported(crd: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let versions = crd["spec"]["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    for version in versions {
        let schema = &version["schema"]["openAPIV3Schema"];
        if let Some(at) = find_rules(schema, &mut String::new()) {
            out.push(format!(
                "version {}: x-kubernetes-validations (at {at:?}) are not evaluated by this server: objects are \
                 accepted without regard to them",
                text(&version["name"])
            ));
        }
    }
    out
}

/// The path of the first schema with CEL rules.
fn find_rules(schema: &Value, at: &mut String) -> Option<String> {
    if schema["x-kubernetes-validations"].as_array().is_some_and(|rules| !rules.is_empty()) {
        return Some(at.clone());
    }
    let length = at.len();
    let mut children: Vec<(&str, &Value)> =
        vec![("items", &schema["items"]), ("*", &schema["additionalProperties"])];
    let properties = schema["properties"].as_object();
    children.extend(properties.into_iter().flatten().map(|(name, child)| (name.as_str(), child)));
    for (name, child) in children.into_iter().filter(|(_, child)| child.is_object()) {
        at.push('.');
        at.push_str(name);
        let found = find_rules(child, at);
        at.truncate(length);
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(test)]
mod tests;
