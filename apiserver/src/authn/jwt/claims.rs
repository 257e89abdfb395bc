//! From the claims of a verified token to a user: mappings by claim or expression, and the rules that must hold.
use crate::authn::structured::{ExtraMapping, JwtAuthenticator, Prefixed};
use crate::user::User;
use knarr_api::Value;
use knarr_api::cel::access::{CLAIMS, USER, Variable};
use knarr_api::cel::{Program, Type};
use serde_json::json;
use std::collections::BTreeSet;

/// How one field is made.
#[derive(Debug)]
enum Source {
    Claim { name: String, prefix: String },
    Expression(Program),
}

/// A rule with what is said when it does not hold.
#[derive(Debug)]
struct Rule {
    program: Program,
    text: String,
    message: String,
}

/// Mappings and rules of one issuer, checked.
#[derive(Debug)]
pub struct Settings {
    username: Source,
    groups: Option<Source>,
    uid: Option<Source>,
    extra: Vec<(String, Program)>,
    required: Vec<(String, String)>,
    claim_rules: Vec<Rule>,
    user_rules: Vec<Rule>,
}

impl Settings {
    /// Checks and compiles what `jwt`, which stands at path `at`, says.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn compile(jwt: &JwtAuthenticator, at: &str) -> Result<Self, Vec<String>> {
        let mut compiler = Compiler::default();
        let mappings = &jwt.claim_mappings;
        let path = format!("{at}.claimMappings");
        let username = compiler.prefixed(&mappings.username, &format!("{path}.username"), &[Type::String]);
        if username.is_none() && mappings.username.claim.is_empty() && mappings.username.expression.is_empty()
        {
            compiler.errors.push(format!("{path}.username: Required value: claim or expression is required"));
        }
        let groups = compiler.prefixed(&mappings.groups, &format!("{path}.groups"), &lists());
        let uid = Prefixed {
            claim: mappings.uid.claim.clone(),
            prefix: (!mappings.uid.claim.is_empty()).then(String::new),
            expression: mappings.uid.expression.clone(),
        };
        let uid = compiler.prefixed(&uid, &format!("{path}.uid"), &[Type::String]);
        let extra = compiler.extra(&mappings.extra, &format!("{path}.extra"));
        let (mut required, mut claim_rules) = (Vec::new(), Vec::new());
        for (index, rule) in jwt.claim_validation_rules.iter().enumerate() {
            let path = format!("{at}.claimValidationRules[{index}]");
            match (rule.claim.is_empty(), rule.expression.is_empty()) {
                (true, true) => {
                    compiler.errors.push(format!("{path}: Required value: claim or expression is required"));
                }
                (false, false) => compiler.errors.push(format!(
                    "{path}: Invalid value: {:?}: claim and expression can't both be set",
                    rule.claim
                )),
                (false, true) => required.push((rule.claim.clone(), rule.required_value.clone())),
                (true, false) => {
                    claim_rules.extend(compiler.rule(&CLAIMS, &rule.expression, &rule.message, &path))
                }
            }
        }
        let mut user_rules = Vec::new();
        for (index, rule) in jwt.user_validation_rules.iter().enumerate() {
            let path = format!("{at}.userValidationRules[{index}]");
            user_rules.extend(compiler.rule(&USER, &rule.expression, &rule.message, &path));
        }
        compiler.check_email(jwt, &path);
        match username {
            Some(username) if compiler.errors.is_empty() => {
                Ok(Self { username, groups, uid, extra, required, claim_rules, user_rules })
            }
            _ => Err(compiler.errors),
        }
    }

    /// The user that verified claims tell.
    ///
    /// # Errors
    /// A claim that is missing, a rule that does not hold.
    pub fn user(&self, claims: &Value) -> Result<User, String> {
        for (claim, value) in &self.required {
            match &claims[claim] {
                Value::Null => return Err(format!("required claim {claim} not present in ID token")),
                found if found == value.as_str() => {}
                found => {
                    let found = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
                    return Err(format!(
                        "required claim {claim} value does not match. Got = {found}, want = {value}"
                    ));
                }
            }
        }
        check(&self.claim_rules, &CLAIMS, claims, "claims")?;
        let mut user = User { name: self.name(claims)?, ..User::default() };
        if let Some(groups) = &self.groups {
            user.groups = groups.strings(claims).map_err(|error| format!("groups: {error}"))?;
        }
        if let Some(uid) = &self.uid {
            user.uid = uid.text(claims).map_err(|error| format!("uid: {error}"))?;
        }
        for (key, program) in &self.extra {
            let value =
                CLAIMS.of(claims).evaluate(program).map_err(|error| format!("extra {key}: {error}"))?;
            let values = strings(&value).map_err(|error| format!("extra {key}: {error}"))?;
            if !values.is_empty() {
                user.extra.insert(key.clone(), values);
            }
        }
        let facts =
            json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        check(&self.user_rules, &USER, &facts, "user")?;
        Ok(user)
    }

    fn name(&self, claims: &Value) -> Result<String, String> {
        let is_email = matches!(&self.username, Source::Claim { name, .. } if name == "email");
        if is_email && !claims["email_verified"].is_null() && claims["email_verified"] != true {
            return Err("email not verified".to_owned());
        }
        let name = self.username.text(claims).map_err(|error| format!("username: {error}"))?;
        if name.is_empty() { Err("username must not be empty".to_owned()) } else { Ok(name) }
    }
}

