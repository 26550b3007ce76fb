//! Content in both directions, over the control connection ("inline") or a data connection.
//! This is the one place where the failure of a transfer becomes a reply, except that
//! `commands/serve.rs` makes the two replies to ABOR. Over a data connection, a [`ControlMonitor`]
//! looks at the control connection. Inline content needs none, because it uses that connection.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::buffer;
use crate::config::{CONNECT_LIMIT, TICK};
use crate::control::{CANCELLED, Control, InlineBody, LineKind};
use crate::data::{Flow, NoData};
use crate::reply::Reply;
use crate::server::Presence;
use crate::splice;
use crate::text;
use crate::transfer::{self, Ascii, End, LineEnds};
use crate::users::Role;
use crate::vfs::{Upload, Vfs, VirtualPath};

use super::{Failure, Session, is_worth_reading};

/// Watches the control connection during a transfer: sees ABOR, answers STAT, and notices that the
/// client has gone.
struct ControlMonitor<'s> {
    control: &'s mut Control,
    presence: &'s Presence,
    started: Instant,
    last_look: Instant,
    /// ABOR has come.
    aborted: bool,
    /// The control connection has failed, or the server ends the session.
    lost: Option<io::Error>,
    /// When the server first saw that the client had ended its input.
    ended: Option<Instant>,
}

impl<'s> ControlMonitor<'s> {
    fn new(control: &'s mut Control, presence: &'s Presence) -> ControlMonitor<'s> {
        let now = Instant::now();
        let (aborted, lost, ended) = (false, None, None);
        ControlMonitor { control, presence, started: now, last_look: now, aborted, lost, ended }
    }

    /// Whether the transfer must stop: ABOR has come, the control connection has failed, or the
    /// server ends the session. Called for every chunk, but looks only a few times per second. A
    /// STAT is answered with `moved`.
    fn must_stop(&mut self, moved: u64) -> bool {
        if self.last_look.elapsed() < TICK / 2 {
            return false;
        }
        self.last_look = Instant::now();
        let mut status_requests = 0;
        // True takes the line. Other lines wait for the end. `is_next`: no line waits yet.
        let looked = self.control.look(&mut |kind, is_next| match kind {
            // A second ABOR waits and gets a reply of its own.
            LineKind::Abort if !self.aborted => {
                self.aborted = true;
                true
            }
            // A STAT behind other lines waits, so that replies keep the order of the lines.
            LineKind::Status if is_next && !self.aborted => {
                status_requests += 1;
                true
            }
            _ => false,
        });
        let status = Reply::new(213, format!("{} so far.", text::bytes(moved))).encode();
        let answered = looked
            .and_then(|()| (0..status_requests).try_for_each(|_| self.control.write_all(&status)))
            .and_then(|()| self.control.flush());
        let ending = self.presence.why_now().map(io::Error::other);
        self.lost = answered.err().or(ending);
        if self.control.has_ended() {
            self.ended.get_or_insert_with(Instant::now);
        }
        self.aborted || self.lost.is_some()
    }

    /// Returns why a complete upload must not replace a file: ABOR has come, or the control
    /// connection has ended. If a client's program dies, its system ends both connections, and the
    /// data connection then looks as after complete content. Waits up to `patience` for input.
    fn reason_not_to_replace(&mut self, patience: Duration) -> Option<&'static str> {
        let since = Instant::now();
        loop {
            let looked = self.control.look(&mut |kind, _| {
                let is_first_abort = kind == LineKind::Abort && !self.aborted;
                self.aborted |= is_first_abort;
                is_first_abort
            });
            self.lost = looked.err();
            if self.aborted {
                return Some("ABOR came before the file was replaced");
            }
            if self.lost.is_some() || self.control.has_ended_without_quit() {
                // A session that must end now is woken by such an end. Its client gets the reason.
                let ending = self.presence.why_now().map(io::Error::other);
                self.lost = self.lost.take().or(ending);
                return Some("the control connection ended before the file was replaced");
            }
            let left = patience.saturating_sub(since.elapsed());
            if left.is_zero() || !self.control.wait_for_input(left) {
                return None;
            }
        }
    }

    /// How long to wait after the content for the end of the control connection. Linux closes a
    /// dead program's connections in the reverse order of their descriptors, so the control
    /// connection can end some milliseconds after the data connection. The wait grows with the
    /// length of the upload. Short uploads skip it: a client seldom dies during one.
    fn grace_period(&self) -> Duration {
        const LEAST: Duration = Duration::from_millis(5);
        const MOST: Duration = Duration::from_millis(250);
        let share = (self.started.elapsed() / 16).min(MOST);
        if share < LEAST { Duration::ZERO } else { share }
    }

    /// Gives a complete upload its name, unless it would replace a file and the client has sent
    /// ABOR or disconnected. `why` is for the log.
    fn commit(
        mut self,
        upload: Upload,
        path: &VirtualPath,
        why: &mut Option<String>,
    ) -> Result<(), Failure> {
        let patience = self.grace_period();
        let mut reason = None;
        if upload.replaces() && !patience.is_zero() {
            reason = self.reason_not_to_replace(patience);
        }
        // `commit_if` asks only before it replaces a file, and with the quota locked: no waiting.
        let is_stored = reason.is_none()
            && upload
                .commit_if(&mut || {
                    reason = self.reason_not_to_replace(Duration::ZERO);
                    reason.is_none()
                })
                .map_err(|error| Reply::failure(path.bytes(), &error))?;
        if is_stored {
            return Ok(());
        }
        *why = reason.map(str::to_string);
        if self.aborted || self.lost.is_some() {
            return Err(self.into_failure());
        }
        let text = ": the control connection ended before the content did; the old file stays.";
        Err(Reply::about(426, "", path.bytes(), text).into())
    }

    /// The failure of a transfer that [`ControlMonitor::must_stop`] has stopped.
    fn into_failure(self) -> Failure {
        self.lost.map_or(Failure::Aborted, Failure::Lost)
    }
}

