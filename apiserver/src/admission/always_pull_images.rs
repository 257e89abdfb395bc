//! AlwaysPullImages: every image is pulled at each start, so that who may not pull an image cannot use another's copy.
use super::{Attributes, Operation, Plugin};
use async_trait::async_trait;
use knarr_api::Value;
use knarr_api::status::Status;
use serde_json::json;

/// The plugin.
pub struct AlwaysPullImages;

#[async_trait]
impl Plugin for AlwaysPullImages {
    fn name(&self) -> &'static str {
        "AlwaysPullImages"
    }

    fn handles(&self, operation: Operation, attributes: &Attributes<'_>) -> bool {
        let is_pod = attributes.kind.gvk.group.is_empty() && &*attributes.kind.plural == "pods";
        matches!(operation, Operation::Create | Operation::Update)
            && is_pod
            && matches!(attributes.subresource, "" | "ephemeralcontainers")
    }

    async fn admit(&self, attributes: &mut Attributes<'_>) -> Result<(), Status> {
        // An update that leaves the images alone does not change pods from before the plugin was on.
        let unchanged = match (&attributes.object, &attributes.old) {
            (Some(new), Some(old)) => images(new) == images(old),
            _ => false,
        };
        if let Some(pod) = attributes.object.as_mut().filter(|_| !unchanged) {
            always(&mut pod["spec"]);
        }
        Ok(())
    }
}

const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

fn images(pod: &Value) -> Vec<&Value> {
    let spec = &pod["spec"];
    let containers = CONTAINERS.iter().flat_map(|field| super::array(&spec[*field])).map(|c| &c["image"]);
    let volumes = super::array(&spec["volumes"]).iter().map(|volume| &volume["image"]["reference"]);
    containers.chain(volumes).collect()
}

fn always(spec: &mut Value) {
    let Some(spec) = spec.as_object_mut() else { return };
    for field in CONTAINERS {
        for container in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            container["imagePullPolicy"] = json!("Always");
        }
    }
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
            image.insert("pullPolicy".into(), json!("Always"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_images_are_pulled() {
        let mut spec = json!({
            "containers": [{"image": "a", "imagePullPolicy": "Never"}],
            "initContainers": [{"image": "b"}],
            "volumes": [{"name": "v", "image": {"reference": "c"}}, {"name": "w", "emptyDir": {}}],
        });
        always(&mut spec);
        assert_eq!(
            spec,
            json!({
                "containers": [{"image": "a", "imagePullPolicy": "Always"}],
                "initContainers": [{"image": "b", "imagePullPolicy": "Always"}],
                "volumes": [{"name": "v", "image": {"reference": "c", "pullPolicy": "Always"}},
                    {"name": "w", "emptyDir": {}}],
            })
        );
    }
}
