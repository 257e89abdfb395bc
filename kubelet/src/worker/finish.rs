//! After the end: volumes and cgroup go at once, containers and logs when the object is gone.

use std::time::Duration;

use super::{Phase, RESYNC, Worker};
use crate::logs::links;
use crate::metrics;
use crate::plan::ProbeResults;
use crate::pod;
use crate::volumes::{disk, iscsi, subpath};

/// Pause before something that could not be removed is tried again.
const RETRY: Duration = Duration::from_secs(2);

impl Worker {
    /// Cleans up after a pod of which nothing runs any more; answers when to look again at the latest.
    pub(super) async fn after_the_end(&mut self, gone: bool) -> Duration {
        let observed = match self.observe().await {
            Ok(observed) => observed,
            Err(_) => return RETRY,
        };
        let alive = observed.running().next().is_some() || observed.ready_sandbox().is_some();
        if alive {
            // Begun by a kubelet before this one, and done by the runtime only now.
            self.phase = Phase::Terminating;
            return Duration::ZERO;
        }
        // Status first: it says how the containers ended.
        self.report(&observed, &ProbeResults::default(), true, false);
        let uid = pod::uid(&self.pod).to_owned();
        if let Err(error) = self.context.grants.dra.release(&uid).await {
            tracing::warn!(pod = pod::full_name(&self.pod), error, "claims not let go");
            return RETRY;
        }
        if !self.remove_files(&uid, !gone).await {
            return RETRY;
        }
        self.context.exclusive.release(&uid);
        self.context.grants.release(&uid);
        self.context.users.release(&uid);
        if !gone {
            self.report(&observed, &ProbeResults::default(), true, true);
            return RESYNC;
        }
        for sandbox in &observed.sandboxes {
            if let Err(error) = self.context.runtime.remove_pod_sandbox(&sandbox.id).await {
                tracing::warn!(pod = pod::full_name(&self.pod), %error, "sandbox not removed");
                return RETRY;
            }
        }
        for container in &observed.containers {
            if let Err(error) = self.context.runtime.remove_container(&container.id).await {
                tracing::warn!(pod = pod::full_name(&self.pod), %error, "container not removed");
                return RETRY;
            }
        }
        let logs = self.context.log_dir(&self.pod);
        if let Err(error) = tokio::fs::remove_dir_all(&logs).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %logs.display(), %error, "logs not removed");
        }
        links::tidy(&self.context.facts.pod_logs_dir);
        if !self.remove_files(&uid, false).await {
            return RETRY;
        }
        self.context.statuses.forget(&uid);
        metrics::forget(&uid);
        self.finished = true;
        Duration::ZERO
    }

    /// Unmounts and removes the pod's directory and cgroup. The files with the containers' last words
    /// stay while the status may still be computed from them (`keep_messages`).
    async fn remove_files(&self, uid: &str, keep_messages: bool) -> bool {
        let directory = self.context.pod_dir(uid);
        if let Err(error) = self.context.csi.tear_down(uid, &directory).await {
            tracing::warn!(pod = pod::full_name(&self.pod), %error, "volume not unmounted");
            return false;
        }
        let cgroups = self.context.cgroups.clone();
        let (owner, root) = (uid.to_owned(), self.context.facts.root_dir.clone());
        let work = move || {
            if keep_messages {
                disk::tear_down(&subpath::directory(&directory))?;
                disk::tear_down(&directory.join("volumes"))?;
            } else {
                disk::tear_down(&directory)?;
            }
            iscsi::release_unused(&root)?;
            cgroups.remove_pod(&owner)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::warn!(pod = pod::full_name(&self.pod), %error, "pod not cleaned up");
                false
            }
            Err(_) => false,
        }
    }
}
