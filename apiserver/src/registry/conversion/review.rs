//! `ConversionReview`: what is asked, and what the answer may be. No I/O.
use bytes::Bytes;
use knarr_api::status::Status;
use knarr_api::{Object, Value, json};
use serde_json::json;
use std::fmt::Display;

/// What is converted, as texts name it.
pub struct Subject(String);

impl Subject {
    /// The kind of the first object, or of a list of them.
    pub fn of(originals: &[&Value], of_list: bool) -> Self {
        let text = |name: &str| originals.first().and_then(|o| o[name].as_str()).unwrap_or_default();
        let list = if of_list { "List" } else { "" };
        Self(format!("{}, Kind={}{list}", text("apiVersion"), text("kind")))
    }

    /// 500: no conversion.
    pub fn failed(&self, why: &dyn Display) -> Status {
        self.error(format_args!("failed: {why}"))
    }

    fn error(&self, text: impl Display) -> Status {
        Status::new(500, "", format!("conversion webhook for {} {text}", self.0))
    }
}

/// The body of a request.
pub fn request(version: &str, uid: &str, originals: &[&Value], wanted: &str) -> Bytes {
    json!({
        "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{version}"),
        "request": {"uid": uid, "desiredAPIVersion": wanted, "objects": originals},
    })
    .to_string()
    .into()
}

/// The objects of an answer.
///
/// # Errors
/// Why there are none.
pub fn read(version: &str, uid: &str, body: &[u8]) -> Result<Vec<Value>, String> {
    let mut review = json::of_answer(body)
        .map_err(|fault| format!("couldn't get version/kind; json parse error: {fault}"))?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (api_version, kind) = (text(&review["apiVersion"]), text(&review["kind"]));
    if version == "v1" && (&*api_version, &*kind) != ("apiextensions.k8s.io/v1", "ConversionReview") {
        let api_version = if api_version.is_empty() { "/".to_owned() } else { api_version };
        return Err(format!(
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {api_version}, Kind={kind}"
        ));
    }
    let response = &mut review["response"];
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    let given = text(&response["uid"]);
    if version == "v1" && given != uid {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    let status = text(&response["result"]["status"]);
    if status != "Success" {
        let message = text(&response["result"]["message"]);
        return Err(match message.is_empty() {
            true => format!("response.result.status was '{status}', not 'Success'"),
            false => message,
        });
    }
    match response["convertedObjects"].take() {
        Value::Array(objects) => Ok(objects),
        _ => Ok(Vec::new()),
    }
}

/// The converted objects with everything that a conversion may not change.
///
/// # Errors
/// 500 for the first fault.
pub fn check(
    subject: &Subject,
    originals: &[&Value],
    converted: Vec<Value>,
    wanted: &str,
) -> Result<Vec<Value>, Status> {
    if converted.len() != originals.len() {
        return Err(subject.error(format_args!(
            "returned {} objects, expected {}",
            converted.len(),
            originals.len()
        )));
    }
    let several = originals.len() > 1;
    let one = |(at, (original, mut value)): (usize, (&&Value, Value))| {
        let place = if several {
            format!("returned invalid converted object at index {at}")
        } else {
            "returned invalid object at index 0".to_owned()
        };
        let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
        for (what, expected, received) in [
            ("groupVersion", wanted.to_owned(), text(&value, "apiVersion")),
            ("kind", text(original, "kind"), text(&value, "kind")),
        ] {
            if expected != received {
                let why = format_args!("{place}: invalid {what} (expected {expected}, received {received})");
                return Err(subject.error(why));
            }
        }
        let place = if several { place } else { "returned invalid object".to_owned() };
        same_identity(original, &value).map_err(|why| subject.error(format_args!("{place}: {why}")))?;
        let place = match several {
            true => format!("returned invalid metadata in object at index {at}"),
            false => "returned invalid metadata".to_owned(),
        };
        restore(original, &mut value).map_err(|why| subject.error(format_args!("{place}: {why}")))?;
        Ok(value)
    };
    originals.iter().zip(converted).enumerate().map(one).collect()
}

fn same_identity(original: &Value, converted: &Value) -> Result<(), String> {
    for (member, name) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let text = |value: &Value| value["metadata"][member].as_str().unwrap_or_default().to_owned();
        let (before, after) = (text(original), text(converted));
        if before != after {
            return Err(format!("must have the same {name}: {before} != {after}"));
        }
    }
    Ok(())
}

