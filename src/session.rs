//! One client's session: who is here, where they are, what is pending, and how content travels.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{CHUNK, DISCARD_LIMIT, STALL_LIMIT};
use crate::control::{Body, Control};
use crate::log::Line;
use crate::reply::Reply;
use crate::server::{Place, Server};
use crate::transfer::{self, End};
use crate::users::Record;
use crate::vfs::{Upload, Vfs, VirtualPath};

/// What the next command may need to know of the one before.
#[derive(Debug, Default)]
pub enum Pending {
    /// Nothing.
    #[default]
    Nothing,
    /// RNFR named this.
    RenameFrom(VirtualPath),
}

/// Why a command brought no positive reply.
#[derive(Debug)]
pub enum Failure {
    /// The client is told.
    Refused(Reply),
    /// There is no client left to tell.
    Lost(io::Error),
}

impl From<Reply> for Failure {
    fn from(reply: Reply) -> Failure {
        Failure::Refused(reply)
    }
}

/// Who is signed in.
#[derive(Debug)]
pub struct Account {
    /// The account's name as the users file spells it.
    pub name: String,
    /// The account's files.
    pub files: Vfs,
}

/// What the log will say of the present command.
#[derive(Debug, Default)]
pub struct Notes {
    /// The account that it concerned, where nobody is signed in to it now.
    pub account: Option<String>,
    /// What it was done to.
    pub path: Option<VirtualPath>,
    /// Where that went.
    pub to: Option<VirtualPath>,
    /// Bytes of content moved.
    pub bytes: Option<u64>,
}

/// One client.
#[derive(Debug)]
pub struct Session {
    // The way in and out
    control: Control,
    peer: SocketAddr,
    place: Place,
    // Who and where
    account: Option<Account>,
    /// The name that USER gave, waiting for its PASS.
    pub claimed_name: Option<Vec<u8>>,
    /// The current folder.
    pub folder: VirtualPath,
    // What outlives a command
    /// For the next command.
    pub pending: Pending,
    /// Content that follows a refused command, to be thrown away before the next line.
    unread: Option<Body>,
    /// The session ends after the present reply.
    leaving: bool,
    // What the log says
    /// Of the present command.
    pub notes: Notes,
    received: u64,
    sent: u64,
}

impl Session {
    /// Begins the session of a client that was given a place.
    pub fn new(stream: TcpStream, peer: SocketAddr, place: Place) -> io::Result<Session> {
        let control = Control::new(stream, place.server.config.idle_timeout)?;
        Ok(Session {
            control,
            peer,
            place,
            account: None,
            claimed_name: None,
            folder: VirtualPath::root(),
            pending: Pending::Nothing,
            unread: None,
            leaving: false,
            notes: Notes::default(),
            received: 0,
            sent: 0,
        })
    }

