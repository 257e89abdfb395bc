//! What containers, pods and their groups use, read from control groups: for cAdvisor's metrics and the summary.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::cgroups::reading::{Interface, Reading, traffic};
use crate::context::Context;
use crate::pod;

/// One control group and whose it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Its path.
    pub id: String,
    /// Name of the container, empty for a whole pod.
    pub container: String,
    /// The container's image.
    pub image: String,
    /// The runtime's id of the container.
    pub name: String,
    /// Namespace and name of the pod, empty for groups of pods.
    pub namespace: String,
    pub pod: String,
    /// When the container was started, in seconds since the epoch.
    pub started: Option<f64>,
    /// The counters.
    pub reading: Reading,
    /// Traffic of a pod that has a network of its own.
    pub traffic: Vec<Interface>,
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.as_ref();
    let lists = status.map(|status| {
        [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses]
    });
    lists.into_iter().flatten().flat_map(|list| list.iter().flatten())
}

/// The rows of a pod: its own, then those of its running containers.
pub fn of_pod(context: &Context, pod: &Pod) -> Vec<Row> {
    let cgroup = context.cgroups.of_pod(pod);
    let group = context.cgroups.group(&cgroup);
    let owner =
        Row { namespace: pod::namespace(pod).to_owned(), pod: pod::name(pod).to_owned(), ..Row::default() };
    let process = group.some_process().filter(|_| !pod::host_network(pod));
    let traffic = process.map(|process| traffic(&process.to_string())).unwrap_or_default();
    let mut rows = vec![Row { id: cgroup.clone(), reading: group.read(), traffic, ..owner.clone() }];
    for status in statuses(pod) {
        let running = status.state.as_ref().and_then(|state| state.running.as_ref());
        let id = status.container_id.as_deref().and_then(|id| id.split_once("://"));
        let (Some(running), Some((_, id))) = (running, id) else { continue };
        let cgroup = format!("{cgroup}/{id}");
        let group = context.cgroups.group(&cgroup);
        if group.exists() {
            rows.push(Row {
                id: cgroup,
                container: status.name.clone(),
                image: status.image.clone(),
                name: id.to_owned(),
                started: running.started_at.as_ref().map(|time| time.0.as_millisecond() as f64 / 1e3),
                reading: group.read(),
                ..owner.clone()
            });
        }
    }
    rows
}

/// The groups of all pods.
pub fn of_classes(context: &Context) -> Vec<Row> {
    let row = |id: String| Row { reading: context.cgroups.group(&id).read(), id, ..Row::default() };
    context.cgroups.classes().map(row).into()
}
