//! Rules of CustomResourceDefinitions; of their schemas in [`schema`].
//!
//! What all versions have in common stands, for the original, at the top of the specification: faults of a schema, of
//! subresources and of columns that are equal in all versions carry such paths.
mod expressions;
mod schema;

use super::constraints::Rule::{By, Need, NeedOneOf};
use super::constraints::{Row, check, immutable};
use super::cursor::At;
use super::{Rules, webhook_client};
use crate::{Value, names};

pub(super) const RULES: &[(&str, Rules)] = &[(
    "CustomResourceDefinition",
    Rules { object: definition, update, status: |at, _| accepted_names(at), ..Rules::PLAIN },
)];

const APPROVED: &str = "api-approved.kubernetes.io";
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];
const SELECTABLE_MAX: usize = 8;

const SPEC: &[Row] = &[
    ("group", By(group)),
    ("scope", NeedOneOf(&["Cluster", "Namespaced"])),
    ("names.plural", Need),
    ("names.singular", Need),
    ("names.kind", Need),
    ("names.listKind", Need),
    ("names", By(naming)),
    ("conversion?", By(conversion)),
];

fn definition(at: &At<'_>) {
    let (spec, name) = (at.get("spec"), at.get("metadata.name"));
    let wanted = format!("{}.{}", spec.get("names.plural").text(), spec.get("group").text());
    if !name.is_empty() && name.text() != wanted {
        name.invalid("must be spec.names.plural+\".\"+spec.group");
    }
    check(&spec, SPEC);
    versions(&spec);
    stored_versions(at);
    approval(at, &spec);
    let keep = spec.get("preserveUnknownFields");
    let kept = at.before().is_some_and(|old| old["spec"]["preserveUnknownFields"] == true);
    if keep.is_true() && !kept {
        keep.invalid(
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema \
             instead",
        );
    }
}

fn update(at: &At<'_>, old: &Value) {
    let established = |c: &&Value| c["type"] == "Established" && c["status"] == "True";
    if old["status"]["conditions"].as_array().is_some_and(|list| list.iter().any(|c| established(&c))) {
        immutable(at, old, &["spec.scope", "spec.names.kind"]);
    }
    immutable(at, old, &["spec.group", "spec.names.plural"]);
}

/// Faults of a format as one, after an introduction.
fn joined(at: &At<'_>, intro: &str, faults: &[String]) {
    if !faults.is_empty() {
        at.invalid(format!("{intro}{}", faults.join(",")));
    }
}

fn group(group: &At<'_>) {
    if group.need() {
        let faults = names::dns_subdomain(group.text());
        joined(group, "", &faults);
        if faults.is_empty() && !group.text().contains('.') {
            group.invalid("should be a domain with at least one dot");
        }
    }
}

fn accepted_names(at: &At<'_>) {
    naming(&at.get("status.acceptedNames"));
}

fn naming(at: &At<'_>) {
    for name in ["plural", "singular"].map(|name| at.get(name)).iter().filter(|name| !name.is_empty()) {
        joined(name, "", &names::dns1035_label(name.text()));
    }
    for name in ["kind", "listKind"].map(|name| at.get(name)).iter().filter(|name| !name.is_empty()) {
        let intro = "may have mixed case, but should otherwise match: ";
        joined(name, intro, &names::dns1035_label(&name.text().to_lowercase()));
    }
    for name in at.get("shortNames").items() {
        joined(&name, "", &names::dns1035_label(name.text()));
    }
    let (kind, list) = (at.get("kind"), at.get("listKind"));
    if !kind.is_empty() && kind.text() == list.text() {
        list.invalid("kind and listKind may not be the same");
    }
    for category in at.get("categories").items() {
        joined(&category, "", &names::dns1035_label(category.text()));
    }
}

/// The value of a member where it is set and equal in all versions.
fn shared<'a>(list: &At<'a>, member: &str) -> Option<At<'a>> {
    let mut values = list.items().map(|version| version.get(member));
    let first = values.next().filter(|first| !first.is_empty() || first.value().is_object())?;
    values.all(|other| other.value() == first.value()).then_some(first)
}

