//! Clients that work at the same time for a bounded time, and what that took.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::servers::Server;

/// What was done in which time.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    /// Bytes, files or commands.
    pub units: u64,
    pub seconds: f64,
    /// The server's processor seconds.
    pub cpu: f64,
}

impl Work {
    pub fn rate(&self) -> f64 {
        self.units as f64 / self.seconds
    }

    /// The server's processor microseconds a unit.
    pub fn cpu_each(&self) -> f64 {
        self.cpu * 1e6 / self.units as f64
    }
}

/// Every client does `step` again and again until `span` is over, at least once; a step returns how
/// many units it was. The clients stay connected until the processor time is read, so that no
/// process of a session has gone.
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
