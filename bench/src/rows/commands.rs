//! Commands without content: round trips, pipelines, greetings and logins.

use anyhow::Result;

use super::{Recorder, Setting};
use crate::client::{Client, NAME};
use crate::load::work;
use crate::servers::Server;
use crate::sheet::Figure;

const PIPELINED: usize = 1_000;
/// The number of clients, which is enough to keep two processors busy.
const CONNECTING: usize = 4;

pub fn noop(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    let span = setting.scale.span / 2;
    let round_trip = |client: &mut Client| {
        client.ask("NOOP", 200)?;
        Ok(1)
    };
    for (count, title) in [(1, "NOOP round trips, 1 client"), (16, "NOOP round trips, 16 clients")]
    {
        let clients =
            (0..count).map(|_| Client::logged_in(server.address)).collect::<Result<Vec<_>>>()?;
        let work = work(server, clients, span, round_trip)?;
        recorder.record(Figure::higher(title, "/s"), work.rate());
        if count == 1 {
            recorder
                .record(Figure::lower(format!("{title}: server CPU"), "µs each"), work.cpu_each());
        }
    }
    let lines = b"NOOP\r\n".repeat(PIPELINED);
    let mut client = Client::logged_in(server.address)?;
    client.ask("NOOP", 200)?;
    let work = work(server, vec![(client, Vec::new())], span, |(client, buffer)| {
        client.send(&lines)?;
        client.skip_replies(PIPELINED, buffer)?;
        Ok(PIPELINED as u64)
    })?;
    recorder.record(Figure::higher("NOOP, 1,000 pipelined", "/s"), work.rate());
    Ok(())
}

/// Half of the span, because each connection leaves a port in TIME-WAIT.
pub fn greeting(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    let work = work(server, vec![(); CONNECTING], setting.scale.span / 2, |()| {
        Client::greeted(server.address)?;
        Ok(1)
    })?;
    recorder.record(Figure::higher("connect + greeting", "/s"), work.rate());
    Ok(())
}

/// The row for an account that has logged in before.
pub fn log_in(setting: &Setting, server: &Server, recorder: &mut Recorder) -> Result<()> {
    let once = |()| {
        let mut client = Client::greeted(server.address)?;
        client.log_in(NAME)?;
        client.quit()?;
        Ok(1)
    };
    once(())?;
    let work = work(server, vec![(); CONNECTING], setting.scale.span, |()| once(()))?;
    recorder.record(Figure::higher("connect + log in + quit, logged in before", "/s"), work.rate());
    recorder
        .record(Figure::lower("connect + log in + quit: server CPU", "µs each"), work.cpu_each());
    Ok(())
}
