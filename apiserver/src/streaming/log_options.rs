//! The query of a log request: checked, and as kubelets take it.
use super::location::Query;
use crate::request_info::RequestInfo;
use knarr_api::status::Status;
use knarr_api::{Value, field, gates};

/// Parameters passed on as they are.
const PASSED: [&str; 8] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

/// What of the output may be asked for.
const STREAMS: [&str; 3] = ["All", "Stderr", "Stdout"];

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
    let stream = info.query("stream").filter(|stream| !stream.is_empty());
    errors.extend(stream.and_then(|stream| {
        let split = gates::enabled("PodLogsQuerySplitStreams");
        check_stream(&stream, info.query("tailLines").is_some(), split)
    }));
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("", "PodLogOptions", info.name(), &errors)) }
}

/// What is wrong with the choice of one stream, which `split` allows; `has_tail` says that the end is asked for.
fn check_stream(stream: &str, has_tail: bool, split: bool) -> Option<field::Error> {
    if !split {
        return Some(field::Error::forbidden("stream", "may not be specified"));
    }
    if !STREAMS.contains(&stream) {
        return Some(field::Error::not_supported("stream", &Value::from(stream), &STREAMS));
    }
    let exclusive = "`tailLines` and specific `stream` are mutually exclusive for now";
    (stream != "All" && has_tail).then(|| field::Error::forbidden("", exclusive))
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
        let told = |stream: &str, has_tail: bool, split: bool| {
            check_stream(stream, has_tail, split).map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(told("Stderr", false, false), "stream: Forbidden: may not be specified");
        assert_eq!(told("All", true, true), "");
        assert_eq!(told("Stdout", false, true), "");
        assert!(told("Foo", false, true).contains("supported values: \"All\", \"Stderr\", \"Stdout\""));
        assert!(told("Stderr", true, true).contains("mutually exclusive"));
    }
}
