//! Files of 4 KiB: with one passive connection per file, and over the control connection, which
//! only plainftpd offers.

use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};

use super::{Recorder, Setting};
use crate::client::Client;
use crate::load::{Work, work};
use crate::places::Places;
use crate::servers::{Role, Server};
use crate::sheet::Figure;
use crate::stub::SMALL;

const CLIENTS: [usize; 2] = [1, 16];

type Fetch = fn(&mut Client, &str, &mut Vec<u8>) -> Result<()>;
type Send = fn(&mut Client, &str, &[u8]) -> Result<()>;

pub fn down(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    fetch(setting, server, recorder, "4 KiB down", Client::retrieve)
}

pub fn up(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    send(setting, server, recorder, "4 KiB up", Client::store)
}

pub fn inline_down(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    fetch(setting, server, recorder, "4 KiB down by get", Client::get)
}

pub fn inline_up(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    send(setting, server, recorder, "4 KiB up by put", Client::put)
}

fn record(recorder: &mut Recorder, title: &str, clients: usize, work: &Work) {
    let title = format!("{title}, {clients} client{}", if clients == 1 { "" } else { "s" });
    recorder.record(Figure::higher(&title, "files/s"), work.rate());
    recorder.record(Figure::lower(format!("{title}: server CPU"), "µs/file"), work.cpu_each());
}

fn fetch(
    setting: &Setting,
    server: &Server,
    recorder: &mut Recorder,
    title: &str,
    fetch: Fetch,
) -> Result<()> {
    let expected = match server.role() {
        Role::Limit(_) => vec![b'x'; SMALL],
        _ => fs::read(setting.places.content(Places::SMALL))?,
    };
    for count in CLIENTS {
        let client = |_| Ok((Client::logged_in(server.address)?, Vec::new()));
        let clients = (0..count).map(client).collect::<Result<Vec<_>>>()?;
        let work = work(server, clients, setting.scale.span, |(client, content)| {
            fetch(client, Places::SMALL, content)?;
            ensure!(*content == expected, "a small download differs");
            Ok(1)
        })?;
        record(recorder, title, count, &work);
    }
    Ok(())
}

fn send(
    setting: &Setting,
    server: &Server,
    recorder: &mut Recorder,
    title: &str,
    send: Send,
) -> Result<()> {
    let content = fs::read(setting.places.content(Places::SMALL))?;
    let folder = server.home.join("sent");
    for count in CLIENTS {
        fs::create_dir(&folder)?;
        server.give(&folder)?;
        let client = |number| {
            let mut client = Client::logged_in(server.address)?;
            client.ask("CWD sent", 250)?;
            Ok((client, number, 0))
        };
        let clients = (0..count).map(client).collect::<Result<Vec<_>>>()?;
        let work = work(server, clients, setting.scale.span, |(client, number, sent)| {
            send(client, &format!("{number}-{sent}"), &content)?;
            *sent += 1;
            Ok(1)
        });
        let complete = count_complete(&folder);
        fs::remove_dir_all(&folder)?;
        let (work, complete) = (work?, complete?);
        // The stub throws away what it receives.
        ensure!(
            matches!(server.role(), Role::Limit(_)) || complete == work.units,
            "uploads are missing"
        );
        record(recorder, title, count, &work);
    }
    Ok(())
}

/// The number of small files that have been stored completely.
fn count_complete(folder: &Path) -> Result<u64> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        count += u64::from(entry?.metadata()?.len() == SMALL as u64);
    }
    Ok(count)
}
