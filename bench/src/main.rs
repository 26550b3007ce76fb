//! Measures plainftpd beside other FTP servers, and beside bare senders and receivers, which are
//! the physical limit.
//!
//! Every server runs on a loopback port of its own with its transfer log on; in every round every
//! row is measured at every server in an order of chance, so that whatever else the machine does
//! concerns all alike. Absolute figures mean little on a machine that others use; ratios within one
//! run do, and so does the server's processor time for a unit of work.

mod stats;
mod sheet;
mod machine;
mod scale;
mod client;
mod stub;
mod places;
mod process;
mod servers;
mod network;
mod load;
mod rows;
mod report;
mod chart;

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};

use places::Places;
use rows::{Measure, ROWS, Recorder, Row, Setting};
use scale::Scale;
use servers::{Program, Role, Server, SystemUser};
use sheet::Sheet;

/// Measures plainftpd beside other FTP servers and beside the physical limit.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Fetch and measure vsftpd, Pure-FTPd, ProFTPD, pyftpdlib and libunftp too; needs Debian and
    /// root.
    #[arg(long)]
    peers: bool,
    /// Only these rows.
    #[arg(long, value_name = "ROW,..", value_delimiter = ',', value_parser = ROWS.map(|row| row.name))]
    only: Vec<String>,
    /// Only these servers, plainftpd and the limits among them.
    #[arg(long, value_name = "SERVER,..", value_delimiter = ',')]
    servers: Vec<String>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Tiny sizes, one round: shows that every transfer is right and complete, and nothing about
    /// time.
    #[arg(long, conflicts_with = "peers")]
    quick: bool,
    /// This program instead of a fresh build.
    #[arg(long, value_name = "PROGRAM")]
    plainftpd: Option<PathBuf>,
    /// Measure this build of plainftpd beside it, as "baseline".
    #[arg(long, value_name = "PROGRAM")]
    baseline: Option<PathBuf>,
    /// The folder to have all files of all servers in, as one in memory; without it they are below
    /// Cargo's target.
    #[arg(long, value_name = "FOLDER")]
    files: Option<PathBuf>,
    /// Write the tables.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write every figure of every round.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the ratios.
    #[arg(long, value_name = "FILE.svg")]
    chart: Option<PathBuf>,
    /// All is fetched, and the network is the benchmark's own.
    #[arg(long, hide = true)]
    isolated: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Serve as a physical limit; the benchmark starts it itself.
    Stub(stub::Stub),
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if let Some(Part::Stub(stub)) = arguments.part.take() {
        return stub.run();
    }
    machine::raise_open_files()?;
    // A signal runs no destructor, and nothing that was started may stay.
    ctrlc::set_handler(|| {
        process::end_all(|| {
            servers::remove_user();
            places::remove_run();
        })
    })?;
    if arguments.quick {
        arguments.rounds = 1;
    }
    let mut sheet = Sheet::default();
    prepare(&arguments, &mut sheet)?;
    let machine = machine::Machine::here()?;
    let sheet = measure(&arguments, sheet)?;
    let text = report::markdown(&sheet, &machine, arguments.rounds);
    if arguments.quick {
        // Tiny sizes make no figures; that all rows ran is the result.
        ensure!(sheet.notes.is_empty(), "failed: {:?}", sheet.notes);
        println!("{} figures taken, every transfer right and complete", sheet.lines.len());
    } else {
        print!("{text}");
    }
    if let Some(path) = &arguments.markdown {
        fs::write(path, text)?;
    }
    if let Some(path) = &arguments.json {
        fs::write(path, format!("{:#}\n", report::json(&sheet, &machine, arguments.rounds)))?;
    }
    if let Some(path) = &arguments.chart {
        chart::draw(&sheet, path)?;
    }
    Ok(())
}

impl Arguments {
    fn wants(&self, server: &str) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|name| name == server)
    }

    fn program(&self) -> Result<PathBuf> {
        self.plainftpd.clone().map_or_else(|| Ok(places::target()?.join("release/plainftpd")), Ok)
    }
}

/// Builds and fetches all that is measured, and starts anew in a network of its own.
fn prepare(arguments: &Arguments, sheet: &mut Sheet) -> Result<()> {
    if arguments.isolated {
        return network::set_up();
    }
    if arguments.plainftpd.is_none() {
        build()?;
    }
    if arguments.peers {
        // What fails here fails again, and is told then.
        drop(servers::peers((0, 0), &|name| arguments.wants(name)));
    }
    if !arguments.quick {
        let Err(error) = network::isolate("--isolated");
        fail(
            sheet,
            format!("no network namespace, so ports in TIME-WAIT slow later rows: {error:#}"),
        );
    }
    Ok(())
}

