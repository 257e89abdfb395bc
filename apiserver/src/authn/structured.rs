//! `--authentication-config`: AuthenticationConfiguration of `apiserver.config.k8s.io`, and the `--oidc-…` flags, which
//! say the same of one issuer.
//!
//! Source: KEP-3331 and KEP-4633. Unknown fields are refused. A file is taken over as a whole or not at all.
use super::jwt::{Issuer, Settings};
use crate::outbound::{Outbound, Trust};
use crate::request_info::RequestInfo;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What the file holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct File {
    /// Issuers of tokens.
    #[serde(default)]
    pub jwt: Vec<JwtAuthenticator>,
    /// Requests without credentials.
    #[serde(default)]
    pub anonymous: Option<Anonymous>,
}

/// Who may come without credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anonymous {
    /// Anybody at all?
    pub enabled: bool,
    /// Where to; empty: everywhere.
    #[serde(default)]
    pub conditions: Vec<PathCondition>,
}

/// One path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathCondition {
    /// Compared as a whole.
    pub path: String,
}

impl Anonymous {
    /// May this request come without credentials?
    pub fn admits(&self, info: &RequestInfo) -> bool {
        let is_listed = || self.conditions.iter().any(|condition| condition.path == info.path());
        self.enabled && (self.conditions.is_empty() || is_listed())
    }
}

/// One issuer and how its tokens are read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JwtAuthenticator {
    /// Who issues.
    pub issuer: IssuerSettings,
    /// What must hold of claims.
    #[serde(default)]
    pub claim_validation_rules: Vec<ClaimRule>,
    /// What claims mean.
    pub claim_mappings: Mappings,
    /// What must hold of the user.
    #[serde(default)]
    pub user_validation_rules: Vec<UserRule>,
}

/// `issuer`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IssuerSettings {
    /// `iss` of the tokens.
    #[serde(default)]
    pub url: String,
    /// Where the discovery document is, if not below `url`.
    #[serde(default, rename = "discoveryURL")]
    pub discovery_url: String,
    /// PEM; empty: the system's.
    #[serde(default)]
    pub certificate_authority: String,
    /// One of these must be in `aud`.
    #[serde(default)]
    pub audiences: Vec<String>,
    /// `MatchAny`.
    #[serde(default)]
    pub audience_match_policy: String,
}

/// `claimValidationRules[]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClaimRule {
    /// A claim that must have `requiredValue`.
    #[serde(default)]
    pub claim: String,
    /// The value.
    #[serde(default)]
    pub required_value: String,
    /// Or an expression over `claims`.
    #[serde(default)]
    pub expression: String,
    /// What is said when the expression is false.
    #[serde(default)]
    pub message: String,
}

/// `userValidationRules[]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserRule {
    /// An expression over `user`.
    #[serde(default)]
    pub expression: String,
    /// What is said when it is false.
    #[serde(default)]
    pub message: String,
}

/// `claimMappings`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mappings {
    /// The name.
    #[serde(default)]
    pub username: Prefixed,
    /// The groups.
    #[serde(default)]
    pub groups: Prefixed,
    /// The uid.
    #[serde(default)]
    pub uid: ClaimOrExpression,
    /// Extras.
    #[serde(default)]
    pub extra: Vec<ExtraMapping>,
}

/// A claim with a prefix, or an expression.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prefixed {
    /// The claim.
    #[serde(default)]
    pub claim: String,
    /// Required with `claim`, may be empty.
    #[serde(default)]
    pub prefix: Option<String>,
    /// An expression over `claims`.
    #[serde(default)]
    pub expression: String,
}

/// A claim or an expression.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimOrExpression {
    /// The claim.
    #[serde(default)]
    pub claim: String,
    /// An expression over `claims`.
    #[serde(default)]
    pub expression: String,
}

/// `claimMappings.extra[]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtraMapping {
    /// The key, with a domain.
    #[serde(default)]
    pub key: String,
    /// An expression over `claims`.
    #[serde(default)]
    pub value_expression: String,
}

/// What requests are authenticated by besides what flags alone say.
#[derive(Default)]
pub struct Active {
    /// Issuers of tokens.
    pub issuers: Vec<Issuer>,
    /// Where the file speaks of it.
    pub anonymous: Option<Anonymous>,
}

/// Reads and checks a configuration file. `own_issuers` are those of ServiceAccounts, whose tokens are no one else's.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(path: &Path, own_issuers: &[String], outbound: &Arc<Outbound>) -> Result<Active, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let file = parse(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let active = build(&file, own_issuers, outbound);
    active.map_err(|errors| format!("{}: {}", path.display(), errors.join(", ")))
}

/// Reads a configuration's text.
///
/// # Errors
/// What is no such configuration.
pub fn parse(text: &str) -> Result<File, String> {
    crate::config_file::parse(text, "AuthenticationConfiguration", &VERSIONS)
}

/// The versions a file may be written in.
const VERSIONS: [&str; 3] =
    ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1", "apiserver.config.k8s.io/v1alpha1"];

