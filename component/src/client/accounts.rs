//! Clients that act as ServiceAccounts of `kube-system`, by tokens that are asked for and renewed.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::BodyExt;
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    client::{Body, ClientBuilder, ConfigExt},
};
use tokio::sync::Mutex;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

use super::{Error, connector, lanes::Lanes, user_agent};

/// Where the accounts are.
const NAMESPACE: &str = "kube-system";
/// How long a token is asked for, in seconds.
const LIFE: i64 = 3600;

/// Makes clients that act as accounts. They share their connections, which show no certificate: a server would believe
/// that rather than the token.
#[derive(Clone)]
pub struct Accounts {
    config: Config,
    lanes: Lanes,
    component: String,
    /// Makes accounts and asks for their tokens.
    root: Client,
}

impl Accounts {
    /// Accounts at the API server of `config`, whose user may make accounts and tokens of them.
    ///
    /// # Errors
    /// As [`super::connect`].
    pub fn new(config: &Config, kubeconfig: Option<&Path>, component: &str) -> Result<Self, Error> {
        let root = super::from_config(config.clone(), kubeconfig, component)?;
        let mut config = config.clone();
        config.auth_info = Default::default();
        let lanes = Lanes::new(connector(&config, None)?, None);
        Ok(Self { lanes, config, component: component.to_owned(), root })
    }

    /// A client that acts as the account of this name, which is made if there is none.
    ///
    /// # Errors
    /// A name that cannot stand in a header.
    pub fn client(&self, account: &str) -> Result<Client, Error> {
        let agent = user_agent(&format!("{}/{account}", self.component))?;
        let token = Arc::new(Token {
            api: Api::namespaced(self.root.clone(), NAMESPACE),
            account: account.to_owned(),
            current: Mutex::default(),
        });
        let lanes = self.lanes.clone();
        let send = move |mut request: Request<Body>| {
            let (token, mut lanes, agent) = (token.clone(), lanes.clone(), agent.clone());
            async move {
                let value = token.get().await?;
                request.headers_mut().insert(header::USER_AGENT, agent);
                request.headers_mut().insert(header::AUTHORIZATION, value.clone());
                let answer = lanes.call(request).await?;
                if answer.status() == StatusCode::UNAUTHORIZED {
                    token.forget(&value).await;
                }
                Ok::<_, BoxError>(answer.map(|body| body.map_err(BoxError::from)))
            }
        };
        let service = ServiceBuilder::new()
            .layer(self.config.base_uri_layer())
            .layer(self.config.extra_headers_layer()?)
            .service(tower::service_fn(send))
            .boxed();
        Ok(ClientBuilder::new(service, self.config.default_namespace.clone()).build())
    }
}

/// A header with the token, and when another is to be asked for.
type Current = Option<(HeaderValue, Instant)>;

/// The token of one account.
struct Token {
    api: Api<ServiceAccount>,
    account: String,
    current: Mutex<Current>,
}

impl Token {
    /// The token; one that has lived most of its time is replaced.
    async fn get(&self) -> Result<HeaderValue, BoxError> {
        let mut current = self.current.lock().await;
        if let Some((value, due)) = &*current
            && Instant::now() < *due
        {
            return Ok(value.clone());
        }
        let (token, life) = self.request().await?;
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))?;
        value.set_sensitive(true);
        *current = Some((value.clone(), Instant::now() + life.mul_f64(0.8)));
        Ok(value)
    }

    /// A token that was refused, as of an account that was made anew, is not used again.
    async fn forget(&self, refused: &HeaderValue) {
        let mut current = self.current.lock().await;
        if current.as_ref().is_some_and(|(value, _)| value == refused) {
            *current = None;
        }
    }

    /// A new token and how long it lives.
    async fn request(&self) -> kube::Result<(String, Duration)> {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(LIFE), ..Default::default() }),
            ..Default::default()
        };
        let ask =
            async || self.api.create_token_request(&self.account, &PostParams::default(), &request).await;
        let answer = match ask().await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                self.make().await?;
                ask().await?
            }
            answer => answer?,
        };
        let given = answer.spec.and_then(|spec| spec.expiration_seconds).unwrap_or(LIFE);
        let life = Duration::from_secs(u64::try_from(given).unwrap_or_default());
        Ok((answer.status.and_then(|status| status.token).unwrap_or_default(), life))
    }

    async fn make(&self) -> kube::Result<()> {
        let metadata = ObjectMeta { name: Some(self.account.clone()), ..Default::default() };
        let account = ServiceAccount { metadata, ..Default::default() };
        match self.api.create(&PostParams::default(), &account).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            answer => answer.map(drop),
        }
    }
}