/// What the server sends over a data connection.
pub enum Outgoing<'s> {
    /// This number of bytes of a file, from its position, as they are.
    File(File, u64),
    /// Content that is made or converted while it is sent, so its length is not known.
    Stream(&'s mut dyn Read),
}

impl Session {
    /// Does long work on the files, such as a copy, which the client can stop by ABOR. The work
    /// calls its second argument now and then with the number of bytes done. If that returns true,
    /// the work must fail: ABOR has come, or the client ended its input a stall timeout ago. (Such
    /// a client may wait for the reply, as `nc -N` does, or be gone.)
    pub fn run_cancellable<T>(
        &mut self,
        work: impl FnOnce(&Vfs, &mut dyn FnMut(u64) -> bool) -> io::Result<T>,
    ) -> Result<io::Result<T>, Failure> {
        let stall = self.server.config.stall_timeout;
        self.control.flush().map_err(Failure::Lost)?;
        let files = self.login.files()?;
        let mut monitor = ControlMonitor::new(&mut self.control, &self.presence);
        let mut is_given_up = false;
        let done = work(files, &mut |moved| {
            let stopped = monitor.must_stop(moved);
            is_given_up = monitor.ended.is_some_and(|ended| ended.elapsed() >= stall);
            stopped || is_given_up
        });
        match done {
            Err(_) if monitor.aborted || monitor.lost.is_some() => Err(monitor.into_failure()),
            Err(_) if is_given_up => {
                Err(Reply::new(426, "Client disconnected; operation cancelled.").into())
            }
            done => Ok(done),
        }
    }

    /// Opens the data connection that EPSV, PASV, EPRT or PORT prepared. If none is prepared, the
    /// reply names `instead`, a command that does the same without a data connection.
    fn open_data(&mut self, flow: Flow, instead: &str) -> Result<TcpStream, Failure> {
        // The reply to PASV may still be in the output buffer.
        self.control.flush().map_err(Failure::Lost)?;
        let patience = self.server.config.stall_timeout.min(CONNECT_LIMIT);
        let setup = std::mem::take(&mut self.settings.data);
        let mut monitor = ControlMonitor::new(&mut self.control, &self.presence);
        let mut stop = || monitor.must_stop(0) || monitor.control.has_ended();
        let why = match setup.open(self.peer, flow, patience, &mut stop) {
            Ok(stream) => return Ok(stream),
            Err(NoData::Unset) => {
                let text = format!(
                    "No data connection: send EPSV or PASV first; by hand, use \"{instead}\"."
                );
                return Err(Reply::new(425, text).because("no data connection was set up").into());
            }
            Err(NoData::Stopped) if monitor.aborted || monitor.lost.is_some() => {
                return Err(monitor.into_failure());
            }
            Err(NoData::Stopped) => "the client has disconnected".to_string(),
            Err(NoData::Failed(why)) => why,
        };
        let reply = Reply::new(425, format!("No data connection: {why}."));
        self.log_context.why = Some(why);
        Err(reply.into())
    }

