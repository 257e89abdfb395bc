//! Discovery: `/api`, `/apis`, `/apis/‹group›`, `/apis/‹group›/‹version›` and the aggregated form of the first two.
//!
//! Everything is derived from the rows of the kind tables. The documents of a set of rows are built one by one as they
//! are asked for, and served as bytes from then on: a definition more costs no document that nobody reads.
//! Source: API concepts, "API discovery"; the aggregated form is `apidiscovery.k8s.io` v2 and v2beta1.
mod aggregated;
mod documents;
mod remote;

pub use remote::RemoteVersion;

use documents::Group;

use crate::registry::negotiate::{Discovery as Form, Format};
use crate::registry::{encode, negotiate};
use crate::server::{Body, Response, body};
use http::{HeaderMap, HeaderValue, header};
use knarr_api::Value;
use knarr_api::kind::Kind;
use knarr_api::status::Status;
use knarr_api::table::KindRef;
use sha2::{Digest, Sha256};

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// One document with its ETag.
struct Document {
    value: Value,
    json: bytes::Bytes,
    etag: String,
}

impl Document {
    fn new(value: Value) -> Self {
        let json = bytes::Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        let digest = Sha256::digest(&json);
        let hex: String = digest.iter().map(|b| format!("{b:02X}")).collect();
        Self { value, json, etag: format!("\"{hex}\"") }
    }
}

