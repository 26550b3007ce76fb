//! The state of one client's session: its login, its current folder, its settings, and what the
//! next command needs of the last one.

use std::io::{self, ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use crate::config::{DISCARD_LIMIT, OWNER_LOGIN, REFUSAL_LOG_LINES, UNAUTHENTICATED_LOG_LINES};
use crate::control::{Control, InlineBody, Language};
use crate::data::DataSetup;
use crate::listing::FactChoice;
use crate::log::{Log, LogLine};
use crate::proxy;
use crate::reply::Reply;
use crate::server::{Door, Presence, Server, Slot};
use crate::users::{PasswordHash, Record, Role};
use crate::vfs::{Vfs, VirtualPath};

mod transfer;

pub use transfer::Outgoing;

/// What a command leaves for the next one.
#[derive(Debug, Default)]
pub enum Pending {
    #[default]
    Nothing,
    /// RNFR or SITE CPFR named this path, for RNTO or SITE CPTO.
    Source(Action, VirtualPath),
    /// REST named this byte.
    RestartAt(u64),
    /// USER named this account, for PASS.
    User(Vec<u8>),
}

/// What happens to an entry that gets another path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Copy,
    Rename,
}

/// The connection that content travels on. The command decides it, never the state of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    Data,
    /// The control connection.
    Inline,
}

/// What the client has set for its transfers. REIN resets it.
#[derive(Debug, Default)]
pub struct Settings {
    /// TYPE is A; otherwise it is I. A session begins with I, although RFC 959 §3.1.1.5 has A:
    /// devices that send no TYPE send pictures, which converted line endings would damage.
    pub ascii: bool,
    /// The data connection that is prepared for the next transfer.
    pub data: DataSetup,
    /// The client has sent EPSV ALL (RFC 2428 §4).
    pub only_epsv: bool,
    pub facts: FactChoice,
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The client gets this reply.
    Refused(Reply),
    /// The client sent ABOR.
    Aborted,
    /// The connection was lost, so there is no reply.
    Lost(io::Error),
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Failure {
        Failure::Refused(reply)
    }
}

/// How a command ends: with its last reply, or with a failure.
pub type Outcome = Result<Reply, Failure>;

/// Whether the client is logged in, and what belongs to that state only.
#[derive(Debug)]
enum Login {
    Anonymous {
        /// Failed logins since the connection began, or since the last logout.
        failures: usize,
    },
    LoggedIn(Account),
    /// The owner of the server, who has no files.
    Owner,
}

impl Login {
    const NEW: Login = Login::Anonymous { failures: 0 };

    fn files(&self) -> Result<&Vfs, Reply> {
        match self {
            Login::Anonymous { .. } | Login::Owner => Err(Reply::new(530, "Log in first.")),
            Login::LoggedIn(account) => Ok(&account.files),
        }
    }
}

/// The account that the client is logged in to.
#[derive(Debug)]
pub struct Account {
    /// The account's name, as the users file spells it.
    pub name: String,
    pub role: Role,
    pub files: Vfs,
}

/// What the log line of the current command will contain.
#[derive(Debug, Default)]
pub struct LogContext {
    /// The account that the command was about, if the client is not logged in to it.
    pub account: Option<String>,
    pub path: Option<VirtualPath>,
    /// The new path, after a copy or rename.
    pub to: Option<VirtualPath>,
    /// The number of content bytes.
    pub bytes: Option<u64>,
    /// Why the command failed, if the owner of the server can do something about it.
    pub why: Option<String>,
    /// The command was a failed login, or had a wrong password or code. Its line counts towards
    /// this share.
    pub failed_login: Option<LogShare>,
}

/// The share of the log that a line counts towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogShare {
    /// Not limited here: changes by accounts, and wrong passwords, which the throttle limits.
    Unlimited,
    /// Lines about a client that is not logged in.
    Unauthenticated,
    /// A line that a session causes only once without a login, or only with an account that accepts
    /// every password. It counts only towards the limit of all unauthenticated clients together.
    UnauthenticatedOnce,
    /// Refusals to a client that is logged in.
    Refusal,
}

