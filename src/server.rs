//! What all sessions share: the configuration, the log, the accounts, the working directory, the
//! passive ports, and who is admitted.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::config::{Config, OWNER_LOGIN, Registration};
use crate::control_file::ControlFile;
use crate::data::PassivePorts;
use crate::file_size_limit;
use crate::log::{Log, LogLine};
use crate::users::{Index, QuotaSetting, Record, Users, constant_time_eq};
use crate::vfs::{self, QuotaSource, UploadPolicy, Workdir};

mod admission;
mod sessions;

pub use admission::{Admission, Slot};
pub use sessions::{Door, Presence, Sessions};

/// The most connections at once to the owner's listener.
const OWNER_CLIENTS: usize = 16;

/// The state that lives as long as the server does.
#[derive(Debug)]
pub struct Server {
    pub config: Config,
    pub log: Arc<Log>,
    pub users: Users,
    /// The users' folders.
    pub workdir: Arc<Workdir>,
    pub passive_ports: Arc<PassivePorts>,
    pub admission: Arc<Admission>,
    /// The slots of the owner's listener, so that a full server can still be stopped.
    pub owner_admission: Arc<Admission>,
    pub sessions: Arc<Sessions>,
    /// The owner's token, once there is one.
    token: OnceLock<String>,
    /// The folder that holds the users file, the log and the working directory.
    pub dir: PathBuf,
}

impl Server {
    /// Opens everything in the configured folder, which must exist. An error is one line for the
    /// owner of the server.
    pub fn open(config: Config) -> Result<Server, String> {
        let dir = folder(&config)?;
        let failed = |name: &str| {
            let path = dir.join(name);
            move |error: io::Error| why_not_opened(&path, &error)
        };
        let log = match config.log_to_stdout {
            true => Log::on_stdout(),
            false => Log::open(&dir.join(config.log_name()), config.rotation),
        };
        let log = Arc::new(log.map_err(failed(&config.log_name()))?);
        check_proc()?;
        let node = config.node.as_deref();
        let policy = UploadPolicy { sync: config.sync, partial: config.keep_partial };
        let workdir = Workdir::open(&dir.join("workdir"), node, policy, Arc::clone(&log))
            .and_then(Workdir::lock)
            .map_err(failed("workdir"))?;
        let users =
            Users::open(&dir.join("users"), &config, Arc::clone(&log)).map_err(failed("users"))?;
        let passive_ports = PassivePorts::new(config.passive_ports.clone());
        let admission = Admission::new(&config);
        Ok(Server {
            config,
            log,
            users,
            workdir: Arc::new(workdir),
            passive_ports,
            owner_admission: admission.beside(OWNER_CLIENTS, OWNER_LOGIN),
            admission,
            sessions: Arc::default(),
            token: OnceLock::new(),
            dir,
        })
    }

    /// Writes the control file: the owner's listener has this address.
    pub fn create_control_file(&self, address: SocketAddr) -> io::Result<()> {
        let path = ControlFile::path(&self.dir, &self.config);
        let ControlFile { token, .. } = ControlFile::create(&path, address)?;
        self.token.set(token).map_err(|_| io::Error::other("it is written already"))
    }

    /// Whether this is the owner's token.
    pub fn is_token(&self, given: &[u8]) -> bool {
        self.token.get().is_some_and(|token| constant_time_eq(given, token.as_bytes()))
    }

    /// Waits until the server is to stop, and ends all sessions.
    pub fn run_until_stopped(&self) {
        self.sessions.run_until_stopped("The server stops; come back later.");
        if let Err(error) = fs::remove_file(ControlFile::path(&self.dir, &self.config)) {
            self.log.warn(&format!("cannot remove the control file: {error}"));
        }
        self.log.finish(LogLine::new("stop"));
    }

    /// Warnings about the settings for the owner of the server, one line each.
    pub fn warnings(&self) -> Vec<String> {
        let has_open_account = self.users.query(Index::has_open_account).unwrap_or(false);
        warnings(&self.config, &self.dir, has_open_account)
    }

