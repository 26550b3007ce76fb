//! The servers that are measured: how each is prepared and started, and its name in the table.

mod debian;
mod packages;
mod plain;
mod python;
mod unftp;
mod user;

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::client::{self, Client, NAME};
use crate::places::Places;
use crate::process::Process;
use crate::stub::Kind;

pub use packages::run;
pub use user::{SystemUser, remove as remove_user};

/// The longest time until a server listens.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The time between two tries to connect to a server that is starting. A try costs almost nothing.
const LOOK_AGAIN: Duration = Duration::from_micros(50);

/// The part of a server in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// plainftpd.
    Subject,
    /// Another build of plainftpd, measured beside it.
    Baseline,
    Peer,
    /// A physical limit.
    Limit(Kind),
}

/// A server that can be started as often as needed.
pub trait Program: Sync {
    fn name(&self) -> &'static str;
    fn role(&self) -> Role;
    /// The folder of the account's files, below the folder of the server.
    fn home(&self, dir: &Path) -> PathBuf {
        dir.join("home")
    }
    /// The owner of the account's files, if that is not the user of the benchmark.
    fn owner(&self) -> Option<Owner> {
        None
    }
    /// Writes the configuration and the accounts.
    fn prepare(&self, dir: &Path) -> Result<()>;
    fn command(&self, dir: &Path, port: u16) -> Command;
    /// The program file whose size is reported, if there is one.
    fn binary(&self) -> Option<&Path>;
    /// The accounts that the many clients use.
    fn names(&self) -> &'static [&'static str] {
        &[NAME]
    }
    /// The most idle clients that the server must hold, and why not more.
    fn idle_limit(&self) -> Option<(usize, &'static str)> {
        None
    }
}

/// A running server.
pub struct Server<'a> {
    pub program: &'a dyn Program,
    pub process: Process,
    pub address: SocketAddr,
    /// The path of the account's folder on the disk.
    pub home: PathBuf,
}

/// plainftpd, another build of it if there is one, and the limits.
pub fn own(
    places: &Places,
    plainftpd: &Path,
    baseline: Option<&Path>,
) -> Result<Vec<Box<dyn Program>>> {
    let mut programs: Vec<Box<dyn Program>> =
        vec![Box::new(plain::Plainftpd::new(plainftpd, Role::Subject)?)];
    if let Some(baseline) = baseline {
        programs.push(Box::new(plain::Plainftpd::new(baseline, Role::Baseline)?));
    }
    for kind in [Kind::Sendfile, Kind::Copy, Kind::Receive, Kind::Ftp] {
        programs.push(Box::new(plain::Limit::new(kind, places)?));
    }
    Ok(programs)
}

/// The user and the group that files belong to.
pub type Owner = (u32, u32);

/// A peer, which is fetched if it is missing, or the reason why it cannot be fetched.
pub type Fetched = (&'static str, Result<Box<dyn Program>>);

/// The peers whose names are `wanted`.
pub fn peers(owner: Owner, wanted: &dyn Fn(&str) -> bool) -> Vec<Fetched> {
    type Fetch = fn(Owner) -> Result<Box<dyn Program>>;
    let all: [(&'static str, Fetch); 5] = [
        ("vsftpd", debian::vsftpd),
        ("Pure-FTPd", debian::pure_ftpd),
        ("ProFTPD", debian::proftpd),
        ("pyftpdlib", |_| python::pyftpdlib()),
        ("unftp", |_| unftp::unftp()),
    ];
    let wanted = all.into_iter().filter(|(name, _)| wanted(name));
    wanted.map(|(name, fetch)| (name, fetch(owner))).collect()
}

impl<'a> Server<'a> {
    /// Starts a server in a new folder, with a file of the given length to download and a small
    /// file.
    pub fn start(program: &'a dyn Program, places: &Places) -> Result<Server<'a>> {
        let dir = places.new_folder(program.name())?;
        install(program, &dir, places)?;
        let (mut server, _) = Server::spawn(program, &dir)?;
        server.process.account();
        Ok(server)
    }

    /// Starts a server in a prepared folder, and returns the first connection that it accepts.
    pub fn spawn(program: &'a dyn Program, dir: &Path) -> Result<(Server<'a>, TcpStream)> {
        let port = free_port()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let output = dir.join("output.txt");
        let written = File::create(&output)?;
        let mut command = program.command(dir, port);
        command.stdin(Stdio::null()).stdout(written.try_clone()?).stderr(written);
        let mut process = Process::spawn(&mut command)?;
        let deadline = Instant::now() + START_LIMIT;
        let stream = loop {
            if let Ok(stream) = client::connect(address) {
                break stream;
            }
            let said = || fs::read_to_string(&output).unwrap_or_default();
            ensure!(
                !process.has_ended(),
                "{} ended at its start: {}",
                program.name(),
                said().trim()
            );
            ensure!(
                Instant::now() < deadline,
                "{} does not listen: {}",
                program.name(),
                said().trim()
            );
            std::thread::sleep(LOOK_AGAIN);
        };
        Ok((Server { program, process, address, home: program.home(dir) }, stream))
    }

    pub fn name(&self) -> &'static str {
        self.program.name()
    }

    pub fn role(&self) -> Role {
        self.program.role()
    }

    /// Uploads and downloads a file, and compares all bytes.
    pub fn verify(&self) -> Result<()> {
        let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut client = Client::logged_in(self.address)?;
        client.store("verified", &content)?;
        if fs::read(self.home.join("verified"))? != content {
            bail!("an upload differs");
        }
        let mut back = Vec::new();
        client.retrieve("verified", &mut back)?;
        ensure!(back == content, "a download differs");
        client.ask("DELE verified", 250)?;
        client.quit()
    }

    /// Gives a path to the account, so that it can write there.
    pub fn give(&self, path: &Path) -> Result<()> {
        give(self.program, path)
    }
}

fn give(program: &dyn Program, path: &Path) -> Result<()> {
    match program.owner() {
        Some((user, group)) => Ok(chown(path, Some(user), Some(group))?),
        None => Ok(()),
    }
}

/// Creates the folder of the account with its files, and the configuration.
pub fn install(program: &dyn Program, dir: &Path, places: &Places) -> Result<()> {
    // A server that gives up root must be able to enter this folder.
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let home = program.home(dir);
    fs::create_dir_all(&home)?;
    give(program, &home)?;
    for name in [Places::BULK, Places::SHARED, Places::SMALL] {
        fs::hard_link(places.content(name), home.join(name))
            .context("cannot link a file to fetch")?;
    }
    program.prepare(dir)
}

/// A loopback port that no program uses now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
