//! Idle clients that are logged in: the memory that each of them takes, and how fast the server is
//! for other clients beside them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::{Recorder, Setting};
use crate::client::{Client, NAME};
use crate::report::number;
use crate::servers::{Program, Server};
use crate::sheet::Figure;
use crate::stats::median;

/// How many clients log in at the same time.
const AT_ONCE: usize = 4;
/// The longest time for one stage. A server that needs longer stops at this stage.
const STAGE_LIMIT: Duration = Duration::from_secs(60);
const LOGINS: usize = 5;
const ROUND_TRIPS: usize = 200;
/// The fewest clients for a figure: with fewer, the noise is larger than their memory.
const ENOUGH_FOR_MEMORY: usize = 20;

pub fn idle(setting: &Setting, program: &dyn Program, recorder: &mut Recorder) -> Result<()> {
    let server = Server::start(program, setting.places)?;
    // The first login may cost more than the next ones.
    Client::logged_in(server.address)?.quit()?;
    let before = server.process.pss();
    let mut clients = Vec::new();
    for stage in &setting.scale.idle {
        if let Some((_, reason)) = program.idle_limit().filter(|(limit, _)| stage > limit) {
            recorder.sheet.note(format!("idle clients, {}: {reason}", program.name()));
            break;
        }
        let shown = number(*stage as f64);
        let held = clients.len();
        match more(&server, stage - held) {
            Ok(more) => clients.extend(more),
            Err(error) => {
                recorder
                    .sheet
                    .note(format!("idle clients, {}: at most {held}: {error:#}", program.name()));
                break;
            }
        }
        let each = server.process.pss().saturating_sub(before) as f64 / 1024.0 / *stage as f64;
        if *stage >= ENOUGH_FOR_MEMORY {
            recorder
                .record(Figure::lower(format!("memory each of {shown} idle clients"), "KiB"), each);
        }
        let log_in = time(LOGINS, || Client::greeted(server.address)?.log_in(NAME))?;
        recorder.record(
            Figure::lower(format!("one more login beside {shown} idle"), "ms"),
            log_in * 1e3,
        );
        let mut client = Client::logged_in(server.address)?;
        let round_trip = time(ROUND_TRIPS, || client.ask("NOOP", 200))?;
        recorder.record(
            Figure::lower(format!("NOOP round trip beside {shown} idle"), "µs"),
            round_trip * 1e6,
        );
    }
    Ok(())
}

/// The median time of `what` in seconds.
fn time(times: usize, mut what: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut seconds = Vec::new();
    for _ in 0..times {
        let began = Instant::now();
        what()?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    median(&seconds).context("measured nothing")
}

fn more(server: &Server, count: usize) -> Result<Vec<Client>> {
    let deadline = Instant::now() + STAGE_LIMIT;
    let some = |count| {
        let mut clients = Vec::new();
        for name in server.program.names().iter().cycle().take(count) {
            ensure!(Instant::now() < deadline, "{} takes too long to log in", server.name());
            clients.push(Client::logged_in_as(server.address, name)?);
        }
        Ok(clients)
    };
    thread::scope(|scope| {
        let share = |thread| count / AT_ONCE + usize::from(thread < count % AT_ONCE);
        let threads: Vec<_> =
            (0..AT_ONCE).map(|thread| scope.spawn(move || some(share(thread)))).collect();
        let mut clients = Vec::new();
        for thread in threads {
            clients.extend(thread.join().map_err(|_| anyhow!("a client panicked"))??);
        }
        Ok(clients)
    })
}
