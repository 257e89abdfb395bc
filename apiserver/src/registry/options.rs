//! Options of requests: decoded from the query as the original decodes them, then validated.
//!
//! Unknown names are ignored. A number that is none is a 400; options that contradict each other are 422 on a
//! `…Options` kind of `meta.k8s.io`.
use http::HeaderMap;
use http::header::USER_AGENT;
use knarr_api::field::Error;
use knarr_api::status::Status;
use knarr_api::{Object, Value};

/// A decoded query string: names and values in order.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Decodes `application/x-www-form-urlencoded` text.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|p| !p.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        });
        Self(pairs.collect())
    }

    /// The first value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The first value of a name, empty when absent.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// All values of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// A switch: present means true unless it says `false` or `0`.
    pub fn switch(&self, name: &str) -> Option<bool> {
        self.get(name).map(|v| !matches!(v.to_ascii_lowercase().as_str(), "false" | "0"))
    }

    /// A whole number; 400 when it does not parse, absent when empty.
    pub fn number(&self, name: &str) -> Result<Option<i64>, Status> {
        match self.get(name) {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
            }),
        }
    }
}

/// Undoes percent-encoding and `+`; what is not valid UTF-8 is replaced.
pub fn unescape(text: &str) -> String {
    decode(text, b" ")
}

/// The same where `+` stands for itself: outside queries.
pub fn unescape_path(text: &str) -> String {
    decode(text, b"+")
}

