//! Authorization: may this user do this? The configured modes are asked in order, the first that decides wins.
pub mod bootstrap;
pub mod escalation;
pub mod node;
pub mod rbac;
pub mod reviews;
pub mod structured;
pub mod webhook;

use crate::metrics::DecisionMetrics;
use crate::request_info::{RequestInfo, Verb};
use crate::user::{MASTERS, User};
use futures::FutureExt;
use knarr_api::status::{Resource, Status};
use knarr_reload::Reloaded;
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
    /// The label selector of the same, as sent.
    pub label_selector: Option<Cow<'a, str>>,
}

impl<'a> From<&'a RequestInfo> for Attributes<'a> {
    fn from(info: &'a RequestInfo) -> Self {
        let selects = info.is_resource_request
            && matches!(info.verb, Verb::List | Verb::Watch | Verb::DeleteCollection)
            && !info.has_verb_in_path();
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
            field_selector: if selects { info.field_selector() } else { None },
            label_selector: if selects { info.label_selector() } else { None },
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
    /// It could not be found out.
    Failed {
        /// That is a no; otherwise the next one decides.
        denied: bool,
        /// What those who could tell said.
        reason: Cow<'static, str>,
        /// Why.
        error: Cow<'static, str>,
    },
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
            Self::Failed { reason, .. } => reason,
        }
    }

    /// Why it could not be found out.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Failed { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What authorizers list of somebody's rights.
#[derive(Debug, Default)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<rbac::Rule>,
    /// There may be more.
    pub incomplete: bool,
    /// What went wrong.
    pub errors: Vec<String>,
}

impl Rules {
    fn cannot_list(&mut self, why: &str) {
        self.incomplete = true;
        self.errors.push(why.to_owned());
    }
}

/// Several errors as one text: one alone as it is, more in brackets, none twice.
pub fn aggregate<T: AsRef<str>>(errors: &[T]) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for error in errors {
        if !texts.contains(&error.as_ref()) {
            texts.push(error.as_ref());
        }
    }
    match texts.as_slice() {
        [one] => (*one).to_owned(),
        several => format!("[{}]", several.join(", ")),
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
    /// A webhook (`--authorization-webhook-config-file`).
    #[value(name = "Webhook")]
    Webhook,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Node => "Node",
            Self::Rbac => "RBAC",
            Self::AlwaysAllow => "AlwaysAllow",
            Self::AlwaysDeny => "AlwaysDeny",
            Self::Webhook => "Webhook",
        }
    }
}

/// One authorizer of the chain.
#[derive(Clone)]
pub struct Step {
    name: Arc<str>,
    who: Who,
}

/// Who decides.
#[derive(Clone)]
pub enum Who {
    /// One of this server's own.
    Mode(Mode),
    /// Another server.
    Webhook(Arc<webhook::Webhook>),
}

impl Step {
    /// One with the name that a configuration gives it.
    pub fn named(name: &str, who: Who) -> Self {
        Self { name: name.into(), who }
    }

    /// One known by its kind alone.
    pub fn of(who: Who) -> Self {
        Self::named(&who.kind().to_ascii_lowercase(), who)
    }
}

impl Who {
    fn kind(&self) -> &'static str {
        match self {
            Self::Mode(mode) => mode.name(),
            Self::Webhook(_) => Mode::Webhook.name(),
        }
    }
}

/// The configured authorizers.
#[derive(Clone)]
pub struct Authorizer {
    steps: Arc<Reloaded<Vec<Step>>>,
    /// Roles and bindings; kept current whatever the modes, for escalation checks and rule reviews.
    pub rbac: Arc<rbac::Rbac>,
    /// What each node may see.
    pub node: Arc<node::NodeGraph>,
    counts: DecisionMetrics,
}

impl Authorizer {
    /// Asks `modes` in order; members of `system:masters` pass before any of them.
    pub fn new(modes: &[Mode]) -> Self {
        Self::of(Reloaded::fixed(modes.iter().map(|mode| Step::of(Who::Mode(*mode))).collect()))
    }

    /// Asks the authorizers of a configuration, whatever they are by now.
    pub fn of(steps: Reloaded<Vec<Step>>) -> Self {
        Self {
            steps: Arc::new(steps),
            rbac: Arc::default(),
            node: Arc::default(),
            counts: DecisionMetrics::default(),
        }
    }

    /// Counts its decisions there.
    pub fn counted(self, counts: DecisionMetrics) -> Self {
        Self { counts, ..self }
    }

    /// Decides.
    pub async fn decide(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        if user.in_group(MASTERS) {
            return Decision::Allow(Cow::Borrowed(""));
        }
        let (mut reasons, mut errors) = (Vec::new(), Vec::new());
        for step in self.steps.get().iter() {
            let decision = match &step.who {
                Who::Mode(Mode::Node) => self.node.authorize(user, attributes),
                Who::Mode(Mode::Rbac) => self.rbac.authorize(user, attributes),
                Who::Mode(Mode::AlwaysAllow) => Decision::Allow(Cow::Borrowed("")),
                Who::Mode(Mode::AlwaysDeny | Mode::Webhook) => {
                    Decision::NoOpinion(Cow::Borrowed("Everything is forbidden."))
                }
                Who::Webhook(webhook) => webhook.decide(user, attributes).await,
            };
            match decision {
                Decision::NoOpinion(reason) if reason.is_empty() => {}
                Decision::NoOpinion(reason) => reasons.push(reason),
                Decision::Failed { denied: false, error, .. } => errors.push(error),
                decided => {
                    self.counts.decided(step.who.kind(), &step.name, decided.is_allowed());
                    return decided;
                }
            }
        }
        let reason = Cow::Owned(reasons.join("\n"));
        if errors.is_empty() {
            return Decision::NoOpinion(reason);
        }
        Decision::Failed { denied: false, reason, error: Cow::Owned(aggregate(&errors)) }
    }

    /// The rules a user has in a namespace, as far as the authorizers can list them.
    pub fn rules_for(&self, user: &User, namespace: &str) -> Rules {
        let mut all = Rules::default();
        for step in self.steps.get().iter() {
            match &step.who {
                Who::Mode(Mode::Node) if node::of(user).is_some() => {
                    all.cannot_list("node authorizer does not support user rule resolution");
                }
                Who::Mode(Mode::Rbac) => {
                    let (rules, missing) = self.rbac.rules_for(user, namespace);
                    all.rules.extend(rules);
                    all.errors.extend(missing);
                }
                Who::Mode(Mode::AlwaysAllow) => all.rules.extend(rbac::Rule::everything()),
                Who::Webhook(_) => {
                    all.cannot_list("webhook authorizer does not support user rule resolution");
                }
                Who::Mode(_) => {}
            }
        }
        all
    }

    /// The same for who cannot wait, such as expressions: where a webhook has to be asked, the thread hands its other
    /// tasks over and waits.
    pub fn authorize(&self, user: &User, attributes: &Attributes<'_>) -> Decision {
        if let Some(decision) = self.decide(user, attributes).now_or_never() {
            return decision;
        }
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(self.decide(user, attributes)))
    }

    /// Decides, and words a refusal as the 403 that clients see.
    ///
    /// # Errors
    /// `Forbidden`.
    pub fn require(&self, user: &User, attributes: &Attributes<'_>) -> Result<(), Status> {
        match self.authorize(user, attributes) {
            Decision::Allow(_) => Ok(()),
            Decision::Failed { error, .. } => Err(Status::internal(error)),
            other => Err(forbidden(user, attributes, other.reason())),
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