    /// Sends `source` over the data connection, and closes the connection. Returns the number of
    /// bytes sent.
    pub fn send_data(
        &mut self,
        source: Outgoing<'_>,
        path: &VirtualPath,
        instead: &str,
    ) -> Result<u64, Failure> {
        let size = match &source {
            Outgoing::File(_, size) => Some(*size),
            Outgoing::Stream(_) => None,
        };
        let mut stream = self.open_data(Flow::Out, instead)?;
        let count = size.map_or(String::new(), |size| format!(" ({})", text::bytes(size)));
        self.say(&Reply::about(150, "Sending ", path.bytes(), &format!("{count}.")))
            .map_err(Failure::Lost)?;
        // The 150 goes out before large content. With little content, it shares a packet with 226.
        if size.is_none_or(|size| size > SENT_WITHOUT_WAITING) {
            self.control.flush().map_err(Failure::Lost)?;
        }
        let mut monitor = ControlMonitor::new(&mut self.control, &self.presence);
        let stall = self.server.config.stall_timeout;
        let mut stop = |moved| monitor.must_stop(moved);
        let end = match source {
            Outgoing::File(file, size) if size >= splice::WORTHWHILE => {
                splice::send_file(file, size, &stream, stall, &mut stop)
            }
            Outgoing::File(file, size) => {
                transfer::pump(&mut file.take(size), &mut stream, size, stall, &mut stop)
            }
            Outgoing::Stream(source) => {
                transfer::pump(source, &mut stream, buffer::USUAL, stall, &mut stop)
            }
        };
        match end {
            End::Complete(sent) => {
                self.count_sent(sent);
                Ok(sent)
            }
            End::SourceFailed(error) => Err(Reply::failure(path.bytes(), &error).into()),
            End::SinkFailed(error) => Err(broken(&error, "").into()),
            End::TimedOut => Err(self.stalled("").into()),
            End::Aborted => Err(monitor.into_failure()),
        }
    }

    /// Says `invitation`, the 150 reply, and receives the content of the data connection into
    /// `upload`. When this returns, the connection is closed and the file has its name. Returns the
    /// number of bytes stored.
    pub fn receive_data(
        &mut self,
        mut upload: Upload,
        path: &VirtualPath,
        invitation: &Reply,
        instead: &str,
    ) -> Result<u64, Failure> {
        // A drop-box cannot resume an upload. For it a partial file would only occupy the name.
        let may_resume = self.role() != Some(Role::Drop);
        let mut stream = self.open_data(Flow::In, instead)?;
        self.say(invitation).and_then(|()| self.control.flush()).map_err(Failure::Lost)?;
        let mut monitor = ControlMonitor::new(&mut self.control, &self.presence);
        let stall = self.server.config.stall_timeout;
        let mut stop = |moved| monitor.must_stop(moved);
        let mut pump = |source: &mut dyn Read| {
            transfer::pump(source, &mut upload, buffer::LARGE, stall, &mut stop)
        };
        let end = if self.settings.ascii {
            pump(&mut Ascii::new(&mut stream, LineEnds::FromNetwork))
        } else {
            pump(&mut stream)
        };
        let failure = match end {
            End::Complete(received) => {
                monitor.commit(upload, path, &mut self.log_context.why)?;
                self.count_received(received);
                return Ok(received);
            }
            End::SinkFailed(error) => return Err(Reply::failure(path.bytes(), &error).into()),
            failure => failure,
        };
        let kept = if may_resume && upload.keep_partial() {
            " The part that arrived is kept; it can be resumed."
        } else {
            " Nothing was stored."
        };
        Err(match failure {
            End::Aborted => monitor.into_failure(),
            End::SourceFailed(error) => broken(&error, kept).into(),
            _ => self.stalled(kept).into(), // only a timeout is left
        })
    }

