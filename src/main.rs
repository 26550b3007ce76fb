//! `plainftpd`: a file server that a person can use by hand with `telnet` or `nc`, and that FTP
//! clients can use too, on the same port.
//!
//! # Layout
//!
//! `main` opens the listeners. Each client that is admitted gets a thread and a `Session`. A line
//! from the client becomes a `Command` with typed arguments, one `match` runs it, each transfer
//! goes through one copy loop, and each answer is a `Reply`.
//!
//! A module uses only the modules that are declared above it, and `tests/project/layers.rs` checks
//! that. DESIGN.md says what each module hides.

mod text;
mod time;
mod config;
mod file_size_limit;
mod append;
mod cluster;
mod random;
mod control_file;
mod tally;
mod lock;
mod streams;
mod log;
mod users;
mod vfs;
mod glob;
mod listing;
mod reply;
mod control;
mod data;
mod proxy;
mod buffer;
mod transfer;
mod splice;
mod server;
mod check;
mod session;
mod commands;
mod shell;
mod thread_pool;

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use config::{Config, Request, STOP_WAIT};
use log::{Log, LogLine, LogRateLimit};
use reply::Reply;
use server::{Door, Server, Slot};
use session::Session;
use streams::Stderr;
use thread_pool::ThreadPool;
use users::{PasswordHash, Refusal};

/// The time before the next try if `accept` fails, for example because the process has no more file
/// descriptors.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

fn main() -> ExitCode {
    let request = match config::from_args(std::env::args_os().skip(1)) {
        Ok(request) => request,
        Err(mistake) => return fail(2, &mistake),
    };
    let output = match request {
        Request::Help => Ok(config::help() + shell::HELP),
        Request::Version => Ok(format!("plainftpd {}\n", env!("CARGO_PKG_VERSION"))),
        Request::HashPassword(config) => hash_password(&config),
        Request::Check(config, mistakes) => {
            let (text, is_fine) = check::run(*config, mistakes);
            print(&text);
            return ExitCode::from(u8::from(!is_fine));
        }
        Request::Shell(config, words, flags) => shell::run(&config, &words, &flags),
        Request::Serve(config) => run(*config).map(|()| String::new()).map_err(Box::from),
    };
    match output {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let is_usage = matches!(error.downcast_ref(), Some(Refusal::Invalid(_)));
            fail(if is_usage { 2 } else { 1 }, &error.to_string())
        }
    }
}

fn fail(code: u8, text: &str) -> ExitCode {
    let _ = writeln!(Stderr, "plainftpd: {text}");
    ExitCode::from(code)
}

/// Writes to standard output. Unlike `print!`, it does not panic if the reader of standard output
/// is gone.
fn print(text: &str) {
    if text.is_empty() {
        return; // a log line that waits for its reader may hold the lock of standard output
    }
    let mut stdout = io::stdout().lock();
    let _ = file_size_limit::check_stream(1, text.len() as u64)
        .and_then(|()| stdout.write_all(text.as_bytes()))
        .and_then(|()| stdout.flush());
}

/// `--hash-password`: reads a line from standard input and returns its hash.
fn hash_password(config: &Config) -> Result<String, Box<dyn Error>> {
    let password = shell::read_password()?;
    if password.characters() < config.min_password {
        return Err(Refusal::ShortPassword(config.min_password).into());
    }
    Ok(format!("{}\n", PasswordHash::new(&password, config.hash_iterations)?))
}

/// Opens everything, and then accepts clients until a request to stop. Fails if it cannot
/// start.
fn run(mut config: Config) -> Result<(), String> {
    let passed = if config.listen_stdin { Some(listener_on_stdin()?) } else { None };
    let to_bind = config.listen.clone();
    config.listen.extend(passed.iter().map(|(address, _)| *address));
    let server = Arc::new(Server::open(config)?);
    report_panics(&server.log);
    // From here on, no relative path of the owner is used.
    vfs::chdir_to_proc_fd();
    splice::prepare();
    let mut listeners = Vec::new();
    for address in to_bind {
        listeners.push(server::listen(address).map_err(|error| error.to_string())?);
    }
    listeners.extend(passed);
    let owner = server::listen((Ipv4Addr::LOCALHOST, 0).into())
        .and_then(|(address, listener)| server.create_control_file(address).map(|()| listener));
    let mut text = String::new();
    for (address, _) in &listeners {
        server.log.write(LogLine::new("start").with("listen", address.to_string()));
        text.push_str(&format!("listening on {address}\n"));
    }
    for warning in server.warnings() {
        server.log.warn(&warning);
    }
    // The owner can stop the server as soon as it has clients.
    let mut doors = Vec::new();
    match owner {
        Ok(listener) => doors.push((listener, Door::Owner)),
        Err(error) => server.log.warn(&format!(
            "the shell commands who, kick and stop cannot be used, because there is no control \
             file: {error}"
        )),
    }
    doors.extend(listeners.into_iter().map(|(_, listener)| (listener, Door::Public)));
    print(&format!("{text}{}\n", server::contents(&server.config, &server.dir)));
    server.log.begin();
    start_threads(&server, doors)?;
    server.run_until_stopped();
    Ok(())
}

