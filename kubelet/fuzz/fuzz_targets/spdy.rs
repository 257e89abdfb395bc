//! See [`knarr_kubelet::fuzzing::spdy`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| knarr_kubelet::fuzzing::spdy(input));
