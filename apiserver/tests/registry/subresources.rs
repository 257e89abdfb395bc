//! Subresources of pods that change one part of them, the view of components, and the field selectors of every kind.
use super::harness::Server;
use knarr_apiserver::registry::Settings;
use knarr_apiserver::storage::Options;
use serde_json::{Value, json};

const POD: &str = "/api/v1/namespaces/default/pods/p";

async fn with_pod() -> Server {
    let server = Server::start().await;
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i",
        "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}}]}});
    server.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    server
}

#[tokio::test]
async fn ephemeral_containers_are_added_and_stay() {
    let server = with_pod().await;
    let path = format!("{POD}/ephemeralcontainers");
    let debug = json!({"name": "debug", "image": "d", "targetContainerName": "c"});
    // `kubectl debug`: what else is in the patch is not of this subresource.
    let patch = json!({"metadata": {"labels": {"a": "b"}},
        "spec": {"ephemeralContainers": [debug], "activeDeadlineSeconds": 5}});
    let patched = server.patch(&path, "strategic-merge-patch+json", &patch).await.expect(200);
    let container = &patched["spec"]["ephemeralContainers"][0];
    assert_eq!(
        (&container["name"], &container["terminationMessagePolicy"]),
        (&json!("debug"), &json!("File"))
    );
    assert_eq!(patched["spec"].get("activeDeadlineSeconds"), None);
    let changed = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": "other"}]}});
    let refused = server.patch(&path, "strategic-merge-patch+json", &changed).await.expect(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.ephemeralContainers", "{refused}");
    let twice = json!({"spec": {"ephemeralContainers": [{"name": "c", "image": "d"}]}});
    let refused = server.patch(&path, "strategic-merge-patch+json", &twice).await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("Duplicate value"), "{refused}");
    // Through the pod itself nothing of it can be changed.
    let mut pod = server.get(POD).await.expect(200);
    pod["spec"]["ephemeralContainers"][0]["image"] = "other".into();
    server.put(POD, &pod).await.expect(422);
    let read = server.get(&path).await.expect(200);
    assert_eq!(read["spec"]["ephemeralContainers"][0]["image"], "d");
}

#[tokio::test]
async fn resources_are_resized() {
    let server = with_pod().await;
    let path = format!("{POD}/resize");
    let resources = |request: &str| {
        json!({"spec": {"containers": [{"name": "c",
        "resources": {"requests": {"cpu": request}, "limits": {"cpu": "400m"}}}]}})
    };
    let resized = server.patch(&path, "strategic-merge-patch+json", &resources("300m")).await.expect(200);
    assert_eq!(resized["spec"]["containers"][0]["resources"]["requests"]["cpu"], "300m");
    assert_eq!(resized["metadata"]["generation"], 2);
    server.patch(&path, "strategic-merge-patch+json", &resources("500m")).await.expect(422);
    let image = json!({"spec": {"containers": [{"name": "c", "image": "other"}]}});
    let refused = server.patch(&path, "strategic-merge-patch+json", &image).await;
    assert_ne!(refused.json()["spec"]["containers"][0]["image"], "other", "{refused:?}");
    // The pod's own path does not resize.
    server.patch(POD, "strategic-merge-patch+json", &resources("100m")).await.expect(422);
    assert_eq!(server.get(POD).await.expect(200)["spec"]["containers"][0]["image"], "i");
}

#[tokio::test]
async fn components_are_told_of_with_a_warning() {
    let server = Server::start().await;
    let path = "/api/v1/componentstatuses";
    let list = server.get(path).await;
    assert_eq!(list.headers["warning"], "299 - \"v1 ComponentStatus is deprecated in v1.19+\"");
    let list = list.expect(200);
    assert_eq!(
        (&list["kind"], &list["items"][0]["metadata"]["name"]),
        (&json!("ComponentStatusList"), &json!("etcd-0"))
    );
    let one = server.get(&format!("{path}/etcd-0")).await.expect(200);
    assert_eq!(one["conditions"], json!([{"type": "Healthy", "status": "True", "message": "ok"}]));
    server.get(&format!("{path}/none")).await.expect(404);
    server.post(path, &json!({"metadata": {"name": "a"}})).await.expect(405);
}

/// Every label that a kind has selects, and no other does.
#[tokio::test]
async fn fields_select_objects_of_every_kind() {
    let server = Server::start_with(Options::default(), Settings::default()).await;
    let kinds = knarr_api::table::builtin().kinds.iter();
    let listed =
        kinds.filter(|kind| kind.served_by_default && kind.has_verb("list") && kind.storage.is_some());
    let (mut tried, mut faults) = (0, Vec::new());
    for kind in listed {
        let base = match &*kind.gvk.group {
            "" => format!("/api/{}/{}", kind.gvk.version, kind.plural),
            group => format!("/apis/{group}/{}/{}", kind.gvk.version, kind.plural),
        };
        let aliases = kind.field_selector_aliases.iter().map(|(from, _)| from);
        for label in kind.field_selectors.iter().chain(aliases) {
            let reply = server.get(&format!("{base}?fieldSelector={label}%3Dnone")).await;
            if reply.code != 200 || reply.json()["items"] != json!([]) {
                faults.push(format!("{base} by {label}: {}", String::from_utf8_lossy(&reply.bytes)));
            }
            tried += 1;
        }
        let refused = server.get(&format!("{base}?fieldSelector=spec.nonsense%3Dx")).await;
        let status: Value = refused.json();
        let told = status["message"].as_str().is_some_and(|text| text.contains("spec.nonsense"));
        if refused.code != 400 || !told {
            faults.push(format!("{base}: {status}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(tried > 100, "only {tried} labels were tried");
}

/// The block of a node is the first of its blocks, however it is said.
#[tokio::test]
async fn blocks_of_nodes_have_two_forms() {
    let server = Server::start().await;
    let nodes = "/api/v1/nodes";
    let node = |name: &str, block: &str| json!({"metadata": {"name": name}, "spec": {"podCIDR": block}});
    let refused = server.post(nodes, &node("n", "x")).await.expect(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.podCIDRs[0]", "{refused}");
    let made = server.post(nodes, &node("n", "10.0.0.0/24")).await.expect(201);
    assert_eq!(made["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
    let changed = json!({"spec": {"podCIDR": "10.1.0.0/24"}});
    let refused = server.patch(&format!("{nodes}/n"), "merge-patch+json", &changed).await.expect(422);
    assert_eq!(refused["details"]["causes"][0]["field"], "spec.podCIDRs", "{refused}");
}