/// How many lines a session may still log. Nothing resets it, because a client can log out and in
/// again at no cost.
#[derive(Debug)]
struct LogBudget {
    unauthenticated: u32,
    refusals: u32,
    /// Lines taken from the limit of all unauthenticated clients. A login gives them back.
    taken: u32,
    /// The session was logged in to an account that has a password.
    had_account: bool,
    unlogged: u64,
}

/// The session of one client.
#[derive(Debug)]
pub struct Session {
    // The way in and out
    pub control: Control,
    /// The other end of the control connection, or the client that a balancer has named.
    pub peer: SocketAddr,
    /// The client has come through a balancer.
    pub is_proxied: bool,
    pub server: Arc<Server>,
    /// The session's slot among those of all clients.
    pub slot: Slot,
    pub door: Door,
    /// The session's place in the list of sessions.
    pub presence: Presence,
    // Who and where
    login: Login,
    pub folder: VirtualPath,
    // What outlives a command
    pub settings: Settings,
    /// What the last command has left for the next one.
    pub pending: Pending,
    /// The content that follows the current command's line. A command that takes content takes it
    /// from here. The session throws away what is left before it reads the next line, so that
    /// content is never run as commands.
    pub body: Option<InlineBody>,
    /// The session ends after the current reply.
    pub leaving: bool,
    // What the log says
    /// The log line of the current command.
    pub log_context: LogContext,
    received: u64,
    sent: u64,
    log_budget: LogBudget,
}

impl Session {
    /// Begins the session of a client that has a slot, once its address is known. The session is on
    /// the heap, and this function has a frame of its own, because whole pages of the thread's
    /// stack stay in use.
    #[inline(never)]
    pub fn new(
        server: Arc<Server>,
        stream: Arc<TcpStream>,
        mut peer: SocketAddr,
        mut slot: Slot,
        door: Door,
        language: Language,
    ) -> io::Result<Box<Session>> {
        let config = &server.config;
        let login_timeout = match door {
            Door::Public => config.login_timeout,
            Door::Owner => OWNER_LOGIN,
        };
        let mut control =
            Control::new(Arc::clone(&stream), language, config.idle_timeout, config.stall_timeout)?;
        control.deadline = Some(Instant::now() + login_timeout);
        let is_proxied = slot.needs_address();
        if is_proxied {
            peer = client_of(peer, &mut control, &mut slot, &server.log)?;
        }
        let presence = server.sessions.add(slot.session, door, peer, Arc::clone(&stream));
        Ok(Box::new(Session {
            control,
            peer,
            is_proxied,
            server,
            slot,
            door,
            presence,
            login: Login::NEW,
            folder: VirtualPath::root(),
            settings: Settings::default(),
            pending: Pending::Nothing,
            body: None,
            leaving: false,
            log_context: LogContext::default(),
            received: 0,
            sent: 0,
            log_budget: LogBudget {
                unauthenticated: UNAUTHENTICATED_LOG_LINES,
                refusals: REFUSAL_LOG_LINES,
                taken: 0,
                had_account: false,
                unlogged: 0,
            },
        }))
    }

    /// Says a reply. It may stay in the output buffer for now.
    pub fn say(&mut self, reply: &Reply) -> io::Result<()> {
        self.control.write_all(&reply.encode())
    }

