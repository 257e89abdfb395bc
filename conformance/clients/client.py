"""The official Python client: list, watch, create, patch, exec, delete."""
from kubernetes import client, config, watch
from kubernetes.stream import stream

config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
namespace = "python"
core.create_namespace({"metadata": {"name": namespace}})

pod = {
    "metadata": {"name": "box", "labels": {"app": "box"}},
    "spec": {"terminationGracePeriodSeconds": 1,
             "containers": [{"name": "main", "image": "test.local/testbox:1", "args": ["serve"]}]},
}
version = core.list_namespaced_pod(namespace).metadata.resource_version


def create():
    """The default service account is made by a controller, which may take a moment."""
    for event in watch.Watch().stream(core.list_namespaced_service_account, namespace, timeout_seconds=60):
        if event["object"].metadata.name == "default":
            return core.create_namespaced_pod(namespace, pod)
    raise SystemExit("no default service account")


create()
phases = []
for event in watch.Watch().stream(core.list_namespaced_pod, namespace, resource_version=version, timeout_seconds=90):
    status = event["object"].status
    phases.append((event["type"], status.phase))
    if any(c.type == "Ready" and c.status == "True" for c in status.conditions or []):
        break
assert phases[0] == ("ADDED", "Pending") and phases[-1] == ("MODIFIED", "Running"), phases

output = stream(core.connect_get_namespaced_pod_exec, "box", namespace, command=["echo", "from python"],
                stdout=True, stderr=True, stdin=False, tty=False)
assert output == "from python\n", output

deployment = {
    "metadata": {"name": "web"},
    "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
             "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod["spec"]}},
}
apps.create_namespaced_deployment(namespace, deployment)
scaled = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 2}})
assert scaled.spec.replicas == 2
try:
    core.read_namespaced_config_map("absent", namespace)
    raise SystemExit("a missing object was found")
except client.ApiException as error:
    assert error.status == 404 and "NotFound" in error.body, error

core.delete_namespace(namespace)
print("python: list, watch, create, exec, patch and errors work")
