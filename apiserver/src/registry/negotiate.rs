//! Content negotiation: which form a request's body has and which form its answer takes.
//!
//! Source: API concepts, "Resource representations" and "Receiving resources as Tables".
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use knarr_api::status::Status;

/// A serialisation of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `application/json`.
    Json,
    /// `application/yaml`.
    Yaml,
    /// `application/vnd.kubernetes.protobuf`.
    Protobuf,
}

impl Format {
    /// The media type of a plain answer.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Yaml => "application/yaml",
            Self::Protobuf => "application/vnd.kubernetes.protobuf",
        }
    }

    /// The media type of a watch stream.
    pub fn stream_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
            other => other.media_type(),
        }
    }

    fn of(media: &str) -> Option<Self> {
        match media {
            "application/json" => Some(Self::Json),
            "application/yaml" => Some(Self::Yaml),
            "application/vnd.kubernetes.protobuf" => Some(Self::Protobuf),
            _ => None,
        }
    }
}

/// What the client asked to have instead of the objects themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transform {
    /// The objects.
    None,
    /// `as=Table`; the version of `meta.k8s.io` asked for.
    Table(&'static str),
    /// `as=PartialObjectMetadata`; the version of `meta.k8s.io` asked for.
    Metadata(&'static str),
    /// `as=PartialObjectMetadataList`; the version of `meta.k8s.io` asked for.
    MetadataList(&'static str),
}

/// The outcome of negotiating an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Serialisation.
    pub format: Format,
    /// Transformation.
    pub transform: Transform,
    /// Indent JSON for people.
    pub pretty: bool,
}

impl Accepted {
    /// Plain JSON.
    pub const JSON: Self = Self { format: Format::Json, transform: Transform::None, pretty: false };
}

/// What a request may be answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Objects and lists: every format and transformation.
    Objects,
    /// A watch: no YAML, whose documents cannot be framed. Who asks for YAML first gets nothing else instead.
    Stream,
    /// Everything else: no transformation.
    Plain,
}

/// Chooses the form of the answer from `Accept`, the `pretty` option and the user agent; 406 when nothing fits.
pub fn accept(headers: &HeaderMap, pretty: Option<&str>, scope: Scope) -> Result<Accepted, Status> {
    accept_of(headers, pretty, scope, true)
}

/// The same for objects that may have no protobuf form (`binary` false); their metadata alone always has one.
///
/// # Errors
/// 406.
pub fn accept_of(
    headers: &HeaderMap,
    pretty: Option<&str>,
    scope: Scope,
    binary: bool,
) -> Result<Accepted, Status> {
    let header: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let header = header.join(",");
    let pretty = match pretty {
        Some(value) => !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"),
        None => for_people(headers),
    };
    let mut chosen = if header.trim().is_empty() {
        Accepted::JSON
    } else {
        let fits = |a: &Accepted| {
            binary
                || a.format != Format::Protobuf
                || matches!(a.transform, Transform::Metadata(_) | Transform::MetadataList(_))
        };
        clauses(&header)
            .into_iter()
            .find_map(|c| c.matches(scope).filter(fits))
            .filter(|a| scope != Scope::Stream || a.format != Format::Yaml)
            .ok_or_else(|| not_acceptable(scope))?
    };
    chosen.pretty |= pretty;
    Ok(chosen)
}

fn not_acceptable(scope: Scope) -> Status {
    Status::not_acceptable(match scope {
        Scope::Stream => "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        _ => "application/json, application/yaml, application/vnd.kubernetes.protobuf",
    })
}

/// Browsers and command-line fetchers get indented JSON.
fn for_people(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|p| agent.starts_with(p))
}

struct Clause<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

/// The clauses of an `Accept` header, best first; equal ones keep their order.
fn clauses(header: &str) -> Vec<Clause<'_>> {
    let mut out: Vec<Clause<'_>> = Vec::new();
    for part in header.split(',') {
        let mut pieces = part.split(';').map(str::trim);
        let media = pieces.next().unwrap_or_default();
        if media.is_empty() {
            continue;
        }
        let mut clause = Clause { media, params: Vec::new(), quality: 1.0 };
        for piece in pieces {
            let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
            if name == "q" {
                clause.quality = value.parse().unwrap_or(0.0);
            } else {
                clause.params.push((name.trim(), value.trim()));
            }
        }
        out.push(clause);
    }
    out.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    out
}

impl Clause<'_> {
    fn matches(&self, scope: Scope) -> Option<Accepted> {
        let format = match self.media {
            "*/*" | "application/*" => Format::Json,
            media => Format::of(media)?,
        };
        let get = |name: &str| self.params.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let version = match get("v").unwrap_or("v1") {
            "v1" => "v1",
            "v1beta1" => "v1beta1",
            _ => return None,
        };
        let meta_group = matches!(get("g").unwrap_or("meta.k8s.io"), "meta.k8s.io");
        let transform = match get("as") {
            None => Transform::None,
            Some(_) if scope == Scope::Plain || !meta_group => return None,
            Some("Table") if format == Format::Protobuf => return None,
            Some("Table") => Transform::Table(version),
            Some("PartialObjectMetadata") => Transform::Metadata(version),
            Some("PartialObjectMetadataList") => Transform::MetadataList(version),
            Some(_) => return None,
        };
        Some(Accepted { format, transform, pretty: get("pretty") == Some("1") })
    }
}

