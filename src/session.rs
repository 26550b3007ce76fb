//! One client's session: who is here, where they are, what is pending, and how content travels.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Instant;

use crate::config::{DISCARD_LIMIT, REFUSAL_LOG_LINES, UNAUTHENTICATED_LOG_LINES};
use crate::control::{Control, InlineBody, Language};
use crate::data::DataSetup;
use crate::listing::FactChoice;
use crate::log::LogLine;
use crate::reply::Reply;
use crate::server::{Server, Slot};
use crate::users::{Record, Role};
use crate::vfs::{Vfs, VirtualPath};

mod transfer;

/// What the next command may need to know of the one before.
#[derive(Debug, Default)]
pub enum Pending {
    /// Nothing.
    #[default]
    Nothing,
    /// RNFR or SITE CPFR named this path, for RNTO or SITE CPTO.
    Source(Action, VirtualPath),
    /// REST named this byte.
    RestartAt(u64),
}

/// What happens to an entry that gets another path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The entry is copied; the old one stays.
    Copy,
    /// The entry is renamed or moved.
    Rename,
}

/// The connection that content travels on: decided by the word, never guessed from state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// A data connection.
    Data,
    /// The control connection.
    Inline,
}

/// What a client has set for its transfers, and REIN sets back.
#[derive(Debug, Default)]
pub struct Settings {
    /// TYPE A; otherwise I. A session begins with I, where RFC 959 §3.1.1.5 has A: a device that
    /// says no TYPE sends pictures, which converted line endings would ruin.
    pub ascii: bool,
    /// What the next transfer uses.
    pub data: DataSetup,
    /// EPSV ALL was said (RFC 2428 §4).
    pub only_epsv: bool,
    /// The facts of MLSD and MLST.
    pub facts: FactChoice,
}

/// Why a command brought no positive reply.
#[derive(Debug)]
pub enum Failure {
    /// The client is told.
    Refused(Reply),
    /// The client sent ABOR.
    Aborted,
    /// There is no client left to tell.
    Lost(io::Error),
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Failure {
        Failure::Refused(reply)
    }
}

/// Whether the client is logged in, and what belongs to that state only.
#[derive(Debug)]
enum Login {
    /// The client is not logged in.
    Anonymous {
        /// The name that USER gave, until PASS.
        user_name: Option<Vec<u8>>,
        /// Failed logins since the connection began, or since the last logout.
        failures: usize,
    },
    /// The client is logged in.
    LoggedIn(Account),
}

impl Login {
    const NEW: Login = Login::Anonymous { user_name: None, failures: 0 };

    fn files(&self) -> Result<&Vfs, Reply> {
        match self {
            Login::Anonymous { .. } => Err(Reply::new(530, "Log in first.")),
            Login::LoggedIn(account) => Ok(&account.files),
        }
    }
}

/// The account that the client is logged in to.
#[derive(Debug)]
pub struct Account {
    /// The account's name as the users file spells it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The account's files.
    pub files: Vfs,
}

/// Why a client with the right password is not logged in.
#[derive(Debug)]
pub enum LoginError {
    /// The account's folder cannot be used.
    Folder(io::Error),
    /// The account has half of all places already.
    TooManySessions,
}

/// What the log will say of the present command.
#[derive(Debug, Default)]
pub struct LogContext {
    /// The account that it concerned, where nobody is logged in to it now.
    pub account: Option<String>,
    /// What it was done to.
    pub path: Option<VirtualPath>,
    /// Where that went.
    pub to: Option<VirtualPath>,
    /// Bytes of content moved.
    pub bytes: Option<u64>,
    /// Why it went wrong, if the owner of the server can do something about it.
    pub why: Option<String>,
    /// It was an attempt to log in, or to prove who one is, that failed.
    pub failed_login: Option<FailedLogin>,
}

/// How an attempt to log in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailedLogin {
    /// The password or the code was compared, which takes its time.
    Wrong,
    /// It was refused at once, because too many wait.
    TooMany,
}

/// Who causes a line of the log, and so what it counts towards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogShare {
    /// Not limited here: a change by an account; a wrong password, which the throttle limits.
    Unlimited,
    /// What clients say without being logged in.
    Unauthenticated,
    /// What a stranger's session causes once: limited for all strangers together only.
    UnauthenticatedOnce,
    /// Refusals to an account.
    Refusal,
}

