//! What clients type, send and read: by hand, by FTP, and with the programs that people use.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod accounts;
mod check;
mod clients;
mod command_line;
mod content;
mod folders;
mod ftp;
mod interrupted;
mod large_downloads;
mod link_local;
mod listings;
mod nodes;
mod owner;
mod proxy;
mod sessions;
mod transcripts;
mod words;

#[path = "../support/mod.rs"]
mod support;
