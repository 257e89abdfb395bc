//! See [`knarr_apiserver::fuzzing::request_path`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| knarr_apiserver::fuzzing::request_path(input));
