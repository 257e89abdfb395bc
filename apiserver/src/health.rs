//! `/livez`, `/readyz` and `/healthz`, with `?verbose`, `?exclude=` and a path for each check.
use crate::metrics::SliMetrics;
use crate::request_info::RequestInfo;
use crate::server::{Response, body};
use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Which of the three a check counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All three.
    Everywhere,
    /// `/readyz` alone (shutdown).
    Ready,
}

/// Something that is well or not.
#[async_trait]
pub trait Check: Send + Sync {
    /// Name in paths and listings.
    fn name(&self) -> &str;

    /// Is it well?
    ///
    /// # Errors
    /// What is wrong, for the log: clients are told that the reason is withheld.
    async fn check(&self) -> Result<(), String>;

    /// Where it counts.
    fn scope(&self) -> Scope {
        Scope::Everywhere
    }
}

/// Something that has to be done once.
#[derive(Default)]
pub struct Step(AtomicBool);

impl Step {
    /// The step is done.
    pub fn done(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The check of this name that is well once the step is done.
    pub fn named(self: &Arc<Self>, name: &'static str) -> Arc<dyn Check> {
        Arc::new(StepCheck { name, step: self.clone(), wanted: true, scope: Scope::Everywhere })
    }

    /// The same of `/readyz` alone.
    pub fn named_of_ready(self: &Arc<Self>, name: &'static str) -> Arc<dyn Check> {
        Arc::new(StepCheck { name, step: self.clone(), wanted: true, scope: Scope::Ready })
    }

    /// The check of `/readyz` that is well until the step is done.
    pub fn until_done(self: &Arc<Self>, name: &'static str) -> Arc<dyn Check> {
        Arc::new(StepCheck { name, step: self.clone(), wanted: false, scope: Scope::Ready })
    }
}

struct StepCheck {
    name: &'static str,
    step: Arc<Step>,
    wanted: bool,
    scope: Scope,
}

#[async_trait]
impl Check for StepCheck {
    fn name(&self) -> &str {
        self.name
    }

    async fn check(&self) -> Result<(), String> {
        match self.step.0.load(Ordering::Acquire) {
            done if done == self.wanted => Ok(()),
            true => Err("process is shutting down".to_owned()),
            false => Err("not finished".to_owned()),
        }
    }

    fn scope(&self) -> Scope {
        self.scope
    }
}

/// The server's checks, in the order they are listed.
#[derive(Default)]
pub struct Health {
    checks: RwLock<Vec<Arc<dyn Check>>>,
    /// What failed when last looked at, and why: whoever waits for a start asks many times a second.
    failing: Mutex<BTreeMap<String, String>>,
    slis: SliMetrics,
}

impl Health {
    /// Adds a check.
    pub fn add(&self, check: Arc<dyn Check>) {
        self.checks.write().push(check);
    }

    /// How the checks went.
    pub fn slis(&self) -> &SliMetrics {
        &self.slis
    }

    /// Answers a request below one of the three paths; none for any other path.
    pub async fn answer(&self, info: &RequestInfo) -> Option<Response> {
        let path = info.path();
        let (endpoint, single) = ["healthz", "livez", "readyz"].into_iter().find_map(|endpoint| {
            let rest = path.strip_prefix('/')?.strip_prefix(endpoint)?;
            match rest {
                "" => Some((endpoint, None)),
                rest => Some((endpoint, Some(rest.strip_prefix('/')?))),
            }
        })?;
        let checks: Vec<_> = self.checks.read().clone();
        let wanted = |check: &Arc<dyn Check>| check.scope() == Scope::Everywhere || endpoint == "readyz";
        let checks: Vec<_> = checks.into_iter().filter(wanted).collect();
        if let Some(name) = single.filter(|name| !name.is_empty()) {
            let Some(check) = checks.iter().find(|check| check.name() == name) else {
                return Some(body::text(404, "404 page not found\n"));
            };
            let checked = check.check().await;
            self.slis.checked(name, endpoint, checked.is_ok());
            return Some(match checked {
                Ok(()) => body::text(200, "ok"),
                Err(error) => body::text(500, format!("internal server error: {error}\n")),
            });
        }
        Some(self.run(endpoint, &checks, info).await)
    }

    async fn run(&self, endpoint: &str, checks: &[Arc<dyn Check>], info: &RequestInfo) -> Response {
        let mut excluded: BTreeSet<String> = info.queries("exclude").map(|name| name.into_owned()).collect();
        let (mut lines, mut failed) = (String::new(), Vec::new());
        for check in checks {
            let name = check.name();
            if excluded.remove(name) {
                lines += &format!("[+]{name} excluded: ok\n");
                continue;
            }
            let checked = check.check().await;
            self.note(name, checked.as_ref().err());
            self.slis.checked(name, endpoint, checked.is_ok());
            match checked {
                Ok(()) => lines += &format!("[+]{name} ok\n"),
                Err(_) => {
                    lines += &format!("[-]{name} failed: reason withheld\n");
                    failed.push(name);
                }
            }
        }
        if !excluded.is_empty() {
            let names = excluded.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
            lines += &format!("warn: some health checks cannot be excluded: no matches for {names}\n");
        }
        if !failed.is_empty() {
            return body::text(500, format!("{lines}{endpoint} check failed\n"));
        }
        if info.query("verbose").is_none() {
            return body::text(200, "ok");
        }
        body::text(200, format!("{lines}{endpoint} check passed\n"))
    }

    /// Logs a check that fails anew or for another reason.
    fn note(&self, name: &str, error: Option<&String>) {
        let mut failing = self.failing.lock();
        if failing.get(name) == error {
            return;
        }
        match error {
            Some(error) => {
                tracing::info!(check = name, error, "health check failed");
                failing.insert(name.to_owned(), error.clone());
            }
            None => {
                failing.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn answers() {
        let health = Health::default();
        let (step, shutdown) = <(Arc<Step>, Arc<Step>)>::default();
        health.add(step.named("step"));
        health.add(shutdown.until_done("shutdown"));
        let check = async |uri: &str, code: u16, text: &str| {
            let info = RequestInfo::new(&http::Method::GET, &uri.parse().unwrap()).unwrap();
            let response = health.answer(&info).await.unwrap();
            assert_eq!(response.status(), code, "{uri}");
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(std::str::from_utf8(&bytes).unwrap(), text, "{uri}");
        };
        check("/livez", 500, "[-]step failed: reason withheld\nlivez check failed\n").await;
        check("/livez?exclude=step", 200, "ok").await;
        check(
            "/readyz?verbose&exclude=step",
            200,
            "[+]step excluded: ok\n[+]shutdown ok\nreadyz check passed\n",
        )
        .await;
        step.done();
        check("/readyz/shutdown", 200, "ok").await;
        shutdown.done();
        check("/livez?verbose", 200, "[+]step ok\nlivez check passed\n").await;
        let slis = health.slis().encode();
        for line in [
            "kubernetes_healthcheck{name=\"step\",type=\"livez\"} 1\n",
            "kubernetes_healthcheck{name=\"shutdown\",type=\"readyz\"} 1\n",
            "kubernetes_healthchecks_total{name=\"step\",status=\"error\",type=\"livez\"} 1\n",
            "kubernetes_healthchecks_total{name=\"step\",status=\"success\",type=\"livez\"} 1\n",
        ] {
            assert!(slis.contains(line), "{line}{slis}");
        }
        check("/readyz/none", 404, "404 page not found\n").await;
        let info = RequestInfo::new(&http::Method::GET, &"/healthzzz".parse().unwrap()).unwrap();
        assert!(health.answer(&info).await.is_none());
    }
}
