//! The policies in the store with their bindings, compiled once a change.
use super::super::fresh::Fresh;
use super::super::metrics::AdmissionMetrics;
use super::super::webhook::hooks::{Criteria, Rule, named};
use super::{GROUP, World};
use crate::objects::Objects;
use knarr_api::Value;
use knarr_api::cel::admission::{self, Compiled, Composition, MatchConditions, Options};
use knarr_api::cel::{Env, Type};
use std::sync::Arc;
use std::time::Instant;

/// A policy of either kind.
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Failures let the write pass.
    pub ignores_failure: bool,
    /// API version and kind of its parameters.
    pub param_kind: Option<(String, String)>,
    /// What it concerns.
    pub criteria: Criteria,
    /// What else must hold for it to concern a write.
    pub conditions: MatchConditions,
    /// Its variables.
    pub composition: Composition,
    /// What it checks.
    pub validations: Vec<Validation>,
    /// What it changes.
    pub mutations: Vec<Mutation>,
    /// What it tells the audit log.
    pub annotations: Vec<(String, String, Compiled)>,
    /// It wants to see what later ones change.
    pub reinvoke: bool,
    /// Its bindings, by name.
    pub bindings: Vec<Binding>,
}

/// A check.
pub struct Validation {
    /// The expression.
    pub text: String,
    /// Compiled.
    pub program: Compiled,
    /// What a refusal says.
    pub message: String,
    /// What makes the message, with its text.
    pub make_message: Option<(Compiled, String)>,
    /// The reason of a refusal.
    pub reason: Option<String>,
}

/// A change.
pub struct Mutation {
    /// The expression.
    pub text: String,
    /// Compiled.
    pub program: Compiled,
    /// It makes a JSON Patch; otherwise a part of the object.
    pub is_patch: bool,
}

/// What puts a policy into force.
pub struct Binding {
    /// Its name.
    pub name: String,
    /// Which parameters; none: no parameters.
    pub params: Option<Value>,
    /// What it narrows the policy to.
    pub criteria: Option<Criteria>,
    /// `Deny`, `Warn`, `Audit`.
    pub actions: Vec<String>,
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

impl Binding {
    fn new(object: &Value) -> Self {
        let spec = &object["spec"];
        let criteria = spec["matchResources"].is_object().then(|| {
            let mut criteria = Criteria::new(&spec["matchResources"]);
            if criteria.rules.is_empty() {
                criteria.rules.push(everything());
            }
            criteria
        });
        Self {
            name: text(&object["metadata"]["name"]),
            params: spec["paramRef"].is_object().then(|| spec["paramRef"].clone()),
            criteria,
            actions: list(&spec["validationActions"]).iter().map(text).collect(),
        }
    }
}

fn everything() -> Rule {
    let all = || vec!["*".to_owned()];
    Rule {
        operations: all(),
        groups: all(),
        versions: all(),
        resources: vec!["*/*".to_owned()],
        scope: "*".to_owned(),
        names: Vec::new(),
    }
}

impl Policy {
    /// Compiles a policy.
    pub fn new(object: &Value, bindings: Vec<Binding>) -> Self {
        let spec = &object["spec"];
        let param_kind = spec["paramKind"].is_object().then(|| &spec["paramKind"]);
        let mutates = spec["mutations"].is_array();
        let options = Options { params: param_kind.is_some(), authorizer: true, mutations: false };
        let plain = admission::environment(options);
        let conditions = MatchConditions::new(&plain, &named(&spec["matchConditions"]));
        let base = admission::environment(Options { mutations: mutates, ..options });
        let (composition, env) = Composition::new(base, &named(&spec["variables"]));
        Self {
            name: text(&object["metadata"]["name"]),
            ignores_failure: spec["failurePolicy"] == "Ignore",
            param_kind: param_kind.map(|kind| (text(&kind["apiVersion"]), text(&kind["kind"]))),
            criteria: Criteria::new(&spec["matchConstraints"]),
            conditions,
            validations: list(&spec["validations"]).iter().map(|one| Validation::new(&env, one)).collect(),
            mutations: list(&spec["mutations"]).iter().map(|one| Mutation::new(&env, one)).collect(),
            annotations: list(&spec["auditAnnotations"])
                .iter()
                .map(|one| {
                    let expression = text(&one["valueExpression"]);
                    let program = admission::compile(&env, &expression, &[Type::String, Type::Null]);
                    (text(&one["key"]), expression, program)
                })
                .collect(),
            composition,
            reinvoke: spec["reinvocationPolicy"] == "IfNeeded",
            bindings,
        }
    }
}

impl Validation {
    fn new(env: &Env, given: &Value) -> Self {
        let expression = text(&given["expression"]);
        let made = Some(text(&given["messageExpression"])).filter(|made| !made.trim().is_empty());
        Self {
            program: admission::compile(env, &expression, &[Type::Bool]),
            text: expression,
            message: text(&given["message"]).trim().to_owned(),
            make_message: made.map(|made| (admission::compile(env, &made, &[Type::String]), made)),
            reason: given["reason"].as_str().map(str::to_owned),
        }
    }
}

impl Mutation {
    fn new(env: &Env, given: &Value) -> Self {
        let is_patch = given["patchType"] == "JSONPatch";
        let member = if is_patch { "jsonPatch" } else { "applyConfiguration" };
        let expression = text(&given[member]["expression"]);
        let wanted = if is_patch { admission::patch_type() } else { admission::object_type() };
        Self { program: admission::compile(env, &expression, &[wanted]), text: expression, is_patch }
    }
}

/// The policies of one kind.
pub struct Source {
    objects: Arc<dyn Objects>,
    policies: &'static str,
    bindings: &'static str,
    /// Of which states of policies and bindings.
    compiled: Fresh<(u64, u64), Policy>,
    metrics: AdmissionMetrics,
}

impl Source {
    /// The policies of a resource and the bindings of another.
    pub fn new(world: &World, policies: &'static str, bindings: &'static str) -> Self {
        let (objects, metrics) = (world.objects.clone(), world.metrics.clone());
        Self { objects, policies, bindings, compiled: Fresh::default(), metrics }
    }

    /// All policies with bindings now, by name.
    pub fn policies(&self) -> Arc<[Policy]> {
        let stamp = || (self.objects.stamp(GROUP, self.policies), self.objects.stamp(GROUP, self.bindings));
        self.compiled.get(stamp, || self.compile())
    }

    fn compile(&self) -> Arc<[Policy]> {
        let mut bindings = self.objects.list(GROUP, self.bindings, None);
        bindings.sort_by_key(|binding| text(&binding["metadata"]["name"]));
        let mut policies = self.objects.list(GROUP, self.policies, None);
        policies.sort_by_key(|policy| text(&policy["metadata"]["name"]));
        let compile = |policy: &Arc<Value>| {
            let name = &policy["metadata"]["name"];
            let own: Vec<Binding> = bindings
                .iter()
                .filter(|binding| binding["spec"]["policyName"] == *name)
                .map(|binding| Binding::new(binding))
                .collect();
            (!own.is_empty()).then(|| {
                let began = Instant::now();
                let policy = Policy::new(policy, own);
                self.metrics.compiled(began.elapsed());
                policy
            })
        };
        policies.iter().filter_map(compile).collect()
    }
}