fn check(rules: &[Rule], variable: &'static Variable, value: &Value, what: &str) -> Result<(), String> {
    for rule in rules {
        match variable.of(value).evaluate(&rule.program) {
            Ok(Value::Bool(true)) => {}
            Ok(_) if rule.message.is_empty() => {
                return Err(format!("validation expression '{}' failed", rule.text));
            }
            Ok(_) => return Err(format!("validation expression '{}' failed: {}", rule.text, rule.message)),
            Err(error) => return Err(format!("error evaluating {what} validation expression: {error}")),
        }
    }
    Ok(())
}

impl Source {
    fn value(&self, claims: &Value) -> Result<Value, String> {
        match self {
            Self::Claim { name, .. } => match &claims[name] {
                Value::Null => Err(format!("claim {name:?} not present")),
                value => Ok(value.clone()),
            },
            Self::Expression(program) => CLAIMS.of(claims).evaluate(program),
        }
    }

    fn text(&self, claims: &Value) -> Result<String, String> {
        let value = self.value(claims)?;
        let text = value.as_str().ok_or_else(|| format!("{value} is no string"))?;
        Ok(self.prefixed(text))
    }

    /// A claim that is not there means no groups.
    fn strings(&self, claims: &Value) -> Result<Vec<String>, String> {
        if let Self::Claim { name, .. } = self
            && claims[name].is_null()
        {
            return Ok(Vec::new());
        }
        Ok(strings(&self.value(claims)?)?.iter().map(|text| self.prefixed(text)).collect())
    }

    fn prefixed(&self, text: &str) -> String {
        match self {
            Self::Claim { prefix, .. } => format!("{prefix}{text}"),
            Self::Expression(_) => text.to_owned(),
        }
    }
}

/// A text or a list of texts; empty ones and null are none.
fn strings(value: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        other => Err(format!("{other} is no string")),
    };
    let all = match value {
        Value::Null => Vec::new(),
        Value::Array(items) => items.iter().map(text).collect::<Result<_, _>>()?,
        one => vec![text(one)?],
    };
    Ok(all.into_iter().filter(|text: &String| !text.is_empty()).collect())
}

/// What an expression for several texts may be.
fn lists() -> [Type; 2] {
    [Type::String, Type::list(Type::String)]
}

/// Collects what is wrong.
#[derive(Default)]
struct Compiler {
    errors: Vec<String>,
}

