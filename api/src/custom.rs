//! Custom resources: a CustomResourceDefinition as a table of its own, with the same types and rows as the built-in
//! one, so that every mechanism works on both.
//!
//! Types hold what codecs, pruning and field ownership need; the structural schema itself is kept beside them
//! ([`Custom`]) for [defaulting](default_object) and [validation](validate). All versions of a resource share one
//! [`Api`], so that their types can be compared. CEL rules are compiled when they are first needed. Conversion by
//! webhook is the API server's.
mod defaults;
mod embedded;
pub mod formats;
mod rules;
mod types;
mod validate;

use crate::Value;
use crate::columns::Columns;
use crate::re2::Regex;
use crate::schema::SchemaError;
use crate::table::Api;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

pub use defaults::apply as default_object;
pub use rules::{Rules, environment as rule_environment};
pub use validate::{validate, validate_default};

/// What is known of one version of a custom resource beyond its type.
#[derive(Clone, Debug)]
pub struct Custom {
    /// The structural schema as the CustomResourceDefinition has it.
    pub schema: Value,
    /// The compiled `pattern`s of the schema; what does not compile is not there.
    patterns: HashMap<String, Regex>,
    /// The CEL rules of the schema, compiled when they are first needed.
    rules: OnceLock<Option<Arc<Rules>>>,
    /// The columns of tables.
    pub columns: Columns,
    /// Where the `scale` subresource finds its numbers.
    pub scale: Option<ScalePaths>,
    /// What clients of a deprecated version are told.
    pub deprecation: Option<String>,
}

impl Custom {
    /// The compiled CEL rules of the schema.
    pub fn rules(&self) -> Option<&Rules> {
        self.rules.get_or_init(|| Rules::new(&self.schema).map(Arc::new)).as_deref()
    }
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

#[cfg(test)]
mod rules_tests;
#[cfg(test)]
mod tests;
