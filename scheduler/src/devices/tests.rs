//! Tables of devices and claims: which node is chosen, and what is allocated there.
use super::*;
use crate::algorithm::Algorithm;
use crate::pod::PodView;
use crate::profile::Profile;
use crate::testing::{node, pod, world};
use crate::views;
use crate::world::World;

/// A slice of a node, one pool each; a device is its name and attributes.
fn slice(at: &str, devices: &[(&str, Value)]) -> Value {
    let devices: Vec<Value> =
        devices.iter().map(|(name, attributes)| json!({"name": name, "attributes": attributes})).collect();
    json!({"kind": "ResourceSlice", "metadata": {"name": at}, "spec": {
        "driver": "gpu.example.com", "nodeName": at, "devices": devices,
        "pool": {"name": at, "generation": 1, "resourceSliceCount": 1},
    }})
}

fn class(expression: &str) -> Value {
    json!({"kind": "DeviceClass", "metadata": {"name": "gpu"}, "spec": {
        "selectors": [{"cel": {"expression": expression}}],
    }})
}

fn claim(devices: Value) -> Value {
    json!({"kind": "ResourceClaim", "metadata": {"name": "c", "namespace": "default", "uid": "c"},
        "spec": {"devices": devices}})
}

fn exactly(more: Value) -> Value {
    let mut request = json!({"deviceClassName": "gpu"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"requests": [{"name": "r", "exactly": request}]})
}

fn stored(objects: &[Value]) -> World {
    let label = json!({});
    let mut world = world(vec![node("n1", json!({}), label.clone()), node("n2", json!({}), label)], vec![]);
    for object in objects.iter().cloned() {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        match object["kind"].as_str().unwrap() {
            "ResourceSlice" => {
                let slice = views::resource_slice(serde_json::from_value(object).unwrap());
                world.devices.slices.insert(name, Arc::new(slice));
            }
            "DeviceTaintRule" => {
                let rule = views::device_taint_rule(serde_json::from_value(object).unwrap());
                world.devices.rules.insert(name, Arc::new(rule));
            }
            "DeviceClass" => {
                let class = views::device_class(serde_json::from_value(object).unwrap());
                world.devices.classes.insert(name, Arc::new(class));
            }
            _ => {
                let claim = views::resource_claim(serde_json::from_value(object).unwrap());
                world.devices.set_claim(&Arc::new(claim));
            }
        }
    }
    world
}

fn user() -> PodView {
    pod("x", json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "c"}]}))
}

/// The node with the devices of the claim, or the message.
fn check(objects: &[Value], expected: &str) {
    let mut world = stored(objects);
    let found = match Algorithm::new(Profile::default()).schedule(&user(), &mut world) {
        Err(failure) => failure.refusal(),
        Ok(node) => {
            let claims: Vec<_> =
                world.devices.claims.values().filter(|c| c.key.name == "c").cloned().collect();
            let allocated = world.devices.allocate(&claims, &world.nodes()[&node].node).unwrap().unwrap();
            let results = allocated[0].allocation.clone().unwrap_or_default();
            let results = results["devices"]["results"].as_array().cloned().unwrap_or_default();
            let devices = results.iter().map(|result| {
                format!(" {}={}", result["request"].as_str().unwrap(), result["device"].as_str().unwrap())
            });
            format!("{node}{}", devices.collect::<String>())
        }
    };
    assert_eq!(found, expected, "{objects:?}");
}

fn none(reason: &str) -> String {
    format!("0/2 nodes are available: {reason}.")
}

#[test]
fn devices_decide_the_node() {
    let any = || class("device.driver == 'gpu.example.com'");
    let two = || slice("n2", &[("a", json!({})), ("b", json!({}))]);
    check(&[claim(exactly(json!({}))), any(), two()], "n2 r=a");
    check(&[claim(exactly(json!({"count": 2}))), any(), two()], "n2 r=a r=b");
    check(&[claim(exactly(json!({"allocationMode": "All"}))), any(), two()], "n2 r=a r=b");
    let full = none("2 cannot allocate all claims");
    let holder = json!({
        "kind": "ResourceClaim", "metadata": {"name": "other", "namespace": "default", "uid": "other"}, "spec": {},
        "status": {"allocation": {"devices": {"results": [
            {"request": "r", "driver": "gpu.example.com", "pool": "n2", "device": "a"},
        ]}}},
    });
    check(&[claim(exactly(json!({}))), any(), two(), holder.clone()], "n2 r=b");
    check(&[claim(exactly(json!({"allocationMode": "All"}))), any(), two(), holder], &full);
    check(&[claim(exactly(json!({"count": 3}))), any(), two()], &full);
    check(&[claim(exactly(json!({}))), any()], &full);
    check(&[claim(exactly(json!({}))), class("device.driver == 'other'"), two()], &full);
    check(&[claim(exactly(json!({}))), two()], &none("request r: device class gpu does not exist"));
    check(&[any(), two()], &none("resourceclaim.resource.k8s.io \"c\" not found"));
    let mut incomplete = two();
    incomplete["spec"]["pool"]["resourceSliceCount"] = 2.into();
    check(&[claim(exactly(json!({}))), any(), incomplete], &full);
}

