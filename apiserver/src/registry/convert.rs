//! Conversion between versions of one resource: events of the core group and of events.k8s.io, autoscaling v1 and v2,
//! claims and slices of devices v1beta1 and v1. All other resources have one shape in all served versions.
mod autoscaling;
mod devices;
mod events;

use knarr_api::Value;
use knarr_api::kind::GroupVersionKind;

/// A pair of functions between a requested version and the stored one. They set `apiVersion` and `kind` too.
pub struct Conversion {
    /// From the requested version to the stored one.
    pub store: fn(Value) -> Value,
    /// From the stored version to the requested one.
    pub serve: fn(Value) -> Value,
}

static EVENTS: Conversion = Conversion { store: events::to_core, serve: events::from_core };
static AUTOSCALING: Conversion = Conversion { store: autoscaling::to_v2, serve: autoscaling::to_v1 };
static DEVICES: Conversion = Conversion { store: devices::to_v1, serve: devices::to_v1beta1 };

/// The conversion between a requested and a stored version; none when the shapes are equal.
pub fn between(requested: &GroupVersionKind, stored: &GroupVersionKind) -> Option<&'static Conversion> {
    if requested == stored {
        return None;
    }
    match (&*requested.group, &*requested.version, &*requested.kind) {
        ("events.k8s.io", _, "Event") => Some(&EVENTS),
        ("autoscaling", _, "HorizontalPodAutoscaler") => Some(&AUTOSCALING),
        ("resource.k8s.io", "v1beta1", "ResourceClaim" | "ResourceClaimTemplate" | "ResourceSlice") => {
            Some(&DEVICES)
        }
        _ => None,
    }
}

/// Renames a member; absent stays absent.
fn rename(object: &mut knarr_api::Object, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}