/// The form of a page for people, `/statusz` and the like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageForm {
    /// Lines of text.
    Text,
    /// An object in this version of `config.k8s.io`.
    Structured(&'static str, Format),
}

/// The form in which a page is asked for, whose structured kind is given.
///
/// # Errors
/// 406.
pub fn page(headers: &HeaderMap, kind: &str) -> Result<PageForm, Status> {
    let header: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let header = header.join(",");
    let form = |clause: Clause<'_>| {
        let get = |name: &str| clause.params.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let format = match clause.media {
            "text/plain" | "text/*" | "*/*" => return get("as").is_none().then_some(PageForm::Text),
            media => Format::of(media).filter(|format| *format != Format::Protobuf)?,
        };
        let version = ["v1beta1", "v1alpha1"].into_iter().find(|version| get("v") == Some(version))?;
        let fits = get("g") == Some("config.k8s.io") && get("as") == Some(kind);
        fits.then_some(PageForm::Structured(version, format))
    };
    match header.trim() {
        "" => Ok(PageForm::Text),
        header => clauses(header).into_iter().find_map(form).ok_or_else(crate::zpages::not_acceptable),
    }
}

/// The form of a discovery answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// The legacy documents.
    Plain,
    /// `APIGroupDiscoveryList` in this version of `apidiscovery.k8s.io`.
    Aggregated(&'static str, Format),
}

/// Does the client prefer aggregated discovery?
pub fn discovery(headers: &HeaderMap) -> Discovery {
    let header: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).collect();
    let header = header.join(",");
    for clause in clauses(&header) {
        let get = |name: &str| clause.params.iter().find(|(n, _)| *n == name).map(|(_, v)| *v);
        let format = match clause.media {
            "*/*" | "application/*" => Format::Json,
            media => match Format::of(media) {
                Some(format) => format,
                None => continue,
            },
        };
        match (get("as"), get("g"), get("v")) {
            (None, _, _) => return Discovery::Plain,
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2")) => {
                return Discovery::Aggregated("v2", format);
            }
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some("v2beta1")) => {
                return Discovery::Aggregated("v2beta1", format);
            }
            _ => {}
        }
    }
    Discovery::Plain
}

/// The patch types of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Kubernetes' strategic merge patch.
    Strategic,
    /// Server-side apply, YAML or JSON.
    Apply,
}

const PATCH_TYPES: &str = "application/json-patch+json, application/merge-patch+json, \
     application/strategic-merge-patch+json, application/apply-patch+yaml";

/// The patch type of a request; 415 when it is none of them.
pub fn patch_type(headers: &HeaderMap) -> Result<PatchType, Status> {
    match content_type(headers) {
        "application/json-patch+json" => Ok(PatchType::Json),
        "application/merge-patch+json" => Ok(PatchType::Merge),
        "application/strategic-merge-patch+json" => Ok(PatchType::Strategic),
        "application/apply-patch+yaml" => Ok(PatchType::Apply),
        _ => Err(Status::unsupported_media_type(PATCH_TYPES)),
    }
}

/// The format of a request's body: JSON when nothing is said; 415 when unknown.
pub fn body_format(headers: &HeaderMap) -> Result<Format, Status> {
    match content_type(headers) {
        "" => Ok(Format::Json),
        media => Format::of(media).ok_or_else(|| {
            Status::unsupported_media_type(
                "application/json, application/yaml, application/vnd.kubernetes.protobuf",
            )
        }),
    }
}

fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, scope: Scope, expected: Option<(Format, Transform)>) {
        let mut headers = HeaderMap::new();
        if let Ok(value) = header.parse() {
            headers.insert(ACCEPT, value);
        }
        let got = accept(&headers, None, scope).ok().map(|a| (a.format, a.transform));
        assert_eq!(got, expected, "{header}");
    }

    #[test]
    fn accept_headers() {
        use Format::*;
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        check("", Scope::Objects, Some((Json, Transform::None)));
        check("*/*", Scope::Objects, Some((Json, Transform::None)));
        check("application/yaml", Scope::Objects, Some((Yaml, Transform::None)));
        check("application/yaml", Scope::Stream, None);
        check("application/yaml,application/json", Scope::Stream, None);
        check("application/json,application/yaml", Scope::Stream, Some((Json, Transform::None)));
        check("application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1", Scope::Objects, None);
        check("text/html", Scope::Objects, None);
        check(table, Scope::Objects, Some((Json, Transform::Table("v1"))));
        check(table, Scope::Plain, Some((Json, Transform::None)));
        check(
            "application/vnd.kubernetes.protobuf,application/json",
            Scope::Stream,
            Some((Protobuf, Transform::None)),
        );
        check("application/json;q=0.5,application/yaml", Scope::Plain, Some((Yaml, Transform::None)));
        check("application/json;as=Nothing", Scope::Objects, None);
        check(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            Scope::Objects,
            Some((Protobuf, Transform::MetadataList("v1"))),
        );
    }
}