/// Checks a configuration and makes its issuers.
///
/// # Errors
/// Everything that is wrong with it, each with its path.
pub fn build(file: &File, own_issuers: &[String], outbound: &Arc<Outbound>) -> Result<Active, Vec<String>> {
    let mut errors = Vec::new();
    let (mut urls, mut discoveries) = (BTreeSet::new(), BTreeSet::new());
    let mut issuers = Vec::new();
    if file.jwt.len() > 64 {
        errors.push(format!("jwt: Too many: {}: must have at most 64 items", file.jwt.len()));
    }
    for (index, jwt) in file.jwt.iter().enumerate() {
        let at = format!("jwt[{index}]");
        let issuer = &jwt.issuer;
        let before = errors.len();
        check_issuer(issuer, &at, own_issuers, &mut errors);
        if !urls.insert(issuer.url.as_str()) {
            errors.push(format!("{at}.issuer.url: Duplicate value: {:?}", issuer.url));
        }
        if !issuer.discovery_url.is_empty() && !discoveries.insert(issuer.discovery_url.as_str()) {
            errors.push(format!("{at}.issuer.discoveryURL: Duplicate value: {:?}", issuer.discovery_url));
        }
        match Settings::compile(jwt, &at) {
            Ok(_) if errors.len() > before => {}
            Ok(settings) => match Issuer::new(settings, issuer, outbound) {
                Ok(issuer) => issuers.push(issuer),
                Err(error) => errors.push(format!("{at}.issuer: {error}")),
            },
            Err(more) => errors.extend(more),
        }
    }
    if let Some(anonymous) = &file.anonymous
        && !anonymous.enabled
        && !anonymous.conditions.is_empty()
    {
        errors.push(
            "anonymous.conditions: Invalid value: enabled should be set to true when conditions are defined"
                .to_owned(),
        );
    }
    if errors.is_empty() { Ok(Active { issuers, anonymous: file.anonymous.clone() }) } else { Err(errors) }
}

fn check_issuer(issuer: &IssuerSettings, at: &str, own: &[String], errors: &mut Vec<String>) {
    let at = format!("{at}.issuer");
    check_url(&issuer.url, &format!("{at}.url"), errors);
    if own.contains(&issuer.url) {
        errors.push(format!(
            "{at}.url: Invalid value: {:?}: URL must not overlap with disallowed issuers: {own:?}",
            issuer.url
        ));
    }
    if !issuer.discovery_url.is_empty() {
        if issuer.discovery_url.trim_end_matches('/') == issuer.url.trim_end_matches('/') {
            errors.push(format!(
                "{at}.discoveryURL: Invalid value: {:?}: discoveryURL must be different from URL",
                issuer.discovery_url
            ));
        }
        check_url(&issuer.discovery_url, &format!("{at}.discoveryURL"), errors);
    }
    if let Err(error) = Trust::pem(issuer.certificate_authority.clone().into_bytes()) {
        errors.push(format!("{at}.certificateAuthority: Invalid value: \"<omitted>\": {error}"));
    }
    let mut seen = BTreeSet::new();
    for (index, audience) in issuer.audiences.iter().enumerate() {
        if audience.is_empty() {
            errors.push(format!("{at}.audiences[{index}]: Required value: audience can't be empty"));
        } else if !seen.insert(audience) {
            errors.push(format!("{at}.audiences[{index}]: Duplicate value: {audience:?}"));
        }
    }
    if issuer.audiences.is_empty() {
        errors.push(format!("{at}.audiences: Required value: at least one {at}.audiences is required"));
    }
    match (issuer.audiences.len(), issuer.audience_match_policy.as_str()) {
        (_, "MatchAny") | (0 | 1, "") => {}
        (0 | 1, policy) => errors.push(format!(
            "{at}.audienceMatchPolicy: Invalid value: {policy:?}: audienceMatchPolicy must be empty or MatchAny for single audience"
        )),
        (_, policy) => errors.push(format!(
            "{at}.audienceMatchPolicy: Invalid value: {policy:?}: audienceMatchPolicy must be MatchAny for multiple audiences"
        )),
    }
}

fn check_url(url: &str, at: &str, errors: &mut Vec<String>) {
    if url.is_empty() {
        errors.push(format!("{at}: Required value: URL is required"));
        return;
    }
    let mut wrong = |what: &str| errors.push(format!("{at}: Invalid value: {url:?}: {what}"));
    let Ok(uri) = url.split('#').next().unwrap_or_default().parse::<http::Uri>() else {
        return wrong("URL cannot be parsed");
    };
    if uri.scheme_str() != Some("https") {
        wrong("URL scheme must be https");
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        wrong("URL must not contain a username or password");
    }
    if uri.query().is_some() {
        wrong("URL must not contain a query");
    }
    if url.contains('#') {
        wrong("URL must not contain a fragment");
    }
}

/// The `--oidc-…` flags.
#[derive(Clone, Debug, Default)]
pub struct OidcFlags {
    /// `--oidc-issuer-url`.
    pub issuer_url: String,
    /// `--oidc-client-id`.
    pub client_id: String,
    /// `--oidc-username-claim`.
    pub username_claim: String,
    /// `--oidc-username-prefix`; `-` is none, empty is the issuer, except for email addresses.
    pub username_prefix: String,
    /// `--oidc-groups-claim`.
    pub groups_claim: String,
    /// `--oidc-groups-prefix`.
    pub groups_prefix: String,
    /// `--oidc-required-claim`.
    pub required_claims: BTreeMap<String, String>,
    /// The authority, PEM; empty: the system's.
    pub certificate_authority: String,
}

