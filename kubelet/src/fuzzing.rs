//! Entry points for fuzzing of what streams carry; see [`knarr_api::fuzzing`].
use knarr_api::fuzzing::Target;

pub use crate::streaming::fuzzing::{channels, spdy};

/// All of this crate.
pub const TARGETS: &[Target] = &[
    Target { name: "spdy", body: spdy, seeds: crate::streaming::fuzzing::spdy_seeds },
    Target { name: "channels", body: channels, seeds: crate::streaming::fuzzing::channel_seeds },
];

#[cfg(test)]
mod tests {
    #[test]
    fn a_moment_of_each() {
        knarr_api::fuzzing::moment(super::TARGETS);
    }
}
