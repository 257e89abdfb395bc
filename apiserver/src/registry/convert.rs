//! Conversion between versions of one resource: events of the core group and of events.k8s.io, autoscaling v1 and
//! v2, resource.k8s.io v1beta1 and v1. All other resources have one shape in all versions.
mod autoscaling;
mod devices;
mod events;

use knarr_api::Value;
use knarr_api::kind::GroupVersionKind;

/// A pair of functions between a requested version and the stored one; `apiVersion` is set by who calls them.
pub struct Conversion {
    /// From the requested version to the stored one.
    pub store: fn(Value) -> Value,
    /// From the stored version to the requested one.
    pub serve: fn(Value) -> Value,
    /// Both versions have the same fields.
    pub alike: bool,
}

static EVENTS: Conversion = Conversion { store: events::to_core, serve: events::from_core, alike: false };
static AUTOSCALING: Conversion =
    Conversion { store: autoscaling::to_v2, serve: autoscaling::to_v1, alike: false };
static DEVICES: Conversion = Conversion { store: devices::to_v1, serve: devices::to_v1beta1, alike: false };
static ALIKE: Conversion = Conversion { store: identity, serve: identity, alike: true };

/// The conversion between a requested and a stored version; none when they are the same.
pub fn between(requested: &GroupVersionKind, stored: &GroupVersionKind) -> Option<&'static Conversion> {
    if requested == stored {
        return None;
    }
    match (&*requested.group, &*requested.kind) {
        ("events.k8s.io", "Event") => Some(&EVENTS),
        ("autoscaling", "HorizontalPodAutoscaler") => Some(&AUTOSCALING),
        ("resource.k8s.io", "ResourceClaim" | "ResourceClaimTemplate" | "ResourceSlice")
            if &*requested.version == "v1beta1" =>
        {
            Some(&DEVICES)
        }
        _ => Some(&ALIKE),
    }
}

fn identity(value: Value) -> Value {
    value
}

/// Renames a member; absent stays absent.
fn rename(object: &mut knarr_api::Object, from: &str, to: &str) {
    if let Some(value) = object.remove(from) {
        object.insert(to.to_owned(), value);
    }
}