impl OidcFlags {
    /// The configuration that says the same.
    pub fn file(self) -> File {
        let prefix = match self.username_prefix.as_str() {
            "" if self.username_claim != "email" => format!("{}#", self.issuer_url),
            "-" => String::new(),
            given => given.to_owned(),
        };
        let groups = match self.groups_claim.is_empty() {
            true => Prefixed::default(),
            false => Prefixed {
                claim: self.groups_claim,
                prefix: Some(self.groups_prefix),
                expression: String::new(),
            },
        };
        let rule = |(claim, required_value)| ClaimRule { claim, required_value, ..ClaimRule::default() };
        let jwt = JwtAuthenticator {
            issuer: IssuerSettings {
                url: self.issuer_url,
                certificate_authority: self.certificate_authority,
                audiences: vec![self.client_id],
                ..IssuerSettings::default()
            },
            claim_validation_rules: self.required_claims.into_iter().map(rule).collect(),
            claim_mappings: Mappings {
                username: Prefixed {
                    claim: self.username_claim,
                    prefix: Some(prefix),
                    expression: String::new(),
                },
                groups,
                ..Mappings::default()
            },
            user_validation_rules: Vec::new(),
        };
        File { jwt: vec![jwt], ..File::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::Memory;
    use knarr_api::Value;
    use serde_json::json;

    #[test]
    fn configurations() {
        let objects = Arc::new(Memory::default());
        let outbound =
            Arc::new(Outbound::new(objects, false, None, None, knarr_reload::identity::provider()));
        let check = |change: Value, expected: &[&str]| {
            let mut jwt = json!({"issuer": {"url": "https://x", "audiences": ["a"]},
                "claimMappings": {"username": {"claim": "sub", "prefix": ""}}});
            knarr_api::patch::merge::apply(&mut jwt, change.clone());
            let file = json!({"apiVersion": "apiserver.config.k8s.io/v1beta1", "kind": "AuthenticationConfiguration", "jwt": [jwt]});
            let built = parse(&file.to_string()).map_err(|error| vec![error]);
            let built = built.and_then(|file| build(&file, &["https://own".to_owned()], &outbound).map(drop));
            let errors = built.err().unwrap_or_default();
            assert_eq!(errors.len(), expected.len(), "{change}: {errors:?}");
            for (error, expected) in errors.iter().zip(expected) {
                assert!(error.contains(expected), "{change}: {error}");
            }
        };
        check(json!({}), &[]);
        check(
            json!({"issuer": {"url": "http://x"}}),
            &["jwt[0].issuer.url: Invalid value: \"http://x\": URL scheme must be https"],
        );
        check(json!({"issuer": {"url": "https://u:p@x/?q"}}), &["username or password", "query"]);
        check(json!({"issuer": {"url": "https://own"}}), &["must not overlap with disallowed issuers"]);
        check(
            json!({"issuer": {"discoveryURL": "https://x/"}}),
            &["discoveryURL must be different from URL"],
        );
        check(json!({"issuer": {"audiences": []}}), &["at least one jwt[0].issuer.audiences is required"]);
        check(json!({"issuer": {"audiences": ["a", "b"]}}), &["must be MatchAny for multiple audiences"]);
        check(
            json!({"issuer": {"certificateAuthority": "x"}}),
            &["certificateAuthority: Invalid value: \"<omitted>\": unable to load root certificates"],
        );
        check(json!({"issuer": {"other": 1}}), &["strict decoding error: unknown field `other`"]);
        let name = |value: Value| json!({"claimMappings": {"username": value}});
        check(name(json!({"prefix": null})), &["prefix is required when claim is set"]);
        check(
            name(json!({"claim": null, "prefix": null})),
            &["username: Required value: claim or expression"],
        );
        check(name(json!({"expression": "claims.x"})), &["claim and expression can't both be set"]);
        let expression = |text: &str| name(json!({"claim": null, "prefix": null, "expression": text}));
        check(expression("claims.email"), &["claims.email_verified must be used"]);
        check(expression("claims.email_verified ? claims.email : claims.sub"), &[]);
        check(expression("1"), &["must evaluate to string"]);
        check(expression("nothing"), &["undeclared reference"]);
        let extra = |key: &str| json!({"claimMappings": {"extra": [{"key": key, "valueExpression": "'a'"}]}});
        check(extra("x.y/z"), &[]);
        check(extra("z"), &["must be a domain-prefixed path"]);
        check(extra("a.k8s.io/z"), &["reserved for Kubernetes use"]);
        check(extra("x.y/Z"), &["key must be lowercase"]);
        check(json!({"claimValidationRules": [{}]}), &["claim or expression is required"]);
        check(json!({"userValidationRules": [{"expression": "user.username"}]}), &["must evaluate to bool"]);
    }
}
