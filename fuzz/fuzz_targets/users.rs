//! Whatever the users file holds, it fails closed.

#![no_main]
#![allow(dead_code, unused_imports, missing_docs)]

include!(concat!(env!("OUT_DIR"), "/server/main.rs"));

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| users::fuzz(text));