fn decode(text: &str, plus: &[u8]) -> String {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|b| matches!(b, b'%' | b'+')) {
        return text.to_owned();
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
        match bytes[at] {
            b'+' => out.extend_from_slice(plus),
            b'%' => match (hex(at + 1), hex(at + 2)) {
                (Some(high), Some(low)) => {
                    out.push((high * 16 + low) as u8);
                    at += 2;
                }
                _ => out.push(b'%'),
            },
            other => out.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// `resourceVersionMatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionMatch {
    /// At least the given revision.
    NotOlderThan,
    /// Exactly the given revision.
    Exact,
    /// Something else, which is refused.
    Unknown(String),
}

impl VersionMatch {
    fn text(&self) -> Value {
        Value::from(match self {
            Self::NotOlderThan => "NotOlderThan",
            Self::Exact => "Exact",
            Self::Unknown(text) => text,
        })
    }
}

/// `ListOptions`, for list, watch and deletecollection.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    /// Label selector text.
    pub label_selector: String,
    /// Field selector text.
    pub field_selector: String,
    /// Watch instead of list.
    pub watch: bool,
    /// The client understands BOOKMARK events.
    pub bookmarks: bool,
    /// `resourceVersion` as given.
    pub resource_version: String,
    /// How `resource_version` binds.
    pub version_match: Option<VersionMatch>,
    /// End after so many seconds.
    pub timeout_seconds: Option<i64>,
    /// Page size; 0 for all.
    pub limit: i64,
    /// Token of the next page.
    pub continue_token: String,
    /// Begin a watch with the present objects.
    pub send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Decodes and validates; `watch` comes from the path form or the option.
    pub fn decode(query: &Query, watch: bool) -> Result<Self, Status> {
        let version_match = match query.text("resourceVersionMatch") {
            "" => None,
            "NotOlderThan" => Some(VersionMatch::NotOlderThan),
            "Exact" => Some(VersionMatch::Exact),
            other => Some(VersionMatch::Unknown(other.to_owned())),
        };
        let mut options = Self {
            label_selector: query.text("labelSelector").to_owned(),
            field_selector: query.text("fieldSelector").to_owned(),
            watch: watch || query.switch("watch") == Some(true),
            bookmarks: query.switch("allowWatchBookmarks") == Some(true),
            resource_version: query.text("resourceVersion").to_owned(),
            version_match,
            timeout_seconds: query.number("timeoutSeconds")?,
            limit: query.number("limit")?.unwrap_or(0),
            continue_token: query.text("continue").to_owned(),
            send_initial_events: query.switch("sendInitialEvents"),
        };
        if options.watch {
            options.default_watch();
        }
        let errors = if options.watch { options.check_watch() } else { options.check_list() };
        if errors.is_empty() { Ok(options) } else { Err(invalid("ListOptions", &errors)) }
    }

    /// A watch from nowhere or "0" begins with the present objects.
    fn default_watch(&mut self) {
        let from_start = matches!(self.resource_version.as_str(), "" | "0");
        if from_start && self.send_initial_events.is_none() && self.version_match.is_none() {
            self.send_initial_events = Some(true);
            self.version_match = Some(VersionMatch::NotOlderThan);
        }
    }

    fn check_list(&self) -> Vec<Error> {
        const MATCH: &str = "resourceVersionMatch";
        let mut errors = Vec::new();
        let mut forbidden = |field: &str, text: &str| errors.push(Error::forbidden(field, text));
        if let Some(how) = &self.version_match {
            if self.resource_version.is_empty() {
                forbidden(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
            }
            if !self.continue_token.is_empty() {
                forbidden(MATCH, "resourceVersionMatch is forbidden when continue is provided");
            }
            match how {
                VersionMatch::Exact if self.resource_version == "0" => {
                    forbidden(MATCH, "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
                }
                VersionMatch::Unknown(_) => {
                    let known = ["Exact", "NotOlderThan", ""];
                    errors.push(Error::not_supported(MATCH, &how.text(), &known));
                }
                _ => {}
            }
        }
        if self.send_initial_events.is_some() {
            errors.push(Error::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        errors
    }

    fn check_watch(&self) -> Vec<Error> {
        const MATCH: &str = "resourceVersionMatch";
        let mut errors = Vec::new();
        let matched = self.version_match.as_ref();
        if self.send_initial_events.is_some() && matched != Some(&VersionMatch::NotOlderThan) {
            let text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            errors.push(Error::forbidden(MATCH, text));
        }
        let Some(matched) = matched else { return errors };
        if self.send_initial_events.is_none() {
            let text = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            errors.push(Error::forbidden(MATCH, text));
        }
        if *matched != VersionMatch::NotOlderThan {
            errors.push(Error::not_supported(MATCH, &matched.text(), &["NotOlderThan"]));
        }
        if !self.continue_token.is_empty() {
            let text = "resourceVersionMatch is forbidden when continue is provided";
            errors.push(Error::forbidden(MATCH, text));
        }
        errors
    }
}

fn invalid(kind: &str, errors: &[Error]) -> Status {
    Status::invalid("meta.k8s.io", kind, "", errors)
}

/// How unknown and duplicate fields of a body are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// Dropped in silence.
    Ignore,
    /// Dropped, each with a `Warning` header.
    #[default]
    Warn,
    /// Refused with 400.
    Strict,
}

/// Which write the options belong to; the name of the `…Options` kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerb {
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH.
    Patch,
}

/// `CreateOptions`, `UpdateOptions` and `PatchOptions`.
#[derive(Clone, Debug, Default)]
pub struct WriteOptions {
    /// Do everything but write.
    pub dry_run: bool,
    /// Strictness of decoding.
    pub field_validation: FieldValidation,
    /// Manager of the fields the request sets.
    pub field_manager: String,
    /// Apply takes over conflicting fields.
    pub force: bool,
}

impl WriteOptions {
    /// Decodes and validates. `apply` is true for server-side apply, which needs a field manager.
    pub fn decode(query: &Query, headers: &HeaderMap, verb: WriteVerb, apply: bool) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let dry_run = dry_run(query.all("dryRun"), &mut errors);
        let field_validation = match query.text("fieldValidation") {
            "" | "Warn" => FieldValidation::Warn,
            "Ignore" => FieldValidation::Ignore,
            "Strict" => FieldValidation::Strict,
            other => {
                errors.push(Error::not_supported(
                    "fieldValidation",
                    &Value::from(other),
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        let given = query.text("fieldManager");
        if given.len() > 128 {
            errors.push(Error::too_long("fieldManager", 128));
        }
        if let Some((at, c)) = given.char_indices().find(|(_, c)| c.is_control()) {
            let detail = format!("invalid character U+{:04X} (at position {at})", u32::from(c));
            errors.push(Error::invalid("fieldManager", &Value::from(given), detail));
        }
        let force = query.switch("force");
        if apply && given.is_empty() {
            errors.push(Error::required("fieldManager", "is required for apply patch"));
        }
        if !apply && force.is_some() {
            errors.push(Error::forbidden("force", "may not be specified for non-apply patch"));
        }
        if !errors.is_empty() {
            let kind = match verb {
                WriteVerb::Create => "CreateOptions",
                WriteVerb::Update => "UpdateOptions",
                WriteVerb::Patch => "PatchOptions",
            };
            return Err(invalid(kind, &errors));
        }
        let field_manager = if given.is_empty() { manager_of_agent(headers) } else { given.to_owned() };
        Ok(Self { dry_run, field_validation, field_manager, force: force.unwrap_or(false) })
    }
}

/// The `CreateOptions` or `UpdateOptions` of a request, as admission sees them.
pub fn write_document(query: &Query, creates: bool) -> Value {
    let mut document = serde_json::json!({
        "kind": if creates { "CreateOptions" } else { "UpdateOptions" }, "apiVersion": META,
    });
    let dry_run: Vec<Value> = query.all("dryRun").map(Value::from).collect();
    if !dry_run.is_empty() {
        document["dryRun"] = Value::Array(dry_run);
    }
    for name in ["fieldManager", "fieldValidation"] {
        if let Some(given) = query.get(name).filter(|given| !given.is_empty()) {
            document[name] = given.into();
        }
    }
    document
}

/// The API version of options.
const META: &str = "meta.k8s.io/v1";

/// The default field manager: the user agent up to its first `/`, printable characters only, at most 128 bytes.
fn manager_of_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let name = agent.split('/').next().unwrap_or_default();
    let mut out = String::new();
    for c in name.chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > 128 {
            break;
        }
        out.push(c);
    }
    if out.is_empty() { "unknown".to_owned() } else { out }
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, errors: &mut Vec<Error>) -> bool {
    let values: Vec<&str> = values.collect();
    if values.iter().any(|v| *v != "All") {
        let given = values.iter().map(|v| Value::from(*v)).collect::<Vec<_>>();
        errors.push(Error::not_supported("dryRun", &Value::Array(given), &["All"]));
    }
    !values.is_empty()
}

/// `propagationPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Dependents stay and lose their owner.
    Orphan,
    /// Dependents are deleted afterwards.
    Background,
    /// Dependents are deleted first.
    Foreground,
}

/// `DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// Seconds to let the object end by itself.
    pub grace_period_seconds: Option<i64>,
    /// The object must have this UID.
    pub uid: Option<String>,
    /// The object must be at this resourceVersion.
    pub resource_version: Option<String>,
    /// What happens to dependents, as `propagationPolicy` or the older `orphanDependents` say.
    pub propagation: Option<Propagation>,
    /// Do everything but write.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// As admission sees them.
    pub fn document(&self) -> Value {
        let mut document = serde_json::json!({"kind": "DeleteOptions", "apiVersion": META});
        if let Some(seconds) = self.grace_period_seconds {
            document["gracePeriodSeconds"] = seconds.into();
        }
        for (name, given) in [("uid", &self.uid), ("resourceVersion", &self.resource_version)] {
            if let Some(given) = given {
                document["preconditions"][name] = given.as_str().into();
            }
        }
        if let Some(policy) = self.propagation {
            document["propagationPolicy"] = format!("{policy:?}").into();
        }
        if self.dry_run {
            document["dryRun"] = serde_json::json!(["All"]);
        }
        document
    }

    /// From a query, for requests without a body.
    pub fn from_query(query: &Query) -> Result<Self, Status> {
        let mut object = Object::new();
        if let Some(seconds) = query.number("gracePeriodSeconds")? {
            object.insert("gracePeriodSeconds".into(), seconds.into());
        }
        if let Some(orphan) = query.switch("orphanDependents") {
            object.insert("orphanDependents".into(), orphan.into());
        }
        if let Some(policy) = query.get("propagationPolicy") {
            object.insert("propagationPolicy".into(), policy.into());
        }
        let dry_run: Vec<Value> = query.all("dryRun").map(Value::from).collect();
        if !dry_run.is_empty() {
            object.insert("dryRun".into(), Value::Array(dry_run));
        }
        Self::from_object(&object)
    }

    /// From a decoded `DeleteOptions` body.
    pub fn from_object(object: &Object) -> Result<Self, Status> {
        let mut errors = Vec::new();
        let text = |v: Option<&Value>| v.and_then(Value::as_str).map(str::to_owned);
        let preconditions = object.get("preconditions");
        let orphan = object.get("orphanDependents").and_then(Value::as_bool);
        let policy = object.get("propagationPolicy").filter(|p| !p.is_null());
        if orphan.is_some() && policy.is_some() {
            errors.push(Error::invalid(
                "propagationPolicy",
                policy.unwrap_or(&Value::Null),
                "orphanDependents and deletionPropagation cannot be both set",
            ));
        }
        let mut propagation = match policy.and_then(Value::as_str) {
            None => None,
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                errors.push(Error::not_supported(
                    "propagationPolicy",
                    &Value::from(other),
                    &["Foreground", "Background", "Orphan", "nil"],
                ));
                None
            }
        };
        if let Some(orphan) = orphan {
            propagation = Some(if orphan { Propagation::Orphan } else { Propagation::Background });
        }
        let dry = object.get("dryRun").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let dry_run = dry_run(dry.iter().filter_map(Value::as_str), &mut errors);
        if !errors.is_empty() {
            return Err(invalid("DeleteOptions", &errors));
        }
        let grace = object.get("gracePeriodSeconds").and_then(Value::as_i64);
        Ok(Self {
            grace_period_seconds: grace.map(|g| if g < 0 { 1 } else { g }),
            uid: text(preconditions.and_then(|p| p.get("uid"))),
            resource_version: text(preconditions.and_then(|p| p.get("resourceVersion"))),
            propagation,
            dry_run,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, watch: bool, expected: Result<(), &str>) {
        let got = ListOptions::decode(&Query::parse(query), watch).map(|_| ()).map_err(|s| s.message);
        assert_eq!(got, expected.map_err(str::to_owned), "{query}");
    }

    #[test]
    fn list_options() {
        check("limit=5&labelSelector=a%3Db", false, Ok(()));
        check("limit=x", false, Err("strconv.ParseInt: parsing \"x\": invalid syntax"));
        check(
            "resourceVersionMatch=Exact",
            false,
            Err(
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
            ),
        );
        check(
            "resourceVersion=0&resourceVersionMatch=Exact",
            false,
            Err(
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ),
        );
        check("", true, Ok(()));
        check(
            "sendInitialEvents=true&resourceVersion=3",
            true,
            Err(
                "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
        );
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape("a%3Db+c%zz"), "a=b c%zz");
    }
}
