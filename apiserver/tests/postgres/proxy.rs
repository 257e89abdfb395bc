//! A network between a server and its database that is slow, or loses answers.
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Passes connections on to a database's socket.
pub struct Proxy {
    directory: TempDir,
    delay: Arc<AtomicU64>,
    /// Counted up to lose the answers under way and end their connections.
    cuts: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(database: PathBuf) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        let (delay, cuts) = (Arc::new(AtomicU64::new(0)), watch::Sender::new(0));
        let (slow, cutting) = (delay.clone(), cuts.clone());
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = UnixStream::connect(&database).await else { continue };
                tokio::spawn(pass(client, server, slow.clone(), cutting.subscribe()));
            }
        });
        Self { directory, delay, cuts, task }
    }

    /// The same database, reached through the proxy.
    pub fn url(&self, url: &str) -> String {
        let (front, _) = url.split_once("&host=").unwrap();
        format!("{front}&host={}", self.directory.path().display())
    }

    /// Waits so long before each answer.
    pub fn delay(&self, time: Duration) {
        self.delay.store(time.as_millis() as u64, Ordering::Relaxed);
    }

    /// Loses the next answer of every connection and ends it.
    pub async fn cut_answers(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes bytes on. Once cut, what the client sends still reaches the database, but the next answer is lost.
async fn pass(client: UnixStream, server: UnixStream, delay: Arc<AtomicU64>, mut cuts: watch::Receiver<u64>) {
    cuts.mark_unchanged();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = async { tokio::io::copy(&mut from_client, &mut to_server).await.map(drop) };
    let answers = async {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = from_server.read(&mut buffer).await?;
            if length == 0 || cuts.has_changed().unwrap_or(true) {
                return std::io::Result::Ok(());
            }
            let delay = delay.load(Ordering::Relaxed);
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            to_client.write_all(&buffer[..length]).await?;
        }
    };
    // Either end closes both.
    tokio::select! {
        _ = requests => {}
        _ = answers => {}
    }
}
