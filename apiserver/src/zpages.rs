//! `/statusz` and `/flagz`: what this process is and what it was told, for people who look for a fault.
//!
//! Text by default; structured for who asks for kind, group and version by name, and nothing else of JSON. Source: the page
//! "Kubernetes z-pages" and KEPs 4827 and 4828.
use crate::own_paths::Version;
use crate::registry::encode;
use crate::registry::negotiate::{self, Accepted, PageForm};
use crate::server::{Response, body};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, FromArgMatches};
use http::HeaderMap;
use jiff::Timestamp;
use knarr_api::gates;
use knarr_api::status::Status;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const COMPONENT: &str = "kube-apiserver";
const GROUP: &str = "config.k8s.io";
/// The paths that help to find a fault.
const PATHS: [&str; 7] = ["/flagz", "/healthz", "/livez", "/metrics", "/readyz", "/statusz", "/version"];
/// Stands for values that may hold secrets.
const CLASSIFIED: &str = "CLASSIFIED";
/// Flags with such values: the URL of a database has its password.
const SECRET: [&str; 1] = ["storage"];

/// The flags that a command was given, with the defaults of the others. It reads them beside the struct that it is
/// flattened into, and has to come first there, since each field takes its value away.
#[derive(Clone, Debug, Default)]
pub struct Flags(BTreeMap<String, String>);

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = BTreeMap::new();
        for id in matches.ids().map(clap::Id::as_str) {
            // Groups of flags have ids too, but no values of their own.
            let is_flag = matches!(
                matches.value_source(id),
                Some(ValueSource::CommandLine | ValueSource::EnvVariable | ValueSource::DefaultValue)
            ) && id
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
            if !is_flag {
                continue;
            }
            let values = matches.try_get_raw(id).ok().flatten();
            let values: Vec<_> = values.into_iter().flatten().map(|value| value.to_string_lossy()).collect();
            let text = match values.as_slice() {
                _ if SECRET.contains(&id) => CLASSIFIED.to_owned(),
                [one] => one.to_string(),
                many => format!("[{}]", many.join(",")),
            };
            flags.insert(id.replace('_', "-"), text);
        }
        Ok(Self(flags))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// Both pages of a process.
pub struct Pages {
    started: Timestamp,
    flags: Flags,
}

impl Pages {
    /// Of a process that starts now.
    pub fn new(flags: Flags) -> Self {
        Self { started: Timestamp::now(), flags }
    }

    /// Answers for one of the paths; none for any other, and while the page's gate is off.
    pub fn answer(&self, path: &str, headers: &HeaderMap) -> Option<Response> {
        let (kind, gate) = match path {
            "/statusz" => ("Statusz", "ComponentStatusz"),
            "/flagz" => ("Flagz", "ComponentFlagz"),
            _ => return None,
        };
        if !gates::enabled(gate) {
            return None;
        }
        let now = Timestamp::now();
        Some(match negotiate::page(headers, kind) {
            Ok(PageForm::Text) if kind == "Statusz" => body::text(200, self.status_text(now)),
            Ok(PageForm::Text) => body::text(200, self.flags_text()),
            Ok(PageForm::Structured(version, format)) => {
                let mut page = match kind {
                    "Statusz" => self.status(now),
                    _ => json!({"flags": self.flags.0}),
                };
                page["kind"] = kind.into();
                page["apiVersion"] = format!("{GROUP}/{version}").into();
                page["metadata"] = json!({"name": COMPONENT});
                encode::document(&page, Accepted { format, ..Accepted::JSON })
                    .unwrap_or_else(|status| body::status(&status, headers))
            }
            Err(status) => body::status(&status, headers),
        })
    }

    fn uptime(&self, now: Timestamp) -> i64 {
        (now.as_second() - self.started.as_second()).max(0)
    }

    fn status(&self, now: Timestamp) -> Value {
        let Facts { runtime, binary, emulated } = facts();
        let started = Timestamp::from_second(self.started.as_second()).unwrap_or_default();
        json!({
            "startTime": started.to_string(), "uptimeSeconds": self.uptime(now), "goVersion": runtime,
            "binaryVersion": binary, "emulationVersion": emulated, "paths": PATHS,
        })
    }