/// Metadata are the original's, but for labels and annotations.
fn restore(original: &Value, converted: &mut Value) -> Result<(), String> {
    let given = converted.get_mut("metadata").map(Value::take);
    let given = given.ok_or("missing metadata in converted object")?;
    let Value::Object(given) = given else {
        return Err("invalid metadata of type string in converted object".to_owned());
    };
    let mut metadata = original["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match given.get(field).filter(|value| !value.is_null()) {
            None => drop(metadata.remove(field)),
            Some(Value::Object(members)) => {
                check_texts(field, members)?;
                metadata.insert(field.to_owned(), Value::Object(members.clone()));
            }
            Some(_) => return Err(format!("invalid metadata.{field} of type string in converted object")),
        }
    }
    let changed =
        json!({"metadata": {"labels": metadata.get("labels"), "annotations": metadata.get("annotations")}});
    let errors = knarr_api::validation::labels_and_annotations(&changed);
    if !errors.is_empty() {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        return Err(if texts.len() == 1 { texts.concat() } else { format!("[{}]", texts.join(", ")) });
    }
    converted["metadata"] = Value::Object(metadata);
    Ok(())
}

fn check_texts(field: &str, members: &Object) -> Result<(), String> {
    match members.iter().find(|(_, value)| !value.is_string()) {
        Some((key, _)) => Err(format!("metadata.{field}[{key}] must be a string in converted object")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers() {
        let answer = |more: Value| {
            let mut response = json!({"uid": "u", "result": {"status": "Success"}, "convertedObjects": []});
            knarr_api::patch::merge::apply(&mut response, more);
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response})
        };
        let check = |version: &str, body: Value, expected: Result<usize, &str>| {
            let found = read(version, "u", body.to_string().as_bytes()).map(|objects| objects.len());
            assert_eq!(found.as_ref().map_err(String::as_str).copied(), expected, "{body}");
        };
        check("v1", answer(json!({})), Ok(0));
        check("v1", answer(json!({"uid": "x"})), Err("expected response.uid=\"u\", got \"x\""));
        check("v1beta1", json!({"response": {"result": {"status": "Success"}}}), Ok(0));
        let failed = json!({"result": {"status": "Failed", "message": "no"}});
        check("v1", answer(failed), Err("no"));
        let silent = json!({"result": {"status": "Failed"}});
        check("v1", answer(silent), Err("response.result.status was 'Failed', not 'Success'"));
        check(
            "v1",
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview"}),
            Err("no response provided"),
        );
    }

    #[test]
    fn what_a_conversion_may_change() {
        let original = json!({"apiVersion": "x/v1", "kind": "T", "metadata": {"name": "n", "uid": "u",
            "generation": 3, "labels": {"a": "b"}}, "a": 1});
        let judge = |change: Value, expected: Result<Value, &str>| {
            let mut converted = original.clone();
            converted["apiVersion"] = "x/v2".into();
            knarr_api::patch::merge::apply(&mut converted, change);
            let originals = [&original];
            let subject = Subject::of(&originals, false);
            let found = check(&subject, &originals, vec![converted], "x/v2");
            let found = found.map(|mut list| list.remove(0)["metadata"].take()).map_err(|s| s.message);
            let text = |text: &str| format!("conversion webhook for x/v1, Kind=T returned invalid {text}");
            assert_eq!(found, expected.map_err(text));
        };
        let kept = json!({"name": "n", "uid": "u", "generation": 3, "labels": {"a": "b"}});
        judge(json!({"metadata": {"generation": 9}}), Ok(kept));
        let relabelled = json!({"name": "n", "uid": "u", "generation": 3, "annotations": {"c": "d"}});
        judge(json!({"metadata": {"labels": null, "annotations": {"c": "d"}}}), Ok(relabelled));
        judge(json!({"metadata": {"name": "m"}}), Err("object: must have the same name: n != m"));
        judge(json!({"metadata": {"uid": null}}), Err("object: must have the same UID: u != "));
        judge(json!({"kind": "U"}), Err("object at index 0: invalid kind (expected T, received U)"));
        judge(
            json!({"apiVersion": "x/v3"}),
            Err("object at index 0: invalid groupVersion (expected x/v2, received x/v3)"),
        );
        judge(json!({"metadata": null}), Err("object: must have the same name: n != "));
    }
}
