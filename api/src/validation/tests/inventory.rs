//! Which kinds have rules: all that are stored. Kinds with nothing but metadata have a plain row.
use super::super::row;
use crate::table;

#[test]
fn every_stored_kind_has_rules() {
    let missing: Vec<String> = table::builtin()
        .kinds
        .iter()
        .filter(|kind| !kind.external && kind.storage.is_some())
        .filter(|kind| kind.has_verb("create") || kind.has_verb("update"))
        .filter(|kind| row(kind).is_none())
        .map(|kind| format!("{}/{}", kind.gvk.api_version(), kind.gvk.kind))
        .collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "add a row to the RULES of the group's file in api/src/validation"
    );
}