fn versions(spec: &At<'_>) {
    let list = spec.get("versions");
    let mut unique = true;
    let mut seen: Vec<&str> = Vec::new();
    let shared_schema = shared(&list, "schema");
    let shared_subresources = shared(&list, "subresources");
    let shared_columns = shared(&list, "additionalPrinterColumns");
    let shared_fields = shared(&list, "selectableFields");
    for version in list.items() {
        let schema = version.get("schema.openAPIV3Schema");
        if !schema.is_set() {
            schema.required("schemas are required");
        }
    }
    for version in list.items() {
        let name = version.get("name");
        unique &= !seen.contains(&name.text());
        seen.push(name.text());
        let faults = names::dns1035_label(name.text());
        if !faults.is_empty() {
            name.invalid_text(name.text(), faults.join(","));
        }
        deprecation(&version);
        if shared_schema.is_none() {
            let status = version.get("subresources").find("status").is_some();
            schema::root(&version.get("schema.openAPIV3Schema"), status);
        }
        if shared_subresources.is_none() {
            subresources(&version.get("subresources"));
        }
        if shared_columns.is_none() {
            version.get("additionalPrinterColumns").items().for_each(|one| column(&one));
        }
        if shared_fields.is_none() {
            selectable(&version.get("selectableFields"), &version.get("schema.openAPIV3Schema"));
        }
    }
    if !unique {
        list.invalid("must contain unique version names");
    }
    if list.items().filter(|version| version.get("storage").is_true()).count() != 1 {
        list.invalid("must have exactly one version marked as storage version");
    }
    if let Some(found) = &shared_schema {
        let status = list.items().any(|version| version.get("subresources").find("status").is_some());
        let schema = found.get("openAPIV3Schema");
        schema::root(&spec.get("validation.openAPIV3Schema").with(schema.value()), status);
    }
    if let Some(found) = shared_subresources {
        subresources(&spec.get("subresources").with(found.value()));
    }
    if let Some(found) = shared_columns {
        let columns = spec.get("additionalPrinterColumns").with(found.value());
        columns.items().for_each(|one| column(&one));
    }
    if let Some(found) = shared_fields {
        let schema = list.items().next().map(|version| version.get("schema.openAPIV3Schema"));
        if let Some(schema) = schema {
            selectable(&spec.get("selectableFields").with(found.value()), &schema);
        }
    }
}

fn deprecation(version: &At<'_>) {
    let warning = version.get("deprecationWarning");
    if !warning.is_set() {
        return;
    }
    if !version.get("deprecated").is_true() {
        warning.invalid("can only be set for deprecated versions");
        return;
    }
    if warning.text().len() > 256 {
        warning.invalid("must be <= 256 characters long");
    }
    if warning.is_empty() {
        warning.invalid("must not be an empty string");
    }
    if let Some((at, _)) = warning.text().char_indices().find(|(_, c)| c.is_control()) {
        warning.invalid(format!(
            "must only contain printable UTF-8 characters; non-printable character found at index {at}"
        ));
    }
}

/// A path of members, `.spec.replicas`; gives whether it is one.
fn simple_path(path: &At<'_>) -> bool {
    if !path.text().starts_with('.') {
        path.invalid("must be a simple json path starting with .");
    }
    path.text().starts_with('.')
}

fn subresources(at: &At<'_>) {
    let Some(scale) = at.find("scale") else { return };
    for (member, under) in [("specReplicasPath", ".spec"), ("statusReplicasPath", ".status")] {
        let path = scale.get(member);
        if path.need() && simple_path(&path) && !path.text().starts_with(&format!("{under}.")) {
            path.invalid(format!("should be a json path under {under}"));
        }
    }
    let labels = scale.get("labelSelectorPath");
    let placed = [".spec.", ".status."].iter().any(|under| labels.text().starts_with(under));
    if !labels.is_empty() && simple_path(&labels) && !placed {
        labels.invalid("should be a json path under either .spec or .status");
    }
}

