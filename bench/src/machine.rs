//! The machine that the figures depend on: its description, and its limit of open files, which is
//! raised as far as possible.

use std::fmt;
use std::fs;

use anyhow::Result;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::report::number;

/// Describes the machine for a reader of the table.
pub struct Machine {
    processors: usize,
    model: String,
    memory_gib: f64,
    kernel: String,
    open_files: Option<u64>,
}

impl Machine {
    pub fn here() -> Result<Machine> {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let value = text
                .lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_once(':'));
            value.map_or_else(|| "?".to_string(), |(_, value)| value.trim().to_string())
        };
        let memory = field("/proc/meminfo", "MemTotal");
        let kibibytes: f64 = memory.trim_end_matches(" kB").parse().unwrap_or(0.0);
        Ok(Machine {
            processors: std::thread::available_parallelism()?.get(),
            model: field("/proc/cpuinfo", "model name"),
            memory_gib: kibibytes / 1024.0 / 1024.0,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            open_files: getrlimit(Resource::Nofile).current,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name of a build follows the version itself.
        let kernel = self.kernel.split('-').next().unwrap_or_default();
        let Machine { processors, model, memory_gib, .. } = self;
        write!(f, "{processors} processors ({model}), {memory_gib:.0} GiB, Linux {kernel}")?;
        match self.open_files {
            Some(limit) => write!(f, ", at most {} open files a process", number(limit as f64)),
            None => Ok(()),
        }
    }
}

/// Raises the limit of open files of this program and of what it starts, because 10,000 clients
/// need 10,000 file descriptors.
pub fn raise_open_files() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}
