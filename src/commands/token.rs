//! `knarr token`: tokens by which hosts join a cluster, in kubeadm's form: Secrets in `kube-system`.
use crate::add_ons::join::{self, BOOTSTRAPPERS};
use crate::cli::{self, ClusterName, Output};
use crate::cluster::Cluster;
use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, ListParams, PostParams};
use kube::{Client, ResourceExt};
use ring::rand::SecureRandom;
use serde::Serialize;
use std::str::FromStr;
use std::time::Duration;

/// Type of the Secrets.
const TYPE: &str = "bootstrap.kubernetes.io/token";
/// What a token may be for.
const USAGES: [&str; 2] = ["authentication", "signing"];

/// Flags of `knarr token`.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Clone, Debug)]
enum Command {
    /// Make a token and print it
    Create(Create),
    /// List the tokens
    #[command(visible_alias = "ls")]
    List {
        /// Form of the result
        #[arg(long, value_enum, default_value_t)]
        output: Output,
        #[command(flatten)]
        cluster: ClusterName,
    },
    /// Delete tokens; nodes that joined by them stay
    Delete {
        /// Tokens, or their ids
        #[arg(required = true)]
        tokens: Vec<String>,
        #[command(flatten)]
        cluster: ClusterName,
    },
}

#[derive(clap::Args, Clone, Debug)]
#[command(after_help = "Examples:
  knarr token create --print-join-command
  knarr token create --ttl 1h --description rack-7")]
struct Create {
    /// The token (a random one)
    token: Option<Token>,
    /// How long it holds, such as 1h or 30m; 0 for ever
    #[arg(long, default_value = "24h", value_parser = knarr_component::flags::duration)]
    ttl: Duration,
    /// What it is for, for people
    #[arg(long, default_value = "")]
    description: String,
    /// What it may be used for
    #[arg(long, value_delimiter = ',', default_values = USAGES, value_parser = USAGES)]
    usages: Vec<String>,
    /// Groups of its users, beginning with system:bootstrappers:
    #[arg(long, value_delimiter = ',', default_value = BOOTSTRAPPERS)]
    groups: Vec<String>,
    /// Print the command to run on the host that joins, instead of the token alone
    #[arg(long)]
    print_join_command: bool,
    #[command(flatten)]
    cluster: ClusterName,
}

/// A token: an id that may be known, and a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Names the Secret.
    pub id: String,
    /// Proves that its holder was told it.
    pub secret: String,
}

impl FromStr for Token {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_part = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        match text.split_once('.') {
            Some((id, secret)) if is_part(id, 6) && is_part(secret, 16) => {
                Ok(Self { id: id.to_owned(), secret: secret.to_owned() })
            }
            // Not the text itself: it may be a secret that was mistyped.
            _ => Err("a token has the form [a-z0-9]{6}.[a-z0-9]{16}".to_owned()),
        }
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.id, self.secret)
    }
}

impl Token {
    fn random() -> Result<Self> {
        Ok(Self { id: letters(6)?, secret: letters(16)? })
    }
}

/// Random letters and digits.
fn letters(count: usize) -> Result<String> {
    const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let random = ring::rand::SystemRandom::new();
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let mut byte = [0];
        random.fill(&mut byte).ok().context("the system gives no random numbers")?;
        // The last numbers would make the first letters likelier.
        if byte[0] < 252 {
            text.push(char::from(LETTERS[usize::from(byte[0] % 36)]));
        }
    }
    Ok(text)
}

/// Runs `knarr token`.
pub async fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Create(args) => create(args).await,
        Command::List { output, cluster } => list(&open(&cluster)?, output).await,
        Command::Delete { tokens, cluster } => delete(&open(&cluster)?, &tokens).await,
    }
}

fn open(name: &ClusterName) -> Result<Cluster> {
    name.open()?.administered()
}

async fn secrets(cluster: &Cluster) -> Result<(Client, Api<Secret>)> {
    let client = knarr_component::client::connect(Some(&cluster.paths.kubeconfig("admin")), "cli").await?;
    Ok((client.clone(), Api::namespaced(client, "kube-system")))
}

async fn create(args: Create) -> Result<()> {
    if let Some(wrong) = args.groups.iter().find(|group| !group.starts_with("system:bootstrappers:")) {
        bail!("--groups: {wrong:?} does not begin with system:bootstrappers:");
    }
    let cluster = open(&args.cluster)?;
    let server = join::server(&cluster)?;
    let (client, api) = secrets(&cluster).await?;
    join::ensure(&cluster, &client).await.context("cannot prepare the cluster for nodes")?;
    let token = args.token.clone().map_or_else(Token::random, Ok)?;
    let secret = secret(&token, &args, Timestamp::now())?;
    match api.create(&PostParams::default(), &secret).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {
            bail!("there is a token with the id {}", token.id)
        }
        created => drop(created.context("cannot store the token")?),
    }
    if !args.print_join_command {
        return cli::print(token);
    }
    let ca = std::fs::read(cluster.paths.pki("ca.crt")).context("cannot read the cluster's authority")?;
    let hash = super::join::key_hash(&ca)?;
    cli::print(format_args!("knarr join {server} --token {token} --discovery-token-ca-cert-hash {hash}"))
}

