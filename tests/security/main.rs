//! What an attacker tries, and what one client may take from another.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod attacks;
mod confinement;
mod folders;
mod limits;
mod log;
mod memory;
mod quotas;
mod shares;
mod trust;

#[path = "../support/mod.rs"]
mod support;