    /// The most bytes that the top folder of an account may hold. `None` means no limit.
    pub fn limit_of(&self, record: &Record) -> io::Result<Option<u64>> {
        match record.folder {
            None => Ok(self.limit(record.quota)),
            Some(_) => self.quota_of(record.top().as_bytes()),
        }
    }

    /// The most bytes that an account with this quota setting may store. `None` means no limit.
    fn limit(&self, quota: QuotaSetting) -> Option<u64> {
        match quota {
            QuotaSetting::Usual => self.config.quota,
            QuotaSetting::Unlimited => None,
            QuotaSetting::Bytes(bytes) => Some(bytes),
        }
    }
}

impl QuotaSource for Server {
    fn quota_of(&self, folder: &[u8]) -> io::Result<Option<u64>> {
        let unreadable = |_| io::Error::other("the accounts cannot be read");
        let quotas = self.users.query(|users| users.quotas_of(folder)).map_err(unreadable)?;
        Ok(quotas.into_iter().filter_map(|quota| self.limit(quota)).min())
    }
}

/// The configured folder, which must exist.
pub fn folder(config: &Config) -> Result<PathBuf, String> {
    fs::canonicalize(&config.dir)
        .map_err(|error| format!("the folder {}: {error}", config.dir.display()))
}

/// What the server keeps in its folder, in one line for the owner of the server.
pub fn contents(config: &Config, dir: &Path) -> String {
    let log = if config.log_to_stdout { String::new() } else { config.log_name() + ", " };
    format!("files are in {} (users, {log}workdir/)", dir.display())
}

/// Why a part of the folder cannot be used, in one line for the owner of the server.
pub fn why_not_opened(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::WouldBlock => format!("{path}: another plainftpd uses it"),
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => format!("{path}: not a folder"),
        _ => format!("{path}: {error}"),
    }
}

/// Fails if the files of the accounts cannot be reached.
pub fn check_proc() -> Result<(), String> {
    vfs::check_proc_fd().map_err(|error| {
        format!(
            "/proc must be mounted here, because files are opened through /proc/self/fd: {error}"
        )
    })
}

/// Listens on an address. An error is one line for the owner of the server.
pub fn listen(address: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
    let listener = TcpListener::bind(address);
    listener.and_then(|listener| Ok((listener.local_addr()?, listener))).map_err(|error| {
        let hint = hint_for(&error);
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}{hint}"))
    })
}

/// What the owner can do if the system does not give the server an address.
fn hint_for(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "; a port below 1024 needs root or the capability CAP_NET_BIND_SERVICE \
             (systemd: AmbientCapabilities; else: setcap cap_net_bind_service=+ep plainftpd)"
        }
        ErrorKind::AddrInUse => "; another program listens there",
        _ => "",
    }
}

/// Whether other machines can connect, if only through a balancer.
pub fn is_exposed(config: &Config) -> bool {
    !config.proxy_from.is_empty()
        || config.listen.iter().any(|address| !address.ip().to_canonical().is_loopback())
}

/// Warnings about the settings for the owner of the server, one line each.
pub fn warnings(config: &Config, dir: &Path, has_open_account: bool) -> Vec<String> {
    let is_open = config.registration == Registration::Open;
    let is_exposed = is_exposed(config);
    let mut warnings = Vec::new();
    if let Some(limit) = file_size_limit::limit() {
        warnings.push(format!(
            "files may have {limit} bytes at most, by the limit of this process (ulimit -f)"
        ));
    }
    if is_exposed && is_open && config.quota.is_none() {
        warnings.push(
            "every client that can reach this server may create an account and fill the disk: \
             set --registration or --quota"
                .to_string(),
        );
    }
    if is_exposed && config.min_password < 8 {
        let least = config.min_password;
        warnings.push(format!(
            "passwords of {least} characters are allowed beyond loopback: set --min-password 8"
        ));
    }
    if is_exposed && has_open_account {
        warnings.push(
            "an account accepts every password, so every client that can reach this server \
             may use its folder"
                .to_string(),
        );
    }
    let mode = fs::metadata(dir.join("users")).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        warnings
            .push("other users of this machine may read the users file: chmod 600 it".to_string());
    }
    warnings
}
