//! The query of a log request: checked, and as kubelets take it.
use super::location::Query;
use crate::request_info::RequestInfo;
use knarr_api::status::Status;
use knarr_api::{Value, field, gates};

/// The gate behind which one of a container's streams is chosen (KEP-3288).
const SPLIT: &str = "PodLogsQuerySplitStreams";
/// Parameters passed on as they are.
const PASSED: [&str; 8] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

/// Checks the options.
///
/// # Errors
/// 422 with all faults; 400 for text where a number belongs.
pub fn check(info: &RequestInfo) -> Result<(), Status> {
    let mut errors = Vec::new();
    let mut at_least = |name: &str, least: i64, detail: &str| -> Result<bool, Status> {
        let Some(text) = info.query(name) else { return Ok(false) };
        let number: i64 = text.parse().map_err(|_| {
            Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: invalid syntax"))
        })?;
        if number < least {
            errors.push(field::Error::invalid(name, &Value::from(number), detail));
        }
        Ok(true)
    };
    at_least("tailLines", 0, "must be greater than or equal to 0")?;
    at_least("limitBytes", 1, "must be greater than 0")?;
    let seconds = at_least("sinceSeconds", 1, "must be greater than 0")?;
    if seconds && info.query("sinceTime").is_some() {
        errors.push(field::Error::forbidden(
            "",
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ));
    }
    let tails = info.query("tailLines").is_some();
    errors.extend(stream_fault(info.query("stream").as_deref(), tails, gates::enabled(SPLIT)));
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "PodLogOptions", info.name(), &errors)) }
}

/// What is wrong with the stream that is asked for: all of them as long as the gate is off.
fn stream_fault(stream: Option<&str>, tails: bool, may_choose: bool) -> Option<field::Error> {
    match stream? {
        _ if !may_choose => Some(field::Error::forbidden("stream", "may not be specified")),
        "Stdout" | "Stderr" if tails => {
            let text = "`tailLines` and specific `stream` are mutually exclusive for now";
            Some(field::Error::forbidden("", text))
        }
        "All" | "Stdout" | "Stderr" => None,
        other => {
            Some(field::Error::not_supported("stream", &Value::from(other), &["All", "Stdout", "Stderr"]))
        }
    }
}

/// The query for the kubelet.
pub fn query(info: &RequestInfo) -> String {
    let mut query = Query::default();
    for name in PASSED {
        match name {
            "follow" | "previous" | "timestamps" => {
                if info.query_flag(name) {
                    query.add(name, "true");
                }
            }
            "stream" => {
                if let Some(stream) = info.query(name).filter(|stream| stream != "All") {
                    query.add(name, &stream);
                }
            }
            name => {
                if let Some(value) = info.query(name) {
                    query.add(name, &value);
                }
            }
        }
    }
    query.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let info = |query: &str| {
            let uri = format!("/api/v1/namespaces/d/pods/x/log{query}").parse().unwrap();
            RequestInfo::new(&http::Method::GET, &uri).unwrap()
        };
        let good =
            info("?follow=true&tailLines=10&previous=false&container=a&sinceTime=2026-01-01T00:00:00Z");
        assert!(check(&good).is_ok());
        assert_eq!(query(&good), "?follow=true&sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=10");
        for (bad, code) in [
            ("?tailLines=-1", 422),
            ("?limitBytes=0", 422),
            ("?tailLines=x", 400),
            ("?sinceSeconds=1&sinceTime=x", 422),
            ("?stream=Stderr", 422),
        ] {
            assert_eq!(check(&info(bad)).unwrap_err().code, code, "{bad}");
        }
    }

    #[test]
    fn streams() {
        for (stream, tails, may_choose, expected) in [
            (None, true, false, true),
            (Some("All"), false, false, false),
            (Some("All"), true, true, true),
            (Some("Stderr"), false, true, true),
            (Some("Stderr"), true, true, false),
            (Some("Foo"), false, true, false),
        ] {
            assert_eq!(
                stream_fault(stream, tails, may_choose).is_none(),
                expected,
                "{stream:?} {tails} {may_choose}"
            );
        }
    }
}
