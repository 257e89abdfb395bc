//! Expressions about who asks for what: mappings and rules of JSON Web Tokens see `claims` or `user`, match conditions
//! of authorizers see `request`, the spec of a SubjectAccessReview.
use super::PER_CALL_LIMIT;
use super::admission::{Compiled, compile_dynamic};
use super::check::Env;
use super::eval::{Context, EvalError, Program, Variables};
use super::library::Out;
use super::types::{DYN, Decl, Field, Type};
use super::value::Val;
use crate::Value;
use std::sync::{Arc, LazyLock};

/// A variable that expressions see.
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    decl: LazyLock<Arc<Decl>>,
}

/// The claims of a token.
pub static CLAIMS: Variable =
    Variable { name: "claims", decl: LazyLock::new(|| Arc::new(Decl::map(DYN.clone(), u64::MAX))) };

/// A `UserInfo`.
pub static USER: Variable = Variable {
    name: "user",
    decl: LazyLock::new(|| Arc::new(object("kubernetes.UserInfo", user_fields("username")))),
};

/// The spec of a `SubjectAccessReview`.
pub static REQUEST: Variable = Variable {
    name: "request",
    decl: LazyLock::new(|| {
        let mut fields = user_fields("user");
        fields.push(("resourceAttributes", resource_attributes()));
        let path = vec![("path", text()), ("verb", text())];
        fields.push(("nonResourceAttributes", object("kubernetes.NonResourceAttributes", path)));
        Arc::new(object("kubernetes.SubjectAccessReviewSpec", fields))
    }),
};

fn object(name: &str, fields: Vec<(&'static str, Decl)>) -> Decl {
    let field = |(json, decl): (&'static str, Decl)| {
        (json.to_owned(), Field { json: json.to_owned(), decl: Arc::new(decl), required: false })
    };
    Decl::object(name, fields.into_iter().map(field).collect())
}

fn text() -> Decl {
    Decl::new(Type::String, u64::MAX)
}

fn list(item: Decl) -> Decl {
    Decl::list(Arc::new(item), u64::MAX)
}

fn user_fields(name: &'static str) -> Vec<(&'static str, Decl)> {
    let extra = Decl::map(Arc::new(list(text())), u64::MAX);
    vec![(name, text()), ("uid", text()), ("groups", list(text())), ("extra", extra)]
}

fn resource_attributes() -> Decl {
    let texts = ["namespace", "verb", "group", "version", "resource", "subresource", "name"];
    let mut fields: Vec<_> = texts.map(|name| (name, text())).into();
    for (name, kind) in [("fieldSelector", "Field"), ("labelSelector", "Label")] {
        let requirement = vec![("key", text()), ("operator", text()), ("values", list(text()))];
        let requirement = object(&format!("kubernetes.{kind}SelectorRequirement"), requirement);
        let selector = vec![("rawSelector", text()), ("requirements", list(requirement))];
        fields.push((name, object(&format!("kubernetes.{kind}SelectorAttributes"), selector)));
    }
    object("kubernetes.ResourceAttributes", fields)
}

impl Variable {
    /// The environment of expressions that see this variable alone.
    pub fn environment(&self) -> Env {
        Env::new([(self.name.to_owned(), self.decl.clone())])
    }

    /// Compiles an expression that must have one of the given types; any when there are none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn compile(&self, text: &str, wanted: &[Type]) -> Compiled {
        compile_dynamic(&self.environment(), text, wanted)
    }

    /// The variable with a value.
    pub fn of<'a>(&'static self, value: &'a Value) -> Known<'a> {
        Known { variable: self, value }
    }
}

/// A variable with its value.
pub struct Known<'a> {
    variable: &'static Variable,
    value: &'a Value,
}

impl Known<'_> {
    /// Evaluates an expression to JSON.
    ///
    /// # Errors
    /// Why it has no value.
    pub fn evaluate(&self, program: &Program) -> Result<Value, String> {
        let (out, _) = program.evaluate(self, PER_CALL_LIMIT);
        out.map_err(|error| error.message)?.to_json()
    }
}

impl<'a> Variables<'a> for Known<'a> {
    fn get(&self, name: &str, _: &mut Context<'_>) -> Out<'a> {
        match name == self.variable.name {
            true => Ok(Val::json(self.value, &self.variable.decl)),
            false => Err(EvalError::new(format!("no such attribute(s): {name}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn expressions() {
        let check = |variable: &'static Variable, text: &str, value: Value, expected: Result<Value, &str>| {
            let program = variable.compile(text, &[]).unwrap();
            let found = variable.of(&value).evaluate(&program);
            assert_eq!(
                found.as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|text| *text),
                "{text}"
            );
        };
        let claims = json!({"sub": "ann", "roles": "a,b", "n": 1, "deep": {"x": [1]}});
        check(&CLAIMS, "'p:' + claims.sub", claims.clone(), Ok(json!("p:ann")));
        check(&CLAIMS, "claims.roles.split(',')", claims.clone(), Ok(json!(["a", "b"])));
        check(&CLAIMS, "claims.?none.orValue('d')", claims.clone(), Ok(json!("d")));
        check(&CLAIMS, "claims.deep.x[0] == 1 && claims.n == 1", claims.clone(), Ok(json!(true)));
        check(&CLAIMS, "claims.none", claims, Err("no such key: none"));
        let user = json!({"username": "ann", "groups": ["a"], "extra": {"k": ["v"]}});
        check(&USER, "user.groups.all(g, !g.startsWith('system:'))", user.clone(), Ok(json!(true)));
        check(&USER, "user.extra['k'][0]", user, Ok(json!("v")));
        assert!(USER.compile("user.name == 'x'", &[]).is_err());
        let request = json!({"user": "ann", "resourceAttributes": {"verb": "list", "resource": "pods",
            "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}]}}});
        let text = "has(request.resourceAttributes) && request.resourceAttributes.fieldSelector.requirements.exists(r, r.key == 'spec.nodeName')";
        check(&REQUEST, text, request, Ok(json!(true)));
        assert!(REQUEST.compile("request.user", &[Type::Bool]).is_err());
    }
}
