//! See [`knarr_api::fuzzing::selectors`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| knarr_api::fuzzing::selectors(input));
