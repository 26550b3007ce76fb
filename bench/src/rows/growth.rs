//! How plainftpd behaves with more accounts and more files. The rows of idle clients are in
//! `idle.rs`.

use std::fmt::Write;
use std::fs;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result};

use super::listing::Listing;
use super::{Recorder, Setting};
use crate::client::{Client, NAME};
use crate::report::number;
use crate::servers::{Program, Server, install};
use crate::sheet::Figure;
use crate::stats::median;

const LOGINS: usize = 200;
const REGISTRATIONS: usize = 5;

pub fn folder(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    for count in &setting.scale.files {
        let listing = Listing::take(setting, server, "LIST", *count)?;
        let each = listing.seconds * 1e6 / *count as f64;
        recorder.record(
            Figure::lower(format!("LIST of {} files, each", number(*count as f64)), "µs"),
            each,
        );
    }
    Ok(())
}

pub fn accounts(setting: &Setting, program: &dyn Program, recorder: &mut Recorder) -> Result<()> {
    for count in &setting.scale.accounts {
        let shown = number(*count as f64);
        let dir = setting.places.new_folder(program.name())?;
        install(program, &dir, setting.places)?;
        let users = dir.join("users");
        let mut text = fs::read_to_string(&users)?;
        let account = format!("{}\n", text.lines().next().context("no account")?);
        for number in 1..*count {
            write!(text, "{}", account.replacen(NAME, &format!("user-{number}"), 1))?;
        }
        fs::write(&users, text)?;
        thread::sleep(setting.scale.users_age);
        let (server, _) = Server::spawn(program, &dir)?;
        let first = log_in(&server)?;
        recorder.record(Figure::lower(format!("first login, {shown} accounts"), "ms"), first * 1e3);
        let times = (0..LOGINS).map(|_| log_in(&server)).collect::<Result<Vec<_>>>()?;
        let again = median(&times).context("measured nothing")?;
        recorder.record(Figure::lower(format!("login again, {shown} accounts"), "ms"), again * 1e3);
        let times = (0..REGISTRATIONS).map(|number| register(&server, number));
        let new = median(&times.collect::<Result<Vec<_>>>()?).context("measured nothing")?;
        recorder.record(Figure::lower(format!("registration, {shown} accounts"), "ms"), new * 1e3);
    }
    Ok(())
}

/// Registers an account, and logs in by it.
fn register(server: &Server, number: usize) -> Result<f64> {
    let mut client = Client::greeted(server.address)?;
    let began = Instant::now();
    client.ask(&format!("register new-{number} password"), 230)?;
    let seconds = began.elapsed().as_secs_f64();
    client.quit()?;
    Ok(seconds)
}

fn log_in(server: &Server) -> Result<f64> {
    let began = Instant::now();
    let mut client = Client::greeted(server.address)?;
    client.log_in(NAME)?;
    let seconds = began.elapsed().as_secs_f64();
    client.quit()?;
    Ok(seconds)
}
