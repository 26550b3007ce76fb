//! The start: the time until the first client is greeted, the memory then, and the size of the
//! program.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};

use super::{Recorder, Setting};
use crate::client::Client;
use crate::servers::{Program, Role, Server, install};
use crate::sheet::Figure;
use crate::stats::median;

pub fn start(setting: &Setting, program: &dyn Program, recorder: &mut Recorder) -> Result<()> {
    let dir = setting.places.new_folder(program.name())?;
    install(program, &dir, setting.places)?;
    let (mut times, mut memory) = (Vec::new(), 0);
    for _ in 0..setting.scale.starts {
        let began = Instant::now();
        let (server, stream) = Server::spawn(program, &dir)?;
        let client = Client::over(stream)?;
        times.push(began.elapsed().as_secs_f64());
        drop(client);
        memory = server.process.pss();
    }
    let time = median(&times).context("measured nothing")?;
    recorder.record(Figure::lower("start to greeting", "ms"), time * 1e3);
    recorder.record(Figure::lower("memory at the start", "KiB"), memory as f64 / 1024.0);
    if let Some(binary) = program.binary().filter(|_| !matches!(program.role(), Role::Limit(_))) {
        let size = fs::metadata(binary)?.len() as f64 / 1024.0;
        recorder.record(Figure::lower("binary, without its libraries", "KiB"), size);
    }
    Ok(())
}
