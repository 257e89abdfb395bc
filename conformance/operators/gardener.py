"""An operator written with kopf, and what it is to bring about: children, a status, events, a finalizer, a timer."""
import asyncio
import json
import threading
import time

import kopf
from kubernetes import client, config

GROUP, VERSION, PLURAL, NAMESPACE = "operators.knarr.test", "v1", "gardens", "kopf"
FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_):
    settings.persistence.finalizer = FINALIZER
    settings.posting.level = 20


@kopf.on.create(PLURAL)
def created(body, spec, name, namespace, **_):
    plan = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-plan"},
            "data": {"beds": str(spec["beds"]), "soil": spec["soil"]}}
    kopf.adopt(plan)
    client.CoreV1Api().create_namespaced_config_map(namespace, plan)
    kopf.info(body, reason="Planned", message=f"{spec['beds']} beds")
    return {"plan": plan["metadata"]["name"]}


@kopf.on.update(PLURAL, field="spec.beds")
def grown(new, name, namespace, patch, **_):
    client.CoreV1Api().patch_namespaced_config_map(f"{name}-plan", namespace, {"data": {"beds": str(new)}})
    patch.status["phase"] = f"Has{new}"


@kopf.on.delete(PLURAL)
def cleared(name, namespace, **_):
    client.CoreV1Api().create_namespaced_config_map(
        namespace, {"metadata": {"name": f"{name}-cleared"}})


@kopf.timer(PLURAL, interval=0.5)
def watched(patch, **_):
    patch.status["watched"] = True


def eventually(what, holds):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if holds():
            return
        time.sleep(0.1)
    raise SystemExit(f"in vain: {what}")


def absent(read):
    try:
        read()
    except client.ApiException as error:
        return error.status == 404
    return False


def scenario():
    core, custom = client.CoreV1Api(), client.CustomObjectsApi()
    garden = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Garden", "metadata": {"name": "a"}, "spec": {"beds": 2}}
    place = (GROUP, VERSION, NAMESPACE, PLURAL)
    custom.create_namespaced_custom_object(*place, garden)

    def now():
        return custom.get_namespaced_custom_object(*place, "a")

    eventually("a status", lambda: now().get("status", {}).get("created", {}).get("plan") == "a-plan")
    eventually("a timer", lambda: now()["status"].get("watched") is True)
    assert FINALIZER in now()["metadata"]["finalizers"], now()
    plan = core.read_namespaced_config_map("a-plan", NAMESPACE)
    assert plan.data == {"beds": "2", "soil": "loam"}, plan.data
    assert plan.metadata.owner_references[0].uid == now()["metadata"]["uid"]
    eventually("an event", lambda: any(
        (e.involved_object.kind, e.reason) == ("Garden", "Planned") for e in core.list_namespaced_event(NAMESPACE).items))
    custom.patch_namespaced_custom_object(*place, "a", {"spec": {"beds": 5}})
    eventually("a change", lambda: now()["status"].get("phase") == "Has5")
    assert core.read_namespaced_config_map("a-plan", NAMESPACE).data["beds"] == "5"
    custom.delete_namespaced_custom_object(*place, "a")
    eventually("the end", lambda: absent(now))
    core.read_namespaced_config_map("a-cleared", NAMESPACE)
    eventually("garbage collection", lambda: absent(lambda: core.read_namespaced_config_map("a-plan", NAMESPACE)))


def main():
    config.load_kube_config()
    with open(__file__.replace("gardener.py", "garden.json"), encoding="utf-8") as file:
        client.ApiextensionsV1Api().create_custom_resource_definition(json.load(file))
    client.CoreV1Api().create_namespace({"metadata": {"name": NAMESPACE}})
    ready, stop = threading.Event(), threading.Event()
    running = threading.Thread(target=lambda: asyncio.run(kopf.operator(
        namespace=NAMESPACE, ready_flag=ready, stop_flag=stop)), daemon=True)
    running.start()
    assert ready.wait(60), "the operator did not start"
    scenario()
    stop.set()
    running.join(60)
    assert not running.is_alive(), "the operator did not end"
    client.ApiextensionsV1Api().delete_custom_resource_definition(f"{PLURAL}.{GROUP}")
    print("kopf: definition, children, status, events, timer, finalizer and collection work")


main()
