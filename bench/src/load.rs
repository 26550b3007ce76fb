//! Runs clients at the same time for a bounded time, and measures what that takes.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::servers::Server;

/// The work that was done, and the time that it took.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// The number of bytes, files or commands.
    pub units: u64,
    pub seconds: f64,
    /// The server's processor seconds.
    pub cpu: f64,
}

impl Work {
    pub fn rate(&self) -> f64 {
        self.units as f64 / self.seconds
    }

    /// The server's processor microseconds per unit.
    pub fn cpu_each(&self) -> f64 {
        self.cpu * 1e6 / self.units as f64
    }
}

/// Each client repeats `step` until `span` is over, at least once. A step returns its number of
/// units. The clients stay connected until the processor time is read, because some servers have a
/// process per session, which ends with it.
pub fn work<C: Send>(
    server: &Server,
    mut clients: Vec<C>,
    span: Duration,
    step: impl Fn(&mut C) -> Result<u64> + Sync,
) -> Result<Work> {
    let ready = Barrier::new(clients.len() + 1);
    let cpu = server.process.cpu()?;
    let (units, seconds) = thread::scope(|scope| {
        let one = |client| {
            let (ready, step) = (&ready, &step);
            scope.spawn(move || {
                ready.wait();
                repeat(client, span, step)
            })
        };
        let threads: Vec<_> = clients.iter_mut().map(one).collect();
        ready.wait();
        let began = Instant::now();
        let mut units = 0;
        for thread in threads {
            units += thread.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        anyhow::Ok((units, began.elapsed().as_secs_f64()))
    })?;
    let cpu = server.process.cpu()?.saturating_sub(cpu);
    Ok(Work { units, seconds, cpu: cpu.as_secs_f64() })
}

fn repeat<C>(client: &mut C, span: Duration, step: impl Fn(&mut C) -> Result<u64>) -> Result<u64> {
    let began = Instant::now();
    let mut units = 0;
    loop {
        units += step(client)?;
        if began.elapsed() >= span {
            return Ok(units);
        }
    }
}