/// Starts all threads of the server. `doors` has its listeners.
fn start_threads(server: &Arc<Server>, doors: Vec<(TcpListener, Door)>) -> Result<(), String> {
    let sweeper = Arc::clone(server);
    if let Err(error) = spawn("sweep", move || sweeper.workdir.sweep()) {
        server.log.warn(&error);
    }
    if server.config.node.is_some() {
        let workdir = Arc::clone(&server.workdir);
        spawn("lock", move || workdir.keep_locked())?;
    }
    if server.config.stop_with_stdin {
        let server = Arc::clone(server);
        spawn("stdin", move || {
            while io::stdin().read(&mut [0; 1024]).is_ok_and(|read| read > 0) {}
            server.sessions.request_stop(STOP_WAIT);
        })?;
    }
    // The threads that serve clients start last.
    let clients = ThreadPool::new(serve);
    for (listener, door) in doors {
        let (server, clients) = (Arc::clone(server), Arc::clone(&clients));
        let name = match door {
            Door::Public => "accept",
            Door::Owner => "owner",
        };
        spawn(name, move || accept(&server, &clients, &listener, door))?;
    }
    Ok(())
}

/// The listening socket that a supervisor such as systemd has opened as standard input, and its
/// address.
fn listener_on_stdin() -> Result<(SocketAddr, TcpListener), String> {
    let address_of = |socket: OwnedFd| {
        let listener = TcpListener::from(socket.try_clone()?);
        let address = listener.local_addr()?;
        let stream = TcpStream::from(socket);
        stream.nodelay()?; // fails if the socket is not of TCP
        match (address.port(), stream.peer_addr()) {
            (1.., Err(_)) => listener.set_nonblocking(false).map(|()| (address, listener)),
            _ => Err(io::Error::other("it does not listen")),
        }
    };
    let socket = io::stdin().as_fd().try_clone_to_owned();
    socket
        .and_then(address_of)
        .map_err(|error| format!("standard input is not a listening socket: {error}"))
}

/// Starts a thread that lives as long as the process does, if its work takes that long.
fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), String> {
    let spawned = thread::Builder::new().name(name.to_string()).spawn(work);
    spawned.map(drop).map_err(|error| format!("cannot start the thread {name}: {error}"))
}

/// Makes a panic report itself by `log`, because the standard hook would wait for the reader of
/// standard error. The report says where the panic was, and leaves out its message, which could
/// hold what a client typed.
fn report_panics(log: &Arc<Log>) {
    let log = Arc::downgrade(log);
    panic::set_hook(Box::new(move |panic| {
        let location =
            panic.location().map_or("unknown".to_string(), |location| location.to_string());
        if let Some(log) = log.upgrade() {
            log.say(&format!("a panic at {location}; please report it"));
        }
    }));
}

/// A client that has a slot.
struct Client {
    server: Arc<Server>,
    stream: Arc<TcpStream>,
    peer: SocketAddr,
    slot: Slot,
    door: Door,
}

/// Accepts clients for ever, and gives each one that is admitted to a thread.
fn accept(
    server: &Arc<Server>,
    clients: &Arc<ThreadPool<Client>>,
    listener: &TcpListener,
    door: Door,
) {
    let admission = match door {
        Door::Public => &server.admission,
        Door::Owner => &server.owner_admission,
    };
    let (mut failures, mut refusals, mut shortages) =
        <(LogRateLimit, LogRateLimit, LogRateLimit)>::default();
    let warn = |limit: &mut LogRateLimit, text: String| {
        if let Some(text) = limit.report(&text) {
            server.log.warn(&text);
        }
    };
    loop {
        let (stream, peer) = match listener.accept() {
            Ok((stream, peer)) => (Arc::new(stream), data::canonical(peer)),
            Err(error) => {
                warn(&mut failures, format!("cannot accept a client: {error}"));
                thread::sleep(ACCEPT_RETRY_DELAY);
                continue;
            }
        };
        let admitted = admission.admit(&stream, peer.ip()).and_then(|slot| {
            let (server, stream) = (Arc::clone(server), Arc::clone(&stream));
            clients.execute(Client { server, stream, peer, slot, door }).map_err(|error| {
                warn(&mut shortages, format!("cannot start a thread: {error}"));
                "The server has no thread for you; try again later."
            })
        });
        if let Err(why) = admitted {
            turn_away(server, &stream, peer, why, &mut refusals);
        }
    }
}

/// Says 421 to a client that is not admitted, and closes its connection.
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
    // A new socket's buffer takes the line at once; if the client is gone, the error does not
    // matter. What the client has sent is read, because to close the socket over it would reset
    // the connection, and the client might lose the line.
    let _ = stream.write_all(&Reply::new(421, why).encode());
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_nonblocking(true).and_then(|()| stream.read(&mut [0; 4096]));
}

fn serve(Client { server, stream, peer, slot, door }: Client) {
    let (log, session) = (Arc::clone(&server.log), slot.session);
    catch_panic(&log, session, || {
        let session = Session::new(server, stream, peer, slot, door, commands::LANGUAGE)?;
        commands::serve(session)
    });
}

/// Serves one client with `serve`. A panic ends this session only.
fn catch_panic(log: &Log, session: u64, serve: impl FnOnce() -> io::Result<()>) {
    // Sessions share only counters and locks, and a lock whose holder panicked is taken as it is:
    // no shared state is left half changed.
    if catch_unwind(AssertUnwindSafe(serve)).is_err() {
        log.write(LogLine::new("panic").number("session", session));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_its_session_only_is_logged_and_frees_its_slot() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { dir: dir.path().to_path_buf(), max_clients: 1, ..Config::default() };
        let server = Arc::new(Server::open(config).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = Arc::new(TcpStream::connect(address).unwrap());
        let admit = || server.admission.admit(&client, address.ip());
        let slot = admit().unwrap();
        assert!(admit().is_err());
        catch_panic(&server.log, slot.session, move || {
            let _slot = slot;
            panic!("a bug")
        });
        let log = std::fs::read_to_string(dir.path().join("log.txt")).unwrap();
        assert_eq!(&log[24..], " event=panic session=1\n");
        assert!(admit().is_ok());
    }
}
