//! Expressions about a write: match conditions of webhooks and policies, and what policies are made of.
//!
//! They see `object` and `oldObject` (as JSON has them), `request` (the attributes of an `AdmissionReview`),
//! `namespaceObject`, `params`, `authorizer`, `authorizer.requestResource`, and `variables.‹name›`, which are evaluated
//! when they are first used, at the expense of who uses them.
use super::check::Env;
use super::eval::{COST_EXCEEDED, Context, EvalError, Program, Variables};
use super::issue::Issues;
use super::library::{self, Access, Authorizer, Out};
use super::types::{DYN, Decl, Field, Type};
use super::value::Val;
use super::{MATCH_CONDITIONS_BUDGET, PER_CALL_LIMIT};
use crate::Value;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// What ends the evaluation of all expressions of a policy.
pub const SPENT: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What an environment has beside `object`, `oldObject`, `request` and `namespaceObject`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `params`.
    pub params: bool,
    /// `authorizer`.
    pub authorizer: bool,
    /// Constructing `Object{…}` and `JSONPatch{…}`.
    pub mutations: bool,
}

fn field(json: &str, decl: Decl) -> (String, Field) {
    (json.to_owned(), Field { json: json.to_owned(), decl: Arc::new(decl), required: false })
}

fn object(name: &str, fields: Vec<(String, Field)>) -> Decl {
    Decl::object(name, fields.into_iter().collect())
}

fn texts(name: &str, fields: &[&str]) -> Decl {
    object(name, fields.iter().map(|one| field(one, text())).collect())
}

fn text() -> Decl {
    Decl::new(Type::String, u64::MAX)
}

fn list_of(item: Decl) -> Decl {
    Decl::list(Arc::new(item), u64::MAX)
}

fn map_of(value: Decl) -> Decl {
    Decl::map(Arc::new(value), u64::MAX)
}

/// `request`.
pub static REQUEST: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let gvk = || texts("kubernetes.GroupVersionKind", &["group", "version", "kind"]);
    let gvr = || texts("kubernetes.GroupVersionResource", &["group", "version", "resource"]);
    let user = object(
        "kubernetes.UserInfo",
        vec![
            field("username", text()),
            field("uid", text()),
            field("groups", list_of(text())),
            field("extra", map_of(list_of(text()))),
        ],
    );
    let fields = vec![
        field("kind", gvk()),
        field("resource", gvr()),
        field("subResource", text()),
        field("requestKind", gvk()),
        field("requestResource", gvr()),
        field("requestSubResource", text()),
        field("name", text()),
        field("namespace", text()),
        field("operation", text()),
        field("userInfo", user),
        field("dryRun", Decl::new(Type::Bool, 1)),
        field("options", Decl::new(Type::Dyn, u64::MAX)),
    ];
    Arc::new(object("kubernetes.AdmissionRequest", fields))
});

/// `namespaceObject`.
pub static NAMESPACE: LazyLock<Arc<Decl>> = LazyLock::new(|| {
    let time = || Decl::new(Type::Timestamp, u64::MAX);
    let number = || Decl::new(Type::Int, 1);
    let metadata = vec![
        field("name", text()),
        field("generateName", text()),
        field("namespace", text()),
        field("labels", map_of(text())),
        field("annotations", map_of(text())),
        field("uid", text()),
        field("creationTimestamp", time()),
        field("deletionGracePeriodSeconds", number()),
        field("deletionTimestamp", time()),
        field("generation", number()),
        field("resourceVersion", text()),
        field("finalizers", list_of(text())),
    ];
    let fields = vec![
        field("metadata", object("kubernetes.NamespaceMetadata", metadata)),
        field("spec", object("kubernetes.NamespaceSpec", vec![field("finalizers", list_of(text()))])),
        field("status", object("kubernetes.NamespaceStatus", vec![field("phase", text())])),
    ];
    Arc::new(object("kubernetes.Namespace", fields))
});

/// `JSONPatch{op, path, from, value}`.
static JSON_PATCH: LazyLock<Decl> = LazyLock::new(|| {
    let mut fields: Vec<(String, Field)> = ["op", "path", "from"].map(|one| field(one, text())).into();
    fields.push(field("value", Decl::new(Type::Dyn, u64::MAX)));
    object("JSONPatch", fields)
});

/// What an apply configuration evaluates to.
pub fn object_type() -> Type {
    let decl = super::types::ObjectDecl { name: "Object".to_owned(), open: true, ..Default::default() };
    Type::Object(Arc::new(decl))
}