    fn status_text(&self, now: Timestamp) -> String {
        let up = self.uptime(now);
        let Facts { runtime, binary, emulated } = facts();
        let started = self.started.strftime("%a %b %e %H:%M:%S UTC %Y");
        format!(
            "{}\nStarted: {started}\nUp: {} hr {:02} min {:02} sec\nGo version: {runtime}\nBinary version: {binary}\n\
             Emulation version: {emulated}\nPaths: {}\n",
            heading("statusz"),
            up / 3600,
            up / 60 % 60,
            up % 60,
            PATHS.join(" ")
        )
    }

    fn flags_text(&self) -> String {
        let lines = self.flags.0.iter().map(|(name, value)| format!("{name}={value}\n"));
        heading("flagz") + &lines.collect::<String>()
    }
}

struct Facts {
    runtime: &'static str,
    binary: String,
    emulated: String,
}

fn facts() -> Facts {
    let version = Version::current();
    Facts { runtime: version.runtime(), binary: version.bare(), emulated: version.emulated() }
}

fn heading(page: &str) -> String {
    format!(
        "\n{COMPONENT} {page}\nWarning: This endpoint is not meant to be machine parseable, has no formatting \
         compatibility guarantees and is for debugging purposes only.\n"
    )
}

/// 406 for a page.
pub fn not_acceptable() -> Status {
    Status::not_acceptable(
        "application/json, application/yaml, application/vnd.kubernetes.protobuf, text/plain",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Body;
    use clap::Parser;
    use http::{HeaderValue, header};

    #[derive(Parser)]
    struct Told {
        #[command(flatten)]
        flags: Flags,
        #[arg(long)]
        storage: String,
        #[arg(long, value_delimiter = ',')]
        some_words: Vec<String>,
        #[arg(long, default_value = "5m")]
        period: String,
        #[arg(long)]
        absent: Option<String>,
    }

    fn pages() -> Pages {
        let words = ["x", "--storage=postgres://u:secret@h/d", "--some-words=a,b"];
        let told = Told::parse_from(words);
        assert!(
            told.absent.is_none() && told.period == "5m" && told.some_words.len() == 2,
            "{}",
            told.storage
        );
        Pages::new(told.flags)
    }

    fn text(response: Response) -> String {
        let Body::Full(bytes) = response.into_body() else { panic!("one piece") };
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn forms() {
        let pages = pages();
        let get = |path: &str, accept: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            pages.answer(path, &headers).unwrap()
        };
        let flags = text(get("/flagz", "*/*"));
        assert!(flags.starts_with("\nkube-apiserver flagz\nWarning: "), "{flags}");
        assert!(flags.ends_with("only.\nperiod=5m\nsome-words=[a,b]\nstorage=CLASSIFIED\n"), "{flags}");
        let status = text(get("/statusz", "text/plain"));
        assert!(status.contains("\nUp: 0 hr 00 min 0"), "{status}");
        assert!(status.contains("\nEmulation version: 1.36\nPaths: /flagz /healthz"), "{status}");
        let wanted = "application/json;v=v1beta1;g=config.k8s.io;as=Flagz";
        let flagz: Value = serde_json::from_str(&text(get("/flagz", wanted))).unwrap();
        assert_eq!(
            (&flagz["apiVersion"], &flagz["kind"]),
            (&json!("config.k8s.io/v1beta1"), &json!("Flagz"))
        );
        assert_eq!(flagz["flags"]["some-words"], "[a,b]");
        let wanted = "application/yaml;v=v1alpha1;g=config.k8s.io;as=Statusz";
        assert!(text(get("/statusz", wanted)).starts_with("apiVersion: config.k8s.io/v1alpha1\n"));
        for (accept, code) in [
            ("application/json", 406),
            ("application/json;v=v1beta1;g=config.k8s.io", 406),
            ("application/json;v=v1beta1;g=config.k8s.io;as=Flagz", 406),
            ("application/vnd.kubernetes.protobuf;v=v1beta1;g=config.k8s.io;as=Statusz", 406),
            ("application/json;v=foo;g=config.k8s.io;as=Statusz,*/*", 200),
        ] {
            assert_eq!(get("/statusz", accept).status(), code, "{accept}");
        }
        assert!(pages.answer("/else", &HeaderMap::new()).is_none());
    }
}
