//! `plainftpd`: a file server that anyone can use by hand with `telnet` or `nc`, and that FTP
//! clients can use too, on one port.
//!
//! # Layout
//!
//! In one sentence: a line becomes a `Command` with typed arguments, one `match` runs it against a
//! `Session`, every transfer goes through one copy loop, and every answer is a `Reply`.
//!
//! The modules below stand in the order of who may use whom: each uses only those above it, and
//! `tests/project/layers.rs` holds them to it. DESIGN.md says what each of them hides.

mod text;
mod time;
mod config;
mod file_size_limit;
mod stderr;
mod log;
mod users;
mod vfs;
mod glob;
mod listing;
mod reply;
mod control;
mod data;
mod transfer;
mod server;
mod session;
mod commands;
mod thread_pool;

use std::io::{self, BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use config::{Config, Request};
use log::{Log, LogLine, LogRateLimit};
use reply::Reply;
use server::{CannotStart, Server, Slot};
use session::Session;
use thread_pool::ThreadPool;

/// How long to wait after `accept` failed, as it does while descriptors have run out.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let (code, message) = match config::from_args(std::env::args_os().skip(1)) {
        Ok(Request::Help) => (ExitCode::SUCCESS, Ok(config::help())),
        Ok(Request::Version) => (
            ExitCode::SUCCESS,
            Ok(concat!("plainftpd ", env!("CARGO_PKG_VERSION"), "\n").to_string()),
        ),
        Ok(Request::HashPassword(config)) => (ExitCode::from(1), hash_password(&config)),
        Ok(Request::Serve(config)) => (ExitCode::from(1), run(*config).map(|()| String::new())),
        Err(mistake) => (ExitCode::from(2), Err(mistake.to_string())),
    };
    match message {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(text) => {
            let _ = writeln!(io::stderr(), "plainftpd: {text}");
            code
        }
    }
}

/// `print!` panics where nobody reads standard output any more.
fn print(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// `--hash-password`: a line of standard input becomes a hash.
fn hash_password(config: &Config) -> Result<String, String> {
    let mut line = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    let password = line.strip_suffix(b"\n").unwrap_or(&line);
    let password = users::Password(password.strip_suffix(b"\r").unwrap_or(password).to_vec());
    if password.characters() < config.min_password {
        return Err(format!("a password has at least {} characters", config.min_password));
    }
    let hash = users::PasswordHash::new(&password, config.hash_iterations);
    hash.map(|hash| format!("{hash}\n")).map_err(|error| error.to_string())
}

/// Opens everything, then accepts clients for ever.
fn run(config: Config) -> Result<(), String> {
    let failed = |error: CannotStart| error.to_string();
    let server = Arc::new(Server::open(config).map_err(failed)?);
    tell_of_panics_by(&server.log);
    // No path of the owner's is relative from here on.
    vfs::chdir_to_proc_fd();
    let mut listeners = Vec::new();
    for address in &server.config.listen {
        let listener = TcpListener::bind(address)
            .and_then(|listener| Ok((listener.local_addr()?, listener)))
            .map_err(|error| {
                failed(CannotStart::new(format!("cannot listen on {address}"), &error))
            })?;
        listeners.push(listener);
    }
    let mut text = String::new();
    for (address, _) in &listeners {
        server.log.write(LogLine::new("start").with("listen", address.to_string()));
        text.push_str(&format!("listening on {address}\n"));
    }
    for warning in server.warnings() {
        server.log.warn(&warning);
    }
    print(&format!("{text}files are in {} (users, log.txt, workdir/)\n", server.dir.display()));
    let clients = ThreadPool::new(serve);
    thread::scope(|scope| {
        let sweeper = thread::Builder::new().name("sweep".to_string());
        if let Err(error) = sweeper.spawn_scoped(scope, || server.workdir.sweep()) {
            server.log.warn(&format!("cannot start a thread to sweep: {error}"));
        }
        for (_, listener) in &listeners {
            let builder = thread::Builder::new().name("accept".to_string());
            if let Err(error) = builder.spawn_scoped(scope, || accept(&server, &clients, listener))
            {
                return Err(format!("cannot start a thread: {error}"));
            }
        }
        Ok(())
    })
}

/// A panic is reported by the log's writer, because the standard hook would wait for the reader of
/// standard error. It says where, not what: the message could hold what a client typed.
fn tell_of_panics_by(log: &Arc<Log>) {
    let log = Arc::downgrade(log);
    panic::set_hook(Box::new(move |panic| {
        let location = panic.location().map_or("unknown".to_string(), |place| place.to_string());
        if let Some(log) = log.upgrade() {
            log.say(&format!("a panic at {location}; please report it"));
        }
    }));
}

/// A client that has a place.
struct Client {
    stream: Arc<TcpStream>,
    peer: SocketAddr,
    slot: Slot,
}

fn accept(server: &Arc<Server>, clients: &Arc<ThreadPool<Client>>, listener: &TcpListener) {
    let (mut failures, mut refusals, mut shortages) =
        <(LogRateLimit, LogRateLimit, LogRateLimit)>::default();
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                // The log and the replies name an IPv4 client at an IPv6 socket by its plain
                // address.
                let peer = data::canonical(peer);
                let stream = Arc::new(stream);
                match server.admit(&stream, peer.ip()) {
                    Ok(slot) => {
                        if let Err((error, client)) = clients.execute(Client { stream, peer, slot })
                        {
                            if let Some(more) = shortages.is_due() {
                                let more = if more > 0 {
                                    format!(" ({more} more clients)")
                                } else {
                                    String::new()
                                };
                                server.log.warn(&format!("cannot start a thread: {error}{more}"));
                            }
                            let why = "The server has no thread for you; try again later.";
                            turn_away(server, &client.stream, peer, why, &mut refusals);
                        }
                    }
                    Err(why) => turn_away(server, &stream, peer, why, &mut refusals),
                }
            }
            Err(error) => {
                if failures.is_due().is_some() {
                    server.log.warn(&format!("cannot accept a client: {error}"));
                }
                thread::sleep(ACCEPT_RETRY_DELAY);
            }
        }
    }
}

