//! What stays on the disk: after crashes, on full disks, and under load.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "a test has stack enough for `io::copy`")]

mod crash_mix;
mod crowd;
mod fuzz;
mod mounts;
mod soak;
mod temporaries;
mod uploads;

#[path = "../support/mod.rs"]
mod support;
