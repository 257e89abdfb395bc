//! Kubeconfig files: one for each component, and the cluster's context in the user's own.
//!
//! The user's file is edited as a document, so that entries of other tools stay as they are. kubectl's own
//! convention guards it against concurrent writers: a `.lock` file beside it.
use crate::cluster::pki::write_secret;
use crate::cluster::{Cluster, Paths};
use anyhow::{Context, Result, bail};
use serde_yaml_ng::{Mapping, Value};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long another program may hold the user's kubeconfig.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// The lists of a kubeconfig.
const SECTIONS: [&str; 3] = ["clusters", "contexts", "users"];

/// The context, cluster and user name of a cluster in a shared kubeconfig.
pub fn context_name(cluster: &str) -> String {
    format!("knarr-{cluster}")
}

/// Writes the kubeconfig of every component and of the administrator, and `admin-N` for the administrator at the N-th
/// API server where there are several; all else uses the first.
pub fn write_all(cluster: &Cluster) -> Result<()> {
    let server = cluster.server_url();
    for user in ["admin", "controllers", "scheduler", "kubelet", "proxy"] {
        write(cluster, user, user, &server)?;
    }
    for (nth, server) in cluster.server_urls().iter().enumerate().skip(1) {
        write(cluster, &format!("admin-{}", nth + 1), "admin", server)?;
    }
    Ok(())
}

fn write(cluster: &Cluster, file: &str, user: &str, server: &str) -> Result<()> {
    let text = serde_yaml_ng::to_string(&document(cluster, user, server)?)?;
    write_secret(&cluster.paths.kubeconfig(file), text.as_bytes())
}

/// The user's kubeconfig: the first file of `$KUBECONFIG`, else `~/.kube/config`.
pub fn user_file() -> Option<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
    match listed {
        Some(list) => std::env::split_paths(&list).find(|path| !path.as_os_str().is_empty()),
        None => std::env::home_dir().map(|home| home.join(".kube/config")),
    }
}

/// Checks that a kubeconfig can be changed: it is one, or is not there yet.
pub fn check(file: &Path) -> Result<()> {
    let mut config = read(file)?;
    for section in SECTIONS {
        section_of(&mut config, section)?;
    }
    Ok(())
}

/// Puts the cluster's context into `file` and makes it the current one.
pub fn merge(cluster: &Cluster, file: &Path) -> Result<()> {
    edit(file, |config| {
        put(cluster, config)?;
        config.insert("current-context".into(), context_name(&cluster.state.name).into());
        Ok(())
    })
}

/// Exchanges what `file` has of the cluster, if it is still there; the current context stays.
pub fn refresh(cluster: &Cluster, file: &Path) -> Result<()> {
    let name = context_name(&cluster.state.name);
    edit(file, |config| {
        let users = section_of(config, "users")?;
        let is_there = users.iter().any(|entry| entry.get("name").and_then(Value::as_str) == Some(&name));
        if is_there { put(cluster, config) } else { Ok(()) }
    })
}

fn put(cluster: &Cluster, config: &mut Mapping) -> Result<()> {
    let ours = document(cluster, "admin", &cluster.server_url())?;
    let name = context_name(&cluster.state.name);
    for section in SECTIONS {
        let entries = section_of(config, section)?;
        entries.retain(|entry| entry.get("name").and_then(Value::as_str) != Some(&name));
        entries.extend(ours.get(section).and_then(Value::as_sequence).cloned().unwrap_or_default());
    }
    Ok(())
}

/// Takes the cluster's context out of `file`.
pub fn unmerge(cluster: &str, file: &Path) -> Result<()> {
    if !file.exists() {
        return Ok(());
    }
    let name = context_name(cluster);
    edit(file, |config| {
        for section in SECTIONS {
            section_of(config, section)?
                .retain(|entry| entry.get("name").and_then(Value::as_str) != Some(&name));
        }
        if config.get("current-context").and_then(Value::as_str) == Some(&name) {
            config.insert("current-context".into(), "".into());
        }
        Ok(())
    })
}

fn edit(file: &Path, change: impl FnOnce(&mut Mapping) -> Result<()>) -> Result<()> {
    // Behind a link lies the file that is to be replaced.
    let file = &std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let owner = owner(file)?;
    if let Some(folder) = file.parent()
        && !folder.exists()
    {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        give(folder, owner)?;
    }
    let _lock = FileLock::acquire(file)?;
    let mut config = read(file)?;
    change(&mut config)?;
    write_secret(file, serde_yaml_ng::to_string(&config)?.as_bytes())?;
    give(file, owner)
}

/// User and group that a kubeconfig belongs to: its own, else those of the folder that holds it or will. With `sudo` that
/// is not the one who writes it.
fn owner(file: &Path) -> Result<(u32, u32)> {
    let nearest = file.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let found =
        std::fs::metadata(nearest).with_context(|| format!("cannot look at {}", nearest.display()))?;
    Ok((found.uid(), found.gid()))
}

fn give(path: &Path, (user, group): (u32, u32)) -> Result<()> {
    // Only root can give files away, and only root writes those of others.
    if nix::unistd::geteuid().is_root() {
        chown(path, Some(user), Some(group))
            .with_context(|| format!("cannot give {} away", path.display()))?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<Mapping> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", file.display())),
    };
    match serde_yaml_ng::from_str(&text).with_context(|| format!("{} is not YAML", file.display()))? {
        Value::Mapping(config) => Ok(config),
        Value::Null => {
            let mut config = Mapping::new();
            config.insert("apiVersion".into(), "v1".into());
            config.insert("kind".into(), "Config".into());
            Ok(config)
        }
        _ => bail!("{} is no kubeconfig", file.display()),
    }
}

fn section_of<'a>(config: &'a mut Mapping, section: &str) -> Result<&'a mut Vec<Value>> {
    let entry = config.entry(section.into()).or_insert(Value::Null);
    if entry.is_null() {
        *entry = Value::Sequence(Vec::new());
    }
    entry.as_sequence_mut().with_context(|| format!("the kubeconfig's {section} is no list"))
}

/// A kubeconfig with the credentials of one user, embedded.
fn document(cluster: &Cluster, user: &str, server: &str) -> Result<Value> {
    let paths = &cluster.paths;
    let name = context_name(&cluster.state.name);
    let text = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {
            "server": server,
            "certificate-authority-data": embedded(paths, "ca.crt")?,
            // Loopback is faster than gzip.
            "disable-compression": true,
        }}],
        "users": [{"name": name, "user": {
            "client-certificate-data": embedded(paths, &format!("{user}.crt"))?,
            "client-key-data": embedded(paths, &format!("{user}.key"))?,
        }}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    });
    Ok(serde_yaml_ng::to_value(text)?)
}

fn embedded(paths: &Paths, file: &str) -> Result<String> {
    use base64::Engine;
    let file = paths.pki(file);
    let content = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(content))
}

/// kubectl's lock on a kubeconfig: the file `‹name›.lock`, made exclusively.
struct FileLock {
    path: PathBuf,
}

impl FileLock {
    fn acquire(file: &Path) -> Result<Self> {
        let mut path = file.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match std::fs::OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(_) => return Ok(Self { path }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(20)); // another program's lock file: nothing to watch
                }
                Err(e) => {
                    return Err(e).with_context(|| {
                        format!(
                            "cannot lock the kubeconfig; if no other program uses it, remove {}",
                            path.display()
                        )
                    });
                }
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %e, "cannot remove the lock of the kubeconfig");
        }
    }
}