/// What a JSON Patch evaluates to.
pub fn patch_type() -> Type {
    Type::list(JSON_PATCH.ty.clone())
}

fn opaque(name: &'static str) -> Arc<Decl> {
    Arc::new(Decl::new(Type::Opaque(name), u64::MAX))
}

/// The environment of expressions about a write.
pub fn environment(options: Options) -> Env {
    let mut env = Env::new([
        ("object".to_owned(), DYN.clone()),
        ("oldObject".to_owned(), DYN.clone()),
        ("request".to_owned(), REQUEST.clone()),
        ("namespaceObject".to_owned(), NAMESPACE.clone()),
    ]);
    if options.params {
        env = env.with("params", DYN.clone());
    }
    if options.authorizer {
        env = env.with("authorizer", opaque("kubernetes.authorization.Authorizer"));
        env = env.with("authorizer.requestResource", opaque("kubernetes.authorization.ResourceCheck"));
    }
    if options.mutations {
        env.constructs_objects = true;
        if let Type::Object(patch) = &JSON_PATCH.ty {
            env.types.insert("JSONPatch".to_owned(), patch.clone());
        }
    }
    env
}

/// What expressions about one write see.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    /// The new object.
    pub object: Option<&'a Value>,
    /// The stored object.
    pub old: Option<&'a Value>,
    /// The attributes of the `AdmissionRequest`, without objects.
    pub request: &'a Value,
    /// The namespace of the object.
    pub namespace: Option<&'a Value>,
    /// What a binding gives to its policy.
    pub params: Option<&'a Value>,
    /// Who decides what the user of the request may do, and the write itself as it is asked about.
    pub authorizer: Option<(&'a dyn Authorizer, &'a Access)>,
}

impl<'a> Variables<'a> for Input<'a> {
    fn get(&self, name: &str, _: &mut Context<'_>) -> Out<'a> {
        let dynamic = |value: Option<&'a Value>| Ok(value.map_or(Val::Null, Val::dynamic));
        match (name, self.authorizer) {
            ("object", _) => dynamic(self.object),
            ("oldObject", _) => dynamic(self.old),
            ("params", _) => dynamic(self.params),
            ("request", _) => Ok(Val::json(self.request, &REQUEST)),
            ("namespaceObject", _) => {
                Ok(self.namespace.map_or(Val::Null, |value| Val::json(value, &NAMESPACE)))
            }
            ("authorizer", Some((who, _))) => Ok(library::authorizer(who)),
            ("authorizer.requestResource", Some((who, access))) => {
                Ok(library::resource_check(who, access.clone()))
            }
            _ => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }
}

/// An expression that was accepted, or why it does not compile.
pub type Compiled = Result<Program, String>;

/// Compiles an expression that must have one of the given types; any when there are none. One whose type is not known
/// before it is evaluated has none of them.
///
/// # Errors
/// What is wrong with it.
pub fn compile(env: &Env, text: &str, wanted: &[Type]) -> Compiled {
    let program = compile_dynamic(env, text, wanted)?;
    match *program.checked().result() == Type::Dyn && !wanted.is_empty() {
        true => Err(other_type(wanted)),
        false => Ok(program),
    }
}

/// Compiles an expression that must have one of the given types, or one that is not known before it is evaluated.
///
/// # Errors
/// What is wrong with it.
pub fn compile_dynamic(env: &Env, text: &str, wanted: &[Type]) -> Compiled {
    let checked =
        super::compile(env, text).map_err(|issues: Issues| format!("compilation failed: {issues}"))?;
    let found = checked.result();
    let empty = Type::list(Type::Dyn);
    let fits = |ty: &Type| ty == found || matches!(ty, Type::List(_)) && *found == empty;
    if wanted.is_empty() || *found == Type::Dyn || wanted.iter().any(fits) {
        return Ok(Program::new(checked));
    }
    Err(other_type(wanted))
}

fn other_type(wanted: &[Type]) -> String {
    let name = |ty: &Type| match ty {
        Type::Null => "null_type".to_owned(),
        ty => ty.to_string(),
    };
    let names: Vec<String> = wanted.iter().map(name).collect();
    match names.as_slice() {
        [one] => format!("must evaluate to {one}"),
        several => format!("must evaluate to one of [{}]", several.join(" ")),
    }
}

/// The variables of a policy, each of which may use those before it.
#[derive(Clone, Debug, Default)]
pub struct Composition {
    variables: Vec<(String, Compiled)>,
}

impl Composition {
    /// Compiles variables in order; gives the environment with them.
    pub fn new(mut env: Env, list: &[(String, String)]) -> (Self, Env) {
        let mut variables = Vec::new();
        for (name, expression) in list {
            let full = format!("variables.{name}");
            let program = compile(&env, expression, &[]);
            let ty = program.as_ref().map_or(Type::Dyn, |program| program.checked().result().clone());
            env = env.with(&full, Arc::new(Decl::new(ty, u64::MAX)));
            variables.push((full, program));
        }
        (Self { variables }, env)
    }

    /// What is wrong with the variables, by their index.
    pub fn faults(&self) -> impl Iterator<Item = (usize, &str)> {
        self.variables
            .iter()
            .enumerate()
            .filter_map(|(at, (_, program))| program.as_ref().err().map(|fault| (at, fault.as_str())))
    }

    /// The variables of one write.
    pub fn over<'a>(&'a self, input: Input<'a>) -> Composed<'a> {
        Composed { composition: self, input, known: RefCell::default() }
    }
}

/// What expressions of a policy see: the write, and variables once they were used.
pub struct Composed<'a> {
    composition: &'a Composition,
    input: Input<'a>,
    known: RefCell<BTreeMap<String, Out<'a>>>,
}

