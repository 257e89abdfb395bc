//! Questions of who may do what, and `jsonpatch.escapeKey`.
use super::opaque::Opaque;
use super::{Out, Rows};
use crate::cel::eval::Context;
use crate::cel::value::Val;
use std::fmt::{self, Debug, Formatter};
use std::rc::Rc;

pub(super) const ROWS: Rows = &[
    (
        "path",
        "authorizer_path",
        "kubernetes.authorization.Authorizer . string -> kubernetes.authorization.PathCheck",
    ),
    (
        "group",
        "authorizer_group",
        "kubernetes.authorization.Authorizer . string -> kubernetes.authorization.GroupCheck",
    ),
    (
        "serviceAccount",
        "authorizer_serviceaccount",
        "kubernetes.authorization.Authorizer . string string -> kubernetes.authorization.Authorizer",
    ),
    (
        "resource",
        "groupcheck_resource",
        "kubernetes.authorization.GroupCheck . string -> kubernetes.authorization.ResourceCheck",
    ),
    (
        "subresource",
        "resourcecheck_subresource",
        "kubernetes.authorization.ResourceCheck . string -> kubernetes.authorization.ResourceCheck",
    ),
    (
        "namespace",
        "resourcecheck_namespace",
        "kubernetes.authorization.ResourceCheck . string -> kubernetes.authorization.ResourceCheck",
    ),
    (
        "name",
        "resourcecheck_name",
        "kubernetes.authorization.ResourceCheck . string -> kubernetes.authorization.ResourceCheck",
    ),
    (
        "fieldSelector",
        "authorizer_fieldselector",
        "kubernetes.authorization.ResourceCheck . string -> kubernetes.authorization.ResourceCheck",
    ),
    (
        "labelSelector",
        "authorizer_labelselector",
        "kubernetes.authorization.ResourceCheck . string -> kubernetes.authorization.ResourceCheck",
    ),
    (
        "check",
        "pathcheck_check",
        "kubernetes.authorization.PathCheck . string -> kubernetes.authorization.Decision",
    ),
    (
        "check",
        "resourcecheck_check",
        "kubernetes.authorization.ResourceCheck . string -> kubernetes.authorization.Decision",
    ),
    ("errored", "decision_errored", "kubernetes.authorization.Decision . -> bool"),
    ("error", "decision_error", "kubernetes.authorization.Decision . -> string"),
    ("allowed", "decision_allowed", "kubernetes.authorization.Decision . -> bool"),
    ("reason", "decision_reason", "kubernetes.authorization.Decision . -> string"),
];

pub(super) const JSON_PATCH: Rows =
    &[("jsonpatch.escapeKey", "string_jsonpatch_escapeKey_string", "string -> string")];

/// What is asked of an authorizer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Namespace and name of the service account that is asked about instead of the user of the request.
    pub service_account: Option<(String, String)>,
    /// The verb.
    pub verb: String,
    /// A path that is no resource.
    pub path: Option<String>,
    /// API group.
    pub group: String,
    /// Resource.
    pub resource: String,
    /// Subresource.
    pub subresource: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Field selector.
    pub field_selector: String,
    /// Label selector.
    pub label_selector: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// May it be done?
    pub allowed: bool,
    /// Why.
    pub reason: String,
    /// What went wrong while deciding.
    pub error: Option<String>,
}

/// Who decides; the user is the one of the request.
pub trait Authorizer {
    /// Decides at once.
    fn decide(&self, access: &Access) -> Decision;
}

/// A step on the way from an authorizer to its decision.
#[derive(Clone)]
pub enum Check<'a> {
    /// The authorizer itself.
    Authorizer(&'a dyn Authorizer, Access),
    /// A path.
    Path(&'a dyn Authorizer, Access),
    /// A group.
    Group(&'a dyn Authorizer, Access),
    /// A resource.
    Resource(&'a dyn Authorizer, Access),
    /// The answer.
    Decision(Decision),
}

impl Debug for Check<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

impl Check<'_> {
    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Authorizer(..) => "kubernetes.authorization.Authorizer",
            Self::Path(..) => "kubernetes.authorization.PathCheck",
            Self::Group(..) => "kubernetes.authorization.GroupCheck",
            Self::Resource(..) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }
}

fn made<'a>(check: Check<'a>) -> Val<'a> {
    Val::Opaque(Opaque::Check(Rc::new(check)))
}

/// The variable `authorizer`.
pub fn authorizer(who: &dyn Authorizer) -> Val<'_> {
    made(Check::Authorizer(who, Access::default()))
}

/// The variable `authorizer.requestResource`.
pub fn resource_check(who: &dyn Authorizer, access: Access) -> Val<'_> {
    made(Check::Resource(who, access))
}

pub(super) fn call<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    let [Val::Opaque(Opaque::Check(check)), rest @ ..] = args else { return None };
    let mut texts = Vec::new();
    for arg in rest {
        let Val::String(text) = arg else { return None };
        texts.push(text.to_string());
    }
    let value = match (&**check, name, texts.as_slice()) {
        (Check::Authorizer(who, access), "path", [path]) => {
            made(Check::Path(*who, Access { path: Some(path.clone()), ..access.clone() }))
        }
        (Check::Authorizer(who, access), "group", [group]) => {
            made(Check::Group(*who, Access { group: group.clone(), ..access.clone() }))
        }
        (Check::Authorizer(who, access), "serviceAccount", [namespace, name]) => {
            for (text, faults) in
                [(name, crate::names::dns_subdomain(name)), (namespace, crate::names::dns_label(namespace))]
            {
                if !faults.is_empty() {
                    let message =
                        format!("Invalid service account name or namespace {text:?}: {}", faults.join(", "));
                    return Some(super::fault(message));
                }
            }
            let account = Some((namespace.clone(), name.clone()));
            made(Check::Authorizer(*who, Access { service_account: account, ..access.clone() }))
        }
        (Check::Group(who, access), "resource", [resource]) => {
            made(Check::Resource(*who, Access { resource: resource.clone(), ..access.clone() }))
        }
        (Check::Resource(who, access) | Check::Path(who, access), "check", [verb]) => {
            made(Check::Decision(who.decide(&Access { verb: verb.clone(), ..access.clone() })))
        }
        (Check::Resource(who, access), name, [text]) => {
            let mut access = access.clone();
            match name {
                "subresource" => access.subresource.clone_from(text),
                "namespace" => access.namespace.clone_from(text),
                "name" => access.name.clone_from(text),
                "fieldSelector" => access.field_selector.clone_from(text),
                "labelSelector" => access.label_selector.clone_from(text),
                _ => return None,
            }
            made(Check::Resource(*who, access))
        }
        (Check::Decision(decision), name, []) => match name {
            "errored" => Val::Bool(decision.error.is_some()),
            "error" => Val::text(decision.error.as_deref().unwrap_or_default()),
            "allowed" => Val::Bool(decision.allowed),
            "reason" => Val::text(&decision.reason),
            _ => return None,
        },
        _ => return None,
    };
    Some(Ok(value))
}

pub(super) fn json_patch<'a>(_: &mut Context<'_>, name: &str, args: &[Val<'a>]) -> Option<Out<'a>> {
    match (name, args) {
        ("jsonpatch.escapeKey", [Val::String(key)]) => {
            Some(Ok(Val::text(key.replace('~', "~0").replace('/', "~1"))))
        }
        _ => None,
    }
}