/// What a document is about.
#[derive(Clone, Debug)]
enum Subject {
    /// `/`.
    Root,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/‹group›`.
    Group(Arc<str>),
    /// `/api/‹version›` and `/apis/‹group›/‹version›`.
    Version(Arc<str>, Arc<str>),
}

/// The aggregated forms of `/api` and `/apis`, by whether it is that of the core group and by version.
const AGGREGATED: [(bool, &str); 4] = [(true, "v2"), (true, "v2beta1"), (false, "v2"), (false, "v2beta1")];

/// The discovery documents of one set of kinds.
pub struct Discovery {
    kinds: Vec<KindRef>,
    address: String,
    /// Group versions that others answer.
    remotes: Arc<Vec<RemoteVersion>>,
    plain: HashMap<String, (Subject, OnceLock<Document>)>,
    aggregated: [OnceLock<Document>; AGGREGATED.len()],
}

impl Discovery {
    /// No document is built before it is asked for; `address` is the server's address for clients (`10.0.0.1:6443`).
    pub fn new(kinds: Vec<KindRef>, address: &str, remotes: Arc<Vec<RemoteVersion>>) -> Self {
        let mut subjects = HashMap::from([
            (String::new(), Subject::Root),
            ("/api".to_owned(), Subject::CoreVersions),
            ("/apis".to_owned(), Subject::Groups),
        ]);
        for kind in &kinds {
            let (group, version) = (&kind.gvk.group, &kind.gvk.version);
            let prefix = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
            let subject = Subject::Version(group.clone(), version.clone());
            if subjects.insert(format!("{prefix}/{version}"), subject).is_none() && !group.is_empty() {
                subjects.insert(prefix, Subject::Group(group.clone()));
            }
        }
        for remote in remotes.iter() {
            let group: Arc<str> = remote.group.as_str().into();
            subjects.insert(format!("/apis/{group}"), Subject::Group(group));
        }
        let plain = subjects.into_iter().map(|(path, subject)| (path, (subject, OnceLock::new()))).collect();
        Self { kinds, address: address.to_owned(), remotes, plain, aggregated: Default::default() }
    }

    fn groups(&self, wanted: impl Fn(&Kind) -> bool) -> Vec<Group<'_>> {
        documents::groups(self.kinds.iter().map(|kind| &**kind).filter(|kind| wanted(kind)))
    }

    fn build(&self, subject: &Subject) -> Option<Document> {
        let value = match subject {
            Subject::Root => {
                let mut paths: Vec<String> = self.plain.keys().filter(|p| !p.is_empty()).cloned().collect();
                paths.extend(self.remotes.iter().map(RemoteVersion::path));
                paths.sort_unstable();
                paths.dedup();
                documents::paths(paths.iter())
            }
            Subject::CoreVersions => documents::api_versions(&self.address),
            Subject::Groups => {
                let mut list = documents::group_list(&self.groups(|_| true));
                remote::into_list(&mut list, &self.remotes);
                list
            }
            Subject::Group(name) => {
                let groups = self.groups(|kind| kind.gvk.group == *name);
                remote::with_group(groups.first().map(documents::group), name, &self.remotes)?
            }
            Subject::Version(group, version) => {
                let of = |kind: &Kind| kind.gvk.group == *group && kind.gvk.version == *version;
                documents::resource_list(group, self.groups(of).first()?.versions.first()?)
            }
        };
        Some(Document::new(value))
    }

    /// Answers a discovery path (without a trailing slash; the root is empty); none when there is no such document.
    pub fn serve(&self, path: &str, headers: &HeaderMap, pretty: Option<&str>) -> Option<Response> {
        let (subject, built) = self.plain.get(path)?;
        if matches!(path, "/api" | "/apis") {
            match negotiate::discovery(headers) {
                Form::Aggregated(version, format) => {
                    let wanted = (path == "/api", version);
                    let at = AGGREGATED.iter().position(|known| *known == wanted)?;
                    let document = self.aggregated[at].get_or_init(|| {
                        let groups = self.groups(|kind| kind.gvk.group.is_empty() == wanted.0);
                        let mut list = aggregated::list(&groups, wanted.0, version);
                        if !wanted.0 {
                            remote::into_aggregated(&mut list, &self.remotes);
                        }
                        Document::new(list)
                    });
                    return Some(aggregated_response(document, version, format, headers));
                }
                Form::Plain => {}
            }
        }
        let plain = match built.get() {
            Some(plain) => plain,
            None => {
                let document = self.build(subject)?;
                built.get_or_init(|| document)
            }
        };
        let accepted = match negotiate::accept(headers, pretty, negotiate::Scope::Plain) {
            Ok(accepted) => accepted,
            Err(status) => return Some(body::status(&status, headers)),
        };
        let mut response = if accepted == negotiate::Accepted::JSON {
            body::json(200, plain.json.clone())
        } else {
            let mut value = plain.value.clone();
            if accepted.format == Format::Protobuf {
                // The envelope always has a version, also of the documents that leave it out.
                value["apiVersion"] = "v1".into();
            }
            match encode::document(&value, accepted) {
                Ok(response) => response,
                Err(status) => return Some(body::status(&status, headers)),
            }
        };
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
        Some(response)
    }

    /// 404 for a group or version that is not served.
    pub fn not_found() -> Status {
        Status::new(404, "NotFound", "the server could not find the requested resource")
    }
}

fn aggregated_response(document: &Document, version: &str, format: Format, headers: &HeaderMap) -> Response {
    let known = headers.get(header::IF_NONE_MATCH).and_then(|v| v.to_str().ok());
    let mut response = Response::new(Body::Empty);
    if known.is_some_and(|k| k.trim_start_matches("W/") == document.etag) {
        *response.status_mut() = http::StatusCode::NOT_MODIFIED;
    } else {
        let accepted = negotiate::Accepted { format, ..negotiate::Accepted::JSON };
        response = match format {
            Format::Json => body::json(200, document.json.clone()),
            _ => match encode::document(&document.value, accepted) {
                Ok(response) => response,
                Err(status) => return body::status(&status, headers),
            },
        };
        let media =
            format!("{};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList", format.media_type());
        if let Ok(value) = HeaderValue::from_str(&media) {
            response.headers_mut().insert(header::CONTENT_TYPE, value);
        }
    }
    let out = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&document.etag) {
        out.insert(header::ETAG, value);
    }
    out.insert(header::VARY, HeaderValue::from_static("Accept"));
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    response
}