    /// Says a part of a multi-line reply, as bytes.
    pub fn say_raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.control.write_all(bytes).map_err(Failure::Lost)
    }

    /// Begins a log line that names the session, the peer and the account.
    pub fn line(&self, event: &str) -> LogLine {
        let line = LogLine::new(event)
            .number("session", self.slot.session)
            .with("peer", self.peer.to_string());
        match &self.login {
            Login::LoggedIn(account) => line.with("user", &account.name),
            Login::Owner => line.with("role", "owner"),
            Login::Anonymous { .. } => line,
        }
    }

    /// Whether the session may log another line of this share. If not, counts it as unlogged.
    /// Called before the line is made, because making it may read the disk.
    pub fn may_log(&mut self, share: LogShare) -> bool {
        let budget = &mut self.log_budget;
        let left = match share {
            LogShare::Unlimited | LogShare::UnauthenticatedOnce => return true,
            LogShare::Unauthenticated => &mut budget.unauthenticated,
            LogShare::Refusal => &mut budget.refusals,
        };
        let Some(rest) = left.checked_sub(1) else {
            budget.unlogged = budget.unlogged.saturating_add(1);
            return false;
        };
        *left = rest;
        true
    }

    /// Writes a line to the log, unless unauthenticated clients have used up their limit.
    pub fn log(&mut self, line: LogLine, share: LogShare) {
        let log = &self.server.log;
        match share {
            LogShare::Unlimited | LogShare::Refusal => log.write(line),
            LogShare::Unauthenticated | LogShare::UnauthenticatedOnce => {
                if log.write_unauthenticated(line, 0) {
                    self.log_budget.taken = self.log_budget.taken.saturating_add(1);
                }
            }
        }
    }

    /// Logs the end of the session, with the totals.
    pub fn log_end(&mut self, why: &str) {
        let unlogged = self.log_budget.unlogged;
        let line = self.line("end").with("why", why);
        let line = line.number("received", self.received).number("sent", self.sent);
        let line = if unlogged > 0 { line.number("unlogged", unlogged) } else { line };
        let log = &self.server.log;
        if self.log_budget.had_account {
            log.write(line);
        } else {
            log.write_unauthenticated(line, unlogged);
        }
    }

    /// Logs the client in to an account, and goes to its top folder. `home` is the account's
    /// files, or says why they cannot be opened.
    pub fn log_in(&mut self, record: &Record, home: io::Result<Vfs>) -> Result<(), Reply> {
        let home = home.and_then(|files| {
            // The first count of a large tree takes long. The client must not be evicted then.
            self.slot.while_authenticating(|| {
                files.set_quota(self.server.limit_of(record)?)?;
                files.enter(record.home())
            })
        });
        let refusal = match home {
            Ok(files) if self.slot.log_in(&record.name) => {
                self.begin_login(record, files);
                return Ok(());
            }
            Ok(_) => {
                self.leaving = true;
                let text = "Your account has half of all sessions already; end another one first.";
                Reply::new(421, text)
            }
            Err(error) => {
                let path = record.folder.iter().map(|path| format!(" {path}")).collect::<String>();
                self.log_context.why = Some(format!("the account's folder{path}: {error}"));
                Reply::new(451, "Your folder cannot be opened; tell the owner of this server.")
            }
        };
        self.log_context.account = Some(record.name.clone());
        Err(refusal)
    }

    fn begin_login(&mut self, record: &Record, files: Vfs) {
        self.control.deadline = None;
        if record.hash != PasswordHash::Any {
            self.log_budget.had_account = true;
            self.server.log.give_back(std::mem::take(&mut self.log_budget.taken));
        }
        self.settings = Settings::default();
        let account = Account { role: record.role, name: record.name.clone(), files };
        self.presence.set_account(Some(&account.name));
        self.login = Login::LoggedIn(account);
        self.folder = VirtualPath::root();
    }

    /// Logs the owner of the server in.
    pub fn log_in_owner(&mut self) -> Result<(), Reply> {
        // An empty name is that of no account. The slot is safe from eviction now.
        if !self.slot.log_in("") {
            self.leaving = true;
            return Err(Reply::new(421, "Too many sessions of the owner; end another one first."));
        }
        self.control.deadline = None;
        self.log_budget.had_account = true;
        self.login = Login::Owner;
        Ok(())
    }

    /// Whether this is the owner of the server.
    pub fn is_owner(&self) -> bool {
        matches!(self.login, Login::Owner)
    }

    /// Logs the client out. The connection stays open (RFC 959 §4.1.1, REIN).
    pub fn log_out(&mut self) {
        if self.account().is_some() {
            self.login = Login::NEW;
            self.presence.set_account(None);
            self.slot.log_out();
            let timeout = self.server.config.login_timeout;
            self.control.deadline = Some(Instant::now() + timeout);
        }
        self.folder = VirtualPath::root();
        self.settings = Settings::default();
    }

    /// Counts a failed login. Returns whether the client has failed as often as it may.
    pub fn fails_too_often(&mut self) -> bool {
        let Login::Anonymous { failures } = &mut self.login else { return false };
        *failures += 1;
        *failures >= self.server.config.max_failures
    }

    /// Whether the session has ever been logged in to an account that has a password.
    pub fn had_account(&self) -> bool {
        self.log_budget.had_account
    }

    /// The role of the account that the client is logged in to.
    pub fn role(&self) -> Option<Role> {
        self.account().map(|account| account.role)
    }

    /// The account that the client is logged in to.
    pub fn account(&self) -> Option<&Account> {
        match &self.login {
            Login::Anonymous { .. } | Login::Owner => None,
            Login::LoggedIn(account) => Some(account),
        }
    }

    /// The account's files. `run` has checked before that the client is logged in.
    pub fn files(&self) -> Result<&Vfs, Failure> {
        Ok(self.login.files()?)
    }

    /// Resolves an argument to a path, and keeps the path for the log.
    pub fn resolve(&mut self, argument: &[u8]) -> Result<VirtualPath, Failure> {
        let path = self.folder.join(argument).map_err(|error| Reply::failure(argument, &error))?;
        self.presence.set_path(path.bytes());
        self.log_context.path = Some(path.clone());
        Ok(path)
    }

    /// Decides about content that no command took. Returns a note for the reply. Ends the session
    /// if the content is not worth reading.
    pub fn refuse_body(&mut self) -> &'static str {
        match &self.body {
            None | Some(InlineBody::Text(_)) => "",
            Some(body) if !is_worth_reading(body) => {
                self.leaving = true;
                " (Closing, because more content may follow.)"
            }
            Some(InlineBody::UntilDot) => {
                " (What you type now is thrown away, up to a line with only \".\".)"
            }
            Some(InlineBody::Length(_) | InlineBody::Unknown) => " (Its content is thrown away.)",
        }
    }

    /// Reads and throws away the content that no command took.
    pub fn discard_body(&mut self) -> io::Result<()> {
        self.body.take().map_or(Ok(()), |body| self.control.discard(&body))
    }
}

