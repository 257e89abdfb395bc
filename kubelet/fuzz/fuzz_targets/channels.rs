//! See [`knarr_kubelet::fuzzing::channels`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| knarr_kubelet::fuzzing::channels(input));