fn secret(token: &Token, args: &Create, now: Timestamp) -> Result<Secret> {
    let mut data = std::collections::BTreeMap::from([
        ("token-id".to_owned(), token.id.clone()),
        ("token-secret".to_owned(), token.secret.clone()),
        ("auth-extra-groups".to_owned(), args.groups.join(",")),
    ]);
    data.extend(args.usages.iter().map(|usage| (format!("usage-bootstrap-{usage}"), "true".to_owned())));
    if !args.description.is_empty() {
        data.insert("description".to_owned(), args.description.clone());
    }
    if !args.ttl.is_zero() {
        let end = now + SignedDuration::try_from(args.ttl)?;
        data.insert("expiration".to_owned(), format!("{end:.0}"));
    }
    Ok(serde_json::from_value(serde_json::json!({
        "metadata": {"name": format!("bootstrap-token-{}", token.id)},
        "type": TYPE,
        "stringData": data,
    }))?)
}

/// What `list` tells of a token.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    token: String,
    /// RFC 3339; none for ever.
    expires: Option<String>,
    usages: Vec<String>,
    description: String,
    groups: Vec<String>,
}

impl Listed {
    fn of(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let text = |key: &str| data.get(key).and_then(|value| String::from_utf8(value.0.clone()).ok());
        let is_usage = |usage: &&str| text(&format!("usage-bootstrap-{usage}")).as_deref() == Some("true");
        let groups = text("auth-extra-groups").unwrap_or_default();
        Some(Self {
            token: format!("{}.{}", text("token-id")?, text("token-secret")?),
            expires: text("expiration"),
            usages: USAGES.into_iter().filter(is_usage).map(str::to_owned).collect(),
            description: text("description").unwrap_or_default(),
            groups: groups.split(',').filter(|group| !group.is_empty()).map(str::to_owned).collect(),
        })
    }

    /// How long it still holds, in the largest unit that is not zero.
    fn remaining(&self, now: Timestamp) -> String {
        let Some(expires) = &self.expires else { return "<forever>".to_owned() };
        let Ok(end) = expires.parse::<Timestamp>() else { return "<invalid>".to_owned() };
        match end.duration_since(now).as_secs() {
            left if left <= 0 => "<expired>".to_owned(),
            left if left < 60 => format!("{left}s"),
            left if left < 3600 => format!("{}m", left / 60),
            left if left < 2 * 86_400 => format!("{}h", left / 3600),
            left => format!("{}d", left / 86_400),
        }
    }
}

async fn list(cluster: &Cluster, output: Output) -> Result<()> {
    let (_, api) = secrets(cluster).await?;
    let found = api.list(&ListParams::default().fields(&format!("type={TYPE}"))).await;
    let all: Vec<Listed> = found.context("cannot list tokens")?.items.iter().filter_map(Listed::of).collect();
    if output == Output::Json {
        return cli::print(serde_json::to_string(&all)?);
    }
    let none = |text: &str| if text.is_empty() { "<none>".to_owned() } else { text.to_owned() };
    let line = |cells: [&str; 6]| {
        let [token, ttl, expires, usages, description, groups] = cells;
        cli::print(format_args!(
            "{token:<24} {ttl:<10} {expires:<21} {usages:<23} {description:<20} {groups}"
        ))
    };
    line(["TOKEN", "TTL", "EXPIRES", "USAGES", "DESCRIPTION", "EXTRA GROUPS"])?;
    for token in &all {
        let (ttl, expires) =
            (token.remaining(Timestamp::now()), token.expires.as_deref().unwrap_or("<never>"));
        let (usages, groups) = (none(&token.usages.join(",")), none(&token.groups.join(",")));
        line([&token.token, &ttl, expires, &usages, &none(&token.description), &groups])?;
    }
    Ok(())
}

async fn delete(cluster: &Cluster, tokens: &[String]) -> Result<()> {
    let (_, api) = secrets(cluster).await?;
    for text in tokens {
        let id = text.split('.').next().unwrap_or_default();
        let name = format!("bootstrap-token-{id}");
        let found = api.get_opt(&name).await.context("cannot look the token up")?;
        let Some(secret) = found.filter(|secret| secret.type_.as_deref() == Some(TYPE)) else {
            bail!("there is no token with the id {id}");
        };
        api.delete(&secret.name_any(), &DeleteParams::default()).await.context("cannot delete the token")?;
        cli::print(format_args!("bootstrap token {id:?} deleted"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_strictly() {
        let token: Token = "abcdef.0123456789abcdef".parse().unwrap();
        assert_eq!(token.to_string(), "abcdef.0123456789abcdef");
        for wrong in
            ["", "abcdef", "abcdef.0123456789abcde", "ABCDEF.0123456789abcdef", "abcdef.0123456789abcdef.x"]
        {
            assert!(wrong.parse::<Token>().is_err(), "{wrong}");
        }
        let made = Token::random().unwrap();
        assert_eq!(made.to_string().parse(), Ok(made.clone()));
        assert_ne!(made, Token::random().unwrap());
    }

    #[test]
    fn how_long_a_token_holds() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |expires: Option<&str>, expected: &str| {
            let token = Listed {
                token: String::new(),
                expires: expires.map(str::to_owned),
                usages: Vec::new(),
                description: String::new(),
                groups: Vec::new(),
            };
            assert_eq!(token.remaining(now), expected);
        };
        check(None, "<forever>");
        check(Some("2026-01-02T00:00:00Z"), "24h");
        check(Some("2026-01-01T00:00:59+00:00"), "59s");
        check(Some("2026-01-04T00:00:00Z"), "3d");
        check(Some("2025-12-31T00:00:00Z"), "<expired>");
        check(Some("soon"), "<invalid>");
    }
}
