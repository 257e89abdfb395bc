//! See [`knarr_api::fuzzing::documents`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| knarr_api::fuzzing::documents(input));
