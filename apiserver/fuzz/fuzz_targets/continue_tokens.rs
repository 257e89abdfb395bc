//! See [`knarr_apiserver::fuzzing::continue_tokens`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| knarr_apiserver::fuzzing::continue_tokens(input));
