//! A line becomes a command or a refusal.

#![no_main]
#![allow(dead_code, unused_imports, missing_docs)]

include!(concat!(env!("OUT_DIR"), "/server/main.rs"));

use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| commands::fuzz(line));
