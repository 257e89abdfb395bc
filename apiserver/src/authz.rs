//! Authorization: may this user do this? The configured modes are asked in order, the first that decides wins.
pub mod bootstrap;
pub mod escalation;
pub mod node;
pub mod rbac;
pub mod reviews;

use crate::request_info::RequestInfo;
use crate::user::{MASTERS, User};
use knarr_api::status::{Resource, Status};
use std::borrow::Cow;
use std::sync::Arc;

/// What is to be authorized.
#[derive(Clone, Debug, Default)]
pub struct Attributes<'a> {
    /// Verb, `list`; for a non-resource path the lower-case HTTP method.
    pub verb: &'a str,
    /// API group.
    pub group: &'a str,
    /// API version.
    pub version: &'a str,
    /// Plural resource name; empty for a non-resource path.
    pub resource: &'a str,
    /// Subresource.
    pub subresource: &'a str,
    /// Namespace; empty for all or none.
    pub namespace: &'a str,
    /// Object name; empty for collections.
    pub name: &'a str,
    /// The path of a non-resource request.
    pub path: &'a str,
    /// Resource or path?
    pub is_resource: bool,
    /// The field selector of a list, watch or deletecollection, as sent.
    pub field_selector: Option<Cow<'a, str>>,
}

impl<'a> From<&'a RequestInfo> for Attributes<'a> {
    fn from(info: &'a RequestInfo) -> Self {
        Self {
            verb: info.verb.as_str(),
            group: info.group(),
            version: info.version(),
            resource: info.resource(),
            subresource: info.subresource(),
            namespace: info.namespace(),
            name: info.name(),
            path: info.path(),
            is_resource: info.is_resource_request,
            field_selector: if info.is_resource_request { info.field_selector() } else { None },
        }
    }
}

/// The answer of an authorizer, with its reason for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes.
    Allow(Cow<'static, str>),
    /// No, whatever the others say.
    Deny(Cow<'static, str>),
    /// Not known here: the next one decides; in the end that is a no.
    NoOpinion(Cow<'static, str>),
}

impl Decision {
    /// Was it allowed?
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    /// The reason given.
    pub fn reason(&self) -> &str {
        match self {
            Self::Allow(reason) | Self::Deny(reason) | Self::NoOpinion(reason) => reason,
        }
    }
}

/// A value of `--authorization-mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// What kubelets need, by what runs on their node.
    #[value(name = "Node")]
    Node,
    /// Roles and bindings.
    #[value(name = "RBAC")]
    Rbac,
    /// Everything is allowed.
    #[value(name = "AlwaysAllow")]
    AlwaysAllow,
    /// Everything is refused.
    #[value(name = "AlwaysDeny")]
    AlwaysDeny,
}

/// The configured authorizers.
#[derive(Clone)]
pub struct Authorizer {
    modes: Arc<[Mode]>,
    /// Roles and bindings; kept current whatever the modes, for escalation checks and rule reviews.
    pub rbac: Arc<rbac::Rbac>,
    /// What each node may see.
    pub node: Arc<node::NodeGraph>,
}

impl Authorizer {
    /// Asks `modes` in order; members of `system:masters` pass before any of them.
    pub fn new(modes: &[Mode]) -> Self {
        Self { modes: modes.into(), rbac: Arc::default(), node: Arc::default() }
    }

    /// Decides.
    pub fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        if user.in_group(MASTERS) {
            return Decision::Allow(Cow::Borrowed(""));
        }
        let mut reasons: Vec<Cow<'static, str>> = Vec::new();
        for mode in self.modes.iter() {
            let decision = match mode {
                Mode::Node => self.node.authorize(user, attributes),
                Mode::Rbac => self.rbac.authorize(user, attributes),
                Mode::AlwaysAllow => Decision::Allow(Cow::Borrowed("")),
                Mode::AlwaysDeny => Decision::NoOpinion(Cow::Borrowed("Everything is forbidden.")),
            };
            match decision {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        Decision::NoOpinion(Cow::Owned(reasons.join("\n")))
    }

    /// Decides, and words a refusal as the 403 that clients see.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn require(&self, user: &User, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.authorize(user, attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => Err(forbidden(user, attributes, &reason)),
        }
    }
}

/// `pods "x" is forbidden: User "u" cannot get resource "pods" in API group "" in the namespace "n"[: ‹reason›]`.
pub fn forbidden(user: &User, attributes: &Attributes<'_>, reason: &str) -> Status {
    let tail = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let (name, verb) = (&user.name, attributes.verb);
    if !attributes.is_resource {
        let text = format!("forbidden: User {name:?} cannot {verb} path {:?}{tail}", attributes.path);
        return with_details(text, Resource { group: "", plural: "" }, "");
    }
    let mut what = attributes.resource.to_owned();
    if !attributes.subresource.is_empty() {
        what = format!("{what}/{}", attributes.subresource);
    }
    let scope = if attributes.namespace.is_empty() {
        "at the cluster scope".to_owned()
    } else {
        format!("in the namespace {:?}", attributes.namespace)
    };
    let cause = format!(
        "User {name:?} cannot {verb} resource {what:?} in API group {:?} {scope}{tail}",
        attributes.group
    );
    let resource = Resource { group: attributes.group, plural: attributes.resource };
    Status::forbidden(resource, attributes.name, cause)
}

fn with_details(text: String, resource: Resource<'_>, name: &str) -> Status {
    let mut status = Status::forbidden(resource, name, "");
    status.message = text;
    status
}