impl Compiler {
    fn prefixed(&mut self, from: &Prefixed, at: &str, wanted: &[Type]) -> Option<Source> {
        let required =
            "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
        match (from.claim.is_empty(), from.expression.is_empty(), &from.prefix) {
            (false, false, _) => {
                self.errors
                    .push(format!("{at}: Invalid value: \"\": claim and expression can't both be set"));
            }
            (false, true, None) => self.errors.push(format!("{at}.prefix: Required value: {required}")),
            (false, true, Some(prefix)) => {
                return Some(Source::Claim { name: from.claim.clone(), prefix: prefix.clone() });
            }
            (true, _, Some(prefix)) => self.errors.push(format!(
                "{at}.prefix: Invalid value: {prefix:?}: prefix can't be set when claim is not set"
            )),
            (true, false, None) => {
                let program = self.program(&CLAIMS, &from.expression, wanted, &format!("{at}.expression"))?;
                return Some(Source::Expression(program));
            }
            (true, true, None) => {}
        }
        None
    }

    fn program(&mut self, variable: &Variable, text: &str, wanted: &[Type], at: &str) -> Option<Program> {
        let compiled = variable.compile(text, wanted);
        compiled.map_err(|error| self.errors.push(format!("{at}: Invalid value: {text:?}: {error}"))).ok()
    }

    fn rule(&mut self, variable: &Variable, text: &str, message: &str, at: &str) -> Option<Rule> {
        if text.is_empty() {
            self.errors.push(format!("{at}.expression: Required value: expression is required"));
            return None;
        }
        let program = self.program(variable, text, &[Type::Bool], &format!("{at}.expression"))?;
        Some(Rule { program, text: text.to_owned(), message: message.to_owned() })
    }

    fn extra(&mut self, list: &[ExtraMapping], at: &str) -> Vec<(String, Program)> {
        let (mut out, mut seen) = (Vec::new(), BTreeSet::new());
        for (index, mapping) in list.iter().enumerate() {
            let at = format!("{at}[{index}]");
            let key = &mapping.key;
            let mut wrong =
                |what: &str| self.errors.push(format!("{at}.key: Invalid value: {key:?}: {what}"));
            match key.split_once('/').map(|(domain, _)| domain) {
                None | Some("") => wrong("must be a domain-prefixed path (such as \"acme.io/foo\")"),
                Some(domain) if is_reserved(domain) => {
                    wrong("k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use")
                }
                Some(_) if *key != key.to_lowercase() => wrong("key must be lowercase"),
                Some(_) if !seen.insert(key) => {
                    self.errors.push(format!("{at}.key: Duplicate value: {key:?}"))
                }
                Some(_) => {}
            }
            if mapping.value_expression.is_empty() {
                self.errors
                    .push(format!("{at}.valueExpression: Required value: valueExpression is required"));
                continue;
            }
            let path = format!("{at}.valueExpression");
            out.extend(
                self.program(&CLAIMS, &mapping.value_expression, &lists(), &path)
                    .map(|program| (key.clone(), program)),
            );
        }
        out
    }

    /// A name made of the email address is one only where its verification is looked at.
    fn check_email(&mut self, jwt: &JwtAuthenticator, at: &str) {
        let name = &jwt.claim_mappings.username.expression;
        let extras = jwt.claim_mappings.extra.iter().map(|extra| &extra.value_expression);
        let rules = jwt.claim_validation_rules.iter().map(|rule| &rule.expression);
        let uses = |text: &str, claim: &str| {
            let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            text.split(&format!("claims.{claim}")).skip(1).any(ends)
        };
        let verified =
            std::iter::once(name).chain(extras).chain(rules).any(|text| uses(text, "email_verified"));
        if uses(name, "email") && !verified {
            self.errors.push(format!(
                "{at}.username.expression: Invalid value: {name:?}: claims.email_verified must be used in \
                 claimMappings.username.expression or claimMappings.extra[*].valueExpression or \
                 claimValidationRules[*].expression when claims.email is used in claimMappings.username.expression"
            ));
        }
    }
}

fn is_reserved(domain: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|reserved| domain == *reserved || domain.ends_with(&format!(".{reserved}")))
}