    /// The server that it is a session of.
    pub fn server(&self) -> Arc<Server> {
        Arc::clone(&self.place.server)
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
    pub fn line(&self, event: &str) -> Line {
        let line = Line::new(event).number("session", self.place.session).with("peer", self.peer.to_string());
        match &self.account {
            Some(account) => line.with("user", &account.name),
            None => line,
        }
    }

    /// Writes a line to the log.
    pub fn log(&self, line: Line) {
        self.place.server.log.write(line);
    }

    /// Notes the end, with the totals.
    pub fn log_end(&self, why: &str) {
        let line = self.line("end").with("why", why);
        self.log(line.number("received", self.received).number("sent", self.sent));
    }

    /// Signs an account in: opens its folder and goes to its top.
    pub fn enter(&mut self, record: &Record) -> io::Result<()> {
        let files = self.place.server.store.home(&record.name, record.quota)?;
        self.account = Some(Account { name: record.name.clone(), files });
        self.folder = VirtualPath::root();
        Ok(())
    }

    /// Signs out; the connection stays (RFC 959 §4.1.1, REIN).
    pub fn sign_out(&mut self) {
        self.account = None;
        self.claimed_name = None;
        self.folder = VirtualPath::root();
    }

    /// The account, of somebody signed in.
    pub fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// The files of the account. That somebody is signed in has been checked before.
    pub fn files(&self) -> Result<&Vfs, Failure> {
        let account = self.account.as_ref().ok_or_else(|| Reply::new(530, "Sign in first."))?;
        Ok(&account.files)
    }

    /// The path that an argument names, noted for the log.
    pub fn resolve(&mut self, argument: &[u8]) -> Result<VirtualPath, Failure> {
        match self.folder.join(argument) {
            Ok(path) => {
                self.notes.path = Some(path.clone());
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

    /// Content follows a command that was refused: it must never be taken for commands.
    pub fn will_discard(&mut self, body: Body) {
        if is_worth_reading(&body) {
            self.unread = Some(body);
        } else {
            self.leave();
        }
    }

    /// Throws away the content that follows a refused command.
    pub fn discard_unread(&mut self) -> io::Result<()> {
        match self.unread.take() {
            Some(body) => self.control.discard(&body),
            None => Ok(()),
        }
    }

    /// Sends a file over the control connection: 150 with the count, exactly so many bytes, an
    /// empty line's end. Returns the bytes sent.
    pub fn send_inline(&mut self, file: File) -> Result<u64, Failure> {
        let size = match file.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) => return Err(Reply::trouble(&error).into()),
        };
        self.say(&Reply::new(150, format!("{size} bytes follow."))).map_err(Failure::Lost)?;
        let mut source = file.take(size);
        let end = transfer::pump(&mut source, &mut self.control, chunk_for(size), STALL_LIMIT, &mut || false);
        match end {
            End::Complete(sent) if sent == size => {
                self.sent = self.sent.saturating_add(sent);
                self.notes.bytes = Some(sent);
                self.say_raw(b"\r\n")?;
                Ok(sent)
            }
            // The count is promised and the bytes are missing: only the end of the connection can
            // tell the client.
            End::Complete(_) => Err(Failure::Lost(ErrorKind::UnexpectedEof.into())),
            End::SourceFailed(error) | End::SinkFailed(error) => Err(Failure::Lost(error)),
            End::TimedOut | End::Aborted => Err(Failure::Lost(ErrorKind::TimedOut.into())),
        }
    }

    /// Receives content over the control connection into `upload`, or throws it away where that is
    /// already refused. The content is consumed in either case, or the session ends. Returns the
    /// bytes stored.
    pub fn receive_inline(
        &mut self,
        upload: Result<Upload, Reply>,
        body: Body,
        path: &VirtualPath,
    ) -> Result<u64, Failure> {
        let refused = |error: io::Error| Reply::failure(&path.shown(), &error);
        let held = upload.and_then(|mut upload| match body {
            Body::Counted(length) => upload.expect(length).map(|()| upload).map_err(refused),
            _ => Ok(upload),
        });
        let mut upload = match held {
            Ok(upload) => upload,
            Err(reply) if matches!(body, Body::Line(_)) => return Err(reply.into()),
            Err(reply) => {
                if is_worth_reading(&body) {
                    self.invite(&body)?;
                }
                return Err(self.refuse_content(reply, body));
            }
        };
        self.invite(&body)?;
        let (end, left) = self.pump_inline(&mut upload, &body);
        let received = match end {
            End::Complete(bytes) if left == Body::Counted(0) => bytes,
            End::Complete(_) => return Err(broken_off()),
            End::SinkFailed(error) => {
                drop(upload); // its space is free again before the client hears of it
                return Err(self.refuse_content(refused(error), left));
            }
            End::SourceFailed(error) if error.kind() == ErrorKind::InvalidData => {
                let reply = Reply::new(500, format!("{error}. Nothing was stored."));
                return Err(self.refuse_content(reply, left));
            }
            End::SourceFailed(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(broken_off());
            }
            End::SourceFailed(error) => return Err(Failure::Lost(error)),
            End::TimedOut | End::Aborted => return Err(Failure::Lost(ErrorKind::TimedOut.into())),
        };
        upload.commit().map_err(refused)?;
        self.received = self.received.saturating_add(received);
        self.notes.bytes = Some(received);
        Ok(received)
    }

    /// Throws the content away that is still to come, so that `reply` is the answer to all of it.
    fn refuse_content(&mut self, reply: Reply, left: Body) -> Failure {
        self.will_discard(left);
        match self.discard_unread() {
            Ok(()) => Failure::Refused(reply),
            Err(error) => Failure::Lost(error),
        }
    }

    /// The 150 that tells a person that the server listens.
    fn invite(&mut self, body: &Body) -> Result<(), Failure> {
        let text = match body {
            Body::Counted(length) => format!("Send {length} bytes."),
            Body::Lines => "Type the text; end it with a line that holds only \".\"".to_string(),
            Body::Line(_) | Body::Unknown => "Storing the line.".to_string(),
        };
        self.say(&Reply::new(150, text)).map_err(Failure::Lost)
    }

    /// Moves inline content; also returns what of it was not read.
    fn pump_inline(&mut self, upload: &mut Upload, body: &Body) -> (End, Body) {
        let mut pump = |source: &mut dyn Read, chunk| {
            // The control connection has waited its whole time-out when it ticks.
            transfer::pump(source, upload, chunk, Duration::ZERO, &mut || false)
        };
        match body {
            Body::Line(text) => {
                let line = [text, &b"\n"[..]].concat();
                (pump(&mut line.as_slice(), line.len()), Body::Counted(0))
            }
            Body::Counted(length) => {
                let mut content = self.control.content(*length);
                let end = pump(&mut content, chunk_for(*length));
                (end, Body::Counted(content.left()))
            }
            Body::Lines | Body::Unknown => {
                let end = pump(&mut self.control.text(), CHUNK_OF_TEXT);
                let left = match end {
                    End::Complete(_) => Body::Counted(0),
                    _ => Body::Lines,
                };
                (end, left)
            }
        }
    }
}

/// Lines are handed on one by one.
const CHUNK_OF_TEXT: usize = 16 * 1024;

/// A buffer as large as the content, up to [`CHUNK`].
fn chunk_for(size: u64) -> usize {
    usize::try_from(size).unwrap_or(CHUNK).clamp(1, CHUNK)
}

/// Whether refused content is thrown away, and not the connection.
fn is_worth_reading(body: &Body) -> bool {
    match body {
        Body::Counted(length) => *length <= DISCARD_LIMIT,
        Body::Line(_) | Body::Lines => true,
        Body::Unknown => false,
    }
}

fn broken_off() -> Failure {
    Reply::new(426, "The connection ended before the content did. Nothing was stored.").into()
}
