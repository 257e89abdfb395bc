//! Selectors of lists and watches, over the facts the store keeps of each object.
use super::Row;
use super::options::ListOptions;
use crate::storage::{Pairs, Scope, Stored};
use knarr_api::selector::{FieldSelector, LabelSelector, Labels};
use knarr_api::status::Status;
use std::sync::Arc;

/// The selector in the field labels of the stored version.
fn stored_labels(row: &Row, selector: FieldSelector) -> FieldSelector {
    if row.conversion.is_none() {
        return selector;
    }
    let aliases = &row.kind.field_selector_aliases;
    let renamed = selector.requirements().iter().cloned().map(|mut requirement| {
        if let Some((_, stored)) = aliases.iter().find(|(label, _)| **label == *requirement.field) {
            requirement.field = (**stored).into();
        }
        requirement
    });
    FieldSelector::new(renamed.collect())
}

/// What a list, watch or deletecollection selects.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Only this namespace.
    pub namespace: Option<Arc<str>>,
    labels: LabelSelector,
    fields: FieldSelector,
}

struct Facts<'a>(&'a Pairs);

impl Labels for Facts<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        self.0.get(key)
    }
}

impl Selection {
    /// Parses the selectors of a request.
    ///
    /// # Errors
    /// 400 for text that does not parse and for field labels the kind does not know.
    pub fn new(row: &Row, namespace: &str, options: &ListOptions) -> Result<Self, Status> {
        let labels = options.label_selector.parse::<LabelSelector>();
        let labels = labels.map_err(|e| Status::bad_request(e.to_string()))?;
        let fields = options.field_selector.parse::<FieldSelector>();
        let fields = fields.map_err(|e| Status::bad_request(e.to_string()))?;
        let fields = stored_labels(row, fields)
            .resolve(&row.stored, row.custom().is_some())
            .map_err(|e| Status::bad_request(e.to_string()))?;
        let namespace = (!namespace.is_empty()).then(|| namespace.into());
        Ok(Self { namespace, labels, fields })
    }

    /// Selects everything in scope?
    pub fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_everything()
    }

    /// Whether an object in the namespace is selected.
    pub fn matches(&self, object: &Stored) -> bool {
        (self.labels.is_everything() || self.labels.matches(&Facts(&object.index.labels)))
            && self.fields.matches(|path| Some(object.field(path)))
    }

    /// The name that every selected object must have.
    pub fn name(&self) -> Option<&str> {
        self.fields.required_value("metadata.name")
    }

    /// The part of the resource a watch with this selection is about.
    pub fn scope(&self) -> Scope {
        Scope {
            namespace: self.namespace.clone(),
            name: self.name().map(Into::into),
            field: self.fields.required_value("spec.nodeName").map(|v| ("spec.nodeName".into(), v.into())),
        }
    }
}
