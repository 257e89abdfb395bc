//! The health of the processes beside this server, which `componentstatuses` tells of.
use super::location::Target;
use super::upstream::Upstream;
use crate::server::RequestBody;
use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt, Limited};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// How long a component may take to answer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 10 * 1024;

/// A process and where it tells of its health: `NAME=URL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// The name clients know it by, such as `scheduler`.
    name: String,
    target: Target,
}

impl FromStr for Component {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, url) = text.split_once('=').ok_or("not of the form NAME=URL")?;
        if let Some(why) = knarr_api::names::dns_subdomain(name).first() {
            return Err(why.clone());
        }
        let url: http::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
        let (Some(scheme @ ("http" | "https")), Some(host)) = (url.scheme_str(), url.host()) else {
            return Err(format!("{url}: neither http://… nor https://…"));
        };
        let tls = scheme == "https";
        let target = Target {
            tls,
            node: None,
            kubelet: false,
            hosts: vec![host.trim_matches(['[', ']']).to_owned()],
            port: url.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            path: url.path().to_owned(),
        };
        Ok(Self { name: name.to_owned(), target })
    }
}

/// Asks components how they are.
pub struct Prober {
    upstream: Arc<Upstream>,
    components: Vec<Component>,
}

impl Prober {
    /// Asks these, over the TLS settings for servers that nobody vouches for.
    pub fn new(upstream: Arc<Upstream>, components: Vec<Component>) -> Self {
        Self { upstream, components }
    }

    /// Each component's name with its answer, or what is wrong with it; all are asked at once.
    pub async fn ask(&self) -> Vec<(String, Result<String, String>)> {
        join_all(self.components.iter().map(|component| async {
            let asked = tokio::time::timeout(TIMEOUT, self.get(&component.target)).await;
            let late = |_| Err(format!("Get {:?}: context deadline exceeded", component.target.url()));
            (component.name.clone(), asked.unwrap_or_else(late))
        }))
        .await
    }

    async fn get(&self, target: &Target) -> Result<String, String> {
        let request = http::Request::new(RequestBody::Full(Bytes::new()));
        let answer = self.upstream.get(target, request).await.map_err(|status| status.message)?;
        if !answer.status().is_success() {
            return Err(format!("HTTP probe failed with statuscode: {}", answer.status().as_u16()));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(String::from_utf8_lossy(&body).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_named_with_their_address() {
        let good: Component = "scheduler=https://127.0.0.1:10259/healthz".parse().unwrap();
        assert_eq!(good.target.url(), "https://127.0.0.1:10259/healthz");
        let good: Component = "a=https://[::1]/".parse().unwrap();
        assert_eq!((good.target.url().as_str(), good.target.tls), ("https://[::1]:443/", true));
        for bad in ["", "scheduler", "=http://a/", "A=http://a/", "a=", "a=ftp://b/", "a=/healthz"] {
            assert!(bad.parse::<Component>().is_err(), "{bad}");
        }
    }
}
