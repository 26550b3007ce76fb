//! What stays on the disk: after crashes, on full disks, and under load.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod crash_mix;
mod crowd;
mod fuzz;
mod mounts;
mod soak;
mod temporaries;
mod uploads;

#[path = "../support/mod.rs"]
mod support;