    fn count_sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
        self.log_context.bytes = Some(bytes);
    }

    fn count_received(&mut self, bytes: u64) {
        self.received = self.received.saturating_add(bytes);
        self.log_context.bytes = Some(bytes);
    }

    fn stalled(&self, kept: &str) -> Reply {
        let seconds = self.server.config.stall_timeout.as_secs();
        Reply::new(426, format!("Nothing moved for {seconds} s; the transfer was ended.{kept}"))
            .because("nothing moved for too long")
    }

    /// Sends `size` bytes of a file over the control connection: a 150 reply with the number, the
    /// bytes, and an empty line. Returns the number of bytes sent.
    pub fn send_inline(&mut self, file: File, size: u64) -> Result<u64, Failure> {
        self.say(&Reply::new(150, format!("{size} bytes follow."))).map_err(Failure::Lost)?;
        let stall = self.server.config.stall_timeout;
        let end = if size >= splice::WORTHWHILE {
            let socket = self.control.socket_for_content().map_err(Failure::Lost)?;
            splice::send_file(file, size, socket, stall, &mut |_| false)
        } else {
            transfer::pump(&mut file.take(size), &mut self.control, size, stall, &mut |_| false)
        };
        match end {
            End::Complete(sent) if sent == size => {
                self.count_sent(sent);
                self.say_raw(b"\r\n")?;
                Ok(sent)
            }
            // The 150 promised more bytes than the file has now. The client can learn that only
            // from the end of the connection.
            End::Complete(_) => Err(Failure::Lost(ErrorKind::UnexpectedEof.into())),
            End::SourceFailed(error) | End::SinkFailed(error) => Err(Failure::Lost(error)),
            End::TimedOut | End::Aborted => Err(Failure::Lost(ErrorKind::TimedOut.into())),
        }
    }

    /// Receives content over the control connection into `upload`. If the upload is refused already
    /// (an `Err`), throws the content away. In either case the session reads all of the content, or
    /// it ends. `does` is what the 150 reply says that typed lines do, such as "is added to".
    /// Returns the number of bytes stored.
    pub fn receive_inline(
        &mut self,
        upload: Result<Upload, Reply>,
        path: &VirtualPath,
        does: &str,
    ) -> Result<u64, Failure> {
        let failed = |error: io::Error| Reply::failure(path.bytes(), &error);
        let Some(body) = self.body.take() else {
            return Err(Reply::new(501, "No content follows this line.").into());
        };
        let announced = match &body {
            InlineBody::Length(length) => *length,
            InlineBody::Text(text) => text.len() as u64 + 1,
            InlineBody::UntilDot | InlineBody::Unknown => 0,
        };
        let reserved = upload.and_then(|mut upload| {
            upload.expect(announced).map_err(failed)?;
            Ok(upload)
        });
        let mut upload = match reserved {
            Ok(upload) => upload,
            Err(reply) => {
                // The client may wait for the 150 before it sends the content.
                if is_worth_reading(&body) && !matches!(body, InlineBody::Text(_)) {
                    self.invite(&body, path, does)?;
                }
                return Err(self.refuse_content(reply, body));
            }
        };
        self.invite(&body, path, does)?;
        let (end, left) = self.pump_inline(&mut upload, &body);
        match end {
            End::Complete(received) if left == InlineBody::Length(0) => {
                upload.commit().map_err(failed)?;
                self.count_received(received);
                Ok(received)
            }
            end => {
                drop(upload); // its space must be free before the client reads the reply
                Err(self.inline_failure(end, left, path))
            }
        }
    }

    /// Says the 150 reply before inline content.
    fn invite(&mut self, body: &InlineBody, path: &VirtualPath, does: &str) -> Result<(), Failure> {
        let reply = match body {
            InlineBody::Length(length) => {
                Reply::new(150, format!("Send {}.", text::bytes(*length)))
            }
            // A person who types `upload FILE` may expect the server to read a local file. Ctrl-C
            // cancels in telnet, and ends nc.
            InlineBody::UntilDot => {
                let end =
                    ". Then type a line with only \".\"; or press Ctrl-C, and nothing is stored.";
                Reply::about(150, &format!("What you type now {does} "), path.bytes(), end)
            }
            InlineBody::Text(_) | InlineBody::Unknown => Reply::new(150, "Storing the line."),
        };
        self.say(&reply).map_err(Failure::Lost)
    }

    /// Copies inline content into `upload`. Also returns the content that is still to be read.
    fn pump_inline(&mut self, upload: &mut Upload, body: &InlineBody) -> (End, InlineBody) {
        let mut pump = |source: &mut dyn Read, size| {
            // The control connection has a timeout of its own, so the copy adds no time to it.
            transfer::pump(source, upload, size, Duration::ZERO, &mut |_| false)
        };
        match body {
            InlineBody::Text(text) => {
                let line = [text, &b"\n"[..]].concat();
                (pump(&mut line.as_slice(), line.len() as u64), InlineBody::Length(0))
            }
            InlineBody::Length(length) => {
                let mut content = self.control.content(*length);
                // A client that pauses here is not noticed soon, so it gets no large buffer.
                let end = pump(&mut content, (*length).min(buffer::USUAL));
                (end, InlineBody::Length(content.limit()))
            }
            InlineBody::UntilDot | InlineBody::Unknown => {
                let end = pump(&mut self.control.text(), TEXT_CHUNK);
                let left = match end {
                    End::Complete(_) => InlineBody::Length(0),
                    _ => InlineBody::UntilDot,
                };
                (end, left)
            }
        }
    }

    /// Turns the failed end of inline content into a failure of the command. `left` is the content
    /// that is still to be read.
    fn inline_failure(&mut self, end: End, left: InlineBody, path: &VirtualPath) -> Failure {
        let error = match end {
            End::SourceFailed(error) => error,
            End::Complete(_) => ErrorKind::UnexpectedEof.into(), // some content is left
            End::SinkFailed(error) => {
                return self.refuse_content(Reply::failure(path.bytes(), &error), left);
            }
            End::TimedOut | End::Aborted => {
                self.leaving = true;
                let text = "Silent for too long; closing. Nothing was stored.";
                return Reply::new(421, text).into();
            }
        };
        match error.kind() {
            ErrorKind::InvalidData => {
                let reply = Reply::new(500, format!("{error}. Nothing was stored."));
                self.refuse_content(reply.because(error.to_string()), left)
            }
            ErrorKind::UnexpectedEof if self.presence.why_now().is_none() => {
                let text = "The connection ended before the content did. Nothing was stored.";
                Reply::new(426, text).into()
            }
            CANCELLED => Reply::new(426, "Cancelled. Nothing was stored.").into(),
            _ => Failure::Lost(error),
        }
    }

    /// Reads and throws away the rest of refused content, because it must not run as commands. What
    /// is not worth reading stays for [`Session::refuse_body`], which ends the session.
    fn refuse_content(&mut self, reply: Reply, left: InlineBody) -> Failure {
        if !is_worth_reading(&left) {
            self.body = Some(left);
            return Failure::Refused(reply);
        }
        match self.control.discard(&left) {
            Ok(()) => Failure::Refused(reply),
            // The rest does not come, but the client can still read the reply.
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                self.leaving = true;
                Failure::Refused(reply)
            }
            Err(error) => Failure::Lost(error),
        }
    }
}

/// The largest content, in bytes, that the socket of a new data connection takes without waiting.
/// Linux begins with a buffer of 16 KiB, other systems with at least as much. The 150 reply before
/// such content needs no packet of its own.
const SENT_WITHOUT_WAITING: u64 = 8 * 1024;
/// The buffer for typed lines, in bytes.
const TEXT_CHUNK: u64 = 16 * 1024;

fn broken(error: &io::Error, kept: &str) -> Reply {
    Reply::new(426, format!("The data connection broke: {}.{kept}", error.kind()))
        .because(format!("the data connection broke: {}", error.kind()))
}
