//! Tries a running FTP server step by step, by plainftpd's hand words and by FTP, and says what
//! differs from what it expects. `docs/probe.md` explains it to users.

use std::collections::BTreeSet;
use std::io::{self, BufRead, IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::failure::Failure;
use crate::report::Report;
use crate::session::{Session, Target};
use crate::steps::Step;

mod reply;
mod failure;
mod control;
mod data;
mod session;
mod hand;
mod account;
mod report;
mod steps;
mod quick;

/// The variable of the environment that may hold the password.
const PASSWORD: &str = "PLAINFTPD_PROBE_PASSWORD";

/// Tries a running FTP server step by step, by hand words and by FTP.
///
/// Without --user it registers a throw-away account on plainftpd and removes it at the end. It
/// works in one folder of its own, which it removes too. The password is read from the variable
/// PLAINFTPD_PROBE_PASSWORD, or asked for, or read as one line from standard input.
///
/// Exit code: 0 if all is well, 1 if the server misbehaves, 2 if it cannot be reached or the login
/// fails. With --quick every failure is 1.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The server, such as 127.0.0.1:2121 or [::1]:2121; the port is 21 if none is given
    #[arg(value_name = "HOST:PORT")]
    server: String,
    /// An account of the server
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The health check: a few steps that take less than a second
    #[arg(long)]
    quick: bool,
    /// The longest wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

/// Why the steps could not begin.
type Refusal = String;

/// The time of the first Ctrl-C. After it no further step begins, and what was made is removed.
static INTERRUPTED: OnceLock<Instant> = OnceLock::new();

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(refusal) => {
            eprintln!("plainftpd-probe: {refusal}");
            // Docker reserves 2 for itself.
            ExitCode::from(if arguments.quick { 1 } else { 2 })
        }
    }
}

/// Runs what the arguments ask for. Returns whether the server behaves.
fn run(arguments: &Arguments) -> std::result::Result<bool, Refusal> {
    ctrlc::set_handler(interrupt).map_err(|error| error.to_string())?;
    let mut target = target(arguments)?;
    let mut report = Report::new();
    if arguments.quick {
        quick::run(&target, &mut report);
        report.summary();
        return Ok(report.is_ok());
    }
    let is_throw_away = arguments.user.is_none();
    if is_throw_away {
        target.name = account::random_name("probe");
        target.password = account::random_password();
        account::register(&target).map_err(|failure| {
            refusal("no throw-away account could be registered; use --user", &failure)
        })?;
    }
    let prepared = account::prepare(&mut target);
    if prepared.is_ok() {
        run_all(&target, &mut report);
        report.step("the folder is removed", &account::remove_folder(&target), &[]);
    }
    if is_throw_away {
        report.step("the account is removed", &account::unregister(&target), &[]);
    }
    prepared
        .map_err(|failure| refusal("the login or the folder for the steps failed", &failure))?;
    if is_interrupted() {
        report.summary();
        return Err("interrupted".to_string());
    }
    report.step("a wrong password is 530", &account::wrong_password(&target), &[]);
    report.summary();
    Ok(report.is_ok())
}

/// Answers Ctrl-C, SIGTERM and a terminal that closes. A second Ctrl-C ends the program at once. At
/// the prompt for the password the first one does, because it interrupts the read; then the echo of
/// the terminal is on again.
fn interrupt() {
    // A terminal that closes sends two signals.
    const ONE_PRESS: Duration = Duration::from_millis(300);
    if INTERRUPTED.get_or_init(Instant::now).elapsed() > ONE_PRESS {
        std::process::exit(130);
    }
    let note = "plainftpd-probe: ending; Ctrl-C again leaves what was made on the server";
    let _ = writeln!(io::stderr(), "{note}");
}

/// Whether no further step may begin.
fn is_interrupted() -> bool {
    INTERRUPTED.get().is_some()
}

/// The server and the account that the arguments name.
fn target(arguments: &Arguments) -> std::result::Result<Target, Refusal> {
    let address = resolve(&arguments.server)?;
    let (name, password) = match &arguments.user {
        Some(name) => (name.clone(), password(name)?),
        None => Default::default(),
    };
    Ok(Target {
        address,
        timeout: Duration::from_secs(arguments.timeout),
        name,
        password,
        folder: String::new(),
        features: BTreeSet::new(),
        by_hand: false,
    })
}

/// The address of `HOST:PORT` or of `HOST`.
fn resolve(server: &str) -> std::result::Result<SocketAddr, Refusal> {
    let addresses = server.to_socket_addrs().or_else(|_| (server, 21).to_socket_addrs());
    let found = addresses.map_err(|error| format!("{server}: {error}"))?.next();
    found.ok_or_else(|| format!("{server}: no address"))
}

fn password(name: &str) -> std::result::Result<String, Refusal> {
    if let Ok(password) = std::env::var(PASSWORD) {
        return Ok(password);
    }
    let read = if io::stdin().is_terminal() {
        rpassword::prompt_password(format!("Password of {name}: "))
    } else {
        io::stdin().lock().lines().next().unwrap_or_else(|| Ok(String::new()))
    };
    read.map_err(|error| format!("the password: {error}"))
}

fn refusal(what: &str, failure: &Failure) -> Refusal {
    match failure {
        Failure::Differs { expected, got } => format!("{what}: expected {expected}, got {got}"),
        Failure::NotOffered(why) => format!("{what}: {why}"),
    }
}

fn run_all(target: &Target, report: &mut Report) {
    if target.by_hand {
        report.heading("By hand");
        run_steps(steps::BY_HAND, target, report);
    } else {
        let count = steps::BY_HAND.len();
        let why = "because this server has no hand words";
        report.heading(&format!("By hand: {count} steps skipped, {why}."));
    }
    report.heading("By FTP");
    run_steps(steps::BY_FTP, target, report);
    report.heading("Out of the account's folder");
    run_steps(steps::CONFINEMENT, target, report);
    report.heading("At the end");
}

fn run_steps(steps: &[Step], target: &Target, report: &mut Report) {
    for step in steps {
        if is_interrupted() {
            return;
        }
        match Session::log_in(target) {
            Ok(mut session) => {
                let result = (step.run)(&mut session);
                report.step(step.name, &result, &session.dialogue());
            }
            Err(failure) => report.step(step.name, &Err(failure), &[]),
        }
    }
}
