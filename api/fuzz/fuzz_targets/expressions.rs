//! See [`knarr_api::fuzzing::expressions`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| knarr_api::fuzzing::expressions(input));
