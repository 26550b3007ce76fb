//! `--check`: what the server would do with its settings, and what is wrong with them.
//!
//! The answers come from the code that the server runs. Nothing on the disk is changed. It locks
//! the working directory for a moment, to see whether a server runs.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::config::{self, Config};
use crate::data::{DYNAMIC_PORTS, announced};
use crate::file_size_limit;
use crate::server;
use crate::users::Users;
use crate::vfs::{self, Workdir};

/// A client from outside, of a network for examples (RFC 5737), and one of a private network.
const OUTSIDE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const NEAR: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1));

/// Explains what the server would do with these settings, in which these mistakes were found.
/// Returns also whether the server would start and every account is sound.
pub fn run(mut config: Config, mistakes: Vec<String>) -> (String, bool) {
    let mut report = Report { errors: mistakes, ..Report::default() };
    report.explains.push(config::effective(&mut config));
    if let Err(error) = report.folder(&config) {
        report.errors.push(error);
    }
    report.listeners(&config);
    report.ports(&config);
    let limit = file_size_limit::limit().map_or("none".to_string(), |limit| limit.to_string());
    report.explains.push(format!("largest file (ulimit -f): {limit}"));
    let Report { explains, errors, risks, notes, .. } = report;
    let mut text: String = explains.iter().map(|line| format!("{line}\n")).collect();
    for (kind, lines) in [("error", &errors), ("risk", &risks), ("note", &notes)] {
        lines.iter().for_each(|line| text.push_str(&format!("{kind}: {line}\n")));
    }
    let sum = match (errors.len(), risks.len()) {
        (0, 0) => "nothing is wrong".to_string(),
        (errors, risks) => format!("errors: {errors}, risks: {risks}"),
    };
    (format!("{text}{sum}\n"), errors.is_empty())
}

#[derive(Default)]
struct Report {
    explains: Vec<String>,
    /// What keeps the server from starting, or locks an account.
    errors: Vec<String>,
    risks: Vec<String>,
    notes: Vec<String>,
    /// Whether a server has the folder open.
    is_running: bool,
}