fn column(column: &At<'_>) {
    column.get("name").need();
    let (ty, format) = (column.get("type"), column.get("format"));
    let fault = |list: &[&str]| format!("must be one of {}", list.join(","));
    if ty.is_empty() {
        ty.required(fault(&COLUMN_TYPES));
    } else if !COLUMN_TYPES.contains(&ty.text()) {
        ty.invalid(fault(&COLUMN_TYPES));
    }
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format.text()) {
        format.invalid(fault(&COLUMN_FORMATS));
    }
    let path = column.get("JSONPath").with(column.get("jsonPath").value());
    if path.need() {
        simple_path(&path);
    }
}

fn selectable(list: &At<'_>, schema: &At<'_>) {
    let mut seen: Vec<&str> = Vec::new();
    for field in list.items() {
        let path = field.get("jsonPath");
        if !path.need() {
            continue;
        }
        let Some(names) = path.text().strip_prefix('.') else {
            path.invalid("is an invalid path: must be a simple json path starting with .");
            continue;
        };
        let found = names.split('.').try_fold(schema.value(), |schema, name| schema["properties"].get(name));
        match found {
            None => {
                path.invalid(format!("is an invalid path: does not refer to a valid field: {}", path.text()))
            }
            Some(_) if names == "metadata" || names.starts_with("metadata.") => {
                path.invalid("must not point to fields in metadata");
            }
            Some(schema) if !matches!(schema["type"].as_str(), Some("string" | "boolean" | "integer")) => {
                path.invalid(
                    "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                     formats are allowed.",
                );
            }
            Some(_) => {}
        }
        if seen.contains(&path.text()) {
            path.duplicate();
        } else {
            seen.push(path.text());
        }
    }
    list.at_most(SELECTABLE_MAX);
}

fn conversion(at: &At<'_>) {
    let strategy = at.get("strategy");
    strategy.need_one_of(&["None", "Webhook"]);
    let webhook = at.get("webhook");
    let client = at.get("webhookClientConfig").with(webhook.get("clientConfig").value());
    let versions = at.get("conversionReviewVersions").with(webhook.get("conversionReviewVersions").value());
    if strategy.text() != "Webhook" {
        for extra in [client, versions].iter().filter(|at| !at.is_empty()) {
            extra.forbidden("should not be set when strategy is not set to Webhook");
        }
        return;
    }
    if client.is_set() {
        webhook_client::config(&client);
    } else {
        client.required("required when strategy is set to Webhook");
    }
    versions.need();
    webhook_client::review_versions(&versions, true);
}

/// Every version in which objects are stored must still be there.
fn stored_versions(at: &At<'_>) {
    let (stored, versions) = (at.get("status.storedVersions"), at.get("spec.versions"));
    if stored.is_empty() {
        stored.invalid("must have at least one stored version");
        return;
    }
    for version in versions.items().filter(|version| version.get("storage").is_true()) {
        let name = version.get("name").text();
        if !stored.has(name) {
            stored.invalid(format!("must have the storage version {name}"));
        }
    }
    for version in stored.items() {
        let name = version.text();
        if !versions.items().any(|other| other.get("name").text() == name) {
            version.invalid(format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {name} and removes \
                 {name} from status.storedVersions"
            ));
        }
    }
}

/// Groups of the Kubernetes community need a word from it.
fn approval(at: &At<'_>, spec: &At<'_>) {
    let group = spec.get("group").text();
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.ends_with(&format!(".{domain}")));
    let annotation = at.get("metadata.annotations").key(APPROVED);
    let before = at.before().map(|old| &old["metadata"]["annotations"][APPROVED]);
    if !protected || before.is_some_and(|before| before == annotation.value()) {
        return;
    }
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    if annotation.is_empty() {
        annotation.required(format!("protected groups must have approval annotation \"{APPROVED}\", {see}"));
        return;
    }
    let is_url = annotation
        .text()
        .split_once("://")
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty() && !rest.starts_with('/'));
    if !is_url && !annotation.text().starts_with("unapproved") {
        annotation.invalid(format!(
            "protected groups must have approval annotation \"{APPROVED}\" with either a URL or a reason starting \
             with \"unapproved\", {see}"
        ));
    }
}
