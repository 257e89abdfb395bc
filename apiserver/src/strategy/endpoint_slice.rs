//! EndpointSlices drop the topology of an older version.
use super::{Scene, Strategy};
use knarr_api::Value;

/// Rules of `endpointslices`.
pub struct EndpointSlice;

impl Strategy for EndpointSlice {
    fn prepare_create(&self, _scene: &Scene<'_>, value: &mut Value) {
        drop_topology(value);
    }

    fn prepare_update(&self, _scene: &Scene<'_>, value: &mut Value, _old: &Value) {
        drop_topology(value);
    }
}

fn drop_topology(value: &mut Value) {
    let Some(Value::Array(endpoints)) = value.get_mut("endpoints") else { return };
    for endpoint in endpoints.iter_mut().filter_map(Value::as_object_mut) {
        endpoint.remove("deprecatedTopology");
    }
}