#[test]
fn selectors_constraints_and_alternatives() {
    let any = || class("true");
    let models = || {
        slice(
            "n1",
            &[
                ("a", json!({"model": {"string": "x"}})),
                ("b", json!({"model": {"string": "y"}})),
                ("c", json!({"model": {"string": "y"}})),
            ],
        )
    };
    let select = |model: &str| {
        let expression = format!("device.attributes['gpu.example.com'].model == '{model}'");
        json!({"selectors": [{"cel": {"expression": expression}}]})
    };
    check(&[claim(exactly(select("y"))), any(), models()], "n1 r=b");
    check(&[claim(exactly(select("z"))), any(), models()], &none("2 cannot allocate all claims"));
    let mut same = exactly(json!({"count": 2}));
    same["constraints"] = json!([{"matchAttribute": "gpu.example.com/model"}]);
    check(&[claim(same.clone()), any(), models()], "n1 r=b r=c");
    same["constraints"] = json!([{"distinctAttribute": "gpu.example.com/model"}]);
    check(&[claim(same), any(), models()], "n1 r=a r=b");
    let alternative = |name: &str, model: &str| {
        let mut request = select(model);
        request["name"] = name.into();
        request["deviceClassName"] = "gpu".into();
        request
    };
    let first = json!({"requests": [{"name": "r", "firstAvailable": [
        alternative("best", "z"), alternative("good", "y"),
    ]}]});
    check(&[claim(first), any(), models()], "n1 r/good=b");
}

#[test]
fn devices_of_others_and_of_its_own() {
    let any = || class("true");
    let one = |at: &str| slice(at, &[("a", json!({}))]);
    let allocated = |name: &str, at: &str| {
        let results = json!([{"request": "r", "driver": "gpu.example.com", "pool": at, "device": "a"}]);
        let selector = json!({"nodeSelectorTerms": [{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": [at]},
        ]}]});
        let mut claim = claim(exactly(json!({})));
        claim["metadata"]["name"] = name.into();
        claim["status"] = json!({"allocation": {"devices": {"results": results}, "nodeSelector": selector}});
        claim
    };
    let free = || claim(exactly(json!({})));
    check(&[free(), allocated("other", "n1"), any(), one("n1"), one("n2")], "n2 r=a");
    check(&[free(), allocated("other", "n1"), any(), one("n1")], &none("2 cannot allocate all claims"));
    check(&[allocated("c", "n2"), any(), one("n1"), one("n2")], "n2");
    let mut tainted = one("n1");
    tainted["spec"]["devices"][0]["taints"] = json!([{"key": "broken", "effect": "NoSchedule"}]);
    check(&[free(), any(), tainted.clone()], &none("2 cannot allocate all claims"));
    let tolerant = exactly(json!({"tolerations": [{"key": "broken", "operator": "Exists"}]}));
    check(&[claim(tolerant), any(), tainted], "n1 r=a");
}

#[test]
fn rules_taint_devices() {
    let any = || class("true");
    let two = || slice("n1", &[("a", json!({})), ("b", json!({}))]);
    let rule = |device: &str, effect: &str| {
        json!({"kind": "DeviceTaintRule", "metadata": {"name": device}, "spec": {
            "deviceSelector": {"driver": "gpu.example.com", "device": device},
            "taint": {"key": "broken", "effect": effect, "timeAdded": "2026-01-01T00:00:00Z"},
        }})
    };
    let wants = |more: Value| claim(exactly(more));
    check(&[wants(json!({})), any(), two(), rule("a", "NoSchedule")], "n1 r=b");
    check(&[wants(json!({})), any(), two(), rule("a", "None")], "n1 r=a");
    let full = none("2 cannot allocate all claims");
    check(&[wants(json!({"count": 2})), any(), two(), rule("a", "NoExecute")], &full);
    let tolerant = json!({"count": 2, "tolerations": [{"key": "broken", "operator": "Exists"}]});
    check(&[wants(tolerant), any(), two(), rule("a", "NoExecute")], "n1 r=a r=b");
}

