//! What is asked of logind over D-Bus: to wait with the shutdown, and to tell of it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;

use zbus::{Connection, OwnedFd, proxy};

/// Where logind's own limit of waiting is raised.
const SETTINGS: &str = "/etc/systemd/logind.conf.d";
/// The signal by which logind reads its settings again.
const HANG_UP: i32 = 1;

/// The manager of sessions, org.freedesktop.login1.
#[proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Manager {
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;

    #[zbus(property(emits_changed_signal = "false"), name = "InhibitDelayMaxUSec")]
    fn inhibit_delay_max_usec(&self) -> zbus::Result<u64>;

    #[zbus(signal)]
    fn prepare_for_shutdown(&self, active: bool) -> zbus::Result<()>;
}

/// The manager of services, org.freedesktop.systemd1.
#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Services {
    fn kill_unit(&self, name: &str, who: &str, signal: i32) -> zbus::Result<()>;
}

/// Why logind cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LogindError {
    /// There is none, or it refuses.
    #[error("{0}")]
    Bus(#[from] zbus::Error),
    /// Its settings cannot be written.
    #[error("{0}")]
    Settings(#[from] std::io::Error),
    /// It does not wait as long as it should.
    #[error(
        "node shutdown manager was unable to update logind InhibitDelayMaxSec to {wanted:?}, current value is {found:?}"
    )]
    TooShort {
        /// What is needed.
        wanted: Duration,
        /// What there is.
        found: Duration,
    },
}

/// As long as this is held the machine waits, at most as long as logind lets it.
#[derive(Debug)]
pub struct Inhibitor {
    _lock: OwnedFd,
}

/// logind of this machine.
pub struct Logind {
    bus: Connection,
    manager: ManagerProxy<'static>,
    settings: PathBuf,
}

impl Logind {
    /// By way of the system's bus.
    pub async fn connect() -> Result<Self, LogindError> {
        Self::over(Connection::system().await?, Path::new(SETTINGS)).await
    }

    /// By way of some bus; its settings are in the folder `settings`.
    pub async fn over(bus: Connection, settings: &Path) -> Result<Self, LogindError> {
        let manager = ManagerProxy::new(&bus).await?;
        Ok(Self { bus, manager, settings: settings.to_owned() })
    }

    /// Lets logind wait at least so long.
    pub async fn allow(&self, period: Duration) -> Result<(), LogindError> {
        let now = Duration::from_micros(self.manager.inhibit_delay_max_usec().await?);
        if now >= period {
            return Ok(());
        }
        std::fs::create_dir_all(&self.settings)?;
        let text = format!("# Kubelet logind override\n[Login]\nInhibitDelayMaxSec={}\n", period.as_secs());
        std::fs::write(self.settings.join("99-kubelet.conf"), text)?;
        ServicesProxy::new(&self.bus).await?.kill_unit("systemd-logind.service", "all", HANG_UP).await?;
        let found = Duration::from_micros(self.manager.inhibit_delay_max_usec().await?);
        if found >= period { Ok(()) } else { Err(LogindError::TooShort { wanted: period, found }) }
    }

    /// Lets a shutdown wait from now on.
    pub async fn inhibit(&self) -> Result<Inhibitor, LogindError> {
        let why = "Kubelet needs time to handle node shutdown";
        Ok(Inhibitor { _lock: self.manager.inhibit("shutdown", "kubelet", why, "delay").await? })
    }

    /// Whether the machine goes down, whenever that changes.
    pub async fn shutdowns(&self) -> Result<impl futures::Stream<Item = bool> + Unpin + use<>, LogindError> {
        let signals = self.manager.receive_prepare_for_shutdown().await?;
        Ok(Box::pin(signals.filter_map(async |signal| Some(*signal.args().ok()?.active()))))
    }
}