/// Starts the servers and takes all rounds.
fn measure(arguments: &Arguments, mut sheet: Sheet) -> Result<Sheet> {
    let scale = if arguments.quick { Scale::quick() } else { Scale::full() };
    let places = Places::new(&scale, arguments.files.as_deref())?;
    let mut programs = servers::own(&places, &arguments.program()?, arguments.baseline.as_deref())?;
    programs.retain(|program| arguments.wants(program.name()));
    let user = if arguments.peers {
        Some(SystemUser::create().context("--peers needs root and Debian")?)
    } else {
        None
    };
    if let Some(user) = &user {
        for (name, fetched) in servers::peers(user.owner, &|name| arguments.wants(name)) {
            match fetched {
                Ok(program) => programs.push(program),
                Err(error) => fail(&mut sheet, format!("{name}: {error:#}")),
            }
        }
    }
    let running = start(&programs, &places, &mut sheet);
    let setting = Setting { places: &places, scale: &scale };
    let rows = ROWS.iter().filter(|row| {
        arguments.only.is_empty() || arguments.only.iter().any(|name| name == row.name)
    });
    let mut rounds = Rounds { setting, sheet, done: HashSet::new() };
    let rows: Vec<&Row> = rows.collect();
    let began = Instant::now();
    for round in 0..arguments.rounds {
        for row in rows.iter().filter(|row| round < row.rounds) {
            if !arguments.quick {
                let seconds = began.elapsed().as_secs();
                eprintln!("{seconds} s: round {} of {}: {}", round + 1, arguments.rounds, row.name);
            }
            rounds.row(row, round, &running);
        }
    }
    Ok(rounds.sheet)
}

/// plainftpd as it is released.
fn build() -> Result<()> {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    build.args(["build", "--release", "--package", "plainftpd"]).current_dir(places::repository());
    ensure!(build.status()?.success(), "plainftpd does not build");
    Ok(())
}

/// Those that start, and transfer a file rightly.
fn start<'a>(
    programs: &'a [Box<dyn Program>],
    places: &Places,
    sheet: &mut Sheet,
) -> Vec<Server<'a>> {
    let mut running = Vec::new();
    for program in programs {
        let started = Server::start(program.as_ref(), places).and_then(|server| {
            if !matches!(server.role(), Role::Limit(_)) {
                server.verify()?;
            }
            Ok(server)
        });
        match started {
            Ok(server) => running.push(server),
            Err(error) => fail(sheet, format!("{}: {error:#}", program.name())),
        }
    }
    running
}

fn fail(sheet: &mut Sheet, text: String) {
    eprintln!("{text}");
    sheet.note(text);
}

/// A row that takes a server longer is measured twice only.
const LONG: Duration = Duration::from_secs(5);

/// What the rounds fill.
struct Rounds<'a> {
    setting: Setting<'a>,
    sheet: Sheet,
    /// Rows of servers that are not measured again: they failed, or take long and have been
    /// measured twice.
    done: HashSet<(&'static str, &'static str)>,
}

impl Rounds<'_> {
    /// In an order of chance: whoever follows a server that left the processors or the memory in
    /// disorder is slower for it.
    fn row(&mut self, row: &Row, round: usize, running: &[Server]) {
        let mut taking: Vec<&Server> =
            running.iter().filter(|server| (row.takes)(server.role())).collect();
        fastrand::shuffle(&mut taking);
        for server in taking {
            let key = (row.name, server.name());
            if self.done.contains(&key) {
                continue;
            }
            let mut recorder =
                Recorder { sheet: &mut self.sheet, server: server.name(), role: server.role() };
            let began = Instant::now();
            let measured = match row.measure {
                Measure::Running(measure) => measure(&self.setting, server, &mut recorder),
                Measure::Fresh(measure) => measure(&self.setting, server.program, &mut recorder),
            };
            if round > 0 && began.elapsed() > LONG {
                self.done.insert(key);
            }
            if let Err(error) = measured {
                fail(&mut self.sheet, format!("{}, {}: {error:#}", row.name, server.name()));
                self.done.insert(key);
            }
        }
    }
}