fn turn_away(
    server: &Server,
    mut stream: &TcpStream,
    peer: SocketAddr,
    why: &'static str,
    refusals: &mut LogRateLimit,
) {
    if let Some(more) = refusals.is_due() {
        let line = LogLine::new("refused")
            .with("peer", peer.to_string())
            .number("code", 421)
            .with("why", why);
        server.log.write(if more > 0 { line.number("more", more) } else { line });
    }
    // A fresh socket's buffer takes the line at once; a client that is gone needs none. What it has
    // sent already is read, for closing over it would reset the connection and lose the line.
    let _ = stream.write_all(&Reply::new(421, why).encode());
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_nonblocking(true).and_then(|()| stream.read(&mut [0; 4096]));
}

fn serve(Client { stream, peer, slot }: Client) {
    guarded(slot, |slot| commands::serve(Session::new(stream, peer, slot, commands::LANGUAGE)?));
}

/// Serves one client; a panic ends this session only.
fn guarded(slot: Slot, serve: impl FnOnce(Slot) -> io::Result<()>) {
    let (server, session) = (Arc::clone(&slot.server), slot.session);
    // What is shared are locks, each taken over as it is, and counters; no state is left half-done.
    if catch_unwind(AssertUnwindSafe(|| serve(slot))).is_err() {
        server.log.write(LogLine::new("panic").number("session", session));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_its_session_only_is_logged_and_frees_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().to_path_buf(), max_clients: 1, ..Config::default() };
        let server = Arc::new(Server::open(config).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = Arc::new(TcpStream::connect(address).unwrap());
        let admit = || server.admit(&client, address.ip());
        let slot = admit().unwrap();
        assert!(admit().is_err());
        guarded(slot, |_place| panic!("a bug"));
        let log = std::fs::read_to_string(dir.path().join("log.txt")).unwrap();
        assert_eq!(&log[24..], " event=panic session=1\n");
        assert!(admit().is_ok());
    }
}