impl Report {
    /// Looks at what the server would open.
    fn folder(&mut self, config: &Config) -> Result<(), String> {
        server::check_proc()?;
        let dir = server::folder(config)?;
        self.explains.push(server::contents(config, &dir));
        if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
            self.notes.push("this has the rights of root; the server may have fewer".to_string());
        }
        let mut has_open_account = false;
        let log = config.log_name();
        let names = ["workdir", "users", &log];
        for name in names.into_iter().take(if config.log_to_stdout { 2 } else { 3 }) {
            let path = dir.join(name);
            let checked = match name {
                // The server makes what is missing.
                _ if fs::symlink_metadata(&path).is_err() => vfs::check_can_create(&dir),
                "workdir" => Workdir::check(&path, config.node.as_deref()),
                name if name == log => can_append(&path),
                _ => Users::check(&path).map(|accounts| {
                    has_open_account = accounts.has_open_account();
                    self.errors.extend(accounts.locked);
                }),
            };
            let Err(error) = checked else { continue };
            let is_locked = error.kind() == ErrorKind::WouldBlock;
            let list = if is_locked { &mut self.notes } else { &mut self.errors };
            list.push(server::why_not_opened(&path, &error));
            self.is_running |= is_locked;
        }
        self.risks.extend(server::warnings(config, &dir, has_open_account));
        self.rights(&dir);
        Ok(())
    }

    /// Looks for rights of others that are too many, and for rights of the server that are missing.
    fn rights(&mut self, dir: &Path) {
        let (users, workdir) = (dir.join("users"), dir.join("workdir"));
        let mut may = |path: &Path, why: &str, result: io::Result<()>| match result {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.risks.push(format!("{}: {why}: {error}", path.display()));
            }
            _ => {}
        };
        may(dir, "no password, control file or log can be replaced", vfs::check_can_create(dir));
        may(&workdir, "no account can get a folder", vfs::check_can_create(&workdir));
        may(&users, "no client can register or change a password", can_append(&users));
        for path in [dir, &workdir] {
            if fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 0o002 != 0) {
                let path = path.display();
                self.risks.push(format!("every user of this machine may write: chmod o-w {path}"));
            }
        }
        let disk = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
        if disk(&workdir).is_some_and(|it| Some(it) != disk(dir)) {
            let why = "workdir is on another disk: if it is not mounted, the server starts empty";
            self.risks.push(why.to_string());
        }
    }

    /// Opens each listener, and says who can connect to it and what PASV answers.
    fn listeners(&mut self, config: &Config) {
        let mut opened = Vec::new();
        for address in &config.listen {
            match server::listen(*address) {
                Ok(listener) => opened.push(listener),
                Err(error) if self.is_running && error.kind() == ErrorKind::AddrInUse => {
                    self.notes.push(error.to_string());
                }
                Err(error) => self.errors.push(error.to_string()),
            }
            let (who, pasv) = (who_can_reach(*address), pasv(*address, config));
            self.explains.push(format!("{address}: open to {who}; {pasv}"));
        }
        if config.listen_stdin {
            self.notes.push("the socket on standard input is not looked at".to_string());
        }
        for balancer in &config.proxy_from {
            let pasv = match &config.public_address {
                Some(public) => format!("PASV gives {public}, and EPSV is refused"),
                None => "PASV gives the address that the balancer reached".to_string(),
            };
            self.explains.push(format!(
                "balancer {balancer}: every program there can name any client; {pasv}"
            ));
        }
        if let Some(public) = &config.public_address
            && announced(Ipv4Addr::UNSPECIFIED.into(), None, Some(public)).is_none()
        {
            self.risks.push(format!(
                "public-address {public} has no IPv4 address now: PASV fails for outside clients"
            ));
        }
    }

    /// Says what a firewall must let through, and whether the passive ports are enough.
    fn ports(&mut self, config: &Config) {
        let passive = config.passive_ports.clone().unwrap_or(DYNAMIC_PORTS);
        let (first, last, count) = (passive.start(), passive.end(), passive.len());
        for address in config.listen.iter().filter(|address| passive.contains(&address.port())) {
            self.risks.push(format!("the passive ports {first}-{last} include that of {address}"));
        }
        let clients = config.max_clients;
        if count < clients {
            self.risks.push(format!("{count} passive ports are few for {clients} clients"));
        }
        let outer = config.listen.iter().filter(|it| !it.ip().to_canonical().is_loopback());
        let ports: Vec<_> = outer.map(|it| it.port().to_string()).collect();
        let ports = ports.join(", ") + if ports.is_empty() { "" } else { " and, " };
        let out = if config.active { "; let out TCP to the clients (PORT, EPRT)" } else { "" };
        self.explains.push(match server::is_exposed(config) {
            false => "firewall: nothing, because only this machine can connect".to_string(),
            true => {
                format!("firewall: let in TCP {ports}for passive data, {first}-{last}{out}")
            }
        });
    }
}

/// Fails if this process may not append to a file.
fn can_append(path: &Path) -> io::Result<()> {
    OpenOptions::new().read(true).append(true).open(path).map(drop)
}

fn who_can_reach(address: SocketAddr) -> &'static str {
    match address.ip().to_canonical() {
        ip if ip.is_loopback() => "this machine only",
        IpAddr::V4(ip) if ip.is_unspecified() => "every host that reaches this one by IPv4",
        ip if ip.is_unspecified() => "every host that reaches this one by IPv6 or IPv4",
        _ => "every host that reaches this address",
    }
}

/// What the reply to PASV says to a client of this listener.
fn pasv(address: SocketAddr, config: &Config) -> String {
    let local = match address.ip().to_canonical() {
        // An IPv4 client of `::` has reached an IPv4 address.
        ip if ip.is_unspecified() => Ipv4Addr::UNSPECIFIED.into(),
        ip => ip,
    };
    let given = |peer| match announced(local, Some(peer), config.public_address.as_deref()) {
        Some(address) if address.is_unspecified() => "the address that it reached".to_string(),
        Some(address) => address.to_string(),
        None => "no address".to_string(),
    };
    match (given(OUTSIDE), given(NEAR)) {
        _ if local.is_ipv6() => "PASV is refused, because it is for IPv4; EPSV works".to_string(),
        (outside, near) if outside == near || local.is_loopback() => format!("PASV gives {near}"),
        (outside, near) => format!("PASV gives {outside} to a client from outside, else {near}"),
    }
}