#[test]
fn shares_of_one_device() {
    let any = || class("device.allowMultipleAllocations");
    let shared = || {
        let mut slice = slice("n1", &[("net", json!({}))]);
        slice["spec"]["devices"][0]["allowMultipleAllocations"] = true.into();
        slice["spec"]["devices"][0]["capacity"] = json!({"bandwidth": {"value": "10G",
            "requestPolicy": {"default": "1G", "validRange": {"min": "1G", "step": "1G"}}}});
        slice
    };
    let wants = |count: i64, bandwidth: &str| {
        claim(exactly(json!({"count": count, "capacity": {"requests": {"bandwidth": bandwidth}}})))
    };
    let taken = |bandwidth: &str| {
        let result = json!({"request": "r", "driver": "gpu.example.com", "pool": "n1", "device": "net",
            "shareID": "s", "consumedCapacity": {"bandwidth": bandwidth}});
        let mut claim = claim(exactly(json!({})));
        claim["metadata"]["name"] = "other".into();
        claim["status"] = json!({"allocation": {"devices": {"results": [result]}}});
        claim
    };
    let full = none("2 cannot allocate all claims");
    check(&[wants(1, "4G"), any(), shared()], "n1 r=net");
    check(&[wants(2, "5G"), any(), shared()], "n1 r=net r=net");
    check(&[wants(2, "4500M"), any(), shared()], "n1 r=net r=net");
    check(&[wants(2, "5500M"), any(), shared()], &full);
    check(&[wants(1, "4G"), taken("6G"), any(), shared()], "n1 r=net");
    check(&[wants(1, "4G"), taken("7G"), any(), shared()], &full);
    check(&[claim(exactly(json!({}))), taken("9G"), any(), shared()], "n1 r=net");
    check(&[wants(1, "11G"), any(), shared()], &full);
    // Both have something else in common than the device.
    let mut distinct = exactly(json!({"count": 2}));
    distinct["constraints"] = json!([{"distinctAttribute": "gpu.example.com/port"}]);
    check(&[claim(distinct), any(), shared()], &full);
    let world = stored(&[wants(1, "4500M"), any(), shared()]);
    let claims: Vec<_> = world.devices.claims.values().cloned().collect();
    let allocated = world.devices.allocate(&claims, &world.nodes()["n1"].node).unwrap().unwrap();
    let result = &allocated[0].allocation.as_ref().unwrap()["devices"]["results"][0];
    assert_eq!(result["consumedCapacity"], json!({"bandwidth": "5G"}));
    assert_eq!(result["shareID"].as_str().unwrap().len(), 36);
}

#[test]
fn devices_that_must_be_prepared_come_last() {
    let any = || class("true");
    let mut devices = slice("n1", &[("a", json!({})), ("b", json!({}))]);
    devices["spec"]["devices"][0]["bindingConditions"] = json!(["Attached"]);
    devices["spec"]["devices"][0]["bindingFailureConditions"] = json!(["Broken"]);
    check(&[claim(exactly(json!({}))), any(), devices.clone()], "n1 r=b");
    let world = stored(&[claim(exactly(json!({"count": 2}))), any(), devices]);
    let claims: Vec<_> = world.devices.claims.values().cloned().collect();
    let allocated = world.devices.allocate(&claims, &world.nodes()["n1"].node).unwrap().unwrap();
    let results = allocated[0].allocation.as_ref().unwrap()["devices"]["results"].clone();
    assert_eq!(results[1]["bindingConditions"], json!(["Attached"]));
    assert_eq!(results[1]["bindingFailureConditions"], json!(["Broken"]));
    assert_eq!(results[0].get("bindingConditions"), None);
}

