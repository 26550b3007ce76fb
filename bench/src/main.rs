//! Measures plainftpd beside other FTP servers, and beside plain senders and receivers, which are
//! the physical limit.
//!
//! Each server runs on its own loopback port with its transfer log on. In each round, each row is
//! measured at all servers in random order, so that other work of the machine affects all of them
//! alike. Absolute figures mean little on a machine with other work. Ratios within one run are
//! meaningful, and so is the server's processor time per unit of work.

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
    /// Measure only these rows.
    #[arg(long, value_name = "ROW,..", value_delimiter = ',')]
    #[arg(value_parser = ROWS.map(|row| row.name))]
    only: Vec<String>,
    /// Measure only these servers; plainftpd and the limits have names too.
    #[arg(long, value_name = "SERVER,..", value_delimiter = ',')]
    servers: Vec<String>,
    /// How many rounds to measure.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Run one round with tiny sizes, which shows that each transfer is correct and complete, and
    /// nothing about time.
    #[arg(long, conflicts_with = "peers")]
    quick: bool,
    /// Measure this program instead of a new build.
    #[arg(long, value_name = "PROGRAM")]
    plainftpd: Option<PathBuf>,
    /// Measure this build of plainftpd beside it, as "baseline".
    #[arg(long, value_name = "PROGRAM")]
    baseline: Option<PathBuf>,
    /// The folder for all files of all servers, such as a folder in memory; by default they are
    /// below Cargo's target.
    #[arg(long, value_name = "FOLDER")]
    files: Option<PathBuf>,
    /// Write the tables.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write every figure of every round.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw the chart of README: a few rows beside the best peer.
    #[arg(long, value_name = "FILE.svg")]
    chart: Option<PathBuf>,
    /// Set when everything is fetched and the network is the benchmark's own.
    #[arg(long, hide = true)]
    isolated: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Serve as a physical limit. The benchmark starts this itself.
    Stub(stub::Stub),
}

fn main() -> Result<()> {
    let mut arguments = Arguments::parse();
    if let Some(Part::Stub(stub)) = arguments.part.take() {
        return stub.run();
    }
    machine::raise_open_files()?;
    // A signal runs no destructor, and all started programs must end.
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
        // Figures of tiny sizes mean nothing; the result is that all rows ran.
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
        let version = output("git", &["describe", "--always", "--dirty"])?;
        let day = output("date", &["+%-d %B %Y"])?;
        let rounds = arguments.rounds;
        let notes = [
            format!("{day}, commit {version}; medians of {rounds} rounds; above 1: plainftpd wins"),
            machine.to_string(),
        ];
        chart::draw(&sheet, &notes, path)?;
    }
    Ok(())
}

/// What a program writes to its standard output.
fn output(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program).args(arguments).output().context(program.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

impl Arguments {
    fn wants(&self, server: &str) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|name| name == server)
    }

    fn program(&self) -> Result<PathBuf> {
        self.plainftpd.clone().map_or_else(|| Ok(places::target()?.join("release/plainftpd")), Ok)
    }
}

/// Builds and fetches all servers, and starts this program again in a network of its own.
fn prepare(arguments: &Arguments, sheet: &mut Sheet) -> Result<()> {
    if arguments.isolated {
        return network::set_up();
    }
    if arguments.plainftpd.is_none() {
        build()?;
    }
    if arguments.peers {
        // If this fails, it fails again later, and is reported then.
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

/// Starts the servers and measures all rounds.
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

/// Builds plainftpd as it is released.
fn build() -> Result<()> {
    let mut build = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    build.args(["build", "--release", "--package", "plainftpd"]).current_dir(places::repository());
    ensure!(build.status()?.success(), "plainftpd does not build");
    Ok(())
}

/// The servers that start and transfer a file correctly.
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

/// A row that takes a server longer than this is measured only twice.
const LONG: Duration = Duration::from_secs(5);

/// The results of the rounds.
struct Rounds<'a> {
    setting: Setting<'a>,
    sheet: Sheet,
    /// The rows of servers that are not measured again, because they have failed, or take long and
    /// have been measured twice.
    done: HashSet<(&'static str, &'static str)>,
}

impl Rounds<'_> {
    /// Measures a row at all servers in random order, because a server can be slower after one that
    /// has left the caches or the memory in disorder.
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