impl<'a> Variables<'a> for Composed<'a> {
    fn get(&self, name: &str, context: &mut Context<'_>) -> Out<'a> {
        let Some((_, program)) = self.composition.variables.iter().find(|(known, _)| known == name) else {
            return self.input.get(name, context);
        };
        if let Some(known) = self.known.borrow().get(name) {
            return known.clone();
        }
        let out = match program {
            Ok(program) => program.evaluate_in(self, context),
            Err(fault) => Err(EvalError::new(format!("compile error: {fault}"))),
        };
        let short = name.trim_start_matches("variables.");
        let out = out.map_err(|error| match error.cancelled {
            true => error,
            false => EvalError::new(format!("composited variable {short:?} fails to evaluate: {error}")),
        });
        self.known.borrow_mut().insert(name.to_owned(), out.clone());
        out
    }
}

/// What is left to spend for one policy and write.
#[derive(Debug)]
pub struct Budget(u64);

impl Budget {
    /// A full one.
    pub fn new(limit: u64) -> Self {
        Self(limit)
    }

    /// Evaluates an expression on this budget.
    ///
    /// # Errors
    /// Why it has no value, worded with the expression.
    pub fn evaluate<'a>(
        &mut self,
        program: &'a Compiled,
        text: &str,
        variables: &dyn Variables<'a>,
    ) -> Result<Val<'a>, EvalError> {
        let program = match program {
            Ok(program) => program,
            Err(fault) => return Err(EvalError::new(format!("compilation error: {fault}"))),
        };
        let (out, cost) = program.evaluate(variables, PER_CALL_LIMIT);
        if cost > self.0 {
            self.0 = 0;
            return Err(EvalError { message: SPENT.to_owned(), cancelled: true });
        }
        self.0 -= cost;
        out.map_err(|error| match error.message == COST_EXCEEDED {
            true => EvalError { message: SPENT.to_owned(), cancelled: true },
            false => EvalError::new(format!("expression '{text}' resulted in error: {error}")),
        })
    }
}

/// The match conditions of a webhook or policy.
#[derive(Clone, Debug, Default)]
pub struct MatchConditions {
    list: Vec<(String, String, Compiled)>,
}

/// Whether all conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matched {
    /// They do.
    Yes,
    /// The named one does not.
    No(String),
    /// None is false, and some cannot be told: the texts of what went wrong.
    Unknown(Vec<String>),
}

impl MatchConditions {
    /// Compiles conditions: names with expressions. What does not compile is a fault at each evaluation.
    pub fn new(env: &Env, list: &[(String, String)]) -> Self {
        let compiled =
            |(name, text): &(String, String)| (name.clone(), text.clone(), compile(env, text, &[Type::Bool]));
        Self { list: list.iter().map(compiled).collect() }
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Evaluates the conditions of one write.
    pub fn evaluate<'a>(&'a self, variables: &dyn Variables<'a>) -> Matched {
        let mut budget = Budget::new(MATCH_CONDITIONS_BUDGET);
        let mut faults = Vec::new();
        for (name, text, program) in &self.list {
            match budget.evaluate(program, text, variables) {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => return Matched::No(name.clone()),
                Ok(other) => {
                    faults.push(format!("expression '{text}' resulted in {}, not bool", other.type_name()));
                }
                Err(error) => {
                    faults.push(error.message);
                    if error.cancelled {
                        break;
                    }
                }
            }
        }
        if faults.is_empty() { Matched::Yes } else { Matched::Unknown(faults) }
    }
}