#[test]
fn parts_of_one_device_draw_on_its_counters() {
    let any = || class("true");
    let part = |name: &str, memory: &str| {
        let counters = json!({"memory": {"value": memory}});
        json!({"name": name, "consumesCounters": [{"counterSet": "gpu-0", "counters": counters}]})
    };
    let of_pool = |name: &str, spec: Value| {
        let mut slice = json!({"kind": "ResourceSlice", "metadata": {"name": name}, "spec": {
            "driver": "gpu.example.com", "nodeName": "n1",
            "pool": {"name": "n1", "generation": 1, "resourceSliceCount": 2},
        }});
        slice["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        slice
    };
    let counters = || {
        let memory = json!({"memory": {"value": "40Gi"}});
        of_pool("counters", json!({"sharedCounters": [{"name": "gpu-0", "counters": memory}]}))
    };
    let parts = || {
        let devices = [part("whole", "40Gi"), part("half-1", "20Gi"), part("half-2", "20Gi")];
        of_pool("parts", json!({"devices": devices}))
    };
    let taken = |device: &str| {
        let results = json!([{"request": "r", "driver": "gpu.example.com", "pool": "n1", "device": device}]);
        let mut claim = claim(exactly(json!({})));
        claim["metadata"]["name"] = "other".into();
        claim["status"] = json!({"allocation": {"devices": {"results": results}}});
        claim
    };
    let wants = |count: i64| claim(exactly(json!({"count": count})));
    let full = none("2 cannot allocate all claims");
    check(&[wants(1), any(), counters(), parts()], "n1 r=whole");
    check(&[wants(2), any(), counters(), parts()], "n1 r=half-1 r=half-2");
    check(&[wants(3), any(), counters(), parts()], &full);
    check(&[wants(1), taken("half-1"), any(), counters(), parts()], "n1 r=half-2");
    check(&[wants(2), taken("half-1"), any(), counters(), parts()], &full);
    check(&[wants(1), taken("whole"), any(), counters(), parts()], &full);
    check(&[wants(1), any(), of_pool("none", json!({})), parts()], &full);
}

#[test]
fn older_claims_do_not_replace_newer_ones() {
    let version = |version: &str| {
        let mut object = claim(json!({}));
        object["metadata"]["resourceVersion"] = version.into();
        Arc::new(views::resource_claim(serde_json::from_value(object).unwrap()))
    };
    let mut devices = Devices::default();
    for (arrives, kept) in [("5", "5"), ("9", "9"), ("7", "9"), ("12", "12")] {
        devices.set_claim(&version(arrives));
        let known = devices.claims.values().next().unwrap();
        assert_eq!(known.value.metadata.resource_version.as_deref(), Some(kept));
    }
}

#[test]
fn selectors_without_an_answer_end_the_attempt() {
    let lacking = "device.attributes['gpu.example.com'].model == 'x'";
    let fault = |objects: &[Value]| {
        let failure = Algorithm::new(Profile::default()).schedule(&user(), &mut stored(objects));
        failure.unwrap_err().fault
    };
    let (any, devices) = (class("device.driver == 'gpu.example.com'"), slice("n2", &[("a", json!({}))]));
    let own = exactly(json!({"selectors": [{"cel": {"expression": lacking}}]}));
    let start = "running \"DynamicResources\" filter plugin: ";
    let found = fault(&[claim(own), any, devices.clone()]);
    let expected = format!("{start}claim default/c: selector #0: runtime error: no such key: model");
    assert_eq!(found.as_deref(), Some(&*expected));
    let found = fault(&[claim(exactly(json!({}))), class(lacking), devices]);
    let expected = format!("{start}class gpu: selector #0: runtime error: no such key: model");
    assert_eq!(found.as_deref(), Some(&*expected));
}

/// A pod that asks for an extended resource gets a claim where a class serves it, and none where the node has it.
#[test]
fn extended_resources_by_classes() {
    let wanted = |resource: &str, amount: &str| {
        let requests = json!({"cpu": "1", resource: amount});
        pod("x", json!({"containers": [{"name": "c", "image": "i", "resources": {"requests": requests}}]}))
    };
    let mut served = class("device.driver == 'gpu.example.com'");
    served["spec"]["extendedResourceName"] = "example.com/gpu".into();
    let objects = [served, slice("n2", &[("a", json!({})), ("b", json!({}))])];
    let place = |resource: &str, amount: &str| {
        let (mut world, user) = (stored(&objects), wanted(resource, amount));
        let found = Algorithm::new(Profile::default()).schedule(&user, &mut world);
        let node = found.map_err(|failure| failure.refusal())?;
        let special = world.devices.special(&user, &world.nodes()[&node]);
        Ok((node, special.map(|special| special.mappings[0]["requestName"].clone())))
    };
    let by_claim = Ok(("n2".to_owned(), Some(json!("container-0-request-0"))));
    assert_eq!(place("example.com/gpu", "2"), by_claim);
    assert_eq!(place("deviceclass.resource.kubernetes.io/gpu", "1"), by_claim);
    assert_eq!(place("example.com/gpu", "3"), Err(none("2 cannot allocate all claims")));
    assert_eq!(place("example.com/other", "1"), Err(none("2 Insufficient example.com/other")));
    let mut world = stored(&objects);
    let mut plugged = NodeView::new(node("n1", json!({}), json!({})));
    plugged.allocatable.others.insert("example.com/gpu".to_owned(), 1);
    world.set_node(Arc::new(plugged));
    let user = wanted("example.com/gpu", "1");
    assert!(world.devices.special(&user, &world.nodes()["n1"]).is_none());
    assert!(world.devices.special(&user, &world.nodes()["n2"]).is_some());
    // Once it is made it is a claim like others.
    let made = PodView { extended_claim: Some("made".to_owned()), ..user };
    let mut known = claim(exactly(json!({})));
    known["metadata"]["name"] = "made".into();
    let known = Arc::new(views::resource_claim(serde_json::from_value(known).unwrap()));
    world.devices.set_claim(&known);
    assert!(world.devices.special(&made, &world.nodes()["n2"]).is_none());
    assert!(world.devices.made_for(&made).is_some());
}
