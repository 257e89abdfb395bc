//! Labels and annotations by which sandboxes and containers are found again after a restart.
//!
//! The names are the original's, so that tools such as `crictl` and log collectors understand them.

/// Label: name of the pod.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label: namespace of the pod.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label: uid of the pod.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// Label of sandboxes: root directory of the kubelet they are of, since several may share a runtime.
pub const OWNER: &str = "knarr.dev/kubelet";
/// Label: name of the container within its pod.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// Annotation: hash of what makes a running container outdated.
pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
/// Annotation: how often the container was restarted before.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
/// Annotation: where the container writes its termination message.
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
/// Annotation: `File` or `FallbackToLogsOnError`.
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// Annotation: the pod's grace period in seconds, for tools; the kubelet itself gives pods that are no more one second.
pub const POD_GRACE_PERIOD: &str = "io.kubernetes.pod.terminationGracePeriod";
/// Annotation: the pre-stop hook as JSON, for tools.
pub const PRE_STOP: &str = "io.kubernetes.container.preStopHandler";

/// Pod annotation: where the pod came from (`api` or `file`).
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
/// Pod annotation: when the kubelet first saw it.
pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
/// Pod annotation: hash of a static pod's manifest.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Pod annotation: marks the API object that mirrors a static pod; its value is the static pod's hash.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// Sandbox annotation: the sandbox shares the node's network, so it has no address of its own.
pub const HOST_NETWORK: &str = "knarr.dev/host-network";
