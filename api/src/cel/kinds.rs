//! Declarations of kinds: of built-in ones from the table, of custom ones from their schemas. Expressions of policies
//! are evaluated over untyped objects; types serve to tell their authors what cannot be right.
use super::admission::{self, Composition, Options};
use super::schema;
use super::types::{DYN, Decl, Field, ListKind, ObjectDecl, Type};
use crate::Value;
use crate::kind::Kind;
use crate::schema::{ListType, Schema, Shape, Special, TypeId};
use crate::table::Api;
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// The declaration of a kind's objects.
pub fn declare(api: &Api, kind: &Kind) -> Arc<Decl> {
    let mut walk = Walk { schema: &api.schema, known: HashMap::new(), within: HashSet::new() };
    let table = walk.structure(kind.ty);
    let Some(custom) = api.custom.get(&kind.ty) else { return table };
    let Some(declared) = schema::declare(&custom.schema, true, &kind.gvk.kind) else { return DYN.clone() };
    let (Type::Object(object), Type::Object(of_table)) = (&declared.ty, &table.ty) else {
        return DYN.clone();
    };
    let mut fields = object.fields.clone();
    fields.extend(of_table.fields.get("metadata").map(|field| ("metadata".to_owned(), field.clone())));
    let object = ObjectDecl { name: object.name.clone(), fields, open: false };
    Arc::new(Decl::new(Type::Object(Arc::new(object)), u64::MAX))
}

struct Walk<'s> {
    schema: &'s Schema,
    known: HashMap<TypeId, Arc<Decl>>,
    within: HashSet<TypeId>,
}

impl Walk<'_> {
    fn structure(&mut self, id: TypeId) -> Arc<Decl> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        // Schemas hold schemas without end.
        if !self.within.insert(id) {
            return DYN.clone();
        }
        let schema = self.schema;
        let mut fields = BTreeMap::new();
        let text = || Arc::new(Decl::new(Type::String, u64::MAX));
        let mut add = |json: &str, decl: Arc<Decl>, required: bool| {
            if let Some(name) = schema::escape(json) {
                fields.insert(name, Field { json: json.to_owned(), decl, required });
            }
        };
        if schema.get(id).has_type_meta {
            add("apiVersion", text(), false);
            add("kind", text(), false);
        }
        for field in schema.json_fields(id) {
            let decl = self.shape(&field.shape);
            let keys = || field.list_keys.iter().map(ToString::to_string).collect();
            let list = match field.list_type {
                ListType::Atomic => ListKind::Atomic,
                ListType::Set => ListKind::Set,
                ListType::Map => ListKind::Map(keys()),
            };
            let decl =
                if list == ListKind::Atomic { decl } else { Arc::new(Decl { list, ..(*decl).clone() }) };
            add(&field.name, decl, field.required);
        }
        self.within.remove(&id);
        let object = ObjectDecl { name: schema.get(id).name.to_string(), fields, open: false };
        let decl = Arc::new(Decl::new(Type::Object(Arc::new(object)), u64::MAX));
        self.known.insert(id, decl.clone());
        decl
    }

    fn shape(&mut self, shape: &Shape) -> Arc<Decl> {
        let plain = |ty: Type| Arc::new(Decl::new(ty, u64::MAX));
        match shape {
            Shape::String | Shape::Special(Special::Duration) => plain(Type::String),
            Shape::Bool => plain(Type::Bool),
            Shape::Int32 | Shape::Int64 => plain(Type::Int),
            Shape::Float64 => plain(Type::Double),
            Shape::Bytes => plain(Type::Bytes),
            Shape::Special(Special::Time | Special::MicroTime) => plain(Type::Timestamp),
            Shape::Special(_) => DYN.clone(),
            Shape::Struct(id) => self.structure(*id),
            Shape::List(item) => Arc::new(Decl::list(self.shape(item), u64::MAX)),
            Shape::Map(value) => Arc::new(Decl::map(self.shape(value), u64::MAX)),
        }
    }
}

/// A kind that a policy concerns, `apps/v1, Kind=Deployment`, with its declaration.
pub struct Known {
    /// The name that warnings have.
    pub name: String,
    /// Its objects.
    pub decl: Arc<Decl>,
}

/// What cannot be right in a policy's expressions, for each kind that it concerns: entries of
/// `status.typeChecking.expressionWarnings`.
pub fn type_check(spec: &Value, kinds: &[Known], params: Option<&Arc<Decl>>) -> Vec<Value> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |name: &str| spec[name].as_array().map(Vec::as_slice).unwrap_or_default();
    let variables: Vec<(String, String)> =
        list("variables").iter().map(|one| (text(&one["name"]), text(&one["expression"]))).collect();
    let mut expressions: Vec<(String, String)> = Vec::new();
    for (index, validation) in list("validations").iter().enumerate() {
        for member in ["expression", "messageExpression"] {
            let expression = text(&validation[member]);
            if !expression.is_empty() {
                expressions.push((format!("spec.validations[{index}].{member}"), expression));
            }
        }
    }
    let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for kind in kinds {
        let options = Options { params: spec["paramKind"].is_object(), authorizer: true, mutations: false };
        let mut env = admission::environment(options);
        env = env.with("object", kind.decl.clone()).with("oldObject", kind.decl.clone());
        if let Some(params) = params {
            env = env.with("params", params.clone());
        }
        let (_, env) = Composition::new(env, &variables);
        for (index, (_, expression)) in expressions.iter().enumerate() {
            if let Err(issues) = super::compile(&env, expression) {
                found.entry(index).or_default().push(format!("{}: {issues}\n", kind.name));
            }
        }
    }
    let warning = |(index, texts): (usize, Vec<String>)| json!({"fieldRef": expressions[index].0, "warning": texts.concat()});
    found.into_iter().map(warning).collect()
}
