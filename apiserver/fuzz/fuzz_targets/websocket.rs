//! See [`knarr_apiserver::fuzzing::websocket`].
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| knarr_apiserver::fuzzing::websocket(input));