/// What a session has had logged. It is never reset: logging out and in again is cheap.
#[derive(Debug)]
struct LogBudget {
    stranger: u32,
    refusals: u32,
    /// Lines taken of what all strangers may have; given back at the login.
    taken: u32,
    /// Whether the session was ever logged in.
    had_account: bool,
    unlogged: u64,
}

/// One client.
#[derive(Debug)]
pub struct Session {
    // The way in and out
    control: Control,
    peer: SocketAddr,
    server: Arc<Server>,
    slot: Slot,
    // Who and where
    login: Login,
    /// The current folder.
    pub folder: VirtualPath,
    // What outlives a command
    /// For transfers.
    pub settings: Settings,
    /// For the next command.
    pub pending: Pending,
    /// The content that follows the present command's line. A command that takes content takes it
    /// from here; what is left when the command ends is thrown away before the next line is read,
    /// so that it is never run as commands.
    pub body: Option<InlineBody>,
    /// The session ends after the present reply.
    leaving: bool,
    // What the log says
    /// Of the present command.
    pub log_context: LogContext,
    received: u64,
    sent: u64,
    log_budget: LogBudget,
}

impl Session {
    /// Begins the session of a client that was given a place. It lives on the heap, and is made in
    /// a frame of its own: of its thread's stack whole pages stay in use.
    #[inline(never)]
    pub fn new(
        server: Arc<Server>,
        stream: Arc<TcpStream>,
        peer: SocketAddr,
        slot: Slot,
        language: Language,
    ) -> io::Result<Box<Session>> {
        let config = &server.config;
        let mut control =
            Control::new(stream, language, config.idle_timeout, config.stall_timeout)?;
        control.set_deadline(Some(Instant::now() + config.login_timeout));
        Ok(Box::new(Session {
            control,
            peer,
            server,
            slot,
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
                stranger: UNAUTHENTICATED_LOG_LINES,
                refusals: REFUSAL_LOG_LINES,
                taken: 0,
                had_account: false,
                unlogged: 0,
            },
        }))
    }

    /// The other end of the control connection.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The server that it is a session of.
    pub fn server(&self) -> Arc<Server> {
        Arc::clone(&self.server)
    }

    /// The control connection, to read lines from.
    pub fn control(&mut self) -> &mut Control {
        &mut self.control
    }

    /// Puts a reply on its way.
    pub fn say(&mut self, reply: &Reply) -> io::Result<()> {
        self.control.write_all(&reply.encode())
    }

    /// Puts some lines of a multi-line reply on their way.
    pub fn say_raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.control.write_all(bytes).map_err(Failure::Lost)
    }

    /// A log line that says whose it is.
    pub fn line(&self, event: &str) -> LogLine {
        let line = LogLine::new(event)
            .number("session", self.slot.session)
            .with("peer", self.peer.to_string());
        match self.account() {
            Some(account) => line.with("user", &account.name),
            None => line,
        }
    }

    /// Whether the session may have one more line of this share logged; if not, it is counted.
    /// Asked before the line is made, which may take a look at the disk.
    pub fn may_log(&mut self, share: LogShare) -> bool {
        let budget = &mut self.log_budget;
        let left = match share {
            LogShare::Unlimited | LogShare::UnauthenticatedOnce => return true,
            LogShare::Unauthenticated => &mut budget.stranger,
            LogShare::Refusal => &mut budget.refusals,
        };
        let rest = left.checked_sub(1);
        match rest {
            Some(rest) => *left = rest,
            None => budget.unlogged = budget.unlogged.saturating_add(1),
        }
        rest.is_some()
    }

    /// Writes a line to the log, unless strangers have had too many.
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

    /// Logs the beginning.
    pub fn log_connect(&mut self) {
        let line = self.line("connect");
        self.log(line, LogShare::UnauthenticatedOnce);
    }

    /// Logs the end, with the totals.
    pub fn log_end(&mut self, why: &str) {
        let unlogged = self.log_budget.unlogged;
        let line = self.line("end").with("why", why);
        let line = line.number("received", self.received).number("sent", self.sent);
        let line = if unlogged > 0 { line.number("unlogged", unlogged) } else { line };
        let log = &self.server.log;
        match self.log_budget.had_account {
            true => log.write(line),
            false => drop(log.write_unauthenticated(line, unlogged)),
        }
    }

    /// Does the work of logging in, during which the client's place is not given to another.
    pub fn while_authenticating<T>(&self, work: impl FnOnce() -> T) -> T {
        self.slot.while_authenticating(work)
    }

    /// Logs an account in, whose folder was opened: goes to its top.
    pub fn log_in(&mut self, record: &Record, files: Vfs) -> Result<(), LoginError> {
        let limit = self.server.limit(record.quota);
        // The first count of a large tree takes long, and whoever was let in gives way to nobody.
        self.slot.while_authenticating(|| files.set_quota(limit)).map_err(LoginError::Folder)?;
        if !self.slot.log_in(&record.name) {
            return Err(LoginError::TooManySessions);
        }
        self.control.set_deadline(None);
        self.log_budget.had_account = true;
        self.server.log.give_back(std::mem::take(&mut self.log_budget.taken));
        self.settings = Settings::default();
        let account = Account { role: record.role, name: record.name.clone(), files };
        self.login = Login::LoggedIn(account);
        self.folder = VirtualPath::root();
        Ok(())
    }

    /// Logs the client out, and forgets the name of a USER. The connection stays open (RFC 959
    /// §4.1.1, REIN).
    pub fn log_out(&mut self) {
        match &mut self.login {
            Login::Anonymous { user_name, .. } => *user_name = None,
            Login::LoggedIn(_) => {
                self.login = Login::NEW;
                self.slot.log_out();
                let timeout = self.server.config.login_timeout;
                self.control.set_deadline(Some(Instant::now() + timeout));
            }
        }
        self.folder = VirtualPath::root();
        self.settings = Settings::default();
    }

    /// Whether the client has taken too long to log in.
    pub fn is_overdue(&self) -> bool {
        self.control.is_overdue()
    }

    /// Keeps the name that USER gave, for PASS. For a client that is not logged in.
    pub fn set_user_name(&mut self, name: Vec<u8>) {
        if let Login::Anonymous { user_name, .. } = &mut self.login {
            *user_name = Some(name);
        }
    }

    /// Takes the name that USER gave, if USER was the last step of a login.
    pub fn take_user_name(&mut self) -> Option<Vec<u8>> {
        match &mut self.login {
            Login::Anonymous { user_name, .. } => user_name.take(),
            Login::LoggedIn(_) => None,
        }
    }

    /// Counts a failed login. Returns whether the client has failed as often as it may.
    pub fn fails_too_often(&mut self) -> bool {
        let Login::Anonymous { failures, .. } = &mut self.login else { return false };
        *failures += 1;
        *failures >= self.server.config.max_failures
    }

    /// The role of the account that the client is logged in to.
    pub fn role(&self) -> Option<Role> {
        self.account().map(|account| account.role)
    }

    /// The account that the client is logged in to.
    pub fn account(&self) -> Option<&Account> {
        match &self.login {
            Login::Anonymous { .. } => None,
            Login::LoggedIn(account) => Some(account),
        }
    }

    /// The account's files. `run` has checked before that the client is logged in.
    pub fn files(&self) -> Result<&Vfs, Failure> {
        Ok(self.login.files()?)
    }

    /// The path that an argument names, noted for the log.
    pub fn resolve(&mut self, argument: &[u8]) -> Result<VirtualPath, Failure> {
        match self.folder.join(argument) {
            Ok(path) => {
                self.log_context.path = Some(path.clone());
                Ok(path)
            }
            Err(error) => Err(Reply::failure(argument, &error).into()),
        }
    }

    /// Ends the session after the present reply.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// Whether the session ends.
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Decides about content that no command took: returns what a person must know of it. The
    /// session ends if it is not worth reading.
    pub fn refuse_body(&mut self) -> &'static str {
        match &self.body {
            None | Some(InlineBody::Text(_)) => "",
            Some(body) if !is_worth_reading(body) => {
                self.leave();
                " (Closing, because more content may follow.)"
            }
            Some(InlineBody::UntilDot) => {
                " (What you type now is thrown away, up to a line with only \".\".)"
            }
            Some(InlineBody::Length(_) | InlineBody::Unknown) => " (Its content is thrown away.)",
        }
    }

    /// Reads the content that no command took, and throws it away.
    pub fn discard_body(&mut self) -> io::Result<()> {
        match self.body.take() {
            Some(body) => self.control.discard(&body),
            None => Ok(()),
        }
    }
}

/// Whether refused content is thrown away, and not the connection.
fn is_worth_reading(body: &InlineBody) -> bool {
    match body {
        InlineBody::Length(length) => *length <= DISCARD_LIMIT,
        InlineBody::Text(_) | InlineBody::UntilDot => true,
        InlineBody::Unknown => false,
    }
}
