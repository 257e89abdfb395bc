//! What a column is for: the document of a field, or a text of the table's own.
//!
//! Where the original takes the text of a field, so does this, from the types that are served (the original takes some
//! from versions that are no longer). Its other texts are not repeated here: those are ours.
use super::Path;
use crate::openapi::Descriptions;
use crate::schema::{Schema, TypeId};
use crate::table;

/// Where the description of a column comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Description {
    /// Itself.
    Text(String),
    /// The document of a field of the kind.
    Field(Path),
    /// The original has none either.
    None,
}

/// The texts of descriptions, in their order; `kind` is `group/Kind`, or `*` for columns that every kind can have.
pub(super) fn texts<'a>(kind: &str, all: impl Iterator<Item = &'a Description>) -> Vec<String> {
    let schema = &table::builtin().schema;
    let root = root(schema, kind);
    let mut documents = None;
    let mut field = |path: &Path| {
        let root = root?;
        let known = documents.get_or_insert_with(|| Descriptions::of([&*schema.get(root).name]));
        document(schema, root, path, known)
    };
    let text = |description: &Description| match description {
        Description::Text(text) => text.clone(),
        Description::Field(path) => field(path).unwrap_or_default(),
        Description::None => String::new(),
    };
    all.map(text).collect()
}

/// The type of the stored version of a kind, or the only one of a type that is not stored.
fn root(schema: &Schema, kind: &str) -> Option<TypeId> {
    // Any kind has the columns that every kind can have.
    let (group, name) =
        if kind == "*" { ("", "ConfigMap") } else { kind.split_once('/').unwrap_or(("", kind)) };
    let api = table::builtin();
    let rows = api.kinds.iter().filter(|k| *k.gvk.group == *group && *k.gvk.kind == *name && !k.external);
    let stored = rows.filter_map(|k| k.storage.as_ref()).next();
    if let Some(gvk) = stored {
        return api.type_of(&gvk.group, &gvk.version, &gvk.kind);
    }
    let is = |ty: &crate::schema::Type| {
        ty.gvk.as_ref().is_some_and(|gvk| *gvk.kind == *name && (*gvk.group == *group || &*gvk.group == "*"))
    };
    schema.types.iter().position(is).and_then(|at| u32::try_from(at).ok()).map(TypeId)
}

/// The document of the last field on a path that is declared; names of map entries are none.
fn document(schema: &Schema, root: TypeId, path: &Path, known: &Descriptions) -> Option<String> {
    let (mut ty, mut text) = (Some(root), None);
    for name in &path.0 {
        let Some(owner) = ty else { break };
        let field = schema.json_field(owner, name)?;
        text = known.of_field(&schema.get(owner).name, name);
        ty = field.shape.reference();
    }
    text.map(str::to_owned)
}