/// Reads the line in which a balancer names its client, and counts the slot for the client. If that
/// fails, the log says why.
fn client_of(
    balancer: SocketAddr,
    control: &mut Control,
    slot: &mut Slot,
    log: &Log,
) -> io::Result<SocketAddr> {
    let line = control.raw_line(proxy::LONGEST).unwrap_or_default();
    let refused = LogLine::new("refused").number("session", slot.session);
    let Some(client) = proxy::parse(&line, balancer) else {
        let refused = refused.with("peer", balancer.to_string()).with("why", "no PROXY line");
        log.write_unauthenticated(refused, 0);
        return Err(ErrorKind::InvalidData.into());
    };
    if let Err(why) = slot.set_address(client.ip()) {
        let refused = refused.with("peer", client.to_string()).number("code", 421).with("why", why);
        log.write_unauthenticated(refused, 0);
        control.write_all(&Reply::new(421, why).encode())?;
        control.flush()?;
        // Does not wait for more input, because the client has more slots than its share.
        control.look(&mut |_, _| true)?;
        return Err(ErrorKind::ConnectionRefused.into());
    }
    Ok(client)
}

/// Whether refused content is read and thrown away; otherwise the session ends.
fn is_worth_reading(body: &InlineBody) -> bool {
    match body {
        InlineBody::Length(length) => *length <= DISCARD_LIMIT,
        InlineBody::Text(_) | InlineBody::UntilDot => true,
        InlineBody::Unknown => false,
    }
}
